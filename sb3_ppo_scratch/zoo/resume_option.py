"""`train --resume RUN_FOLDER`, `-i` with a file that was saved during a run, and what makes both possible.

What is here: letting rl_zoo3's `ExperimentManager` write checkpoints and go on with one. What is not: checkpoints
themselves (`checkpoints/`), stopping on a signal (`stopping.py`), and the other options (`commands.py`).
"""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from stable_baselines3.common.callbacks import CheckpointCallback
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv

from sb3_ppo_scratch.callbacks import SaveCheckpoints
from sb3_ppo_scratch.checkpoints.checkpoint_file import holds_run
from sb3_ppo_scratch.checkpoints.environment_states import count_monitored
from sb3_ppo_scratch.checkpoints.folder import PREFIX, newest_checkpoint
from sb3_ppo_scratch.checkpoints.state_tree import State
from sb3_ppo_scratch.errors import ArgumentError
from sb3_ppo_scratch.interrupts import keep_from_new_workers
from sb3_ppo_scratch.safe_writing import write_safely
from sb3_ppo_scratch.zoo import ALGORITHMS
from sb3_ppo_scratch.zoo.folder_lock import locked
from sb3_ppo_scratch.zoo.plain_yaml import read_plain_yaml
from sb3_ppo_scratch.zoo.replacing import Replacement, replaced
from sb3_ppo_scratch.zoo.saved_run import settings_below
from sb3_ppo_scratch.zoo.stopping import stopping_cleanly

RECORD = "resume.json"
"""Beside rl_zoo3's config.yml: the command line that began the run."""


def take_resume(arguments: Sequence[str]) -> tuple[Path | None, list[str]]:
    """Take the option off a command line.

    Args:
        arguments: A command line of `train`.

    Returns:
        The run's folder, or None, and what is left.

    Raises:
        ArgumentError: If no folder follows, or anything else stands beside the option.

    Example:
        >>> take_resume(["--env", "CartPole-v1"])
        (None, ['--env', 'CartPole-v1'])
    """
    left = list(arguments)
    for position, word in enumerate(left):
        name, equals, value = word.partition("=")
        if name != "--resume":
            continue
        value = value if equals else "".join(left[position + 1 : position + 2])
        del left[position : position + (1 if equals else 2)]
        if not value or left:
            raise ArgumentError("`--resume RUN_FOLDER` stands alone: the run goes on with the settings it began with.")
        return Path(value), []
    return None, left


class Resumption(NamedTuple):
    """What is known about a run that goes on."""

    folder: Path
    """The run's, as rl_zoo3 names it (`logs/ppo_scratch/CartPole-v1_1`)."""
    settings: Path
    """rl_zoo3's folder of settings in it."""
    checkpoint: Path
    state: State
    """The checkpoint's."""

    def arguments(self) -> list[str]:
        """Build the command line that goes on: the one that began the run, with the checkpoint as its model.

        Returns:
            Words for rl_zoo3's `train`.
        """
        words = json.loads((self.settings / RECORD).read_text())["arguments"]
        return [*words, "-i", str(self.checkpoint)]


@contextmanager
def resumption_in(folder: Path) -> Iterator[Resumption]:
    """Find the checkpoint that a run goes on from, and keep other processes out of its folder.

    Args:
        folder: The run's.

    Yields:
        What is known about the run.

    Raises:
        ArgumentError: If the folder holds no run that could go on, or one that is under way.
    """
    settings = settings_below(folder)
    if not folder.is_dir() or len(settings) != 1 or not (settings[0] / RECORD).is_file():
        raise ArgumentError(
            f"{folder} is no folder of a run that `python -m sb3_ppo_scratch train` has begun "
            "(logs/ALGORITHM/ENVIRONMENT_NUMBER)."
        )
    with locked(folder):
        yield Resumption(folder, settings[0], *newest_checkpoint(folder))


@contextmanager
def resumable(manager: Any, arguments: Sequence[str], resumption: Resumption | None) -> Iterator[None]:
    """Let rl_zoo3 write checkpoints while it trains an algorithm of this project, and go on with one.

    Args:
        manager: rl_zoo3's `ExperimentManager`.
        arguments: The command line that is recorded, for a run that begins.
        resumption: The run that goes on, or None.

    Yields:
        Nothing.
    """
    with ExitStack() as stack:
        stack.enter_context(replaced(manager, "create_callbacks", _with_checkpoints))
        stack.enter_context(replaced(manager, "_load_pretrained_agent", _loading_runs))
        stack.enter_context(replaced(manager, "learn", _learning_on))
        stack.enter_context(replaced(manager, "create_envs", _in_deaf_workers))
        if resumption is None:
            stack.enter_context(replaced(manager, "create_log_folder", _locking(stack)))
            stack.enter_context(replaced(manager, "_save_config", _recording(arguments)))
        else:
            stack.enter_context(replaced(manager, "create_log_folder", _in_folder(resumption)))
            stack.enter_context(replaced(manager, "read_hyperparameters", _saved_hyperparameters(resumption)))
            stack.enter_context(replaced(manager, "create_envs", _appending_to_monitors(resumption)))
        yield


def _in_deaf_workers(original: Callable[..., Any]) -> Callable[..., Any]:
    """Let Ctrl-C reach this process only, where others step the environments."""

    def create_envs(self: Any, *arguments: Any, **keywords: Any) -> Any:
        if self.vec_env_class is not DummyVecEnv:
            keep_from_new_workers()
        return original(self, *arguments, **keywords)

    return create_envs


def _with_checkpoints(original: Callable[..., None]) -> Callable[..., None]:
    """Let `--save-freq` write checkpoints, under the names of the models that it writes otherwise."""

    def create_callbacks(self: Any) -> None:
        original(self)
        if self.algo in ALGORITHMS:
            self.callbacks = [_as_checkpoints(callback) for callback in self.callbacks]

    return create_callbacks


def _as_checkpoints(callback: Any) -> Any:
    """Turn rl_zoo3's callback for `--save-freq` into this project's; leave all others."""
    if type(callback) is not CheckpointCallback or callback.name_prefix != PREFIX:
        return callback
    return SaveCheckpoints(callback.save_freq, callback.save_path, verbose=callback.verbose)


def _loading_runs(original: Callable[..., Any]) -> Callable[..., Any]:
    """Let `-i` load the run, too, if the file holds one."""

    def _load_pretrained_agent(self: Any, hyperparams: dict[str, Any], env: Any) -> Any:
        path = Path(self.trained_agent)
        if self.algo not in ALGORITHMS or not holds_run(path):
            return original(self, hyperparams, env)
        from rl_zoo3.utils import ALGOS

        algorithm: Any = ALGOS[self.algo]
        model = algorithm.load_checkpoint(path, env=env, device=self.device)
        print(f"{path} was saved during a run, which goes on: step {model.num_timesteps} of {model._total_timesteps}")
        return model

    return _load_pretrained_agent


class _Learner:
    """Stands for a model where rl_zoo3 calls `learn`: goes on with a run that was loaded, and remembers interrupts."""

    def __init__(self, model: Any) -> None:
        self.model, self.env = model, model.env
        self._interrupt: KeyboardInterrupt | None = None

    def learn(self, total_timesteps: int, *, callback: Any = None, **keywords: Any) -> None:
        """Learn, or go on; then steps and log interval are the run's own."""
        try:
            if self.model._to_resume is None:
                self.model.learn(total_timesteps, callback=callback, **keywords)
            else:
                self.model.resume(callback)
        except KeyboardInterrupt as error:
            self._interrupt = error
            raise

    def check_finished(self) -> None:
        """Check that `learn` has come to its end.

        Raises:
            KeyboardInterrupt: That which has ended it; rl_zoo3 takes it for the end of training.
        """
        if self._interrupt is not None:
            raise self._interrupt


def _learning_on(original: Callable[..., None]) -> Callable[..., None]:
    """Let `learn` go on with a run that was loaded, stop cleanly on a signal, and end only if training has."""

    def learn(self: Any, model: Any) -> None:
        if self.algo not in ALGORITHMS:
            original(self, model)
            return
        learner = _Learner(model)
        with stopping_cleanly(model, Path(self.save_path)):
            original(self, learner)
        learner.check_finished()

    return learn


def _recording(arguments: Sequence[str]) -> Replacement:
    """Let the command line be written beside rl_zoo3's settings."""

    def wrap(original: Callable[..., None]) -> Callable[..., None]:
        def _save_config(self: Any, saved_hyperparams: dict[str, Any]) -> None:
            original(self, saved_hyperparams)
            if self.algo in ALGORITHMS:
                write_safely(Path(self.params_path, RECORD), json.dumps({"arguments": list(arguments)}).encode())

        return _save_config

    return wrap


def _locking(stack: ExitStack) -> Replacement:
    """Let a folder that a run begins be this process's until the stack is closed."""

    def wrap(original: Callable[..., None]) -> Callable[..., None]:
        def create_log_folder(self: Any) -> None:
            original(self)
            if self.algo in ALGORITHMS:
                stack.enter_context(locked(Path(self.save_path)))

        return create_log_folder

    return wrap


def _in_folder(resumption: Resumption) -> Replacement:
    """Let everything be written where the run began."""

    def wrap(original: Callable[..., None]) -> Callable[..., None]:
        def create_log_folder(self: Any) -> None:
            self.save_path, self.params_path = str(resumption.folder), str(resumption.settings)
            original(self)

        return create_log_folder

    return wrap


def _saved_hyperparameters(resumption: Resumption) -> Replacement:
    """Let the hyperparameters be those that the run began with, whatever the file says by now."""

    def wrap(_original: Callable[..., Any]) -> Callable[..., Any]:
        def read_hyperparameters(_self: Any) -> tuple[dict[str, Any], dict[str, Any]]:
            saved = read_plain_yaml(resumption.settings / "config.yml")
            return dict(saved), dict(saved)

        return read_hyperparameters

    return wrap


def _appending_to_monitors(resumption: Resumption) -> Replacement:
    """Let the monitor files go on after the episodes that the checkpoint knows."""

    def wrap(original: Callable[..., Any]) -> Callable[..., Any]:
        def create_envs(self: Any, n_envs: int, eval_env: bool = False, no_log: bool = False) -> Any:
            if eval_env or no_log:
                return original(self, n_envs, eval_env=eval_env, no_log=no_log)
            cut_monitor_files(resumption.folder, resumption.state)
            kwargs, self.monitor_kwargs = self.monitor_kwargs, {**self.monitor_kwargs, "override_existing": False}
            try:
                return original(self, n_envs, eval_env=False, no_log=False)
            finally:
                self.monitor_kwargs = kwargs

        return create_envs

    return wrap


def cut_monitor_files(folder: Path, state: State) -> None:
    """Take out of monitor files what came after a checkpoint.

    Args:
        folder: The run's folder.
        state: The checkpoint's.
    """
    for index, n_episodes in enumerate(count_monitored(state["environments"])):
        path = folder / f"{index}.{Monitor.EXT}"
        if n_episodes is not None and path.is_file():
            lines = path.read_bytes().splitlines(keepends=True)
            write_safely(path, b"".join(lines[: 2 + n_episodes]))  # a comment and the header come first
