"""The command line: every verb explains itself, bad input gets one clear error and leaves nothing behind."""

import io
import json
import shlex
import sys
import tarfile
import wave

import numpy as np
import pytest
import torch
import typer
from tests.corpus import wake_word_trees
from typer.testing import CliRunner

from edgekws import cli
from edgekws.config import Config
from edgekws.core import files
from edgekws.corpus import archive, audio, index, synthetic
from edgekws.corpus.settings import Synthetic
from edgekws.methods.neuedge.loihi import network
from edgekws.methods.onda import windows
from edgekws.methods.traces_propagation import experiments
from edgekws.models import encoder
from edgekws.models.settings import Network
from edgekws.protocol.settings import Training

COMMANDS = {}
"""Every command by what is typed: ``("onda", "features")``."""


def walk(group, path=()):
    for name in group.list_commands(None):
        command = group.get_command(None, name)
        if hasattr(command, "commands"):
            walk(command, (*path, name))
        else:
            COMMANDS[*path, name] = command


walk(typer.main.get_command(cli.app))


@pytest.fixture
def edgekws(monkeypatch, capsys):
    """Run a command as a person would: exit code, what it printed, what it complained."""
    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["edgekws", *map(str, arguments)])
        code = 0
        try:
            cli.main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        out, err = capsys.readouterr()
        return code, out, err

    return run


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_explains_itself(command):
    result = CliRunner().invoke(cli.app, [*command, "--help"])
    assert result.exit_code == 0 and "Usage" in result.output
    assert len(result.output.splitlines()) > 6


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_the_example_of_every_command_can_be_typed(command):
    """Help ends with a call of this very command that parses: no argument is missing, none is unknown, every choice exists."""
    program, *words = shlex.split(COMMANDS[command].epilog.removeprefix("Example: "))
    assert program == "edgekws" and tuple(words[:len(command)]) == command
    COMMANDS[command].make_context("edgekws", words[len(command):])


def wav_file(*, channels=1, rate=16_000, width=2, frames=16_000):
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as out:
        out.setparams((channels, width, rate, 0, "NONE", ""))
        out.writeframes(np.random.default_rng(0).integers(0, 255, frames * channels * width, dtype=np.uint8).tobytes())
    return buffer.getvalue()


def hostile(name, kind=tarfile.REGTYPE):
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, "/etc/passwd"
    return member


@pytest.mark.parametrize("member, content, says", [
    ("yes/aa_nohash_7.wav", wav_file()[:9000], "yes/aa_nohash_7.wav"),
    ("yes/aa_nohash_7.wav", wav_file(channels=2), "2 channels"),
    ("yes/aa_nohash_7.wav", wav_file(rate=44_100), "44"),
    ("yes/aa_nohash_7.wav", wav_file(width=1), "8"),
    ("yes/aa_nohash_7.wav", wav_file(frames=0), "yes/aa_nohash_7.wav"),
    ("yes/aa_nohash_7.wav", b"no sound at all", "yes/aa_nohash_7.wav"),
    ("yes/recording.wav", wav_file(), "_nohash_"),
    ("empty/", None, "'empty'"),
    ("x", hostile("/etc/cron.d/evil"), "/etc/cron.d/evil"),
    ("x", hostile("../outside.wav"), "../outside.wav"),
    ("x", hostile("yes/link.wav", tarfile.SYMTYPE), "yes/link.wav")])
def test_bad_members_are_named_and_nothing_is_written(edgekws, make_gsc, tmp_path, member, content, says):
    bad = make_gsc(**{member: content})
    code, _, err = edgekws("corpus", "index", bad, tmp_path / "out" / "index.parquet")
    assert code == 2 and err.startswith("error: ") and "remedy: " in err and says in err
    assert not (tmp_path / "out").exists()


def test_a_cut_off_archive_is_refused(edgekws, make_gsc, tmp_path):
    whole = make_gsc(name="gsc.tar.gz")
    cut = tmp_path / "cut.tar.gz"
    cut.write_bytes(whole.read_bytes()[:-3000])
    code, _, err = edgekws("corpus", "index", cut, tmp_path / "index.parquet")
    assert code == 2 and "cut.tar.gz" in err and "remedy" in err and not (tmp_path / "index.parquet").exists()


def test_a_checksum_that_differs_is_refused(edgekws, make_gsc, tmp_path):
    archive_ = make_gsc()
    code, _, err = edgekws("corpus", "index", archive_, tmp_path / "i.parquet", "--sha256", "0" * 64)
    assert code == 2 and "SHA-256" in err and not (tmp_path / "i.parquet").exists()
    code, _, err = edgekws("corpus", "index", archive_, tmp_path / "i.parquet", "--sha256", files.sha256_of(archive_))
    assert code == 0 and (tmp_path / "i.parquet").exists()


@pytest.mark.parametrize(("trouble", "says"), [
    (PermissionError(13, "Permission denied", "/a/b"), ("/a/b: Permission denied", "permission")),
    (OSError(28, "No space left on device"), ("No space left", "free some space")),
    (OSError("sndfile library not found"), ("sndfile library not found", "check")),
    (ModuleNotFoundError("No module named 'flwr'", name="flwr"), ("needs the package 'flwr'", "pip install")),
    (ImportError("libgomp.so.1: cannot open shared object file", name="torch._C"), ("libgomp.so.1", "edgekws doctor"))])
def test_what_the_machine_refuses_is_told_without_a_traceback(edgekws, monkeypatch, trouble, says):
    def refuse(*given, **more):
        raise trouble

    monkeypatch.setattr("edgekws.corpus.recordings.cut", refuse)
    code, _, err = edgekws("cut", "a.wav", "folder")
    assert code == 2 and err.startswith("error: ") and "\n  remedy: " in err and "Traceback" not in err
    assert all(part in err for part in says)


def test_a_bug_of_ours_keeps_its_traceback(edgekws, monkeypatch):
    monkeypatch.setattr("edgekws.corpus.recordings.cut", lambda *given: {}["a bug"])
    with pytest.raises(KeyError):
        edgekws("cut", "a.wav", "folder")


def test_misspelt_and_impossible_options_are_refused(edgekws, tmp_path):
    code, _, err = edgekws("corpus", "synthesise", tmp_path / "s.tar", "--set", "taks=2")
    assert code == 2 and "did you mean 'takes'?" in err
    code, _, err = edgekws("corpus", "synthesise", tmp_path / "s.tar", "--set", "takes=0")
    assert code == 2 and "'takes' is 0" in err
    code, _, err = edgekws("protocol", "plan", "i", "o", "--protocol", "one_usr")
    assert code == 2 and "one_usr" in err
    code, _, err = edgekws("protocol", "plan", tmp_path / "none.parquet", "o")
    assert code == 2 and "no such table" in err
    code, _, err = edgekws("report", "notebook", "n.ipynb", "o.ipynb", "--paramter", "figures=f")
    assert code == 2 and "No such option" in err and "paramter" in err
    for command in (("notebook", "n.ipynb", "o.ipynb", "-p"), ("build", tmp_path, "o.html", "--name")):
        for given in ("figures", "=f"):
            code, _, err = edgekws("report", *command, given)
            assert code == 2 and f"'{given}' is not of the form name=value" in err
    assert list(tmp_path.iterdir()) == []


def test_settings_are_checked_as_snakemake_would_lay_them_over_the_defaults(edgekws, tmp_path):
    overlay = tmp_path / "mine.yaml"
    overlay.write_text("alternatives: {methods: {lora_2: {kind: lora, rank: 2}}, compared: [bptt_full, ds_cnn_full, lora_2]}")
    code, out, err = edgekws("settings", "check", "config/demo.yaml", overlay)
    assert code == 0 and out.strip().endswith("good"), err
    overlay.write_text("alternatives: {methods: {lora_2: {kind: lroa}}}")
    code, _, err = edgekws("settings", "check", overlay)
    assert code == 2 and "alternatives.methods.lora_2.kind" in err and "mine.yaml" in err
    for content in (b"- a\n", b"", b"1: 2\n", b"run: \xff\xfe\n"):
        overlay.write_bytes(content)
        code, _, err = edgekws("settings", "check", overlay)
        assert code == 2 and "mine.yaml: " in err and "remedy: " in err


def test_a_disk_that_fills_up_is_told_plainly(edgekws, make_gsc, tmp_path, monkeypatch):
    """/dev/full answers as a full disk does."""
    import pyarrow.parquet as pq

    def write(table, part):
        with open("/dev/full", "wb", buffering=0) as full:
            full.write(b"x")

    monkeypatch.setattr(pq, "write_table", write)
    code, _, err = edgekws("corpus", "index", make_gsc(), tmp_path / "out" / "index.parquet")
    assert code == 2 and "no space left" in err and list((tmp_path / "out").iterdir()) == []


# ------------------------------------------------------------------------------------------------ personalise
@pytest.fixture(scope="module")
def base_model(tmp_path_factory):
    """A small base model made by the commands themselves, from synthetic speech."""
    folder = tmp_path_factory.mktemp("base")
    words = Synthetic(words=["yes", "no", "stop"], speakers={"train": 10, "validation": 1, "test": 1}, takes=2, user_takes=6)
    synthetic.synthesise(words, 0, folder / "s.tar")
    runner = CliRunner()

    def run(*arguments):
        result = runner.invoke(cli.app, [str(argument) for argument in arguments], catch_exceptions=False)
        assert result.exit_code == 0, result.output

    run("corpus", "index", folder / "s.tar", folder / "i.parquet")
    run("traces-propagation", "features", folder / "s.tar", folder / "i.parquet", folder / "f.npy")
    run("protocol", "plan", folder / "i.parquet", folder / "p.parquet", "--protocol", "one_user",
        "--set", "speaker=null", "--set", "support_fraction=0.5")
    run("traces-propagation", "base", folder / "f.npy", folder / "i.parquet", folder / "p.parquet",
        folder / "base.safetensors", "--set", "network.hidden=[40]", "--set", "base.epochs=4",
        "--set", "base.batch_size=16", "--set", "base.learning_rate=0.001")
    return folder


@pytest.fixture
def recordings(base_model, tmp_path):
    """A person's recordings: the test speaker's takes, under names of their own."""
    table, _ = index.read_index(base_model / "i.parquet")
    own = table[table.split == "test"].set_index("path")
    for name, data in archive.read_members(base_model / "s.tar"):
        if name in own.index:
            target = tmp_path / "me" / own.word[name] / f"recording {own['take'][name]}.wav"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
    return tmp_path / "me"


def test_personalise_writes_a_model_and_tells_its_accuracy(edgekws, base_model, recordings, tmp_path):
    out = tmp_path / "mine.safetensors"
    code, text, err = edgekws("personalise", base_model / "base.safetensors", recordings, out,
                              "--hold-back", 0.5, "--set", "learning_rate=0.001", "--set", "epochs=5")
    assert code == 0, err
    report = json.loads(text)
    assert report["learnt_from"] == 9 and report["held_back"] == 9 and len(report["recordings"]) == 9
    adapted, about = experiments.read_base(out)
    base, _ = experiments.read_base(base_model / "base.safetensors")
    assert adapted.vocabulary == base.vocabulary and torch.equal(adapted.scale, base.scale)
    assert not torch.equal(adapted.net.readout, base.net.readout)
    assert about["settings"]["personalised"]["base_sha256"] == files.sha256_of(base_model / "base.safetensors")
    right = sum(row["after"] == row["file"].split("/")[0] for row in report["recordings"])
    assert report["accuracy_after"] == pytest.approx(100 * right / 9)


def test_personalise_never_tests_on_a_copy_of_what_it_learnt(edgekws, base_model, recordings, tmp_path):
    """A copy of every recording, under another name and with another header, changes nothing but the list of repeats."""
    def report(name):
        code, text, err = edgekws("personalise", base_model / "base.safetensors", recordings,
                                  tmp_path / name, "--hold-back", 0.5)
        assert code == 0, err
        return json.loads(text)

    alone = report("alone")
    originals = sorted(recordings.rglob("*.wav"))
    for path in originals:
        samples = audio.decode_wav(path.read_bytes(), str(path))
        copy = bytearray(audio.encode_wav(samples))
        copy[36:36] = b"LIST\x04\x00\x00\x00note"
        copy[4:8] = (len(copy) - 8).to_bytes(4, "little")
        path.with_name(f"z copy of {path.name}").write_bytes(copy)
    both = report("both")
    assert alone["repeats"] == []
    assert both["repeats"] == [{"file": f"{path.parent.name}/z copy of {path.name}",
                                "repeat_of": f"{path.parent.name}/{path.name}"} for path in originals]
    assert {**both, "repeats": []} == alone
    assert (tmp_path / "both").read_bytes() == (tmp_path / "alone").read_bytes()


def test_personalise_does_not_take_copies_for_a_second_take(edgekws, base_model, tmp_path):
    (tmp_path / "me" / "yes").mkdir(parents=True)
    for name in ("1", "2"):
        (tmp_path / "me" / "yes" / f"{name}.wav").write_bytes(wav_file())
    code, _, err = edgekws("personalise", base_model / "base.safetensors", tmp_path / "me", tmp_path / "o")
    assert code == 2 and "1 recording(s) and 1 repeat(s) of it" in err and not (tmp_path / "o").exists()


def test_personalise_is_reproducible(edgekws, base_model, recordings, tmp_path):
    for name in ("a", "b"):
        assert edgekws("personalise", base_model / "base.safetensors", recordings, tmp_path / name)[0] == 0
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_personalise_names_every_recording_that_it_did_not_take(edgekws, base_model, recordings, tmp_path):
    """What a phone, a recorder and a file manager leave: taken where it can be, named with the reason where not."""
    takes = sorted(recordings.rglob("*.wav"))
    takes[0].rename(takes[0].with_suffix(".WAV"))
    takes[1].parent.rename(takes[1].parent.with_name(takes[1].parent.name.capitalize()))
    words = {path.name.lower(): path for path in recordings.iterdir()}
    bad = {"yes/stereo.wav": wav_file(channels=2), "yes/cut.wav": wav_file()[:1000], "no/memo.m4a": b"\0\0\0 ftypM4A ",
           "no/silent.flac": audio.encode_wav(np.zeros(16_000, np.int16)), "loose.wav": wav_file()}
    for file, content in bad.items():
        word, _, name = file.rpartition("/")
        (words.get(word, recordings) / name).write_bytes(content)
    for left in (words["yes"] / "._stereo.wav", recordings / ".DS_Store"):
        left.write_bytes(b"left behind")
    code, text, err = edgekws("personalise", base_model / "base.safetensors", recordings, tmp_path / "out")
    assert code == 0, err
    report = json.loads(text)
    assert report["learnt_from"] + report["held_back"] == 18 + 1
    why = {row["file"].lower(): row["why"] for row in report["left_out"]}
    assert sorted(why) == sorted(bad.keys() - {"yes/stereo.wav"})
    for file, says in (("yes/cut.wav", "truncated"), ("no/memo.m4a", "not audio"), ("no/silent.flac", "silent"),
                       ("loose.wav", "no folder of a word")):
        assert says in why[file] and f"{file}: left out: " in err.lower()
    assert [row["note"] for row in report["notes"]] == ["mixed down from 2 channels"] and "mixed down" in err


def test_personalise_tells_why_nothing_is_left(edgekws, base_model, tmp_path):
    (tmp_path / "me" / "yes").mkdir(parents=True)
    for name in ("1", "2"):
        (tmp_path / "me" / "yes" / f"{name}.wav").write_bytes(audio.encode_wav(np.zeros(16_000, np.int16)))
    code, _, err = edgekws("personalise", base_model / "base.safetensors", tmp_path / "me", tmp_path / "o")
    assert code == 2 and "2 cannot be used, the first being 'yes/1.wav': is silent" in err
    code, _, err = edgekws("personalise", base_model / "base.safetensors", tmp_path / "none", tmp_path / "o")
    assert code == 2 and "no such folder or archive" in err


def test_personalise_refuses_a_word_that_the_model_does_not_know(edgekws, base_model, recordings, tmp_path):
    (recordings / "stopp").mkdir()
    (recordings / "stopp" / "1.wav").write_bytes(wav_file())
    code, _, err = edgekws("personalise", base_model / "base.safetensors", recordings, tmp_path / "out")
    assert code == 2 and "did you mean 'stop'?" in err and not (tmp_path / "out").exists()


def test_a_recording_of_several_words_is_cut_and_shown(edgekws, tmp_path):
    pause = np.random.default_rng(0).normal(0, 20, 16_000).astype(np.int16)
    word = (9_000 * np.hanning(9_600) * np.sin(np.arange(9_600) / 5)).astype(np.int16)
    (tmp_path / "long.wav").write_bytes(audio.encode_wav(np.concatenate([pause, word, pause, word, pause])))
    code, text, err = edgekws("cut", tmp_path / "long.wav", tmp_path / "yes")
    assert code == 0, err
    assert [line.split("\t")[0] for line in text.splitlines()] == [str(path) for path in sorted((tmp_path / "yes").iterdir())]
    assert len(text.splitlines()) == 2


def test_personalise_needs_something_to_hold_back(edgekws, base_model, tmp_path):
    for word in ("yes", "no"):
        (tmp_path / "me" / word).mkdir(parents=True)
        (tmp_path / "me" / word / "1.wav").write_bytes(wav_file())
    code, _, err = edgekws("personalise", base_model / "base.safetensors", tmp_path / "me", tmp_path / "o")
    assert code == 2 and "at least twice" in err


def test_features_of_another_index_are_refused(edgekws, base_model, make_gsc, tmp_path):
    assert edgekws("corpus", "index", make_gsc(), tmp_path / "other.parquet")[0] == 0
    code, _, err = edgekws("traces-propagation", "base", base_model / "f.npy", tmp_path / "other.parquet",
                           base_model / "p.parquet", tmp_path / "m")
    assert code == 2 and "f.npy" in err and not (tmp_path / "m").exists()


def test_features_of_another_front_end_train_no_base(edgekws, base_model, tmp_path):
    given = base_model / "f.npy", base_model / "i.parquet", base_model / "p.parquet", tmp_path / "m"
    code, _, err = edgekws("traces-propagation", "base", *given, "--set", "features.mels=20")
    assert code == 2 and "has 120 values a frame, the settings say 60" in err and list(tmp_path.iterdir()) == []


def test_defaults_of_the_library_are_the_papers(base_model):
    """What a person gets without any setting is what the paper did (traces_propagation.md, section 6)."""
    network, budget = Network(), Training()
    assert (network.hidden, network.membrane_leak, network.trace_leak, network.threshold) == ([450], 0.77, 0.977, 0.66)
    assert (budget.learning_rate, budget.epochs, budget.batch_size) == (1e-4, 3, 1024)
    assert Config().traces_propagation.base.epochs == 10


# ------------------------------------------------------------------------------------------------ NeuEdge and Loihi
SMALL = json.dumps({"network": {"hidden": [12, 12]}, "conventional": {"channels": [8, 8]},
                    "training": {"epochs": 5, "batch_size": 16}, "hardware": {"group": 4, "placement_steps": 20},
                    "adaptive": {"gamma": [0.5]}, "grid": {"base_threshold": [1.0], "alpha": [0.0, 0.5], "epochs": 1}})


@pytest.fixture(scope="module")
def arms(base_model):
    """Features and all arms, made by the commands themselves."""
    runner, features = CliRunner(), base_model / "unit.npy"

    def run(*arguments):
        result = runner.invoke(cli.app, [str(argument) for argument in arguments], catch_exceptions=False)
        assert result.exit_code == 0, result.output

    run("neuedge", "features", base_model / "s.tar", base_model / "i.parquet", features, "--set", "pool=4")
    run("neuedge", "noise", base_model / "s.tar", base_model / "i.parquet", features, base_model / "noise.npy",
        "--set", "snr_db=[10.0]", "--set", "clips=4")
    for arm in ("rate", "lif", "hybrid", "mapped", "full", "ann"):
        run("neuedge", "train", features, base_model / "i.parquet", base_model / f"{arm}.safetensors", "--arm", arm,
            "--settings", SMALL)
    return base_model


def measure(edgekws, arms, out, *names):
    return edgekws("neuedge", "measure", arms / "unit.npy", arms / "i.parquet", arms / "noise.npy", out,
                   *(arms / f"{name}.safetensors" for name in names), "--settings", SMALL)


def test_all_arms_are_measured_and_summed_up(edgekws, arms, tmp_path):
    code, _, err = measure(edgekws, arms, tmp_path / "seed0.json", "ann", "full", "mapped", "hybrid", "lif", "rate")
    assert code == 0, err
    found = files.read_json(tmp_path / "seed0.json")
    assert [row["variant"] for row in found["rows"]] == [
        "rate", "lif", "hybrid", "mapped", "adaptive", "homeostatic", "full", "ann"]
    spikes = {row["variant"]: row["subsets"]["all"]["spikes"]["encoder"] for row in found["rows"][:-1]}
    assert spikes["lif"] < spikes["hybrid"] == spikes["mapped"], "a lower threshold adds spikes"
    assert edgekws("neuedge", "summarise", tmp_path / "ablation.json", tmp_path / "seed0.json")[0] == 0
    summed = files.read_json(tmp_path / "ablation.json")
    assert summed["summary"]["hybrid"]["all"]["spikes_encoder"]["value"] == spikes["hybrid"]
    assert summed["effects"]["hybrid_vs_lif"]["all"]["encoder_spike_ratio"]["value"] == pytest.approx(
        spikes["lif"] / spikes["hybrid"])


def test_what_is_measured_tells_the_settings_it_was_made_with_and_no_others(edgekws, arms, tmp_path):
    assert measure(edgekws, arms, tmp_path / "o.json", "ann", "full", "mapped", "hybrid", "lif", "rate")[0] == 0
    found, given = files.read_json(tmp_path / "o.json")["settings"], json.loads(SMALL)
    assert set(found) == {
        "features", "encoder", "grid", "network", "conventional", "training", "hardware", "adaptive"}
    for section in ("network", "conventional", "training", "grid", "hardware", "adaptive"):
        assert given[section].items() <= found[section].items()
    known = {arm: files.read_model(arms / f"{arm}.safetensors")[1]["settings"] for arm in ("rate", "mapped", "full", "ann")}
    assert [arm for arm, about in known.items() if "hardware" in about] == ["mapped", "full"]
    assert [arm for arm, about in known.items() if "adaptive" in about] == ["full"]
    assert [arm for arm, about in known.items() if "encoder" in about] == ["rate", "mapped", "full"]


def test_a_missing_arm_is_named(edgekws, arms, tmp_path):
    code, _, err = measure(edgekws, arms, tmp_path / "o.json", "rate", "lif", "hybrid", "ann")
    assert code == 2 and "hybrid, lif, rate" in err and "mapped" in err and not (tmp_path / "o.json").exists()


def test_export_writes_integers_and_nir(edgekws, arms, tmp_path):
    code, _, err = edgekws("neuedge", "export", arms / "mapped.safetensors", tmp_path / "m.safetensors",
                           "--nir", tmp_path / "m.nir")
    assert code == 0, err
    integers, metadata = network.load_network(tmp_path / "m.safetensors")
    assert integers.words == ("no", "stop", "yes") and metadata["settings"]["arm"] == "mapped"
    assert (tmp_path / "m.nir").stat().st_size > 1000


@pytest.mark.parametrize("model", ["base", "ann"])
def test_only_a_spiking_arm_goes_onto_the_chip(edgekws, arms, tmp_path, model):
    code, _, err = edgekws("neuedge", "export", arms / f"{model}.safetensors", tmp_path / "m.safetensors")
    assert code == 2 and f"{model}.safetensors" in err and "feedforward_lif" in err and list(tmp_path.iterdir()) == []


def test_features_of_another_front_end_are_refused(edgekws, arms, tmp_path):
    code, _, err = edgekws("neuedge", "train", arms / "f.npy", arms / "i.parquet", tmp_path / "m", "--settings", SMALL)
    assert code == 2 and "f." in err and list(tmp_path.iterdir()) == []


def test_where_a_tool_is_missing_the_file_says_so(edgekws, arms, tmp_path):
    """What the workflow does where Lava, NeuroBench or SANA-FE cannot be installed."""
    absent = tmp_path / "environment"
    absent.mkdir()
    (absent / "not_installed.txt").write_text("the packages could not be installed here\nno network\n")
    given = arms / "unit.npy", arms / "i.parquet"
    assert edgekws("neuedge", "referee", *given, absent, tmp_path / "r.json", arms / "hybrid.safetensors",
                   "--set", "clips=2")[0] == 0
    assert edgekws("neuedge", "second-opinion", *given, absent, absent, tmp_path / "o.json", arms / "mapped.safetensors",
                   "--settings", SMALL)[0] == 0
    lava, opinions = files.read_json(tmp_path / "r.json"), files.read_json(tmp_path / "o.json")
    for found in (lava, opinions["neurobench"], opinions["sanafe"]):
        assert found["status"] == "not run" and "could not be installed" in found["why"]
    assert lava["share"] is None and lava["models"][0]["nir"]["spikes"]["compared"] > 0, "what needs no tool is checked"


def test_the_encoder_is_swept(edgekws, arms, tmp_path):
    assert edgekws("neuedge", "encode", arms / "unit.npy", arms / "i.parquet", tmp_path / "e.json", "--settings", SMALL)[0] == 0
    found = files.read_json(tmp_path / "e.json")
    assert [point["alpha"] for point in found["grid"]] == [0.0, 0.5]
    assert not found["checks"]["alpha_saves_spikes"]["holds"]


def test_a_network_that_does_not_fit_the_chip_is_told_by_how_much(edgekws, arms, tmp_path):
    code, _, err = edgekws("neuedge", "train", arms / "unit.npy", arms / "i.parquet", tmp_path / "m", "--arm", "mapped",
                           "--settings", SMALL, "--set", "network.hidden=[600]")
    assert code == 2 and "mini_chip: neuron 0 of readout" in err and "in-axons" in err and "more than" in err
    assert list(tmp_path.iterdir()) == []


# ------------------------------------------------------------------------------------------------ OnDA
@pytest.fixture(scope="module")
def wake(tmp_path_factory):
    """Windows of a wake-word corpus in HeySnips' layout, and an encoder that learnt nothing yet."""
    folder, runner = tmp_path_factory.mktemp("wake"), CliRunner()
    tree = wake_word_trees.heysnips(folder, synthetic=True)
    for arguments in (("corpus", "index-wake-words", tree, folder / "i.parquet"),
                      ("onda", "features", tree, folder / "i.parquet", folder / "w.npy", "--set", "windows.stride=8000",
                       "--set", "corpus.minimum_positives=3")):
        result = runner.invoke(cli.app, [str(argument) for argument in arguments], catch_exceptions=False)
        assert result.exit_code == 0, result.output
    encoder.save_encoder(folder / "net.safetensors", encoder.build("ds_cnn_s"), "ds_cnn_s", about={"offline": 0.25},
                         provenance={})
    (folder / "word.wav").write_bytes(wav_file())
    (folder / "silent.wav").write_bytes(audio.encode_wav(np.zeros(16_000, np.int16)))
    (folder / "memo.m4a").write_bytes(b"\0\0\0 ftypM4A ")
    return folder


ENROL = ("enrol", "net.safetensors", "OUT")
PERSONALISE = ("onda", "personalise", "w.npy", "net.safetensors", "w.npy", "OUT")


@pytest.mark.parametrize("arguments, says", [
    (("listen", "none.safetensors", "word.wav"), "no such"),
    (("listen", "w.npy", "word.wav"), "w.npy"),
    (("listen", "net.safetensors", "word.wav"), "`edgekws adapt`"),
    (ENROL, "give --positive and --negative"),
    ((*ENROL, "--positive", "word.wav"), "give --positive and --negative"),
    ((*ENROL, "--positive", "memo.m4a", "--negative", "word.wav"), "ffmpeg -i"),
    ((*ENROL, "--positive", "word.wav", "--negative", "silent.wav"), "is silent"),
    ((*ENROL, "--positive", "none.wav", "--negative", "word.wav"), "no such recording"),
    ((*PERSONALISE, "--offline", 0.25), "holds ds_cnn_s, pruned by 0.25 before deployment; the experiment wants ds_cnn_l"),
    ((*PERSONALISE, "--set", "experiment.backbone=ds_cnn_s"), "the experiment wants ds_cnn_s and 0"),
    ((*PERSONALISE, "--set", "finetuning.epoch=3"), "did you mean 'epochs'?"),
    (("onda", "personalise", "none.npy", *PERSONALISE[3:]), "none"),
    (("onda", "pretrain", "words.npy", "OUT"), "words"),
    (("onda", "prune-offline", "none.safetensors", "words.npy", "OUT"), "none.safetensors"),
    (("onda", "prune-offline", "net.safetensors", "words.npy", "OUT", "--share", 1), "share"),
    (("adapt", "w.npy", "net.safetensors", "OUT", "--schedule", "onda_3"), "onda_3"),
    (("onda", "hessian", "net.safetensors", "words.npy", "OUT"), "words"),
    (("onda", "summarise", "OUT", "none.json"), "none.json"),
    (("onda", "words", "OUT", "--set", "words=nowhere"), "nowhere"),
    (("onda", "features", "none.tar", "i.parquet", "OUT", "--set", "corpus.minimum_positives=3"), "none.tar"),
    (("onda", "features", "none.tar", "i.parquet", "OUT"), "set onda.corpus.minimum_positives to 3 or less")])
def test_bad_input_to_onda_is_named(edgekws, wake, tmp_path, monkeypatch, arguments, says):
    monkeypatch.chdir(wake)
    before = sorted(wake.iterdir())
    code, _, err = edgekws(*(tmp_path / "out" if argument == "OUT" else argument for argument in arguments))
    assert code == 2 and says in err and "Traceback" not in err
    assert list(tmp_path.iterdir()) == [] and sorted(wake.iterdir()) == before


def test_a_user_who_is_not_there_is_asked_for_with_a_suggestion(edgekws, wake, tmp_path):
    table = windows.open_windows(wake / "w.npy").table
    user = table.speaker[table.role == "user"].iloc[0]
    code, _, err = edgekws("adapt", wake / "w.npy", wake / "net.safetensors", tmp_path / "out", "--user", f"{user}x")
    assert code == 2 and f"did you mean '{user}'?" in err and list(tmp_path.iterdir()) == []
