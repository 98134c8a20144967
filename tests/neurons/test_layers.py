"""Layers by events compute what the dense scan computes, and Norse: spikes, sums and gradients, in every variant."""

import itertools

import pytest
import torch
from norse.torch.functional.lif_box import LIFBoxFeedForwardState, lif_box_feed_forward_step
from torch import nn

from edgekws.neurons import layers, norse_twin, scan
from edgekws.neurons.adaptive import AdaptiveRule
from edgekws.neurons.kernel import library

STEPS, CLIPS = 50, 7
RULE = AdaptiveRule(gamma=2.0, targets=(0.1, 0.1), decay=0.8, clamp=(0.5, 2.0), sign=-1)


class Norm(nn.Module):
    """Batch normalisation as the training of NeuEdge has it, without a moving share."""

    def __init__(self, sizes, dtype):
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.layers = nn.ModuleList(nn.BatchNorm1d(size, momentum=0.1, dtype=dtype) for size in sizes)
        for norm in self.layers:
            nn.init.constant_(norm.weight, 4)
            norm.bias.data.copy_(torch.randn(len(norm.bias), generator=generator, dtype=dtype))

    def forward(self, layer, current):
        return self.layers[layer](current.flatten(0, 1)).view_as(current)

    @torch.no_grad()
    def observe(self, layer, mean, variance, values):
        norm = self.layers[layer]
        norm.running_mean.lerp_(mean.to(norm.running_mean), 0.1)
        norm.running_var.lerp_((variance * values / (values - 1)).to(norm.running_var), 0.1)


class Case:
    """A stack of two layers on one batch, and the gradients to be sent back."""

    def __init__(self, dtype=torch.float64, *, sizes=(40, 130, 70), reset="hard", real=False, dropout=False, adaptive=False,
                 norm=False, clips=CLIPS, rate=0.25):
        self.generator = torch.Generator().manual_seed(0)
        drive = self.random(STEPS, clips, sizes[0])
        self.drive = (drive if real else (drive < rate)).to(dtype)
        pairs = list(itertools.pairwise(sizes))
        self.weights = [(self.normal(to, of) * 6 / of ** 0.5).to(dtype).requires_grad_() for of, to in pairs]
        self.biases = [self.normal(to).to(dtype).requires_grad_() for _, to in pairs]
        self.pool = scan.mean_integrator(STEPS, 0.9, like=self.drive)
        self.dropout = [(self.random(clips, to) > 0.2).to(dtype) / 0.8 for to in sizes[1:]] if dropout else None
        self.sent = [self.normal(clips, sizes[-1]).to(dtype), *(self.normal(clips, to).to(dtype) / 9 for to in sizes[1:])]
        self.constants = layers.Constants(0.8, 1.0, reset, 5.0)
        self.adaptive, self.norm = adaptive, norm

    def random(self, *shape):
        return torch.rand(*shape, generator=self.generator, dtype=torch.float64)

    def normal(self, *shape):
        return torch.randn(*shape, generator=self.generator, dtype=torch.float64)

    def run(self):
        """What fired, and the gradients of everything."""
        follow = [RULE.follower(layer) for layer in range(len(self.weights))] if self.adaptive else None
        norm = Norm([len(bias) for bias in self.biases], self.drive.dtype) if self.norm else None
        fired = layers.feedforward(self.drive, self.weights, self.biases, self.constants, pool=self.pool, normalise=norm,
                                   dropout=self.dropout, follow=follow, spikes_too=True)
        loss = sum((found * sent).sum() for found, sent in zip([fired.pooled, *fired.counts], self.sent, strict=True))
        trained = [*self.weights, *(norm.parameters() if norm else self.biases)]
        statistics = [value for value in norm.buffers() if value.is_floating_point()] if norm else []
        return fired, [*torch.autograd.grad(loss, trained), *statistics]


def compare(case, tolerance):
    fired, gradients = case.run()
    with layers.dense():
        expected, expected_gradients = case.run()
    for layer, same in zip(fired.spikes, expected.spikes, strict=True):
        assert 0.01 < float(same.mean()) < 0.5
        assert torch.equal(layer, same)
    assert all(torch.equal(*counts) for counts in zip(fired.counts, expected.counts, strict=True))
    for found, wanted in zip([fired.pooled, *gradients], [expected.pooled, *expected_gradients], strict=True):
        assert wanted.abs().max() > 0
        assert (found - wanted).abs().max() <= tolerance * wanted.abs().max()


@pytest.fixture(params=[1, 2])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.mark.parametrize("reset", ["hard", "soft"])
@pytest.mark.parametrize("variant", [
    {}, {"real": True}, {"dropout": True}, {"adaptive": True}, {"norm": True}, {"norm": True, "real": True},
    {"norm": True, "dropout": True, "adaptive": True}, {"real": True, "dropout": True, "adaptive": True},
    {"sizes": (3, 17, 1030)}, {"sizes": (1030, 16, 1)}, {"clips": 1}, {"rate": 0.9}], ids=str)
def test_by_events_as_densely_in_double_precision(variant, reset, threads):
    compare(Case(reset=reset, **variant), 1e-12)


@pytest.mark.parametrize("variant", [{}, {"norm": True, "dropout": True}], ids=str)
def test_in_single_precision_gradients_agree_to_its_digits(variant):
    compare(Case(torch.float32, **variant), 1e-5)


@pytest.mark.parametrize("reset", ["hard", "soft"])
def test_currents_that_are_exact_give_the_same_spikes_in_single_precision(reset):
    """Weights of few bits add up alike in any order, and what follows is the scan's arithmetic, operation by operation."""
    case = Case(torch.float32, reset=reset)
    with torch.no_grad():
        for tensor in (*case.weights, *case.biases):
            tensor.mul_(64).round_().div_(64)
    fired, _ = case.run()
    with layers.dense():
        expected, _ = case.run()
    assert all(torch.equal(*pair) for pair in zip(fired.spikes, expected.spikes, strict=True))


@pytest.mark.parametrize("reset", ["hard", "soft"])
def test_spikes_and_gradients_are_norses(reset):
    """Norse's own steps, in double precision, with its surrogate of slope 1."""
    case = Case(reset=reset)
    case.constants = layers.Constants(0.8, 1.0, reset, 1.0)
    fired, gradients = case.run()
    drive, expected = case.drive, []
    for matrix, bias in zip(case.weights, case.biases, strict=True):
        neuron = norse_twin.parameters(drive, leak=0.8, threshold=1.0, reset=reset)
        state, spikes = LIFBoxFeedForwardState(v=torch.zeros(CLIPS, len(bias), dtype=torch.float64)), []
        for current in drive @ matrix.T + bias:
            spike, state = lif_box_feed_forward_step(current, state, neuron, dt=1.0)
            spikes.append(spike)
        drive = torch.stack(spikes)
        expected.append(drive)
    results = [(case.pool @ drive.flatten(1)).view(CLIPS, -1), *(layer.sum(0) for layer in expected)]
    loss = sum((found * sent).sum() for found, sent in zip(results, case.sent, strict=True))
    assert all(torch.equal(*pair) for pair in zip(fired.spikes, expected, strict=True))
    for found, wanted in zip(gradients, torch.autograd.grad(loss, [*case.weights, *case.biases]), strict=True):
        assert (found - wanted).abs().max() <= 1e-10 * wanted.abs().max()


def test_the_same_bytes_for_the_same_number_of_threads(threads):
    def bytes_of():
        return [tensor.numpy().tobytes() for tensor in Case(torch.float32, norm=True, clips=31).run()[1]]

    first = bytes_of()
    assert all(bytes_of() == first for _ in range(5))


def test_without_a_gradient_the_same_numbers():
    case = Case()
    fired, _ = case.run()
    with torch.no_grad():
        again = layers.feedforward(case.drive, case.weights, case.biases, case.constants, pool=case.pool)
    assert torch.equal(again.pooled, fired.pooled) and not again.pooled.requires_grad and not again.spikes


def test_gradients_are_computed_once_and_not_differentiated_again():
    case = Case()
    pooled = layers.feedforward(case.drive, case.weights, case.biases, case.constants, pool=case.pool).pooled
    torch.autograd.grad(pooled.sum(), case.weights, retain_graph=True)
    with pytest.raises(RuntimeError, match="run them again"):
        torch.autograd.grad(pooled.sum(), case.weights)


def test_weights_that_were_changed_before_the_way_back_are_noticed():
    case = Case()
    pooled = layers.feedforward(case.drive, case.weights, case.biases, case.constants, pool=case.pool).pooled
    with torch.no_grad():
        case.weights[0].add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        pooled.sum().backward()


# ------------------------------------------------------------------------------------------------ which path
def path_of(monkeypatch, drive, weights, biases, **more):
    """Whether it went by events."""
    from edgekws.neurons.kernel import feedforward

    taken = []
    monkeypatch.setattr(feedforward, "run", lambda asked: taken.append(asked) or layers._densely(asked))
    layers.feedforward(drive, weights, biases, layers.Constants(0.8, 1.0, "hard", 5.0),
                       pool=torch.ones(STEPS, dtype=drive.dtype), **more)
    return bool(taken)


def test_what_only_the_dense_path_can_do_goes_there(monkeypatch):
    case = Case(torch.float32)
    plain = case.drive, case.weights, case.biases
    assert path_of(monkeypatch, *plain)
    assert not path_of(monkeypatch, case.drive.clone().requires_grad_(), case.weights, case.biases)
    assert not path_of(monkeypatch, *plain, normalise=lambda layer, current: current)
    assert not path_of(monkeypatch, *plain, follow=[lambda rate: rate + 1] * 2)
    assert not path_of(monkeypatch, case.drive.half(), *([tensor.half() for tensor in some] for some in plain[1:]))
    assert not path_of(monkeypatch, case.drive[:, :0], *plain[1:])
    with layers.dense():
        assert not path_of(monkeypatch, *plain)


def test_inside_a_function_transform_nothing_is_compiled():
    """Their tensors are no memory that compiled code could read: per-sample gradients, say."""
    asked = []
    torch.func.vmap(lambda clip: asked.append(layers.compiled("feedforward", clip)) or clip)(torch.ones(3, 4))
    assert asked == [False] and layers.compiled("feedforward", torch.ones(3, 4))


# ------------------------------------------------------------------------------------------------ building
@pytest.fixture
def fresh(monkeypatch, tmp_path):
    """A machine that has built nothing yet."""
    monkeypatch.setattr(library, "_folders", lambda: [tmp_path / "first", tmp_path / "second"])
    layers._library.cache_clear()
    library.load.cache_clear()
    yield tmp_path
    layers._library.cache_clear()
    library.load.cache_clear()


def test_it_is_built_once_and_then_loaded(fresh, monkeypatch):
    library.load("feedforward", torch.float32)
    built = list((fresh / "first").iterdir())
    assert [file.suffix for file in built] == [".so"]
    library.load.cache_clear()
    monkeypatch.setattr(library, "_build", None)  # not asked again
    library.load("feedforward", torch.float32)
    assert list((fresh / "first").iterdir()) == built


def test_where_the_first_folder_cannot_be_written_the_second_is_taken(fresh):
    (fresh / "first").write_text("in the way")
    library.load("feedforward", torch.float32)
    assert len(list((fresh / "second").iterdir())) == 1


def test_where_nothing_can_be_written_it_still_runs(fresh):
    for name in ("first", "second"):
        (fresh / name).write_text("in the way")
    compare(Case(), 1e-12)
    assert sorted(file.name for file in fresh.iterdir()) == ["first", "second"]


@pytest.mark.parametrize("why", ["no compiler", "broken"])
def test_without_a_compiler_it_is_dense_and_says_so_once(fresh, monkeypatch, capsys, why):
    if why == "no compiler":
        monkeypatch.setattr(library, "find_spec", lambda name: None)
    else:
        monkeypatch.setattr(library, "_FLAGS", ["--no-such-flag"])
    case = Case()
    for _ in range(2):
        fired, _ = case.run()
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1 and "dense" in said[0]
    assert ("not installed" if why == "no compiler" else "the compiler failed") in said[0]
    with layers.dense():
        assert torch.equal(case.run()[0].pooled, fired.pooled)
    assert not list(fresh.iterdir())
