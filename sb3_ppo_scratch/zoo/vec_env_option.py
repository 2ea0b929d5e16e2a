"""The values `sharded` and `envpool` of `train --vec-env`, which rl_zoo3 itself does not know.

What is here: taking the option off the command line, and letting rl_zoo3 train in the environments that it names. What
is not: the environments (`vec_env/`), and rl_zoo3's own two values, which are passed through.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from sb3_ppo_scratch.zoo.replacing import replaced

OWN_VEC_ENVS = {
    "sharded": "the same environments in a few worker processes",
    "envpool": "EnvPool's C++ environments (needs the extra `envpool`)",
}
"""What `--vec-env` may be here beyond rl_zoo3's `dummy` and `subproc`."""


def take_vec_env(arguments: Sequence[str]) -> tuple[str | None, list[str]]:
    """Take the option off a command line if its value is one of ours.

    Args:
        arguments: A command line of `rl_zoo3.train`.

    Returns:
        The value, or None, and what is left for rl_zoo3.

    Example:
        >>> take_vec_env(["--env", "CartPole-v1", "--vec-env", "sharded", "-P"])
        ('sharded', ['--env', 'CartPole-v1', '-P'])
        >>> take_vec_env(["--vec-env=subproc"])
        (None, ['--vec-env=subproc'])
    """
    left = list(arguments)
    for position, word in enumerate(left):
        name, equals, value = word.partition("=")
        if name != "--vec-env":
            continue
        following = left[position + 1 : position + 2]
        value = value if equals else "".join(following)
        if value in OWN_VEC_ENVS:
            del left[position : position + (1 if equals else 2)]
            return value, left
    return None, left


@contextmanager
def training_in(manager: Any, vec_env: str | None) -> Iterator[None]:
    """Let rl_zoo3 train in other environments than its own; those for evaluation stay.

    Args:
        manager: rl_zoo3's `ExperimentManager`.
        vec_env: One of `OWN_VEC_ENVS`; None changes nothing.

    Yields:
        Nothing.
    """
    if vec_env is None:
        yield
        return
    with replaced(manager, "create_envs", functools.partial(_creating, vec_env)):
        yield


def _creating(vec_env: str, original: Callable[..., Any]) -> Callable[..., Any]:
    """Let training environments, not those for evaluation, be others."""

    def create_envs(self: Any, n_envs: int, eval_env: bool = False, no_log: bool = False) -> Any:
        if eval_env:
            return original(self, n_envs, eval_env=True, no_log=no_log)
        before = self.vec_env_class, self.vec_env_wrapper
        if vec_env == "sharded":
            from sb3_ppo_scratch.vec_env import ShardedVecEnv

            self.vec_env_class = ShardedVecEnv
        else:
            self.vec_env_wrapper = _envpool_before(self.vec_env_wrapper)
        try:
            return original(self, n_envs, eval_env=False, no_log=no_log)
        finally:
            self.vec_env_class, self.vec_env_wrapper = before

    return create_envs


def _envpool_before(wrapper: Callable[[Any], Any] | None) -> Callable[[Any], Any]:
    """Compose replacing the environments with what the YAML file wraps around them."""

    def wrap(env: Any) -> Any:
        from sb3_ppo_scratch.vec_env import rebuild_envpool

        replaced = rebuild_envpool(env)
        return replaced if wrapper is None else wrapper(replaced)

    return wrap
