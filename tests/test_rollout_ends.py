"""Tests of rollouts of whole episodes (`rollout_ends.py`), on environments whose every transition can be told apart."""

import warnings
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecEnv

from sb3_ppo_scratch import PPOScratch, rollout_ends

LENGTHS = (4, 2, 3)


class LabelledEpisodes(gym.Env[Any, Any]):
    """Observations name environment, episode and step; the k-th episode of environment i has its own length.

    Args:
        number: The environment's number.
        truncated: Whether episodes are truncated rather than terminated.
        as_dict: Whether observations are a Dict.
    """

    action_space = spaces.Discrete(2)

    def __init__(self, number: int = 0, truncated: bool = False, as_dict: bool = False) -> None:
        self.number, self.truncated, self.episode = number, truncated, -1
        box = spaces.Box(-100, 100, (3,), np.float32)
        self.observation_space = spaces.Dict({"label": box}) if as_dict else box

    def length(self) -> int:
        return LENGTHS[(self.number + self.episode) % 3] + self.number

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.episode, self.taken = self.episode + 1, 0
        return self._observe(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.taken += 1
        ended = self.taken == self.length()
        reward = 100.0 * self.number + 10.0 * self.episode + self.taken
        return self._observe(), reward, ended and not self.truncated, ended and self.truncated, {}

    def _observe(self) -> Any:
        label = np.array([self.number, self.episode, self.taken], dtype=np.float32)
        return {"label": label} if isinstance(self.observation_space, spaces.Dict) else label


def make(n_envs: int, n_episodes: int, *, vec_env: type[VecEnv] = DummyVecEnv, **arguments: Any) -> PPOScratch:
    environment = {name: arguments.pop(name) for name in ("truncated", "as_dict") if name in arguments}
    env = vec_env([lambda number=number: LabelledEpisodes(number, **environment) for number in range(n_envs)])  # type: ignore[call-arg, list-item] # both kinds take a list
    policy = "MultiInputPolicy" if environment.get("as_dict") else "MlpPolicy"
    settings = {"n_epochs": 1, "batch_size": None, "seed": 0, **arguments}
    return PPOScratch(policy, env, n_episodes=n_episodes, **settings)


class Rollouts(BaseCallback):
    """Copies what lies in the buffer after each rollout: labels, rewards, values, starts, advantages."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[dict[str, np.ndarray]] = []

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        buffer = self.locals["rollout_buffer"]
        observations: Any = buffer.observations
        labels = observations["label"] if isinstance(observations, dict) else observations
        fields = ("rewards", "values", "episode_starts", "advantages", "returns", "log_probs")
        self.seen.append({"labels": labels.copy(), **{name: getattr(buffer, name).copy() for name in fields}})


def rollouts_of(model: PPOScratch, n_steps: int) -> list[dict[str, np.ndarray]]:
    callback = Rollouts()
    model.learn(n_steps, callback=callback)
    return callback.seen


@pytest.mark.parametrize("vec_env", [DummyVecEnv, SubprocVecEnv])
@pytest.mark.parametrize("as_dict", [False, True], ids=["array", "dict"])
def test_buffer_holds_exactly_the_steps_of_the_episodes_that_began_first(vec_env: type[VecEnv], as_dict: bool) -> None:
    model = make(2, 3, vec_env=vec_env, as_dict=as_dict)
    (rollout, *_) = rollouts_of(model, 1)
    labels = rollout["labels"][:, 0]
    # Environment 0: lengths 4, 2, ...; environment 1: 3, 4, ...: its first ends first, so it begins the third episode.
    expected = [(0, 0, step) for step in range(4)] + [(1, 0, step) for step in range(3)]
    expected += [(1, 1, step) for step in range(4)]
    assert labels.tolist() == [list(label) for label in expected]
    np.testing.assert_array_equal(rollout["episode_starts"][:, 0], labels[:, 2] == 0)
    np.testing.assert_array_equal(rollout["rewards"][:, 0], 100 * labels[:, 0] + 10 * labels[:, 1] + labels[:, 2] + 1)
    model.get_env().close()  # type: ignore[union-attr] # there is one


def test_next_rollout_begins_with_new_episodes_where_one_was_cut_and_goes_on_where_none_was() -> None:
    cut = rollouts_of(make(2, 3), 30)
    assert {tuple(label[:2]) for label in cut[1]["labels"][:, 0]}.isdisjoint(
        {tuple(label[:2]) for label in cut[0]["labels"][:, 0]}
    )
    single = rollouts_of(make(1, 2), 30)
    episodes = [label[1] for rollout in single for label in rollout["labels"][:, 0] if label[2] == 0]
    assert episodes == list(range(len(episodes))), "an episode was thrown away"


def test_fewer_episodes_than_environments_take_one_from_each_of_the_first() -> None:
    (rollout, *_) = rollouts_of(make(3, 2), 1)
    assert sorted({(label[0], label[1]) for label in rollout["labels"][:, 0]}) == [(0, 0), (1, 0)]


def test_advantages_are_those_of_whole_episodes_by_definition() -> None:
    (rollout, *_) = rollouts_of(make(2, 4, gamma=0.9, advantage="monte_carlo"), 1)
    rewards, starts = rollout["rewards"][:, 0], rollout["episode_starts"][:, 0]
    ends = [*np.flatnonzero(starts)[1:], len(starts)]
    expected = [
        sum(0.9 ** (later - step) * rewards[later] for later in range(step, end))
        for first, end in zip(np.flatnonzero(starts), ends, strict=True)
        for step in range(first, end)
    ]
    np.testing.assert_allclose(rollout["returns"][:, 0], expected, rtol=1e-5)
    np.testing.assert_allclose(rollout["advantages"], rollout["returns"] - rollout["values"], atol=1e-4)


@pytest.mark.parametrize(
    ("arguments", "more"),
    [
        ({}, True),
        ({"timeout_bootstrap": False}, False),
        ({"critic": False}, False),
        ({"advantage": "monte_carlo", "normalize_returns": True}, False),
    ],
    ids=["default", "switched_off", "no_critic", "values_in_other_units"],
)
def test_reward_of_a_truncated_episodes_last_step_contains_the_value_that_follows(
    arguments: dict[str, Any], more: bool
) -> None:
    (rollout, *_) = rollouts_of(make(1, 1, truncated=True, **arguments), 1)
    labels, rewards = rollout["labels"][:, 0], rollout["rewards"][:, 0]
    plain = 10 * labels[:, 1] + labels[:, 2] + 1
    np.testing.assert_array_equal(rewards[:-1], plain[:-1])
    assert (rewards[-1] != plain[-1]) == more


@pytest.mark.parametrize(
    ("n_episodes", "ending", "n_warnings"),
    [(100, [True, False], 0), (100, [False, False], 1), (2, [True, False], 1)],
    ids=["one_environment_ends_in_time", "none_ends", "only_one_that_has_played_its_share_ends"],
)
def test_rollout_in_which_no_episode_ends_is_warned_about_once(
    n_episodes: int, ending: list[bool], n_warnings: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rollout_ends, "STEPS_WITHOUT_END", 5)
    buffer: Any = None
    end, step = rollout_ends.AfterEpisodes(buffer, n_episodes, n_envs=2), buffer
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for count in range(1, 41):
            end.add(step, np.array(ending) & (count % 4 == 0))
    remedies = [str(each.message) for each in caught]
    assert len(remedies) == n_warnings
    assert all("No episode has ended for 5 steps" in text and "TimeLimit" in text for text in remedies)


def test_minibatches_of_an_update_are_counted_from_the_rollouts_real_size() -> None:
    model = make(2, 3, batch_size=4, n_epochs=2)
    model.learn(1)
    assert model.policy.optimizer.state[next(model.policy.parameters())]["step"].item() == 2 * 3  # 11 transitions


def test_saved_model_goes_on_with_whole_episodes(tmp_path: Any) -> None:
    model = make(2, 3).learn(1)
    model.save(tmp_path / "model")
    env = model.get_env()
    loaded = PPOScratch.load(tmp_path / "model", env=env)
    assert loaded.n_episodes == 3
    assert len(rollouts_of(loaded, 1)[0]["rewards"]) > 6
