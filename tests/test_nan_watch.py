"""NaN and infinity are found where they appear, and what is done about them is what `on_nan` says."""

import functools
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from gymnasium.wrappers import NormalizeObservation, NormalizeReward
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecNormalize

from sb3_ppo_scratch import PPOScratch, ReinforceScratch, scratch_algorithm
from sb3_ppo_scratch.errors import NotFiniteError
from sb3_ppo_scratch.finite_checks import (
    Place,
    find_in_observations,
    find_in_rollout,
    is_finite,
    name_of_not_finite,
    place_in_turn,
)
from sb3_ppo_scratch.nan_watch import MOST_IN_A_ROW
from tests.envs import EndingsEnv

N_STEPS, N_ENVS, BATCH = 8, 4, 8
BAD = [np.nan, np.inf, -np.inf]
EACH_UPDATE = pytest.mark.parametrize("update", ["closed_form", "autograd"])


def small_model(**arguments: Any) -> PPOScratch:
    """Make a model whose update has four minibatches in each of two epochs."""
    env = gym.make("CartPole-v1")
    return PPOScratch(
        "MlpPolicy",
        env,
        **{"n_steps": N_STEPS * N_ENVS, "batch_size": BATCH, "n_epochs": 2, "seed": 1, "device": "cpu", **arguments},
    )


class AtRolloutEnd(BaseCallback):
    """Does something to the rollout once, or each time."""

    def __init__(self, do: Callable[[RolloutBuffer], None], rollouts: range) -> None:
        super().__init__()
        self.do, self.rollouts, self.n_seen = do, rollouts, 0

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        if self.n_seen in self.rollouts:
            self.do(self.model.rollout_buffer)
        self.n_seen += 1


def state_of(model: PPOScratch) -> list[th.Tensor]:
    """Copy parameters and moments."""
    moments = [each for state in model.policy.optimizer.state.values() for each in state.values()]
    return [each.detach().clone() for each in (*model.policy.parameters(), *moments)]


@pytest.mark.parametrize("seed", range(20))
def test_the_first_bad_number_of_a_rollout_is_found(seed: int) -> None:
    rng = np.random.default_rng(seed)
    space = spaces.Box(-1, 1, (2, 3)) if seed % 2 else spaces.Dict({"a": spaces.Box(-1, 1, (3,))})
    env = EndingsEnv(spaces.Box(-1, 1, (2,)), space)
    policy = "MlpPolicy" if seed % 2 else "MultiInputPolicy"
    buffer = PPOScratch(policy, env, n_steps=6, batch_size=6).rollout_buffer
    buffer.n_envs = 3
    buffer.reset()
    assert find_in_rollout(buffer) is None
    step, env_index = int(rng.integers(6)), int(rng.integers(3))
    name = rng.choice(["observation", "action", "reward"])
    arrays = buffer.observations if isinstance(buffer.observations, dict) else {"": buffer.observations}
    array = {"observation": next(iter(arrays.values())), "action": buffer.actions, "reward": buffer.rewards}[name]
    entry = array[step, env_index].reshape(-1) if array.ndim > 2 else array[step : step + 1, env_index]
    entry[rng.integers(len(entry))] = rng.choice(BAD)
    buffer.rewards[step, env_index] = np.nan  # what follows from it
    array[step + 1 :] = np.nan
    assert find_in_rollout(buffer) == (name, step, env_index)


def test_large_numbers_are_finite() -> None:
    assert is_finite(np.full(10, 3e38, dtype=np.float32))
    assert is_finite(np.zeros(3, dtype=np.int64))
    assert not is_finite(np.array([1.0, -np.inf, np.inf]))
    assert find_in_observations(np.array([[1.0, 2.0], [np.nan, 0.0]])) == 1
    assert find_in_observations({"a": np.zeros((2, 1))}) is None
    large = [("a", th.full((4,), 1e38)), ("b", th.full((4,), 3e38))]
    assert name_of_not_finite(large) is None
    assert name_of_not_finite([*large, ("c", th.tensor([0.0, th.inf]))]) == "c"


@EACH_UPDATE
@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("name", ["observations", "rewards"])
def test_bad_rollouts_raise_and_leave_the_policy_as_it_was(name: str, bad: float, update: str) -> None:
    before: list[th.Tensor] = []

    def spoil(buffer: RolloutBuffer) -> None:
        before.extend(state_of(model))
        getattr(buffer, name)[5, 0] = bad

    model = small_model(update=update)
    with pytest.raises(NotFiniteError, match=f"^the {name[:-1]} in step 5 of environment 0 is NaN or infinite"):
        model.learn(200, callback=AtRolloutEnd(spoil, range(2, 3)))
    assert model.num_timesteps == 3 * N_STEPS * N_ENVS
    assert all(map(th.equal, state_of(model), before))


@EACH_UPDATE
def test_a_bad_loss_raises_with_its_place(update: str) -> None:
    before: list[th.Tensor] = []

    def spoil(buffer: RolloutBuffer) -> None:
        before.extend(state_of(model))
        buffer.returns[3] = np.nan

    model = small_model(update=update, batch_size=N_STEPS * N_ENVS)
    with pytest.raises(NotFiniteError, match=r"^the loss of minibatch 0 in epoch 0 is NaN or infinite"):
        model.learn(200, callback=AtRolloutEnd(spoil, range(1, 2)))
    assert all(map(th.equal, state_of(model), before))


@EACH_UPDATE
@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize(("epoch", "minibatch"), [(0, 0), (0, 3), (1, 2)])
def test_a_bad_gradient_raises_with_its_place(
    update: str, at_once: bool, epoch: int, minibatch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = small_model(update=update)
    model.learn(1)
    way = type(model._choose_update())
    differentiate, calls = way.differentiate, []

    def spoiled(self: Any, settings: Any) -> Any:
        calls.append(0)
        norm = differentiate(self, settings)
        return norm * np.nan if len(calls) == 4 * epoch + minibatch + 1 else norm

    before = state_of(model)
    monkeypatch.setattr(way, "differentiate", spoiled)
    monkeypatch.setattr(scratch_algorithm, "looks_at_once", lambda *_: at_once)
    with pytest.raises(NotFiniteError, match=f"^the gradient of minibatch {minibatch} in epoch {epoch} is NaN"):
        model.learn(1, reset_num_timesteps=False)
    assert all(map(th.equal, state_of(model), before))


@EACH_UPDATE
def test_a_gradient_that_is_bad_is_not_followed(update: str) -> None:
    model = small_model(update=update, max_grad_norm=1.0, vf_coef=1e30, ent_coef=0.0, normalize_advantage=False)
    before = state_of(model)[: len(list(model.policy.parameters()))]

    def enlarge(buffer: RolloutBuffer) -> None:
        buffer.returns[:] = 1e4

    with pytest.raises(NotFiniteError, match=r"^the gradient of minibatch 0 in epoch 0 is NaN or infinite"):
        model.learn(1, callback=AtRolloutEnd(enlarge, range(1)))
    assert all(map(th.equal, model.policy.parameters(), before))


@EACH_UPDATE
def test_a_bad_parameter_raises_and_is_taken_back(update: str) -> None:
    model = small_model(update=update)
    model.learn(1)
    before = state_of(model)
    model.learning_rate = 1e38
    with pytest.raises(NotFiniteError, match=r"^the (parameter \w|loss of minibatch|gradient of minibatch)"):
        model.learn(1, reset_num_timesteps=False)
    assert all(map(th.equal, state_of(model), before))


@EACH_UPDATE
def test_skipping_leaves_out_the_minibatch_and_no_other(update: str) -> None:
    def spoil(buffer: RolloutBuffer) -> None:
        buffer.returns[3] = np.nan

    model = small_model(update=update, on_nan="skip")
    model.learn(N_STEPS * N_ENVS, callback=AtRolloutEnd(spoil, range(1)))
    assert model.logger.name_to_value["train/n_left_out"] == 2  # one in each of two epochs
    steps = {int(state["step"]) for state in model.policy.optimizer.state.values()}
    assert steps == {6}
    assert all(parameter.isfinite().all() for parameter in model.policy.parameters())


@EACH_UPDATE
def test_restoring_leaves_out_the_whole_update_and_learning_goes_on(update: str) -> None:
    states: list[list[th.Tensor]] = []

    def spoil(buffer: RolloutBuffer) -> None:
        states.append(state_of(model))
        if len(states) == 2:
            buffer.returns[3] = np.nan

    model = small_model(update=update, on_nan="restore")
    model.learn(4 * N_STEPS * N_ENVS, callback=AtRolloutEnd(spoil, range(4)))
    assert all(map(th.equal, states[1], states[2]))
    assert not all(map(th.equal, states[2], states[3]))


@EACH_UPDATE
@pytest.mark.parametrize("on_nan", ["skip", "restore"])
def test_what_is_bad_again_and_again_raises_in_the_end(on_nan: Any, update: str) -> None:
    def spoil(buffer: RolloutBuffer) -> None:
        buffer.rewards[2, 0] = np.nan

    model = small_model(update=update, on_nan=on_nan)
    with pytest.raises(NotFiniteError, match=r"^the reward in step 2 of environment 0"):
        model.learn(100_000, callback=AtRolloutEnd(spoil, range(1, 1000)))
    assert model.num_timesteps == (1 + MOST_IN_A_ROW + 1) * N_STEPS * N_ENVS


def test_reinforce_too() -> None:
    def spoil(buffer: RolloutBuffer) -> None:
        buffer.advantages[1] = np.nan

    model = ReinforceScratch("MlpPolicy", "CartPole-v1", n_episodes=2, seed=1, device="cpu")
    with pytest.raises(NotFiniteError, match=r"^the loss is NaN or infinite"):
        model.learn(100, callback=AtRolloutEnd(spoil, range(1)))
    with pytest.raises(ValueError, match="on_nan"):
        ReinforceScratch("MlpPolicy", "CartPole-v1", on_nan="ignore")  # type: ignore[arg-type]


class FaultyEnv(EndingsEnv):
    """Returns something that is no number, once."""

    quantity, at, bad = "", -1, 0.0

    def __init__(self) -> None:
        super().__init__(spaces.Box(-1, 1, (2,)), spaces.Box(-np.inf, np.inf, (3,), np.float32))
        self.n_steps = 0

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Step, and be faulty if it is time."""
        observation, reward, terminated, truncated, info = super().step(action)
        self.n_steps += 1
        if self.n_steps == self.at and self.quantity == "observation":
            observation = np.array([0.0, self.bad, 0.0], dtype=np.float32)
        if self.n_steps == self.at and self.quantity == "reward":
            reward = self.bad
        return observation, reward, terminated, truncated, info


def faulty(quantity: str, bad: float, at: int, index: int) -> DummyVecEnv:
    """Make three environments, one of them faulty in one step."""

    def make(number: int) -> FaultyEnv:
        env = FaultyEnv()
        if number == index:
            env.quantity, env.bad, env.at = quantity, bad, at
        return env

    env = DummyVecEnv([functools.partial(make, number) for number in range(3)])
    env.seed(1)
    return env


@EACH_UPDATE
@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize(("at", "index"), [(1, 0), (13, 2), (16, 1)])
@pytest.mark.parametrize("quantity", ["observation", "reward"])
def test_what_an_environment_returns_is_found_in_the_iteration_in_which_it_appears(
    quantity: str, at: int, index: int, bad: float, update: str, tmp_path: Path
) -> None:
    model = PPOScratch("MlpPolicy", faulty(quantity, bad, at, index), n_steps=8, batch_size=12, seed=1, update=update)
    model.fault_folder = tmp_path
    step = (at - 1) % 8 + (quantity == "observation")  # what the next step begins with
    with pytest.raises(
        NotFiniteError, match=rf"^the {quantity} in step {step} of environment {index} is NaN"
    ) as caught:
        model.learn(10_000)
    assert model.num_timesteps <= 3 * 8 * (1 + (at - 1) // 8)
    [numbers], [checkpoint] = tmp_path.glob("*.npz"), tmp_path.glob("*.zip")
    assert str(caught.value).endswith(f"{numbers} holds the numbers, {checkpoint} the run without them")
    assert not all(np.isfinite(array).all() for array in np.load(numbers).values())


@EACH_UPDATE
@pytest.mark.parametrize(("quantity", "step", "found_at", "end"), [("reward", 3, 72, 216), ("observation", 4, 60, 204)])
def test_the_run_goes_on_from_the_checkpoint_of_a_fault_without_its_rollout(
    quantity: str, step: int, found_at: int, end: int, update: str, tmp_path: Path
) -> None:
    model = PPOScratch("MlpPolicy", faulty(quantity, np.nan, 20, 1), n_steps=8, batch_size=12, seed=1, update=update)
    model.fault_folder = tmp_path
    with pytest.raises(NotFiniteError, match=rf"^the {quantity} in step {step} of environment 1"):
        model.learn(200)
    with pytest.raises(ValueError, match="in the middle of a step or an update by NotFiniteError"):
        model.resume()
    again = PPOScratch.load_checkpoint(tmp_path / f"fault_{found_at}_steps.zip", env=faulty("", 0.0, 0, 0))
    assert all(map(th.equal, again.policy.parameters(), model.policy.parameters()))
    assert again.resume().num_timesteps == end
    assert all(parameter.isfinite().all() for parameter in again.policy.parameters())


@EACH_UPDATE
@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("quantity", ["observation", "reward"])
def test_running_statistics_take_no_bad_number_and_the_run_goes_on(
    quantity: str, bad: float, update: str, tmp_path: Path
) -> None:
    env = VecNormalize(faulty(quantity, bad, 20, 1))
    model = PPOScratch("MlpPolicy", env, n_steps=8, batch_size=12, seed=1, update=update)
    model.fault_folder = tmp_path
    step = 3 + (quantity == "observation")
    with pytest.raises(NotFiniteError, match=rf"^the {quantity} in step {step} of environment 1 is NaN"):
        model.learn(200)
    assert env.training
    [checkpoint] = tmp_path.glob("*.zip")
    healthy = VecNormalize(faulty("", 0.0, 0, 0))
    again = PPOScratch.load_checkpoint(checkpoint, env=healthy).resume()
    assert again.num_timesteps >= 200
    assert isinstance(healthy.obs_rms, RunningMeanStd)
    assert np.isfinite(healthy.obs_rms.mean).all()
    assert np.isfinite(healthy.ret_rms.var)


@EACH_UPDATE
@pytest.mark.parametrize("normalized", [False, True])
@pytest.mark.parametrize("quantity", ["observation", "reward"])
@pytest.mark.parametrize("on_nan", ["skip", "restore"])
def test_a_rollout_with_a_bad_number_is_left_out_and_learning_goes_on(
    on_nan: Any, quantity: str, normalized: bool, update: str
) -> None:
    env: VecEnv = faulty(quantity, np.nan, 20, 1)
    env = VecNormalize(env) if normalized else env
    model = PPOScratch("MlpPolicy", env, n_steps=8, batch_size=12, seed=1, update=update, on_nan=on_nan)
    learned: list[list[th.Tensor]] = []
    model.learn(8 * 3 * 5, callback=AtRolloutEnd(lambda _: learned.append(state_of(model)), range(5)))
    learned.append(state_of(model))
    is_same = [all(map(th.equal, one, other)) for one, other in itertools.pairwise(learned[1:])]
    assert is_same == [False, True, False, False]
    assert all(parameter.isfinite().all() for parameter in model.policy.parameters())


@pytest.mark.parametrize("wrapper", [NormalizeReward, NormalizeObservation])
def test_spoilt_statistics_of_gymnasiums_wrappers_begin_anew_after_a_fault(wrapper: Any, tmp_path: Path) -> None:
    quantity = "reward" if wrapper is NormalizeReward else "observation"

    def make(bad: float) -> DummyVecEnv:
        return DummyVecEnv([lambda: wrapper(faulty(quantity, bad, 20, 0).envs[0])])

    model = PPOScratch("MlpPolicy", make(np.nan), n_steps=8, batch_size=8, seed=1)
    model.fault_folder = tmp_path
    with pytest.raises(NotFiniteError, match=r"in step \d of environment 0"):
        model.learn(100)
    [checkpoint] = tmp_path.glob("*.zip")
    assert PPOScratch.load_checkpoint(checkpoint, env=make(0.0)).resume().num_timesteps >= 100


@pytest.mark.parametrize("actions", [spaces.Discrete(2), spaces.Box(-1, 1, (2,))])
def test_a_bad_observation_is_found_where_torch_checks_nothing(
    actions: spaces.Space[Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(th.distributions.Distribution, "_validate_args", False)  # as by python -O or torch.compile
    env = faulty("observation", np.nan, 5, 2)
    env.action_space = actions
    model = PPOScratch("MlpPolicy", env, n_steps=8, batch_size=12, seed=1, update="autograd")
    model.fault_folder = tmp_path
    with pytest.raises(NotFiniteError, match=r"^the observation in step 5 of environment 2 is NaN"):
        model.learn(100)


@EACH_UPDATE
@pytest.mark.parametrize("on_nan", ["raise", "skip", "restore"])
def test_a_parameter_that_was_bad_before_the_update_is_named(on_nan: Any, update: str) -> None:
    def spoil(_: RolloutBuffer) -> None:
        with th.no_grad():
            model.policy.value_net.bias.fill_(np.nan)

    model = small_model(update=update, on_nan=on_nan)
    with pytest.raises(NotFiniteError, match=r"^the parameter value_net\.bias, since before the update, is NaN"):
        model.learn(200, callback=AtRolloutEnd(spoil, range(1, 2)))


@EACH_UPDATE
def test_the_minibatch_of_a_bad_loss_is_written(update: str, tmp_path: Path) -> None:
    def spoil(buffer: RolloutBuffer) -> None:
        buffer.returns[3] = np.nan

    model = small_model(update=update)
    model.fault_folder = tmp_path
    with pytest.raises(NotFiniteError, match="holds the numbers"):
        model.learn(200, callback=AtRolloutEnd(spoil, range(1, 2)))
    batch = np.load(next(tmp_path.glob("*.npz")))
    assert np.isnan(batch["batch.returns"]).sum() == 1
    assert batch["batch.returns"].shape == (BATCH,)


def test_nothing_is_hidden_where_nothing_can_be_written(tmp_path: Path) -> None:
    model = small_model()
    (tmp_path / "file").write_text("")
    model.fault_folder = tmp_path / "file"
    with pytest.raises(NotFiniteError, match=r"^the reward in step 2 .*; nothing could be written \("):
        model.learn(200, callback=AtRolloutEnd(lambda buffer: buffer.rewards.__setitem__((2, 0), np.nan), range(1)))


def test_numbers_go_to_a_folder_of_their_own_if_nobody_says_where() -> None:
    model = small_model()
    with pytest.raises(NotFiniteError, match=r"/fault_32_steps\.npz holds the numbers"):
        model.learn(200, callback=AtRolloutEnd(lambda buffer: buffer.rewards.__setitem__((2, 0), np.nan), range(1)))


@pytest.mark.parametrize(("at", "index", "step"), [(1, 0, 0), (4, 1, 3), (3, 2, 2)])
def test_in_whole_episodes_too_the_environment_is_named(at: int, index: int, step: int, tmp_path: Path) -> None:
    model = PPOScratch("MlpPolicy", faulty("reward", np.nan, at, index), n_episodes=5, n_steps=8, batch_size=12, seed=1)
    model.fault_folder = tmp_path
    with pytest.raises(NotFiniteError, match=rf"^the reward in step {step} of environment {index} is NaN"):
        model.learn(1000)


@pytest.mark.parametrize("seed", range(20))
def test_places_in_turn_are_those_of_the_definition(seed: int) -> None:
    rng = np.random.default_rng(seed)
    lengths = rng.integers(0, 4, 5)
    rows = [(step, env_index) for env_index, length in enumerate(lengths) for step in range(length)]
    found = [place_in_turn(Place("reward", row, 0), lengths) for row in range(len(rows))]
    assert [(place.step, place.env_index) for place in found] == rows
