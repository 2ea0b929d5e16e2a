"""Tests of `sb3_ppo_scratch/export`."""
