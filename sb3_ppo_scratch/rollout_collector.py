"""Collecting a rollout: the policy acts, the environments step, the buffer fills.

What is here: the loop over steps, with everything that SB3's own `collect_rollouts` does for callbacks, statistics and
truncated episodes (tests run both and compare). What is not: how the policy acts (`acting.py`), and when a rollout is
complete (`rollout_ends.py`).

On CartPole, learning with SB3's own loop around the same actor and buffer takes 1.04 to 1.08 times as long.
"""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch as th
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.vec_env import VecEnv

from sb3_ppo_scratch.acting import Actor, Decision, stack_observations
from sb3_ppo_scratch.argument_checks import OnNan
from sb3_ppo_scratch.errors import NotFiniteError
from sb3_ppo_scratch.finite_checks import find_in_observations, name_of_not_finite, with_others
from sb3_ppo_scratch.rollout_ends import AfterEpisodes, AfterSteps, RolloutEnd, Step
from sb3_ppo_scratch.vec_env.clean_statistics import Stepping
from sb3_ppo_scratch.vec_env.faults import faults_named


class UnfinishedRollout(NamedTuple):
    """A rollout that is being collected."""

    end: RolloutEnd
    """What fills the buffer."""
    n_steps: int
    """Steps so far."""


class RolloutCollector(OnPolicyAlgorithm):
    """An on-policy algorithm that lets an `Actor` act."""

    _unfinished: UnfinishedRollout | None
    """The rollout under way; as of the last time that something was done between steps."""
    _lengths_in_buffer: NDArray[np.int64] | None
    """`lengths` of what has filled the buffer."""
    _waiting: list[Callable[[], None]]
    """What is to be done when the step under way is complete."""
    _is_between_steps: bool
    """Whether that is being done, or an error in it has ended the run."""

    _last_obs: Any
    _last_episode_starts: Any
    n_episodes: int | None
    """Whole episodes per rollout; None: rollouts are of `n_steps` steps."""
    on_nan: OnNan
    """What is done about NaN and infinity."""
    timeout_bootstrap: bool
    """Whether that is done for truncated episodes, too (see `_bootstraps`)."""
    store_clipped_actions: bool
    """Whether actions are stored as the environments get them."""

    @abstractmethod
    def _choose_actor(self) -> Actor:
        """Choose what acts from now on.

        Returns:
            Something that acts for the policy.
        """

    @property
    @abstractmethod
    def _bootstraps(self) -> bool:
        """Whether the value estimate of the last observation stands in for the rest of an episode that was cut."""

    def _fill_buffer(
        self, step: Stepping, env: VecEnv, callback: BaseCallback, rollout_buffer: RolloutBuffer, n_rollout_steps: int
    ) -> bool:
        """Step the environments and store every transition; other arguments and result as of `collect_rollouts`.

        Callbacks find SB3's names among the local variables. A step at which one ends the run is completed, unlike
        SB3's, so that the run can go on from there.
        """
        self.policy.set_training_mode(False)
        end, n_steps = self._unfinished or self._begin_rollout(env, callback, rollout_buffer, n_rollout_steps)
        actor = self._choose_actor()
        while not end.is_complete():
            if self._waiting:
                self._pause(UnfinishedRollout(end, n_steps))
                continue
            obs_tensor, actions, values, log_probs = self._act(actor, n_steps)
            clipped_actions = self._within_action_space(actions)
            new_obs, rewards, dones, infos = step(clipped_actions)
            self.num_timesteps += env.num_envs
            callback.update_locals(locals())
            goes_on = callback.on_step()
            n_steps += 1
            self._update_info_buffer(infos, dones)
            if self.store_clipped_actions and clipped_actions is not actions:
                actions, log_probs = clipped_actions, self._log_probs_of(obs_tensor, clipped_actions)
            if not actor.is_current(self.policy):
                actor = self._choose_actor()
            self._add_values_of_cut_episodes(actor, rewards, dones, infos)
            stored = self._as_stored(actions)
            end.add(Step(self._last_obs, stored, rewards, self._last_episode_starts, values, log_probs), dones)
            self._last_obs, self._last_episode_starts = new_obs, dones
            if not goes_on:
                self._pause(UnfinishedRollout(end, n_steps))
                return False
        values = self._end_rollout(actor, end)
        callback.update_locals(locals())
        callback.on_rollout_end()
        return True

    def _act(self, actor: Actor, n_steps: int) -> Decision:
        """Let the policy act.

        Args:
            actor: Acts for it.
            n_steps: Steps of this rollout so far.

        Returns:
            What it does. Where an observation is not finite and the run is to go on, it acts as if it read 0.

        Raises:
            NotFiniteError: If a parameter is NaN or infinite, or an observation and `on_nan` is "raise".
        """
        self._renew_noise(n_steps)
        try:
            return actor.act(self._last_obs)
        except (ValueError, RuntimeError) as error:  # the latter by torch where its distributions check nothing
            if self.on_nan != "raise" and find_in_observations(self._last_obs) is not None:
                return actor.act(with_others(self._last_obs, 0.0))
            self._explain_no_action(error, n_steps)
            raise

    def _explain_no_action(self, error: Exception, n_steps: int) -> None:
        """Find out why the policy does not act.

        Args:
            error: What it has raised.
            n_steps: Steps of this rollout so far.

        Raises:
            NotFiniteError: If an observation or a parameter is NaN or infinite.
        """
        env_index = find_in_observations(self._last_obs)
        if env_index is not None:
            raise NotFiniteError("observation", f"in step {n_steps} of environment {env_index}") from error
        name = name_of_not_finite(self.policy.named_parameters())
        if name is not None:
            raise NotFiniteError("parameter", name) from error

    def _pause(self, rollout: UnfinishedRollout) -> None:
        """Do what waits for the end of a step.

        Args:
            rollout: The rollout under way.
        """
        self._unfinished = rollout
        self._do_what_waits()

    def _do_what_waits(self) -> None:
        """Do what waits for the end of a step, in the order in which it came."""
        self._is_between_steps = True
        while self._waiting:
            self._waiting.pop(0)()
        self._is_between_steps = False

    def read_rollout(self) -> dict[str, Any] | None:
        """Read the rollout under way.

        Returns:
            Its state; None if there is none.
        """
        if self._unfinished is None:
            return None
        return {"n_steps": self._unfinished.n_steps, "end": self._unfinished.end.get_state()}

    def write_rollout(self, state: dict[str, Any] | None) -> None:
        """Let the next rollout be one that was under way elsewhere.

        Args:
            state: What `read_rollout` has read.
        """
        self._unfinished = None
        if state is not None:
            end = self._make_end(self.rollout_buffer, self.n_steps)
            end.set_state(state["end"])
            self._unfinished = UnfinishedRollout(end, state["n_steps"])

    def _make_end(self, rollout_buffer: RolloutBuffer, n_rollout_steps: int) -> RolloutEnd:
        """Make what fills the buffer.

        Args:
            rollout_buffer: The buffer to fill.
            n_rollout_steps: Steps per environment of a rollout that is counted in steps.

        Returns:
            It.
        """
        if self.n_episodes is None:
            return AfterSteps(rollout_buffer, n_rollout_steps)
        return AfterEpisodes(rollout_buffer, self.n_episodes, self.n_envs)

    def _begin_rollout(
        self, env: VecEnv, callback: BaseCallback, rollout_buffer: RolloutBuffer, n_rollout_steps: int
    ) -> UnfinishedRollout:
        """Empty the buffer, and bring the environments to where the rollout begins.

        Args:
            env: The training environments.
            callback: It is told.
            rollout_buffer: The buffer to fill.
            n_rollout_steps: Steps per environment of a rollout that is counted in steps.

        Returns:
            The rollout.
        """
        if self.n_episodes is not None and not np.all(self._last_episode_starts):
            with faults_named(env):
                self._last_obs = env.reset()  # episodes that did not count in the last rollout
            self._last_episode_starts = np.ones(env.num_envs, dtype=bool)
        self._unfinished = UnfinishedRollout(self._make_end(rollout_buffer, n_rollout_steps), 0)
        if self.use_sde:
            self.policy.reset_noise(env.num_envs)
        callback.on_rollout_start()
        return self._unfinished

    def _renew_noise(self, n_steps: int) -> None:
        """Sample gSDE's noise anew if it is due.

        Args:
            n_steps: Steps of this rollout so far.
        """
        if self.use_sde and self.sde_sample_freq > 0 and n_steps % self.sde_sample_freq == 0:
            self.policy.reset_noise(self.n_envs)

    def _end_rollout(self, actor: Actor, end: RolloutEnd) -> th.Tensor:
        """Fill in advantages.

        Args:
            actor: Estimates values.
            end: What has filled the buffer.

        Returns:
            Values of the observations after the last step, shape (n_envs, 1).
        """
        values = actor.values(self._last_obs)
        self._lengths_in_buffer = end.lengths
        end.finish(values if self._bootstraps else th.zeros_like(values), self._last_episode_starts)
        self._unfinished = None
        return values

    def _within_action_space(self, actions: np.ndarray) -> np.ndarray:
        """Turn what the policy has sampled into what the environments accept.

        Args:
            actions: Shape (n_envs, *action_shape).

        Returns:
            For a Box, squashed actions scaled to its bounds, others clipped to them; else the actions themselves.
        """
        if not isinstance(self.action_space, spaces.Box):
            return actions
        if self.policy.squash_output:
            return self.policy.unscale_action(actions)
        clipped: np.ndarray = actions.clip(self.action_space.low, self.action_space.high)
        return clipped

    def _as_stored(self, actions: np.ndarray) -> np.ndarray:
        """Shape actions as SB3's buffers want them.

        Args:
            actions: Shape (n_envs, *action_shape).

        Returns:
            The same, of a Discrete space in shape (n_envs, 1).
        """
        return actions.reshape(-1, 1) if isinstance(self.action_space, spaces.Discrete) else actions

    @th.no_grad()
    def _log_probs_of(self, observations: Any, actions: np.ndarray) -> th.Tensor:
        """Evaluate actions other than those that were drawn.

        Args:
            observations: As an `Actor` has returned them.
            actions: Shape (n_envs, *action_shape).

        Returns:
            Log-probabilities, shape (n_envs,).
        """
        rows = th.as_tensor(actions.reshape(len(actions), -1), device=self.device)  # the policy's form for any Box
        return self.policy.get_distribution(observations).log_prob(rows)

    def _add_values_of_cut_episodes(
        self, actor: Actor, rewards: np.ndarray, dones: np.ndarray, infos: list[dict[str, Any]]
    ) -> None:
        """Add to the last rewards of truncated episodes what would have followed: the value of their last observation.

        Args:
            actor: Estimates values.
            rewards: Shape (n_envs,); changed in place.
            dones: Whether an episode has ended, shape (n_envs,).
            infos: One per environment.
        """
        if not (self._bootstraps and self.timeout_bootstrap and dones.any()):
            return
        cut = [
            index
            for index in dones.nonzero()[0]
            if infos[index].get("TimeLimit.truncated", False) and infos[index].get("terminal_observation") is not None
        ]
        if cut:
            final = stack_observations([infos[index]["terminal_observation"] for index in cut])
            rewards[cut] = rewards[cut] + self.gamma * actor.values(final).cpu().numpy().reshape(-1)
