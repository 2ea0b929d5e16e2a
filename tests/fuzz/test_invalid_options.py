"""Any valid set of options with one that is wrong: an error that names it, before the environment is stepped."""

import inspect
import math
import warnings
from dataclasses import dataclass, replace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from hypothesis import strategies as st
from stable_baselines3.common.buffers import ReplayBuffer, RolloutBuffer
from stable_baselines3.common.vec_env import DummyVecEnv

from sb3_ppo_scratch import PPOScratch
from sb3_ppo_scratch.errors import ArgumentError, ArgumentTypeError
from tests.fuzz.exploring import Tally, explore
from tests.fuzz.following_env import FollowingEnv
from tests.fuzz.strategies import TrainingCase, training_cases

FEW = 200
FEW_SPACES = 40


def never(progress: float) -> float:
    """A schedule that is wrong from the beginning."""
    return math.nan


NONE = st.none()
TEXT = st.text(max_size=6)
THINGS = st.sampled_from([(), [], {}, [0.5], (1,), b"1", 1j, np.array(0.5), np.array([1, 2]), th.tensor(0.5), object()])
BOOLS = st.sampled_from([True, False, np.True_, np.False_])
NAN = st.sampled_from([math.nan, np.float32("nan")])
INFINITE = st.sampled_from([math.inf, -math.inf, np.float64("inf")])
NEGATIVE = st.one_of(st.floats(max_value=-1e-9), st.integers(max_value=-1))
ZERO = st.sampled_from([0, 0.0, -0.0])
FRACTIONS = st.one_of(st.floats(), st.floats(width=32).map(np.float32))
NO_NUMBER = st.one_of(TEXT, THINGS, BOOLS)
NO_INTEGER = st.one_of(NO_NUMBER, FRACTIONS)
NO_BOOL = st.one_of(TEXT, THINGS, NONE, st.sampled_from([np.True_, 0, 1, 1.0]), FRACTIONS)
NO_COUNT = st.one_of(NO_INTEGER, st.integers(max_value=0))
NO_SCHEDULE = st.one_of(
    NO_NUMBER,
    NAN,
    INFINITE,
    NEGATIVE,
    st.sampled_from([never, lambda: 1.0, lambda progress: "x", lambda progress: -1.0]),
)
NO_POSITIVE = st.one_of(NO_NUMBER, NAN, NEGATIVE, ZERO)
OUTSIDE = st.one_of(st.floats(max_value=-1e-9), st.floats(min_value=1.0, exclude_min=True), st.integers(min_value=2))
NO_FRACTION = st.one_of(NO_NUMBER, NONE, NAN, OUTSIDE)


def no_choice(*choices: str) -> st.SearchStrategy[Any]:
    """What is none of some words."""
    return st.one_of(TEXT.filter(lambda text: text not in choices), THINGS, BOOLS, st.integers(), FRACTIONS)


def no_dict() -> st.SearchStrategy[Any]:
    """What is no dict, and is not None."""
    return st.one_of(TEXT, BOOLS, FRACTIONS, st.sampled_from([[], (), [("a", 1)], {1}, object()]))


NO_WIDTHS = st.one_of(
    TEXT, st.integers(), FRACTIONS, st.lists(st.one_of(st.integers(max_value=0), TEXT, st.floats()), min_size=1)
)
POLICY_KWARGS: dict[str, st.SearchStrategy[Any]] = {
    "net_arch": st.one_of(
        NO_WIDTHS,
        st.fixed_dictionaries({"pi": NO_WIDTHS}),
        st.dictionaries(TEXT.filter(lambda key: key not in ("pi", "vf")), st.just([4]), min_size=1),
    ),
    "activation_fn": st.one_of(NONE, TEXT, st.sampled_from([th.tanh, th.nn.Tanh(), 3])),
    "log_std_init": st.one_of(NO_NUMBER, NONE, NAN, INFINITE),
    "optimizer_class": st.one_of(NONE, TEXT, st.sampled_from([int, 3, th.nn.Tanh])),
    "optimizer_kwargs": st.sampled_from([3, "eps", {"lrr": 1e-3}, {"eps": -1.0}, {"betas": (2.0, 0.9)}, {"lr": 1e-3}]),
    "features_extractor_class": st.one_of(NONE, TEXT, st.sampled_from([int, 3])),
    "features_extractor_kwargs": st.sampled_from([3, "x", {"no_such": 1}]),
    "use_sde": st.booleans(),
    "action_space": st.just(spaces.Discrete(2)),
    "no_such_argument": st.integers(),
    **dict.fromkeys(
        ("ortho_init", "full_std", "use_expln", "squash_output", "share_features_extractor", "normalize_images"),
        NO_BOOL,
    ),
}
"""What is wrong inside of `policy_kwargs`."""
ON_OFF = (
    "normalize_advantage", "use_sde", "normalize_observations", "normalize_returns", "critic", "share_features",
    "timeout_bootstrap", "store_clipped_actions", "orthogonal_init", "_init_setup_model",
)  # fmt: skip
WRONG: dict[str, st.SearchStrategy[Any]] = {
    **dict.fromkeys(ON_OFF, NO_BOOL),
    **dict.fromkeys(("n_steps", "n_epochs", "stats_window_size"), st.one_of(NO_COUNT, NONE)),
    **dict.fromkeys(("batch_size", "n_episodes"), NO_COUNT),
    **dict.fromkeys(("gamma", "gae_lambda"), NO_FRACTION),
    **dict.fromkeys(("ent_coef", "vf_coef"), st.one_of(NO_NUMBER, NONE, NAN, INFINITE)),
    **dict.fromkeys(("max_grad_norm", "observation_clip"), st.one_of(NO_POSITIVE, NONE)),
    **dict.fromkeys(("target_kl", "adam_epsilon"), NO_POSITIVE),
    **dict.fromkeys(("clip_range", "clip_range_vf"), st.one_of(NO_SCHEDULE, ZERO)),
    "learning_rate": st.one_of(NO_SCHEDULE, NONE),
    "kl_coef": st.one_of(NO_POSITIVE, NONE, INFINITE),
    "sde_sample_freq": st.one_of(NO_INTEGER, NONE, st.integers(max_value=-2), st.just(0)),
    "torch_threads": st.one_of(NO_COUNT.filter(lambda value: not isinstance(value, str) or value != "auto")),
    "rollout_buffer_class": st.one_of(TEXT, BOOLS, FRACTIONS, st.sampled_from([int, ReplayBuffer, [], object()])),
    "rollout_buffer_kwargs": st.one_of(no_dict(), st.sampled_from([{"no_such": 1}, {"gamma": 0.9}, {1: 2}])),
    "tensorboard_log": st.one_of(BOOLS, FRACTIONS, st.integers(), st.sampled_from([[], {}, b"logs", object()])),
    "policy_kwargs": st.one_of(
        no_dict(), *(st.fixed_dictionaries({name: values}) for name, values in POLICY_KWARGS.items())
    ),
    "verbose": st.one_of(TEXT, THINGS, NONE, FRACTIONS, st.integers(max_value=-1)),
    "seed": st.one_of(NO_INTEGER, st.integers(max_value=-1), st.integers(min_value=2**32)),
    "device": st.one_of(
        NONE,
        BOOLS,
        FRACTIONS,
        st.integers(max_value=-1),
        st.sampled_from([[], {}, b"x", "", "gpu", "cpu0:", "CPU", object()]),
    ),
    "update": st.one_of(no_choice("auto", "autograd", "closed_form"), NONE),
    "advantage": st.one_of(no_choice("gae", "monte_carlo"), NONE),
    "kl_mode": no_choice("none", "early_stop", "penalty", "adaptive_lr", "rollback"),
    "on_nan": st.one_of(no_choice("raise", "skip", "restore"), NONE),
    "step_timeout": st.sampled_from([0, -1.0, np.nan, np.inf, "1", True, [1.0]]),
    "policy": st.one_of(no_choice(*PPOScratch.policy_aliases), NONE, st.sampled_from([int, FollowingEnv])),
    "env": st.one_of(NONE, st.integers(), FRACTIONS, st.sampled_from([[], {}, object(), FollowingEnv])),
}
"""For each argument what it must not be."""
CONTRADICTIONS: list[tuple[str, dict[str, Any]]] = [
    ("normalize_returns", {"normalize_returns": True, "advantage": "gae"}),
    ("batch_size", {"batch_size": 1, "normalize_advantage": True, "n_steps": 8}),
    ("n_steps", {"n_steps": 1, "normalize_advantage": True, "n_episodes": None, "batch_size": None}),
    ("clip_range_vf", {"clip_range_vf": 0.2, "critic": False}),
    ("kl_coef", {"kl_coef": 2.0, "kl_mode": None}),
    ("kl_mode", {"kl_mode": "penalty", "target_kl": None, "kl_coef": 1.0}),
    ("kl_mode", {"kl_mode": "none", "target_kl": 0.1, "kl_coef": 1.0}),
    ("advantage", {"advantage": "monte_carlo", "rollout_buffer_class": RolloutBuffer}),
    ("orthogonal_init", {"orthogonal_init": False, "policy_kwargs": {"ortho_init": True}}),
    ("adam_epsilon", {"adam_epsilon": 1e-5, "policy_kwargs": {"optimizer_kwargs": {"eps": 1e-3}}}),
    ("share_features", {"share_features": True, "policy_kwargs": {"net_arch": {"pi": [4], "vf": [4]}}}),
    ("share_features", {"share_features": True, "policy_kwargs": {"share_features_extractor": False}}),
    ("update", {"update": "closed_form", "policy_kwargs": {"activation_fn": th.nn.ELU}}),
    ("squash_output", {"use_sde": False, "policy_kwargs": {"squash_output": True}}),
]
"""The argument that an error has to name, and options that do not go together (each by itself goes)."""


@dataclass(frozen=True)
class WrongCase:
    """A valid case with options that are not."""

    valid: TrainingCase
    name: str
    """The argument at fault."""
    options: dict[str, Any]
    """What takes the place of the valid ones."""


@st.composite
def wrong_cases(draw: Any) -> WrongCase:
    """One option that is wrong in a valid set, or a contradiction."""
    name = draw(st.sampled_from([*WRONG, *["policy_kwargs"] * 5, *["a contradiction"] * 5]))
    if name != "a contradiction":
        options = {name: draw(WRONG[name])}
        return WrongCase(draw(training_cases()), name, options)
    name, options = draw(st.sampled_from(CONTRADICTIONS))
    valid = draw(training_cases())
    plain = replace(
        valid, options={}, policy_kwargs={}, policy="MlpPolicy", n_envs=1, observation_space=spaces.Box(-1, 1, (3,))
    )
    return WrongCase(plain, name, {"n_steps": 8, "batch_size": 4, **options})


class NeverStepped(FollowingEnv):
    """Ends the test if it is stepped."""

    def step(self, action: Any) -> Any:
        raise SystemExit("stepped")


def check_wrong(case: WrongCase, tally: Tally) -> None:
    valid = case.valid
    env = DummyVecEnv([lambda: NeverStepped(valid.observation_space, valid.action_space)] * valid.n_envs)
    arguments = {"policy": valid.policy, "env": env, "policy_kwargs": valid.policy_kwargs, **valid.options}
    arguments["device"] = "cpu"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises((ArgumentError, ArgumentTypeError), match=rf"\b{case.name}\b"):
            PPOScratch(**arguments | case.options).learn(100)
    value = case.options.get(case.name)
    parts = (
        [f"policy_kwargs.{name}" for name in value] if case.name == "policy_kwargs" and isinstance(value, dict) else []
    )
    tally.count((case.name, case.options, valid), case.name, *parts)


def explore_wrong_options(*, examples: int = FEW, fresh: bool = False) -> Tally:
    """Try wrong values in sets of options that are valid otherwise."""
    return explore(wrong_cases(), check_wrong, examples=examples, fresh=fresh)


def test_any_wrong_option_raises_by_name_before_the_first_step() -> None:
    assert explore_wrong_options().n_cases >= FEW / 2


def test_every_argument_has_wrong_values_here() -> None:
    assert set(WRONG) == set(inspect.signature(PPOScratch.__init__).parameters) - {"self"}


NOT_FROM_0 = st.one_of(
    st.builds(spaces.Discrete, st.integers(1, 4), start=st.integers(1, 3)),
    st.builds(
        lambda starts: spaces.MultiDiscrete([3] * len(starts), start=starts), st.lists(st.integers(1, 3), min_size=1)
    ),
)
TABLES = st.builds(
    lambda rows, columns: spaces.MultiDiscrete(np.full((rows, columns), 2)), st.integers(1, 3), st.integers(1, 3)
)
NESTED = st.sampled_from(
    [
        spaces.Tuple([spaces.Discrete(2)]),
        spaces.Text(3),
        spaces.Sequence(spaces.Discrete(2)),
        spaces.Graph(spaces.Discrete(2), None),
        spaces.OneOf([spaces.Discrete(2)]),
        spaces.Dict({"a": spaces.Dict({"b": spaces.Discrete(2)})}),
    ]
)
EMPTY = st.sampled_from([(0,), (2, 0)]).map(lambda shape: spaces.Box(-1, 1, shape))
NUMBERS = st.just(spaces.Box(-1, 1, ()))
WRONG_OBSERVATIONS = st.one_of(NOT_FROM_0, TABLES, NESTED, EMPTY, NUMBERS)
WRONG_PARTS = st.one_of(NOT_FROM_0, TABLES, NESTED, NUMBERS).map(lambda part: spaces.Dict({"part": part}))
UNBOUNDED = st.sampled_from([(-np.inf, np.inf), (0, np.inf), (-np.inf, 0)]).map(
    lambda bounds: spaces.Box(*bounds, (2,))
)
WRONG_ACTIONS = st.one_of(
    NOT_FROM_0, TABLES, NESTED, EMPTY, UNBOUNDED, st.just(spaces.MultiBinary((2, 2))), st.just(spaces.Dict({}))
)
GOOD = st.just(spaces.Discrete(2))
WRONG_SPACES = st.one_of(
    st.tuples(WRONG_OBSERVATIONS, GOOD), st.tuples(WRONG_PARTS, GOOD), st.tuples(GOOD, WRONG_ACTIONS)
)
"""Pairs of an observation space and an action space."""


def check_wrong_spaces(pair: tuple[spaces.Space[Any], spaces.Space[Any]], tally: Tally) -> None:
    observation_space, action_space = pair
    policy = "MultiInputPolicy" if isinstance(observation_space, spaces.Dict) else "MlpPolicy"
    env: gym.Env[Any, Any] = NeverStepped(observation_space, action_space)
    with pytest.raises(ArgumentError, match="space"):
        PPOScratch(policy, env, n_steps=8, batch_size=8).learn(100)
    tally.count(pair, "spaces")


def explore_wrong_spaces(*, examples: int = FEW_SPACES, fresh: bool = False) -> Tally:
    """Try spaces that cannot be used."""
    return explore(WRONG_SPACES, check_wrong_spaces, examples=examples, fresh=fresh)


def test_any_space_that_cannot_be_used_raises_before_the_first_step() -> None:
    assert explore_wrong_spaces().n_cases >= 20
