"""What a saved file holds, shown without running any of it."""
