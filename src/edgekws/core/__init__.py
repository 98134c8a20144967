"""What all rooms use and what uses none of them: files, errors, provenance, checkpoints, settings."""
