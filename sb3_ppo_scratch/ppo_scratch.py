"""`PPOScratch`: Proximal Policy Optimization for Stable-Baselines3, written from scratch.

What is here: the algorithm class: its arguments, and `train`, which reads as the algorithm does. What is not: the
formulas (`advantages.py`, `updates/`, `kl_control.py`), collecting rollouts (`rollout_collector.py`), and what does not
depend on the algorithm (`scratch_algorithm.py`).
"""

import functools
import math
import time
import warnings

import numpy as np
import torch as th
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.type_aliases import GymEnv
from stable_baselines3.common.utils import FloatSchedule, update_learning_rate

from sb3_ppo_scratch import argument_checks as checks
from sb3_ppo_scratch.advantages import AdvantageEstimator, estimate_by_gae, estimate_by_returns
from sb3_ppo_scratch.errors import NotFiniteError
from sb3_ppo_scratch.kl_control import KlControl, Penalty, begin_kl_control, resolve_kl_mode
from sb3_ppo_scratch.live_attributes import FloatOrSchedule
from sb3_ppo_scratch.model_files import Kwargs
from sb3_ppo_scratch.nan_watch import NanWatch
from sb3_ppo_scratch.observation_normalizer import absorb_rollout
from sb3_ppo_scratch.scratch_algorithm import ScratchAlgorithm, as_float, with_chosen_threads
from sb3_ppo_scratch.torch_threads import TorchThreads
from sb3_ppo_scratch.update_stats import UpdateStats
from sb3_ppo_scratch.updates.update import Rollout, Update, UpdateSettings

Coefficient = float
"""Weight of a term of the loss."""


class PPOScratch(ScratchAlgorithm):
    """Proximal Policy Optimization with the clipped objective, a drop-in for SB3's PPO.

    Every argument of SB3's PPO has the same name, place, meaning and default here; with equal arguments, seed and one
    torch thread the parameters stay equal to stock PPO's until float rounding parts them (docs/decisions.md says within
    which bounds). The arguments after `_init_setup_model` are this project's own and keyword-only.

    Args:
        policy: `"MlpPolicy"`, `"CnnPolicy"`, `"MultiInputPolicy"` or a subclass of `ActorCriticPolicy`.
        env: Environment, VecEnv or registered id. Box, Discrete, MultiDiscrete and MultiBinary actions.
        learning_rate: Adam's learning rate, constant or schedule.
        n_steps: Steps per environment and rollout; a rollout has `n_steps * n_envs` transitions.
        batch_size: Transitions per minibatch. If it does not divide the rollout, the last minibatch is shorter. None:
            the whole rollout.
        n_epochs: Passes over a rollout per update. Usually 3 to 20.
        gamma: Discount factor in [0, 1].
        gae_lambda: GAE's trade-off between bias (0) and variance (1).
        clip_range: Half width of the interval around a probability ratio of 1 in which the policy may move per update.
            Usually 0.1 to 0.3. None: no clipping.
        clip_range_vf: Largest change of a value estimate per update, in units of the (scaled) reward; None: unlimited.
        normalize_advantage: Whether to normalise advantages, minibatch by minibatch.
        ent_coef: Weight of the entropy bonus.
        vf_coef: Weight of the value loss.
        max_grad_norm: Largest L2 norm of the gradient over all parameters.
        use_sde: Whether to explore with gSDE (https://arxiv.org/abs/2005.05719) in place of independent noise.
        sde_sample_freq: Steps between new gSDE noise; -1: once per rollout.
        rollout_buffer_class: Buffer to use in place of the default; it then estimates advantages its own way.
        rollout_buffer_kwargs: Further arguments of the buffer.
        target_kl: The KL divergence per update that `kl_mode` aims at; by default the update stops before a minibatch
            whose approximate divergence exceeds 1.5 times this.
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
        observation_clip: To how many standard deviations normalised observations are clipped; infinity: not at all.
        torch_threads: Threads of torch while learning: `"auto"` (on the CPU 1 for networks without convolutions, unless
            parameters times minibatch size reach 2^24), a number, or None for torch's own setting. Restored afterwards.
        update: How gradients are computed: `"closed_form"` (derived by hand, without autograd; several times faster,
            for MLPs on the CPU), `"autograd"` (torch's; for everything), or `"auto"`: the closed form where it covers
            the policy. All learn the same but for float rounding.
        advantage: How actions are judged: `"gae"` or `"monte_carlo"` (returns minus values).
        normalize_returns: Whether Monte-Carlo returns are normalised over the rollout. Values are then no rewards, so
            nothing stands in for the rest of episodes that are cut: best with `n_episodes`.
        n_episodes: Update every so many whole episodes in place of every `n_steps` steps.
        critic: Whether there is a value network. Without one, values are 0 and episodes that are cut end there.
        share_features: Whether actor and critic share all layers but their last.
        timeout_bootstrap: Whether the value of a truncated episode's last observation stands in for what would have
            followed.
        store_clipped_actions: Whether continuous actions are stored, with their log-probabilities, as the environments
            get them: within bounds. SB3 stores them as they were drawn.
        orthogonal_init: Whether weights begin orthogonal; else as torch initialises them.
        adam_epsilon: Adam's epsilon; None: 1e-5, as SB3.
        kl_mode: What is done about the KL divergence from the policy that collected the rollout: `"none"`,
            `"early_stop"` (SB3's), `"penalty"` (a term of the loss, whose weight is doubled or halved after an update
            that was off `target_kl` by more than 1.5 times), `"adaptive_lr"` (so with the learning rate), `"rollback"`
            (stop and return to the last parameters within 1.5 times `target_kl`). None: early stop if `target_kl` is
            given. The last three measure the exact divergence; where it has no closed form, or `rollout_buffer_class`
            does not tell it, they go by SB3's estimate, and warn.
        kl_coef: The penalty's weight in the first update, from where it is adapted.
        on_nan: What is done about NaN or infinity in observations, rewards, actions, losses, gradients or parameters:
            `"raise"` (`NotFiniteError` says where; parameters are those before the update), `"skip"` (the minibatch is
            not applied) or `"restore"` (parameters return to those before the update). What was left out is logged;
            more than 10 times in a row raise.
        step_timeout: Seconds that a step of all environments may take; None: any time. Worker processes that take
            longer are ended, and the error names the environment; if the environments are in this process, it prints
            where they hang and ends with status 70.

    Source:
        Schulman et al., Proximal Policy Optimization Algorithms, https://arxiv.org/abs/1707.06347, algorithm 1.

    Example:
        >>> from sb3_ppo_scratch import PPOScratch
        >>> model = PPOScratch("MlpPolicy", "CartPole-v1", n_steps=64, seed=0).learn(128)
        >>> model.num_timesteps
        128
    """

    told_by = "n_epochs"

    def __init__(
        self,
        policy: str | type[ActorCriticPolicy],
        env: GymEnv | str,
        learning_rate: FloatOrSchedule = 3e-4,
        n_steps: int = 2048,
        batch_size: int | None = 64,
        n_epochs: int = 10,
        gamma: float = 0.99,
        gae_lambda: float = 0.95,
        clip_range: FloatOrSchedule | None = 0.2,
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
        observation_clip: float = 10.0,
        torch_threads: TorchThreads = "auto",
        update: checks.UpdateName = "auto",
        advantage: checks.AdvantageName = "gae",
        normalize_returns: bool = False,
        n_episodes: int | None = None,
        critic: bool = True,
        share_features: bool = False,
        timeout_bootstrap: bool = True,
        store_clipped_actions: bool = False,
        orthogonal_init: bool = True,
        adam_epsilon: float | None = None,
        kl_mode: checks.KlMode | None = None,
        kl_coef: Coefficient = checks.KL_COEF,
        on_nan: checks.OnNan = "raise",
        step_timeout: float | None = None,
    ) -> None:
        """Check the arguments, store each under its own name, and build the model from them.

        Raises:
            ValueError: If an argument or space has an unusable value (an `ArgumentError`; also an AssertionError).
            TypeError: If an argument has a wrong type.
        """
        checks.check_constructor_arguments(locals())
        super().__init__(
            policy,
            env,
            learning_rate,
            adam_epsilon=adam_epsilon,
            critic=critic,
            device=device,
            ent_coef=ent_coef,
            gae_lambda=gae_lambda,
            gamma=gamma,
            max_grad_norm=max_grad_norm,
            n_episodes=n_episodes,
            n_steps=n_steps,
            normalize_observations=normalize_observations,
            observation_clip=observation_clip,
            on_nan=on_nan,
            step_timeout=step_timeout,
            orthogonal_init=orthogonal_init,
            policy_kwargs=policy_kwargs,
            rollout_buffer_class=rollout_buffer_class,
            rollout_buffer_kwargs=rollout_buffer_kwargs,
            sde_sample_freq=sde_sample_freq,
            seed=seed,
            share_features=share_features,
            stats_window_size=stats_window_size,
            tensorboard_log=tensorboard_log,
            store_clipped_actions=store_clipped_actions,
            timeout_bootstrap=timeout_bootstrap,
            torch_threads=torch_threads,
            update=update,
            use_sde=use_sde,
            verbose=verbose,
            vf_coef=vf_coef,
        )
        self.n_epochs = n_epochs
        self.batch_size = batch_size
        self.clip_range = clip_range if clip_range is None else as_float(clip_range)
        self.clip_range_vf = clip_range_vf if clip_range_vf is None else as_float(clip_range_vf)
        self.normalize_advantage = normalize_advantage
        self.target_kl = target_kl
        self.advantage = advantage
        self.normalize_returns = normalize_returns
        self.kl_mode = kl_mode
        self.kl_coef = kl_coef
        self.kl_coef_scale, self.kl_rate_scale = 1.0, 1.0  # as the KL control has adapted them
        self._build(setup=_init_setup_model)

    def _check_environment(self) -> None:
        """Check the wrapped environment against the arguments, and warn about a short last minibatch."""
        super()._check_environment()
        if self.n_episodes is not None:
            return
        batch_size = self.n_steps * self.n_envs if self.batch_size is None else self.batch_size
        warning = checks.check_minibatches(
            self.n_steps, self.n_envs, batch_size, normalize_advantage=self.normalize_advantage
        )
        if warning is not None:
            warnings.warn(warning, stacklevel=4)

    def _check_settings(self) -> None:
        """Check what the model is told now, as far as it could be told otherwise than by the constructor."""
        super()._check_settings()
        checks.check_combinations(vars(self))
        checks.check_storage(vars(self))
        resolve_kl_mode(self.kl_mode, self.target_kl)

    def _setup_model(self) -> None:
        """Build everything that follows from the arguments; SB3's `load` calls this too."""
        super()._setup_model()
        if self.clip_range is not None:
            self.clip_range = FloatSchedule(self.clip_range)
        if self.clip_range_vf is not None:
            self.clip_range_vf = FloatSchedule(self.clip_range_vf)

    @property
    def _minibatch_size(self) -> int:
        return self._n_transitions if self.batch_size is None else min(self.batch_size, self._n_transitions)

    @property
    def _estimator(self) -> AdvantageEstimator:
        if self.advantage == "gae":
            return estimate_by_gae
        return functools.partial(estimate_by_returns, normalize=self.normalize_returns)

    @property
    def _bootstraps(self) -> bool:
        return self.critic and not self.normalize_returns

    @property
    def _learns_otherwise_than_stock(self) -> bool:
        own = (self.n_episodes is not None, self.advantage != "gae", self.store_clipped_actions)
        return any(own) or not self.timeout_bootstrap or self.kl_mode not in (None, "none", "early_stop")

    @with_chosen_threads
    @np.errstate(all="ignore")  # as torch, which does not warn of infinities
    def train(self) -> None:
        """Update the policy from the rollout collected last: PPO's inner loop."""
        started = time.perf_counter()
        self.policy.set_training_mode(True)
        update = self._choose_update()
        scales = {"coefficient_scale": self.kl_coef_scale, "rate_scale": self.kl_rate_scale}
        kl = begin_kl_control(self.kl_mode, self.target_kl, **scales)
        self._set_learning_rate(kl.rate_scale)
        settings, stats = self._read_settings(kl), UpdateStats()
        with self._watching(update) as watch:
            watch.check_rollout(self.rollout_buffer, self._lengths_in_buffer, self._last_obs)
            rollout = update.read(self.rollout_buffer, exact_kl=kl.is_exact)
            if rollout.why_kl_is_estimated and kl.is_exact:
                self._warn_of_estimate(rollout.why_kl_is_estimated)
            for epoch in range(self.n_epochs):
                is_complete = self._train_epoch(epoch, watch, rollout, settings, stats, kl)
                self._n_updates += 1
                if not is_complete:
                    break
            watch.finish(self.policy)
            kl.finish(functools.partial(self._measure_kl, update, rollout, settings), update)
            self.kl_coef_scale, self.kl_rate_scale = kl.coefficient_scale, kl.rate_scale
            if self.normalize_observations:
                absorb_rollout(self.policy, self.rollout_buffer.observations)
            if len(stats) > 0:
                self._record_update(settings, stats)
                self._record_kl(kl, stats)
        self._record_rate("time/update_fps", self._n_transitions, started)

    def _warn_of_estimate(self, reason: str) -> None:
        """Say that the divergence is not exact; Python shows a warning once.

        Args:
            reason: Why.
        """
        warnings.warn(
            f"`kl_mode={self.kl_mode!r}` goes by SB3's estimate of the KL divergence from the actions taken, not by "
            f"the divergence itself: {reason}.",
            stacklevel=2,
        )

    def _set_learning_rate(self, scale: float) -> None:
        """Evaluate the schedule of the learning rate, and log it.

        Args:
            scale: What it is multiplied by.
        """
        self._update_learning_rate(self.policy.optimizer)
        if scale != 1:
            rate = self.policy.optimizer.param_groups[0]["lr"] * scale
            update_learning_rate(self.policy.optimizer, rate)
            self.logger.record("train/learning_rate", rate)

    def _read_settings(self, kl: KlControl) -> UpdateSettings:
        """Read the public attributes and evaluate the schedules; a callback may have changed any of them.

        Args:
            kl: What watches the update.

        Returns:
            What the whole update uses.
        """
        return UpdateSettings(
            clip_range=math.inf if self.clip_range is None else self._evaluate_now(self.clip_range),
            clip_range_vf=None if self.clip_range_vf is None else self._evaluate_now(self.clip_range_vf),
            normalize_advantage=self.normalize_advantage,
            ent_coef=self.ent_coef,
            vf_coef=self.vf_coef if self.critic else 0.0,
            max_grad_norm=self.max_grad_norm,
            kl_coef=self.kl_coef * kl.coefficient_scale if isinstance(kl, Penalty) else 0.0,
        )

    def _train_epoch(
        self, epoch: int, watch: NanWatch, rollout: Rollout, settings: UpdateSettings, stats: UpdateStats, kl: KlControl
    ) -> bool:
        """Pass once over the rollout, in minibatches of random transitions.

        Args:
            epoch: How many passes there have been.
            watch: Improves the policy, unless something is not finite.
            rollout: What was collected.
            settings: What the update uses.
            stats: Collects the figures of each minibatch.
            kl: What watches the divergence.

        Returns:
            Whether all minibatches were applied; if not, the update has to stop.
        """
        update = watch.update
        for index, minibatch in enumerate(rollout.minibatches(self._minibatch_size)):
            watch.begin(minibatch, epoch=epoch, index=index)
            try:
                figures = update.evaluate(minibatch, settings)
                watch.look("loss", figures.loss)
                stats.add(figures)
                if not kl.allows(figures, update):
                    return False
                watch.look("gradient", update.differentiate(settings))
                update.step()
            except NotFiniteError as error:
                watch.leave_out(error)
            else:
                kl.n_applied += 1
                watch.applied()
        return True

    def _measure_kl(self, update: Update, rollout: Rollout, settings: UpdateSettings) -> float:
        """Measure how far the policy has moved since the rollout.

        Args:
            update: How the policy is improved.
            rollout: What was collected.
            settings: What the update uses.

        Returns:
            The mean divergence over the rollout's transitions.
        """
        stats, sizes = UpdateStats(), []
        for minibatch in rollout.minibatches(self._minibatch_size):
            stats.add(update.evaluate(minibatch, settings))
            sizes.append(len(minibatch.returns))
        return stats.mean("kl", sizes)

    def _record_update(self, settings: UpdateSettings, stats: UpdateStats) -> None:
        """Log the update under stock PPO's keys.

        Args:
            settings: What the update used.
            stats: The figures of its minibatches.
        """
        self._record_learning(stats, without=("kl",))
        self.logger.record("train/clip_range", settings.clip_range)
        if settings.clip_range_vf is not None:
            self.logger.record("train/clip_range_vf", settings.clip_range_vf)

    def _record_kl(self, kl: KlControl, stats: UpdateStats) -> None:
        """Log what was found and done about the divergence, if anything watches it.

        Args:
            kl: What has watched the update.
            stats: The figures of its minibatches.
        """
        if type(kl) is KlControl:
            return
        self.logger.record("train/kl", stats.mean("kl"))
        self.logger.record("train/kl_max", float(np.max([stats.maximum("kl"), *kl.measured])))
        self.logger.record("train/kl_last", kl.measured[-1] if kl.measured else stats.last("kl"))
        self.logger.record("train/n_minibatches", kl.n_applied)
        if kl.stop_reason:
            self._record_stop(kl)
        if isinstance(kl, Penalty):
            self.logger.record("train/kl_coef", self.kl_coef * kl.coefficient_scale)

    def _record_stop(self, kl: KlControl) -> None:
        """Log, and say, where and why an update has ended early.

        Args:
            kl: What has ended it. The first minibatch whose step was not taken, or was taken back, is where it ended;
                epochs, and the minibatches of each, are counted from 0.
        """
        epoch, minibatch = divmod(kl.n_applied, -(-self._n_transitions // self._minibatch_size))
        self.logger.record("train/stop_epoch", epoch)
        self.logger.record("train/stop_minibatch", minibatch)
        self.logger.record("train/stop_reason", kl.stop_reason, exclude="tensorboard")
        if self.verbose >= 1:
            print(f"Early stopping at step {epoch} due to {kl.stop_reason}")
