"""What measurements depend on: the machine, the versions, the code; and how much memory a process has used.

What is here: looking, without importing what is looked at. What is not: measuring time (`timing.py`).
"""

import os
import platform
import re
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from sb3_ppo_scratch import __version__
from sb3_ppo_scratch.vec_env.cores import available_cores

PACKAGES = (
    "stable-baselines3",
    "rl-zoo3",
    "gymnasium",
    "Box2D",
    "torch",
    "numpy",
    "threadpoolctl",
    "sbx-rl",
    "jax",
    "envpool",
)
"""Packages whose versions are recorded, if they are installed."""


def describe_machine() -> dict[str, Any]:
    """Describe what measurements made now depend on.

    Returns:
        By name: the CPU and its usable cores, Python, versions of packages, this project's revision, the date.
    """
    return {
        "cpu": cpu_model(),
        "cores": available_cores(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {"sb3-ppo-scratch": __version__, **installed_versions()},
        "revision": code_revision(),
        "date": datetime.now(timezone.utc).date().isoformat(),
    }


def in_words(machine: Mapping[str, Any]) -> str:
    """Say in words what measurements were made on and with.

    Args:
        machine: What `describe_machine` has found.

    Returns:
        A sentence.
    """
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    return (
        f"{machine['cpu']}, {machine['cores']} usable cores, {machine['system']}, {machine['date']}, revision "
        f"{machine['revision']}, Python {machine['python']}, {versions}"
    )


def cpu_model() -> str:
    """Name the CPU.

    Returns:
        Its name, as far as the system tells.
    """
    listing = Path("/proc/cpuinfo")
    found = re.search(r"^model name\s*:\s*(.+)$", listing.read_text(), re.MULTILINE) if listing.exists() else None
    return found[1] if found else platform.processor() or "unknown"


def installed_versions() -> dict[str, str]:
    """Look up the versions of `PACKAGES`.

    Returns:
        Versions of those that are installed.
    """
    versions = {}
    for name in PACKAGES:
        with suppress(PackageNotFoundError):
            versions[name] = version(name)
    return versions


def code_revision() -> str:
    """Name the state of this project's code.

    Returns:
        Git's name of it, with "-dirty" if files differ from it; "installed" outside of a clone.
    """
    root = Path(__file__).parents[2]
    if not (root / "pyproject.toml").exists():
        return "installed"
    try:
        found = subprocess.run(
            ["git", "describe", "--always", "--dirty"], cwd=root, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return found.stdout.strip()


def peak_memory_mib() -> float:
    """Measure the peak memory of this process and all its living descendants.

    Returns:
        The sum of the peak resident sizes, MiB. Pages that processes share count once for each. Where there is no /proc
        (outside of Linux) descendants are left out.
    """
    tree = [os.getpid(), *_descendants(os.getpid())] if Path("/proc/self/status").exists() else []
    if not tree:
        import resource  # not on Windows

        unit = 2**20 if sys.platform == "darwin" else 2**10  # getrusage counts bytes on macOS, KiB elsewhere
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
    return sum(_peak_kib(pid) for pid in tree) / 2**10


def _peak_kib(pid: int) -> int:
    """Read a process's peak resident size, KiB; 0 if it has ended.

    Not `ru_maxrss`: Linux lets a new process start with its parent's (https://man7.org/linux/man-pages/man2/getrusage.2.html),
    which would charge a small competitor for a large shell.
    """
    try:
        found = re.search(r"^VmHWM:\s*(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    except OSError:
        return 0
    return int(found[1]) if found else 0


def _descendants(pid: int) -> list[int]:
    """List the processes below one, on Linux."""
    found: list[int] = []
    for listing in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, listing.read_text().split()):
            found += [child, *_descendants(child)]
    return found
