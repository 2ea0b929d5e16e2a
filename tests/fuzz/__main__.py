"""`python -m tests.fuzz --examples N`: tries every property on new cases, and writes how many to docs/results/fuzz.md.

What is here: the command line and the report. What is not: the properties (`test_*.py`).
"""

import argparse
import sys
import textwrap
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch as th

from sb3_ppo_scratch.benchmark.machine import describe_machine
from sb3_ppo_scratch.benchmark.markdown import table
from tests.fuzz.exploring import Tally
from tests.fuzz.test_invalid_options import explore_wrong_options, explore_wrong_spaces
from tests.fuzz.test_training import LEAST_MOVE, explore_training, share_in_closed_form
from tests.fuzz.test_wrappers import explore_bins, explore_wrappers
from tests.fuzz.training import AMPLIFIED, BOUNDS, N_PERTURBED

REPORT = Path(__file__).parents[2] / "docs" / "results" / "fuzz.md"
TOPICS: dict[str, Callable[..., Tally]] = {
    "Any spaces and valid options train two iterations, in the update that the README says": explore_training,
    "Any wrong option raises by name before the first step": explore_wrong_options,
    "Any space that cannot be used raises before the first step": explore_wrong_spaces,
    "Wrappers in any order, vectorised by any convention, do what each defines": explore_wrappers,
    "Any count of bins gives both bounds and distinct atoms, or is refused": explore_bins,
}

UPDATES = """
Updated in closed form: {closed_form} cases. By autograd: {autograd}. Of {n_mlps} with MLPs {mlps_in_closed_form}
({share:.0%}) took the closed form. A parameter moved by more than {least_move:.0e} in {moved}.
"""
COMPARISON = f"""
Where stock PPO can do what a case asks for, it was trained beside it, and all parameters were compared; else the
closed form was compared with autograd. Equal is what differs by at most {BOUNDS["autograd"]:.0e} by autograd and
{BOUNDS["closed_form"]:.0e} in closed form. Some cases magnify rounding: an action that another last bit tips over, or
a gradient that is nothing but rounding, under Adam. They are within rounding's reach if they are off by at most
{AMPLIFIED:.0f} times what the other run parts from itself in {N_PERTURBED} runs with numbers rounded otherwise.
"""
COUNTED = """
{examples} cases were drawn for each property, and none was set aside. Counted are those that differ from all others,
each when it had been checked to its end.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the first case without a property ends it, in its simplest form, and nothing is written.

    Args:
        arguments: The command line; None: the process's own.

    Returns:
        0.
    """
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=str(__doc__).splitlines()[0])
    parser.add_argument("--examples", type=int, default=1000, help="cases drawn for each property (default: 1000)")
    parser.add_argument("--report", type=Path, default=REPORT, help="the file to write (default: docs/results/fuzz.md)")
    options = parser.parse_args(arguments)
    th.set_num_threads(1)  # between 1 and 2 threads, stock PPO differs from itself
    tallies: dict[str, Tally] = {}
    for topic, explore in TOPICS.items():
        began = time.monotonic()
        tallies[topic] = explore(examples=options.examples, fresh=True)
        print(f"{topic}: {tallies[topic].n_cases} cases, {time.monotonic() - began:.0f} s", flush=True)
    options.report.write_text("\n".join(write_report(options.examples, tallies)), encoding="utf-8")
    print(f"Written: {options.report}")
    return 0


def paragraph(text: str) -> str:
    """Break a text into lines, and leave a line free after it."""
    return textwrap.fill(" ".join(text.split()), 120, break_on_hyphens=False) + "\n"


def write_report(examples: int, tallies: dict[str, Tally]) -> Iterator[str]:
    """Say what was tried.

    Args:
        examples: Cases drawn for each property.
        tallies: What has been counted, by property.

    Yields:
        Lines of Markdown.
    """
    machine, (training, wrong, *_) = describe_machine(), tallies.values()
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
    yield "# Random cases\n"
    yield "Written by the command, which raises at the first case that lacks a property:\n"
    yield f"```\npython -m tests.fuzz --examples {examples}\n```\n"
    yield f"On {machine['date']}, revision {machine['revision']}, Python {machine['python']}, {versions}.\n"
    yield paragraph(COUNTED.format(examples=examples))
    yield table(["property", "cases"], [[topic, str(tally.n_cases)] for topic, tally in tallies.items()])
    yield from report_training(training)
    yield "\n## Arguments\n"
    yield "In how many valid cases an argument was given, and in how many cases that have to fail it was wrong.\n"
    given = {name.removeprefix("option: "): n for name, n in training.counts.items() if name.startswith("option: ")}
    names = sorted({*given, *wrong.counts})
    yield table(
        ["argument", "valid", "wrong"],
        [[f"`{name}`", *(str(each.get(name, 0)) for each in (given, wrong.counts))] for name in names],
    )
    yield ""


def report_training(tally: Tally) -> Iterator[str]:
    """Say what was trained, and what that was compared with; yields lines of Markdown."""
    counts = tally.counts
    yield "\n## Training\n"
    numbers = {
        "closed_form": counts["update: closed_form"],
        "autograd": counts["update: autograd"],
        "n_mlps": counts["MLP: closed_form"] + counts["MLP: autograd"],
        "mlps_in_closed_form": counts["MLP: closed_form"],
        "share": share_in_closed_form(tally),
        "least_move": LEAST_MOVE,
        "moved": counts["moved"],
    }
    yield paragraph(UPDATES.format(**numbers))
    yield paragraph(COMPARISON)
    rows = []
    for compared in ("stock", "autograd"):
        for update in ("autograd", "closed_form"):
            name = f"compared with {compared}, {update}"
            equal, reach = counts[f"{name}: equal"], counts[f"{name}: within rounding's reach"]
            if equal + reach:
                largest = tally.largest.get(f"{compared}, {update}", 0.0)
                rows.append(
                    [
                        f"{update} with {compared if compared == 'autograd' else 'stock PPO'}",
                        str(equal),
                        f"{largest:.1e}",
                        str(reach),
                    ]
                )
    yield table(["compared", "equal", "largest difference of these", "within rounding's reach"], rows)
    yield f"\nCompared with nothing: {counts['compared with nothing']}, which autograd trains and stock PPO cannot.\n"
    for what in ("policy", "observations", "actions"):
        found = {name.removeprefix(f"{what}: "): n for name, n in counts.items() if name.startswith(f"{what}: ")}
        yield f"{what.capitalize()}: {', '.join(f'{name} {n}' for name, n in sorted(found.items()))}.\n"


if __name__ == "__main__":
    sys.exit(main())
