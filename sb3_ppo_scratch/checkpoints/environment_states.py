"""The state of environments: read from them and written into others, or begun anew where it cannot be read.

What is here: that, for the whole stack of wrappers, through SB3's `VecEnv` interface, so that it is the same for
environments in this process and in workers. What is not: the state of single layers (`layer_states.py`), and what
becomes of an episode that is cut because its environment cannot be read (`run_state.py`).
"""

import os
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any
from weakref import WeakSet

from stable_baselines3.common.vec_env import VecEnv

from sb3_ppo_scratch.checkpoints.layer_states import (
    METHODS,
    LayerStateError,
    Survey,
    has_own,
    let_episode_end,
    name_environment,
    name_with_own,
    read_environment,
    read_layers,
    read_own,
    survey_environment,
    survey_layers,
    vector_layers,
    write_environment,
    write_layers,
    write_own,
)
from sb3_ppo_scratch.checkpoints.random_states import read_states_elsewhere, write_states_elsewhere
from sb3_ppo_scratch.checkpoints.reach import NO_SUCH_QUESTION, call_with_environment
from sb3_ppo_scratch.checkpoints.state_tree import State, is_state
from sb3_ppo_scratch.errors import ArgumentError, EnvironmentFaultError

GENERATOR = "np_random"
BARE = "environment in no wrapper"
BARE_WITH_OWN = name_with_own(BARE)
MONITORED = "episode_times"
"""What of all layers only SB3's `Monitor`, and what inherits from it, keeps: a number for each episode."""
_LOOKED_AT: WeakSet[VecEnv] = WeakSet()
"""Environments of which it has been said what is lost, if anything is."""


class OtherEnvironmentsError(ArgumentError):
    """Environments that are not made as those whose state is to be written into them."""


def name_environments(env: VecEnv) -> str:
    """Name environments.

    Args:
        env: The environments.

    Returns:
        The id that Gymnasium has made the first by; without one, its class's name.
    """
    try:
        name = call_with_environment(env, 0, name_environment)
        if name is not None:
            return str(name)
        described = str(env.env_method("__str__", indices=0)[0])
    except Exception:  # noqa: BLE001 # no single environments to ask; one's own VecEnv may say so in any way
        return str(getattr(env.unwrapped, "env_id", type(env.unwrapped).__name__))
    return described.rstrip(">").split("<")[-1].removesuffix(" instance")  # as Gymnasium puts it


def why_unreadable(env: VecEnv) -> str:
    """Say why the state of environments cannot be read.

    Args:
        env: The environments.

    Returns:
        What has no `get_state` and `set_state`; empty if the state can be read.
    """
    return _list(name for each in _survey(env) for name in each.unreadable)


def what_is_lost(env: VecEnv) -> str:
    """Say what of environments no checkpoint holds, and no reset makes anew.

    Args:
        env: The environments.

    Returns:
        The layers that are unknown, have no `get_state` and `set_state`, and may keep something beyond a reset; empty
        if there are none.
    """
    return _list(name for each in _survey(env) for name in each.forgetful)


def warn_of_losses(env: VecEnv) -> None:
    """Say once what is lost at resume.

    Args:
        env: The environments.
    """
    if env.unwrapped in _LOOKED_AT:
        return
    _LOOKED_AT.add(env.unwrapped)
    lost = what_is_lost(env)
    if lost:
        warnings.warn(
            f"These layers of the environments have no get_state and set_state: what they keep beyond a reset is lost "
            f"at resume: {lost}.",
            stacklevel=2,
        )


def read_environments(env: VecEnv) -> State:
    """Read the state of environments; of those that cannot be read, what outlives a reset, and their generators.

    Args:
        env: The environments.

    Returns:
        Their state. Parts of it are the environments' own: it is to be written before they go on.

    Raises:
        EnvironmentFaultError: If one's `get_state` fails, or returns what no checkpoint can hold.
    """
    surveys = _survey(env)
    with _layers_named():
        around = read_layers(vector_layers(env))
    return {
        "vector_layers": {"layers": surveys[0].layers, "states": around},
        "environments": [
            {"layers": each.layers, "states": _read_one(env, index, each.layers)}
            for index, each in enumerate(surveys[1:])
        ],
        "generators": _read_generators(env),
        "processes": [
            call_with_environment(env, index, read_states_elsewhere, os.getpid()) for index in range(env.num_envs)
        ],
        "seeds": list(env.unwrapped._seeds),
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
            "vector_layers": {
                "layers": survey_layers(vector_layers(env)).layers,
                "states": read_layers(vector_layers(env)),
            },
            "environments": None,
            "generators": None,
            "seeds": list(env.unwrapped._seeds),
        }


def write_environments(env: VecEnv, state: State, name: str = "`env`") -> None:
    """Bring environments to where others were; of those that cannot be read, the next reset begins a new episode.

    Args:
        env: New environments, made like those.
        state: What `read_environments` has read.
        name: What the error calls them.

    Raises:
        OtherEnvironmentsError: If they are made of other layers, or are not as many; nothing has been written then.
        EnvironmentFaultError: If one's `set_state` fails.
    """
    _check_made_alike([each.layers for each in _survey(env)], state, name)
    _reset(env)  # so that all is set up, and no other seed waits
    for index, generator in enumerate(state["generators"] or ()):
        env.env_method("set_wrapper_attr", GENERATOR, generator, indices=index)
    env.unwrapped._seeds = list(state["seeds"])
    for index, each in enumerate(state["environments"] or ()):
        _write_one(env, index, each["layers"], each["states"])
    with _layers_named():
        write_layers(vector_layers(env), state["vector_layers"]["states"])
    for index, each in enumerate(state.get("processes") or ()):  # last: all else may draw from these generators
        if each is not None:
            call_with_environment(env, index, write_states_elsewhere, each)
    if why_unreadable(env):
        _let_episodes_end(env)


def _check_made_alike(found: list[list[str]], state: State, name: str) -> None:
    """Compare layers, those around all environments first, with those that were read.

    Raises:
        OtherEnvironmentsError: If they are others.
    """
    wanted = [state["vector_layers"], *(state["environments"] or ())]
    for layers, each in zip(found, wanted, strict=False):
        if layers != each["layers"]:
            raise OtherEnvironmentsError(f"{name} is wrapped in {layers}, the run's in {each['layers']}.")
    if state["environments"] is not None and len(found) != len(wanted):  # they may have been lost
        raise OtherEnvironmentsError(f"{name} holds {len(found) - 1} environments, the run's {len(wanted) - 1}.")


def count_monitored(state: State) -> list[int | None]:
    """Count the episodes that each environment's `Monitor` has written down.

    Args:
        state: What `read_environments` has read.

    Returns:
        Their numbers; None where there is no `Monitor`.
    """
    kept = [[layer["attributes"] for layer in each["states"]] for each in state["environments"] or ()]
    return [next((len(each[MONITORED]) for each in layers if MONITORED in each), None) for layers in kept]


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
    _let_episodes_end(env)
    return env.reset()


def _let_episodes_end(env: VecEnv) -> None:
    """Make sure that the next reset is one everywhere."""
    for index in range(env.num_envs):
        call_with_environment(env, index, let_episode_end)


def _read_generators(env: VecEnv) -> list[State] | None:
    """Read environments' random generators; None: they have none, or some that no checkpoint can hold."""
    try:
        generators = env.get_attr(GENERATOR) if env.has_attr(GENERATOR) else None
    except NO_SUCH_QUESTION:
        return None
    return generators if is_state(generators) else None


def _survey(env: VecEnv) -> list[Survey]:
    """Find out what the layers around vectorised environments are, and those of each environment."""
    reached = [call_with_environment(env, index, survey_environment) for index in range(env.num_envs)]
    if None in reached:
        bare = _survey_bare(env)
        reached = [each or bare for each in reached]
    return [survey_layers(vector_layers(env)), *reached]


def _survey_bare(env: VecEnv) -> Survey:
    """Find out what is known of environments without any wrapper."""
    if _has_own(env):
        return Survey([BARE_WITH_OWN], [], [])
    if has_own(env.unwrapped):  # which then answers for all of them
        return Survey([BARE], [], [])
    name = name_environments(env)
    is_ours = type(env.unwrapped).__module__.split(".")[0] == __name__.split(".")[0]  # EnvPool's are made anew
    return Survey([BARE], [name], [] if is_ours else [name])


def _has_own(env: VecEnv) -> bool:
    """Tell whether environments without any wrapper say themselves what they keep."""
    try:
        return all(map(env.has_attr, METHODS))
    except NO_SUCH_QUESTION:
        return False


@contextmanager
def _layers_named(index: int | None = None) -> Iterator[None]:
    """Say of what is wrong with a layer in which environment it is; None: it is around all of them.

    Raises:
        EnvironmentFaultError: If something is wrong.
    """
    try:
        yield
    except LayerStateError as error:
        where = "around the environments" if index is None else f"environment {index}"
        raise EnvironmentFaultError(f"{where}: {error}", index) from error


def _read_one(env: VecEnv, index: int, layers: list[str]) -> list[State]:
    """Read the layers of one environment."""
    with _layers_named(index):
        if layers == [BARE_WITH_OWN]:
            own = read_own(BARE, lambda: env.env_method(METHODS[0], indices=index)[0])
            return [{"attributes": {}, "own": own}]
        return _checked(call_with_environment(env, index, read_environment)) or []


def _write_one(env: VecEnv, index: int, layers: list[str], states: list[State]) -> None:
    """Write the layers of one environment."""
    with _layers_named(index):
        if layers == [BARE_WITH_OWN]:
            write_own(BARE, partial(env.env_method, METHODS[1], indices=index), states[0]["own"])
        else:
            _checked(call_with_environment(env, index, write_environment, states))


def _checked(answer: Any) -> Any:
    """Raise what an environment has answered if it is an error; errors cross to this process as answers."""
    if isinstance(answer, LayerStateError):
        raise answer
    return answer


def _list(names: Iterable[str]) -> str:
    """List names, each once."""
    return ", ".join(dict.fromkeys(names))
