"""Measurements of this project beside stock PPO; `python -m sb3_ppo_scratch benchmark --help` shows them.

What is here: speed (`speed.py`, `growth.py`). The rest is shared: `plan.py` and `results.py` say what a measurement is,
`measure.py` makes one in a process of its own, `execution.py` runs many. Only that process loads torch.
"""
