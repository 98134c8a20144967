"""The menu of claims."""

import re

from tests.ledger.test_claims import CLAIMS
from typer.testing import CliRunner

from edgekws import cli
from edgekws.ledger.schema import read_papers


def test_every_claim_is_listed_with_the_papers_number_its_target_and_statement():
    done = CliRunner().invoke(cli.app, ["claims", "list", "--papers", str(CLAIMS)])
    assert done.exit_code == 0
    found = re.findall(r"^  (\S+)  (.+?)  (claim_\w+)  (.+)$", done.output, re.MULTILINE)
    papers = read_papers(CLAIMS)
    assert [(name, target, says) for name, _, target, says in found] == [
        (claim.id, f"claim_{claim.id.replace('-', '_')}", claim.statement) for paper in papers for claim in paper.claims]
    assert dict((name, number) for name, number, *_ in found)["tp-02"] == "91.62 ± 2.08 %"
    assert all(paper.title in done.output for paper in papers)


def test_a_folder_without_claims_is_refused(tmp_path):
    done = CliRunner().invoke(cli.app, ["claims", "list", "--papers", str(tmp_path)])
    assert done.exit_code != 0
