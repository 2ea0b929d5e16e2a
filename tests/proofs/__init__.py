"""Proofs too long for the tests: each is a command that writes its outcome to docs/results (`make proofs`)."""
