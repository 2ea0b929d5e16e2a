"""What is drawn: spaces, and the options of `PPOScratch`, each for a run of two short rollouts.

What is here: valid cases. What is not: the wrong values (`test_invalid_options.py`), and the wrappers' own arguments
(`test_wrappers.py`).
"""

import random
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch as th
from gymnasium import spaces
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from stable_baselines3.common.buffers import DictRolloutBuffer, RolloutBuffer
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.utils import ConstantSchedule, LinearSchedule

from sb3_ppo_scratch.rollout_buffers import ScratchDictRolloutBuffer, ScratchRolloutBuffer

LARGEST = 100.0
"""Bounds beyond that make losses overflow, which `on_nan` is about."""


class LinearExtractor(BaseFeaturesExtractor):
    """One layer, written as users write them."""

    def __init__(self, observation_space: spaces.Box, features_dim: int = 5) -> None:
        super().__init__(observation_space, features_dim)
        n_inputs = spaces.utils.flatdim(observation_space)
        if isinstance(observation_space, spaces.MultiDiscrete):
            n_inputs = int(observation_space.nvec.sum())
        self.linear = th.nn.Linear(n_inputs, features_dim)

    def forward(self, observations: th.Tensor) -> th.Tensor:
        return th.relu(self.linear(observations.flatten(1)))


class TinyCnn(BaseFeaturesExtractor):
    """One convolution, for images of any size."""

    def __init__(self, observation_space: spaces.Box) -> None:
        n_channels, height, width = observation_space.shape
        kernel = min(3, height, width)
        super().__init__(observation_space, 2 * (height - kernel + 1) * (width - kernel + 1))
        self.layers = th.nn.Sequential(th.nn.Conv2d(n_channels, 2, kernel), th.nn.ReLU(), th.nn.Flatten())

    def forward(self, observations: th.Tensor) -> th.Tensor:
        return self.layers(observations)


class Decay(NamedTuple):
    """A schedule: from a value to a part of it, as a quadratic function of the remaining progress."""

    start: float
    end: float

    def __call__(self, progress: float) -> float:
        return self.end + (self.start - self.end) * progress**2


@dataclass(frozen=True)
class TrainingCase:
    """A run."""

    observation_space: spaces.Space[Any]
    action_space: spaces.Space[Any]
    policy: str
    options: dict[str, Any]
    """`PPOScratch`'s arguments after `policy` and `env`, but `policy_kwargs`."""
    policy_kwargs: dict[str, Any]
    n_envs: int
    lengths: tuple[int, ...]
    """Of the episodes."""
    endings: tuple[str, ...]
    vec_normalize: bool
    seed: int
    """Of the environments, and of the run if `options` has none."""

    def option(self, name: str, default: Any = None) -> Any:
        """Look up an option that may have been left at its default."""
        return self.options.get(name, default)

    @property
    def is_mlp(self) -> bool:
        """Whether the networks consist of linear layers and activations."""
        return self.policy == "MlpPolicy"

    @property
    def has_hidden_layers(self) -> bool:
        """Whether there is an activation anywhere."""
        net_arch = self.policy_kwargs.get("net_arch", [64, 64])
        critic = self.option("critic", True)
        if isinstance(net_arch, dict):
            net_arch = net_arch.get("pi", []) + (net_arch.get("vf", []) if critic else [])
        return len(net_arch) > 0

    @property
    def is_covered(self) -> bool:
        """Whether the closed form covers the run, by the README's section "In Python"."""
        activation_fn = self.policy_kwargs.get("activation_fn", th.nn.Tanh)
        return (
            self.is_mlp
            and not self.option("use_sde", False)
            and (not self.has_hidden_layers or activation_fn in (th.nn.Tanh, th.nn.ReLU))
            and self.policy_kwargs.get("optimizer_class", th.optim.Adam) in (th.optim.Adam, th.optim.AdamW)
        )

    def without(self, *names: str, **others: Any) -> "TrainingCase":
        """Leave options out, and replace others."""
        kept = {name: value for name, value in self.options.items() if name not in names}
        return replace(self, options=kept | others)


class Coins:
    """Decides about many things at once; Hypothesis, asked for each by itself, makes them the same too often.

    Args:
        seed: Of all decisions.
    """

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def __call__(self, percent: int) -> bool:
        """Decide; yes in so many of a hundred cases."""
        return self._random.random() * 100 < percent


COINS = st.builds(Coins, st.integers(0, 2**24 - 1))


def floats(low: float, high: float, *also: float) -> st.SearchStrategy[float]:
    """Numbers between two bounds, or a few others; Hypothesis's own floats are 0, 1 and the like too often."""
    evenly = st.integers(0, 1000).map(lambda part: low + (high - low) * part / 1000)
    return st.one_of(evenly, evenly, evenly, st.floats(low, high), *map(st.just, also))


@st.composite
def float_boxes(draw: Any, *, bounded: bool = False, smallest_ndim: int = 1) -> spaces.Box:
    """Boxes of floats, their elements bounded on no, one or both sides; a bound may be the other one, too."""
    shape = draw(hnp.array_shapes(min_dims=smallest_ndim, max_dims=3, max_side=3))
    dtype = draw(st.sampled_from([np.float32, np.float32, np.float32, np.float64, np.float16]))
    numbers = st.floats(-LARGEST, LARGEST, width=16)
    first, second = draw(hnp.arrays(dtype, shape, elements=numbers)), draw(hnp.arrays(dtype, shape, elements=numbers))
    low, high = np.asarray(np.minimum(first, second)), np.asarray(np.maximum(first, second))
    if not bounded:
        low[draw(hnp.arrays(np.bool_, shape))] = -np.inf
        high[draw(hnp.arrays(np.bool_, shape))] = np.inf
    return spaces.Box(low, high, dtype=dtype)


@st.composite
def integer_boxes(draw: Any) -> spaces.Box:
    """Boxes of integers and bools."""
    shape = draw(hnp.array_shapes(max_dims=3, max_side=3))
    dtype = draw(st.sampled_from([np.int8, np.int32, np.int64, np.uint8, np.bool_]))
    if dtype is np.bool_:
        return spaces.Box(0, 1, shape, np.bool_)
    low = draw(st.integers(0 if dtype is np.uint8 else -100, 100))
    return spaces.Box(low, draw(st.integers(low, 100)), shape, dtype)


@st.composite
def images(draw: Any, smallest: int = 1, largest: int = 6) -> spaces.Box:
    """Images, channels first or last; of a single row or column it is not known which."""
    sides = draw(st.tuples(st.integers(smallest, largest), st.integers(smallest, largest)))
    n_channels = draw(st.sampled_from([1, 3]))
    return spaces.Box(0, 255, draw(st.sampled_from([(n_channels, *sides), (*sides, n_channels)])), np.uint8)


SIZES = st.lists(st.integers(1, 4), min_size=1, max_size=3)
DISCRETE = st.builds(spaces.Discrete, st.integers(1, 6))
MULTI_DISCRETE = st.builds(spaces.MultiDiscrete, SIZES)
VECTORS: st.SearchStrategy[spaces.Space[Any]] = st.one_of(
    float_boxes(), integer_boxes(), DISCRETE, MULTI_DISCRETE, st.builds(spaces.MultiBinary, SIZES)
)
DICTS = st.one_of(
    st.dictionaries(st.sampled_from(["place", "speed", "a b"]), VECTORS, min_size=1, max_size=3).map(spaces.Dict),
    st.builds(lambda image, vector: spaces.Dict({"image": image, "vector": vector}), images(36, 36), VECTORS),
)
ACTION_SPACES: st.SearchStrategy[spaces.Space[Any]] = st.one_of(
    float_boxes(bounded=True, smallest_ndim=0),
    DISCRETE,
    MULTI_DISCRETE,
    st.builds(spaces.MultiBinary, st.integers(1, 4)),
)


def schedules(low: float, high: float, *also: Any) -> st.SearchStrategy[Any]:
    """Constants and schedules with values between two bounds, or others."""
    values = floats(low, high)
    return st.one_of(
        values,
        values.map(np.float32),
        st.builds(Decay, values, values),
        st.builds(LinearSchedule, values, values, st.sampled_from([0.5, 1.0])),
        st.builds(ConstantSchedule, values),
        *map(st.just, also),
    )


WIDTHS = st.lists(st.integers(1, 16), max_size=3)
NET_ARCHS = st.one_of(WIDTHS, st.fixed_dictionaries({}, optional={"pi": WIDTHS, "vf": WIDTHS}), st.builds(list, WIDTHS))
ADAM_OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "eps": st.sampled_from([1e-5, 1e-4, 1e-2]),
        "betas": st.tuples(floats(0.0, 0.9), floats(0.5, 0.999)),
        "weight_decay": floats(0.0, 0.1),
        "amsgrad": st.booleans(),
        "maximize": st.booleans(),
    },
)


@st.composite
def optimizers(draw: Any) -> dict[str, Any]:
    """`policy_kwargs` about the optimiser."""
    kind = draw(st.sampled_from([th.optim.Adam] * 5 + [th.optim.AdamW] * 3 + [th.optim.SGD, th.optim.RMSprop]))
    if kind in (th.optim.Adam, th.optim.AdamW):
        return {"optimizer_class": kind, "optimizer_kwargs": draw(ADAM_OPTIONS)}
    momentum = draw(st.sampled_from([0.0, 0.9]))
    more = {"eps": 1e-3} if kind is th.optim.RMSprop else {}
    return {"optimizer_class": kind, "optimizer_kwargs": {"momentum": momentum, **more}}


@st.composite
def policies(draw: Any, policy: str, *, share_features: bool, use_sde: bool) -> dict[str, Any]:
    """`policy_kwargs` that go with a policy, and with two other options."""
    coins = draw(COINS)
    kwargs: dict[str, Any] = {}
    if coins(80):
        kwargs["net_arch"] = draw(WIDTHS if share_features else NET_ARCHS)
    if coins(50):
        others = [th.nn.ELU, th.nn.LeakyReLU, th.nn.Sigmoid]
        kwargs["activation_fn"] = draw(st.sampled_from([th.nn.ReLU] * 10 + [th.nn.Tanh] * 5 + others))
    if coins(20):
        kwargs["log_std_init"] = draw(floats(-2.0, 1.0))
    if coins(15):
        kwargs["normalize_images"] = draw(st.booleans())
    if coins(15) and not share_features:
        kwargs["share_features_extractor"] = draw(st.booleans())
    if coins(50):
        kwargs |= draw(optimizers())
    if policy == "CnnPolicy":
        kwargs["features_extractor_class"] = TinyCnn
    elif policy == "MlpPolicy" and coins(15):
        kwargs["features_extractor_class"] = LinearExtractor
        kwargs["features_extractor_kwargs"] = {"features_dim": draw(st.integers(1, 8))}
    if use_sde:
        kwargs |= draw(st.fixed_dictionaries({}, optional={name: st.booleans() for name in ("full_std", "use_expln")}))
        kwargs["squash_output"] = draw(st.booleans())
    return kwargs


SHARED_WITH_STOCK: dict[str, tuple[int, st.SearchStrategy[Any]]] = {
    "learning_rate": (90, schedules(1e-4, 3e-3, 0)),
    "n_epochs": (100, st.integers(1, 4)),
    "gamma": (60, floats(0.0, 1.0, 0, 1)),
    "gae_lambda": (60, floats(0.0, 1.0, 0, 1)),
    "clip_range": (60, schedules(0.03, 0.5, None, 1e6)),
    "clip_range_vf": (50, schedules(0.03, 1.0, None)),
    "normalize_advantage": (30, st.booleans()),
    "ent_coef": (80, floats(-0.01, 0.1, 0)),
    "vf_coef": (50, floats(0.0, 2.0, 0, 1)),
    "max_grad_norm": (50, floats(0.05, 5.0, float("inf"), 1)),
    "tensorboard_log": (2, st.just("a folder")),
    "stats_window_size": (10, st.integers(1, 10)),
    "seed": (80, st.integers(0, 2**31 - 1)),
    "device": (20, st.sampled_from(["cpu", "auto", th.device("cpu")])),
    "verbose": (10, st.sampled_from([0, 1, 2, True])),
    "rollout_buffer_kwargs": (10, st.sampled_from([None, {}])),
}
"""How many of a hundred cases give an option, and what it is then; those that SB3's PPO has, and that go with all."""
OWN: dict[str, tuple[int, st.SearchStrategy[Any]]] = {
    "torch_threads": (20, st.sampled_from(["auto", 1, None])),
    "n_episodes": (15, st.integers(1, 5)),
    "timeout_bootstrap": (15, st.booleans()),
    "orthogonal_init": (15, st.booleans()),
    "on_nan": (20, st.sampled_from(["raise", "skip", "restore"])),
    "critic": (12, st.booleans()),
    "share_features": (12, st.booleans()),
}
"""Likewise those that SB3's PPO does not have."""


@st.composite
def options_by_themselves(draw: Any) -> dict[str, Any]:
    """Options that say nothing about the others or the spaces."""
    coins = draw(COINS)
    options = {"n_steps": draw(st.integers(1, 12)), "batch_size": draw(st.one_of(st.none(), st.integers(1, 40)))}
    for name, (percent, values) in (SHARED_WITH_STOCK | OWN).items():
        if coins(percent):
            options[name] = draw(values)
    return options


@st.composite
def options_about_advantages(draw: Any, *, is_dict: bool) -> dict[str, Any]:
    """Options about advantages and the buffer that goes with them."""
    coins = draw(COINS)
    options: dict[str, Any] = {}
    if coins(20):
        options["advantage"] = draw(st.sampled_from(["gae", "monte_carlo"]))
        if options["advantage"] == "monte_carlo":
            options["normalize_returns"] = draw(st.booleans())
    if coins(15):
        ours, stock = (
            (ScratchRolloutBuffer, RolloutBuffer) if not is_dict else (ScratchDictRolloutBuffer, DictRolloutBuffer)
        )
        options["rollout_buffer_class"] = (
            ours if options.get("advantage") == "monte_carlo" else draw(st.sampled_from([ours, stock]))
        )
    return options


@st.composite
def options_about_kl(draw: Any) -> dict[str, Any]:
    """Options about the KL divergence."""
    coins = draw(COINS)
    if not coins(35):
        return draw(st.sampled_from([{}, {}, {"kl_mode": None}, {"kl_mode": "none"}]))
    options: dict[str, Any] = {"target_kl": draw(floats(1e-4, 0.1, 1, 1e3))}
    if coins(60):
        options["kl_mode"] = draw(st.sampled_from(["early_stop", "penalty", "adaptive_lr", "rollback"]))
    if options.get("kl_mode") == "penalty" and coins(50):
        options["kl_coef"] = draw(floats(1e-3, 100.0))
    return options


@st.composite
def training_cases(draw: Any) -> TrainingCase:
    """Any pair of supported spaces with any options that go together."""
    coins = draw(COINS)
    policy = draw(st.sampled_from(["MlpPolicy"] * 16 + ["CnnPolicy"] * 2 + ["MultiInputPolicy"] * 2))
    by_policy = {
        "MlpPolicy": st.one_of(VECTORS, VECTORS, VECTORS, images()),
        "CnnPolicy": images(),
        "MultiInputPolicy": DICTS,
    }
    observation_space, action_space = draw(by_policy[policy]), draw(ACTION_SPACES)
    options = draw(options_by_themselves()) | draw(options_about_kl())
    options |= draw(options_about_advantages(is_dict=policy == "MultiInputPolicy"))
    is_box = isinstance(observation_space, spaces.Box)
    options["use_sde"] = isinstance(action_space, spaces.Box) and coins(25)
    if options["use_sde"]:
        options["sde_sample_freq"] = draw(st.sampled_from([-1, 1, 3]))
    kwargs = draw(policies(policy, share_features=options.get("share_features", False), use_sde=options["use_sde"]))
    if policy == "MultiInputPolicy" and any(len(part.shape or ()) == 3 for part in observation_space.spaces.values()):
        kwargs.pop("normalize_images", None)  # SB3 would take any part of three dimensions for an image
    if is_box and coins(15):
        options |= {"normalize_observations": True, "observation_clip": draw(floats(0.5, 20.0, float("inf")))}
    if not kwargs.get("squash_output") and coins(15):
        options["store_clipped_actions"] = draw(st.booleans()) and is_within_reach(action_space)
    if coins(10) and "eps" not in kwargs.get("optimizer_kwargs", {}) and "optimizer_class" not in kwargs:
        options["adam_epsilon"] = draw(st.sampled_from([1e-5, 1e-3]))
    n_envs = draw(st.integers(1, 4))
    settle(options, n_envs)
    if kwargs.get("optimizer_class") is th.optim.SGD and options.get("max_grad_norm") == float("inf"):
        options["max_grad_norm"] = 0.5  # else steps are as long as the gradient, and some lead to infinite losses
    case = TrainingCase(
        observation_space,
        action_space,
        policy,
        options,
        kwargs,
        n_envs,
        lengths=tuple(draw(st.lists(st.integers(1, 7), min_size=1, max_size=3))),
        endings=tuple(draw(st.lists(st.sampled_from(["terminated", "truncated", "both"]), min_size=1, max_size=3))),
        vec_normalize=is_box and observation_space.dtype == np.float32 and coins(10),
        seed=draw(st.integers(0, 10_000)),
    )
    choices = ["auto"] * 8 + ["autograd"] + (["closed_form"] * 2 if case.is_covered else [])
    return replace(case, options=options | {"update": draw(st.sampled_from(choices))})


def is_within_reach(space: spaces.Space[Any]) -> bool:
    """Whether new policies, which act around 0, reach the bounds; else clipped actions make ratios that overflow."""
    return not isinstance(space, spaces.Box) or bool(np.all((space.low < 3.0) & (space.high > -3.0)))


def settle(options: dict[str, Any], n_envs: int) -> None:
    """Change options that contradict each other (see `argument_checks.check_combinations`)."""
    if options.get("critic") is False:
        options.pop("clip_range_vf", None)
    if options.get("normalize_advantage", True) and options["batch_size"] == 1:
        options["batch_size"] = 2
    if options.get("normalize_advantage", True) and options["n_steps"] * n_envs == 1:
        options["n_steps"] = 2
