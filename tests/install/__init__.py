"""Tests of what an installation brings; they make environments and install packages, hence are run by name."""
