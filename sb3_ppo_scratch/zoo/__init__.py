"""Everything that makes rl_zoo3 and Gymnasium know this project: importing this package loads nothing of it."""
