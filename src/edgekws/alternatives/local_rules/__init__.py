"""Local learning rules for spiking nets beside Traces Propagation, each from its paper."""
