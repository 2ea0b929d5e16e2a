"""Tests of `acting.py` and of the loop that uses it: the same actions, numbers and side effects as SB3's.

The oracles are the policy's own forward pass, and SB3's `OnPolicyAlgorithm.collect_rollouts`, run on the same model.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3 import PPO
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.vec_env import DummyVecEnv

from sb3_ppo_scratch import PPOScratch
from sb3_ppo_scratch.acting import LeanActor, TorchActor, stack_observations
from sb3_ppo_scratch.updates import heads
from tests.envs import EndingsEnv

BOX = spaces.Box(-0.5, 0.5, (2,), np.float32)
ACTION_SPACES: dict[str, spaces.Space[Any]] = {
    "discrete": spaces.Discrete(3),
    "multi_discrete": spaces.MultiDiscrete([2, 4, 3]),
    "multi_binary": spaces.MultiBinary(3),
    "box": BOX,
    "box_of_two_dimensions": spaces.Box(-0.5, 0.5, (2, 3), np.float32),
}
DICT = spaces.Dict({"x": spaces.Box(-9, 9, (2,), np.float32), "y": spaces.Box(-9, 9, (3,), np.float32)})


@pytest.fixture(autouse=True)
def _validation_as_torch_starts_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """`th.compile`, which other tests use, switches it off for the whole process."""
    monkeypatch.setattr(th.distributions.Distribution, "_validate_args", True)


class SuccessEnv(EndingsEnv):
    """Says of every second episode that it succeeded."""

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        *result, info = super().step(action)
        return *result, {**info, "is_success": self.episode % 2 == 0}


def make(
    action_space: spaces.Space[Any] = BOX,
    observation_space: spaces.Space[Any] | None = None,
    policy: str = "MlpPolicy",
    n_envs: int = 3,
    environment: dict[str, Any] | None = None,
    **arguments: Any,
) -> PPOScratch:
    env = DummyVecEnv(
        [lambda: Monitor(SuccessEnv(action_space, observation_space, **(environment or {}))) for _ in range(n_envs)]
    )
    defaults = {"n_steps": 8, "batch_size": 8 * n_envs, "n_epochs": 1, "seed": 0, "device": "cpu"}
    return PPOScratch(policy, env, **{**defaults, **arguments})


def actors_of(model: PPOScratch) -> tuple[LeanActor, TorchActor]:
    model.update = "closed_form"
    lean = model._choose_actor()
    assert isinstance(lean, LeanActor)
    return lean, TorchActor(model.policy)


# -- one decision ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ACTION_SPACES)
@pytest.mark.parametrize("n_envs", [1, 3, 40])
@pytest.mark.parametrize("drawing", ["quick", "torchs"])
def test_lean_decisions_and_generator_state_equal_the_policys_own(
    kind: str, n_envs: int, drawing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if drawing == "torchs":
        monkeypatch.setattr(heads, "_torch_draws_by_exponentials", lambda: False)
    model = make(ACTION_SPACES[kind], n_envs=n_envs)
    with th.no_grad():
        for parameter in model.policy.parameters():
            parameter.add_(0.3 * th.randn_like(parameter))
    observations = np.random.default_rng(0).normal(size=(6, n_envs, 3)).astype(np.float32)
    decisions, states = [], []
    for actor in actors_of(model):
        th.manual_seed(4)
        decisions.append([actor.act(step) for step in observations])
        states.append(th.get_rng_state())
    assert th.equal(*states)
    for lean, own in zip(*decisions, strict=True):
        np.testing.assert_allclose(lean.actions, own.actions, rtol=1e-6, atol=1e-6)
        assert lean.actions.shape == own.actions.shape
        assert lean.actions.dtype == own.actions.dtype
        th.testing.assert_close(lean.values, own.values, rtol=1e-6, atol=1e-6)
        th.testing.assert_close(lean.log_probs, own.log_probs, rtol=1e-6, atol=2e-6)


def test_a_decision_outlives_the_next_one() -> None:
    lean, _ = actors_of(make())
    first = lean.act(np.zeros((3, 3), np.float32))
    before = [th.as_tensor(part).clone() for part in first]
    lean.act(np.ones((3, 3), np.float32))
    lean.values(np.ones((3, 3), np.float32))
    for part, then in zip(first, before, strict=True):
        assert th.equal(th.as_tensor(part), then)


@pytest.mark.parametrize("kind", ACTION_SPACES)
@pytest.mark.parametrize("where", ["parameters", "observations"])
def test_nan_raises_value_error_as_sb3s_distributions_do(kind: str, where: str) -> None:
    model = make(ACTION_SPACES[kind])
    observations = np.zeros((3, 3), np.float32)
    if where == "parameters":
        model.policy.action_net.weight.data[0, 0] = float("nan")
    else:
        observations[1, 2] = np.nan
    lean, own = actors_of(model)
    with pytest.raises(ValueError, match="to satisfy the constraint"):
        own.act(observations)
    with pytest.raises(ValueError, match=r"outputs are not finite.*NaN"):
        lean.act(observations)


def test_run_that_has_become_nan_stops_with_a_value_error_that_says_so() -> None:
    class Spoil(BaseCallback):
        def _on_step(self) -> bool:
            return True

        def _on_rollout_end(self) -> None:
            self.model.rollout_buffer.returns[:] = np.nan

    with pytest.raises(ValueError, match=r"^the loss of minibatch 0 in epoch 0 is NaN"):
        make(update="closed_form").learn(96, callback=Spoil())


@pytest.mark.parametrize("n", [1, 2, 7])
def test_lean_values_equal_the_policys_own(n: int) -> None:
    observations = np.random.default_rng(0).normal(size=(n, 3)).astype(np.float32)
    lean, own = actors_of(make())
    th.testing.assert_close(lean.values(observations), own.values(observations), rtol=0, atol=1e-6)


def test_stacked_observations_are_arrays_or_dicts_of_them() -> None:
    assert stack_observations([np.zeros(2), np.ones(2)]).tolist() == [[0, 0], [1, 1]]
    stacked = stack_observations([{"x": np.zeros(2), "y": 3}, {"x": np.ones(2), "y": 4}])
    assert {name: part.tolist() for name, part in stacked.items()} == {"x": [[0, 0], [1, 1]], "y": [3, 4]}


# -- whole rollouts ----------------------------------------------------------------------------------------------------

FIELDS = ("observations", "actions", "rewards", "episode_starts", "values", "log_probs", "advantages", "returns")


class Recorder(BaseCallback):
    """Copies what rollouts leave behind; does something, or stops, at the fifth step if asked to."""

    def __init__(self, at_fifth_step: Callable[[PPOScratch], Any] = lambda model: True) -> None:
        super().__init__()
        self.at_fifth_step = at_fifth_step
        self.rollouts: list[dict[str, Any]] = []
        self.names_at_step: set[str] = set()
        self.names_at_end: set[str] = set()

    def _on_training_start(self) -> None:
        self.names_before = set(self.locals)

    def _on_step(self) -> bool:
        self.names_at_step |= set(self.locals) - self.names_before
        return self.n_calls != 5 or self.at_fifth_step(self.model) is not False

    def _on_rollout_end(self) -> None:
        self.names_at_end = set(self.locals) - self.names_before
        buffer = self.model.rollout_buffer
        self.rollouts.append({name: getattr(buffer, name) for name in FIELDS})
        for name, array in self.rollouts[-1].items():
            copied = {key: part.copy() for key, part in array.items()} if isinstance(array, dict) else array.copy()
            self.rollouts[-1][name] = copied


@pytest.fixture
def sb3s_loop(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Puts SB3's own loop in the place of ours."""
    return lambda: monkeypatch.setattr(PPOScratch, "collect_rollouts", OnPolicyAlgorithm.collect_rollouts)


def replace_policy(model: PPOScratch) -> None:
    with th.random.fork_rng():
        model.policy = type(model.policy)(
            model.observation_space, model.action_space, model.lr_schedule, use_sde=model.use_sde
        )


TOGETHER = {"lengths": (4,), "endings": ("truncated",)}
ROLLOUTS: dict[str, tuple[dict[str, Any], Callable[[PPOScratch], Any]]] = {
    "discrete": ({"action_space": spaces.Discrete(3)}, lambda model: True),
    "box": ({}, lambda model: True),
    "multi_discrete": ({"action_space": spaces.MultiDiscrete([2, 3])}, lambda model: True),
    "multi_binary": ({"action_space": spaces.MultiBinary(3)}, lambda model: True),
    "actions_of_two_dimensions": ({"action_space": spaces.Box(-0.5, 0.5, (2, 3))}, lambda model: True),
    "one_environment": ({"n_envs": 1}, lambda model: True),
    "all_truncated_at_once": ({"environment": TOGETHER}, lambda model: True),
    "discrete_observations": ({"observation_space": spaces.Discrete(4)}, lambda model: True),
    "discrete_observations_truncated": (
        {"observation_space": spaces.Discrete(4), "environment": TOGETHER}, lambda model: True
    ),
    "image_truncated": (
        {"observation_space": spaces.Box(0, 255, (3, 6, 6), np.uint8), "environment": TOGETHER}, lambda model: True
    ),
    "dict_observations": (
        {"observation_space": DICT, "policy": "MultiInputPolicy", "environment": TOGETHER}, lambda model: True
    ),
    "gsde": ({"use_sde": True, "sde_sample_freq": 3}, lambda model: True),
    "squashed": ({"use_sde": True, "policy_kwargs": {"squash_output": True}}, lambda model: True),
    "normalised_observations": ({"normalize_observations": True}, lambda model: True),
    "early_stop": ({}, lambda model: False),
    "policy_replaced": ({"environment": TOGETHER}, replace_policy),
}  # fmt: skip


def is_covered(name: str) -> bool:
    return not ("gsde" in name or name in ("squashed", "dict_observations"))


@pytest.mark.parametrize(
    ("name", "update"),
    [
        pytest.param(name, update, id=f"{name}-{update}")
        for name in ROLLOUTS
        for update in ("autograd", "closed_form")
        if update == "autograd" or is_covered(name)
    ],
)
def test_rollouts_equal_those_of_sb3s_loop(name: str, update: str, sb3s_loop: Callable[[], None]) -> None:
    arguments, at_fifth_step = ROLLOUTS[name]
    results = []
    for prepare in (lambda: None, sb3s_loop):
        prepare()
        model, recorder = make(update=update, **arguments), Recorder(at_fifth_step)
        model.learn(3 * 8 * model.n_envs, callback=recorder)
        results.append((model, recorder))
    (ours, our_record), (theirs, their_record) = results
    assert len(our_record.rollouts) == len(their_record.rollouts) == (0 if name == "early_stop" else 3)
    for one, other in zip(our_record.rollouts, their_record.rollouts, strict=True):
        for field, value in other.items():
            if isinstance(value, dict):
                for key, part in value.items():
                    np.testing.assert_array_equal(one[field][key], part)
            else:
                np.testing.assert_allclose(one[field], value, rtol=1e-4, atol=1e-5, err_msg=field)
                assert one[field].dtype == value.dtype, field
    assert ours.num_timesteps == theirs.num_timesteps
    for statistics in ("ep_info_buffer", "ep_success_buffer"):
        mine, stocks = list(getattr(ours, statistics)), list(getattr(theirs, statistics))
        assert len(mine) == len(stocks) > 0
        for entry, other in zip(mine, stocks, strict=True):
            if isinstance(other, dict):
                assert entry["r"] == pytest.approx(other["r"], rel=1e-4)
                assert entry["l"] == other["l"]
            else:
                assert entry == other
    np.testing.assert_array_equal(ours._last_episode_starts, theirs._last_episode_starts)


INCIDENTAL = {"idx", "done", "terminal_obs", "terminal_value"}
"""Names of inner loops, which exist only after the first of these has run."""


@pytest.mark.parametrize("update", ["autograd", "closed_form"])
def test_callbacks_find_all_of_sb3s_local_names(update: str, sb3s_loop: Callable[[], None]) -> None:
    ours, theirs = Recorder(), Recorder()
    make(update=update).learn(48, callback=ours)
    sb3s_loop()
    make(update=update).learn(48, callback=theirs)
    assert {"infos", "dones", "rewards", "new_obs", "clipped_actions", "obs_tensor"} <= theirs.names_at_step
    assert theirs.names_at_step - INCIDENTAL <= ours.names_at_step
    assert theirs.names_at_end - INCIDENTAL <= ours.names_at_end


class ListeningBuffer(RolloutBuffer):
    """Records what it is given."""

    calls: list[tuple[tuple[int, ...], ...]]

    def add(self, *arguments: Any, **keywords: Any) -> None:
        given = (*arguments, *keywords.values())
        self.calls = [*getattr(self, "calls", []), tuple(tuple(np.shape(argument)) for argument in given)]
        super().add(*arguments, **keywords)


@pytest.mark.parametrize("kind", ACTION_SPACES)
def test_users_buffer_is_given_arrays_of_the_shapes_that_sb3_gives(kind: str, sb3s_loop: Callable[[], None]) -> None:
    ours = make(ACTION_SPACES[kind], rollout_buffer_class=ListeningBuffer).learn(24)
    sb3s_loop()
    theirs = make(ACTION_SPACES[kind], rollout_buffer_class=ListeningBuffer).learn(24)
    assert ours.rollout_buffer.calls == theirs.rollout_buffer.calls


@pytest.mark.parametrize("kind", ["categorical", "gaussian"])
def test_huge_outputs_raise_nothing_where_numpy_is_told_to_raise(kind: str) -> None:
    # SB3's guide on NaN advises `np.seterr(all="raise")`; torch, which does this in stock, knows nothing of it.
    action_space = spaces.Discrete(2) if kind == "categorical" else spaces.Box(-1, 1, (2,), np.float32)
    model = PPOScratch("MlpPolicy", EndingsEnv(action_space), n_steps=8, batch_size=8, seed=0)
    with th.no_grad():
        model.policy.action_net.bias.copy_(th.tensor([0.0, 200.0]))
    with np.errstate(all="raise"):
        model.learn(16)
    assert all(parameter.isfinite().all() for parameter in model.policy.parameters())


class WholeRewards(DummyVecEnv):
    """Pays integers."""

    def __init__(self, makers: Any) -> None:
        super().__init__(makers)
        self.buf_rews = np.zeros(self.num_envs, np.int64)


def test_integer_rewards_of_cut_episodes_are_treated_as_in_stock() -> None:
    def parameters(algorithm: type[OnPolicyAlgorithm]) -> th.Tensor:
        env = WholeRewards([lambda: EndingsEnv(spaces.Discrete(2)) for _ in range(2)])
        model = algorithm("MlpPolicy", env, n_steps=16, batch_size=16, n_epochs=2, seed=0).learn(64)
        return th.nn.utils.parameters_to_vector(model.policy.parameters()).detach()

    th.testing.assert_close(parameters(PPOScratch), parameters(PPO), rtol=0, atol=1e-5)
