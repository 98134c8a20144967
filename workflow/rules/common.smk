"""Names shared by all rules: where a run's files are, and how a rule gets its settings.

The only Python of the workflow. No mathematics: what a number means is the library's business.
"""

import json
import math
import os
import shlex
import sys
from pathlib import Path
from typing import NamedTuple, get_args

from edgekws.config import Config
from edgekws.core import settings as edgekws_settings
from edgekws.core.errors import UserError
from edgekws.run import speech as edgekws_speech
from snakemake.exceptions import WorkflowError

# A rule's commands run in this very environment, also where it was never activated.
# Snakemake's Slurm plugin finds the sacct of its profile, which answers without accounting, too.
os.environ["PATH"] = os.pathsep.join(
    [str(Path(sys.executable).parent), f"{workflow.basedir}/profiles/slurm/bin", os.environ["PATH"]]
)

if Path.cwd().resolve() != Path(workflow.basedir).resolve():
    raise WorkflowError(
        f"the workflow runs in its own folder, {workflow.basedir}: start it there, without --directory; "
        "to have results elsewhere, make results/ a link"
    )

try:
    SETTINGS = edgekws_settings.validate(Config, config, where="configuration")
except UserError as error:
    raise WorkflowError(str(error)) from None

RUN = f"results/{SETTINGS.run}"
LOGS = f"{RUN}/logs"
BENCHMARKS = f"{RUN}/benchmarks"
# Not Snakemake's {threads}, which shrinks with --cores: the same run must give the same bytes on any machine.
THREADS = f"--threads {SETTINGS.threads}"
# Of a job that trains a net: no option where the settings want no GPU, so that on the CPU nothing changes.
GPUS = int(SETTINGS.device != "cpu")
TRAINS_ON = f"{THREADS} --device {SETTINGS.device}" if GPUS else THREADS


# A rule whose work grows with the settings declares `units` among its resources: any whole number that its time beyond the
# start of its process is proportional to, 0 where it does nothing but start. `edgekws run cost` multiplies them by the
# measured time of a unit; a rule without them is estimated by the measured time of a like job.
SPEECH = edgekws_speech.speech_of(SETTINGS, Path(RUN) / "corpus" / "index.parquet")


# Which job of those that are ready goes first, where cores are few (`priority`): 3, what all else waits for (corpora, features,
# environments); 2, the nets and budgets of many jobs; 1, long jobs and figures, which should not be what a run ends with.


class Paper(NamedTuple):
    """What a paper's rules file tells the ledger, the report and the menu of targets.

    Its title, by which menu and report call it, the metrics that its claims rest on, its figures by name, each with what
    it shows, and the models that a whole run leaves behind though no metric needs them.
    """

    title: str
    metrics: list
    figures: dict
    models: list = []


# In the order of the Snakefile's includes: each rules file enters its own (docs/add_a_method.md).
PAPERS = {}


wildcard_constraints:
    seed=r"-?\d+",
    method=r"[a-z_]+",
    experiment=r"[A-Za-z0-9_-]+",
    protocol="one_user|many_users",
    normalisation="frozen|per_set",


def as_json(*sections, **named):
    """One section of the settings, or several under their names, as the JSON text a command takes."""
    return json.dumps(
        sections[0] if sections else named, sort_keys=True, default=lambda section: section.model_dump(mode="json")
    )


def alone(threads):
    """Threads of a job that is timed: it must not share the machine; on a cluster it is the profile that sees to that."""
    return workflow.cores if workflow.local_exec and workflow.is_main_process else threads


def more_memory(megabytes, mapped=False):
    """Memory for a first try in MB, with `mapped` on top of the inputs, which are memory maps; doubled with every retry."""
    if mapped:
        return lambda wildcards, input, attempt: (megabytes + int(input.size_mb)) * 2 ** (attempt - 1)
    return lambda wildcards, attempt: megabytes * 2 ** (attempt - 1)


def more_time(minutes):
    """Minutes for a first try, doubled with every retry: a batch system kills what takes longer."""
    return lambda wildcards, attempt: minutes * 2 ** (attempt - 1)


def figures_of(paper):
    """A paper's figures as outputs, each with its caption and place in Snakemake's own report."""
    marked = []
    for figure, about in paper.figures.items():
        told = Path(workflow.basedir) / "workflow" / "report" / f"{figure}.rst"
        place = {"category": "Figures", "subcategory": paper.title, "labels": {"figure": about}}
        svg = report(f"{RUN}/figures/{figure}.svg", caption=told if told.exists() else None, **place)
        marked += [svg, f"{RUN}/figures/{figure}.png"]
    return marked
