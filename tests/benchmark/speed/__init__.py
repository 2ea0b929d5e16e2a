"""Tests of `sb3_ppo_scratch/benchmark/speed`, one file per module."""
