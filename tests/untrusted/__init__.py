"""Tests of files that nobody vouches for."""
