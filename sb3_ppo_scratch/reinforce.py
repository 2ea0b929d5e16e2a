"""`ReinforceScratch`: REINFORCE, the policy gradient in its first form, and the first rung of the ladder to PPO.

What is here: the algorithm class: its arguments, and `train`, which is one step along the policy gradient. What is not:
returns and baselines (`advantages.py`), whole episodes (`rollout_ends.py`), and what does not depend on the algorithm
(`scratch_algorithm.py`).
"""

import functools
import math
import time
from typing import TypeVar

import numpy as np
import torch as th
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.type_aliases import GymEnv, MaybeCallback

from sb3_ppo_scratch.advantages import AdvantageEstimator, Baseline, estimate_by_returns
from sb3_ppo_scratch.argument_checks import OnNan, UpdateName, check_baseline, check_constructor_arguments
from sb3_ppo_scratch.live_attributes import FloatOrSchedule
from sb3_ppo_scratch.model_files import Kwargs
from sb3_ppo_scratch.observation_normalizer import absorb_rollout
from sb3_ppo_scratch.scratch_algorithm import ScratchAlgorithm, with_chosen_threads
from sb3_ppo_scratch.torch_threads import TorchThreads
from sb3_ppo_scratch.update_stats import UpdateStats
from sb3_ppo_scratch.updates.update import UpdateSettings
from sb3_ppo_scratch.value_checks import check_positive_integer

SelfReinforce = TypeVar("SelfReinforce", bound="ReinforceScratch")

BUFFER_STEPS = 2048
"""Size of the rollout buffer until the first rollout is known."""
NOT_LOGGED = ("approx_kl", "clip_fraction", "kl")
"""Figures that are always 0 where one step is taken per rollout."""


class ReinforceScratch(ScratchAlgorithm):
    """REINFORCE: play whole episodes, then move once along `mean(weight * grad log pi(action))`.

    The weight of an action is a return, with or without what it could not change (the past) and what was to be expected
    (the baseline) subtracted. The gradient is the mean over all transitions: the sum over each episode, averaged over
    the episodes, divided by their mean length.

    Args:
        policy: `"MlpPolicy"`, `"CnnPolicy"`, `"MultiInputPolicy"` or a subclass of `ActorCriticPolicy`.
        env: Environment, VecEnv or registered id. Box, Discrete, MultiDiscrete and MultiBinary actions.
        learning_rate: Adam's learning rate, constant or schedule.
        n_episodes: Whole episodes per update, over all environments.
        gamma: Discount factor in [0, 1].
        reward_to_go: Whether an action's weight is the return from its own step on; else that of its whole episode.
        baseline: What is subtracted from the weights: `"none"`, `"mean"` (over the rollout) or `"value"` (a value
            network's estimate, which is trained along; without this there is no value network).
        normalize_returns: Whether returns are shifted and scaled to mean 0 and standard deviation 1 over the rollout.
        ent_coef: Weight of an entropy bonus.
        vf_coef: Weight of the value loss; matters only with `baseline="value"`.
        max_grad_norm: Largest L2 norm of the gradient over all parameters.
        stats_window_size: Episodes over which returns and lengths are averaged in the log.
        tensorboard_log: Folder for TensorBoard; None: no such log.
        policy_kwargs: Further arguments of the policy.
        verbose: 0: silent, 1: device, wrappers and update, 2: debug messages.
        seed: Seed of Python's, NumPy's, torch's and the environments' random generators.
        device: As for `PPOScratch`, like all arguments below.
        _init_setup_model: Whether to build the networks at once (SB3's `load` builds them later).
        normalize_observations: Whether the policy normalises Box observations by running statistics.
        observation_clip: To how many standard deviations it then clips them.
        on_nan: What is done about NaN and infinity; `"skip"` and `"restore"` are the same here, since an update is a
            single step.
        step_timeout: Seconds that a step of all environments may take; None: any time.
        torch_threads: Threads of torch while learning.
        update: How gradients are computed: `"auto"`, `"autograd"` or `"closed_form"`.
        share_features: Whether actor and critic share all layers but their last.
        orthogonal_init: Whether weights begin orthogonal; else as torch initialises them.
        adam_epsilon: Adam's epsilon; None: 1e-5, as SB3.

    Source:
        Williams, Simple statistical gradient-following algorithms for connectionist reinforcement learning,
        https://doi.org/10.1007/BF00992696.

    Example:
        >>> from sb3_ppo_scratch import ReinforceScratch
        >>> model = ReinforceScratch("MlpPolicy", "CartPole-v1", n_episodes=2, seed=0).learn(100)
        >>> model.num_timesteps >= 100
        True
    """

    told_by = "reward_to_go"

    def __init__(
        self,
        policy: str | type[ActorCriticPolicy],
        env: GymEnv | str,
        learning_rate: FloatOrSchedule = 1e-2,
        n_episodes: int = 1,
        gamma: float = 1.0,
        reward_to_go: bool = True,
        baseline: Baseline = "none",
        normalize_returns: bool = False,
        ent_coef: float = 0.0,
        vf_coef: float = 0.5,
        max_grad_norm: float = math.inf,
        stats_window_size: int = 100,
        tensorboard_log: str | None = None,
        policy_kwargs: Kwargs | None = None,
        verbose: int = 0,
        seed: int | None = None,
        device: th.device | str = "auto",
        _init_setup_model: bool = True,
        *,
        normalize_observations: bool = False,
        observation_clip: float = 10.0,
        on_nan: OnNan = "raise",
        step_timeout: float | None = None,
        torch_threads: TorchThreads = "auto",
        update: UpdateName = "auto",
        share_features: bool = False,
        orthogonal_init: bool = True,
        adam_epsilon: float | None = None,
    ) -> None:
        """Check the arguments, store each under its own name, and build the model from them.

        Raises:
            ValueError: If an argument or space has an unusable value (an `ArgumentError`; also an AssertionError).
            TypeError: If an argument has a wrong type.
        """
        check_constructor_arguments(locals())
        super().__init__(
            policy,
            env,
            learning_rate,
            adam_epsilon=adam_epsilon,
            critic=baseline == "value",
            device=device,
            ent_coef=ent_coef,
            gae_lambda=1.0,
            gamma=gamma,
            max_grad_norm=max_grad_norm,
            n_episodes=n_episodes,
            n_steps=BUFFER_STEPS,
            normalize_observations=normalize_observations,
            observation_clip=observation_clip,
            on_nan=on_nan,
            step_timeout=step_timeout,
            orthogonal_init=orthogonal_init,
            policy_kwargs=policy_kwargs,
            rollout_buffer_class=None,
            rollout_buffer_kwargs=None,
            sde_sample_freq=-1,
            seed=seed,
            share_features=share_features,
            stats_window_size=stats_window_size,
            tensorboard_log=tensorboard_log,
            store_clipped_actions=False,
            timeout_bootstrap=False,
            torch_threads=torch_threads,
            update=update,
            use_sde=False,
            verbose=verbose,
            vf_coef=vf_coef,
        )
        self.reward_to_go = reward_to_go
        self.baseline = baseline
        self.normalize_returns = normalize_returns
        self._build(setup=_init_setup_model)

    def learn(
        self: SelfReinforce,
        total_timesteps: int,
        callback: MaybeCallback = None,
        log_interval: int = 1,
        tb_log_name: str = "REINFORCE",
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
    ) -> SelfReinforce:
        """Learn from `total_timesteps` steps, rounded up to whole rollouts; see `PPOScratch.learn`."""
        return super().learn(total_timesteps, callback, log_interval, tb_log_name, reset_num_timesteps, progress_bar)

    def _check_settings(self) -> None:
        """Check what the model is told now, as far as it could be told otherwise than by the constructor."""
        super()._check_settings()
        check_positive_integer("n_episodes", self.n_episodes, remedy="pass for example n_episodes=4")
        check_baseline(vars(self))

    @property
    def _minibatch_size(self) -> int:
        return self._n_transitions

    @property
    def _estimator(self) -> AdvantageEstimator:
        return functools.partial(
            estimate_by_returns,
            reward_to_go=self.reward_to_go,
            normalize=self.normalize_returns,
            baseline=self.baseline,
        )

    @property
    def _bootstraps(self) -> bool:
        return False

    @property
    def _learns_otherwise_than_stock(self) -> bool:
        return True

    @with_chosen_threads
    @np.errstate(all="ignore")  # as torch, which does not warn of infinities
    def train(self) -> None:
        """Take one step along the policy gradient of the episodes that were played last."""
        started = time.perf_counter()
        self.policy.set_training_mode(True)
        self._update_learning_rate(self.policy.optimizer)
        settings, stats = self._read_settings(), UpdateStats()
        update = self._choose_update()
        with self._watching(update) as watch:
            watch.check_rollout(self.rollout_buffer, self._lengths_in_buffer, self._last_obs)
            for episodes in update.read(self.rollout_buffer).minibatches(self._minibatch_size):
                figures = update.evaluate(episodes, settings)
                watch.look("loss", figures.loss)
                watch.look("gradient", update.differentiate(settings))
                update.step()
                stats.add(figures)
            watch.finish(self.policy)
            watch.applied()
            if self.normalize_observations:
                absorb_rollout(self.policy, self.rollout_buffer.observations)
            self._record_learning(stats, without=NOT_LOGGED)
        self._n_updates += 1
        self._record_rate("time/update_fps", self._n_transitions, started)

    def _read_settings(self) -> UpdateSettings:
        """Read the public attributes; a callback may have changed any of them.

        At the policy that collected the episodes, the gradient of PPO's ratio is that of the log-probability, so PPO's
        objective without clipping is REINFORCE's.

        Returns:
            What the update uses.
        """
        return UpdateSettings(
            clip_range=math.inf,
            clip_range_vf=None,
            normalize_advantage=False,
            ent_coef=self.ent_coef,
            vf_coef=self.vf_coef if self.baseline == "value" else 0.0,
            max_grad_norm=self.max_grad_norm,
        )
