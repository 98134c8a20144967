"""Jobs that are cut off go on to the same bytes; a state of another job is told of and left alone."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from edgekws.core import checkpoint, files
from edgekws.core.checkpoint import Checkpoint
from edgekws.core.errors import UserError
from edgekws.methods.neuedge import experiments as neuedge
from edgekws.methods.neuedge.settings import Encoder, Hardware, NeuEdge, SpikingTraining
from edgekws.methods.onda import experiments as onda
from edgekws.methods.onda.settings import Pretraining
from edgekws.methods.onda.words import Words
from edgekws.methods.traces_propagation import experiments as traces_propagation
from edgekws.methods.traces_propagation.settings import BaseTraining
from edgekws.models import encoder as encoders
from edgekws.models.settings import Conventional, LifNetwork, Network
from edgekws.protocol.clips import Corpus

WORDS = ["no", "up", "yes"]


class Cut(Exception):
    """Stands for whatever ends a job early."""


@pytest.fixture(autouse=True)
def one_thread():
    """These networks are too small for more."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def always_due(monkeypatch):
    monkeypatch.setattr(Checkpoint, "due", lambda self: self.path is not None)


def cut_after(monkeypatch, number):
    """Let the next job end by an exception after it was saved ``number`` times."""
    save, left = Checkpoint.save, [number]

    def cutting(self, after, state):
        save(self, after, state)
        left[0] -= 1
        if not left[0]:
            raise Cut

    monkeypatch.setattr(Checkpoint, "save", cutting)


# ------------------------------------------------------------------------------------------------ the trainings
def table(*splits):
    random, words = np.random.default_rng(0), np.arange(len(splits)) % 3
    features = random.uniform(0, 0.3, (len(splits), 12, 6)).astype(np.float32)
    for clip, word in enumerate(words):
        features[clip, 3:, 2 * word:2 * word + 2] += 0.6
    rows = {"clip": range(len(splits)), "word": [WORDS[word] for word in words], "split": splits, "speaker": "a", "repeat_of": "",
            "sha256": [str(clip) for clip in range(len(splits))]}
    return features, pd.DataFrame(rows)


def train_base(out, *, seed=0, rate=1e-3, epochs=6):
    """A base model of Traces Propagation; the last batch of an epoch is smaller than the others."""
    budget = BaseTraining(learning_rate=rate, epochs=epochs, batch_size=7)
    with Checkpoint(out, seed=seed, budget=budget.model_dump()) as state:
        features, index = table(*["train"] * 24)
        base = traces_propagation.train_base(Corpus(features, index, WORDS), Network(hidden=[8]), budget, per_set=False,
                                             excluded=[], seed=seed, checkpoint=state)
        traces_propagation.write_base(out, base, about={}, provenance={})


def train_arm(arm):
    """An arm of NeuEdge: 8 epochs, blocks are cut after the fifth, the last two are those of the folded net."""
    def train(out):
        chosen = NeuEdge(
            encoder=Encoder(base_threshold=1.5), network=LifNetwork(hidden=[12, 12]), conventional=Conventional(channels=[8]),
            hardware=Hardware(group=4, placement_steps=5, warm_up=0.1, cut=0.6),
            training=SpikingTraining(epochs=8, batch_size=16, time_shift=1, dropout=0.1, quantised=0.25))
        with Checkpoint(out, arm=arm) as state:
            corpus = neuedge.Corpus(*table(*["train"] * 40, *["validation"] * 8), WORDS)
            net, about = neuedge.train_arm(corpus, arm, chosen, seed=0, checkpoint=state)
            neuedge.write_arm(out, net, words=WORDS, about=about, provenance={})

    return train


@pytest.fixture
def tones(monkeypatch):
    """Words for pre-training: each a tone of its own, each clip of another level and phase."""
    random, seconds = np.random.default_rng(0), np.arange(16_000) / 16_000
    rows = [{"word": f"tone {word}", "speaker": "", "split": split}
            for word in range(3) for split, count in (("train", 5), ("dev", 2)) for _ in range(count)]
    samples = [10 ** random.uniform(3, 4) * np.sin(2 * np.pi * (300 * 3 ** int(row["word"][-1]) * seconds + random.random()))
               for row in rows]
    words = Words(np.array(samples).astype(np.int16), pd.DataFrame(rows), {})
    monkeypatch.setattr(onda.packing, "open_words", lambda path: words)


def pretrain(start_seed=0, **more):
    def train(out):
        packed = out.parent / "words.npy"
        for path in (packed, packed.with_suffix(".parquet")):
            if not path.exists():
                path.touch()
        onda.pretrain_encoder(encoders.build("ds_cnn_s", [4] * 5, seed=start_seed), "ds_cnn_s", packed, out,
                              Pretraining(episodes=5, classes=3, clips=3, time_shift=100), seed=0, threads=1, **more)

    return train


TRAININGS = {
    "base model": (train_base, [1, 3, 6]), "rate code": (train_arm("rate"), [1, 7]), "hybrid code": (train_arm("hybrid"), [6]),
    # After an epoch of each phase: before the loss sets in, with it, cut, folded, done.
    "hardware": (train_arm("mapped"), [1, 4, 5, 6, 7, 8]), "adaptive thresholds": (train_arm("full"), [3, 7]),
    "conventional net": (train_arm("ann"), [3]), "pre-training": (pretrain(), [2]),
    "retraining": (pretrain(start_seed=1, episodes=4, offline=0.25), [3])}


@pytest.mark.parametrize("name", TRAININGS)
def test_a_training_cut_off_goes_on_to_the_same_bytes(name, tones, tmp_path, monkeypatch, capsys):
    train, cuts = TRAININGS[name]
    (tmp_path / "straight").mkdir()
    train(tmp_path / "straight" / "net.safetensors")
    for cut in cuts:
        out = tmp_path / f"cut{cut}" / "net.safetensors"
        out.parent.mkdir()
        with monkeypatch.context() as patched:
            cut_after(patched, cut)
            with pytest.raises(Cut):
                train(out)
        assert not out.exists() and out.with_name("net.safetensors.checkpoint").exists()
        capsys.readouterr()
        train(out)
        assert f"going on after {'episode' if 'training' in name else 'epoch'} {cut} of" in capsys.readouterr().err
        assert out.read_bytes() == (tmp_path / "straight" / "net.safetensors").read_bytes(), f"cut after {cut}"
        assert not list(out.parent.glob("*checkpoint*")), "nothing stays once the output is there"


def test_a_training_may_be_cut_off_again_and_again(tmp_path, monkeypatch):
    train_base(tmp_path / "straight.safetensors")
    for _ in range(3):
        with monkeypatch.context() as patched, pytest.raises(Cut):
            cut_after(patched, 2)
            train_base(tmp_path / "cut.safetensors")
    train_base(tmp_path / "cut.safetensors")
    assert (tmp_path / "cut.safetensors").read_bytes() == (tmp_path / "straight.safetensors").read_bytes()


@pytest.mark.slow
def test_a_training_killed_outright_goes_on_to_the_same_bytes(tmp_path, capsys):
    killed = ("import os, signal, sys\nfrom pathlib import Path\nimport torch\nfrom edgekws.core.checkpoint import Checkpoint\n"
              "from tests.core.test_checkpoint import train_base\ntorch.set_num_threads(1)\nsave, saved = Checkpoint.save, []\n"
              "def killing(self, after, state):\n"
              "    save(self, after, state)\n"
              "    saved.append(after)\n"
              "    if len(saved) == 3:\n"
              "        os.kill(os.getpid(), signal.SIGKILL)\n"
              "Checkpoint.save, Checkpoint.due = killing, lambda self: self.path is not None\n"
              "train_base(Path(sys.argv[1]))\n")
    done = subprocess.run([sys.executable, "-c", killed, str(tmp_path / "a")], cwd=Path(__file__).parents[2], check=False)
    assert done.returncode == -9 and os.listdir(tmp_path) == ["a.checkpoint"]
    train_base(tmp_path / "a")
    assert "going on after epoch 3 of 6" in capsys.readouterr().err
    train_base(tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes() and len(os.listdir(tmp_path)) == 2


# ------------------------------------------------------------------------------------------------ what is refused
@pytest.fixture
def left(tmp_path, monkeypatch):
    """What a training cut off after three epochs has left, and where its output will be."""
    with monkeypatch.context() as patched, pytest.raises(Cut):
        cut_after(patched, 3)
        train_base(tmp_path / "net")
    return tmp_path / "net.checkpoint"


@pytest.mark.parametrize("change, named", [({"seed": 1}, "seed"), ({"rate": 2e-3}, "budget"), ({"epochs": 4}, "budget")])
def test_a_state_of_other_settings_is_left_alone(left, capsys, tmp_path, change, named):
    train_base(tmp_path / "net", **change)
    assert capsys.readouterr().err == f"{left}: was made with another {named}; starting afresh\n"
    train_base(tmp_path / "fresh", **change)
    assert (tmp_path / "net").read_bytes() == (tmp_path / "fresh").read_bytes() and not left.exists()


@pytest.mark.parametrize("found", ["sources_checksum", "provenance"])
def test_a_state_of_other_code_or_packages_is_left_alone(left, capsys, tmp_path, monkeypatch, found):
    now = getattr(checkpoint, found)
    monkeypatch.setattr(checkpoint, found, lambda **given: {**now(**given), "packages": {}} if given else "another")
    train_base(tmp_path / "net")
    named = "code" if found == "sources_checksum" else "packages"
    assert capsys.readouterr().err == f"{left}: was made with another {named}; starting afresh\n"


def test_a_gpus_state_does_not_go_on_on_a_cpu(tmp_path, capsys):
    with Checkpoint(tmp_path / "net", device="a made-up GPU") as of_a_gpu:
        of_a_gpu.save("epoch 1 of 2", {"epoch": 1})
        assert of_a_gpu.found() == {"epoch": 1}
        capsys.readouterr()
        assert Checkpoint(tmp_path / "net", device="cpu").found() is None and Checkpoint(tmp_path / "net").found() is None
    assert capsys.readouterr().err == 2 * f"{tmp_path}/net.checkpoint: was made with another device; starting afresh\n"


def test_a_state_of_other_inputs_is_left_alone(tmp_path, capsys):
    features = tmp_path / "features.npy"
    for content in ("old", "new", "newer"):
        features.write_text(content)
        os.utime(features, (0, 7 if content == "new" else 0))
        state = Checkpoint(tmp_path / "out", inputs=[features])
        assert state.found() is None
        state.save("one", {"x": 1})
    told = capsys.readouterr().err.splitlines()
    assert told == 2 * [f"{state.path}: was made with another inputs; starting afresh"], "another time, another size"


@pytest.mark.parametrize("damage", [
    lambda whole: b"", lambda whole: whole[:20], lambda whole: whole[:-20], lambda whole: b"no checkpoint at all",
    lambda whole: whole[:-1] + bytes([whole[-1] ^ 1]), lambda whole: whole.replace(b"order", b"ordre", 1)])
def test_a_damaged_state_is_left_alone(left, capsys, tmp_path, damage):
    left.write_bytes(damage(left.read_bytes()))
    train_base(tmp_path / "net")
    told = capsys.readouterr().err
    assert told.startswith(f"{left}: is damaged (") and told.endswith("starting afresh\n") and told.count("\n") == 1
    train_base(tmp_path / "fresh")
    assert (tmp_path / "net").read_bytes() == (tmp_path / "fresh").read_bytes() and not left.exists()


def test_a_model_is_no_checkpoint(tmp_path, capsys):
    files.write_model(tmp_path / "a.checkpoint", {"w": torch.zeros(2)}, architecture="a", settings={}, provenance={})
    assert Checkpoint(tmp_path / "a").found() is None and "is damaged" in capsys.readouterr().err


# ------------------------------------------------------------------------------------------------ the file
def test_a_state_comes_back_as_it_was(tmp_path):
    generator, draws = torch.Generator().manual_seed(3), np.random.default_rng(3)
    state = {"order": generator.get_state(), "draws": draws.bit_generator.state, "none": None, "rate": 0.1 + 0.2,
             "nested": [{"w": torch.arange(6.0).reshape(2, 3).T}, torch.tensor(True), [torch.tensor(2.5)]], "": [], "nan": 1e400}
    Checkpoint(tmp_path / "a", seed=1).save("it", state)
    found = Checkpoint(tmp_path / "a", seed=1).found()
    expected = [torch.rand(3, generator=generator), draws.random(3)]
    generator.set_state(found["order"])
    draws.bit_generator.state = found["draws"]
    assert torch.equal(torch.rand(3, generator=generator), expected[0]) and np.array_equal(draws.random(3), expected[1])
    assert torch.equal(found["nested"][0]["w"], state["nested"][0]["w"]) and found["nested"][2][0] == 2.5
    assert found["nested"][1].dtype == torch.bool and found["nested"][1].shape == ()
    assert [found[name] for name in ("none", "rate", "", "nan")] == [state[name] for name in ("none", "rate", "", "nan")]


def test_tasks_that_are_done_are_not_done_again(tmp_path):
    done = []

    def square(task):
        done.append(task)
        if done == [0, 1, 2, 3]:
            raise Cut
        return {"square": task * task}

    with pytest.raises(Cut), Checkpoint(tmp_path / "a") as state:
        list(state.each(range(5), square, of="numbers"))
    with Checkpoint(tmp_path / "a") as state:
        assert [row["square"] for row in state.each(range(5), square, of="numbers")] == [0, 1, 4, 9, 16]
    assert done == [0, 1, 2, 3, 3, 4] and not os.listdir(tmp_path)


def test_saving_takes_a_hundredth_of_the_time_at_most(tmp_path, monkeypatch):
    monkeypatch.undo()
    now = [0.0]
    monkeypatch.setattr(checkpoint.time, "monotonic", lambda: now[0])
    state, saved = Checkpoint(tmp_path / "a"), []

    def write(after, _):
        saved.append((after, now[0]))
        now[0] += 0.01 if after == "quick" else 3.0

    monkeypatch.setattr(state, "_write", write)
    for after, second in [("soon", 4), ("quick", 6), ("soon", 10), ("slow", 12), ("soon", 300), ("quick", 316)]:
        now[0] = second
        if state.due():
            state.save(after, {})
    assert saved == [("quick", 6), ("slow", 12), ("quick", 316)]


def test_a_full_disk_stops_no_training(tmp_path, monkeypatch, capsys):
    def full(self, after, state):
        raise UserError("no space left on the disk; nothing was written", where=self.path)

    monkeypatch.setattr(Checkpoint, "_write", full)
    train_base(tmp_path / "net", epochs=1)
    assert (tmp_path / "net").exists()
    assert capsys.readouterr().err == (f"{tmp_path}/net.checkpoint: no space left on the disk; nothing was written; going on "
                                       "without a checkpoint\n")
