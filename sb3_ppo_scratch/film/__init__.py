"""Films of saved agents."""
