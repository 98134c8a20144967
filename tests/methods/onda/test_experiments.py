"""OnDA from end to end on tiny corpora in the layouts of HeySnips v1, v2 and HeySnapdragon, by its commands."""

from __future__ import annotations

import json
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from tests.corpus import wake_word_trees as trees
from typer.testing import CliRunner

from edgekws import cli
from edgekws.core import files
from edgekws.core.errors import UserError
from edgekws.corpus import salt, wake_words
from edgekws.corpus.audio import encode_wav
from edgekws.ledger.schema import CorpusFacts
from edgekws.methods.onda import bench, experiments, schedules, windows
from edgekws.methods.onda.settings import UNPRUNED, Personalisation, Schedule
from edgekws.methods.onda.summary import EFFECTS
from edgekws.models import encoder as encoders

SPEAKERS, TAKES = {"train": 3, "dev": 2, "test": 1}, 5
ODD = 812_345_004  # the first speaker of the split dev, whose recordings have nothing in common
USERS = SPEAKERS["dev"] + SPEAKERS["test"]
SALT = 32 * "a5"
CORPUS = {"corpus": {"minimum_positives": TAKES, "test_speakers": 2}, "windows": {"stride": 8000, "stream_share": 1.0}}
WORDS = ("no", "yes")
SMALL = {"calibration": {"negatives": 2, "filters": [1, 2]},
         "finetuning": {"epochs": 2, "positives": 2, "negatives": 4, "most_positives": 4, "margin": 2.0},
         "pruning": {"probes": 2, "batches": 1}, "robust": {"updates": 4, "positives": 2, "negatives": 4, "mine_every": 2},
         "distillation": {"windows": 40, "updates": 4, "batch": 8, "refit_windows": 20}}
NOTHING = 0.001  # of 256 channels: none
EVERY = list(get_args(Schedule))


# ------------------------------------------------------------------------------------------------ corpora and commands
def edgekws(*arguments: object) -> str:
    result = CliRunner().invoke(cli.app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def tone(word: str, take: int) -> bytes:
    sound = trees.burst(1.0, 700 if word == "no" else 1500, amplitude=0.1 + 0.01 * take)
    return encode_wav(sound)


def gsc(path: Path) -> Path:
    """An archive in GSC's layout: two speakers of its training split, one of its validation split."""
    with tarfile.open(path, "w") as tar:
        for word in WORDS:
            for place, speaker in enumerate(("c50f55b8", "0132a06d", "099d52ad")):
                for take in range(2):
                    wav = path.with_name("take.wav")
                    wav.write_bytes(tone(word, 2 * place + take))
                    tar.add(wav, f"./{word}/{speaker}_nohash_{take}.wav")
    return path


def mswc(folder: Path) -> Path:
    """MSWC English: two words that are not commands, converted to WAV."""
    for split in ("train", "dev"):
        rows = ["LINK,WORD,VALID,SPEAKER,GENDER"]
        for word in WORDS:
            for take in range(3):
                name = f"{word}body/{split}{take}"
                (folder / "clips" / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / "clips" / f"{name}.wav").write_bytes(tone(word, take))
                rows.append(f"{name}.opus,{word}body,True,speaker {split}{take},NAN")
        (folder / f"en_{split}.csv").write_text("\n".join(rows) + "\n")
    return folder


def heysnips(folder: Path, root: str) -> Path:
    """HeySnips' tree with noise on every recording: wake words are low, other utterances high, but not by much."""
    tree, random = trees.heysnips(folder, root=root, speakers=SPEAKERS, positives=TAKES), np.random.default_rng(0)
    for split in trees.SPLITS:
        for item in json.loads((tree / f"{split}.json").read_text()):
            frequency = random.uniform(300, 6000) if item["worker_id"] == ODD else random.uniform(
                *((400, 500) if item["is_hotword"] else (1000, 3000)))
            sound = trees.burst(item["duration"], frequency)
            (tree / item["audio_file_path"]).write_bytes(encode_wav(sound + random.integers(-500, 500, len(sound), np.int16)))
    return tree


@dataclass
class Made:
    """What the commands made of one corpus."""

    folder: Path
    words: Path
    encoder: Path

    @property
    def features(self) -> Path:
        return self.folder / "onda.npy"

    def personalise(self, name: str, *options: object, experiment: dict[str, Any], **changes: dict[str, Any]) -> Path:
        """Metrics of a job."""
        out = self.folder / f"{name}.json"
        chosen = {**SMALL, **{section: {**SMALL.get(section, {}), **values} for section, values in changes.items()}}
        edgekws("onda", "personalise", self.features, self.encoder, self.words, out, "--settings",
                json.dumps({**chosen, "experiment": {"backbone": "ds_cnn_s", "ratios": [0.5], **experiment}}), *options)
        return out


def rows_of(path: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = files.read_json(path)["rows"]
    return rows


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the corpora."""
    return tmp_path_factory.mktemp("given")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of everything that the commands write."""
    return tmp_path_factory.mktemp("results")


def pretrained(results: Path, name: str, *options: object) -> tuple[Path, Path]:
    words, encoder = results / f"{name}_words.npy", results / f"{name}.safetensors"
    edgekws("onda", "words", words, *options)
    said = edgekws("onda", "pretrain", words, encoder, "--backbone", "ds_cnn_s", "--seed", 1, "--settings",
                   json.dumps({"episodes": 100, "clips": 4, "margin": 1.0, "time_shift": 4000}))
    assert "% of held-out clips" in said
    return words, encoder


@pytest.fixture(scope="module")
def of_gsc(given: Path, results: Path) -> tuple[Path, Path]:
    """Packed words and encoder."""
    archive = gsc(given / "gsc.tar")
    edgekws("corpus", "index", archive, results / "gsc.parquet")
    return pretrained(results, "gsc", "--archive", archive, "--index", results / "gsc.parquet")


@pytest.fixture(scope="module")
def of_mswc(given: Path, results: Path) -> tuple[Path, Path]:
    folder = mswc(given / "mswc")
    return pretrained(results, "mswc", "--set", f"words={folder}")


def made(name: str, results: Path, pretrained: tuple[Path, Path], archive: Path, *options: object) -> Made:
    folder = results / name
    salt.salt_beside(archive).write_text(SALT + "\n")  # else it is drawn, and users are other ones each time
    edgekws("corpus", "index-wake-words", archive, folder / "wake_words.parquet", *options)
    edgekws("onda", "features", archive, folder / "wake_words.parquet", folder / "onda.npy", "--settings", json.dumps(CORPUS),
            *options)
    return Made(folder, *pretrained)


@pytest.fixture(scope="module")
def v1(given: Path, results: Path, of_gsc: tuple[Path, Path]) -> Made:
    return made("v1", results, of_gsc, heysnips(given, trees.V1))


@pytest.fixture(scope="module")
def v2_archive(given: Path) -> Path:
    return trees.tarred(heysnips(given, trees.V2), given / "hey_snips.tar.gz")


@pytest.fixture(scope="module")
def v2(results: Path, of_mswc: tuple[Path, Path], v2_archive: Path) -> Made:
    return made("v2", results, of_mswc, v2_archive)


@pytest.fixture(scope="module")
def snapdragon(given: Path, results: Path, of_mswc: tuple[Path, Path], v2_archive: Path) -> Made:
    return made("snapdragon", results, of_mswc, v2_archive, "--positives", trees.heysnapdragon(given, takes=TAKES))


# ------------------------------------------------------------------------------------------------ jobs
BRIEF = {"schedules": ["none", "onda_1"]}


@pytest.fixture(scope="module")
def odd(v2: Made) -> str:
    """The user whose calibration fails."""
    table, _ = wake_words.read_index(v2.folder / "wake_words.parquet")
    return str(table[table.split == "dev"].speaker.iloc[0])


@pytest.fixture(scope="module")
def ordinary(v2: Made, odd: str) -> list[str]:
    """The users who can be adapted."""
    return [user for user in experiments.users_of(windows.open_windows(v2.features), None, 1, 0) if user != odd]


@pytest.fixture(scope="module")
def brief(v2: Made) -> Path:
    """A job of all users and the paper's first schedule."""
    return v2.personalise("brief", experiment=BRIEF)


@pytest.fixture(scope="module")
def refused(v2: Made) -> Path:
    """The same where no stream gives pseudo-labels enough."""
    return v2.personalise("refused", experiment=BRIEF, finetuning={"positives": 100})


@pytest.fixture(scope="module")
def every(v2: Made) -> Path:
    """A job of one user and all schedules; of the ratios the first prunes nothing."""
    return v2.personalise("every", "--part", USERS - 1, experiment={
        "schedules": EVERY, "ratios": [NOTHING, 0.5], "parts": USERS})


@pytest.fixture(scope="module")
def summary(v2: Made, every: Path) -> dict[str, Any]:
    edgekws("onda", "summarise", v2.folder / "controls.json", every)
    found: dict[str, Any] = files.read_json(v2.folder / "controls.json")
    return found


@pytest.fixture(scope="module")
def adapted(v2: Made, ordinary: list[str]) -> Path:
    """The model of one user."""
    out = v2.folder / "adapted.safetensors"
    said = edgekws("adapt", v2.features, v2.encoder, out, "--user", ordinary[0], "--settings", json.dumps(SMALL))
    assert ordinary[0] in said and "4 updates" in said
    return out


# ------------------------------------------------------------------------------------------------ who is measured
@pytest.mark.parametrize(("corpus", "name", "meets"), [
    ("v1", "heysnips_v1", set()), ("v2", "heysnips_v2", {"heysnips_v2", "mswc"}),
    ("snapdragon", "heysnapdragon", {"heysnapdragon", "heysnips_v2", "mswc"})])
def test_every_corpus_goes_all_the_way_and_says_what_it_is(
        corpus: str, name: str, meets: set[str], request: pytest.FixtureRequest) -> None:
    run: Made = request.getfixturevalue(corpus)
    job = run.personalise("all_the_way", experiment=BRIEF, calibration={"high": 0.4})
    edgekws("onda", "summarise", run.folder / "ds_cnn.json", job)
    found = files.read_json(run.folder / "ds_cnn.json")
    users = found["users"]
    assert len(users) == (2 if corpus == "snapdragon" else USERS)
    assert [(row["user"], row["schedule"]) for row in found["rows"]] == [
        (user, schedule) for user in users for schedule in ("pretrained", "none", "onda_1")]
    arms = found["summary"]["0"]
    assert {(schedule, ratio) for schedule in arms for ratio in arms[schedule]} == {
        ("pretrained", "0"), ("none", "0"), ("onda_1", "50")}
    # How many users can be adapted to depends on the processor's last digits; each of those has a smaller net.
    whole = {row["user"]: row["parameters"] for row in found["rows"] if row["schedule"] == "pretrained"}
    pruned = [row for row in found["rows"] if row["schedule"] == "onda_1"]
    assert any(row["adapted"] for row in pruned) and found["calibrations"]["failed"] < len(users)
    for row in pruned:
        shrunk = whole[row["user"]] / row["parameters"]
        assert shrunk > 1.5 if row["adapted"] else shrunk == 1
    facts = CorpusFacts.model_validate(found["provenance"]["corpus"])
    assert (facts.name, facts.synthetic, facts.has) == (name, False, meets)


def test_heysnapdragon_is_split_by_its_speakers(snapdragon: Made) -> None:
    index, _ = wake_words.read_index(snapdragon.folder / "wake_words.parquet")
    said = index[index.positive]  # in sorted order of speaker and take
    assert len(said) == 5 * TAKES, "HeySnips' own wake words do not count"
    table = windows.open_windows(snapdragon.features).table.set_index("clip")
    assert table.loc[said["clip"], "role"].tolist() == ["stream"] * 3 * TAKES + ["user"] * 2 * TAKES
    assert set(table.index[table.positive]) == set(said["clip"])


def test_where_nobody_says_the_wake_word_often_enough_the_setting_is_named(v2: Made, v2_archive: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"nobody .* {TAKES + 1} times") as caught:
        edgekws("onda", "features", v2_archive, v2.folder / "wake_words.parquet", tmp_path / "onda.npy", "--set",
                f"corpus.minimum_positives={TAKES + 1}")
    assert "onda.corpus.minimum_positives" in caught.value.remedy and str(v2_archive.name) in str(caught.value)
    assert list(tmp_path.iterdir()) == []


# ------------------------------------------------------------------------------------------------ what is done
def test_with_nothing_pruned_every_schedule_that_prunes_first_is_fine_tuning_alone(every: Path) -> None:
    rows = {(row["schedule"], row["ratio"]): row for row in rows_of(every)}
    assert len(rows) == 1 + len(UNPRUNED) + 2 * (len(EVERY) - len(UNPRUNED))
    plain = {"oracle_onda_1": rows["oracle", 0.0]}
    for schedule in ("onda_1", "l1_before", "random_before", "hap_wrong_domain", "oracle_onda_1"):
        expected = plain.get(schedule, rows["none", 0.0])
        assert rows[schedule, NOTHING] == {**expected, "schedule": schedule, "ratio": NOTHING}
        pruned = rows[schedule, 0.5]
        assert pruned["parameters"] < expected["parameters"] / 2 and pruned["gap"] != expected["gap"]
    for schedule in ("onda_2", "hap_after", "random_after"):
        assert rows[schedule, NOTHING]["training"]["steps"] == 2 * rows["none", 0.0]["training"]["steps"] == 8
        assert rows[schedule, NOTHING]["parameters"] == rows["none", 0.0]["parameters"]


def test_statistics_alone_train_nothing_and_more_updates_are_more(every: Path) -> None:
    rows = {(row["schedule"], row["ratio"]): row for row in rows_of(every)}
    assert rows["statistics", 0.0]["training"]["steps"] == 0 and rows["statistics", 0.0]["gap"] != rows["pretrained", 0.0]["gap"]
    assert rows["more_updates", 0.0]["training"]["steps"] == 4 * rows["none", 0.0]["training"]["steps"]
    assert rows["robust", 0.0]["training"]["steps"] == 4 and rows["robust", 0.0]["parameters"] == rows["none", 0.0]["parameters"]
    assert rows["distilled", 0.5]["training"]["steps"] == 0 and rows["robust_distilled", 0.5]["training"]["steps"] == 4
    assert rows["distilled", 0.5]["widths"] == rows["robust_distilled", 0.5]["widths"] == [32] * 4 + [64]


def test_every_condition_is_measured_on_the_same_utterances(v2: Made, v2_archive: Path) -> None:
    for condition in ("noise_10", "room", "learning"):
        edgekws("onda", "features", v2_archive, v2.folder / "wake_words.parquet", windows.beside(v2.features, condition),
                "--condition", condition, "--settings", json.dumps(CORPUS))
    job = v2.personalise("elsewhere", experiment={"schedules": ["robust", "robust_distilled"], "conditions": ["noise_10", "room"],
                                                  "stream": "room", "learning": "learning", "users": 1},
                         calibration={"low": 0.1, "high": 0.2, "refuse_negative_gap": False})
    quiet = v2.personalise("quiet", experiment={"schedules": ["robust"], "users": 1},
                           calibration={"low": 0.1, "high": 0.2, "refuse_negative_gap": False})
    (deployed, robust, small), (alone, otherwise) = rows_of(job), rows_of(quiet)
    assert set(deployed["conditions"]) == {"noise_10", "room"} and alone["conditions"] == {}
    assert all(deployed[name] == alone[name] for name in ("accuracy", "curve", "recall", "queries", "hours"))
    assert deployed["conditions"]["noise_10"] != deployed["conditions"]["room"]
    assert robust["labels"] != otherwise["labels"] or robust["gap"] != otherwise["gap"], "it heard another stream"
    assert small["parameters"] < robust["parameters"] / 2
    assert files.read_json(job)["noises"] == {"noise_10": ["made pink noise"], "room": [], "learning": ["made white noise"]}
    edgekws("onda", "summarise", v2.folder / "elsewhere_summary.json", job)
    cells = files.read_json(v2.folder / "elsewhere_summary.json")["summary"]["0"]["robust"]["0"]["conditions"]
    assert set(cells) == {"clean", "noise_10", "room"} and set(cells["room"]["at"]) == {"0.5", "2", "8"}


def test_windows_of_other_utterances_are_refused(v2: Made, v2_archive: Path, tmp_path: Path) -> None:
    edgekws("onda", "features", v2_archive, v2.folder / "wake_words.parquet", tmp_path / "onda.npy", "--settings",
            json.dumps(CORPUS))
    edgekws("onda", "features", v2_archive, v2.folder / "wake_words.parquet", tmp_path / "onda_room.npy", "--condition", "room",
            "--settings", json.dumps({**CORPUS, "windows": {**CORPUS["windows"], "stream_share": 0.5}}))
    with pytest.raises(UserError, match="other utterances"):
        windows.open_condition(tmp_path / "onda.npy", "room")


def test_half_of_the_channels_go_whoever_chooses_them(every: Path) -> None:
    pruned = [row for row in rows_of(every) if row["ratio"] == 0.5]
    assert {sum(row["widths"]) for row in pruned} == {5 * 64 - 128} and {row["widths"][-1] for row in pruned} == {64}
    # The same random channels before and after; other ones by every other criterion.
    widths = {row["schedule"]: tuple(row["widths"]) for row in pruned}
    assert widths["random_before"] == widths["random_after"]
    assert len({widths[name] for name in ("onda_1", "onda_2", "random_before", "hap_wrong_domain")}) == 4


def test_with_nothing_pruned_the_weights_are_those_of_fine_tuning_alone(v2: Made, ordinary: list[str]) -> None:
    net, _, _ = encoders.load_encoder(v2.encoder)
    settings = Personalisation.model_validate(SMALL)
    job = bench.Bench(windows.open_windows(v2.features), net, settings, ordinary[:1], 0, words=None)
    device, before = job.devices[0], {name: tensor.clone() for name, tensor in net.state_dict().items()}
    known = job.known(0)
    (_, whole, _), (_, half, _) = schedules.adapted(device, "onda_1", [NOTHING, 0.5], known)
    (_, plain, _), = schedules.adapted(device, "none", [], known)
    expected = plain.state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in whole.state_dict().items())
    assert encoders.parameters(half) < encoders.parameters(plain) / 2
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items()), "the deployed one stays"
    assert not any(torch.equal(weight, before[name]) for name, weight in plain.named_parameters())


def test_a_resnet_pruned_before_deployment_is_pruned_on_the_device_too(v2: Made) -> None:
    net, offline = v2.folder / "resnet.safetensors", v2.folder / "resnet_offline.safetensors"
    edgekws("onda", "pretrain", v2.words, net, "--backbone", "resnet15_narrow", "--set", "episodes=4", "--set", "clips=4")
    said = edgekws("onda", "prune-offline", net, v2.words, offline, "--share", 0.25, "--settings",
                   json.dumps({"pretraining": {"clips": 4}, "pruning": {"retrain_episodes": 2}}))
    sizes = [encoders.parameters(encoders.load_encoder(path)[0]) for path in (net, offline)]
    assert said.startswith(f"{sizes[0]:,} to {sizes[1]:,} parameters") and sizes[1] < 0.8 * sizes[0]
    job = Made(v2.folder, v2.words, offline).personalise(
        "resnet", "--offline", 0.25, "--part", USERS - 1, calibration={"refuse_negative_gap": False},
        experiment={**BRIEF, "backbone": "resnet15_narrow", "parts": USERS})
    _, plain, pruned = rows_of(job)
    assert plain["parameters"] == sizes[1] and pruned["parameters"] < sizes[1] / 2 and pruned["offline"] == 0.25
    channels, embedding = 8 * 19, 19
    left = channels - round(0.25 * (channels - embedding))
    assert sum(plain["widths"]) == left and sum(pruned["widths"]) == left - round(0.5 * (left - embedding))


# ------------------------------------------------------------------------------------------------ who is left alone
def test_a_user_whose_calibration_fails_keeps_the_encoder(brief: Path, odd: str) -> None:
    rows = [row for row in rows_of(brief) if row["user"] == odd]
    deployed, *others = rows
    assert deployed["gap"] < 0 and [(row["schedule"], row["ratio"]) for row in others] == [("none", 0.0), ("onda_1", 0.5)]
    for row in others:
        assert row == {**deployed, "schedule": row["schedule"], "ratio": row["ratio"], "why": "calibration"}
    assert all(row["adapted"] == (row["schedule"] != "pretrained") for row in rows_of(brief) if row["user"] != odd)


def test_a_user_with_too_few_pseudo_labels_keeps_the_encoder(v2: Made, refused: Path, odd: str) -> None:
    edgekws("onda", "summarise", v2.folder / "refused_summary.json", refused)
    found = files.read_json(v2.folder / "refused_summary.json")
    assert found["calibrations"] == {"all": USERS, "failed": 1, "too_few_labels": USERS - 1}
    for row in found["rows"]:
        deployed = next(each for each in found["rows"] if each["user"] == row["user"])
        why = "" if row is deployed else "calibration" if row["user"] == odd else "labels"
        assert row == {**deployed, "schedule": row["schedule"], "ratio": row["ratio"], "why": why}
    cells = found["summary"]["0"]
    assert [cells[schedule][ratio]["not_adapted"] for schedule, ratio in (("none", "0"), ("onda_1", "50"))] == [USERS] * 2
    assert cells["onda_1"]["50"]["compression"] == 1, "who is not adapted is not pruned"
    assert found["effects"]["0"]["self_learning"]["mean"]["value"] == 0


def test_the_base_code_goes_on_where_calibration_failed(v2: Made, odd: str) -> None:
    job = v2.personalise("goes_on", "--part", 0, experiment={**BRIEF, "schedules": ["none"], "parts": USERS},
                         calibration={"refuse_negative_gap": False})
    deployed, row = rows_of(job)
    assert (row["user"], row["adapted"], row["why"]) == (odd, True, "") and row["training"]["steps"] > 0
    assert row["gap"] != deployed["gap"]


# ------------------------------------------------------------------------------------------------ jobs and their bytes
def test_parts_together_are_the_whole(v2: Made, brief: Path) -> None:
    parts = [v2.personalise(f"part{part}", "--part", part, experiment={**BRIEF, "parts": 2}) for part in range(2)]
    users = [[row["user"] for row in rows_of(part)][::3] for part in parts]
    everybody = [row["user"] for row in rows_of(brief)][::3]
    assert users == [everybody[::2], everybody[1::2]] and len(everybody) == USERS
    assert sorted(rows_of(parts[0]) + rows_of(parts[1]), key=lambda row: row["user"]) == rows_of(brief)


def test_more_parts_than_users_leave_jobs_without_rows(v2: Made) -> None:
    job = v2.personalise("nobody", "--part", USERS, experiment={**BRIEF, "parts": USERS + 1})
    assert rows_of(job) == [] and files.read_json(job)["screening"] is None


def test_the_same_seed_gives_the_same_bytes_and_another_one_other_draws(v2: Made, brief: Path) -> None:
    again = v2.personalise("again", experiment=BRIEF)
    assert again.read_bytes() == brief.read_bytes()
    other = rows_of(v2.personalise("other_seed", "--seed", 1, experiment=BRIEF))
    assert [row["user"] for row in other] == [row["user"] for row in rows_of(brief)]
    assert not {row["gap"] for row in other} & {row["gap"] for row in rows_of(brief)}


def test_screening_that_lets_every_negative_through_changes_nothing(v2: Made, brief: Path) -> None:
    job = v2.personalise("screened", experiment=BRIEF, evaluation={"screen_every": 2, "screen_share": 1.0})
    assert rows_of(job) == rows_of(brief)
    assert files.read_json(job)["screening"] == dict.fromkeys(("accuracy", "curve", "false_alarms_per_hour"), True)
    assert files.read_json(brief)["screening"] is None, "without screening there is nothing to check"


def test_the_summary_compares_every_control(summary: dict[str, Any]) -> None:
    assert set(summary["effects"]["0"]) == set(EFFECTS)
    assert summary["users"] and summary["calibrations"] == {"all": 1, "failed": 0, "too_few_labels": 0}
    assert summary["effects"]["0"]["onda_1_vs_none"][f"{100 * NOTHING:g}"]["value"] == 0
    assert summary["iso"]["strict"]["all"]["value"] >= summary["iso"]["strict"]["onda_1"]["value"] >= 1


# ------------------------------------------------------------------------------------------------ one user's model
def sound_of(path: Path, frequency: float) -> Path:
    """Five seconds of faint noise with a tone in them, from 2.5 to 3 s."""
    sound = np.random.default_rng(1).integers(-500, 500, 80_000, np.int16)
    sound[32_000:56_000] += trees.burst(1.5, frequency)
    path.write_bytes(encode_wav(sound))
    return path


def test_the_adapted_model_finds_the_wake_word(adapted: Path, tmp_path: Path) -> None:
    _, _, metadata = encoders.load_encoder(adapted)
    assert sum(metadata["settings"]["widths"]) == 5 * 64 - 128
    wake, other = sound_of(tmp_path / "wake.wav", 450), sound_of(tmp_path / "other.wav", 2000)
    found = [tuple(map(float, line.split("\t"))) for line in edgekws("listen", adapted, wake).splitlines()]
    assert any(2.5 < time < 4.5 for time, _ in found)
    assert all(distance < metadata["settings"]["wake_word"]["detection"] for _, distance in found)
    elsewhere = [float(line.split("\t")[1]) for line in edgekws("listen", adapted, other).splitlines()]
    assert min(distance for _, distance in found) < min(elsewhere, default=4.0) / 2


def test_adapt_does_what_personalise_measures(v2: Made, adapted: Path, brief: Path, ordinary: list[str]) -> None:
    _, _, metadata = encoders.load_encoder(adapted)
    row = next(row for row in rows_of(brief) if row["user"] == ordinary[0] and row["schedule"] == "onda_1")
    assert metadata["settings"]["widths"] == row["widths"] and metadata["settings"]["wake_word"]["gap"] == row["gap"]
    assert {name: metadata["settings"]["personalised"][name] for name in row["training"]} == row["training"]
    assert metadata["settings"]["personalised"]["labels"] == row["labels"]


# ------------------------------------------------------------------------------------------------ privacy
def test_nothing_that_names_a_person_is_in_any_file(
        given: Path, results: Path, v1: Made, snapdragon: Made, every: Path, refused: Path, summary: dict[str, Any],
        adapted: Path) -> None:
    items = [item for root in (trees.V1, trees.V2) for split in trees.SPLITS
             for item in json.loads((given / root / f"{split}.json").read_text())]
    assert len(items) == 2 * (TAKES + 2) * sum(SPEAKERS.values())
    secret = {str(item["worker_id"]) for item in items} | {item["id"] for item in items} | {
        item["id"].replace("-", "") for item in items} | {SALT, "audio_files", "hey_snapdragon/"} | {
        f"p{speaker}/{take}.wav" for speaker in range(5) for take in range(TAKES)}
    words = [text.encode() for text in secret]
    paths = [path for path in results.rglob("*") if path.is_file()]
    assert {path.suffix for path in paths} == {".parquet", ".npy", ".json", ".safetensors"}
    for path in paths:
        found = path.read_bytes()
        if path.suffix == ".parquet":  # whose columns are compressed
            table, facts = files.read_table(path)
            found += (table.to_csv() + json.dumps(facts)).encode()
        assert not [word for word in words if word in found], path
