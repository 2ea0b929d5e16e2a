"""rl_zoo3's own commands, run with this project registered, and without its import hook.

What is here: running them, and checking a config before `train` starts. What is not: the command line that chooses
among them (`__main__.py`).
"""

import re
import runpy
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from typing import Any

from sb3_ppo_scratch.errors import check_known_names
from sb3_ppo_scratch.zoo.replacing import replaced
from sb3_ppo_scratch.zoo.resume_option import resumable, resumption_in, take_resume
from sb3_ppo_scratch.zoo.vec_env_option import take_vec_env, training_in
from sb3_ppo_scratch.zoo.wrapper_lists import entries, resolve

ZOO_COMMANDS = {
    "train": "train an agent (rl_zoo3.train)",
    "enjoy": "play a trained agent and print its returns (rl_zoo3.enjoy)",
    "record_video": "film a trained agent (rl_zoo3.record_video)",
}

ZOO_KEYS = frozenset(
    {
        "callback",
        "env_kwargs",
        "env_wrapper",
        "frame_stack",
        "monitor_kwargs",
        "n_envs",
        "n_timesteps",
        "noise_std",
        "noise_type",
        "normalize",
        "vec_env_wrapper",
    }
)
"""Keys of a YAML file that rl_zoo3 reads itself; it hands all others to the algorithm."""


SCHEDULE_KEYS = frozenset({"learning_rate", "clip_range", "clip_range_vf", "delta_std"})
"""Keys whose value may be a `lin_` schedule."""


NOT_THERE = re.compile(
    r"not found in gym registry|folder was not found|^No (model|checkpoint) found|^Hyperparameters not found|"
    r"must be a valid path to a \.zip file"
)
"""What rl_zoo3's errors say about something that a command line names and that does not exist."""


class ConfigError(ValueError):
    """A hyperparameter file that cannot work."""


def run_zoo_command(command: str, arguments: Sequence[str]) -> None:
    """Run one of rl_zoo3's commands in this process.

    Args:
        command: A key of `ZOO_COMMANDS`.
        arguments: Its command line.

    Raises:
        ConfigError: If `train` is given hyperparameters that cannot work, or rl_zoo3 does not find what is named.
    """
    from rl_zoo3.exp_manager import ExperimentManager

    from sb3_ppo_scratch.zoo.register import register

    register()
    check_algorithm(arguments)
    begun_with = list(arguments)
    resumption = None
    with ExitStack() as stack:
        stack.enter_context(mistakes_named())
        if command == "train":
            folder, begun_with = take_resume(begun_with)
            if folder is not None:
                resumption = stack.enter_context(resumption_in(folder))
                begun_with = resumption.arguments()
        vec_env, left = take_vec_env(begun_with) if command == "train" else (None, begun_with)
        stack.callback(setattr, sys, "argv", sys.argv)
        sys.argv = [command, *with_our_algorithm(left)]
        stack.enter_context(configs_checked(ExperimentManager))
        stack.enter_context(training_in(ExperimentManager, vec_env))
        if command == "train":
            stack.enter_context(resumable(ExperimentManager, begun_with, resumption))
        runpy.run_module(f"rl_zoo3.{command}", run_name="__main__", alter_sys=True)


@contextmanager
def mistakes_named() -> Iterator[None]:
    """Let what rl_zoo3 says about a user's words end the program in one line.

    Yields:
        Nothing.

    Raises:
        ConfigError: In place of rl_zoo3's errors about files, folders and environments that are not there.
    """
    try:
        yield
    except (AssertionError, ValueError) as error:
        if isinstance(error, ConfigError) or not NOT_THERE.search(str(error)):
            raise
        raise ConfigError(str(error)) from error


def check_algorithm(arguments: Sequence[str]) -> None:
    """Check the name of the algorithm, which rl_zoo3 answers with the list of all.

    Args:
        arguments: A command line of rl_zoo3's.

    Raises:
        ArgumentTypeError: If it is unknown; the message names the nearest.
    """
    from rl_zoo3.utils import ALGOS

    named = [word.removeprefix("--algo=") for word in arguments if word.startswith("--algo=")]
    named += [word for option, word in pairwise(arguments) if option == "--algo"]
    check_known_names(named, ALGOS, where="--algo")


def with_our_algorithm(arguments: Sequence[str]) -> list[str]:
    """Let this project's algorithm be the default of its own commands; rl_zoo3's default is stock PPO.

    Args:
        arguments: A command line of rl_zoo3's.

    Returns:
        The same with `--algo ppo_scratch` in front if it names no algorithm.
    """
    named = any(word.split("=")[0] == "--algo" for word in arguments)
    return [*arguments] if named else ["--algo", "ppo_scratch", *arguments]


@contextmanager
def configs_checked(manager: Any) -> Iterator[None]:
    """Let rl_zoo3 check a config as soon as it has read it, for any algorithm.

    Args:
        manager: rl_zoo3's `ExperimentManager`.

    Yields:
        Nothing.
    """
    with replaced(manager, "read_hyperparameters", _checking):
        yield


def _checking(original: Callable[..., Any]) -> Callable[..., Any]:
    """Let what was read be checked at once."""

    def read_hyperparameters(self: Any) -> Any:
        hyperparams, saved = original(self)
        check_config(hyperparams, algorithm=self.algo, source=self.config)
        return hyperparams, saved

    return read_hyperparameters


def check_config(hyperparams: Mapping[str, Any], *, algorithm: str, source: str) -> None:
    """Check that every key means something, and that every wrapper and callback can be imported.

    Args:
        hyperparams: What the file says about one environment.
        algorithm: A name in rl_zoo3's table of algorithms.
        source: The file, for the message.

    Raises:
        ConfigError: If something is wrong; the message names the key and the nearest valid one.
    """
    from sb3_ppo_scratch.zoo.register import algorithm_arguments

    check_values(hyperparams, source=source)
    try:
        check_known_names(hyperparams, ZOO_KEYS | algorithm_arguments(algorithm), where=f"{algorithm} ({source})")
        for key in ("env_wrapper", "vec_env_wrapper", "callback"):
            for name, _ in entries(hyperparams.get(key)):
                if isinstance(name, str):
                    resolve(name)
    except (TypeError, ValueError) as error:
        raise ConfigError(str(error)) from error


def check_values(hyperparams: Mapping[str, Any], *, source: str) -> None:
    """Check the values that rl_zoo3 reads itself, and would stumble over or take for something else.

    Args:
        hyperparams: What the file says about one environment.
        source: The file, for the message.

    Raises:
        ConfigError: If a value cannot work; the message names the key, the value and the remedy.
    """
    for key in SCHEDULE_KEYS & set(hyperparams):
        check_schedule_value(key, hyperparams[key], source=source)
    for key in {"n_envs", "n_timesteps"} & set(hyperparams):
        value = hyperparams[key]
        if isinstance(value, bool) or not isinstance(value, int | float) or value < 1:
            raise ConfigError(f"{source}: `{key}: {value}` must be a number of at least 1.")
    if not isinstance(hyperparams.get("normalize", False), bool | str | dict):
        raise ConfigError(f"{source}: `normalize: {hyperparams['normalize']}` must be true, false or a mapping.")


def check_schedule_value(key: str, value: Any, *, source: str) -> None:
    """Check one of the values that may be a schedule.

    Args:
        key: One of `SCHEDULE_KEYS`.
        value: What the file says.
        source: The file, for the message.

    Raises:
        ConfigError: If rl_zoo3 could not read it, or would take it for something else.
    """
    if value is None:
        raise ConfigError(
            f"{source}: `{key}: null` is refused by rl_zoo3; leave the key out for the default, or write 1.0e+6 "
            "for a clip range that no ratio reaches."
        )
    if isinstance(value, str) and not re.fullmatch(r"lin_[0-9.]+(?:e[+-]?[0-9]+)?", value):
        raise ConfigError(
            f"{source}: `{key}: {value}` is text in YAML, but no `lin_` schedule; write 1.0e-3 or !!float 1e-3 "
            "for a number, lin_1e-3 for one that falls linearly to 0."
        )
