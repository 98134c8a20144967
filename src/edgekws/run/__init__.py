"""What a run needs and how far it has come. The only place in the library that asks Snakemake anything."""
