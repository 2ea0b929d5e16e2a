"""Tests of `benchmark/comparison`."""
