"""What adapting changed, apart from the model that was adapted: a user's delta as a small file of its own."""
