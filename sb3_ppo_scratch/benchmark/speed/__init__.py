"""The speed benchmark: steps per second, memory and returns beside stock PPO.

What is here: `workloads.py` says what is measured, `main_table.py` and `growth.py` which measurements that makes;
`plan.py` and `results.py` say what a measurement is, `measure.py` makes one in a process of its own, `execution.py`
many. Only that process loads torch.
"""
