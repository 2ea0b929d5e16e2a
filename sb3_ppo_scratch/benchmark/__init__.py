"""Measurements of this project beside stock PPO; `python -m sb3_ppo_scratch benchmark --help` shows them.

What is here: speed (`speed/`), and what training comes to (`training/`). Both look at the machine in the same way
(`machine.py`) and show their progress alike (`progress.py`).
"""
