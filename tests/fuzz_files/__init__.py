"""Fuzzing of everything that reads files: `python -m tests.fuzz_files --minutes 10`.

The fuzzer is atheris (https://github.com/google/atheris): `pip install atheris`, which exists for Linux on x86-64 and
Python 3.11 or newer. It is in no extra, since `dev` has to install everywhere. Nothing else here needs it: the
tests run every target over its seeds, over some mutations of them, and over all that was ever found.
"""
