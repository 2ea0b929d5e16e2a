"""Tests of what the tutorial needs."""
