"""The protocol of adaptation: users, folds and shots, tasks, training loops, and intervals."""
