"""Traces Propagation (Pes, Yin, Stuijk, Corradi 2025): forward-only, local learning in spiking networks."""
