"""Spiking layers in compiled code, driven by events; :mod:`edgekws.neurons.layers` is the door to it."""
