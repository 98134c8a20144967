"""The ablation summed up: quantities of a seed, intervals over three, effects and curves, all by hand."""

import json

import pytest

from edgekws.methods.neuedge import summary
from edgekws.protocol.settings import Statistics

SETTINGS = Statistics()
T = 4.302652729749464  # Student's t of 2 degrees of freedom, two-sided 95 %


def measured(variant, *, correct=(80, 79, 78), encoder=100.0, hidden=50.0, operations=1000.0, joules=2e-6, utilisation=0.5,
             **more):
    """A row of one variant; the second subset has half the clips and half of everything counted."""
    def subset(share):
        return {
            "clips": round(200 * share), "correct": dict(zip(("float", "quantised", "integer"),
                                                             (round(right * share) for right in correct), strict=True)),
            "spikes": {"encoder": encoder * share, "hidden 1": hidden * share}, "spikes_total": (encoder + hidden) * share,
            "events": {"synaptic_operations": operations * share, "messages": 40.0 * share},
            "joules": {"davies2018": {"synapses": joules * share / 4, "total": joules * share},
                       "arithmetic45": {"synapses": 1e-9, "total": 1e-9}},
            "static_joules": {"idle": 3e-5, "none": 0.0},
            "seconds": {"step": 2e-6, "whole_clip": 1e-3, "after_last_frame": 8e-6}, "efficiency": {"gsop_per_s_per_w": 0.5}}

    return {"variant": variant, "arm": variant,
            "chip": {"name": "mini_chip", "utilisation": utilisation, "neurons": 0.4, "synapse_bits": 0.3, "in_axons": 0.2,
                     "out_axons": 0.1, "density": 1.0, "cores_used": 7},
            "subsets": {"all": subset(1), "quiet": subset(0.5)}, **more}


ANN = {"variant": "ann", "arm": "ann", "macs": 5000, "joules": {"float32": 2.3e-8, "int8": 1.15e-9},
       "subsets": {"all": {"clips": 200, "correct": {"float": 180}}}}


def swept(right, spikes, joules, clips=50, **keys):
    return {**keys, "clips": clips, "correct": right, "spikes_total": spikes, "joules": {"davies2018": joules}}


def part(seed, rows, **more):
    return {"seed": seed, "rows": [*rows, ANN], "gamma": [swept(40, 120.0, 1e-6, sign=1, gamma=0.5, subset="all")],
            "noise": [swept(30, 90.0, 1e-6, snr_db=10.0, sign=0), swept(None, 70.0, 5e-7, snr_db=None, sign=0)],
            "noise_source": {"made": True}, "placements": [{"seed": seed}], "training": {"hybrid": {"epochs": [seed]}},
            "settings": {"chosen": 1}, "provenance": {"code": "test"}, **more}


def value(table, **where):
    rows = table[(table[list(where)] == list(where.values())).all(axis=1)]
    assert len(rows) == 1
    return rows["value"].item()


# ------------------------------------------------------------------------------------------------ a seed
def test_quantities_of_a_variant_by_hand():
    table = summary.per_seed([part(7, [measured("hybrid", correct=(160, 158, 150))])])
    found = {"seed": 7, "variant": "hybrid", "subset": "all"}
    expected = {
        "accuracy_float": 80, "accuracy_quantised": 79, "accuracy_integer": 75, "quantisation_change": -5,
        "spikes_encoder": 100, "spikes_hidden": 50, "spikes_total": 150, "synaptic_operations": 1000, "messages": 40,
        "microjoules_davies2018": 2, "microjoules_arithmetic45": 1e-3, "microjoules_static_idle": 30,
        "milliseconds_whole_clip": 1, "milliseconds_after_last_frame": 8e-3, "nanoseconds_step": 2000,
        "gsop_per_s_per_w": 0.5, "chip_utilisation": 50, "chip_density": 100, "chip_cores_used": 7}
    for quantity, wanted in expected.items():
        assert value(table, **found, quantity=quantity) == pytest.approx(wanted), quantity
    assert value(table, **{**found, "subset": "quiet"}, quantity="accuracy_float") == 80
    assert value(table, **{**found, "subset": "quiet"}, quantity="spikes_total") == 75


def test_quantities_of_the_conventional_net():
    table = summary.per_seed([part(0, [])])
    assert dict(zip(table["quantity"], table["value"], strict=True)) == pytest.approx(
        {"accuracy_float": 90, "microjoules_float32": 2.3e-2, "microjoules_int8": 1.15e-3})
    assert set(table["subset"]) == {"all"}


# ------------------------------------------------------------------------------------------------ seeds
def test_the_mean_of_three_seeds_has_students_interval():
    parts = [part(seed, [measured("hybrid", correct=(0, 0, right))]) for seed, right in enumerate((100, 110, 120))]
    found = summary.ablation_file(parts, SETTINGS)["summary"]["hybrid"]["all"]["accuracy_integer"]
    half = T * 5 / 3**0.5  # 50, 55 and 60 %
    assert found == pytest.approx({"value": 55, "ci_low": 55 - half, "ci_high": 55 + half, "n": 3})


def test_one_seed_has_no_interval():
    found = summary.ablation_file([part(0, [measured("hybrid")])], SETTINGS)["summary"]["hybrid"]["all"]["spikes_total"]
    assert found == {"value": 150, "ci_low": None, "ci_high": None, "n": 1}


def test_effects_by_hand():
    """Of one seed, so that each is one number."""
    parts = [part(0, [
        measured("rate", correct=(0, 0, 150), encoder=400.0, hidden=100.0, operations=4000.0, joules=8e-6),
        measured("lif", correct=(0, 0, 140), encoder=80.0),
        measured("hybrid", correct=(0, 0, 160), encoder=100.0, hidden=25.0, operations=1000.0, joules=2e-6),
        measured("mapped", correct=(0, 0, 158), encoder=100.0, hidden=25.0, joules=1e-6, utilisation=0.75)])]
    found = summary.effects(summary.per_seed(parts), SETTINGS)
    assert list(found) == ["hybrid_vs_rate", "lif_vs_rate", "hybrid_vs_lif", "mapped_vs_hybrid"]
    against_rate = {name: cell["value"] for name, cell in found["hybrid_vs_rate"]["all"].items()}
    assert against_rate == pytest.approx({
        "accuracy_change": 5, "utilisation_change": 0, "energy_saving": 75, "spike_saving": 75, "operation_saving": 75,
        "encoder_spike_ratio": 4, "spike_ratio": 4})
    mapped = found["mapped_vs_hybrid"]["all"]
    assert mapped["utilisation_change"]["value"] == pytest.approx(25)
    assert mapped["energy_saving"]["value"] == pytest.approx(50)
    assert mapped["spike_saving"]["value"] == pytest.approx(0)
    assert mapped["accuracy_change"]["value"] == pytest.approx(-1)
    assert found["hybrid_vs_lif"]["quiet"]["encoder_spike_ratio"]["value"] == pytest.approx(0.8)


def test_effects_between_codes_whose_information_is_known():
    parts = [part(0, [measured("rate", information={"bits": 1.0, "bits_per_spike": 0.25}),
                      measured("hybrid", information={"bits": 1.5, "bits_per_spike": 0.5}), measured("mapped")])]
    found = summary.effects(summary.per_seed(parts), SETTINGS)
    coded = found["hybrid_vs_rate"]["quiet"]
    assert (coded["bits_change"]["value"], coded["efficiency_ratio"]["value"]) == (0.5, 2)
    assert not {"bits_change", "efficiency_ratio"} & found["mapped_vs_hybrid"]["all"].keys()


def test_effects_are_paired_by_seed():
    """Seeds differ by 20 points, the two variants by 2 or 3 in each: the pairs' interval is the narrow one."""
    rights = {0: (100, 104), 1: (140, 146), 2: (180, 184)}
    parts = [part(seed, [measured("rate", correct=(0, 0, old)), measured("hybrid", correct=(0, 0, new))])
             for seed, (old, new) in rights.items()]
    found = summary.effects(summary.per_seed(parts[::-1]), SETTINGS)["hybrid_vs_rate"]["all"]["accuracy_change"]
    half = T * (1 / 3) ** 0.5 / 3**0.5  # of 2, 3 and 2
    assert found == pytest.approx({"value": 7 / 3, "ci_low": 7 / 3 - half, "ci_high": 7 / 3 + half, "n": 3})


def test_a_ratio_of_no_spikes_is_finite():
    parts = [part(0, [measured("rate", encoder=100.0), measured("hybrid", encoder=0.0)])]
    found = summary.effects(summary.per_seed(parts), SETTINGS)["hybrid_vs_rate"]["all"]
    assert found["encoder_spike_ratio"]["value"] == pytest.approx(1e11)


# ------------------------------------------------------------------------------------------------ sweeps
def test_curves_by_hand():
    sweeps = [(40, 44), (42, 46), (44, 48)]
    parts = [{"seed": seed, "gamma": [swept(right, 100.0 + seed, 1e-6, sign=sign, gamma=0.5, subset="all")
                                      for sign, right in zip((1, -1), rights, strict=True)]}
             for seed, rights in enumerate(sweeps)]
    first, second = summary.curves(parts, "gamma", ["sign", "gamma", "subset"], SETTINGS)
    assert [(row["sign"], row["gamma"], row["subset"]) for row in (first, second)] == [(1, 0.5, "all"), (-1, 0.5, "all")]
    half = T * 4 / 3**0.5
    assert first["accuracy"] == pytest.approx({"value": 84, "ci_low": 84 - half, "ci_high": 84 + half, "n": 3})
    assert second["accuracy"]["value"] == 92
    assert first["spikes_total"]["value"] == 101
    assert first["microjoules"] == pytest.approx({"value": 1, "ci_low": 1, "ci_high": 1, "n": 3})


def test_curves_of_noise_alone_have_no_accuracy_and_no_ratio():
    found = summary.curves([part(seed, []) for seed in range(3)], "noise", ["snr_db", "sign"], SETTINGS)
    noisy, alone = found
    assert (noisy["snr_db"], noisy["sign"], noisy["accuracy"]["value"]) == (10.0, 0, 60)
    assert alone["snr_db"] is None
    assert alone["accuracy"] is None
    assert alone["spikes_total"]["value"] == 70
    assert alone["microjoules"]["value"] == pytest.approx(0.5)


# ------------------------------------------------------------------------------------------------ the file
def test_the_whole_file():
    parts = [part(seed, [measured("rate"), measured("hybrid", joules=1e-6)]) for seed in (2, 0, 1)]
    found = summary.ablation_file(parts, SETTINGS)
    assert (found["paper"], found["experiment"], found["seeds"]) == ("neuedge", "ablation", [0, 1, 2])
    assert list(found["summary"]) == ["rate", "hybrid", "ann"]
    assert list(found["effects"]) == ["hybrid_vs_rate"]
    assert found["ann"] == {"macs": 5000}
    assert found["settings"] == {"chosen": 1, "statistics": SETTINGS.model_dump()}
    # Terms, placements and the course of training are those of the seed that came first.
    assert found["terms"]["hybrid"]["davies2018"] == pytest.approx({"synapses": 0.25, "total": 1})
    assert "ann" not in found["terms"]
    assert found["placements"] == [{"seed": 2}]
    assert found["training"] == {"hybrid": {"epochs": [2]}}
    json.dumps(found, allow_nan=False)
