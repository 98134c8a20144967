"""What runs in Lava's own environment: nothing here imports the rest of the library, and Lava finds no other modules."""
