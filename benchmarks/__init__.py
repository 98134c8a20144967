"""Measurements side by side with what a user would pick instead: `python -m benchmarks.run` for the page of all, each also a
program of its own.

A package, so that no other of this name comes first: Opacus installs one.
"""

from edgekws.core import threads

threads.settle()  # before any library that computes is loaded; each benchmark asks torch for the threads it measures with
