"""What is made of the metrics: intervals, the claims ledger and its verdicts, the style of the figures."""
