"""Tests of what saved files are said to hold."""
