"""The hook that `import torch` calls: waits for rl_zoo3 and then registers this project there.

What is here: when to register, and what happens if that fails. What is not: what there is to register
(`register.py`). Standard library only, since every `import torch` of the environment pays for this file; it loads
neither SB3 nor rl_zoo3 by itself, and never raises, since that would make `import torch` fail.
"""

import os
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from sb3_ppo_scratch.post_import import call_after_import
from sb3_ppo_scratch.zoo import ALGORITHMS

SWITCH = "SB3_PPO_SCRATCH_AUTOLOAD"
"""Environment variable; `0` turns the hook off."""


def install() -> None:
    """Wait for rl_zoo3, unless switched off (the entry point of the group `torch.backends`)."""
    try:
        if os.environ.get(SWITCH, "1") == "0":
            _leave_no_trace()
            return
        # Three doors, each of which some command reaches first: rl_zoo3.utils defines the table of algorithms,
        # train and enjoy import rl_zoo3.import_envs before they copy it, record_video begins with rl_zoo3.exp_manager.
        register_algorithm = _guarded(_register_algorithm)
        call_after_import("rl_zoo3.utils", register_algorithm)
        call_after_import("rl_zoo3.import_envs", register_algorithm)
        call_after_import("rl_zoo3.exp_manager", _guarded(_register_experiment_manager))
    except Exception as error:  # noqa: BLE001 # whatever happens, `import torch` goes on
        print(f"sb3-ppo-scratch: the rl_zoo3 plug-in could not be installed: {error!r}", file=sys.stderr)


def _register_algorithm() -> None:
    from sb3_ppo_scratch.zoo import register

    register.register_algorithm()


def _register_experiment_manager() -> None:
    from sb3_ppo_scratch.zoo import register

    register.register_experiment_manager()


def _guarded(step: Callable[[], None]) -> Callable[[], None]:
    """Make a registration step report its failure in one line, and leave behind what repeats the reason when used."""

    def run() -> None:
        if _Failure.reported:
            return
        try:
            step()
        except Exception as error:  # noqa: BLE001 # a broken plug-in must not break rl_zoo3 for other algorithms
            _Failure.reported = True
            reason = f"sb3-ppo-scratch could not be registered with rl_zoo3: {type(error).__name__}: {error}"
            print(reason.replace("\n", " "), file=sys.stderr)
            _refuse_with(reason)

    return run


class _Failure:
    """Whether registration has failed in this process; it is then not tried again."""

    reported = False


def _refuse_with(reason: str) -> None:
    """Put a stand-in for the algorithm into rl_zoo3, so that `--algo ppo_scratch` fails with the reason.

    Raises:
        RuntimeError: Not here, but whenever the stand-in is used.
    """

    def refuse(*_arguments: Any, **_keywords: Any) -> NoReturn:
        """Repeat why the algorithm is missing.

        Raises:
            RuntimeError: Always.
        """
        raise RuntimeError(reason)

    unavailable = type("ScratchUnavailable", (), {"__init__": refuse, "load": staticmethod(refuse)})
    algorithms = getattr(sys.modules.get("rl_zoo3.utils"), "ALGOS", {})
    for name in ALGORITHMS:
        algorithms[name] = unavailable
    call_after_import("rl_zoo3.exp_manager", lambda: _refuse_experiments(reason))


def _refuse_experiments(reason: str) -> None:
    """Let rl_zoo3's experiments with this algorithm end with the reason, before a config file is looked for.

    Raises:
        RuntimeError: Not here, but from the constructor of such an experiment.
    """
    manager: Any = sys.modules["rl_zoo3.exp_manager"].ExperimentManager
    original = manager.__init__

    def refuse_ours(self: Any, args: Any, algo: str, *arguments: Any, **keywords: Any) -> None:
        """Make an experiment with any other algorithm.

        Raises:
            RuntimeError: If it is this project's.
        """
        if algo in ALGORITHMS:
            raise RuntimeError(reason)
        original(self, args, algo, *arguments, **keywords)

    manager.__init__ = refuse_ours


def _leave_no_trace() -> None:
    """Forget that torch has imported these files: an `import sb3_ppo_scratch` of the user's own then runs as the first.

    Without this, `gym.make("sb3_ppo_scratch:LunarLander-v2")`, which registers the id by that import, would fail after
    `import torch` with the hook switched off. If anything else of the package is loaded, the user has imported it.
    """
    ours = {name for name in sys.modules if name.split(".")[0] == "sb3_ppo_scratch"}
    if ours <= {"sb3_ppo_scratch", "sb3_ppo_scratch.post_import", "sb3_ppo_scratch.zoo", __name__}:
        for name in ours:
            del sys.modules[name]
