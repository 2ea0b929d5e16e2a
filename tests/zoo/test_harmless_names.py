"""What runs that nobody vouches for may name."""

from typing import Any

import gymnasium as gym
import pytest
from stable_baselines3.common.vec_env import VecEnvWrapper

from sb3_ppo_scratch.zoo.harmless_names import HARMLESS, check_names
from sb3_ppo_scratch.zoo.wrapper_lists import resolve


@pytest.mark.parametrize("name", sorted(HARMLESS))
def test_all_are_wrappers(name: str) -> None:
    wrapper = resolve(name)
    assert issubclass(wrapper, gym.Wrapper | VecEnvWrapper)


def test_settings_without_foreign_names_pass() -> None:
    check_names("CartPole-v1", [], {})
    wrappers = ["gymnasium.wrappers.FlattenObservation", {"sb3_ppo_scratch.wrappers.ScaleReward": {"scale": 2.0}}]
    assert check_names("CartPole-v1", [], {"env_wrapper": wrappers, "vec_env_wrapper": None}) is None


@pytest.mark.parametrize(
    ("env_id", "packages", "settings", "message"),
    [
        ("evil:Env-v0", [], {}, "the environment 'evil:Env-v0' imports a module; --trusted"),
        ("CartPole-v1", ["evil"], {}, "the run imports the package 'evil'; --trusted"),
        ("CartPole-v1", [], {"frame_stack": 10**9}, "stacks 1000000000 frames; up to 64"),
        ("CartPole-v1", [], {"frame_stack": "four"}, "stacks 'four' frames"),
        ("CartPole-v1", [], {"env_wrapper": "os.system"}, "`env_wrapper` names 'os.system'; --trusted"),
        ("CartPole-v1", [], {"env_wrapper": [{"evil.Wrapper": {}}]}, "`env_wrapper` names 'evil.Wrapper'"),
        ("CartPole-v1", [], {"env_wrapper": gym.Wrapper}, "`env_wrapper` names <class"),
        ("CartPole-v1", [], {"vec_env_wrapper": "evil.VecWrapper"}, "`vec_env_wrapper` names 'evil.VecWrapper'"),
        (
            "CartPole-v1",
            [],
            {"env_wrapper": "gymnasium.wrappers.RecordVideo"},
            "names 'gymnasium.*RecordVideo'",
        ),
    ],
)
def test_foreign_names_are_refused(env_id: str, packages: list[str], settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_names(env_id, packages, settings)
