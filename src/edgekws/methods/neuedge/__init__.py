"""NeuEdge: hybrid temporal coding, hardware-aware training and mapping, adaptive thresholds."""
