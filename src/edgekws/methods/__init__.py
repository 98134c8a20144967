"""A room for each method; whatever is here is found by its name."""
