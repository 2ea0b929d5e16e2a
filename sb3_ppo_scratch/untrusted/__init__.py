"""Saved files that nobody vouches for: read without running anything that stands in them."""
