"""Who is what: users of open wake words, their streams and their negatives, and nothing on both sides."""

import json

import numpy as np
import pytest
from tests.corpus import open_word_trees as trees
from typer.testing import CliRunner

from edgekws import cli
from edgekws.core import files
from edgekws.core.errors import UserError
from edgekws.corpus import open_words
from edgekws.methods.onda import roles, windows
from edgekws.methods.onda.settings import WakeWindows, WakeWordCorpus
from edgekws.models.encoder import build, save_encoder

CORPUS = {"name": "open", "keywords": ["jarvis", "view_glass"]}


def edgekws(*arguments):
    result = CliRunner().invoke(cli.app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Windows of a clone, a table of speakers and LibriSpeech."""
    folder = tmp_path_factory.mktemp("open")
    clone, speakers = trees.picovoice(folder)
    speech = trees.librispeech(folder, speakers=6)
    said = edgekws("corpus", "index-open-words", clone, folder / "index.parquet", "--speakers", speakers, "--speech", speech)
    assert "80 takes of jarvis (40), view glass (40); 2 copies of a take left out" in said
    edgekws("onda", "features", clone, folder / "index.parquet", folder / "onda.npy", "--speech", speech, "--settings",
            json.dumps({"corpus": CORPUS}))
    return folder


@pytest.fixture(scope="module")
def table(made):
    return windows.open_windows(made / "onda.npy").table


def test_users_are_sound_speakers_with_takes_enough_by_keyword(table):
    # "dor" is not sure enough to be a user; nobody has two keywords in one user.
    assert roles.users_of(table) == [f"{name}/{word}" for name in ("ann", "ben", "cem") for word in ("jarvis", "view glass")]
    assert roles.users_of(table, "anybody") == ["anybody/jarvis", "anybody/view glass"]
    assert set(table[table["user"] == "ben/jarvis"].keyword) == {"jarvis"}
    assert (table["crop"] >= 0).sum() == 6 * trees.TAKES


def test_a_users_own_other_words_are_negatives_and_other_peoples_takes_are_stream(table):
    mine = roles.for_user(table, "ben/jarvis", seed=0)
    own = mine[mine["role"] == "user"]
    assert set(own.speaker) == {"ben"} and set(own.keyword) == {"jarvis"} and len(own) == trees.TAKES and own.positive.all()
    negatives, stream = mine[mine["role"] == "negative"], mine[mine["role"] == "stream"]
    assert set(negatives[negatives["keyword"] != ""].speaker) == {"ben"}
    assert set(negatives[negatives["keyword"] != ""].keyword) == {"view glass"} and not negatives.positive.any()
    assert set(stream[stream["keyword"] != ""].speaker) == {"ann", "cem", "dor"}
    assert (stream.positive == (stream.keyword == "jarvis")).all() and stream.positive.sum() == 3 * trees.TAKES
    # Of other speech nobody is on both sides.
    assert not set(negatives[negatives["keyword"] == ""].speaker) & set(stream[stream["keyword"] == ""].speaker)
    assert len(own) + len(negatives) + len(stream) == len(table)


def test_where_anybody_may_say_it_the_takes_of_half_the_people_are_stream(table):
    mine = roles.for_user(table, "anybody/jarvis", seed=0)
    own, stream, negatives = (mine[mine["role"] == role] for role in ("user", "stream", "negative"))
    assert len(set(own.speaker)) == 2 and set(own.keyword) == {"jarvis"} and own.positive.all()
    assert not set(own.speaker) & set(stream.speaker) and set(negatives[negatives["keyword"] != ""].speaker) == set(own.speaker)
    assert not negatives.positive.any() and {"dor"} < set(stream.speaker)
    drawn = {tuple(sorted(set(seeded[seeded["role"] == "user"].speaker))) for seeded in (
        roles.for_user(table, "anybody/jarvis", seed=seed) for seed in range(8))}
    assert len(drawn) == 3  # each pair of the three who can be users


@pytest.mark.parametrize("who", ["person", "anybody"])
def test_no_copy_is_on_both_sides(made, table, who):
    """Whatever the roles: two utterances on different sides never resemble each other, though the archive holds copies."""
    index, _ = files.read_table(made / "index.parquet")
    heard = {index["clip"][label]: samples for label, samples in open_words.read_audio(
        made / "wake-word-benchmark", index[index["archive"] == 0], speech=[])}
    names = list(heard)
    alike = open_words.alike([heard[name] for name in names]) > open_words.ALIKE
    copies = {(names[one], names[other]) for one, other in np.argwhere(np.triu(alike, 1))}
    # The test can fail: with the twin that the archive holds there would be a pair.
    twin = trees.shifted(trees.take(0, 0, 0), 700).astype(np.float32)
    assert (open_words.alike([twin, *heard.values()])[0, 1:] > open_words.ALIKE).sum() == 1
    for user in roles.users_of(table, who):
        role = roles.for_user(table, user, seed=1).set_index("clip")["role"]
        assert all(role[one] == role[other] for one, other in copies)
    assert copies == set()


def test_the_stream_gets_its_share_of_other_speech_by_whole_speakers(made):
    index, facts = files.read_table(made / "index.parquet")
    shares = {}
    for share in (0.2, 0.5, 0.8):
        found = roles.assign_roles(index, facts, WakeWindows(stream_speech=share), WakeWordCorpus(**CORPUS), seed=3)
        speech = index.assign(role=found)[~index["positive"]]
        assert (speech.groupby("speaker")["role"].nunique() == 1).all() and set(speech["role"]) == {"stream", "negative"}
        shares[share] = float(speech.seconds[speech["role"] == "stream"].sum() / speech.seconds.sum())
    assert shares == {share: pytest.approx(share, abs=1 / 12 + 1e-9) for share in shares}


@pytest.mark.parametrize(("changed", "says"), [
    ({"keywords": ["jarvys"]}, "has no keyword 'jarvys'"), ({"minimum_positives": 11}, r"11 times \(the most: 10\)")])
def test_what_cannot_be_is_said(made, changed, says):
    index, facts = files.read_table(made / "index.parquet")
    with pytest.raises(UserError, match=says):
        roles.assign_roles(index, facts, WakeWindows(), WakeWordCorpus(**{**CORPUS, **changed}), seed=0)


@pytest.mark.parametrize("who", ["person", "anybody"])
def test_every_user_is_personalised_with_what_is_theirs(made, tmp_path, who):
    encoder, words = tmp_path / "net.safetensors", tmp_path / "none.npy"
    save_encoder(encoder, build("ds_cnn_s"), "ds_cnn_s", about={"offline": 0.0, "pretraining": {}},
                 provenance={"corpus": {"name": "mswc_en"}})
    words.write_bytes(b"")
    words.with_suffix(".parquet").write_bytes(b"")
    edgekws("onda", "personalise", made / "onda.npy", encoder, words, tmp_path / "part.json", "--settings", json.dumps({
        "experiment": {"backbone": "ds_cnn_s", "schedules": ["none"], "ratios": [0.5], "who": who},
        "calibration": {"refuse_negative_gap": False}, "finetuning": {"epochs": 1, "positives": 2, "negatives": 4}}))
    found = files.read_json(tmp_path / "part.json")
    deployed = [row for row in found["rows"] if row["schedule"] == "pretrained"]
    assert [row["user"] for row in deployed] == roles.users_of(windows.open_windows(made / "onda.npy").table, who)
    assert found["provenance"]["corpus"]["name"] == "open_wake_words" and found["encoder"]["trained_on"] == "mswc_en"
    for row in deployed:
        assert row["queries"] == (trees.TAKES - 3 if who == "person" else 2 * trees.TAKES - 3)
        labels = row["labels"]
        heard = roles.for_user(windows.open_windows(made / "onda.npy").table, row["user"], seed=0)
        assert sum(labels[kind] for kind in ("positives", "negatives", "discarded")) == (heard["role"] == "stream").sum()
        # Half of six speakers' speech but the three calibrated with, and one's (or two people's) other keyword.
        own = (heard["role"] == "negative") & (heard["keyword"] != "")
        assert own.sum() == (10 if who == "person" else 20)
        assert row["hours"] == pytest.approx(heard.seconds[heard["role"] == "negative"].sum() / 3600 - 3 * 4 / 3600)
