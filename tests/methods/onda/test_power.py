"""Energy counters on made-up sysfs trees."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from edgekws.methods.onda import power


def domain(root: Path, path: str, name: str, energy: int, span: int = 1_000_000) -> Path:
    folder = root / "sys/class/powercap" / path
    folder.mkdir(parents=True)
    (folder / "name").write_text(f"{name}\n")
    (folder / "energy_uj").write_text(f"{energy}\n")
    (folder / "max_energy_range_uj").write_text(f"{span}\n")
    return folder


def channel(root: Path, number: int, label: str, millivolts: int, milliamperes: int, chip: str = "ina3221") -> Path:
    folder = root / "sys/class/hwmon/hwmon3"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "name").write_text(f"{chip}\n")
    (folder / f"in{number}_label").write_text(f"{label}\n")
    (folder / f"in{number}_input").write_text(f"{millivolts}\n")
    (folder / f"curr{number}_input").write_text(f"{milliamperes}\n")
    return folder


def test_rapl_adds_packages_and_memory_and_counts_on_when_a_count_starts_again(tmp_path: Path) -> None:
    first = domain(tmp_path, "intel-rapl:0", "package-0", 900_000)
    domain(tmp_path, "intel-rapl:0/intel-rapl:0:0", "core", 5)
    memory = domain(tmp_path, "intel-rapl:0/intel-rapl:0:1", "dram", 10, span=1000)
    second = domain(tmp_path, "intel-rapl:1", "package-1", 0)
    domain(tmp_path, "intel-rapl-mmio:0", "package-0", 900_000)
    found = power.find_counter(tmp_path)
    assert isinstance(found, power.Rapl) and found.covers.startswith("package-0, package-1, dram;")
    with found as counter:
        assert counter.joules() == 0
        (first / "energy_uj").write_text("200000")  # 300,000 further, past the range
        (memory / "energy_uj").write_text("510")
        assert counter.joules() == pytest.approx(0.3005)
        (second / "energy_uj").write_text("250000")
        (first / "energy_uj").write_text("100000")  # once more round: 900,000
        assert counter.joules() == pytest.approx(0.3005 + 0.25 + 0.9)


def test_a_counter_that_may_not_be_read_is_none_and_says_so(tmp_path: Path) -> None:
    folder = domain(tmp_path, "intel-rapl:0", "package-0", 0)
    (folder / "energy_uj").unlink()
    (folder / "energy_uj").mkdir()  # reading fails, whoever reads
    assert power.find_counter(tmp_path) is None
    assert "may not be read" in power.why_none(tmp_path)


def test_no_counter(tmp_path: Path) -> None:
    assert power.find_counter(tmp_path) is None
    assert "no energy counter" in power.why_none(tmp_path)


def test_a_jetson_is_read_at_its_input_before_anything_else(tmp_path: Path) -> None:
    domain(tmp_path, "intel-rapl:0", "package-0", 0)
    channel(tmp_path, 1, "VDD_CPU_GPU_CV", 5000, 100)
    channel(tmp_path, 2, "VDD_IN", 5000, 2000)
    found = power.find_counter(tmp_path)
    assert isinstance(found, power.Ina3221) and "VDD_IN" in found.covers
    channel(tmp_path, 2, "VDD_IN", 5000, 2000, chip="other")
    assert isinstance(power.find_counter(tmp_path), power.Rapl)


def test_power_samples_are_integrated_by_trapezoids(tmp_path: Path) -> None:
    folder = channel(tmp_path, 1, "VDD_IN", 5000, 1000)
    seconds = iter([10.0, 10.5, 12.5, 12.5])
    counter = power.Ina3221(folder / "in1_input", folder / "curr1_input", "VDD_IN", clock=lambda: next(seconds))
    assert counter.joules() == 0  # 5 W
    assert counter.joules() == pytest.approx(2.5)
    (folder / "curr1_input").write_text("3000")  # 15 W
    assert counter.joules() == pytest.approx(2.5 + 2 * (5 + 15) / 2)
    assert counter.joules() == pytest.approx(22.5)


def test_the_monitor_samples_by_itself_while_its_context_is_open(tmp_path: Path) -> None:
    folder = channel(tmp_path, 1, "VDD_IN", 5000, 1000)
    taken: list[float] = []

    def clock() -> float:
        taken.append(len(taken) / 100)
        return taken[-1]

    counter = power.Ina3221(folder / "in1_input", folder / "curr1_input", "VDD_IN", rate=1000, clock=clock)
    with counter:
        while len(taken) < 5:
            time.sleep(0.001)
    after = len(taken)
    time.sleep(0.02)
    assert len(taken) == after
    assert counter.joules() == pytest.approx(5 * after / 100)


def test_an_nvidia_gpu_is_read_through_nvml_if_that_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert power.find_counter(tmp_path, gpu="GPU-1") is None and "nvidia-ml-py" in power.why_none(tmp_path, gpu="GPU-1")

    class NVMLError(Exception):
        pass

    def refuse(handle: str) -> int:
        raise NVMLError

    fake = SimpleNamespace(nvmlInit=lambda: None, nvmlDeviceGetHandleByUUID=lambda uuid: uuid, NVMLError=NVMLError,
                           nvmlDeviceGetTotalEnergyConsumption=lambda handle: {"GPU-1": 2500}[handle])
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    found = power.find_counter(tmp_path, gpu="GPU-1")
    assert isinstance(found, power.Nvml) and found.joules() == 2.5
    fake.nvmlDeviceGetTotalEnergyConsumption = refuse
    assert power.find_counter(tmp_path, gpu="GPU-1") is None
