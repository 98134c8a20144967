"""Leaky integrate-and-fire neurons: our dynamics, the surrogate derivative, and the same neurons in Norse."""
