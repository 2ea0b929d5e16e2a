"""Tests of `sb3_ppo_scratch/benchmark/training`, one file per module."""
