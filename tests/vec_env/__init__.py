"""Tests of `vec_env/`."""
