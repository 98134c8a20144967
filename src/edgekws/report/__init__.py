"""The report of a run: one self-contained page, from the claims down to how it was made."""

from edgekws.report.page import build

__all__ = ["build"]
