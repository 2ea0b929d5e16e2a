"""The state of environments: read from them and written into others, or begun anew where it cannot be read.

Everything goes through SB3's `VecEnv` interface (`get_attr`, `env_method`), so that it is the same for environments in
this process and in workers. Wrappers and environments that are known here are told apart by name; of those that are
not, `get_state` and `set_state` are called where they have both.

What is here: that, for the whole stack of wrappers. What is not: what becomes of an episode that is cut because its
environment cannot be read (`run_state.py`).
"""

import re
from typing import Any, NamedTuple

import gymnasium as gym
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.vec_env import (
    VecCheckNan,
    VecEnv,
    VecEnvWrapper,
    VecExtractDictObs,
    VecFrameStack,
    VecMonitor,
    VecNormalize,
    VecTransposeImage,
)

from sb3_ppo_scratch.checkpoints.random_states import make_generator, read_generator
from sb3_ppo_scratch.checkpoints.state_tree import State
from sb3_ppo_scratch.errors import ArgumentError

VECTOR_LAYERS: dict[type[VecEnvWrapper], tuple[str, ...]] = {
    VecNormalize: ("obs_rms", "ret_rms", "returns", "old_obs", "old_reward"),
    VecFrameStack: ("stacked_obs.stacked_obs",),
    VecMonitor: ("episode_returns", "episode_lengths", "episode_count", "t_start"),
    VecTransposeImage: (),
    VecExtractDictObs: (),
    VecCheckNan: (),
}
"""SB3's wrappers around vectorised environments, and where their state is."""
MONITOR = ("rewards", "needs_reset", "episode_returns", "episode_lengths", "episode_times", "total_steps")
LAYERS: dict[str, tuple[str, ...]] = {
    "Monitor": (*MONITOR, "current_reset_info", "t_start"),
    "TimeLimit": ("_elapsed_steps",),
    "PatchedTimeLimit": ("_elapsed_steps",),
    "OrderEnforcing": (),
    "PassiveEnvChecker": (),
    "ScaleReward": (),
    "BinAction": (),
}
"""Wrappers around single environments, and where their state is; a reset has done the rest. rl_zoo3 has a time limit of
its own, which it puts in the place of Gymnasium's; classes are not compared, since workers may have the other one."""
ENVIRONMENTS = {
    "CartPoleEnv": ("gymnasium.envs.classic_control.cartpole", ("state", "steps_beyond_terminated")),
    "MountainCarEnv": ("gymnasium.envs.classic_control.mountain_car", ("state",)),
    "Continuous_MountainCarEnv": ("gymnasium.envs.classic_control.continuous_mountain_car", ("state",)),
    "PendulumEnv": ("gymnasium.envs.classic_control.pendulum", ("state", "last_u")),
    "AcrobotEnv": ("gymnasium.envs.classic_control.acrobot", ("state",)),
}
"""Gymnasium's classic control: class, module, and where its state is."""
GENERATOR = "np_random"
MOMENTS = "running moments"
"""Marks SB3's `RunningMeanStd`."""


class Stack(NamedTuple):
    """What an environment is made of, as far as it is known."""

    attributes: tuple[str, ...]
    """Where the state of what is known is."""
    has_own: bool
    """Whether it has `get_state` and `set_state`."""
    unknown: tuple[str, ...]
    """Names of what is neither known nor covered by those."""


def find_stack(env: VecEnv) -> Stack:
    """Find out what environments are made of; all are alike.

    Args:
        env: The environments.

    Returns:
        Its layers.
    """
    try:
        description = str(env.env_method("__str__", indices=0)[0])
    except (ArgumentError, AttributeError, NotImplementedError):  # no single environments to ask
        return Stack((), has_own=False, unknown=(type(env.unwrapped).__name__,))
    *wrapper_names, base, env_id = _names(description)
    attributes: list[str] = []
    unknown: list[str] = []
    for name in wrapper_names:
        if name in LAYERS and wrapper_names.count(name) == 1 and all(map(env.has_attr, LAYERS[name])):
            attributes += LAYERS[name]
        else:
            unknown.append(name)
    if _is_classic_control(base, env_id):
        attributes += ENVIRONMENTS[base][1]
    else:
        unknown.append(base)
    has_own = bool(unknown) and env.has_attr("get_state") and env.has_attr("set_state")
    return Stack(tuple(attributes), has_own=has_own, unknown=() if has_own else tuple(unknown))


def _names(description: str) -> list[str]:
    """Read Gymnasium's description of an environment, from the outside in; the last is its id, or empty."""
    names = re.findall(r"[^<>]+", description)
    if names[-1].endswith(" instance"):
        return [*names[:-1], names[-1].removesuffix(" instance"), ""]
    return names


def _is_classic_control(class_name: str, env_id: str) -> bool:
    """Tell whether an environment is what Gymnasium has under this id."""
    if class_name not in ENVIRONMENTS or env_id not in gym.registry:
        return False
    return gym.registry[env_id].entry_point == f"{ENVIRONMENTS[class_name][0]}:{class_name}"


def why_unreadable(env: VecEnv) -> str:
    """Say why the state of environments cannot be read.

    Args:
        env: The environments.

    Returns:
        What has no `get_state` and `set_state`; empty if the state can be read.
    """
    return ", ".join(find_stack(env).unknown)


def read_environments(env: VecEnv) -> State:
    """Read the state of environments, of those that cannot be read what outlives a reset.

    Args:
        env: The environments.

    Returns:
        Their state.
    """
    stack = find_stack(env)
    return {
        "vector_layers": _read_vector_layers(env),
        "attributes": {name: env.get_attr(name) for name in stack.attributes},
        "own": env.env_method("get_state") if stack.has_own else None,
        "generators": None if stack.unknown else read_generators(env),
    }


def write_environments(env: VecEnv, state: State) -> None:
    """Bring environments to where others were.

    Args:
        env: New environments, made like those.
        state: What `read_environments` has read.

    Raises:
        ArgumentError: If they are made of other layers.
    """
    stack = find_stack(env)
    if set(stack.attributes) != set(state["attributes"]) or stack.has_own != (state["own"] is not None):
        raise ArgumentError(f"`env` is wrapped in another way than the run's: {env.env_method('__str__', indices=0)}")
    if state["generators"] is None:
        env.reset()
    else:
        write_generators(env, state["generators"])
    for name, values in state["attributes"].items():
        for index, value in enumerate(values):
            env.env_method("set_wrapper_attr", name, value, indices=index)
    if stack.has_own:
        for index, own in enumerate(state["own"]):
            env.env_method("set_state", own, indices=index)
    _write_vector_layers(env, state["vector_layers"])


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
    env.reset()  # so that all is set up, and no other seed waits
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
    return env.reset()


def _vector_layers(env: VecEnv) -> list[VecEnvWrapper]:
    """List the wrappers around the vectorised environments, from the outside in."""
    layers = []
    while isinstance(env, VecEnvWrapper):
        layers.append(env)
        env = env.venv
    return layers


def _has_own(layer: VecEnvWrapper) -> bool:
    """Tell whether a wrapper, not what it wraps, has both methods."""
    return all(callable(getattr(type(layer), name, None)) for name in ("get_state", "set_state"))


def _read_vector_layers(env: VecEnv) -> State:
    """Read the wrappers around the vectorised environments."""
    states = []
    for layer in _vector_layers(env):
        own: Any = layer
        if _has_own(layer):
            state = own.get_state()
        else:
            names = VECTOR_LAYERS.get(type(layer), ())
            state = {name: _moments_as_state(_get(layer, name)) for name in names if _has(layer, name)}
        states.append({"name": type(layer).__name__, "state": state})
    return states


def _write_vector_layers(env: VecEnv, states: State) -> None:
    """Write them.

    Raises:
        ArgumentError: If they are not the same wrappers.
    """
    layers: list[Any] = list(_vector_layers(env))
    if [type(layer).__name__ for layer in layers] != [each["name"] for each in states]:
        raise ArgumentError(
            f"`env` is wrapped in {[type(layer).__name__ for layer in layers]}, the run's in "
            f"{[each['name'] for each in states]}."
        )
    for layer, each in zip(layers, states, strict=True):
        if _has_own(layer):
            layer.set_state(each["state"])
            continue
        for name, value in each["state"].items():
            *path, last = name.split(".")
            setattr(_get(layer, ".".join(path)) if path else layer, last, _moments_from_state(value))


def _has(owner: Any, path: str) -> bool:
    """Tell whether there is an attribute at the end of a dotted path."""
    return hasattr(owner, path.split(".")[0])


def _get(owner: Any, path: str) -> Any:
    """Read the attribute at the end of a dotted path."""
    for name in path.split("."):
        owner = getattr(owner, name)
    return owner


def _moments_as_state(value: Any) -> State:
    """Take SB3's running moments apart; leave all else."""
    if isinstance(value, dict):
        return {name: _moments_as_state(each) for name, each in value.items()}
    if isinstance(value, RunningMeanStd):
        return {MOMENTS: (value.mean, value.var, value.count)}
    return value


def _moments_from_state(value: State) -> Any:
    """Put them together again."""
    if not isinstance(value, dict):
        return value
    if set(value) != {MOMENTS}:
        return {name: _moments_from_state(each) for name, each in value.items()}
    moments = RunningMeanStd()
    moments.mean, moments.var, moments.count = value[MOMENTS]
    return moments
