"""Pytest plugin that plants one mistake for the whole run, and reports how many tests noticed.

What is here: the import hook, the count of outcomes, and running pytest with both. What is not: which mistakes there
are (`mutants.py`). Loaded with `-p tests.mutants.plugin`; two environment variables say which mutant is planted and
where the report goes.
"""

import json
import os
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType

import pytest
from hypothesis import Phase, settings

from tests.mutants.mutants import Mutant, mutant_named

REPOSITORY = Path(__file__).parents[2]
MUTANT = "SB3_PPO_SCRATCH_MUTANT"
"""Environment variable: the mutant's name; unset or empty plants nothing."""
REPORT = "SB3_PPO_SCRATCH_MUTANT_REPORT"
"""Environment variable: the file into which the outcome is written as JSON."""


# Whether a test turns red counts, not the simplest example, which takes a minute to find.
settings.register_profile("mutants", phases=[Phase.explicit, Phase.generate], database=None, derandomize=True)


class MutatingLoader(SourceFileLoader):
    """Loads a module from its file, with one mistake put into the source, past the bytecode cache.

    Args:
        mutant: The mistake.
        path: The module's file.
    """

    planted = False

    def __init__(self, mutant: Mutant, path: str) -> None:
        super().__init__(mutant.module, path)
        self.mutant = mutant

    def get_code(self, fullname: str) -> CodeType:
        """Compile the changed source.

        Args:
            fullname: The module's name.

        Returns:
            The code to execute as the module.
        """
        source = Path(self.path).read_text(encoding="utf-8")
        MutatingLoader.planted = True
        return compile(self.mutant.apply(source), self.path, "exec", dont_inherit=True)


class MutatingFinder:
    """Finds one module, as the other finders would, but with another loader.

    Args:
        mutant: The mistake.
    """

    def __init__(self, mutant: Mutant) -> None:
        self.mutant = mutant

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Find the mutant's module; leave all others to the finders behind.

        Args:
            name: The module's name.
            path: Where its package's modules are.
            target: Not needed here.

        Returns:
            The module's spec, or None.
        """
        spec = PathFinder.find_spec(name, path, target) if name == self.mutant.module else None
        if spec is not None:
            assert spec.origin is not None
            spec.loader = MutatingLoader(self.mutant, spec.origin)
        return spec


class Outcome:
    """Counts tests that were run, and remembers those that failed, in set-up and tear-down too."""

    def __init__(self) -> None:
        self.run: set[str] = set()
        self.failed: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if not report.skipped:
            self.run.add(report.nodeid)
        if report.failed and report.nodeid not in self.failed:
            self.failed.append(report.nodeid)

    def pytest_sessionfinish(self) -> None:
        outcome = {"run": len(self.run), "failed": self.failed, "planted": MutatingLoader.planted}
        Path(os.environ[REPORT]).write_text(json.dumps(outcome), encoding="utf-8")


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Plant the mutant before any conftest or test module is imported.

    Args:
        early_config: Pytest's configuration.

    Raises:
        RuntimeError: If the mutant's module has been imported already.
    """
    if os.environ.get(REPORT):
        settings.load_profile("mutants")
        early_config.pluginmanager.register(Outcome(), "outcome of a mutant")
    name = os.environ.get(MUTANT)
    if name:
        mutant = mutant_named(name)
        if mutant.module in sys.modules:
            raise RuntimeError(f"{mutant.module} was imported before mutant {name!r} could be planted")
        sys.meta_path.insert(0, MutatingFinder(mutant))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the tests of the module that mutmut has changed, if it has changed one, come first.

    Args:
        items: The tests, which are put in order.
    """
    module = os.environ.get("MUTANT_UNDER_TEST", "").rpartition(".")[0].rpartition(".")[2]
    items.sort(key=lambda item: f"test_{module}.py" not in item.nodeid)


def run_pytest(arguments: Sequence[str], environment: dict[str, str], log: Path) -> None:
    """Run pytest with this plugin as the whole work of a process, and end with its exit code.

    Args:
        arguments: Tests and options.
        environment: Variables to set.
        log: Where all output goes.
    """
    os.environ.update(environment)
    os.chdir(REPOSITORY)
    with log.open("w", encoding="utf-8") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    options = ["-q", "--tb=line", "-p", "no:cacheprovider", "-p", __name__, "--rootdir", str(REPOSITORY)]
    sys.exit(pytest.main([*options, *arguments]))
