"""Proof that the tests notice mistakes: `python -m tests.mutants` plants them one by one, and each has to be caught.

What is here: the table of mistakes (`mutants.py`), the pytest plugin that plants one of them (`plugin.py`), and the
command that runs the tests against each (`__main__.py`). What is not: the tests themselves.

How it works. A mutant is a piece of a module's source and what is put in its place. The plugin, loaded before any test
(`-p tests.mutants.plugin`), puts a finder on `sys.meta_path`; when that module is imported, the finder compiles the
changed source instead of the file's. Nothing on disk changes, nothing is cached, and a change in stable_baselines3
acts on everything that imports it, stock PPO included, just as a changed release of it would. Every mutant has a short
list of tests, of which at least one must fail: an error while tests are collected, or an old text that no longer occurs
exactly once in its module, is no success but an error. First, the same tests run without any mutant, and must pass.
"""
