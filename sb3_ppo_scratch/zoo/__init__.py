"""Everything that makes rl_zoo3 and Gymnasium know this project: importing this package loads nothing of it."""

ALGORITHMS = ("ppo_scratch", "reinforce_scratch")
"""What `--algo` calls this project's algorithms."""
