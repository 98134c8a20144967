"""The verbs of `edgekws alternatives`: from features to sums on a made-up corpus, and one clear error for what is wrong."""

import json
import re

import numpy as np
import pytest
from tests.methods.alternatives.conftest import WORDS
from typer.testing import CliRunner

from edgekws.core import files
from edgekws.core.errors import UserError
from edgekws.corpus import index
from edgekws.methods.alternatives import cli, ds_cnn, experiments
from edgekws.methods.alternatives.settings import AlternativeMethod, AlternativeTraining
from edgekws.models.delta import cli as delta_cli
from edgekws.models.delta.format import stored_bytes
from edgekws.models.recurrent_lif import save_network
from edgekws.protocol import users as plan
from edgekws.protocol.settings import OneUser

SMALL = json.dumps({"training": {"epochs": 2}, "tuning": {"learning_rate": [0.001, 0.03], "widen": 0}, "others": 12,
                    "retention": {"rehearsal": [3], "elastic": [10000.0], "fisher_clips": 6, "sequence": 2},
                    "limits": {"widths": [8], "batch_sizes": [1], "clips": 2, "repetitions": 1}})
FACTS = {"archive": "toy.tar", "archive_sha256": "0" * 64, "words": WORDS, "synthetic": True, "clips": 84, "speakers": 7}

pytestmark = pytest.mark.usefixtures("one_thread")


def run(*arguments):
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments], catch_exceptions=False)


@pytest.fixture(scope="module")
def made(tmp_path_factory, spiking, conventional):
    """Features, index, plan and base of each net in one folder, and the learning rate of one method."""
    folder = tmp_path_factory.mktemp("made")
    index.write_index(folder / "i.parquet", spiking.corpus.index, FACTS)
    index.write_index(folder / "fewer.parquet", spiking.corpus.index[:-1], FACTS)
    files.write_table(folder / "p.parquet", spiking.table, spiking.facts)
    files.write_table(folder / "one.parquet", *plan.one_user(spiking.corpus.index, OneUser(speaker="t1", support_fraction=0.5)))
    about = {"excluded": ["t1"], "seed": 0}
    for toy, name in ((spiking, "s"), (conventional, "d")):
        np.save(folder / f"{name}.npy", toy.corpus.features)
    save_network(folder / "s.base", spiking.base.net, vocabulary=WORDS, feature_scale=spiking.base.scale, about=about,
                 provenance={"corpus": FACTS})
    save_network(folder / "per_set.base", spiking.base.net, vocabulary=WORDS, about=about, provenance={})
    ds_cnn.save_classifier(folder / "d.base", conventional.base.net, vocabulary=WORDS, about=about, provenance={})
    budget = {"learning_rate": 0.01, "epochs": 2, "batch_size": 64}
    for name, content in (("budget", {"budget": budget}), ("rates", {"budget": {**budget, "learning_rates": [0.1]}}),
                          ("none", {"grid": []}), ("list", [budget]), ("zero", {"budget": {**budget, "learning_rate": 0}})):
        (folder / f"{name}.json").write_text(json.dumps(content))
    (folder / "cut.json").write_text('{"budget": ')
    return folder


# ------------------------------------------------------------------------------------------------ one road
@pytest.fixture(scope="module")
def adapted(made):
    """Learning rates, adaptations of two methods to all test users, and their sum."""
    parts = []
    for method in ("bptt_full", "bptt_lora_1"):
        given = (made / "s.npy", made / "i.parquet", made / "p.parquet", made / "s.base")
        run("tune", *given, made / f"tuned_{method}.json", "--method", method, "--settings", SMALL)
        for seed in (0, 1):
            parts.append(made / f"{method}_seed{seed}.json")
            run("adapt", *given, made / f"tuned_{method}.json", parts[-1], "--method", method, "--seed", seed,
                "--settings", SMALL)
    run("summarise", made / "adaptation.json", *parts, "--set", "resamples=100")
    return made


def test_from_a_learning_rate_to_the_sum(adapted):
    tuned, part, summed = (files.read_json(adapted / f"{name}.json") for name in (
        "tuned_bptt_full", "bptt_full_seed1", "adaptation"))
    rates = {point["learning_rate"]: point["after"] for point in tuned["grid"]}
    assert list(rates) == [0.001, 0.03] and rates[tuned["budget"]["learning_rate"]] == max(rates.values())
    assert part["settings"]["budget"] == tuned["budget"] == {**tuned["budget"], "epochs": 2}
    assert [(row["user"], row["fold"], row["shot"]) for row in part["rows"]] == [
        (user, fold, shot) for user in ("u0", "u1") for fold in (0, 1) for shot in ("1", "all")]
    assert summed["seeds"] == [0, 1] and list(summed["methods"]) == ["bptt_full", "bptt_lora_1"]
    for shot in ("1", "all"):
        rows = [row for row in files.read_json(adapted / "bptt_full_seed0.json")["rows"] + part["rows"] if row["shot"] == shot]
        gain = 100 * sum(row["correct_after"] - row["correct_before"] for row in rows) / sum(row["query_clips"] for row in rows)
        assert summed["summary"]["bptt_full"][shot]["gain"]["value"] == pytest.approx(gain), "all queries are of one size"
    assert summed["methods"]["bptt_lora_1"]["values"] == 6 + 4 * 14 + 4
    assert summed["provenance"]["corpus"]["archive"] == "toy.tar"
    json.dumps(summed, allow_nan=False)


def test_some_shots_and_folds_are_the_same_rows_as_in_the_whole(adapted, tmp_path):
    run("adapt", adapted / "s.npy", adapted / "i.parquet", adapted / "p.parquet", adapted / "s.base",
        adapted / "tuned_bptt_full.json", tmp_path / "some.json", "--method", "bptt_full", "--seed", 1, "--shot", "all",
        "--folds", 1, "--settings", SMALL)
    whole = [row for row in files.read_json(adapted / "bptt_full_seed1.json")["rows"] if row["shot"] == "all"]
    some = files.read_json(tmp_path / "some.json")["rows"]
    assert some and all(row in whole for row in some)
    assert [row["user"] for row in some] == sorted({row["user"] for row in whole}), "one fold of each user"


def test_a_delta_is_as_large_as_its_file(adapted, tmp_path, spiking):
    """What the metrics say of a method's delta is what `edgekws delta diff` stores of an adapted model."""
    part = files.read_json(adapted / "bptt_full_seed0.json")
    method, budget = AlternativeMethod(**part["settings"]["method"]), AlternativeTraining(**part["settings"]["budget"])
    support = spiking.corpus.clips(spiking.work[0].support, frozen_scale=spiking.base.scale)
    net, _ = experiments.adapt(spiking.base, support, method, budget, seed=0)
    save_network(tmp_path / "mine", net, vocabulary=WORDS, feature_scale=spiking.base.scale, provenance={})
    for precision in ("fp32", "int8"):
        CliRunner().invoke(delta_cli.app, ["diff", str(adapted / "s.base"), str(tmp_path / "mine"), str(tmp_path / precision),
                                           "--precision", precision], catch_exceptions=False)
        stored = stored_bytes(tmp_path / precision).values()
        assert sum(size for _, size in stored) == part["delta"]["bytes"][precision]
    assert sum(numbers for numbers, _ in stored) == part["delta"]["values"]


def test_what_is_kept_of_users_and_what_it_costs(adapted, tmp_path):
    given = (adapted / "s.npy", adapted / "i.parquet", adapted / "p.parquet", adapted / "s.base")
    run("retain", *given, adapted / "tuned_bptt_full.json", tmp_path / "part.json", "--method", "bptt_full",
        "--settings", SMALL)
    run("summarise-retention", tmp_path / "retention.json", tmp_path / "part.json", "--set", "resamples=100")
    kept = files.read_json(tmp_path / "retention.json")["summary"]["bptt_full"]
    assert list(kept["remedies"]) == ["none", "rehearsal_3", "elastic_10000"] and list(kept["sequence"]) == ["0", "1"]
    assert kept["remedies"]["none"]["saved"]["value"] == 0
    run("cost", *given, tmp_path / "cost.json", "--settings", SMALL, "--set", "methods={a: {kind: tess}, b: {}}")
    found = files.read_json(tmp_path / "cost.json")
    assert list(found["methods"]) == ["a", "b"] and found["checks"]["local_less_memory"]["holds"]
    assert found["clips"] == 6, "a user's whole support set"
    run("complexity", adapted / "s.base", tmp_path / "complexity.json")
    assert files.read_json(tmp_path / "complexity.json")["sizes"] == {
        "inputs": 6, "hidden": [14], "outputs": 4, "batch": 32, "recurrent": True}
    run("limits", adapted / "s.base", tmp_path / "limits.json", "--frames", 8, "--settings", SMALL)
    assert files.read_json(tmp_path / "limits.json")["sizes"] == {
        "inputs": 6, "neurons": 8, "outputs": 4, "frames": 8, "clips": 2}


def test_users_teach_each_other_where_there_is_no_flower_too(made, tmp_path):
    (tmp_path / "flower").mkdir()
    (tmp_path / "flower" / "not_installed.txt").write_text("the packages could not be installed here\n")
    small = json.dumps({"folds": 1, "words": 2, "rounds": 2, "steps": 2, "learning_rates": [1.0], "noise": [2.0]})
    run("federate", made / "s.npy", made / "i.parquet", made / "p.parquet", made / "s.base", tmp_path / "flower",
        tmp_path / "seed0.json", "--settings", small)
    run("summarise-federated", tmp_path / "federated.json", tmp_path / "seed0.json", "--set", "resamples=100")
    found = files.read_json(tmp_path / "federated.json")
    assert found["engine"] == "loop" and "could not be installed" in found["why"]
    assert set(found["summary"]) >= {"base", "local", "centralised", "federated", "private_2"}
    assert len(found["curves"]["federated"]["own"]) == 3 and found["privacy"]["private_2"]["steps"] == 4


# ------------------------------------------------------------------------------------------------ wrong inputs
S, D = ("s.npy", "i.parquet", "p.parquet", "s.base"), ("d.npy", "i.parquet", "p.parquet", "d.base")
ADAPT = ("adapt", *S, "budget.json", "OUT", "--method", "bptt_full")


@pytest.mark.parametrize(("arguments", "says"), [
    (("tune", *S, "OUT", "--method", "bptt_lora_44"), "did you mean 'bptt_lora_4'"),
    (("adapt", *S, "budget.json", "OUT", "--method", "tes"), "did you mean 'tess'"),
    (("retain", *S, "budget.json", "OUT", "--method", "ful"), "no such method: 'ful'"),
    (("tune", *S, "OUT", "--method", "ds_cnn_full"), "s.base.*recurrent_lif"),
    (("tune", *D, "OUT", "--method", "bptt_full"), "d.base.*ds_cnn_classifier"),
    (("adapt", *D, "budget.json", "OUT", "--method", "tess"), "d.base.*ds_cnn_classifier"),
    (("retain", *S, "budget.json", "OUT", "--method", "ds_cnn_full"), "s.base.*recurrent_lif"),
    (("cost", *S, "OUT", "--net", "ds_cnn"), "s.base.*recurrent_lif"),
    (("complexity", "d.base", "OUT"), "d.base.*ds_cnn_classifier"),
    (("limits", "d.base", "OUT"), "d.base.*ds_cnn_classifier"),
    (("federate", *D, "none", "OUT"), "d.base.*ds_cnn_classifier"),
    (("tune", *S[:3], "per_set.base", "OUT", "--method", "tess"), "per_set.base.*scale of each set"),
    (("federate", *S[:3], "per_set.base", "none", "OUT"), "per_set.base.*scale of each set"),
    (("adapt", *S, "none.json", "OUT"), "none.json.*no budget"),
    (("adapt", *S, "list.json", "OUT"), "list.json.*no budget"),
    (("retain", *S, "list.json", "OUT"), "list.json.*no budget"),
    (("adapt", *S, "rates.json", "OUT"), "rates.json.*learning_rates"),
    (("adapt", *S, "zero.json", "OUT"), "zero.json.*'learning_rate' is 0"),
    (("adapt", *S, "cut.json", "OUT"), "cut.json.*not valid JSON"),
    (("adapt", *S, "nowhere.json", "OUT"), "nowhere.json"),
    (("tune", "s.npy", "fewer.parquet", *S[2:], "OUT"), "s.npy.*holds 84 clips, the index 83"),
    (("base", "d.npy", "fewer.parquet", "p.parquet", "OUT"), "d.npy.*holds 84 clips, the index 83"),
    (("adapt", "d.npy", *S[1:], "budget.json", "OUT"), "10 values a frame.*6"),
    (("federate", "d.npy", *S[1:], "none", "OUT"), "10 values a frame.*6"),
    (("tune", "s.npy", *D[1:], "OUT", "--method", "ds_cnn_full"), "6 values a frame.*10"),
    (("base", "s.npy", "i.parquet", "one.parquet", "OUT"), "6 values a frame.*10"),
    ((*ADAPT, "--shot", "3"), "no such shot: '3'.*1, all"),
    ((*ADAPT, "--shot", "al"), "did you mean 'all'"),
    ((*ADAPT, "--set", "others=0"), "'others' is 0"),
    (("cost", *D, "OUT", "--net", "ds_cnn", "--set", "methods={tess: {kind: tess}}"), "no method is for the net ds_cnn"),
    (("tune", *D, "OUT", "--method", "a", "--set", "methods={a: {kind: tess, net: ds_cnn}}"), "rule for spiking nets"),
    (("tune", *S, "OUT", "--method", "a", "--set", "methods={a: {kind: last_layer}}"), "last hidden layer is the only one"),
    (("retain", *S, "budget.json", "OUT", "--set", "retention.sequence=4"), "2 test users make no group of 4")])
def test_what_is_wrong_is_named_and_nothing_is_written(made, tmp_path, monkeypatch, arguments, says):
    monkeypatch.chdir(made)
    with pytest.raises(UserError) as told:
        run(*(tmp_path / "out" if argument == "OUT" else argument for argument in arguments))
    assert re.search(says, str(told.value), re.DOTALL) and told.value.remedy
    assert list(tmp_path.iterdir()) == []
