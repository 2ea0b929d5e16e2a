"""One target, one process: atheris (libFuzzer) searches for files that reach new code, and watches each.

`python -m tests.fuzz_files.engine NAME FOLDER FAST_FOLDER [libFuzzer's options]`; `__main__.py` calls it. What is here:
everything that needs atheris. What is not: what is read and how that is watched.
"""

import importlib
import json
import random
import sys
import warnings
from pathlib import Path
from typing import Any

OTHERS = ("zipfile", "pickle", "pickletools", "json", "yaml")
"""Others' modules in which new code counts too."""
ANEW = 0.2
"""Share of mutations of a sound file; what is kept has strayed far from it."""
SAVED_EVERY = 200
"""Files between two notes of how many were read."""


def import_watched() -> Any:
    """Import the readers so that the fuzzer sees which code runs, and anew what atheris has imported itself.

    Returns:
        atheris, which only this command needs.
    """
    import atheris

    for name in list(sys.modules):
        if name.partition(".")[0] in OTHERS:
            del sys.modules[name]
    with atheris.instrument_imports(include=["sb3_ppo_scratch", *OTHERS]):
        importlib.import_module("tests.fuzz_files.watching")
    return atheris


def main(name: str, folder: Path, fast: Path, options: list[str]) -> None:
    """Fuzz until the time is over or something is found; ends the process.

    Args:
        name: The target's.
        folder: Takes the files that reach new code, and how many were read.
        fast: Takes the file that is being read.
        options: libFuzzer's.
    """
    warnings.simplefilter("ignore")  # of members that are there twice
    atheris = import_watched()
    from tests.fuzz_files.mutations import mutated
    from tests.fuzz_files.seeds import seeds
    from tests.fuzz_files.targets import TARGETS
    from tests.fuzz_files.watching import Watch

    corpus = folder / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(seeds(name)):
        (corpus / f"seed{number}").write_bytes(seed)
    watch = Watch(TARGETS[name], fast, seeds(name))
    counts = {"examined": 0, "read": 0}

    def examine(file: bytes) -> None:
        said = watch.examine(file)
        counts["examined"] += 1
        counts["read"] += not said[0]
        if counts["examined"] % SAVED_EVERY == 0:
            (folder / "counts.json").write_text(json.dumps(counts))

    def mutate(file: bytes, most: int, seed: int) -> bytes:
        rng = random.Random(seed)
        begin = rng.choice(seeds(name)) if rng.random() < ANEW else file
        return mutated(begin, rng, lambda part: atheris.Mutate(part, len(part) + 64))[:most]

    atheris.Setup([sys.argv[0], *options, str(corpus)], examine, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4:])
