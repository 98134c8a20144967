"""What a run cost: wall time, peak memory and device by step."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from edgekws.core import files
from edgekws.run.measured import output_path, read_benchmark
from edgekws.run.work import rule_of_benchmark


def read_cost(results: Path, device: str = "") -> dict[str, Any] | None:
    """Wall time, peak memory and device by step, from Snakemake's benchmark files; seeds and parts of a step are summed.

    Their CPU time is left out: it is sampled, and stops at the last sample before a job's end.

    Args:
        results: Folder of the run.
        device: What ran the steps whose results do not say it themselves.

    Raises:
        UserError: A file is no benchmark.
    """
    steps: dict[str, dict[str, Any]] = {}
    for path in sorted((results / "benchmarks").rglob("*.tsv")):
        job = path.relative_to(results / "benchmarks").with_suffix("").as_posix()
        name = re.sub(r"/seed-?\d+$", "/each seed", re.sub(r"_(seed-?|part)\d+", "", job))
        step = steps.setdefault(name, {"name": name, "jobs": 0, "wall": 0.0, "memory": 0.0, "devices": set()})
        rule = rule_of_benchmark(job)
        step["devices"].add((_device(output_path(results, *rule)) if rule else "") or device)
        wall, _, memory = read_benchmark(path)
        step["jobs"] += 1
        step["wall"] += wall
        step["memory"] = max(step["memory"], memory)
    if not steps:
        return None
    rows = [{**step, "devices": sorted(step["devices"] - {""})} for step in steps.values()]
    return {"rows": rows, "wall": sum(row["wall"] for row in rows),
            "jobs": sum(row["jobs"] for row in rows), "memory": max(row["memory"] for row in rows)}


def _device(result: Path) -> str:
    """The device that a job's result names; empty where it names none."""
    about: dict[str, Any] = {}
    if not result.is_file():
        return ""
    if result.suffix == ".json":
        about = files.read_json(result).get("provenance", {})
    elif result.suffix == ".safetensors":
        from safetensors import safe_open

        with safe_open(result, framework="numpy") as opened:
            about = json.loads((opened.metadata() or {}).get("provenance", "{}"))
    return str(about.get("device", ""))
