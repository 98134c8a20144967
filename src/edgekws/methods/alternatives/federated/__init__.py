"""Federated fine-tuning of the readout over users with words of their own: averaged, masked, with differential privacy."""
