"""Steps of an EnvPool as plain arrays.

What is here: sending actions to its threads and receiving what they have done. What is not: what SB3 wants to have made
of it (`envpool_vec_env.py`).

At each step, EnvPool's own `send` and `recv` make a dictionary of its whole configuration and a tree of everything it
knows, which takes 20 us; the C++ functions below them take and give lists of arrays.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

ACTION_KEYS = ["env_id", "players.env_id", "action"]
STATE_KEYS = ("obs", "reward", "done", "trunc")


class PoolStep(NamedTuple):
    """What a step of all environments has brought; observations and rewards are EnvPool's own memory."""

    observations: npt.NDArray[Any]
    """Shape (n_envs, *obs_shape)."""
    rewards: npt.NDArray[np.float32]
    """Shape (n_envs,)."""
    dones: npt.NDArray[np.bool_]
    """Whether the episode has ended, shape (n_envs,)."""
    truncated: npt.NDArray[np.bool_]
    """Whether a limit of time has ended it, shape (n_envs,)."""


class PoolSteps:
    """Steps a pool, by the functions below its own wherever these give the same.

    Args:
        pool: EnvPool's object, for Gymnasium and not asynchronous.
    """

    def __init__(self, pool: Any) -> None:
        self._pool = pool
        keys = list(getattr(pool, "_state_keys", ()))
        spec = getattr(pool, "_spec", None)
        is_plain = set(STATE_KEYS) <= set(keys) and list(getattr(spec, "_action_keys", ())) == ACTION_KEYS
        # EnvPool's own functions look at the first actions' shape, and serve whatever is not laid out as above.
        self._use_own, self._is_plain = True, is_plain and pool.config.get("max_num_players", 1) == 1
        if self._is_plain:
            self._places = [keys.index(name) for name in STATE_KEYS]
            self._action_dtype = spec._action_spec[-1][0]  # type: ignore[union-attr] # it has such keys
            self._ids = pool.all_env_ids

    def send(self, actions: npt.NDArray[Any]) -> None:
        """Let the threads begin a step.

        Args:
            actions: One per environment, shape (n_envs, *action_shape).
        """
        if self._use_own:
            self._pool.send(actions)
        else:
            self._pool._send([self._ids, self._ids, actions.astype(self._action_dtype, order="C")])

    def receive(self) -> PoolStep:
        """Wait for the threads.

        Returns:
            What the step has brought.
        """
        if self._use_own:
            self._use_own = not self._is_plain
            observations, rewards, terminated, truncated, _ = self._pool.recv()
            return PoolStep(observations, rewards, terminated | truncated, truncated)
        received = self._pool._recv()
        observations, rewards, dones, truncated = (received[place] for place in self._places)
        return PoolStep(observations, rewards, dones | truncated, truncated)
