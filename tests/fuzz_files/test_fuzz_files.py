"""Every target reads its sound files, survives mutations of them, and refuses all that was found; without a fuzzer."""

import functools
import json
import os
import random
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.fuzz_files.__main__ import main
from tests.fuzz_files.findings import FINDINGS
from tests.fuzz_files.mutations import Plain, mutated
from tests.fuzz_files.report import Outcome, read_outcome, write_report
from tests.fuzz_files.seeds import seeds
from tests.fuzz_files.targets import TARGETS, Reader, Target
from tests.fuzz_files.watching import FindingError, Watch

N_MUTATED = 10
FOLDER = tempfile.TemporaryDirectory()


pytestmark = pytest.mark.filterwarnings("ignore:Duplicate name")


@functools.cache
def watch(name: str) -> Watch:
    """Make a target's watch once."""
    return Watch(TARGETS[name], Path(FOLDER.name), seeds(name))


def flipping(rng: random.Random) -> Plain:
    """Mutate bytes as no fuzzer is needed for."""

    def flip(part: bytes) -> bytes:
        place = rng.randrange(len(part) + 1)
        return part[:place] + rng.randbytes(rng.randrange(3)) + part[place + rng.randrange(3) :]

    return flip


@pytest.mark.parametrize("name", FINDINGS)
def test_what_was_found_is_refused(name: str) -> None:
    finding = FINDINGS[name]
    said = watch(finding.target).examine(finding.make())
    assert re.search(finding.said, " ".join(said))


@pytest.mark.parametrize("name", TARGETS)
def test_sound_files_are_read(name: str) -> None:
    unread = [said for said in map(watch(name).examine, seeds(name)) if all(said)]
    assert not unread


@pytest.mark.parametrize("name", TARGETS)
def test_mutated_files_do_no_harm(name: str) -> None:
    for seed in range(N_MUTATED):
        rng = random.Random(seed)
        said = watch(name).examine(mutated(rng.choice(seeds(name)), rng, flipping(rng)))  # raises if it does harm
        assert said


def test_mutations_keep_what_readers_look_at_first() -> None:
    outcomes = []
    for seed in range(40):
        rng = random.Random(seed)
        said = watch("checkpoint").examine(mutated(seeds("checkpoint")[0], rng, flipping(rng)))
        outcomes.append(said[0])
    assert outcomes.count("") >= 5
    assert sum("no state of a run" in said for said in outcomes) >= 2
    assert sum("not those that were written" in said for said in outcomes) <= 10


def victim() -> None:
    """Be changed by a test."""


HARM = {
    "exec": lambda _: exec("1"),
    "a file that is written": lambda path: path.with_suffix(".new").write_text("x"),
    "an import": lambda _: __import__("this_is_no_module"),
    "a process": lambda _: subprocess.run([sys.executable, "-c", ""], check=True),
    "another process": lambda _: os.system("true"),
    "memory": lambda _: bytearray(1 << 30),
    "another function": lambda _: setattr(victim, "__defaults__", (1,)),
}


@pytest.mark.parametrize("name", HARM)
def test_harm_is_noticed(name: str, tmp_path: Path) -> None:
    target = Target("harm", (Reader(HARM[name], (Exception,)),))
    harmed = Watch(target, tmp_path, [])
    with pytest.raises(FindingError, match=r"exec|open|import|subprocess|os\.system|bytes of memory|__defaults__"):
        harmed.examine(b"")


def test_errors_that_no_docstring_names_come_out(tmp_path: Path) -> None:
    careless = Watch(Target("harm", (Reader(lambda _: {}["x"], (ValueError,)),)), tmp_path, [])
    with pytest.raises(KeyError, match="x"):
        careless.examine(b"")


LOG = """#11\tINITED cov: 54 ft: 95 corp: 9/14886b exec/s: 0 rss: 277Mb
#12527\tREDUCE cov: 68 ft: 141 corp: 26/16Kb lim: 65536 exec/s: 298 rss: 279Mb L: 31/10468 MS: 2 EraseBytes-Custom-
stat::number_of_executed_units: 12560
"""


def test_the_report_says_what_the_fuzzer_has_done(tmp_path: Path) -> None:
    (tmp_path / "counts.json").write_text('{"examined": 200, "read": 50}')
    (tmp_path / "crash-1").touch()
    outcome = read_outcome("state", 10.0, tmp_path, LOG, "r")
    machine = {"versions": {"a": "1"}, "cpu": "c", "system": "s", "python": "p", "date": "d"}
    report = write_report([outcome], machine, "command")
    assert "| state | 12,560 | 1,256 | 68 | 141 | 26 | 25% | 1 | r |" in report
    assert all(finding.harm in report for finding in FINDINGS.values())


def test_a_target_that_has_run_does_not_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = Outcome("state", 60.0, 1234567, 1, 2, 3, 0.5, [], "r")
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "outcome.json").write_text(json.dumps(outcome._asdict()))
    for name in ("find_spec", "version"):
        monkeypatch.setattr(f"tests.fuzz_files.__main__.{name}", lambda _: "1")
    assert main(["--target", "state", "--folder", str(tmp_path), "--out", str(tmp_path / "report.md")]) == 0
    assert "1,234,567 files in 1 minutes; none of them" in (tmp_path / "report.md").read_text()
    assert capsys.readouterr().out.startswith((tmp_path / "report.md").read_text())


def test_a_fuzzer_that_has_not_run_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="the fuzzer has not run"):
        read_outcome("state", 10.0, tmp_path, "no module named atheris", "r")


def test_without_atheris_the_command_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tests.fuzz_files.__main__.find_spec", lambda _: None)
    assert main([]) == 2
    assert "pip install atheris" in capsys.readouterr().err
