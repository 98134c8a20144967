"""What other people's tools say of the same network: NeuroBench on its figures, SANA-FE on its energy."""
