"""The network on Loihi, in simulation: integers, an exact simulator, Lava as its referee, and export to NIR."""
