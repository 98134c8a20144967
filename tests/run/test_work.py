"""Units of work: known answers, proportions, and that no rule of the workflow is left out."""

import re
from pathlib import Path

import pytest

from edgekws.run import work
from edgekws.run.sizes import expected
from edgekws.settings import Config, OndaExperiment, Training, validate

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
          "normalisation": "frozen", "arm": "full", "backbone": "resnet15", "tool": "lava", "archive": "a.tar.gz",
          "paper": "onda"}
    found, wildcards = work.rule_of_benchmark(rule.benchmark.format(**at))
    assert found is rule and wildcards.items() <= at.items()


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


# ------------------------------------------------------------------------------------------------ every formula
@pytest.mark.parametrize("name", list(work.RULES))
def test_every_formula_answers_for_every_configuration(name):
    at = {"experiment": "many_users" if "traces" in name else "resnet", "method": "bptt", "share": "25", "seed": "0",
          "part": "0", "backbone": "ds_cnn_l", "arm": "full"}
    for corpus in ("synthetic", "gsc"):
        config = validate(Config, {"corpus": {"name": corpus}})
        rule, sizes = work.RULES[name], expected(config)
        assert rule.units(config, sizes, at) > 0 or name == "speak_onda_words"
        for formula in (rule.held, rule.written):
            assert formula is None or formula(config, sizes, at) > 0 or name == "speak_onda_words"


def test_the_licensed_corpora_are_reckoned_by_their_published_counts():
    config = validate(Config, {"onda": {"corpus": {"name": "heysnips"}}})
    sizes = expected(config)
    assert sizes.wake_users == 20 and 10 < sizes.negative_windows * 2000 / 16_000 / 3600 < 30
    assert OndaExperiment().parts == 1
