"""Front ends: from sound to the frames a network is fed, and their packing into one file for a corpus."""
