"""Units of work: known answers, proportions, and that no rule of the workflow is left out."""

import re
from pathlib import Path
from typing import get_args

import pytest
from benchmarks.faults import VARIES

from edgekws.config import Config
from edgekws.core.settings import validate
from edgekws.methods.alternatives.settings import AlternativeMethod, NetName
from edgekws.methods.onda.settings import OndaExperiment
from edgekws.protocol.settings import Training
from edgekws.run import work
from edgekws.run.sizes import expected

ROOT = Path(__file__).parents[2]


def units(rule, at=None, **changes):
    config = validate(Config, changes)
    return work.RULES[rule].units(config, expected(config), at or {})


# ------------------------------------------------------------------------------------------------ the table
def rules_of_the_workflow():
    """Rules with outputs, and the benchmark of each as the workflow writes it (None: it has none)."""
    found = {}
    for path in sorted((ROOT / "workflow" / "rules").glob("*.smk")):
        for name, body in re.findall(r"^rule (\w+):\n(.*?)(?=^\S|\Z)", path.read_text(), re.MULTILINE | re.DOTALL):
            if re.search(r"^    output:", body, re.MULTILINE):
                benchmark = re.search(r'f"\{BENCHMARKS\}/(.*)\.tsv"', body)
                found[name] = benchmark and benchmark[1].replace("{{", "{").replace("}}", "}")
    return found


def test_every_rule_of_the_workflow_has_units_of_work_and_its_own_benchmark():
    assert {name: rule.benchmark for name, rule in work.RULES.items()} == rules_of_the_workflow()


@pytest.mark.parametrize("name", [name for name, rule in work.RULES.items() if rule.benchmark])
def test_a_benchmark_is_known_by_its_path(name):
    rule = work.RULES[name]
    at = {"seed": "-1", "part": "3", "share": "2.5", "method": "bptt", "experiment": "ds_cnn", "protocol": "one_user",
          "normalisation": "frozen", "arm": "full", "backbone": "resnet15", "net": "ds_cnn", "tool": "lava",
          "archive": "a.tar.gz", "paper": "onda"}
    found, wildcards = work.rule_of_benchmark(rule.benchmark.format(**at))
    assert found is rule and wildcards.items() <= at.items()


def test_an_experiment_may_be_called_like_an_encoder():
    assert {work.rule_of_benchmark(f"onda/{name}")[0].name for name in ("resnet15", "pretrain_resnet15")} == {
        "onda_summarise", "onda_pretrain"}


def test_names_of_methods_may_hold_digits():
    found, wildcards = work.rule_of_benchmark("alternatives/adaptation/ds_cnn_lora_16_seed2")
    assert found.name == "alternatives_adapt" and wildcards == {"method": "ds_cnn_lora_16", "seed": "2"}


def test_what_may_differ_between_repetitions_are_files_that_a_run_has():
    metrics = {name for name in VARIES if name.startswith("metrics/")}
    assert metrics == {name for name in metrics for rule in work.RULES.values() if work.wildcards(rule.output, name) is not None}
    nets = {work.wildcards(work.RULES["alternatives_cost"].output, name)["net"] for name in metrics if "/cost_" in name}
    assert nets == set(get_args(NetName))


def test_a_benchmark_of_nobody_is_of_no_rule():
    assert work.rule_of_benchmark("something/else") is None


# ------------------------------------------------------------------------------------------------ known answers
def test_traces_propagation_touches_every_weight_at_every_frame_for_each_clip_and_update():
    # 12 clips in batches of 5 are three updates.
    budget = Training(epochs=2, batch_size=5)
    assert work.tp_training(Config(), 35, 12, budget) == 2 * (12 + 3 * work.UPDATE_CLIPS) * 101 * 272_700


def test_the_base_model_of_the_paper_is_eighty_times_the_demos_clips():
    demo, paper = (units("traces_propagation_base", corpus={"name": name}) for name in ("synthetic", "gsc"))
    assert 20 < paper / demo < 200


@pytest.mark.parametrize("rule, at, small, large, ratio", [
    ("neuedge_train", {}, {"epochs": 10}, {"epochs": 40}, 4),
    ("neuedge_train", {}, {"batch_size": 1}, {"batch_size": 64}, 1)])
def test_neuedge_grows_with_its_epochs(rule, at, small, large, ratio):
    assert units(rule, at, neuedge={"training": large}) == ratio * units(rule, at, neuedge={"training": small})


def test_the_encoders_grid_trains_a_net_at_each_point_and_for_the_rate_code():
    one = units("neuedge_encode", neuedge={"grid": {"base_threshold": [1.0], "alpha": [0.0]}})
    assert units("neuedge_encode", neuedge={"grid": {"base_threshold": [1.0, 2.0], "alpha": [0.0, 0.5]}}) == one / 2 * 5


def test_encoders_are_weighed_by_their_arithmetic():
    from edgekws.models import encoder

    assert work.encoder_work("resnet15")[0] == encoder.multiply_accumulates(encoder.build("resnet15")) == 225_509_760
    # A map of 47 x 10 by 64 channels from each of the first fourteen convolutions, by 64 from the last.
    assert work.encoder_work("resnet15")[1] == 14 * 64 * 470


def test_another_number_of_updates_of_one_encoder_counts_for_that_encoder_only():
    fewer = {"pretraining": {"episodes_of": {"resnet15": 8000}}}
    assert units("onda_pretrain", {"backbone": "resnet15"}, onda=fewer) == units("onda_pretrain", {"backbone": "resnet15"}) / 2
    assert units("onda_pretrain", {"backbone": "ds_cnn_l"}, onda=fewer) == units("onda_pretrain", {"backbone": "ds_cnn_l"})


def personalise(part=0, share="0", **experiment):
    onda = {"experiments": {"ds_cnn": {"ratios": [0.5], "schedules": ["none"], **experiment}}}
    return units("onda_personalise", {"experiment": "ds_cnn", "share": share, "part": str(part)}, onda=onda)


def test_users_are_dealt_to_the_parts_of_an_experiment():
    # Twelve users in five parts: three, three, two, two, two. What is done once a job is done in each.
    whole, parts = personalise(parts=1), [personalise(part, parts=5) for part in range(5)]
    once = whole - 12 * (parts[0] - parts[2])
    assert parts[0] == parts[1] > parts[2] == parts[3] == parts[4] > 0
    assert sum(parts) == pytest.approx(whole + 4 * once)


def test_a_part_without_users_has_no_work():
    assert personalise(12, parts=20) == 0


def test_a_pruned_channel_is_neither_read_nor_written():
    # Half of the channels: a quarter of the arithmetic, on the device as before it.
    tuned, pruned = (personalise(schedules=["l1_before"], ratios=[ratio]) for ratio in (1e-9, 0.5))
    deployed = personalise(schedules=["none"], users=1) - (tuned - personalise(schedules=["none"], ratios=[0.5]))
    assert pruned < tuned and deployed > 0
    assert personalise(share="50") == pytest.approx(personalise() / 4)


def test_screening_leaves_a_share_of_the_windows():
    config = validate(Config, {"onda": {"evaluation": {"screen_every": 8, "screen_share": 0.05}}})
    sizes = expected(config)
    queries = sizes.user_positives * 20
    assert work.scanned_windows(config, sizes) - queries == pytest.approx(0.175 * sizes.negative_windows)


def test_fine_tuning_sends_every_pseudo_positive_through_once_an_epoch():
    config = validate(Config, {"onda": {"finetuning": {"epochs": 2, "most_positives": 50}}})
    # Two whole batches of twenty anchors, three recordings and 120 negatives, forward and back.
    assert work.fine_tuning(config, expected(config)) == 2 * 2 * 143 * 3


def test_memory_of_pre_training_grows_with_the_episode():
    rule, at = work.RULES["onda_pretrain"], {"backbone": "resnet15"}
    small, large = (validate(Config, {"onda": {"pretraining": {"clips": clips}}}) for clips in (5, 20))
    held = [rule.held(config, expected(config), at) for config in (small, large)]
    assert held[1] == 4 * held[0]


def test_features_take_the_bytes_that_are_written():
    config = Config()
    sizes = expected(config)
    assert work.RULES["traces_propagation_features"].written(config, sizes, {}) == sizes.clips * 101 * 120 * 4
    assert work.RULES["neuedge_features"].written(config, sizes, {}) == sizes.clips * 50 * 40 * 4
    assert work.RULES["alternatives_features"].written(config, sizes, {}) == sizes.clips * 47 * 10 * 4


# ------------------------------------------------------------------------------------------------ alternatives
GSC = {"corpus": {"name": "gsc"}}


def alternatives(rule, method="bptt_full", net="spiking", **changes):
    return units(f"alternatives_{rule}", {"method": method, "net": net, "seed": "0"}, alternatives=changes, **GSC)


def learning(clips, epochs, **method):
    config = validate(Config, {**GSC, "alternatives": {"training": {"batch_size": 5}}})
    return work.alternatives_learning(config, expected(config), AlternativeMethod(**method), clips, epochs)


@pytest.mark.parametrize("kind", ["traces_propagation", "decolle", "etlp", "tess", "full", "lora"])
def test_most_methods_learn_from_a_clip_as_traces_propagation_does(kind):
    assert learning(12, 2, kind=kind) == work.tp_training(Config(), 35, 12, Training(epochs=2, batch_size=5))


@pytest.mark.parametrize("kind", ["eprop", "eprop_random", "osttp"])
def test_a_trace_for_each_synapse_is_paid_for_each_clip(kind):
    # Twelve clips in three batches, 272,700 weights in 101 frames.
    assert learning(12, 2, kind=kind) == 2 * (12 * work.TRACED_CLIP + 3 * work.UPDATE_CLIPS) * 101 * 272_700
    held = [work.RULES["alternatives_adapt"].held(config, sizes, {"method": method})
            for config in [validate(Config, GSC)] for sizes in [expected(config)] for method in (kind, "decolle")]
    clips = expected(validate(Config, GSC)).user_clips * 4 / 5
    assert held[0] - held[1] == pytest.approx(4 * clips * 272_700)


def test_the_conventional_net_goes_forward_and_back_in_every_epoch():
    from edgekws.models import encoder

    macs = encoder.multiply_accumulates(encoder.build("ds_cnn_s"))
    assert learning(12, 2, kind="lora", net="ds_cnn") == 12 * 2 * 3 * macs


@pytest.mark.parametrize("net", ["spiking", "ds_cnn"])
def test_under_a_readout_the_rest_of_the_net_runs_once(net):
    assert learning(12, 1, kind="readout", net=net) == learning(12, 50, kind="readout", net=net)
    assert learning(12, 50, net=net) == 50 * learning(12, 1, net=net)


def test_tuning_grows_with_rates_and_with_users_as_far_as_there_are_any():
    one = alternatives("tune", tuning={"learning_rate": [0.1], "users": 1})
    assert alternatives("tune", tuning={"learning_rate": [0.1, 0.2, 0.3], "users": 4}) == pytest.approx(12 * one)
    assert alternatives("tune", tuning={"learning_rate": [0.1], "users": 10_000}) == pytest.approx(261 * one)


def test_folds_that_are_cut_cost_nothing_but_other_speakers_are_asked_once_for_each_user():
    one, two, most = (alternatives("adapt", folds=folds, shots=["all"]) for folds in (1, 2, 99))
    once = 2 * one - two
    assert most == pytest.approx(one + 4 * (two - one)) and once == pytest.approx(
        262 * work.tp_prediction(Config(), 35, 256))


@pytest.mark.parametrize("method, held", [("bptt_full", True), ("traces_propagation", True), ("bptt_lora_4", False),
                                          ("ds_cnn_full", False)])
def test_elastic_weights_are_tried_where_the_nets_own_are_trained(method, held):
    without, tried = (alternatives("retain", method, retention={"elastic": weights}) for weights in ([], [1.0]))
    assert (tried > without) is held and (tried == without) is not held


def test_what_is_measured_of_a_net_is_of_its_own_methods():
    both = ["bptt_full", "ds_cnn_full", "ds_cnn_readout"]
    apart = [alternatives("cost", net="ds_cnn", compared=[name]) for name in both[1:]]
    assert alternatives("cost", net="ds_cnn", compared=both) == pytest.approx(sum(apart))
    assert alternatives("cost", net="ds_cnn", compared=["bptt_full"]) == 0


def test_clips_one_by_one_take_as_many_updates_as_there_are():
    # Two epochs of 101 frames: sixteen batches of one clip, two of eight.
    assert alternatives("limits", limits={"clips": 16, "batch_sizes": [1, 8]}) == 2 * 101 * (16 + 2)


def test_federations_make_a_step_for_each_user_present_and_private_ones_cost_more():
    config = validate(Config, {"alternatives": {"federated": {
        "rounds": 2, "steps": 4, "users_per_round": 3, "noise": [1.0, 2.0]}}})
    assert work.federated_steps(5, config) == 2 * 4 * 3 * (1 + 2 * work.PRIVATE_STEP)
    assert work.federated_steps(2, config) == 2 * 4 * 2 * (1 + 2 * work.PRIVATE_STEP)


def test_every_rate_is_tried_and_every_fold_is_a_federation_of_its_own():
    one, rates, folds = (alternatives("federate", federated={"folds": fold, "learning_rates": tried, "rounds": 1, "steps": 1,
                                                             "noise": [1.0], "users": 2})
                         for fold, tried in ((1, [0.1]), (1, [0.1, 0.2]), (2, [0.1])))
    # Two users: a round of both takes 2 * 16 steps with its private twin; alone they take 2 from each of four starts, the
    # pooled clips 1. For the test users a federation runs in the loop and in Flower.
    tuning, fold = 2 * 16 + 4 * 2 + 1, 2 * 2 * 16 + 4 * 2 + 1
    assert (one, rates - one, folds - one) == (tuning + fold, tuning, fold)


# ------------------------------------------------------------------------------------------------ every formula
@pytest.mark.parametrize("name", list(work.RULES))
def test_every_formula_answers_for_every_configuration(name):
    at = {"experiment": "many_users" if "traces" in name else "resnet", "share": "25", "seed": "0", "part": "0",
          "method": "bptt_full" if "alternatives" in name else "bptt", "backbone": "ds_cnn_l", "arm": "full", "net": "spiking"}
    for corpus in ("synthetic", "gsc"):
        config = validate(Config, {"corpus": {"name": corpus}})
        rule, sizes = work.RULES[name], expected(config)
        assert rule.units(config, sizes, at) > 0 or name == "speak_onda_words"
        for formula in (rule.held, rule.written):
            assert formula is None or formula(config, sizes, at) > 0 or name == "speak_onda_words"


def test_the_licensed_corpora_are_reckoned_by_their_published_counts():
    config = validate(Config, {"onda": {"corpus": {"name": "heysnips", "archive": "given.tar"}}})
    sizes = expected(config)
    assert sizes.wake_users == 20 and 10 < sizes.negative_windows * 2000 / 16_000 / 3600 < 30
    assert OndaExperiment().parts == 1
