"""Measurements side by side with what a user would pick instead; each is a program of its own.

A package, so that no other of this name comes first: Opacus installs one.
"""
