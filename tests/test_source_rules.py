"""Rules about the source itself: what it must not import, and that nothing was copied from SB3's PPO."""

import ast
import inspect
import re
from pathlib import Path

import pytest
from stable_baselines3.ppo import ppo as stock_ppo

PACKAGE = Path(__file__).parents[1] / "sb3_ppo_scratch"
SOURCES = sorted(
    [*PACKAGE.rglob("*.py"), *(PACKAGE / "wrappers").glob("*.py"), *(PACKAGE / "hyperparams").glob("*.py")]
)
SAME_LINES = 6


def imported_names(source: str) -> set[str]:
    """Every module, and every name from a module, that a file imports."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def code_lines(source: str) -> list[str]:
    """Lines without indentation, blank lines and comments."""
    stripped = [line.split("  # ")[0].strip() for line in source.splitlines()]
    return [line for line in stripped if line and not line.startswith("#")]


def longest_common_run(ours: list[str], theirs: list[str]) -> int:
    """The largest number of lines in a row that stand in both."""
    best, previous = 0, [0] * (len(theirs) + 1)
    for line in ours:
        current = [0] * (len(theirs) + 1)
        for position, other in enumerate(theirs):
            if line == other:
                current[position + 1] = previous[position] + 1
                best = max(best, current[position + 1])
        previous = current
    return best


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_nothing_is_imported_from_sb3s_ppo(path: Path) -> None:
    names = imported_names(path.read_text())
    assert not [name for name in names if name.startswith("stable_baselines3.ppo") or name == "stable_baselines3.PPO"]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_six_lines_in_a_row_are_sb3s(path: Path) -> None:
    theirs = code_lines(inspect.getsource(stock_ppo))
    assert longest_common_run(code_lines(path.read_text()), theirs) < SAME_LINES


def test_the_comparison_of_lines_finds_a_copy() -> None:
    theirs = code_lines(inspect.getsource(stock_ppo))
    assert longest_common_run(["x = 1", *theirs[100:110], "y = 2"], theirs) == 10


def test_wrappers_import_only_gymnasium_numpy_and_the_standard_library() -> None:
    import sys

    for path in (PACKAGE / "wrappers").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                roots = {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                roots = {str(node.module).split(".")[0]}
            else:
                continue
            assert roots <= {"gymnasium", "numpy", *sys.stdlib_module_names}, path


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_files_that_docstrings_name_exist(path: Path) -> None:
    named = re.findall(r"`([\w/]+\.py)`", path.read_text())
    existing = {source.relative_to(PACKAGE).as_posix() for source in SOURCES}
    missing = [name for name in named if not any(f"/{file}".endswith(f"/{name}") for file in existing)]
    assert not missing


FLOORS = [
    ["__main__"],
    ["__init__"],
    ["tutorial"],
    ["benchmark"],
    ["film", "export", "show"],
    ["zoo"],
    ["ppo_scratch", "reinforce", "callbacks"],
    ["scratch_algorithm"],
    ["model_files"],
    ["resumable_run"],
    ["rollout_collector", "live_attributes", "kl_control", "nan_watch"],
    ["acting", "update_choice", "policies"],
    ["rollout_ends", "untrusted", "vec_env", "policy_kwargs"],
    [
        "observation_normalizer",
        "update_stats",
        "rollout_buffers",
        "networks",
        "argument_checks",
        "finite_checks",
        "fault_files",
        "checkpoints",
        "interrupts",
    ],
    [
        "updates",
        "distributions",
        "gaussian_distribution",
        "torch_threads",
        "advantages",
        "post_import",
        "saved_settings",
        "wrappers",
        "hyperparams",
    ],
    ["zip_members", "safe_writing", "value_checks", "space_checks"],
    ["errors", "devices", "short_texts", "command_words"],
]
"""Files and folders from the top floor down; each imports only from floors below it (docs/decisions.md)."""


SINCE_311 = {"Self", "Never", "LiteralString", "NotRequired", "Required", "TypeVarTuple", "Unpack", "assert_never"}
"""Names of `typing` that Python 3.10, the oldest that is promised, does not have."""


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_typing_has_all_names_in_the_oldest_python(path: Path) -> None:
    imports = [each for each in ast.walk(ast.parse(path.read_text())) if isinstance(each, ast.ImportFrom)]
    assert not {name.name for each in imports if each.module == "typing" for name in each.names} & SINCE_311


def test_nothing_is_imported_upwards() -> None:
    floor_of = {name: -level for level, names in enumerate(FLOORS) for name in names}
    for path in SOURCES:
        own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if own == "__init__":
            continue  # the package's facade names what lies above it, and loads it only on use
        for name in imported_names(path.read_text()):
            parts = name.split(".")
            if parts[0] != "sb3_ppo_scratch" or parts[1] in (own, "__version__", "PPOScratch"):
                continue
            assert floor_of[parts[1]] < floor_of[own], f"{path} imports {name}"
