"""Three papers on keyword spotting that adapts on the device, replicated by one command.

`snakemake` builds the demo; `snakemake --configfile config/<run>.yaml` another run; `snakemake --list-target-rules`
what can be asked for by name. Settings: config/default.yaml. Results: results/<run>/.
"""

from snakemake.utils import min_version

min_version("9.0")


configfile: "config/default.yaml"


include: "workflow/rules/common.smk"
include: "workflow/rules/environments.smk"
include: "workflow/rules/corpus.smk"
include: "workflow/rules/protocol.smk"
include: "workflow/rules/traces_propagation.smk"
include: "workflow/rules/neuedge.smk"
include: "workflow/rules/onda.smk"
include: "workflow/rules/alternatives.smk"
include: "workflow/rules/embedded.smk"
include: "workflow/rules/report.smk"
include: "workflow/rules/targets.smk"


rule all:
    """The whole run: every paper, the ledger of claims and the report (default)."""
    default_target: True
    input:
        f"{RUN}/report.html",
        f"{RUN}/claims.json",
        [path for paper in PAPERS.values() for path in paper.models],
    localrule: True
