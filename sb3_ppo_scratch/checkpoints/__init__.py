"""Checkpoints: a whole run in one file, from which it goes on as if nothing had happened."""
