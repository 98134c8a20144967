"""Whether what claims point at can be there, known from the metrics files' models, before anything is measured."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from edgekws.core.errors import UserError
from edgekws.protocol.metrics import Cell, Check, Fields, Metrics, check_pointer

if TYPE_CHECKING:
    from edgekws.ledger.schema import Claim

KindOf = Callable[[str, str], type[Metrics] | None]
"""The model of a paper's experiment; None where the paper's files have none, and its claims are not checked."""


def check_claim(claim: Claim, kind_of: KindOf, where: str | Path) -> None:
    """Raises: UserError naming the claim, and which of its pointers cannot lead to what is wanted there."""
    try:
        for experiment, pointer, wanted in _pointers(claim):
            if kind := kind_of(claim.paper, experiment):
                check_pointer(kind, pointer, wanted)
    except UserError as error:
        raise UserError(f"{claim.id}: {error.what}", where=where, remedy=error.remedy) from error


def _pointers(claim: Claim) -> Iterator[tuple[str, str, type[Fields] | None]]:
    """Experiment, pointer into its file, and what must be there."""
    binding = claim.measured
    if binding is None:
        return
    for fact in binding.expects:
        yield binding.experiment, fact.path, None
    for check in binding.checks:
        yield binding.experiment, check, Check
    if binding.path is not None:
        yield binding.experiment, binding.path, Cell
    for number in [*binding.also, *([binding.elsewhere] if binding.elsewhere else [])]:
        yield number.experiment, number.path, Cell
