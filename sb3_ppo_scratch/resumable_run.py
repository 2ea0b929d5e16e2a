"""A run that can stop between any two steps and go on later, in another process, to the same end bit for bit.

What is here: SB3's loop over rollouts and updates, entered anew or in the middle, and when a checkpoint is written.
What is not: the loop over steps (`rollout_collector.py`), and what a checkpoint holds (`checkpoints/`).
"""

import copy
import functools
import io
from abc import abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch as th
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.type_aliases import GymEnv, MaybeCallback

from sb3_ppo_scratch.checkpoints.checkpoint_file import pack, read_checkpoint
from sb3_ppo_scratch.checkpoints.environment_states import begin_anew, why_unreadable
from sb3_ppo_scratch.checkpoints.folder import FAULT_PREFIX, checkpoint_path
from sb3_ppo_scratch.checkpoints.made_with import check_record, read_record
from sb3_ppo_scratch.checkpoints.run_state import draw_seed, read_companions, read_run, write_companions, write_run
from sb3_ppo_scratch.checkpoints.state_tree import State
from sb3_ppo_scratch.checkpoints.tensorboard_log import continue_log
from sb3_ppo_scratch.errors import ArgumentError, TrainingFaultError
from sb3_ppo_scratch.fault_files import arrays_of, arrays_of_rollout, choose_folder
from sb3_ppo_scratch.interrupts import LOST_WORKER, REMEDY, interrupts_held
from sb3_ppo_scratch.rollout_collector import RolloutCollector, UnfinishedRollout
from sb3_ppo_scratch.safe_writing import write_safely
from sb3_ppo_scratch.vec_env.faults import faults_named

if TYPE_CHECKING:
    from typing_extensions import Self  # in `typing` only since Python 3.11

TB_LOG_NAME = "PPO"
"""A run's name in TensorBoard; stock PPO's, so that what reads stock's logs reads these."""
OF_A_RUN = (
    "_iteration",
    "_log_interval",
    "_callback",
    "_is_learning",
    "_to_resume",
    "_unfinished",
    "_waiting",
    "_is_between_steps",
    "_left_by",
    "_content",
    "_made_with",
    "_lengths_in_buffer",
)
"""Attributes that a checkpoint holds elsewhere, and a model's file does not."""


class _FileRead(io.BytesIO):
    """The content of a file, which errors name by the file's path."""

    def __init__(self, path: str | Path, content: bytes) -> None:
        super().__init__(content)
        self._path = path

    def __str__(self) -> str:
        return str(self._path)


class ResumableRun(RolloutCollector):
    """An on-policy algorithm whose `learn` can be left and entered again."""

    _iteration: int
    """Rollouts of this run that are complete."""
    _log_interval: int | None
    _callback: BaseCallback | None
    """The outermost callback of the last run."""
    _is_learning: bool
    _made_with: State
    """What this run was begun with."""
    _to_resume: State
    """The state of the run that this model was loaded for."""
    _left_by: str
    """What has ended the last run in the middle of a step or an update; empty: nothing has."""
    fault_folder: str | Path | None
    """Where the numbers and a checkpoint go if something is not finite; None: the log's folder, or a temporary one."""
    _content: bytes | None
    """The checkpoint of this moment between two steps, if one has been asked for."""

    @abstractmethod
    def count_threads(self) -> int:
        """Tell how many threads torch uses while this model learns.

        Returns:
            Their number.
        """

    def _forget_run(self) -> None:
        """Be as if there had been no run."""
        self._iteration, self._log_interval, self._callback = 0, 1, None
        self._to_resume, self._unfinished = None, None
        self._waiting, self._is_learning, self._is_between_steps = [], False, False
        self._left_by, self._content, self._made_with, self._lengths_in_buffer = "", None, None, None

    def learn(
        self,
        total_timesteps: int,
        callback: MaybeCallback = None,
        log_interval: int = 1,
        tb_log_name: str = TB_LOG_NAME,
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
    ) -> "Self":
        """Learn from `total_timesteps` steps, rounded up to whole rollouts.

        Args:
            total_timesteps: Steps over all environments.
            callback: SB3 callback, list of callbacks or function.
            log_interval: Rollouts between two outputs of the log.
            tb_log_name: Name of the run in TensorBoard (default: stock PPO's).
            reset_num_timesteps: Whether to count steps from 0; False continues.
            progress_bar: Whether to show a progress bar (tqdm and rich).

        Returns:
            The model itself.

        Raises:
            ValueError: If the policy has become NaN or infinite.
            KeyboardInterrupt: At the end of the step in which Ctrl-C has come; a second one acts at once.
        """
        self._forget_run()
        self._log_interval = log_interval
        assert self.env is not None
        with faults_named(self.env):
            total_timesteps, callback = self._setup_learn(
                total_timesteps, callback, reset_num_timesteps, tb_log_name, progress_bar
            )
        with self._beginning(callback):
            callback.on_training_start(locals(), globals())
        self._go_on(callback)
        return self

    @contextmanager
    def _beginning(self, callback: BaseCallback) -> Iterator[None]:
        """Let checkpoints that callbacks ask for before the first step wait for it; if one raises, there is no run.

        Args:
            callback: The outermost.

        Yields:
            Nothing.
        """
        self._callback, self._is_learning = callback, True
        try:
            yield
        except BaseException:
            self._forget_run()
            raise

    def resume(self, callback: MaybeCallback = None, *, progress_bar: bool = False) -> "Self":
        """Go on with the run of a checkpoint, or with one that was interrupted, to its own end.

        Args:
            callback: Callbacks made as the run's were; what those had counted and found is given to them.
            progress_bar: Whether to show a progress bar (tqdm and rich).

        Returns:
            The model itself.

        Raises:
            ArgumentError: If there is no run or no environment, that is not made as the run's, or the run was left in
                the middle of a step.
            ValueError: If the policy has become NaN or infinite.
        """
        if self.env is None:
            raise ArgumentError("`resume` needs an environment; give one to `load_checkpoint`.")
        self._check_run("go on with; `load_checkpoint` loads a model with its run.")
        if self._to_resume is None and self._unfinished is None and self.num_timesteps >= self._total_timesteps:
            return self
        companions = copy.deepcopy(read_companions(self._callback)) if self._to_resume is None else None
        total_timesteps, callback = self._set_up_again(callback, progress_bar)
        callback.on_training_start(locals(), globals())
        if self._to_resume is None:
            write_companions(callback, companions)
        else:
            write_run(self, callback, self._to_resume)
            self._to_resume = None
        self._go_on(callback)
        return self

    def _set_up_again(self, callback: MaybeCallback, progress_bar: bool) -> tuple[int, BaseCallback]:
        """Do what SB3 does before learning, but let the log go on where it was.

        Args:
            callback: What `resume` was given.
            progress_bar: Whether to show one.

        Returns:
            The total of steps, and the outermost callback.

        Raises:
            ArgumentError: If the environments are not those of the run.
        """
        users_logger = self._custom_logger
        if self._to_resume is None:
            self._custom_logger = True
        else:
            check_record(self, self._to_resume["made_with"])
            self._custom_logger = users_logger or continue_log(self, self._to_resume["log_folder"])
        try:
            left = self._total_timesteps - self.num_timesteps
            return self._setup_learn(left, callback, False, TB_LOG_NAME, progress_bar)
        finally:
            self._custom_logger = users_logger

    def _check_run(self, purpose: str) -> None:
        """Check that there is a run, and that it stands between two steps.

        Args:
            purpose: What it is needed for.

        Raises:
            ArgumentError: If not.
        """
        if self._left_by:
            raise ArgumentError(
                f"the run was left in the middle of a step or an update by {self._left_by}; go on from its last "
                "checkpoint."
            )
        if self._to_resume is None and self._callback is None:
            raise ArgumentError(f"there is no run to {purpose}")

    def _go_on(self, callback: BaseCallback) -> None:
        """Collect rollouts and learn from them until the run's total is reached, or a callback ends it.

        Args:
            callback: The outermost.
        """
        self._callback, self._is_learning, self._made_with = callback, True, read_record(self)
        try:
            with interrupts_held(self.do_between_steps):
                self._learn_from_rollouts(callback)
                self._do_what_waits()
        except BaseException as error:
            if not self._is_between_steps:
                self._left_by = type(error).__name__
            if isinstance(error, TrainingFaultError):
                self._write_down(error)
            raise
        finally:
            self._is_learning = self._is_between_steps = False
            self._content = None
            self._waiting.clear()
        callback.on_training_end()

    def _write_down(self, error: TrainingFaultError) -> None:
        """Write the numbers of a fault, and a checkpoint from which the run goes on without the rollout that it was in.

        Args:
            error: It is told where.
        """
        rollout = arrays_of_rollout(self.rollout_buffer, self._last_obs)
        arrays: Any = {**rollout, **arrays_of(error.batch, "batch")}
        try:
            folder = choose_folder(self.fault_folder, self.logger.get_dir())
            path = checkpoint_path(folder, self.num_timesteps, FAULT_PREFIX)
            numbers = io.BytesIO()
            np.savez_compressed(numbers, **arrays)
            write_safely(path.with_suffix(".npz"), numbers.getvalue())
            write_safely(path, self._pack_without_rollout())
        except OSError as failure:
            error.add(f"nothing could be written ({failure})")
        else:
            error.add(f"{path.with_suffix('.npz')} holds the numbers, {path} the run without them")

    def _pack_without_rollout(self) -> bytes:
        """Put the model and its run into a file; the rollout under way is left out, and all episodes begin anew."""
        self._unfinished = None
        self._last_episode_starts = np.ones(self.n_envs, dtype=bool)
        return self._pack(read_run(self, self._callback, draw_seed(), may_be_lost=True))

    def _learn_from_rollouts(self, callback: BaseCallback) -> None:
        """Do so until the total is reached, or a callback ends it; the first rollout may be one that was under way."""
        assert self.env is not None
        while self._unfinished is not None or self.num_timesteps < self._total_timesteps:
            if not self.collect_rollouts(self.env, callback, self.rollout_buffer, self.n_steps):
                break
            self._iteration += 1
            self._update_current_progress_remaining(self.num_timesteps, self._total_timesteps)
            if self._log_interval is not None and self._iteration % self._log_interval == 0:
                self.dump_logs(self._iteration)
            self.train()

    def _do_what_waits(self) -> None:
        """Do what waits for the end of a step; checkpoints are of this moment, not of an earlier one."""
        self._content = None
        super()._do_what_waits()

    def do_between_steps(self, action: Callable[[], None]) -> None:
        """Do something as soon as the step under way, if there is one, is complete; safe in a signal's handler.

        Args:
            action: What is to be done.
        """
        self._waiting.append(action)

    def save_checkpoint(self, path: str | Path) -> None:
        """Write everything from which the run goes on as if nothing had happened.

        While learning it is written when the step under way is complete: before the next one, or at the end of the run.
        Where environments have no state that could be read (Box2D's, for one), all episodes are cut there, as by a time
        limit, and new ones begin; a run with the same checkpoints that goes through undisturbed is the same.

        Args:
            path: The file, a zip that SB3 opens as a model, too.

        Raises:
            ArgumentError: If there is no run yet, it was left in the middle of a step, or its environments' processes
                have ended.
            OSError: If it cannot be written; a file that was there before still is.
        """
        self._check_run("write yet; `learn` begins one. A model without a run is written by `save`.")
        write = functools.partial(self._write_checkpoint, Path(path))
        if self._is_learning and not self._is_between_steps:
            self.do_between_steps(write)
        elif self._is_learning:
            write()
        else:
            self._write_afterwards(write)

    def _write_afterwards(self, write: Callable[[], None]) -> None:
        """Write a checkpoint of a run that is not under way.

        Args:
            write: Does so.

        Raises:
            ArgumentError: If the environments' processes have ended meanwhile.
        """
        try:
            write()
        except LOST_WORKER as error:
            raise ArgumentError(
                f"processes of the environments have ended, as SB3's do when Ctrl-C reaches them; {REMEDY}."
            ) from error

    def _write_checkpoint(self, path: Path) -> None:
        """Write a checkpoint, now; all that are asked for between the same two steps are one."""
        content = self._content or self._pack_run()
        if self._is_between_steps:
            self._content = content
        write_safely(path, content)

    def _pack_run(self) -> bytes:
        """Put the model and its run's state into a file."""
        if self._to_resume is not None:
            return self._pack(self._to_resume)
        if self._unfinished is None or self.env is None or not why_unreadable(self.env):
            return self._pack(read_run(self, self._callback, None))
        self._cut_episodes(self._unfinished)
        seed = draw_seed()
        try:
            return self._pack(read_run(self, self._callback, seed))
        finally:
            self._last_obs = begin_anew(self.env, seed)

    def _pack(self, state: State) -> bytes:
        """Put the model and a state into a file."""
        model = io.BytesIO()
        self.save(model)
        return pack(model.getvalue(), state)

    def _cut_episodes(self, rollout: UnfinishedRollout) -> None:
        """End all episodes where they are, as a time limit would."""
        values = self._choose_actor().values(self._last_obs).cpu().numpy().reshape(-1)
        bootstraps = self._bootstraps and self.timeout_bootstrap
        rollout.end.cut(values * (self.gamma if bootstraps else 0.0), self._last_episode_starts)
        self._last_episode_starts = np.ones(self.n_envs, dtype=bool)

    @classmethod
    def load_checkpoint(
        cls,
        path: str | Path,
        env: GymEnv | None = None,
        device: th.device | str = "auto",
        custom_objects: dict[str, Any] | None = None,
        *,
        trusted: bool = True,
    ) -> "Self":
        """Load a model together with its run; `resume` then goes on with that.

        Args:
            path: What `save_checkpoint` has written.
            env: Environments made as the run's were.
            device: Where to load the parameters.
            custom_objects: As for `load`.
            trusted: As for `load`; the run itself is never unpickled.

        Returns:
            The model.

        Raises:
            FileNotFoundError: If there is no such file.
            CheckpointError: If the file is damaged, holds no run, or was written by a newer version.
            ArgumentError: If it is another algorithm's.
        """
        content, state = read_checkpoint(Path(path))
        model = cls.load(_FileRead(path, content), env, device, custom_objects, trusted=trusted)
        model._to_resume = state
        return model
