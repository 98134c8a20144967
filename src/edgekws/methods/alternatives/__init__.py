"""What else could adapt this model: local rules and parameter-efficient fine-tuning on one user, one budget."""
