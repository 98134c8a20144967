"""Speech in the layout of Google Speech Commands: archives, their index and splits, and the synthetic corpus."""
