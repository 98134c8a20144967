"""Jobs on every target: the same bits, counts that repeat, budgets that hold."""

import shutil

import numpy as np
import pytest

from edgekws.core.environments import NotRun
from edgekws.core.errors import UserError
from edgekws.embedded import compiler, image, measure, run
from edgekws.methods.alternatives.metrics import DeviceRun
from edgekws.methods.alternatives.settings import Device
from edgekws.methods.traces_propagation.experiments import Base
from edgekws.protocol.metrics import check_pointer
from edgekws.protocol.settings import Training

needs_qemu = pytest.mark.skipif(shutil.which("qemu-system-arm") is None, reason="QEMU is not installed here")


@pytest.fixture
def job(clips):
    waves, labels = clips
    return run.Job([(int(label), wave) for wave, label in zip(waves[:6], labels, strict=False)], list(waves[6:9]), epochs=1,
                   rate=1e-3)


@pytest.fixture
def bench(tmp_path, built):
    built("host")  # skips where there is no compiler
    return measure.Bench(tmp_path, compiler.ENVIRONMENT)


def test_what_a_target_says_is_read():
    said = ("predictions_before 0108\nbefore_potentials 00000000000000ff\nweights 0000000000000001\nweights 0000000000000002\n"
            "predictions_after 02\nstack_bytes 00000310\n")
    found = run.parse(said, "target")
    assert (found.before, found.after) == ([1, 8], [2])
    assert found.one("stack_bytes") == 784 and found.one("nothing") == 0
    assert found.bits["weights"] == ["0000000000000001", "0000000000000002"]
    with pytest.raises(UserError, match="full"):
        run.parse("arena_bytes 0000000000000010\n\nerror the reservoir is full: drop one\n", "target")
    with pytest.raises(UserError, match="stopped"):
        run.parse("arena_bytes 0000000000000010\n", "target")


@pytest.mark.parametrize("rule", ["traces", "bptt"])
def test_host_and_web_assembly_agree(bench, net, metadata, job, rule):
    blob = image.spiking(net, metadata, where="net")
    found = [bench.run(target, blob, measure.replace(job, rule=rule)) for target in ("host", "wasm")]
    assert found[0].bits == found[1].bits
    assert len(found[0].before) == len(found[0].after) == 3


@needs_qemu
@pytest.mark.slow
def test_a_cortex_m_agrees_and_repeats(bench, net, metadata, job):
    blob = image.spiking(net, metadata, precision="int8", where="net")
    host = bench.run("host", blob, job)
    first, second = (bench.run("cortex-m4", blob, job, ram_bytes=512 * 1024) for _ in range(2))
    assert first.bits == host.bits
    assert first.numbers == second.numbers
    assert first.one("float_exceptions") == 0
    assert 0 < first.one("stack_bytes") < compiler.STACK_BYTES
    assert 0 < first.one("step_instructions") < first.one("learn_instructions")
    assert first.ram < 512 * 1024 and first.flash > len(blob)
    with pytest.raises(UserError, match="RAM"):
        bench.run("cortex-m4", blob, job, ram_bytes=64 * 1024)


def test_everything_is_measured_or_says_why_not(bench, net, metadata, clips, monkeypatch):
    waves, labels = clips
    user = measure.User("somebody", list(waves[:5]), labels[:5].tolist(), list(waves[5:8]), labels[5:8].tolist())
    base = Base(net, metadata["vocabulary"], metadata["feature_scale"])
    settings = Device(users=1, targets=["host", "cortex-m4"], widths=[8], budgets=[64], budget=Training(epochs=1))

    def absent():
        raise NotRun("no emulator here")

    monkeypatch.setattr(run, "qemu", absent)
    found = measure.measure(base, metadata, [user], settings, environment=compiler.ENVIRONMENT)
    assert found["targets"] == {"host": {"measured": True}, "cortex-m4": {"measured": False, "why": "no emulator here"}}
    row, = found["users"]
    assert row["same"] == ["host"] and row["largest_weight_difference"] < 1e-4
    assert row["as_pytorch_before"] == row["as_pytorch_after"] == 3
    assert found["widths"] == found["budgets"] == []
    assert set(found["checks"]) == {"same_bits"} and not found["checks"]["same_bits"]["holds"]


@needs_qemu
@pytest.mark.slow
def test_widths_and_budgets_are_built_and_run(bench, net, metadata, clips):
    waves, labels = clips
    user = measure.User("somebody", list(waves[:5]), labels[:5].tolist(), list(waves[5:8]), labels[5:8].tolist())
    base = Base(net, metadata["vocabulary"], metadata["feature_scale"])
    settings = Device(users=1, targets=["host", "cortex-m4"], widths=[24], clips=3, budgets=[48, 96], budget=Training(epochs=1))
    found = measure.measure(base, metadata, [user], settings, environment=compiler.ENVIRONMENT)
    assert all(check["holds"] for check in found["checks"].values())
    by_rule = {(row["rule"], row["optimiser"]): row for row in found["widths"]}
    assert by_rule["none", "adam"]["ram"] < by_rule["traces", "sgd"]["ram"] < by_rule["traces", "adam"]["ram"]
    assert by_rule["traces", "adam"]["arena"]["gradients"] == 0 < by_rule["bptt", "adam"]["arena"]["gradients"]
    small, _, large, _ = found["budgets"]
    assert small["neurons"] < large["neurons"] and large["ram"] <= 96 * 1024 < large["ram"] * 1.5 and large["as_host"]


def test_claims_can_point_at_the_checks():
    for name in ("same_bits", "fits_budgets", "static_memory", "less_memory_than_bptt", "no_float_exceptions"):
        check_pointer(DeviceRun, f"/checks/{name}")


def test_a_program_refuses_a_job_that_is_cut_short(bench, net, metadata, job, tmp_path):
    blob = image.spiking(net, metadata, where="net")
    bench.run("host", blob, job)

    class Short(run.Job):
        def packed(self):
            return super().packed()[:-1000]

    with pytest.raises(UserError, match="not possible"):
        bench.run("host", blob, Short(job.support, job.query, epochs=1))
    assert np.isfinite(job.rate)
