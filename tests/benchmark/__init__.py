"""Tests of `sb3_ppo_scratch/benchmark`, one file per module."""
