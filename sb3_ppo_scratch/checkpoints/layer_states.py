"""The state of an environment or of vectorised environments, layer by layer: each wrapper, and what is below them all.

What is here: reading and writing the layers that are at hand; of an environment in a worker, the worker does it. Layers
that are known keep certain attributes (`known_layers.py`); others say by `get_state` and `set_state` of their own what
they keep, each for itself. What is not: reaching environments (`reach.py`), and the whole (`environment_states.py`).
"""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from gymnasium.wrappers import RecordVideo
from gymnasium.wrappers.utils import RunningMeanStd as GymnasiumMoments
from stable_baselines3.common.atari_wrappers import EpisodicLifeEnv
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper, VecVideoRecorder
from stable_baselines3.common.vec_env.stacked_observations import StackedObservations

from sb3_ppo_scratch.checkpoints.known_layers import is_known, is_reset_wholly, kept_attributes, layer_name
from sb3_ppo_scratch.checkpoints.state_tree import State, is_state
from sb3_ppo_scratch.short_texts import describe_error, shorten

METHODS = ("get_state", "set_state")
MOMENTS = ("mean", "var", "count")
"""What Gymnasium's and SB3's running moments hold."""


class LayerStateError(RuntimeError):
    """A layer has not said what it keeps, or not taken it; the message names the layer."""


class Survey(NamedTuple):
    """What layers are, before anything is read."""

    layers: list[str]
    """Their names; of those that say themselves what they keep, this is told."""
    unreadable: list[str]
    """Names of layers whose state cannot be read."""
    forgetful: list[str]
    """Of these, the names of those that may keep something beyond a reset."""


def environment_layers(environment: gym.Env[Any, Any]) -> list[Any]:
    """List an environment's layers.

    Args:
        environment: With all its wrappers.

    Returns:
        The wrappers from the outside in, and the environment itself.
    """
    layers: list[Any] = []
    while isinstance(environment, gym.Wrapper):
        layers.append(environment)
        environment = environment.env
    return [*layers, environment]


def vector_layers(env: VecEnv) -> list[Any]:
    """List the layers around vectorised environments.

    Args:
        env: With all their wrappers.

    Returns:
        The wrappers from the outside in, and, if these say themselves what they keep, the vectorised environments.
    """
    *wrappers, innermost = vec_envs(env)
    return [*wrappers, innermost] if has_own(innermost) else wrappers


def vec_envs(env: VecEnv) -> list[Any]:
    """List vectorised environments and all that is around them.

    Args:
        env: With all wrappers.

    Returns:
        The wrappers from the outside in, and the vectorised environments.
    """
    layers: list[Any] = []
    while isinstance(env, VecEnvWrapper):
        layers.append(env)
        env = env.venv
    return [*layers, env]


def has_own(layer: Any) -> bool:
    """Tell whether a layer, not what it wraps, has `get_state` and `set_state`.

    Args:
        layer: An environment or wrapper.

    Returns:
        Whether it has both.
    """
    return all(callable(getattr(type(layer), name, None)) for name in METHODS)


def name_with_own(name: str) -> str:
    """Name a layer that says itself what it keeps.

    Args:
        name: Its class's.

    Returns:
        The name, and that it does.
    """
    return f"{name} (with get_state)"


def survey_layers(layers: Sequence[Any]) -> Survey:
    """Find out what layers are.

    Args:
        layers: From the outside in.

    Returns:
        Their survey.
    """
    unreadable = [layer for layer in layers if not (is_known(layer) or has_own(layer))]
    forgetful = [layer for layer in unreadable if isinstance(layer, gym.Wrapper) or not is_reset_wholly(layer)]
    return Survey(
        [name_with_own(layer_name(layer)) if has_own(layer) else layer_name(layer) for layer in layers],
        [layer_name(layer) for layer in unreadable],
        [layer_name(layer) for layer in forgetful],
    )


def read_layers(layers: Sequence[Any]) -> list[State]:
    """Read the state of layers.

    Args:
        layers: From the outside in.

    Returns:
        What each keeps, as far as that is known. Running statistics that hold NaN or infinity are left out, and begin
        anew where this is written: no number that follows would make them good again.

    Raises:
        LayerStateError: If a layer's `get_state` fails, or returns what no checkpoint can hold.
    """
    return [
        {
            "attributes": _read_attributes(layer),
            "own": read_own(layer_name(layer), layer.get_state) if has_own(layer) else None,
        }
        for layer in layers
    ]


def read_own(name: str, get_state: Callable[[], State]) -> State:
    """Ask a layer what it keeps.

    Args:
        name: The layer's.
        get_state: Its method.

    Returns:
        The answer.

    Raises:
        LayerStateError: If it raises an error, or returns what no checkpoint can hold.
    """
    try:
        own = get_state()
    except Exception as error:
        raise LayerStateError(f"`{METHODS[0]}` of {name} raised {describe_error(error)}") from error
    if not is_state(own):
        raise LayerStateError(f"`{METHODS[0]}` of {name} returned what no checkpoint can hold: {shorten(own)}")
    return own


def write_own(name: str, set_state: Callable[[State], object], own: State) -> None:
    """Give a layer what another has kept.

    Args:
        name: The layer's.
        set_state: Its method.
        own: What `read_own` has read.

    Raises:
        LayerStateError: If it raises an error.
    """
    try:
        set_state(own)
    except Exception as error:
        raise LayerStateError(f"`{METHODS[1]}` of {name} raised {describe_error(error)}") from error


def write_layers(layers: Sequence[Any], states: Sequence[State]) -> None:
    """Bring layers to where others were. Films that had begun are not gone on with.

    Args:
        layers: From the outside in.
        states: What `read_layers` has read of layers like these.

    Raises:
        LayerStateError: If a layer's `set_state` fails.
    """
    for layer, state in zip(layers, states, strict=True):
        for name in kept_attributes(layer):
            if name in state["attributes"]:
                setattr(layer, name, _restored(getattr(layer, name), state["attributes"][name]))
        if has_own(layer):
            write_own(layer_name(layer), layer.set_state, state["own"])
        if isinstance(layer, RecordVideo | VecVideoRecorder):
            layer.recording, layer.recorded_frames = False, []


def name_environment(environment: gym.Env[Any, Any]) -> str:
    """Name an environment.

    Args:
        environment: With or without wrappers.

    Returns:
        The id that Gymnasium has made it by; without one, its class's name.
    """
    bare = environment.unwrapped
    return bare.spec.id if bare.spec is not None else type(bare).__name__


def survey_environment(environment: gym.Env[Any, Any]) -> Survey:
    """`survey_layers` of an environment's layers.

    Args:
        environment: With all its wrappers.

    Returns:
        Their survey.
    """
    return survey_layers(environment_layers(environment))


def read_environment(environment: gym.Env[Any, Any]) -> list[State] | LayerStateError:
    """`read_layers` of an environment, wherever it lives.

    Args:
        environment: With all its wrappers.

    Returns:
        What each keeps; or what has gone wrong, since raising would end a worker of SB3's.
    """
    try:
        return read_layers(environment_layers(environment))
    except LayerStateError as error:
        return error


def write_environment(environment: gym.Env[Any, Any], states: Sequence[State]) -> LayerStateError | None:
    """`write_layers` of an environment, wherever it lives.

    Args:
        environment: With all its wrappers.
        states: What `read_environment` has read.

    Returns:
        What has gone wrong; None: nothing.
    """
    try:
        write_layers(environment_layers(environment), states)
    except LayerStateError as error:
        return error
    return None


def let_episode_end(environment: gym.Env[Any, Any]) -> None:
    """Make sure that the next reset is one, in the middle of an episode, too.

    Args:
        environment: With all its wrappers. SB3's `EpisodicLifeEnv` else plays on; a strict `Monitor` refuses.
    """
    for layer in environment_layers(environment):
        if isinstance(layer, EpisodicLifeEnv):
            layer.was_real_done = True
        elif isinstance(layer, Monitor) and not layer.allow_early_resets:
            layer.needs_reset = True


def _read_attributes(layer: Any) -> dict[str, State]:
    """Read what a layer is known to keep."""
    values = {name: getattr(layer, name) for name in kept_attributes(layer)}
    if any(map(_are_spoilt_moments, values.values())):
        return {}
    return {name: _as_state(value) for name, value in values.items()}


def _are_spoilt_moments(value: Any) -> bool:
    """Tell whether something is running moments, or a dict of such, that hold NaN or infinity."""
    if isinstance(value, dict):
        return any(map(_are_spoilt_moments, value.values()))
    is_moments = isinstance(value, RunningMeanStd | GymnasiumMoments)
    return is_moments and not all(np.isfinite(getattr(value, name)).all() for name in MOMENTS)


def _as_state(value: Any) -> State:
    """Take running moments, queues and stacks of observations apart; leave all else."""
    if isinstance(value, RunningMeanStd | GymnasiumMoments):
        return {name: getattr(value, name) for name in MOMENTS}
    if isinstance(value, StackedObservations):
        return _as_state(getattr(value, "sub_stacked_observations", None) or value.stacked_obs)
    if isinstance(value, dict):
        return {name: _as_state(each) for name, each in value.items()}
    return list(value) if isinstance(value, deque) else value


def _restored(present: Any, state: State) -> Any:
    """Bring what is there now to where another was; what is neither moments nor a queue or stack is replaced."""
    if isinstance(present, RunningMeanStd | GymnasiumMoments):
        vars(present).update(state)
    elif isinstance(present, StackedObservations) and isinstance(state, dict):
        for name, stack in present.sub_stacked_observations.items():
            _restored(stack, state[name])
    elif isinstance(present, StackedObservations):
        present.stacked_obs = state
    elif isinstance(present, deque):
        return deque(state, present.maxlen)
    elif isinstance(present, dict) and isinstance(state, dict):
        return {name: _restored(present.get(name), each) for name, each in state.items()}
    else:
        return state
    return present
