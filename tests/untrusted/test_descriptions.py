"""Objects described by data come back as they were."""

from typing import Any

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from rl_zoo3.utils import SimpleLinearSchedule
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.torch_layers import NatureCNN
from stable_baselines3.common.utils import ConstantSchedule, FloatSchedule, LinearSchedule

from sb3_ppo_scratch.checkpoints.state_tree import decode, encode
from sb3_ppo_scratch.policies import BinnedMlpPolicy
from sb3_ppo_scratch.untrusted.descriptions import (
    CLASSES,
    FIELDS,
    NotDescribableError,
    _find_class,
    describe,
    describe_all,
    make_described,
)


def there_and_back(value: Any) -> Any:
    """Describe something, write that, read it, and make it again."""
    return make_described(decode(*encode(describe(value))))


def random_space(rng: np.random.Generator, depth: int = 0) -> spaces.Space[Any]:
    """Draw a space of any kind."""
    kind = rng.integers(6 if depth < 2 else 4)
    shape = tuple(int(length) for length in rng.integers(1, 4, rng.integers(1, 4)))
    if kind == 0:
        low, high = rng.choice([-np.inf, -1.5, 0.0], size=shape), rng.choice([0.5, 2.0, np.inf], size=shape)
        return spaces.Box(low, high, dtype=np.float32 if rng.integers(2) else np.float64)
    if kind == 1:
        return spaces.Discrete(int(rng.integers(1, 9)), start=int(rng.integers(-3, 3)))
    if kind == 2:
        return spaces.MultiDiscrete(rng.integers(1, 9, shape), start=rng.integers(-3, 3, shape))
    if kind == 3:
        return spaces.MultiBinary(shape if rng.integers(2) else int(rng.integers(1, 9)))
    parts = [random_space(rng, depth + 1) for _ in range(rng.integers(1, 4))]
    if kind == 4:
        return spaces.Tuple(parts)
    return spaces.Dict({f"{rng.integers(99)} {number}": part for number, part in enumerate(parts)})


@pytest.mark.parametrize("seed", range(60))
def test_spaces_come_back(seed: int) -> None:
    space = random_space(np.random.default_rng(seed))
    again = there_and_back(space)
    assert again == space
    assert repr(again) == repr(space)
    assert again.dtype == space.dtype


def test_pictures_come_back_in_few_bytes() -> None:
    space = spaces.Box(0, 255, (84, 84, 4), np.uint8)
    assert there_and_back(space) == space
    assert len(encode(describe(space))[0]) < 300


@pytest.mark.parametrize(
    "schedule",
    [
        ConstantSchedule(0.1),
        LinearSchedule(1e-3, 1e-5, 0.7),
        FloatSchedule(0.2),
        FloatSchedule(LinearSchedule(1.0, 0.0, 1.0)),
        FloatSchedule(SimpleLinearSchedule("0.25")),
    ],
    ids=repr,
)
def test_schedules_come_back(schedule: Any) -> None:
    again = there_and_back(schedule)
    assert type(again) is type(schedule)
    for progress in np.linspace(0, 1, 11):
        assert again(progress) == schedule(progress)


def test_policy_arguments_come_back() -> None:
    arguments = {
        "net_arch": {"pi": [64, 32], "vf": [16]},
        "activation_fn": th.nn.ReLU,
        "optimizer_class": th.optim.RMSprop,
        "optimizer_kwargs": {"eps": 1e-5, "betas": (0.9, 0.99)},
        "features_extractor_class": NatureCNN,
        "log_std_init": -2,
        "ortho_init": False,
    }
    assert there_and_back(arguments) == arguments
    assert there_and_back([ActorCriticPolicy, BinnedMlpPolicy]) == [ActorCriticPolicy, BinnedMlpPolicy]


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_all_classes_that_may_be_named_are_there(name: str) -> None:
    assert describe(_find_class(name, CLASSES)) == {"the class": name}


@pytest.mark.parametrize("name", sorted(FIELDS))
def test_all_classes_whose_objects_are_described_are_there(name: str) -> None:
    kind = _find_class(name, FIELDS)
    assert f"{kind.__module__}.{kind.__qualname__}" == name


class MyBox(spaces.Box):
    """A space of one's own."""


@pytest.mark.parametrize("value", [lambda progress: progress, MyBox(0, 1), MyBox, object(), {"the class": 1}])
def test_what_is_not_known_is_not_described(value: Any) -> None:
    with pytest.raises(NotDescribableError, match=r"\w"):
        describe([value])
    described, others = describe_all({"a": value, "b": 1})
    assert described == {"b": 1}
    assert others.keys() == {"a"}
