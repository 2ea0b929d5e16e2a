"""Tests of `sb3_ppo_scratch.checkpoints` and of runs that go on."""
