"""Costs: intervals and break-even by hand, memory counted exactly, and one small measurement from end to end."""

from __future__ import annotations

import copy
import itertools
import types
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from edgekws.core import files
from edgekws.core.errors import UserError
from edgekws.core.memory import LiveTensors
from edgekws.ledger.schema import at_pointer, read_papers
from edgekws.methods.onda import cost, power, timing
from edgekws.methods.onda.settings import Calibration, FineTuning, OnDA, OndaCost, Pruning
from edgekws.models import encoder as encoders

SMALL = OnDA(cost=OndaCost(ratios=[0.25, 0.5], warm_up=1, inferences=3, steps=2, pseudo_positives=9),
             finetuning=FineTuning(epochs=2, positives=4, negatives=6), calibration=Calibration(recordings=2),
             pruning=Pruning(probes=3))


@pytest.fixture
def encoder(tmp_path: Path) -> Path:
    path = tmp_path / "encoder.safetensors"
    encoders.save_encoder(path, encoders.build("ds_cnn_s", [8] * 5), "ds_cnn_s", about={}, provenance={})
    return path


def constant(value: float, rounds: int = 4) -> np.ndarray:
    return np.full(rounds, value)


COSTS = {
    "inference": {"0": constant(0.010, 9), "50": constant(0.005, 9)},
    "adaptation": {"probes": constant(3.0), "update 0": constant(2.0), "update 50": constant(1.0),
                   "pruning 50": constant(0.5), "recalibration 50": constant(0.1)}}
PLAN = cost.Plan(updates=100, scorings=10, probes=2, recalibrations=5)


def test_median_of_rounds_with_its_interval() -> None:
    found = timing.median_interval(np.array([1.0, 2.0, 3.0, 4.0, 100.0]))
    assert found["value"] == 3 and found["n"] == 5
    assert 1 <= found["ci_low"] < 3 < found["ci_high"] <= 100
    assert timing.median_interval(constant(7.0)) == {"value": 7, "ci_low": 7, "ci_high": 7, "n": 4}


def test_the_interval_narrows_with_the_rounds() -> None:
    values = np.random.default_rng(0).normal(10, 1, 900)
    wide, narrow = timing.median_interval(values[:9]), timing.median_interval(values)
    assert (wide["ci_high"] - wide["ci_low"]) > 3 * (narrow["ci_high"] - narrow["ci_low"])
    assert narrow["ci_low"] < 10 < narrow["ci_high"]


def test_a_quotient_whose_divisor_may_be_nothing_is_none() -> None:
    assert timing.quotient_interval(constant(6.0), constant(2.0, 9)) == {"value": 3, "ci_low": 3, "ci_high": 3, "n": 4}
    assert timing.quotient_interval(constant(6.0), np.array([1.0, 1.0, -1.0, -1.0, 1.0])) is None


def test_an_adaptation_is_the_sum_of_its_parts() -> None:
    told = cost.account(COSTS, PLAN, [0.5])
    first, second = (told["adaptation"][schedule]["50"] for schedule in ("onda_1", "onda_2"))
    assert told["adaptation"]["none"]["total"]["value"] == 200
    assert first["parts"] == {"probes": 30, "pruning": 0.5, "recalibration": 0.5, "updates": 100}
    assert first["total"]["value"] == 131 and first["gain"]["value"] == pytest.approx(200 / 131)
    assert second["parts"] == {"first updates": 200, "pruning": 0.5, "recalibration": 0.5, "updates": 100}
    assert second["total"]["value"] == 301
    assert told["pruned"]["50"]["gain"]["inference"] == {"value": 2, "ci_low": 2, "ci_high": 2, "n": 9}
    assert told["pruned"]["50"]["gain"]["update"]["value"] == 2


def test_break_even_counts_inferences_and_updates() -> None:
    found = cost.account(COSTS, PLAN, [0.5])["break_even"]
    assert found["onda_1"]["50"]["value"] == pytest.approx((131 - 200) / 0.005)  # it has paid before the first one
    assert found["onda_2"]["50"]["value"] == pytest.approx((301 - 200) / 0.005)
    assert found["onda_2_after_onda_1"]["value"] == pytest.approx((301 - 131) / 0.005)
    assert found["onda_1_updates"]["50"]["value"] == pytest.approx(31)  # 30 for probes and 1 for the rest, 1 saved in each


def test_checks_and_largest_gains() -> None:
    costs = copy.deepcopy(COSTS)
    costs["inference"]["75"] = constant(0.004, 9)
    costs["adaptation"] |= {"update 75": constant(1.8), "pruning 75": constant(0.5), "recalibration 75": constant(0.1)}
    told = cost.account(costs, PLAN, [0.5, 0.75])
    best = cost.largest(told)
    assert best["onda_1_inference"] == {"value": 2.5, "ci_low": 2.5, "ci_high": 2.5, "n": 9, "ratio": 0.75}
    assert best["onda_1_adaptation"]["ratio"] == 0.5
    found = cost.checks(told, "seconds")
    assert found["onda_1_pays_at_once"]["holds"] and "200 for weights only, OnDA-1 131 at 50 %, 211" in \
        found["onda_1_pays_at_once"]["why"]
    assert found["onda_2_breaks_even_later"]["holds"] and "at 75 % pruned" in found["onda_2_breaks_even_later"]["why"]


def test_nothing_pays_where_pruning_saves_nothing() -> None:
    costs = {**COSTS, "inference": {"0": constant(0.010), "50": constant(0.010)},
             "adaptation": {**COSTS["adaptation"], "update 50": constant(2.0)}}
    told = cost.account(costs, PLAN, [0.5])
    assert told["break_even"]["onda_1"]["50"]["measured"] is told["break_even"]["onda_1_updates"]["50"]["measured"] is False
    found = cost.checks(told, "seconds")
    assert not found["onda_1_pays_at_once"]["holds"] and not found["onda_2_breaks_even_later"]["holds"]
    assert "not reliably cheaper" in found["onda_2_breaks_even_later"]["why"]


def test_rounds_go_forwards_and_backwards_after_the_warm_up() -> None:
    calls: list[str] = []
    costs = iter(range(6))
    found = timing.in_turn({name: lambda name=name: calls.append(name) for name in "ab"}, 3,
                         lambda operation: (operation(), float(next(costs)))[1], warm_up=2)
    assert "".join(calls) == "abab" + "ab" + "ba" + "ab"
    assert found["a"].tolist() == [0, 3, 4] and found["b"].tolist() == [1, 2, 5]


class Meter(power.EnergyCounter):
    """Two joules for a call and three for a second."""

    name, covers = "meter", "a made-up machine"

    def __init__(self, clock: Iterator[float]) -> None:
        self.calls, self.second, self.clock = 0, 0.0, clock

    def tick(self) -> float:
        self.second = next(self.clock)
        return self.second

    def joules(self) -> float:
        return 2.0 * self.calls + 3.0 * self.second

    def work(self) -> None:
        self.calls += 1


def test_joules_are_per_call_and_above_the_idle_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    # Asked at the start, after each of two calls, and at the end of a second.
    meter = Meter(iter([0.0, 0.5, 1.0, 1.0]))
    monkeypatch.setattr(cost.time, "perf_counter", meter.tick)
    found = timing.joules(meter.work, counter=meter, idle=3.0, block=1.0)
    assert meter.calls == 2 and found == pytest.approx(2.0)


def test_live_tensors_are_counted_to_the_byte() -> None:
    held = torch.ones(1000)

    def work() -> None:
        first = held + 1  # 4000 bytes beside the 4000 held
        second = first * 2
        del first
        _ = second.view(10, 100).t() + 1  # a view takes nothing

    assert timing.memory(work)["tensors"] == 3 * 4000
    with LiveTensors() as live:
        work()
        assert live.now == 4000


def test_memory_of_an_update_holds_weights_gradients_moments_and_maps() -> None:
    net = encoders.build("ds_cnn_s", [8] * 5)
    batch = torch.randn(4, 47, 10)
    found = timing.memory(cost.updating(net, lambda each: each(batch).square().sum(), 1e-3))
    weights = 4 * encoders.parameters(net)
    stem = 4 * 4 * 8 * 24 * 5  # one map of the first convolution
    assert 4 * weights + 2 * stem < found["tensors"] < 40 * (weights + stem)


def test_resident_memory_is_what_the_process_grew_by() -> None:
    found = timing.memory(lambda: torch.ones(10_000_000).sum())["resident"]
    if found is None:
        pytest.skip("this system does not tell")
    assert 36_000_000 < found < 60_000_000  # 40 MB; the kernel counts in strides


def test_an_update_trains_a_copy() -> None:
    net = encoders.build("ds_cnn_s", [8] * 5)
    before = copy.deepcopy(net.state_dict())
    losses: list[float] = []
    target = torch.nn.functional.normalize(torch.randn(6, 8, generator=torch.Generator().manual_seed(1)))
    batch = torch.randn(6, 47, 10, generator=torch.Generator().manual_seed(2))

    def loss(each: torch.nn.Module) -> torch.Tensor:
        found = (each(batch) - target).square().mean()
        losses.append(float(found.detach()))
        return found

    update = cost.updating(net, loss, 1e-2)
    for _ in range(10):
        update()
    assert losses[-1] < losses[0]
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())


def test_too_few_pseudo_positives_for_an_update() -> None:
    assert cost.Plan.of(OnDA()) == (200, 8, 7, 10)
    with pytest.raises(UserError, match="nothing would be trained"):
        cost.Plan.of(OnDA(cost=OndaCost(pseudo_positives=19)))


def test_the_machine_names_itself(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cpuinfo").write_text("processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\n")
    assert cost.machine(tmp_path) == {"name": "Some CPU @ 2 GHz", "jetson": False}
    (tmp_path / "proc/device-tree").mkdir()
    (tmp_path / "proc/device-tree/model").write_bytes(b"NVIDIA Jetson Orin Nano Developer Kit\x00")
    assert cost.machine(tmp_path) == {"name": "NVIDIA Jetson Orin Nano Developer Kit", "jetson": True}


def test_a_file_of_costs_holds_what_the_claims_ask_for(encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(power, "find_counter", lambda **_: None)
    found = cost.cost_file(encoder, SMALL, seed=0, threads=1)
    files.write_json(tmp_path / "cost.json", found)
    for claim in (claim for paper in read_papers("claims") for claim in paper.claims if claim.paper == "onda"):
        if claim.measured and claim.measured.experiment == "cost":
            for pointer in claim.measured.checks or [claim.measured.path]:
                if pointer.startswith("/gpu/") and not found["gpu"]["measured"]:
                    assert found["gpu"]["why"]
                    continue
                at = at_pointer(found, pointer)
                assert at.keys() >= {"value", "ci_low", "ci_high", "n"} or at["measured"] is False or "holds" in at
    assert found["unpruned"]["parameters"] == encoders.parameters(encoders.build("ds_cnn_s", [8] * 5))
    left = [sum(net["widths"]) for net in found["pruned"].values()]  # of the 32 that may go a quarter and a half
    assert all(0 <= have - wanted <= 1 for have, wanted in zip(left, (40 - 8, 40 - 16), strict=True)), "the cap holds one back"
    assert found["unpruned"]["bytes"] > found["pruned"]["25"]["bytes"] > found["pruned"]["50"]["bytes"]
    assert found["adaptation"]["updates"] == 2 * 2
    peak = found["adaptation"]["onda_1"]["50"]["peak_bytes"]["tensors"]
    assert peak == found["adaptation"]["onda_1"]["25"]["peak_bytes"]["tensors"]  # the probe's, before anything is pruned
    assert found["energy"]["measured"] is False and found["gpu"]["measured"] is torch.cuda.is_available()


@pytest.mark.parametrize("step", [2.0, 0.0])
def test_energy_is_accounted_for_as_time_is(encoder: Path, monkeypatch: pytest.MonkeyPatch, step: float) -> None:
    class Stepping(power.EnergyCounter):
        """So many joules from one reading to the next."""

        name, covers = "meter", "a made-up machine"
        total = 0.0

        def joules(self) -> float:
            self.total += step
            return self.total

    monkeypatch.setattr(power, "find_counter", lambda **_: Stepping())
    # A clock on which everything takes as long, however busy the machine is.
    clock = types.SimpleNamespace(perf_counter=itertools.count(0.0, 0.01).__next__, sleep=lambda _: None)
    monkeypatch.setattr(cost, "time", clock)
    monkeypatch.setattr(timing, "time", clock)
    monkeypatch.setattr(cost, "_BLOCK_SECONDS", 0.0)
    found = cost.cost_file(encoder, SMALL, seed=0, threads=1)
    if step == 0:
        assert "less at work" in found["energy"]["why"] and found["largest"]["onda_1_inference_energy"]["measured"] is False
        assert "seconds" in found["checks"]["onda_1_pays_at_once"]["why"]
        return
    energy = found["energy"]
    assert energy["counter"] == "meter" and energy["idle_watts"] == 2 / 5
    assert 1.9 < energy["unpruned"]["inference"]["value"] < 2
    # All operations take as much: three probes and four updates against four updates alone.
    assert found["largest"]["onda_1_adaptation_energy"]["value"] == pytest.approx(4 / (4 + 3 + 1 + 9 / 4))
    assert "joules" in found["checks"]["onda_1_pays_at_once"]["why"]
