"""Claims are checked against the models of the metrics files when they are read, without a run."""

from pathlib import Path

import pytest

from edgekws.core.errors import UserError
from edgekws.core.registry import names
from edgekws.ledger.pointers import check_claim
from edgekws.ledger.schema import Claim, read_papers
from edgekws.protocol.metrics import kind_of

CLAIMS = Path(__file__).parents[2] / "claims"


def pointers(binding):
    return [pointer for pointer in (binding.path, *binding.checks, *(fact.path for fact in binding.expects),
                                    *(number.path for number in binding.also), binding.elsewhere and binding.elsewhere.path)
            if pointer]


def test_every_claim_of_the_repository_points_at_what_a_metrics_file_holds():
    papers = read_papers(CLAIMS, kind_of)
    assert {paper.paper for paper in papers} == set(names("metrics")), "none goes unchecked"
    assert sum(len(pointers(claim.measured)) for paper in papers for claim in paper.claims if claim.measured) > 150


def test_every_single_pointer_is_looked_at():
    """A letter more in any one of them, and the claim is refused."""
    for claim in (claim for paper in read_papers(CLAIMS) for claim in paper.claims if claim.measured):
        for pointer in pointers(claim.measured):
            broken = Claim.model_validate_json(claim.model_dump_json(exclude_unset=True).replace(f'"{pointer}"', f'"{pointer}x"'))
            with pytest.raises(UserError, match=rf"{claim.id}: '{pointer}x' (leads nowhere|does not lead)"):
                check_claim(broken, kind_of, CLAIMS)


@pytest.mark.parametrize(("paper", "old", "new", "told"), [
    ("neuedge", "/effects/hybrid_vs_rate/all/encoder_spike_ratio", "/effects/hybrid_vs_rate/all/encoder_spikes_ratio",
     r"neuedge-01: .*no 'encoder_spikes_ratio' in /effects/hybrid_vs_rate/all\n.*did you mean 'encoder_spike_ratio'"),
    ("neuedge", "/checks/alpha_saves_spikes", "/rate/bits", "neuedge-19: .*does not lead to a check"),
    ("neuedge", "experiment: encoding", "experiment: encodings", r"neuedge-19: .*no experiment 'encodings'\n.*mean 'encoding'"),
    ("neuedge", "/settings/hardware/chip", "/settings/hardware/chips", r"neuedge-02: .*\n.*did you mean 'chip'"),
    ("onda", "/summary/0/none/0/accuracy", "/summary/0/none/0/compression", "onda-04: .*not lead to a number with its interval"),
    ("onda", "/stacking/onda_2/mean", "/stacking/onda_2/maen", "onda-17: .*no 'maen'"),
    ("traces_propagation", "elsewhere: {name: many users, experiment: many_users, path: /summary/traces_propagation/1/before",
     "elsewhere: {name: many users, experiment: many_users, path: /summary/traces_propagation/one/before", "tp-01: .*no 'one'"),
    ("alternatives", "/summary/federated/own_gain", "/summary/federate/own_gain", "alt-13: .*no 'federate'")])
def test_a_broken_pointer_is_told_with_its_claim(paper, old, new, told, tmp_path):
    text = (CLAIMS / f"{paper}.yaml").read_text()
    assert old in text
    (tmp_path / "p.yaml").write_text(text.replace(old, new, 1))
    with pytest.raises(UserError, match=told):
        read_papers(tmp_path, kind_of)
    read_papers(tmp_path)


def test_claims_of_a_method_that_does_not_describe_its_files_are_not_checked(tmp_path):
    text = (CLAIMS / "onda.yaml").read_text().replace("paper: onda", "paper: adopted", 1).replace("/iso/strict/all", "/anything")
    (tmp_path / "p.yaml").write_text(text)
    assert read_papers(tmp_path, kind_of)[0].paper == "adopted"
