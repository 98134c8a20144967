"""A run made up for the tests: plausible numbers, drawn at random, of a corpus that does not exist."""

import json
from pathlib import Path

import numpy as np
import pytest

from edgekws.evaluation import claims, statistics

REPOSITORY = Path(__file__).parents[2]
METHODS = {"traces_propagation": 11.0, "bptt": 12.0, "readout_only": 4.0, "from_scratch": -55.0}
SHOTS = {"many_users": ("1", "3", "all"), "one_user": ("1", "5", "all")}


def made_up_metrics(experiment: str, *, users: int, synthetic: bool, seed: int = 0) -> dict:
    rng = np.random.default_rng(seed)
    methods = METHODS if experiment != "many_users_per_set" else {"traces_propagation": 11.0}
    rows, summary = [], {}
    for method, gain in methods.items():
        for size, shot in enumerate(SHOTS["one_user" if experiment == "one_user" else "many_users"]):
            own = []
            for user in range(users):
                for repeat in range(3):
                    before = float(np.clip(rng.normal(78, 6), 0, 100))
                    after = float(np.clip(before + gain * (0.6 + 0.3 * size) + rng.normal(0, 3), 0, 100))
                    lost = float(rng.normal(3 + 2 * size, 1))
                    own.append({"user": f"user{user}", "split": "test", "method": method, "shot": shot, "seed": repeat,
                                "query_clips": 40, "before": before, "after": after, "gain": after - before,
                                "others_before": 80.0, "others_after": 80.0 - lost, "forgetting": lost})
            cell = {"users": users, "seeds": 3}
            for name in ("before", "after", "gain", "forgetting"):
                values = [row[name] for row in own]
                by = [row["user" if users > 1 else "seed"] for row in own]
                cell[name] = statistics.clustered_mean_interval(values, by, resamples=200).as_dict()
            summary.setdefault(method, {})[shot] = cell
            rows += own
    corpus = {"name": "synthetic" if synthetic else "gsc", "archive": "made-up.tar", "archive_sha256": "0" * 64,
              "synthetic": synthetic, "words": ["yes", "no", "up", "down"], "clips": 1200, "speakers": 54}
    return {"schema": 1, "paper": "traces_propagation", "experiment": experiment, "settings": {}, "seeds": [0, 1, 2],
            "provenance": {"code": "0", "corpus": corpus},
            "base": {"test_accuracy": statistics.accuracy_interval(80, 100).as_dict()}, "rows": rows,
            "summary": summary}


@pytest.fixture
def made_up_run(tmp_path):
    """A function that fills ``results/<run>`` with metrics, a ledger, and what Snakemake leaves; returns the folder."""
    def make(*, synthetic: bool = True, experiments: tuple[str, ...] = (
            "one_user", "many_users", "many_users_per_set", "many_users_tuned")) -> Path:
        results = tmp_path / "results" / "made_up"
        folder = results / "metrics" / "traces_propagation"
        folder.mkdir(parents=True)
        for number, name in enumerate(experiments):
            content = made_up_metrics(name, users=1 if name == "one_user" else 24, synthetic=synthetic, seed=number)
            (folder / f"{name}.json").write_text(json.dumps(content))
        benchmark = results / "benchmarks" / "traces_propagation"
        benchmark.mkdir(parents=True)
        head = "s\th:m:s\tmax_rss\tmax_vms\tmax_uss\tmax_pss\tio_in\tio_out\tmean_load\tcpu_time\n"
        (benchmark / "base_seed0.tsv").write_text(head + "60.0\t0:01:00\t500.5\t1\t1\t1\t0\t0\t90\t55.0\n")
        (benchmark / "base_seed1.tsv").write_text(head + "30.0\t0:00:30\t700.0\t1\t1\t1\t0\t0\t90\t25.0\n")
        (results / "benchmarks" / "claims.tsv").write_text(head + "0.4\t0:00:00\t-\t-\t-\t-\t-\t-\t-\tNA\n")
        ledger = claims.build_ledger("made_up", REPOSITORY / "claims", results, content["provenance"])
        claims.write_ledger(results / "claims.json", ledger)
        return results
    return make
