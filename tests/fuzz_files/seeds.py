"""Sound files, from which the fuzzer starts: those of releases, and small ones made here.

What is here: for each target, a handful of files. What is not: files that have been found (`findings.py`).
"""

import functools
import io
import pickle
import random
import tempfile
from collections import Counter, OrderedDict, defaultdict, deque
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch as th
import yaml
from gymnasium import spaces
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from sb3_ppo_scratch import PPOScratch
from sb3_ppo_scratch.checkpoints.state_tree import encode
from sb3_ppo_scratch.wrappers.running_moments import RunningMoments
from tests.envs import EndingsEnv
from tests.fuzz_files.targets import SEPARATOR
from tests.golden.make import FOLDER
from tests.untrusted.hostile import zipped

SPACES: tuple[tuple[gym.Space[Any], gym.Space[Any]], ...] = (
    (spaces.Discrete(2), spaces.Box(-1, 1, (2,))),
    (spaces.MultiDiscrete([2, 3]), spaces.Discrete(3)),
    (spaces.MultiBinary(2), spaces.Dict({"a": spaces.Box(0, 1, (1,)), "b": spaces.MultiBinary(2)})),
    (spaces.Box(np.array([-1.0, 0.0]), np.array([1.0, 2.0]), dtype=np.float64), spaces.MultiDiscrete([2, 2])),
)


@functools.cache
def seeds(name: str) -> tuple[bytes, ...]:
    """Make a target's sound files.

    Args:
        name: The target's.

    Returns:
        The files.
    """
    makers = {
        "zip": lambda: [zipped({}), zipped({"a": b"1", "b/c": b"22"}), *golden("model.zip"), *small_models()],
        "checkpoint": lambda: [*golden("checkpoint.zip"), *golden("model.zip"), small_checkpoint()],
        "model": lambda: [*golden("model.zip"), *golden("checkpoint.zip"), *small_models()],
        "statistics": small_statistics,
        "state": small_states,
        "settings": small_settings,
        "moments": lambda: [*golden("moments.npz"), *small_moments()],
    }
    return tuple(makers[name]())


def golden(name: str) -> list[bytes]:
    """Read files of releases."""
    return [path.read_bytes() for path in sorted(FOLDER.glob(f"*/{name}"))]


def model_of(action_space: gym.Space[Any], observation_space: gym.Space[Any], **arguments: Any) -> PPOScratch:
    """Make a model of few parameters."""
    env = EndingsEnv(action_space, observation_space)
    policy = "MultiInputPolicy" if isinstance(observation_space, spaces.Dict) else "MlpPolicy"
    small: dict[str, Any] = {"n_steps": 4, "batch_size": 4, "n_epochs": 1, "policy_kwargs": {"net_arch": [1]}}
    return PPOScratch(policy, env, seed=1, device="cpu", **{**small, **arguments})


def small_models() -> list[bytes]:
    """Save a model that has learnt, and one of each kind of space."""
    files = []
    for model in (model_of(*SPACES[0]).learn(4), *(model_of(*pair) for pair in SPACES)):
        file = io.BytesIO()
        model.save(file)
        files.append(file.getvalue())
    return files


def small_checkpoint() -> bytes:
    """Save a run."""
    with tempfile.TemporaryDirectory() as folder:
        model = model_of(*SPACES[0]).learn(4)
        model.save_checkpoint(Path(folder) / "run.zip")
        return (Path(folder) / "run.zip").read_bytes()


def small_statistics() -> list[bytes]:
    """Pickle `VecNormalize` in all protocols that hold bytes."""
    files = []
    for space in (SPACES[0][1], SPACES[2][1].spaces["a"], spaces.Dict({"a": SPACES[0][1], "b": SPACES[0][1]})):
        env = VecNormalize(DummyVecEnv([lambda space=space: EndingsEnv(spaces.Discrete(2), space)]))
        env.reset()
        files += [pickle.dumps(env, protocol) for protocol in (3, 4, 5)]
    return files


def small_states() -> list[bytes]:
    """Write states that hold one of each kind."""
    bits = np.random.PCG64, np.random.PCG64DXSM, np.random.MT19937, np.random.Philox, np.random.SFC64
    states: list[Any] = [
        {"numbers": [1, 2.5, None, True, "text", 2**70], "tuple": (1, (2,)), 3: {4}, None: frozenset({5})},
        [deque([1], 3), OrderedDict(a=1), Counter("aab"), defaultdict(list, {1: [2]})],
        [np.arange(6.0).reshape(2, 3), np.asfortranarray(np.ones((2, 3), np.uint8)), np.float32(1), np.zeros((0, 2))],
        [th.ones(2, 3), th.ones(3, dtype=th.bfloat16), th.tensor(1), list(range(20)), [0.5] * 20, [np.int8(1)] * 20],
        [RunningMeanStd(shape=(2,)), random.Random(1), th.Generator(), np.random.RandomState(1)],
        *(np.random.Generator(kind(1)) for kind in bits),
    ]
    written = map(encode, states)
    return [text.encode() + SEPARATOR + arrays for text, arrays in written]


def small_settings() -> list[bytes]:
    """Write settings as rl_zoo3 does."""
    wrappers = [{"gymnasium.wrappers.TimeLimit": {"max_episode_steps": 5}}, "sb3_ppo_scratch.wrappers.ScaleReward"]
    settings = OrderedDict(n_envs=2, policy="MlpPolicy", frame_stack=2, env_wrapper=wrappers, shape=(1, 2), rate=1e-3)
    plain = "a: &a [1, 2.5, ~, yes, 2001-01-01, 0x1f, 1_000, 1:30]\nb: *a\n? c\n: !!binary aGk=\nd: !!set {e}\n"
    return [yaml.dump(settings).encode(), yaml.dump(dict(settings)).encode(), plain.encode()]


def small_moments() -> list[bytes]:
    """Save statistics of two shapes."""
    files = []
    with tempfile.TemporaryDirectory() as folder:
        for shape in ((), (2, 2)):
            moments = RunningMoments(shape)
            moments.save(Path(folder) / "moments.npz")
            files.append((Path(folder) / "moments.npz").read_bytes())
    return files
