"""What the tutorial (docs/from-reinforce-to-ppo.md) needs beside the algorithms: many seeds, and its figures."""
