"""Properties that have to hold for any spaces, options and wrappers, tried on random ones.

What is here: what is drawn (`strategies.py`), how a drawn case is trained and what it is compared with (`training.py`),
and the properties, one file per topic. The suite tries a few cases, always the same; `python -m tests.fuzz` tries as
many new ones as it is told, and writes how many to docs/results/fuzz.md.
"""
