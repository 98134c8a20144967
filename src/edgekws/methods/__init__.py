"""A room for each method. What is in it is found by its name: :mod:`edgekws.core.registry` says how."""
