"""What training comes to: returns, steps and seconds of whole runs, over seeds, beside stock PPO.

What is here: `plan.py` says which runs there are, `evaluation.py` looks at each of them while it trains, `process.py`
makes one with the unmodified rl_zoo3, `execution.py` many, `records.py` keeps what they have come to. `ladder.py` is a
comparison made of all that; `ladder_report.py` and `figures.py` show it.
"""
