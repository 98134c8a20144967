"""Provenance and derived seeds."""

from hypothesis import given
from hypothesis import strategies as st

from edgekws.core.provenance import derive_seed, provenance


def test_provenance_names_code_packages_and_corpus():
    about = provenance(corpus={"archive_sha256": "ab"}, threads=3)
    assert about["corpus"] == {"archive_sha256": "ab"} and about["threads"] == 3
    assert {"numpy", "torch", "norse"} <= set(about["packages"]) and about["code"].startswith("0.")


def test_a_known_derived_seed_never_changes():
    """Results are only the same for the same seed as long as this holds."""
    assert [derive_seed(0, "weights"), derive_seed(1, "weights")] == [103396355, 266360463]


@given(st.integers(), st.text(), st.text())
def test_jobs_get_seeds_of_their_own(seed, one, other):
    assert 0 <= derive_seed(seed, one) < 2**32
    assert (derive_seed(seed, one) == derive_seed(seed, other)) == (one == other)
