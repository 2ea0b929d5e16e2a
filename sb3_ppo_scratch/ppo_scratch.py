"""`PPOScratch`: Proximal Policy Optimization for Stable-Baselines3, written from scratch.

What is here: the algorithm class: its arguments, and `train`, which reads as the algorithm does. What is not: the
formulas (`advantages.py`, `updates/`), collecting rollouts (`rollout_collector.py`), and saving and loading, which are
SB3's.
"""

import copy
import functools
import inspect
import io
import pathlib
import time
import warnings
from collections.abc import Callable
from typing import Any, ClassVar, Concatenate, ParamSpec, TypeVar, get_args

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.base_class import maybe_make_env
from stable_baselines3.common.buffers import DictRolloutBuffer, RolloutBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.policies import (
    ActorCriticCnnPolicy,
    ActorCriticPolicy,
    BasePolicy,
    MultiInputActorCriticPolicy,
)
from stable_baselines3.common.type_aliases import GymEnv, MaybeCallback
from stable_baselines3.common.utils import FloatSchedule
from stable_baselines3.common.vec_env import VecEnv

from sb3_ppo_scratch import argument_checks as checks
from sb3_ppo_scratch.acting import Actor, LeanActor, TorchActor
from sb3_ppo_scratch.devices import explain_device, fastest_device, slow_device_warning
from sb3_ppo_scratch.errors import check_known_names
from sb3_ppo_scratch.live_attributes import FloatOrSchedule, LiveAttributes
from sb3_ppo_scratch.observation_normalizer import absorb_rollout, attach_observation_normalizer, check_normalizable
from sb3_ppo_scratch.rollout_buffers import default_rollout_buffer_class
from sb3_ppo_scratch.rollout_collector import RolloutCollector
from sb3_ppo_scratch.torch_threads import TorchThreads, choose_threads, threads_restored, use_threads
from sb3_ppo_scratch.update_choice import UpdateChoice
from sb3_ppo_scratch.update_stats import UpdateStats, explained_variance
from sb3_ppo_scratch.updates.autograd import free_graph
from sb3_ppo_scratch.updates.closed_form import ClosedFormUpdate
from sb3_ppo_scratch.updates.update import Rollout, Update, UpdateSettings

SelfPPOScratch = TypeVar("SelfPPOScratch", bound="PPOScratch")
Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

NOT_SAVED = ("_choose_device", "_keep_buffer_class", "_update_choice", "_announced_update")
"""Attributes that a new model makes anew."""
TB_LOG_NAME = "PPO"
"""A run's name in TensorBoard; stock PPO's, so that what reads stock's logs reads these."""
Coefficient = float
"""Weight of a term of the loss."""
Kwargs = dict[str, Any]
"""Keyword arguments for something that is built later."""


def _as_float(value: Any) -> Any:
    """Turn any real number (of NumPy's, say) into a float, which is all that SB3 takes; leave schedules alone."""
    return value if callable(value) else float(value)


def _with_chosen_threads(
    method: Callable[Concatenate["PPOScratch", Arguments], Result],
) -> Callable[Concatenate["PPOScratch", Arguments], Result]:
    """Let a method run with the threads that `torch_threads` says, and restore them afterwards.

    Args:
        method: The method.

    Returns:
        The same, with threads.
    """

    @functools.wraps(method)
    def with_threads(self: "PPOScratch", /, *arguments: Arguments.args, **keywords: Arguments.kwargs) -> Result:
        minibatch = min(self.batch_size, self.rollout_buffer.buffer_size * self.n_envs)
        with threads_restored() as outside:
            use_threads(choose_threads(self.torch_threads, self.policy, minibatch, outside))
            return method(self, *arguments, **keywords)

    return with_threads


class PPOScratch(LiveAttributes, RolloutCollector):
    """Proximal Policy Optimization with the clipped objective, a drop-in for SB3's PPO.

    Every argument of SB3's PPO has the same name, place, meaning and default here; with equal arguments, seed and one
    torch thread the parameters stay equal to stock PPO's until float rounding parts them (docs/decisions.md says within
    which bounds). The arguments after `_init_setup_model` are this project's own and keyword-only.

    Args:
        policy: `"MlpPolicy"`, `"CnnPolicy"`, `"MultiInputPolicy"` or a subclass of `ActorCriticPolicy`.
        env: Environment, VecEnv or registered id. Box, Discrete, MultiDiscrete and MultiBinary actions.
        learning_rate: Adam's learning rate, constant or schedule.
        n_steps: Steps per environment and rollout; a rollout has `n_steps * n_envs` transitions.
        batch_size: Transitions per minibatch. If it does not divide the rollout, the last minibatch is shorter.
        n_epochs: Passes over a rollout per update. Usually 3 to 20.
        gamma: Discount factor in [0, 1].
        gae_lambda: GAE's trade-off between bias (0) and variance (1).
        clip_range: Half width of the interval around a probability ratio of 1 in which the policy may move per update.
            Usually 0.1 to 0.3.
        clip_range_vf: Largest change of a value estimate per update, in units of the (scaled) reward; None: unlimited.
        normalize_advantage: Whether to normalise advantages, minibatch by minibatch.
        ent_coef: Weight of the entropy bonus.
        vf_coef: Weight of the value loss.
        max_grad_norm: Largest L2 norm of the gradient over all parameters.
        use_sde: Whether to explore with gSDE (https://arxiv.org/abs/2005.05719) in place of independent noise.
        sde_sample_freq: Steps between new gSDE noise; -1: once per rollout.
        rollout_buffer_class: Buffer to use in place of the default; it then estimates advantages its own way.
        rollout_buffer_kwargs: Further arguments of the buffer.
        target_kl: The update stops before a minibatch whose approximate KL divergence exceeds 1.5 times this.
        stats_window_size: Episodes over which returns and lengths are averaged in the log.
        tensorboard_log: Folder for TensorBoard; None: no such log.
        policy_kwargs: Further arguments of the policy.
        verbose: 0: silent, 1: device, wrappers and early stops, 2: debug messages.
        seed: Seed of Python's, NumPy's, torch's and the environments' random generators.
        device: `"cpu"`, `"cuda"`, ...; `"auto"`: a GPU for policies with convolutions, the CPU for all others, which
            are faster there.
        _init_setup_model: Whether to build the networks at once (SB3's `load` builds them later).
        normalize_observations: Whether the policy normalises Box observations by running statistics. They are part of
            the policy, hence of the saved file, and stand still except between an update and the next rollout.
        torch_threads: Threads of torch while learning: `"auto"` (on the CPU 1 for networks without convolutions, unless
            parameters times minibatch size reach 2^24), a number, or None for torch's own setting. Restored afterwards.
        update: How gradients are computed: `"closed_form"` (derived by hand, without autograd; several times faster,
            for MLPs on the CPU), `"autograd"` (torch's; for everything), or `"auto"`: the closed form where it covers
            the policy. All learn the same but for float rounding.

    Source:
        Schulman et al., Proximal Policy Optimization Algorithms, https://arxiv.org/abs/1707.06347, algorithm 1.

    Example:
        >>> from sb3_ppo_scratch import PPOScratch
        >>> model = PPOScratch("MlpPolicy", "CartPole-v1", n_steps=64, seed=0).learn(128)
        >>> model.num_timesteps
        128
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {
        "CnnPolicy": ActorCriticCnnPolicy,
        "MultiInputPolicy": MultiInputActorCriticPolicy,
        "MlpPolicy": ActorCriticPolicy,
    }

    def __init__(
        self,
        policy: str | type[ActorCriticPolicy],
        env: GymEnv | str,
        learning_rate: FloatOrSchedule = 3e-4,
        n_steps: int = 2048,
        batch_size: int = 64,
        n_epochs: int = 10,
        gamma: float = 0.99,
        gae_lambda: float = 0.95,
        clip_range: FloatOrSchedule = 0.2,
        clip_range_vf: FloatOrSchedule | None = None,
        normalize_advantage: bool = True,
        ent_coef: Coefficient = 0.0,
        vf_coef: Coefficient = 0.5,
        max_grad_norm: float = 0.5,
        use_sde: bool = False,
        sde_sample_freq: int = -1,
        rollout_buffer_class: type[RolloutBuffer] | None = None,
        rollout_buffer_kwargs: Kwargs | None = None,
        target_kl: float | None = None,
        stats_window_size: int = 100,
        tensorboard_log: str | None = None,
        policy_kwargs: Kwargs | None = None,
        verbose: int = 0,
        seed: int | None = None,
        device: th.device | str = "auto",
        _init_setup_model: bool = True,
        *,
        normalize_observations: bool = False,
        torch_threads: TorchThreads = "auto",
        update: checks.UpdateName = "auto",
    ) -> None:
        """Check the arguments, store each under its own name, and build the model from them.

        Raises:
            ValueError: If an argument or space has an unusable value (an `ArgumentError`; also an AssertionError).
            TypeError: If an argument has a wrong type.
        """
        checks.check_arguments(locals())
        if env is not None:
            env = maybe_make_env(env, verbose)
            checks.check_spaces(env.observation_space, env.action_space, policy)
        with checks.sb3_errors_named("`env` cannot be used"):
            super().__init__(
                policy,
                env if env is None else self._wrap_env(env, verbose),
                _as_float(learning_rate),
                n_steps,
                gamma,
                gae_lambda,
                ent_coef,
                vf_coef,
                max_grad_norm,
                use_sde,
                sde_sample_freq,
                rollout_buffer_class,
                rollout_buffer_kwargs,
                stats_window_size,
                tensorboard_log,
                policy_kwargs=policy_kwargs,
                seed=seed,
                device="cpu" if device == "auto" else device,
                supported_action_spaces=(spaces.Box, spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary),
                _init_setup_model=False,
            )
        self.verbose = verbose  # not given to SB3, which would name a device before "auto" is resolved
        self._choose_device = device == "auto"
        self._keep_buffer_class = rollout_buffer_class is not None
        self.n_epochs = n_epochs
        self.batch_size = batch_size
        self.clip_range = _as_float(clip_range)
        self.clip_range_vf = clip_range_vf if clip_range_vf is None else _as_float(clip_range_vf)
        self.normalize_advantage = normalize_advantage
        self.target_kl = target_kl
        self.normalize_observations = normalize_observations
        self.torch_threads = torch_threads
        self.update = update
        self._update_choice, self._announced_update = UpdateChoice(), ""
        if self.env is not None:
            self._check_environment()
        if _init_setup_model:
            with checks.sb3_errors_named("`policy` cannot be built for this environment"):
                self._setup_model()
            self._announce_device()
            if self.verbose >= 1 or update == "closed_form":
                self._announce_update(self._update_choice.explain(update, self.policy, self.rollout_buffer))

    def _check_environment(self) -> None:
        """Check the wrapped environment against the arguments, and warn about a short last minibatch."""
        checks.check_spaces(self.observation_space, self.action_space, self.policy_class)
        if self.normalize_observations:
            check_normalizable(self.observation_space)
        warning = checks.check_minibatches(
            self.n_steps, self.n_envs, self.batch_size, normalize_advantage=self.normalize_advantage
        )
        if warning is not None:
            warnings.warn(warning, stacklevel=3)

    def _get_policy_from_name(self, policy_name: str) -> type[BasePolicy]:
        """Look a policy's name up.

        Args:
            policy_name: A key of `policy_aliases`.

        Returns:
            The policy's class.

        Raises:
            ArgumentError: If there is no policy of this name.
        """
        checks.check_choice("policy", policy_name, self.policy_aliases)
        return self.policy_aliases[policy_name]

    def _setup_model(self) -> None:
        """Build everything that follows from the arguments: buffer, policy, schedules. SB3's `load` calls this too."""
        chosen_buffer_class = self.rollout_buffer_class
        if not self._keep_buffer_class and chosen_buffer_class in (RolloutBuffer, DictRolloutBuffer):
            chosen_buffer_class = None  # a file of stock PPO's, which names its default
        self.rollout_buffer_class = chosen_buffer_class or default_rollout_buffer_class(self.observation_space)
        super()._setup_model()
        # What the user chose, so that a saved file names this project's buffer nowhere.
        self.rollout_buffer_class = chosen_buffer_class
        self.clip_range = FloatSchedule(self.clip_range)
        if self.clip_range_vf is not None:
            self.clip_range_vf = FloatSchedule(self.clip_range_vf)
        if self.normalize_observations:
            attach_observation_normalizer(self.policy)
        if self._choose_device:
            self._move_to_fastest_device()

    def _move_to_fastest_device(self) -> None:
        """Resolve `device="auto"` once the network is known."""
        device = fastest_device(self.policy)
        if device == self.device:
            return
        self.device = device
        self.policy = self.policy.to(self.device)
        self.rollout_buffer.device = self.device
        if self.seed is not None:
            th.backends.cudnn.deterministic = True
            th.backends.cudnn.benchmark = False
        if self.use_sde:
            self.policy.reset_noise(self.n_envs)

    def _maybe_recommend_cpu(self, mlp_class_name: str = "ActorCriticPolicy") -> None:  # noqa: ARG002 # SB3's signature
        """Warn about a GPU for a policy that is faster on the CPU; unlike SB3's, by its layers, not by its name.

        Args:
            mlp_class_name: Not needed here.
        """
        warning = slow_device_warning(self.device, self.policy)
        if warning is not None:
            warnings.warn(warning, stacklevel=2)

    def _announce_device(self) -> None:
        """Say which device is used, and, if `device="auto"` chose it, why."""
        if self.verbose >= 1:
            print(f"Using {self.device} device" + (explain_device(self.policy) if self._choose_device else ""))

    def learn(
        self: SelfPPOScratch,
        total_timesteps: int,
        callback: MaybeCallback = None,
        log_interval: int = 1,
        tb_log_name: str = TB_LOG_NAME,
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
    ) -> SelfPPOScratch:
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
        """
        super().learn(total_timesteps, callback, log_interval, tb_log_name, reset_num_timesteps, progress_bar)
        self._check_policy_is_finite()
        return self

    def _check_policy_is_finite(self) -> None:
        """Notice what no rollout will: the policy's actions are validated while it acts, not while it is updated.

        Raises:
            ValueError: If a parameter is NaN or infinite.
        """
        for name, parameter in self.policy.named_parameters():
            if parameter.requires_grad and not th.isfinite(parameter).all():
                raise ValueError(
                    f"the policy has become NaN or infinite in its last update (parameter {name}): "
                    "look for such rewards or observations, or try a smaller learning rate."
                )

    @_with_chosen_threads
    def collect_rollouts(
        self, env: VecEnv, callback: BaseCallback, rollout_buffer: RolloutBuffer, n_rollout_steps: int
    ) -> bool:
        """Fill the buffer, and measure how fast that was.

        Args:
            env: The training environments.
            callback: Called at every step.
            rollout_buffer: The buffer to fill.
            n_rollout_steps: Steps per environment.

        Returns:
            Whether the rollout was completed; False if a callback asked to stop.

        Raises:
            ArgumentError: If a callback has set `n_steps` to what the constructor would refuse.
        """
        if n_rollout_steps != rollout_buffer.buffer_size:  # a callback has changed `n_steps`
            checks.check_positive_integer("n_steps", n_rollout_steps, remedy="a callback has set it")
            rollout_buffer.buffer_size = n_rollout_steps
        steps_before, started = self.num_timesteps, time.perf_counter()
        completed = self._fill_buffer(env, callback, rollout_buffer, n_rollout_steps)
        self._record_rate("time/rollout_fps", self.num_timesteps - steps_before, started)
        return completed

    def _choose_actor(self) -> Actor:
        """Choose how the policy acts: by the same arithmetic as the update.

        Returns:
            What acts.
        """
        update = self._choose_update()
        return LeanActor(self.policy, update) if isinstance(update, ClosedFormUpdate) else TorchActor(self.policy)

    def _record_rate(self, key: str, n_transitions: int, started: float) -> None:
        """Log transitions per second.

        Args:
            key: The logger's key.
            n_transitions: Transitions handled.
            started: `time.perf_counter()` at the beginning.
        """
        self.logger.record(key, int(n_transitions / max(time.perf_counter() - started, 1e-9)))

    @_with_chosen_threads
    @np.errstate(all="ignore")  # as torch, which does not warn of infinities
    def train(self) -> None:
        """Update the policy from the rollout collected last: PPO's inner loop."""
        started = time.perf_counter()
        self.policy.set_training_mode(True)
        self._update_learning_rate(self.policy.optimizer)
        settings = self._read_settings()
        stats = UpdateStats()
        update = self._choose_update()
        rollout = update.read(self.rollout_buffer)
        for epoch in range(self.n_epochs):
            excess_kl = self._train_epoch(update, rollout, settings, stats)
            self._n_updates += 1
            if excess_kl is not None:
                if self.verbose >= 1:
                    print(f"Early stopping at step {epoch} due to reaching max kl: {excess_kl:.2f}")
                break
        if self.normalize_observations:
            absorb_rollout(self.policy, self.rollout_buffer.observations)
        self._record_update(settings, stats)
        self._record_rate("time/update_fps", self.rollout_buffer.buffer_size * self.n_envs, started)

    def _read_settings(self) -> UpdateSettings:
        """Read the public attributes and evaluate the schedules; a callback may have changed any of them.

        Returns:
            What the whole update uses.
        """
        return UpdateSettings(
            clip_range=self._evaluate_now(self.clip_range),
            clip_range_vf=None if self.clip_range_vf is None else self._evaluate_now(self.clip_range_vf),
            normalize_advantage=self.normalize_advantage,
            ent_coef=self.ent_coef,
            vf_coef=self.vf_coef,
            max_grad_norm=self.max_grad_norm,
            target_kl=self.target_kl,
        )

    def _evaluate_now(self, value: FloatOrSchedule) -> float:
        """Evaluate a constant or schedule at the current progress.

        Args:
            value: The constant or schedule.

        Returns:
            Its value now.
        """
        return float(value(self._current_progress_remaining) if callable(value) else value)

    def _choose_update(self) -> Update:
        """Choose how to update, and say so if that is news.

        Returns:
            The update.

        Raises:
            ArgumentError: If `update` asks for the closed form, and that does not cover the policy.
        """
        checks.check_choice("update", self.update, get_args(checks.UpdateName))
        update = self._update_choice.choose(self.update, self.policy, self.rollout_buffer)
        self._announce_update(self._update_choice.description)
        return update

    def _announce_update(self, description: str) -> None:
        """Say which update is used and why, if that is news.

        Args:
            description: Both, in words.
        """
        if self.verbose >= 1 and description != self._announced_update:
            self._announced_update = description
            print(f"Using the {description}")

    def _train_epoch(
        self, update: Update, rollout: Rollout, settings: UpdateSettings, stats: UpdateStats
    ) -> float | None:
        """Pass once over the rollout, in minibatches of random transitions.

        Args:
            update: How the policy is improved.
            rollout: What was collected.
            settings: What the update uses.
            stats: Collects the figures of each minibatch.

        Returns:
            None, or the KL divergence at which the update has to stop, that minibatch not applied.
        """
        for minibatch in rollout.minibatches(self.batch_size):
            figures = update.evaluate(minibatch, settings)
            stats.add(figures)
            if settings.target_kl is not None and figures.approx_kl > 1.5 * settings.target_kl:
                return float(figures.approx_kl)
            update.step(settings)
        return None

    def _record_update(self, settings: UpdateSettings, stats: UpdateStats) -> None:
        """Log the update under stock PPO's keys.

        Args:
            settings: What the update used.
            stats: The figures of its minibatches.
        """
        stats.record(self.logger)
        buffer = self.rollout_buffer
        self.logger.record(
            "train/explained_variance", explained_variance(buffer.values.ravel(), buffer.returns.ravel())
        )
        if hasattr(self.policy, "log_std"):
            self.logger.record("train/std", self.policy.log_std.detach().exp().mean().item())
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")
        self.logger.record("train/clip_range", settings.clip_range)
        if settings.clip_range_vf is not None:
            self.logger.record("train/clip_range_vf", settings.clip_range_vf)

    def _update_current_progress_remaining(self, num_timesteps: int, total_timesteps: int) -> None:
        """Compute the remaining progress, never below 0.

        The last rollout usually ends after `total_timesteps`, where SB3's progress, and with it a linear learning rate,
        becomes negative.

        Args:
            num_timesteps: Steps so far.
            total_timesteps: Steps planned.
        """
        super()._update_current_progress_remaining(num_timesteps, total_timesteps)
        self._current_progress_remaining = max(0.0, self._current_progress_remaining)

    def _excluded_save_params(self) -> list[str]:
        """Name what is rebuilt by `_setup_model` and thus not saved.

        Returns:
            Attribute names.
        """
        return [*super()._excluded_save_params(), *NOT_SAVED]

    def __deepcopy__(self: SelfPPOScratch, memo: dict[int, Any]) -> SelfPPOScratch:
        """Copy everything but the logger (its streams are shared), environments included if they can be copied.

        Args:
            memo: Objects copied already, by id.

        Returns:
            The copy.
        """
        free_graph(self.policy)
        duplicate = type(self).__new__(type(self))
        memo[id(self)] = duplicate
        logger = vars(self).get("_logger")
        memo[id(logger)] = logger
        duplicate.__dict__.update(copy.deepcopy(self.__dict__, memo))
        return duplicate

    @classmethod
    def load(
        cls: type[SelfPPOScratch],
        path: str | pathlib.Path | io.BufferedIOBase,
        env: GymEnv | None = None,
        device: th.device | str = "auto",
        custom_objects: Kwargs | None = None,
        print_system_info: bool = False,
        force_reset: bool = True,
        **kwargs: Any,
    ) -> SelfPPOScratch:
        """Load a model that `PPOScratch` or SB3's PPO has saved.

        Args:
            path: The zip file.
            env: Environment to continue with; None: the model can only predict until `set_env`.
            device: Where to load the parameters.
            custom_objects: Objects to use in place of those in the file, by name.
            print_system_info: Whether to print versions, saved and current.
            force_reset: Whether the environment is reset before training goes on.
            **kwargs: Constructor arguments to change.

        Returns:
            The model.

        Raises:
            ArgumentTypeError: If there is no such argument, or the file decides it (stock would never read it).
        """
        known = set(inspect.signature(cls.__init__).parameters) - {"self", "policy", "env", "_init_setup_model"}
        check_known_names(kwargs, known, where=f"{cls.__name__}.load")
        if "stats_window_size" in kwargs:  # the one argument that SB3 stores under another name
            kwargs["_stats_window_size"] = kwargs.pop("stats_window_size")
        return super().load(path, env, device, custom_objects, print_system_info, force_reset, **kwargs)
