import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn import functional

from edgekws.core.errors import UserError
from edgekws.methods.onda import calibration, self_learning
from edgekws.methods.onda.calibration import Calibrated, calibrate, draw, filtered, thresholds, utterance_scores
from edgekws.methods.onda.inference import Embedder
from edgekws.methods.onda.roles import for_user
from edgekws.methods.onda.self_learning import (
    PseudoLabels,
    fine_tune,
    hessian_losses,
    oracle_labels,
    pseudo_label,
    triplet_loss,
    word_losses,
)
from edgekws.methods.onda.settings import Calibration, FineTuning, Pruning, WakeWindows
from edgekws.methods.onda.windows import COLUMNS, Windows
from edgekws.models import encoder as encoders

PLAIN = Calibration(filters=[1])


def unit(*angles):
    """Points of a circle at these angles, in degrees."""
    radians = torch.deg2rad(torch.tensor(angles, dtype=torch.float32))
    return torch.stack([radians.cos(), radians.sin()], 1)


# ------------------------------------------------------------------------------------------------ scores
def test_squared_distances_of_unit_vectors():
    found = calibration.distances(unit(0, 90, 180), unit(0, 60))
    assert torch.allclose(found, torch.tensor([[0.0, 1.0], [2.0, 2 - 3**0.5], [4.0, 3.0]]), atol=1e-6)


@pytest.mark.parametrize(("length", "expected"), [
    (1, [8, 1, 6, 3, 5, 7, 2]),
    (2, [8, 1, 6, 3.5, 4.5, 4, 6]),  # from the fourth on: means of (1, 6), (6, 3), (3, 5), (5, 7)
    (3, [8, 1, 6, 3, 10 / 3, 14 / 3, 5]),
    (6, [8, 1, 6, 3, 5, 7, 2])])
def test_filter_by_hand(length, expected):
    found = torch.tensor([8.0, 1, 6, 3, 5, 7, 2])
    assert torch.allclose(filtered(found, length), torch.tensor(expected, dtype=torch.float32))
    assert found.tolist() == [8, 1, 6, 3, 5, 7, 2]


def test_filter_of_several_users_is_that_of_each():
    found = torch.rand(30, 4, generator=torch.Generator().manual_seed(0))
    together = filtered(found, 4)
    assert all(torch.equal(together[:, user], filtered(found[:, user].clone(), 4)) for user in range(4))


def ragged(seed, users=4):
    """Distances of 40 utterances of 1 to 30 windows from the prototypes of some users."""
    generator = np.random.default_rng(seed)
    windows = generator.integers(1, 31, 40)
    first = np.cumsum(windows) - windows
    return torch.from_numpy(generator.random((int(windows.sum()), users), np.float32)), first, windows


@pytest.mark.parametrize("seed", range(3))
def test_utterance_scores_are_those_of_a_plain_loop(seed):
    found, first, windows = ragged(seed)
    lengths = [1, 5, 3, 5]
    expected = [[filtered(found[start:start + count, user], lengths[user]).min() for user in range(4)]
                for start, count in zip(first, windows, strict=True)]
    assert torch.equal(utterance_scores(found, first, windows, lengths), torch.tensor(expected))
    some = np.array([7, 3, 20])  # any utterances, in any order
    assert torch.equal(utterance_scores(found, first[some], windows[some], lengths), torch.tensor(expected)[some])


# ------------------------------------------------------------------------------------------------ calibration
def padded(*values, padding=8):
    """Distances of an utterance: those of its padding are 0, so that they would win."""
    return torch.tensor([0.0] * padding + list(values) + [0.0] * padding)


def test_thresholds_by_hand():
    # Farthest positive 0.4, nearest negative 1.2: a gap of 0.8.
    found = thresholds(unit(0)[0], [padded(0.9, 0.1), padded(0.4, 1.0)], [padded(1.2), padded(1.9, 2.5)], 8, PLAIN)
    assert (found.filter, found.failed) == (1, False)
    assert (found.positive_distance, found.gap) == pytest.approx((0.4, 0.8))
    assert (found.low, found.high, found.detection) == pytest.approx((0.4 + 0.32, 0.4 + 0.72, 0.4 + 0.24))


def test_the_cap_limits_what_is_added_to_the_farthest_positive():
    # Gap 2: shares of 0.4 and 0.3 are 0.8 and 0.6, more than 0.5; the upper threshold has no cap.
    found = thresholds(unit(0)[0], [padded(0.5)], [padded(2.5)], 8, PLAIN)
    assert (found.low, found.high, found.detection) == pytest.approx((1.0, 2.3, 1.0))


def test_a_negative_as_near_as_a_positive_fails_the_calibration():
    assert thresholds(unit(0)[0], [padded(0.5)], [padded(0.5), padded(2.0)], 8, PLAIN).failed
    assert thresholds(unit(0)[0], [padded(0.5)], [padded(0.4)], 8, PLAIN).gap == pytest.approx(-0.1)


def test_the_filter_with_the_largest_gap_is_taken():
    settings = Calibration(filters=[3, 1, 2])
    steady, spike = [0.2] * 9, [2.0] * 4 + [0.3] + [2.0] * 4
    # One low window makes a negative near, unless it is averaged with its neighbours: (0.3 + 2 + 2) / 3 - 0.2.
    found = thresholds(unit(0)[0], [padded(*steady, padding=0)], [padded(*spike, padding=0)], 0, settings)
    assert (found.filter, found.gap) == (3, pytest.approx(4.3 / 3 - 0.2))
    flat = thresholds(unit(0)[0], [padded(*steady, padding=0)], [padded(*[1.0] * 9, padding=0)], 0, settings)
    assert flat.filter == 1  # all gaps are equal


def test_windows_at_the_ends_are_left_out_after_filtering():
    values = torch.tensor([4.0, 1.0, 1.0, 4.0, 4.0, 4.0, 4.0])
    found = thresholds(unit(0)[0], [values], [torch.full((7,), 3.9)], 3, Calibration(filters=[2]))
    assert found.positive_distance == 1.0  # of the two before it, which are at the end themselves


# ------------------------------------------------------------------------------------------------ a toy corpus
WAKE, OTHER = 8, 24


def toy(stream_positives=24, stream_negatives=40, seed=0):
    """Windows of a corpus: the wake word is a ridge in time, other speech one over coefficients; each in noise."""
    generator = np.random.default_rng(seed)
    rows, pieces, first = [], [], 0
    plan = [("stream", True, stream_positives), ("stream", False, stream_negatives), ("user", True, WAKE),
            ("negative", False, OTHER)]
    for role, positive, utterances in plan:
        for _ in range(utterances):
            count = int(generator.integers(17, 22))
            features = generator.normal(0, 6, (count, 47, 10)).astype(np.float32)
            if positive:
                features[10:12, 20:26] += 8
            features[:, :, 3] += 0 if positive else 5
            user, word = "anna" if role == "user" else "", "wake word" if positive else ""
            rows.append((f"{len(rows):016x}", role, user, positive, word, user or "other", 2.0, first, count,
                         len([row for row in rows if row[1] == "user"]) if role == "user" else -1))
            pieces.append(features)
            first += count
    table = pd.DataFrame(rows, columns=COLUMNS)
    mfcc = np.concatenate(pieces)
    crops = mfcc[table.loc[table.role == "user", "first"].to_numpy() + 10]
    return Windows(mfcc, crops, table, {"settings": {"windows": WakeWindows().model_dump()}})


def tiny():
    """A small encoder that knows the statistics of the corpus, and no more."""
    encoder, some = encoders.build("ds_cnn_s", [8] * 5).train(), torch.from_numpy(toy(2, 2).mfcc[:80])
    with torch.no_grad():
        for _ in range(30):
            encoder(some)
    return encoder.eval()


def test_a_draw_splits_the_users_wake_words():
    table = toy().table
    drawn = draw(table, "anna", Calibration(), seed=5)
    assert len(drawn.recordings) == 3 and len(drawn.negatives) == 3
    own = np.flatnonzero(table.role == "user")
    assert sorted([*drawn.recordings, *drawn.queries]) == own.tolist()
    assert (table.role.iloc[drawn.negatives] == "negative").all()
    again, other = draw(table, "anna", Calibration(), seed=5), draw(table, "anna", Calibration(), seed=6)
    assert all(np.array_equal(one, two) for one, two in zip(drawn[1:], again[1:], strict=True))
    assert not np.array_equal(drawn.recordings, other.recordings) and not np.array_equal(drawn.negatives, other.negatives)


def test_users_of_a_seed_share_the_negatives_and_no_more():
    table = toy().table
    table = pd.concat([table, table[table.role == "user"].assign(speaker="bert", user="bert")], ignore_index=True)
    anna, bert = (draw(for_user(table, user, seed=0), user, Calibration(), seed=0) for user in ("anna", "bert"))
    assert np.array_equal(anna.negatives, bert.negatives)
    assert set(table.speaker.iloc[bert.recordings]) == {"bert"}
    assert len(bert.queries) == WAKE - 3


def test_a_draw_that_leaves_nothing_to_test_with_is_refused():
    table = toy().table
    with pytest.raises(UserError, match="8 wake words; 8 recordings leave none"):
        draw(table, "anna", Calibration(recordings=WAKE), seed=0)
    with pytest.raises(UserError, match="leaves none of the 24 negatives"):
        draw(table, "anna", Calibration(negatives=OTHER), seed=0)


def test_calibration_of_a_user_by_a_plain_loop():
    windows, encoder = toy(), tiny()
    drawn = draw(windows.table, "anna", Calibration(), seed=0)
    found = calibrate(Embedder(encoder), windows, drawn, Calibration(filters=[2]))
    crops = windows.table.crop.iloc[drawn.recordings].tolist()
    with torch.no_grad():
        prototype = functional.normalize(encoder(torch.from_numpy(windows.crops[crops])).mean(0), dim=0)

        def score(row):
            first, count = windows.table["first"].iloc[row], windows.table["windows"].iloc[row]
            distance = (encoder(torch.from_numpy(windows.mfcc[first:first + count])) - prototype).square().sum(1)
            return filtered(distance, 2)[8:-8].min().item()

    assert torch.allclose(found.prototype, prototype, atol=1e-5)
    positive, negative = max(map(score, drawn.recordings)), min(map(score, drawn.negatives))
    assert (found.positive_distance, found.gap) == pytest.approx((positive, negative - positive), abs=1e-5)
    told = calibration.as_settings(found, windows.stride)
    assert (told["filter"], told["stride"], told["low"]) == (2, 2000, found.low)
    assert torch.equal(torch.tensor(told["prototype"]), found.prototype)


# ------------------------------------------------------------------------------------------------ pseudo-labels
def calibrated(length=1, low=0.5, high=1.0):
    return Calibrated(unit(0)[0], length, 0.3, 0.8, low, high, detection=0.4)


def stream_of(utterances, positive):
    """Table and distances of a stream; windows lie apart in the file, the utterances in reversed order."""
    counts = [len(values) for values in utterances]
    first = [1000 - 100 * place for place in range(len(counts))]
    table = pd.DataFrame({"first": first, "windows": counts, "positive": positive})
    return table, torch.tensor([value for values in utterances for value in values])


def test_labels_by_hand():
    table, found = stream_of([[1.2, 0.4, 0.3, 2.0], [1.5, 1.1, 1.3], [0.8, 0.9], [0.6, 0.2], [0.7]],
                             [True, False, True, False, True])
    labels = pseudo_label(table, found, calibrated(), seed=0)
    assert labels.positives.tolist() == [1002, 701]
    assert len(labels.negatives) == 1 and 900 <= labels.negatives[0] < 903
    assert labels.facts == {"positives": 2, "true_positives": 1, "negatives": 1, "true_negatives": 1, "discarded": 2,
                            "missed": 2}


def test_scores_at_a_threshold_are_discarded():
    table, found = stream_of([[0.5, 3.0], [1.0, 3.0]], [True, False])
    labels = pseudo_label(table, found, calibrated(), seed=0)
    assert labels.facts["discarded"] == 2


def test_the_window_is_moved_back_by_the_filters_delay():
    # Filtered by 3: the last is the mean of the three before it; the wake word was heard in the midst of them.
    table, found = stream_of([[2, 2, 2, 0.2, 0.1, 0.1, 2.0]], [True])
    assert pseudo_label(table, found, calibrated(3), seed=0).positives.tolist() == [1004]
    # Within the first four nothing is filtered, and nothing lies before the first window.
    table, found = stream_of([[2, 0.2, 2, 2, 2, 2]], [True])
    assert pseudo_label(table, found, calibrated(3), seed=0).positives.tolist() == [1000]


def test_without_a_gap_no_utterance_has_two_labels():
    table, found = stream_of([[0.3], [0.45], [0.6]], [True, False, False])
    labels = pseudo_label(table, found, calibrated(low=0.5, high=0.4), seed=0)
    assert (labels.facts["positives"], labels.facts["negatives"]) == (2, 1)


def test_negatives_are_drawn_from_all_windows_of_their_utterance():
    table, found = stream_of([[2.0] * 5] * 8, [False] * 8)
    drawn = np.array([pseudo_label(table, found, calibrated(), seed=seed).negatives - table["first"] for seed in range(40)])
    assert set(drawn.flatten()) == {0, 1, 2, 3, 4}
    assert np.array_equal(drawn[7], pseudo_label(table, found, calibrated(), seed=7).negatives - table["first"])
    assert (drawn.std(axis=1) > 0).any()


def test_oracle_labels_are_the_true_ones():
    table, found = stream_of([[1.2, 3.0], [0.1, 0.2], [2.0]], [True, False, False])
    labels = oracle_labels(table, found, calibrated(), seed=0)
    assert labels.positives.tolist() == [1000]
    assert len(labels.negatives) == 2
    assert labels.facts == {"positives": 1, "true_positives": 1, "negatives": 2, "true_negatives": 2, "discarded": 0,
                            "missed": 0}


def test_labels_of_a_whole_stream_are_those_of_a_plain_loop():
    found, first, windows = ragged(9, users=1)
    table = pd.DataFrame({"first": first, "windows": windows, "positive": np.arange(40) % 3 == 0})
    chosen = calibrated(2, low=0.1, high=0.3)
    labels = pseudo_label(table, found[:, 0], chosen, seed=0)
    positives, negatives = [], []
    for start, count in zip(first, windows, strict=True):
        smooth = filtered(found[start:start + count, 0], 2)
        if smooth.min() < 0.1:
            positives.append(start + max(int(smooth.argmin()) - 1, 0))
        elif smooth.min() > 0.3:
            negatives.append((start, start + count))
    assert positives and labels.positives.tolist() == positives
    assert negatives and all(low <= row < high for (low, high), row in zip(negatives, labels.negatives, strict=True))


# ------------------------------------------------------------------------------------------------ triplets
def test_triplet_loss_by_hand():
    # Anchor at 0, positive at 60 degrees (d = 1); negatives at 90 (d = 2) and 0 (d = 0): hinges of 0 and 1.5.
    assert triplet_loss(unit(0), unit(60), unit(90, 0), 0.5).item() == pytest.approx(0.75)
    assert triplet_loss(unit(0), unit(60), unit(90), 0.5).item() == 0


def test_every_anchor_meets_every_positive_and_every_negative():
    anchors, positives, negatives = unit(0, 10, 200), unit(20, 50), unit(70, 90, 180, 300)
    expected = [max(float((a - p).square().sum() - (a - n).square().sum()) + 0.5, 0)
                for a in anchors for p in positives for n in negatives]
    assert triplet_loss(anchors, positives, negatives, 0.5).item() == pytest.approx(np.mean(expected), abs=1e-6)


@pytest.mark.parametrize(("skip", "triplets"), [(False, 7200), (True, 7140)])
def test_triplets_of_a_batch(skip, triplets):
    windows = toy()
    settings = FineTuning(skip_first_negative=skip)
    labels = PseudoLabels(np.arange(50), np.arange(50, 400), {})
    batch = next(self_learning.epoch(windows.mfcc, windows.crops[:3], labels, settings, np.random.default_rng(0)))
    assert batch.mfcc.shape == (143, 47, 10)
    embeddings = torch.from_numpy(np.random.default_rng(0).normal(size=(143, 4)))
    assert batch.violations(embeddings, settings).numel() == triplets


def test_an_epoch_has_every_pseudo_positive_once_in_another_order_but_for_the_rest():
    mfcc = np.broadcast_to(np.arange(100, dtype=np.float32)[:, None, None], (100, 47, 10))
    labels, settings = PseudoLabels(np.arange(11), np.arange(20, 90), {}), FineTuning(positives=4, negatives=30)
    generator = np.random.default_rng(0)
    seen = []
    for _ in range(2):
        batches = list(self_learning.epoch(mfcc, mfcc[98:], labels, settings, generator))
        assert [batch.sizes for batch in batches] == [[4, 2, 30]] * 2  # three positives are left out
        rows = [batch.mfcc[:, 0, 0].tolist() for batch in batches]
        anchors = [row for some in rows for row in some[:4]]
        assert len(set(anchors)) == 8 and set(anchors) <= set(range(11))
        for some in rows:
            assert some[4:6] == [98, 99]
            assert len(set(some[6:])) == 30 and set(some[6:]) <= set(range(20, 90))
        seen.append(anchors)
    assert seen[0] != seen[1]
    few = labels._replace(negatives=np.arange(5))
    assert next(self_learning.epoch(mfcc, mfcc[98:], few, settings, generator)).sizes == [4, 2, 5]


# ------------------------------------------------------------------------------------------------ fine-tuning
SMALL = FineTuning(epochs=4, positives=8, negatives=24)


@pytest.fixture(scope="module")
def labelled():
    """A toy corpus, a user's draw, and true labels of its stream."""
    windows = toy()
    stream = windows.table[windows.table.role == "stream"]
    drawn = draw(windows.table, "anna", Calibration(), seed=0)
    at_crop = stream["first"].to_numpy() + 10
    positive = stream["positive"].to_numpy()
    return windows, drawn, PseudoLabels(at_crop[positive], at_crop[~positive], {})


def test_fine_tuning_lowers_the_loss_and_leaves_the_encoder_alone(labelled):
    encoder = tiny()
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    tuned, facts = fine_tune(encoder, *labelled, SMALL, seed=0)
    assert facts["steps"] == 12  # 4 epochs of floor(24 / 8)
    assert facts["loss"][1] < facts["loss"][0]
    assert 0 < facts["active_fraction"][1] < facts["active_fraction"][0] <= 1
    assert all(torch.equal(tensor, encoder.state_dict()[name]) for name, tensor in before.items())
    assert not tuned.training and tuned.stem[1].weight.is_contiguous()
    changed = [name for name, tensor in tuned.named_parameters() if not torch.equal(tensor, before[name])]
    assert len(changed) == len(list(tuned.parameters()))
    assert not torch.equal(tuned.stem[2].running_mean, before["stem.2.running_mean"])


def test_without_a_loss_there_is_no_backward_pass_and_momentum_goes_on(labelled, monkeypatch):
    def every_gradient(outputs, inputs):
        calls.append(1)
        return original(outputs, inputs)

    original, calls = torch.autograd.grad, []
    monkeypatch.setattr(torch.autograd, "grad", every_gradient)
    settings = SMALL.model_copy(update={"margin": 0.05, "epochs": 12, "learning_rate": 0.01})
    skipped, facts = fine_tune(tiny(), *labelled, settings, seed=0)
    assert 0 < len(calls) < facts["steps"]  # some batches had no loss, and needed no gradient
    monkeypatch.setattr(torch.Tensor, "item", lambda tensor, item=torch.Tensor.item: item(tensor) or 1e-30)
    always, _ = fine_tune(tiny(), *labelled, settings, seed=0)  # a share of active triplets that is never 0
    assert len(calls) > facts["steps"]
    assert all(torch.equal(one, other) for one, other in zip(skipped.state_dict().values(), always.state_dict().values(),
                                                             strict=True))


def test_running_statistics_may_be_taken_anew_afterwards(labelled):
    plain, anew = (fine_tune(tiny(), *labelled, SMALL.model_copy(update={"statistics_after": after}), seed=0)[0]
                   for after in (False, True))
    changed = {name for name, tensor in plain.state_dict().items() if not torch.equal(tensor, anew.state_dict()[name])}
    assert {"stem.2.running_mean", "stem.2.running_var"} <= changed
    assert not changed & {name for name, _ in plain.named_parameters()}


def test_same_seed_same_weights(labelled):
    first, again, other = (fine_tune(tiny(), *labelled, SMALL, seed=seed)[0].state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_with_too_few_labels_nothing_is_trained(labelled):
    windows, drawn, labels = labelled
    encoder = tiny()
    none = np.empty(0, np.int64)
    fewer, skipping = SMALL.model_copy(update={"most_positives": 7}), SMALL.model_copy(update={"skip_first_negative": True})
    for few, settings in ((labels._replace(positives=labels.positives[:7]), SMALL), (labels._replace(negatives=none), SMALL),
                          (labels, fewer), (labels._replace(negatives=labels.negatives[:1]), skipping)):
        tuned, facts = fine_tune(encoder, windows, drawn, few, settings, seed=0)
        assert facts == {"steps": 0, "loss": [], "active_fraction": []}
        assert all(torch.equal(tensor, encoder.state_dict()[name]) for name, tensor in tuned.state_dict().items())
        with pytest.raises(UserError, match="too many for a batch"):
            hessian_losses(encoder, windows.mfcc, windows.crops, few, settings, Pruning(), seed=0)


def test_no_more_positives_than_wanted(labelled):
    settings = SMALL.model_copy(update={"most_positives": 17})
    assert fine_tune(tiny(), *labelled, settings, seed=0)[1]["steps"] == 8  # 4 epochs of floor(17 / 8)


def test_a_loss_that_is_no_number_is_told(labelled):
    with pytest.raises(UserError, match="loss diverged"):
        fine_tune(tiny(), *labelled, SMALL.model_copy(update={"learning_rate": 1e30}), seed=0)


# ------------------------------------------------------------------------------------------------ for the Hessian
def test_losses_for_the_hessian_are_those_of_fine_tuning_in_evaluation_mode(labelled):
    windows, drawn, labels = labelled
    encoder, crops = tiny(), calibration.crops_of(windows, drawn)
    losses = hessian_losses(encoder, windows.mfcc, crops, labels, SMALL, Pruning(batches=5), seed=3)
    assert len(losses) == 5 and losses.hinge and 0.05 < losses.active_fraction <= 1
    batch = next(self_learning.epoch(windows.mfcc, crops, labels, SMALL, np.random.default_rng(3)))
    anchors, positives, negatives = torch.split(encoder(batch.mfcc), batch.sizes)
    assert losses[0](encoder).item() == pytest.approx(triplet_loss(anchors, positives, negatives, 0.5).item(), abs=1e-6)
    assert len({loss(encoder).item() for loss in losses}) == 5  # three batches of an epoch, two of the next


def test_without_active_triplets_the_hinge_is_left_out(labelled):
    windows, drawn, labels = labelled
    encoder, crops, settings = tiny(), calibration.crops_of(windows, drawn), SMALL.model_copy(update={"margin": 0.01})
    hinged, plain = (hessian_losses(encoder, windows.mfcc, crops, labels, settings, Pruning(batches=2, least_active=least),
                                    seed=3) for least in (0.01, 0.99))
    assert (hinged.hinge, plain.hinge) == (True, False)
    assert 0.01 < hinged.active_fraction == plain.active_fraction < 0.99
    assert plain[0](encoder) < hinged[0](encoder)  # inactive triplets count below 0
    batch = next(self_learning.epoch(windows.mfcc, crops, labels, settings, np.random.default_rng(3)))
    assert plain[0](encoder).item() == pytest.approx(batch.violations(encoder(batch.mfcc), settings).mean().item())


def test_word_losses_take_one_word_for_the_wake_word():
    class Recorder(torch.nn.Module):
        def forward(self, mfcc):
            self.words = mfcc[:, 0, 0].int().tolist()
            return functional.normalize(mfcc[:, :2, 0] + torch.rand(len(mfcc), 2))

    words = np.repeat([4, 7, 9], [10, 12, 6])
    clips = np.broadcast_to(words[:, None, None], (28, 47, 10)).astype(np.float32)
    settings = FineTuning(positives=5, negatives=9)
    losses = word_losses(tiny(), clips, words, 3, settings, Pruning(batches=4), seed=0)
    net, taken = Recorder(), []
    for loss in losses:
        loss(net)
        own, others = net.words[:-9], net.words[-9:]
        assert len(set(own)) == 1 and not set(own) & set(others)
        assert len(own) == (6 if own[0] == 9 else 8)  # of six clips three are recordings and three anchors
        taken.append(own[0])
    assert sorted(taken[:3]) == [4, 7, 9] and taken[3] == taken[0]
