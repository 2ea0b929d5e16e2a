"""Calling a function whenever some module has been imported. Standard library only: `import torch` pays for this file.

What is here: the mechanism. What is not: what is called (`zoo/autoload.py`, the package's `__init__`).
"""

import sys
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType

Callback = Callable[[], None]


def call_after_import(name: str, callback: Callback) -> None:
    """Call a function whenever a module has been imported: at once if it has, and again if it is imported anew.

    Args:
        name: The module's full name.
        callback: The function; it must not raise, and may be called more than once.
    """
    _finder().add(name, callback)
    if is_being_imported(name):
        _watch_running_import(sys.modules[name].__spec__, callback)
    elif name in sys.modules:
        callback()


def is_being_imported(name: str) -> bool:
    """Tell whether a module's import has begun and not ended.

    Args:
        name: The module's full name.

    Returns:
        Whether it is only half there.
    """
    return bool(getattr(getattr(sys.modules.get(name), "__spec__", None), "_initializing", False))


class _WaitingFinder:
    """Stands first on `sys.meta_path`; finds modules as if it were not there, and reports the end of their imports."""

    def __init__(self) -> None:
        self._callbacks: dict[str, list[Callback]] = {}

    def add(self, name: str, callback: Callback) -> None:
        """Wait for one more module.

        Args:
            name: The module's full name.
            callback: What to call after its import.
        """
        self._callbacks.setdefault(name, []).append(callback)

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Let the other finders find a module that is waited for, and have the end of its import reported."""
        if name not in self._callbacks:
            return None
        others = [finder for finder in sys.meta_path if finder is not self and hasattr(finder, "find_spec")]
        for finder in others:
            spec = finder.find_spec(name, path, target)
            if spec is not None:
                _watch_coming_import(spec, self._callbacks[name])
                return spec
        return None


def _finder() -> _WaitingFinder:
    for finder in sys.meta_path:
        if isinstance(finder, _WaitingFinder):
            return finder
    finder = _WaitingFinder()
    sys.meta_path.insert(0, finder)
    return finder


def _watch_coming_import(spec: ModuleSpec, callbacks: Sequence[Callback]) -> None:
    """Have the module's own loader call back after it has executed the module, once."""
    loader = spec.loader
    if loader is None or not hasattr(loader, "__dict__"):
        return
    execute = loader.exec_module

    def execute_and_report(module: ModuleType) -> None:
        del loader.exec_module  # the loader is as it was: only this instance carried the detour
        execute(module)
        for callback in callbacks:
            callback()

    loader.exec_module = execute_and_report  # type: ignore[method-assign] # on the instance, for one call


def _watch_running_import(spec: ModuleSpec | None, callback: Callback) -> None:
    """Have the end of an import reported that has already begun, when no loader can be intercepted any more.

    rl_zoo3.utils imports torch, which calls us: its own import is half done then. The import system marks the end by
    setting `_initializing` on the module's spec. CPython 3.10 to 3.14 do so; where it is not so, nothing happens.
    """

    class ReportingSpec(ModuleSpec):
        def __setattr__(self, name: str, value: object) -> None:
            super().__setattr__(name, value)
            if name == "_initializing" and not value:
                self.__class__ = ModuleSpec  # type: ignore[assignment] # undo the detour
                if self.name in sys.modules:
                    callback()

    if spec is not None:
        spec.__class__ = ReportingSpec
