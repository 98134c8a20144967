"""The network on Loihi, in simulation: integers, an exact simulator, Lava as its referee, and export to NIR.

Nothing here imports from the rest of NeuEdge: it knows networks and spikes, but no chip's cores, prices or experiments.
Arms are measured on the chip by :mod:`edgekws.methods.neuedge.measure`, which imports from here.
"""
