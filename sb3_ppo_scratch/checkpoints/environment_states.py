"""The state of environments: read from them and written into others, or begun anew where it cannot be read.

What is here: that, for the whole stack of wrappers, through SB3's `VecEnv` interface, so that it is the same for
environments in this process and in workers. What is not: the state of single layers (`layer_states.py`), and what
becomes of an episode that is cut because its environment cannot be read (`run_state.py`).
"""

import re
import warnings
from collections.abc import Iterable
from typing import Any
from weakref import WeakSet

from stable_baselines3.common.vec_env import VecEnv

from sb3_ppo_scratch.checkpoints.layer_states import (
    METHODS,
    Survey,
    has_own,
    let_episode_end,
    name_with_own,
    read,
    read_environment,
    survey,
    survey_environment,
    vector_layers,
    write,
    write_environment,
)
from sb3_ppo_scratch.checkpoints.random_states import make_generator, read_generator
from sb3_ppo_scratch.checkpoints.reach import NO_SUCH_QUESTION, call_with_environment
from sb3_ppo_scratch.checkpoints.state_tree import State
from sb3_ppo_scratch.errors import ArgumentError

GENERATOR = "np_random"
BARE = "environment in no wrapper"
BARE_WITH_OWN = name_with_own(BARE)
GYMNASIUMS_NAME = r"<([^<>]+?)(?: instance|<[^<>]+>)>"
"""How Gymnasium describes an environment in no wrapper."""
_WARNED_OF: WeakSet[VecEnv] = WeakSet()
"""Environments of which it has been said what is lost."""


def why_unreadable(env: VecEnv) -> str:
    """Say why the state of environments cannot be read.

    Args:
        env: The environments.

    Returns:
        What has no `get_state` and `set_state`; empty if the state can be read.
    """
    return _list(name for each in _survey(env) for name in each.unreadable)


def read_environments(env: VecEnv) -> State:
    """Read the state of environments, of those that cannot be read what outlives a reset.

    The first time it warns of what is unknown and may keep something beyond a reset.

    Args:
        env: The environments.

    Returns:
        Their state; in it, as `["attributes"]["episode_returns"]`, what each environment's `Monitor` has written down.
    """
    surveys = _survey(env)
    _warn_of_losses(env, _list(name for each in surveys for name in each.forgetful))
    environments = [
        {"layers": each.layers, "states": _read_one(env, index, each.layers)} for index, each in enumerate(surveys[1:])
    ]
    return {
        "vector_layers": {"layers": surveys[0].layers, "states": read(vector_layers(env))},
        "environments": environments,
        "attributes": {"episode_returns": [_monitored_returns(**each) for each in environments]},
        "generators": None if any(each.unreadable for each in surveys) else read_generators(env),
    }


def read_what_answers(env: VecEnv) -> State:
    """Read environments of which some may be lost: their state if they all answer, else that of the layers around them.

    Args:
        env: The environments.

    Returns:
        Their state.
    """
    try:
        return read_environments(env)
    except Exception:  # noqa: BLE001 # whatever becomes of a question to a process that has ended
        return {
            "vector_layers": {"layers": survey(vector_layers(env)).layers, "states": read(vector_layers(env))},
            "environments": None,
            "attributes": {},
            "generators": None,
        }


def write_environments(env: VecEnv, state: State) -> None:
    """Bring environments to where others were.

    Args:
        env: New environments, made like those.
        state: What `read_environments` has read.

    Raises:
        ArgumentError: If they are made of other layers, or are not as many.
    """
    states = state["environments"] or []  # they may have been lost
    wanted = [state["vector_layers"], *states]
    found = [each.layers for each in _survey(env)]
    for layers, each in zip(found, wanted, strict=False):
        if layers != each["layers"]:
            raise ArgumentError(f"`env` is wrapped in {layers}, the run's in {each['layers']}.")
    if state["environments"] is not None and len(found) != len(wanted):
        raise ArgumentError(f"`env` holds {len(found) - 1} environments, the run's {len(wanted) - 1}.")
    if state["generators"] is None:
        _reset(env)
    else:
        write_generators(env, state["generators"])
    for index, each in enumerate(states):
        _write_one(env, index, each["layers"], each["states"])
    write(vector_layers(env), state["vector_layers"]["states"])


def read_generators(env: VecEnv) -> State:
    """Read the random generators of environments.

    Args:
        env: The environments.

    Returns:
        One state for each (None if they have none), and the seeds that wait for the next reset.
    """
    states = None
    if env.has_attr(GENERATOR):
        states = [read_generator(generator) for generator in env.get_attr(GENERATOR)]
    return {"states": states, "seeds": list(env.unwrapped._seeds)}


def write_generators(env: VecEnv, state: State) -> None:
    """Set the random generators of environments; they are reset.

    Args:
        env: The environments.
        state: What `read_generators` has read.
    """
    _reset(env)  # so that all is set up, and no other seed waits
    for index, generator in enumerate(state["states"] or ()):
        env.env_method("set_wrapper_attr", GENERATOR, make_generator(generator), indices=index)
    env.unwrapped._seeds = list(state["seeds"])


def begin_anew(env: VecEnv, seed: int) -> Any:
    """Begin an episode everywhere, the same wherever this is done.

    Args:
        env: The environments.
        seed: Of the first; the others follow.

    Returns:
        The first observations, shape (n_envs, *shape), or a dict of such arrays.
    """
    env.seed(seed)
    return _reset(env)


def _reset(env: VecEnv) -> Any:
    """Reset environments wholly, wherever in their episodes they are."""
    for index in range(env.num_envs):
        call_with_environment(env, index, let_episode_end)
    return env.reset()


def _survey(env: VecEnv) -> list[Survey]:
    """Find out what the layers around vectorised environments are, and those of each environment."""
    reached = [call_with_environment(env, index, survey_environment) for index in range(env.num_envs)]
    if None in reached:
        bare = _survey_bare(env)
        reached = [each or bare for each in reached]
    return [survey(vector_layers(env)), *reached]


def _survey_bare(env: VecEnv) -> Survey:
    """Find out what is known of environments without any wrapper."""
    if _has_own(env):
        return Survey([BARE_WITH_OWN], [], [])
    if has_own(env.unwrapped):  # which then answers for all of them
        return Survey([BARE], [], [])
    name = _name_of_bare(env)
    is_ours = type(env.unwrapped).__module__.split(".")[0] == __name__.split(".")[0]  # EnvPool's are made anew
    return Survey([BARE], [name], [] if is_ours else [name])


def _name_of_bare(env: VecEnv) -> str:
    """Name environments without any wrapper."""
    try:
        described = re.fullmatch(GYMNASIUMS_NAME, str(env.env_method("__str__", indices=0)[0]))
    except NO_SUCH_QUESTION:  # no single environments to ask
        return type(env.unwrapped).__name__
    return described[1] if described else BARE


def _has_own(env: VecEnv) -> bool:
    """Tell whether environments without any wrapper say themselves what they keep."""
    try:
        return all(map(env.has_attr, METHODS))
    except NO_SUCH_QUESTION:
        return False


def _read_one(env: VecEnv, index: int, layers: list[str]) -> list[State]:
    """Read the layers of one environment."""
    if layers == [BARE_WITH_OWN]:
        return env.env_method(METHODS[0], indices=index)
    return call_with_environment(env, index, read_environment) or []


def _write_one(env: VecEnv, index: int, layers: list[str], states: list[State]) -> None:
    """Write the layers of one environment."""
    if layers == [BARE_WITH_OWN]:
        env.env_method(METHODS[1], *states, indices=index)
    else:
        call_with_environment(env, index, write_environment, states)


def _monitored_returns(layers: list[str], states: list[State]) -> list[float]:
    """Find the returns of an environment's episodes; if there is no `Monitor`, there are none."""
    for name, state in zip(layers, states, strict=False):
        if name == "Monitor":
            returns: list[float] = state["attributes"]["episode_returns"]
            return returns
    return []


def _list(names: Iterable[str]) -> str:
    """List names, each once."""
    return ", ".join(dict.fromkeys(names))


def _warn_of_losses(env: VecEnv, forgetful: str) -> None:
    """Say once what is lost at resume."""
    if forgetful and env.unwrapped not in _WARNED_OF:
        _WARNED_OF.add(env.unwrapped)
        warnings.warn(
            f"These layers of the environments have no get_state and set_state: what they keep beyond a reset is lost "
            f"at resume: {forgetful}.",
            stacklevel=2,
        )
