"""What training runs of several algorithms say about each other: figures, words, pictures, one page.

What is here: nothing; see `summary.py` for the figures, which everything else shows.
"""
