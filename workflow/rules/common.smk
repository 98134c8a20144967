"""Names shared by all rules: where a run's files are, and how a rule gets its settings.

The only Python of the workflow. No mathematics: what a number means is the library's business.
"""

import json
import os
import shlex
import sys
from pathlib import Path
from typing import get_args

from edgekws import settings as edgekws_settings
from edgekws.errors import UserError
from snakemake.exceptions import WorkflowError

# A rule's commands run in this very environment, also where it was never activated.
# Snakemake's Slurm plugin finds the sacct of its profile, which answers without accounting, too.
os.environ["PATH"] = os.pathsep.join(
    [str(Path(sys.executable).parent), f"{workflow.basedir}/profiles/slurm/bin", os.environ["PATH"]]
)

try:
    SETTINGS = edgekws_settings.validate(edgekws_settings.Config, config, where="configuration")
except UserError as error:
    raise WorkflowError(str(error)) from None

RUN = f"results/{SETTINGS.run}"
LOGS = f"{RUN}/logs"
BENCHMARKS = f"{RUN}/benchmarks"
# Not Snakemake's {threads}, which shrinks with --cores: the same run must give the same bytes on any machine.
THREADS = f"--threads {SETTINGS.threads}"


wildcard_constraints:
    seed=r"-?\d+",
    method=r"[a-z_]+",
    experiment=r"[A-Za-z0-9_-]+",
    protocol="one_user|many_users",
    normalisation="frozen|per_set",
    arm="|".join(get_args(edgekws_settings.NeuEdgeArm)),


def as_json(*sections, **named):
    """One section of the settings, or several under their names, as the JSON text a command takes."""
    if sections:
        return json.dumps(sections[0].model_dump(mode="json"), sort_keys=True)
    return json.dumps(
        {
            name: value.model_dump(mode="json") if hasattr(value, "model_dump") else value
            for name, value in named.items()
        },
        sort_keys=True,
    )


def more_memory(megabytes, mapped=False):
    """Memory for a first try in MB, with `mapped` on top of the inputs, which are memory maps; doubled with every retry."""
    if mapped:
        return lambda wildcards, input, attempt: (megabytes + int(input.size_mb)) * 2 ** (attempt - 1)
    return lambda wildcards, attempt: megabytes * 2 ** (attempt - 1)
