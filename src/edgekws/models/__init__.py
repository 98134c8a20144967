"""Networks, each with its own way to and from a file."""
