"""Keyword spotting that adapts on the device: three papers replicated in one workflow."""

__version__ = "0.1.0"
