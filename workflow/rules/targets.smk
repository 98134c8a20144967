"""What can be asked for by name: every figure, every claim, every paper's table of claims.

`snakemake --list-target-rules` has the names; `edgekws claims list` tells what each claim says.
"""

from edgekws.ledger.schema import read_papers
from edgekws.ledger.wording import spoken_paper
from edgekws.protocol.metrics import kind_of

try:
    CLAIMS = read_papers("claims", kind_of)
except UserError as error:
    raise WorkflowError(str(error)) from None


def metrics_of_claim(claim):
    """What the verdict on a claim can rest on, as far as this run makes it."""
    experiments = claim.measured.experiments if claim.measured else []
    paths = [f"{RUN}/metrics/{claim.paper}/{experiment}.json" for experiment in experiments]
    return [path for path in paths if path in PAPERS[claim.paper].metrics]


def with_config(paths):
    """What is asked for, and the settings it was made with, so that `edgekws claims explain` can tell how to repeat it."""
    return [*paths, f"{RUN}/config.json"] if paths else []


def about_claim(claim):
    """What is claimed, and why nothing is made for it where that is so."""
    if metrics_of_claim(claim):
        if claim.value is None:
            return claim.statement
        return f"{claim.statement} Paper: {spoken_paper(claim.value, claim.uncertainty.std, claim.unit)}."
    if claim.measured:
        return f"Not in this run, which has no experiment '{claim.measured.experiment}': {claim.statement}"
    needs = f", it needs {' and '.join(claim.needs)}" if claim.needs else ""
    return f"Not measured{needs}: {claim.statement}"


for paper in PAPERS.values():
    for figure, about in paper.figures.items():

        rule:
            """One figure, and the configuration it was made with."""
            name:
                f"figure_{figure}"
            input:
                with_config([f"{RUN}/figures/{figure}.svg"]),
            localrule: True
            message:
                f"{paper.title}: {about}."


for paper in CLAIMS:

    rule:
        """Claims and verdicts of this paper alone."""
        name:
            f"table_{paper.paper}"
        input:
            with_config([f"{RUN}/tables/{paper.paper}.html"]),
        localrule: True
        message:
            f"Claims and verdicts of this paper alone: {RUN}/tables/{paper.paper}.html, .csv and .json."

    for claim in paper.claims:

        rule:
            """What this claim rests on; what it says: `edgekws claims list`."""
            name:
                f"claim_{claim.id.replace('-', '_')}"
            input:
                with_config(metrics_of_claim(claim)),
            localrule: True
            message:
                about_claim(claim)
