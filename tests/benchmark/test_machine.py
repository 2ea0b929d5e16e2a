"""Tests of `benchmark/machine.py`."""

import subprocess
import sys
from pathlib import Path

import pytest

from sb3_ppo_scratch.benchmark import machine


def test_the_description_has_what_a_reader_needs() -> None:
    described = machine.describe_machine()
    assert described["cores"] >= 1
    assert described["cpu"]
    assert {"torch", "numpy", "stable-baselines3", "sb3-ppo-scratch"} <= set(described["versions"])
    assert described["python"] == ".".join(map(str, sys.version_info[:3]))


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="children are counted by /proc")
def test_memory_of_children_counts() -> None:
    alone = machine.peak_memory_mib()
    program = "block = bytearray(80 * 2**20); print(len(block), flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        both = machine.peak_memory_mib()
        child.communicate("\n")
    assert both - alone > 80.0
    assert alone > 10.0


def test_without_proc_the_process_alone_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine.Path, "exists", lambda self: False)
    assert machine.peak_memory_mib() > 10.0


def test_code_outside_of_a_clone_is_called_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(machine, "__file__", str(tmp_path / "site" / "package" / "benchmark" / "machine.py"))
    assert machine.code_revision() == "installed"
