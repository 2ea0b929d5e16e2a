"""What the algorithms of this project have in common: everything but what they learn from a rollout.

What is here: building the model from its arguments, device and threads, the choice of the update, collecting a rollout,
and copying. What is not: the algorithms (`ppo_scratch.py`, `reinforce.py`), the loop over steps
(`rollout_collector.py`), and files (`model_files.py`).
"""

import copy
import functools
import time
import warnings
from abc import abstractmethod
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, Concatenate, ParamSpec, TypeVar

import torch as th
from gymnasium import spaces
from stable_baselines3.common.base_class import maybe_make_env
from stable_baselines3.common.buffers import DictRolloutBuffer, RolloutBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.policies import ActorCriticPolicy, BasePolicy
from stable_baselines3.common.type_aliases import GymEnv
from stable_baselines3.common.vec_env import VecEnv

from sb3_ppo_scratch.acting import Actor, LeanActor, TorchActor
from sb3_ppo_scratch.advantages import AdvantageEstimator
from sb3_ppo_scratch.argument_checks import OWN_CHECKS, OnNan, UpdateName
from sb3_ppo_scratch.devices import explain_device, fastest_device, slow_device_warning
from sb3_ppo_scratch.errors import ArgumentError, NotFiniteError, sb3_errors_named
from sb3_ppo_scratch.finite_checks import name_of_not_finite
from sb3_ppo_scratch.live_attributes import FloatOrSchedule, LiveAttributes
from sb3_ppo_scratch.model_files import NOT_FOR_STOCK, Kwargs, ModelFiles
from sb3_ppo_scratch.nan_watch import NanWatch, looks_at_once
from sb3_ppo_scratch.networks import check_trunk_is_shared, remove_critic, share_trunk
from sb3_ppo_scratch.observation_normalizer import attach_observation_normalizer, check_normalizable
from sb3_ppo_scratch.policies import POLICIES
from sb3_ppo_scratch.policy_kwargs import check_policy_kwargs
from sb3_ppo_scratch.rollout_buffers import ScratchDictRolloutBuffer, ScratchRolloutBuffer, default_rollout_buffer_class
from sb3_ppo_scratch.space_checks import check_spaces
from sb3_ppo_scratch.torch_threads import TorchThreads, choose_threads, threads_restored, use_threads
from sb3_ppo_scratch.update_choice import UpdateChoice
from sb3_ppo_scratch.update_stats import UpdateStats, explained_variance
from sb3_ppo_scratch.updates.autograd import free_graph
from sb3_ppo_scratch.updates.closed_form import ClosedFormUpdate
from sb3_ppo_scratch.updates.update import Update
from sb3_ppo_scratch.value_checks import check_arguments, check_choice, check_positive_integer
from sb3_ppo_scratch.vec_env.guard import guarded

SelfAlgorithm = TypeVar("SelfAlgorithm", bound="ScratchAlgorithm")
Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

ACTION_SPACES = (spaces.Box, spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary)


def as_float(value: Any) -> Any:
    """Turn any real number (of NumPy's, say) into a float, which is all that SB3 takes; leave schedules alone.

    Args:
        value: The number or schedule.

    Returns:
        The float or schedule.
    """
    return value if callable(value) else float(value)


def with_chosen_threads(
    method: Callable[Concatenate[SelfAlgorithm, Arguments], Result],
) -> Callable[Concatenate[SelfAlgorithm, Arguments], Result]:
    """Let a method run with the threads that `torch_threads` says, and restore them afterwards.

    Args:
        method: The method.

    Returns:
        The same, with threads.
    """

    @functools.wraps(method)
    def with_threads(self: SelfAlgorithm, /, *arguments: Arguments.args, **keywords: Arguments.kwargs) -> Result:
        with threads_restored() as outside:
            use_threads(self.count_threads(outside))
            return method(self, *arguments, **keywords)

    return with_threads


class ScratchAlgorithm(LiveAttributes, ModelFiles):
    """An on-policy algorithm that still has to say what it learns from a rollout (`train`).

    Arguments that are not explained here are SB3's `OnPolicyAlgorithm`'s.

    Args:
        policy: Name or class of the policy.
        env: Environment, VecEnv or registered id; None: the model is loaded, and gets one later.
        learning_rate: Constant or schedule.
        verbose: 0: silent, 1: device, wrappers, update and early stops, 2: debug messages.
        device: `"auto"`: a GPU for policies with convolutions, else the CPU.
        normalize_observations: Whether the policy normalises observations.
        observation_clip: To how many standard deviations it then clips them.
        on_nan: What is done about NaN and infinity.
        step_timeout: Seconds that a step of all environments may take.
        torch_threads: Threads of torch while learning.
        update: How gradients are computed.
        n_episodes: Whole episodes per rollout; None: rollouts of `n_steps` steps.
        critic: Whether there is a value estimate.
        share_features: Whether actor and critic share all layers but their last.
        timeout_bootstrap: Whether the value estimate stands in for what would have followed a truncated episode.
        store_clipped_actions: Whether actions are stored as the environments get them.
        orthogonal_init: Whether weights begin orthogonal; else as torch initialises them.
        adam_epsilon: Adam's epsilon; None: SB3's 1e-5.
        **on_policy_arguments: SB3's.
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = POLICIES

    def __init__(
        self,
        policy: str | type[ActorCriticPolicy],
        env: GymEnv | str | None,
        learning_rate: FloatOrSchedule,
        *,
        verbose: int,
        device: th.device | str,
        normalize_observations: bool,
        observation_clip: float,
        on_nan: OnNan,
        step_timeout: float | None,
        torch_threads: TorchThreads,
        update: UpdateName,
        n_episodes: int | None,
        critic: bool,
        share_features: bool,
        timeout_bootstrap: bool,
        store_clipped_actions: bool,
        orthogonal_init: bool,
        adam_epsilon: float | None,
        **on_policy_arguments: Any,
    ) -> None:
        """Store what all algorithms need; arguments have been checked.

        Raises:
            ArgumentTypeError: If one of the policy's arguments has a wrong type.
            ArgumentError: If one has an unusable value, or the environment cannot be used.
        """
        check_policy_kwargs(policy, on_policy_arguments["policy_kwargs"])
        if env is not None:
            env = maybe_make_env(env, verbose)
            check_spaces(env.observation_space, env.action_space, policy)
        with sb3_errors_named("`env` cannot be used"):
            super().__init__(
                policy,
                env if env is None else self._wrap_env(env, verbose),  # type: ignore[arg-type] # SB3's load gives none
                as_float(learning_rate),
                device="cpu" if device == "auto" else device,
                supported_action_spaces=ACTION_SPACES,
                _init_setup_model=False,
                **on_policy_arguments,
            )
        self.seed = None if self.seed is None else int(self.seed)  # Python's generator takes none of NumPy's integers
        self.verbose = verbose  # not given to SB3, which would name a device before "auto" is resolved
        self._choose_device = device == "auto"
        self._keep_buffer_class = on_policy_arguments["rollout_buffer_class"] is not None
        self.normalize_observations = normalize_observations
        self.observation_clip = observation_clip
        self.on_nan, self._n_left_out, self.fault_folder = on_nan, 0, None
        self.step_timeout = step_timeout
        self.torch_threads = torch_threads
        self.update = update
        self.n_episodes = n_episodes
        self.critic = critic
        self.share_features = share_features
        self.timeout_bootstrap = timeout_bootstrap
        self.store_clipped_actions = store_clipped_actions
        self.orthogonal_init = orthogonal_init
        self.adam_epsilon = adam_epsilon
        self._update_choice, self._announced_update = UpdateChoice(), ""
        self._forget_run()

    @property
    def _n_transitions(self) -> int:
        """Transitions of a rollout; of whole episodes, the last one's."""
        return self.rollout_buffer.buffer_size * self.rollout_buffer.n_envs

    @property
    @abstractmethod
    def _minibatch_size(self) -> int:
        """Transitions of the largest minibatch."""

    @property
    @abstractmethod
    def _estimator(self) -> AdvantageEstimator:
        """How advantages are estimated."""

    def _build(self, *, setup: bool) -> None:
        """End the constructor: check the environment, build the model, and say what was chosen.

        Args:
            setup: Whether to build the networks at once.

        Raises:
            ArgumentError: If the policy cannot be built for the environment.
            ArgumentTypeError: If it cannot be built from its arguments, or the buffer from its own.
        """
        if self.env is not None:
            self._check_environment()
        if setup:
            with sb3_errors_named(f"`policy` cannot be built for this environment{self._given_to_build()}"):
                self._setup_model()
            self._announce_device()
            self._announce_missing_critic()
            if self.verbose >= 1 or self.update == "closed_form":
                self._announce_update(self._update_choice.explain(self.update, self.policy, self.rollout_buffer))

    def _given_to_build(self) -> str:
        """Name the arguments that policy and buffer are built from, as far as there are any."""
        names = ("policy_kwargs", "rollout_buffer_class", "rollout_buffer_kwargs")
        given = [f"`{name}={vars(self)[name]!r}`" for name in names if vars(self)[name]]
        return f" with {' and '.join(given)}" if given else ""

    def _check_settings(self) -> None:
        """Check what the model is told now: by its constructor, by `load`, or by who has set an attribute since.

        Of SB3's own arguments only the combinations are looked at: a file may hold values that the constructor refuses.

        Raises:
            ArgumentTypeError: If a setting has a wrong type.
            ArgumentError: If one has an unusable value, or two contradict each other.
        """
        check_arguments(vars(self), OWN_CHECKS)

    def _check_environment(self) -> None:
        """Check the wrapped environment against the arguments."""
        check_spaces(self.observation_space, self.action_space, self.policy_class)
        if self.normalize_observations:
            check_normalizable(self.observation_space)

    def _get_policy_from_name(self, policy_name: str) -> type[BasePolicy]:
        """Look a policy's name up.

        Args:
            policy_name: A key of `policy_aliases`.

        Returns:
            The policy's class.

        Raises:
            ArgumentError: If there is no policy of this name.
        """
        check_choice("policy", policy_name, self.policy_aliases)
        return self.policy_aliases[policy_name]

    def _setup_model(self) -> None:
        """Build everything that follows from the arguments: buffer, policy, schedules. SB3's `load` calls this too."""
        self.rollout_buffer_kwargs = {k: v for k, v in self.rollout_buffer_kwargs.items() if k != NOT_FOR_STOCK}
        chosen_class, chosen_kwargs = self.rollout_buffer_class, self.policy_kwargs
        if not self._keep_buffer_class and chosen_class in (RolloutBuffer, DictRolloutBuffer):
            chosen_class = None  # a file of stock PPO's, which names its default
        self.rollout_buffer_class = chosen_class or default_rollout_buffer_class(self.observation_space)
        self.policy_kwargs = self._policy_arguments()
        super()._setup_model()
        if self.share_features:
            check_trunk_is_shared(self.policy)
        # What the user chose, so that a saved file names this project's classes nowhere.
        self.rollout_buffer_class, self.policy_kwargs = chosen_class, chosen_kwargs
        self._check_settings()
        if not self.critic:
            remove_critic(self.policy)
        if self.normalize_observations:
            attach_observation_normalizer(self.policy, self.observation_clip)
        if self._choose_device:
            self._move_to_fastest_device()

    def _policy_arguments(self) -> Kwargs:
        """Add to `policy_kwargs` what this project's own arguments say about the policy.

        Returns:
            The arguments that the policy is built with.

        Raises:
            ArgumentError: If both say something else.
        """
        kwargs = dict(self.policy_kwargs)
        if not self.orthogonal_init and kwargs.setdefault("ortho_init", False):
            raise ArgumentError("`orthogonal_init=False` contradicts policy_kwargs=dict(ortho_init=True).")
        if self.adam_epsilon is not None:
            options = {"eps": self.adam_epsilon, **(kwargs.get("optimizer_kwargs") or {})}
            if options["eps"] != self.adam_epsilon:
                raise ArgumentError(
                    f"`adam_epsilon={self.adam_epsilon!r}` contradicts eps={options['eps']!r} in policy_kwargs."
                )
            kwargs["optimizer_kwargs"] = options
        return share_trunk(self.policy_class, kwargs) if self.share_features else kwargs

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

    def _announce_missing_critic(self) -> None:
        """Say what follows where there is no value network."""
        if self.verbose >= 1 and not self.critic:
            print("No value network: values are 0, and nothing stands in for the rest of an episode that is cut")

    @with_chosen_threads
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
        if isinstance(rollout_buffer, ScratchRolloutBuffer | ScratchDictRolloutBuffer):
            rollout_buffer.estimator = self._estimator
        shape = n_rollout_steps, self.n_envs
        is_other = self.n_episodes is None and shape != (rollout_buffer.buffer_size, rollout_buffer.n_envs)
        if is_other and self._unfinished is None:  # a callback has changed `n_steps` or `n_episodes`
            check_positive_integer("n_steps", n_rollout_steps, remedy="a callback has set it")
            rollout_buffer.buffer_size, rollout_buffer.n_envs = shape
        steps_before, started = self.num_timesteps, time.perf_counter()
        with guarded(env, self.step_timeout) as step:
            completed = self._fill_buffer(step, env, callback, rollout_buffer, n_rollout_steps)
        self._record_rate("time/rollout_fps", self.num_timesteps - steps_before, started)
        return completed

    def count_threads(self, outside: int | None = None) -> int:
        """Tell how many threads torch uses while this model learns.

        Args:
            outside: torch's threads while nothing learns; None: as many as now.

        Returns:
            Their number.
        """
        before = th.get_num_threads() if outside is None else outside
        return choose_threads(self.torch_threads, self.policy, self._minibatch_size, before)

    @contextmanager
    def _watching(self, update: Update) -> Iterator[NanWatch]:
        """Watch an update for what is not finite, and do what `on_nan` says about it.

        Args:
            update: How the policy is improved.

        Yields:
            The watch. What is found there ends the block, and learning goes on after it or stops.

        Raises:
            NotFiniteError: If learning stops; it says where, and what has been written.
        """
        watch = NanWatch(self.on_nan, update, self._n_left_out, is_prompt=looks_at_once(self.on_nan, self.device))
        try:
            yield watch
        except NotFiniteError as error:
            goes_on = watch.leave_out_update()
            name = name_of_not_finite(self.policy.named_parameters())
            if name is not None:  # it was there before; what was found has followed from it
                raise NotFiniteError("parameter", f"{name}, since before the update,") from error
            if not goes_on:
                raise
            if self.verbose >= 1:
                print(f"Left an update out: {error}")
        finally:
            self._n_left_out = watch.n_in_a_row
        if self.on_nan != "raise":
            self.logger.record("train/n_left_out", watch.n_left_out)

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

    def _record_learning(self, stats: UpdateStats, *, without: Collection[str] = ()) -> None:
        """Log what an update has come to, under the keys that SB3's algorithms have for the same figures.

        Args:
            stats: The figures of its minibatches.
            without: Those that mean nothing to this algorithm.
        """
        stats.record(self.logger, without=without if self.critic else (*without, "value_loss"))
        buffer = self.rollout_buffer
        if self.critic:
            explained = explained_variance(buffer.values.ravel(), buffer.returns.ravel())
            self.logger.record("train/explained_variance", explained)
        if hasattr(self.policy, "log_std"):
            self.logger.record("train/std", self.policy.log_std.detach().exp().mean().item())
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")

    def _evaluate_now(self, value: FloatOrSchedule) -> float:
        """Evaluate a constant or schedule at the current progress.

        Args:
            value: The constant or schedule.

        Returns:
            Its value now.
        """
        return float(value(self._current_progress_remaining) if callable(value) else value)

    def _choose_update(self) -> Update:
        """Choose how to update, and say so if that is news; each rollout and each update begins with this.

        Returns:
            The update.

        Raises:
            ArgumentTypeError: If an attribute has been set to what has a wrong type.
            ArgumentError: If one has been set to an unusable value or one that contradicts others, or if `update` asks
                for the closed form, and that does not cover the policy.
        """
        self._check_settings()
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

    def __deepcopy__(self: SelfAlgorithm, memo: dict[int, Any]) -> SelfAlgorithm:
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
        memo[id(self._callback)] = None
        duplicate.__dict__.update(copy.deepcopy(self.__dict__, memo))
        return duplicate
