"""Tests of `sb3_ppo_scratch.argument_checks`, and that the constructor makes them before anything is stepped."""

import functools
import math
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.buffers import DictRolloutBuffer, ReplayBuffer, RolloutBuffer
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.utils import ConstantSchedule, FloatSchedule, LinearSchedule
from stable_baselines3.common.vec_env import DummyVecEnv

from sb3_ppo_scratch import PPOScratch, ReinforceScratch
from sb3_ppo_scratch.errors import ArgumentError, ArgumentTypeError, check_known_names
from sb3_ppo_scratch.rollout_buffers import ScratchRolloutBuffer
from tests.envs import EndingsEnv

VALUE_ERRORS: list[tuple[str, Any, str]] = [
    ("n_steps", 0, "`n_steps` must be at least 1, got 0"),
    ("n_steps", -8, "`n_steps` must be at least 1, got -8"),
    ("n_epochs", 0, "`n_epochs` must be at least 1, got 0"),
    ("batch_size", 0, "`batch_size` must be at least 1, got 0"),
    ("batch_size", 1, "`batch_size` must be greater than 1 with normalize_advantage=True, got 1"),
    ("stats_window_size", 0, "`stats_window_size` must be at least 1, got 0"),
    ("gamma", 1.01, r"`gamma` must lie in \[0, 1\], got 1.01"),
    ("gamma", -0.1, r"`gamma` must lie in \[0, 1\], got -0.1"),
    ("gamma", math.nan, "`gamma` must be a number, got NaN"),
    ("gae_lambda", 2.0, r"`gae_lambda` must lie in \[0, 1\], got 2.0"),
    ("clip_range", 0.0, "`clip_range` must be finite and positive, got 0.0"),
    ("clip_range", -0.2, "`clip_range` must be finite and positive, got -0.2"),
    ("clip_range", math.nan, "`clip_range` must be a number, got NaN"),
    ("clip_range", math.inf, "`clip_range` must be finite and positive, got inf"),
    ("clip_range", ConstantSchedule(-0.2), "`clip_range` must be finite and positive, got -0.2"),
    ("clip_range", ConstantSchedule(0.0), "`clip_range` must be finite and positive, got 0.0"),
    ("clip_range", FloatSchedule(ConstantSchedule(0.0)), "`clip_range` must be finite and positive, got 0.0"),
    ("clip_range", lambda progress: -0.2, "`clip_range` begins .* at -0.2"),
    ("clip_range_vf", 0, "`clip_range_vf` must be finite and positive, got 0; None turns value clipping off"),
    ("clip_range_vf", ConstantSchedule(0.0), "`clip_range_vf` must be finite and positive, got 0.0"),
    ("sde_sample_freq", 0, "`sde_sample_freq` must be at least 1, got 0; -1 means once per rollout"),
    ("learning_rate", -1e-3, "`learning_rate` must be finite and not negative, got -0.001"),
    ("learning_rate", math.nan, "`learning_rate` must be a number, got NaN"),
    ("learning_rate", lambda progress: math.nan, r"`learning_rate\(1.0\)` must be a number, got NaN"),
    ("ent_coef", math.inf, "`ent_coef` must be finite, got inf"),
    ("vf_coef", math.nan, "`vf_coef` must be a number, got NaN"),
    ("max_grad_norm", 0.0, r"`max_grad_norm` must be positive, got 0.0; float\('inf'\) turns clipping off"),
    ("target_kl", 0.0, "`target_kl` must be positive, got 0.0; None turns early stopping off"),
    ("torch_threads", 0, "`torch_threads` must be at least 1, got 0"),
    ("seed", -1, r"`seed` must lie in \[0, 2\*\*32 - 1\], got -1"),
    ("seed", 2**32, r"`seed` must lie in \[0, 2\*\*32 - 1\], got 4294967296"),
    ("verbose", -1, "`verbose` must be 0, 1 or 2, got -1"),
    ("device", "gpu0", "`device` must be a device, got 'gpu0'; pass 'auto' or 'cpu'"),
    ("_init_setup_model", "no", r"`_init_setup_model` must be one of \[True, False\], got 'no'"),
    (
        "rollout_buffer_class",
        DictRolloutBuffer,
        "`rollout_buffer_class=<class .*DictRolloutBuffer'>`: DictRolloutBuffer",
    ),
    ("normalize_observations", "yes", r"`normalize_observations` must be one of \[True, False\], got 'yes'"),
]

TYPE_ERRORS: list[tuple[str, Any, str]] = [
    ("n_steps", 64.0, "`n_steps` must be an integer of at least 1, got 64.0"),
    ("n_steps", True, "`n_steps` must be an integer of at least 1, got True"),
    ("batch_size", "64", "`batch_size` must be an integer of at least 1, got '64'"),
    ("gamma", "0.99", "`gamma` must be a number, got '0.99'"),
    ("learning_rate", "lin_3e-4", "`learning_rate` must be a number, got 'lin_3e-4'; pass a float or a callable"),
    ("learning_rate", None, "`learning_rate` must be a number, got None"),
    ("clip_range", lambda progress: "x", r"`clip_range\(1.0\)` must be a number, got 'x'"),
    ("torch_threads", "all", "`torch_threads` must be an integer of at least 1, got 'all'"),
    ("max_grad_norm", None, "`max_grad_norm` must be a number, got None"),
    ("policy", None, "`policy` must be a name or a policy class, got None; pass 'MlpPolicy'"),
    ("env", 3, "`env` must be an environment, a VecEnv or a registered id, got 3"),
    ("policy_kwargs", "dict(a=1)", r"`policy_kwargs` must be a dict or None, got 'dict\(a=1\)'"),
    ("rollout_buffer_kwargs", [1], r"`rollout_buffer_kwargs` must be a dict or None, got \[1\]"),
    ("tensorboard_log", 3, "`tensorboard_log` must be a folder or None, got 3"),
    ("sde_sample_freq", "x", "`sde_sample_freq` must be an integer of at least 1, got 'x'"),
    ("learning_rate", lambda: 3e-4, r"`learning_rate` must be callable with the remaining progress \(1 to 0\)"),
    ("seed", "1", "`seed` must be an integer of at least 0, got '1'; None seeds nothing"),
    ("seed", True, "`seed` must be an integer of at least 0, got True"),
    ("verbose", math.nan, "`verbose` must be 0, 1 or 2, got nan"),
    ("device", None, "`device` must be a device, got None"),
    ("rollout_buffer_class", ReplayBuffer, "`rollout_buffer_class` must be a subclass of RolloutBuffer, got <class"),
    ("rollout_buffer_class", [], r"`rollout_buffer_class` must be a subclass of RolloutBuffer, got \[\]"),
    ("rollout_buffer_kwargs", {"gama": 1}, r"with `rollout_buffer_kwargs=\{'gama': 1\}`: .* keyword argument 'gama'"),
    ("target_kl", True, "`target_kl` must be a number, got True"),
]


POLICY_KWARGS: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"net_arch": "64"}, TypeError, r"`policy_kwargs\['net_arch'\]` must be a list of widths, got '64'"),
    ({"net_arch": [64.0]}, TypeError, r"`policy_kwargs\['net_arch'\]` must be a list of widths, got \[64.0\]"),
    ({"net_arch": {"pi": 64}}, TypeError, r"`policy_kwargs\['net_arch'\]\['pi'\]` must be a list of widths, got 64"),
    ({"net_arch": [0]}, ValueError, r"`policy_kwargs\['net_arch'\]` must hold widths of at least 1, got \[0\]"),
    (
        {"net_arch": {"vf": [8, -1]}},
        ValueError,
        r"`policy_kwargs\['net_arch'\]\['vf'\]` must hold widths of at least 1",
    ),
    ({"net_arch": {"actor": [64]}}, ValueError, r"has layers for 'actor', which no policy has; pass them for 'pi' and"),
    ({"log_std_init": math.nan}, ValueError, r"`policy_kwargs\['log_std_init'\]` must be a number, got NaN"),
    ({"log_std_init": math.inf}, ValueError, r"`policy_kwargs\['log_std_init'\]` must be finite, got inf; 0 is usual"),
    ({"ortho_init": "no"}, ValueError, r"`policy_kwargs\['ortho_init'\]` must be one of \[True, False\], got 'no'"),
    (
        {"activation_fn": "tanh"},
        TypeError,
        r"built for this environment with `policy_kwargs=\{'activation_fn': 'tanh'\}`",
    ),
    (
        {"optimizer_class": "Adam"},
        TypeError,
        r"built for this environment with `policy_kwargs=\{'optimizer_class': 'Adam'",
    ),
    ({"optimizer_kwargs": {"eps": -1}}, ValueError, r"with `policy_kwargs=.*: Invalid epsilon value: -1"),
    ({"netarch": [64]}, TypeError, r"with `policy_kwargs=\{'netarch': \[64\]\}`: .* keyword argument 'netarch'"),
]
"""Each with the error, and what it says."""


class NeverStepped(EndingsEnv):
    """Fails the test if an argument is found to be wrong only after the environment was used."""

    def step(self, action: Any) -> Any:
        raise AssertionError("stepped")

    def reset(self, **keywords: Any) -> Any:
        raise AssertionError("reset")


@pytest.mark.parametrize(("name", "value", "message"), VALUE_ERRORS)
def test_unusable_value_is_refused_by_name_value_and_remedy(name: str, value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PPOScratch("MlpPolicy", NeverStepped(spaces.Discrete(2)), **{name: value})


@pytest.mark.parametrize(("name", "value", "message"), TYPE_ERRORS)
def test_wrong_type_is_refused_by_name_and_value(name: str, value: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        PPOScratch(**{"policy": "MlpPolicy", "env": NeverStepped(spaces.Discrete(2)), name: value})


@pytest.mark.parametrize(("kwargs", "error", "message"), POLICY_KWARGS)
def test_wrong_argument_of_the_policy_is_refused_by_name(
    kwargs: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message) as raised:
        PPOScratch("MlpPolicy", NeverStepped(spaces.Box(-1, 1, (2,))), policy_kwargs=kwargs)
    assert isinstance(raised.value, ArgumentError | ArgumentTypeError)


def test_a_policy_of_the_users_may_give_these_arguments_another_meaning() -> None:
    class Named(ActorCriticPolicy):
        def __init__(self, *arguments: Any, net_arch: str, **keywords: Any) -> None:
            super().__init__(*arguments, net_arch={"small": [8]}[net_arch], **keywords)

    model = PPOScratch(Named, NeverStepped(spaces.Discrete(2)), policy_kwargs={"net_arch": "small"})
    assert model.policy.net_arch == [8]


@pytest.mark.parametrize(
    "arguments",
    [
        {"verbose": True, "seed": None, "device": th.device("cpu")},
        {"seed": 2**32 - 1},
        {"policy_kwargs": {"net_arch": (8, 8)}},
        {"policy_kwargs": {"net_arch": {"pi": [np.int64(8)]}}},
        {"policy_kwargs": {"net_arch": None, "log_std_init": -1}},
        {"policy_kwargs": {"activation_fn": functools.partial(th.nn.LeakyReLU, 0.2)}},
        {"learning_rate": 0.0},
        {"learning_rate": np.float32(1e-3), "clip_range": np.float64(0.2), "clip_range_vf": np.float32(0.1)},
        {"learning_rate": lambda progress: 1.0 - progress},
        {"clip_range": lambda progress: 0.0},
        {"clip_range": LinearSchedule(0.2, 0.0, 1.0)},
        {"n_steps": np.int64(32), "batch_size": np.int32(8)},
        {"n_steps": 1, "batch_size": 1, "normalize_advantage": False},
        {"gamma": 0, "gae_lambda": 1},
        {"max_grad_norm": math.inf},
        {"batch_size": 4096, "n_steps": 32},
    ],
)
@pytest.mark.filterwarnings("ignore:You have specified a mini-batch size")
def test_usable_values_at_the_edge_are_accepted(arguments: dict[str, Any]) -> None:
    model = PPOScratch("MlpPolicy", NeverStepped(spaces.Discrete(2)), **arguments)
    assert model.n_steps == arguments.get("n_steps", 2048)


@pytest.mark.filterwarnings("ignore:As shared layers in the mlp_extractor are removed")
def test_layers_as_old_versions_of_sb3_wanted_them_are_accepted() -> None:
    kwargs = {"net_arch": [{"pi": [8], "vf": [8, 8]}]}
    model = PPOScratch("MlpPolicy", NeverStepped(spaces.Discrete(2)), policy_kwargs=kwargs)
    assert model.policy.net_arch == kwargs["net_arch"][0]


def test_a_seed_of_numpys_is_that_seed() -> None:
    ours, theirs = (PPOScratch("MlpPolicy", NeverStepped(spaces.Discrete(2)), seed=seed) for seed in (np.int64(3), 3))
    assert all(map(th.equal, ours.policy.parameters(), theirs.policy.parameters()))


@pytest.mark.parametrize(
    ("action_space", "message"),
    [
        (spaces.Discrete(3, start=1), "does not start at 0"),
        (spaces.MultiDiscrete([3, 2], start=[0, 1]), "does not start at 0"),
        (spaces.MultiDiscrete(np.array([[3, 2], [2, 2]])), "has 2 dimensions"),
        (spaces.MultiBinary([2, 2]), "has 2 dimensions"),
        (spaces.Box(-1, 1, (2, 0)), "has no element: there is nothing to learn"),
        (spaces.Box(-np.inf, np.inf, (2,)), "must have a finite lower and upper bound"),
        (spaces.Dict({"a": spaces.Discrete(2)}), "only supports"),
        (spaces.Text(3), "only supports"),
    ],
    ids=str,
)
def test_unsupported_action_space_is_refused(action_space: spaces.Space[Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PPOScratch("MlpPolicy", NeverStepped(action_space))


@pytest.mark.parametrize(
    ("observation_space", "policy"),
    [
        (spaces.Discrete(3, start=2), "MlpPolicy"),
        (spaces.Dict({"a": spaces.Discrete(3, start=2)}), "MultiInputPolicy"),
    ],
)
def test_observation_space_that_one_hot_encoding_would_get_wrong_is_refused(
    observation_space: spaces.Space[Any], policy: str
) -> None:
    with pytest.raises(ValueError, match="does not start at 0"):
        PPOScratch(policy, NeverStepped(spaces.Discrete(2), observation_space))


@pytest.mark.parametrize(
    ("policy", "observation_space", "message"),
    [
        ("MlpPolicy", spaces.Tuple([spaces.Discrete(2)]), "Tuple.* is not supported; flatten it"),
        ("MultiInputPolicy", spaces.Dict({"a": spaces.Dict({"b": spaces.Discrete(2)})}), "key 'a'.* is not supported"),
        ("MlpPolicy", spaces.Sequence(spaces.Discrete(2)), "Sequence.* is not supported; flatten it"),
        ("MlpPolicy", spaces.Dict({"a": spaces.Discrete(2)}), "You must use `MultiInputPolicy`"),
        ("MultiInputPolicy", spaces.Box(-1, 1, (2,)), "needs a Dict observation space, got Box.*; use 'MlpPolicy'"),
        (
            "CnnPolicy",
            spaces.Box(0, 255, (3, 20, 20), np.uint8),
            r"`policy` cannot be built for this environment: .* Kernel size can't be greater than actual input size",
        ),
        (
            "CnnPolicy",
            spaces.Box(-1, 1, (2,)),
            "`policy` cannot be built for this environment: You should use NatureCNN only with images",
        ),
    ],
)
def test_observation_space_that_the_policy_cannot_take_is_refused(
    policy: str, observation_space: spaces.Space[Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        PPOScratch(policy, NeverStepped(spaces.Discrete(2), observation_space))


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (spaces.Box(-1, 1, ()), r"has no dimension. Give it one in a wrapper \(gymnasium.wrappers.ReshapeObservation"),
        (spaces.Dict({"a": spaces.Box(-1, 1, ())}), r"\(key 'a'\) has no dimension"),
        (spaces.Box(-1, 1, (0,)), "has no element: there is nothing to act upon"),
        (spaces.MultiDiscrete(np.array([[3, 2], [2, 2]])), "has 2 dimensions; only one is supported. Flatten it"),
    ],
    ids=str,
)
def test_observation_space_that_sb3_cannot_flatten_is_refused(space: spaces.Space[Any], message: str) -> None:
    policy = "MultiInputPolicy" if isinstance(space, spaces.Dict) else "MlpPolicy"
    with pytest.raises(ArgumentError, match=message):
        PPOScratch(policy, NeverStepped(spaces.Discrete(2), space))


def test_missing_environment_is_refused() -> None:
    with pytest.raises(ValueError, match=r"`env` must be an environment, .* got None"):
        PPOScratch("MlpPolicy", None)


def test_squashing_without_gsde_is_refused() -> None:
    with pytest.raises(ValueError, match="squash_output=True is only available when using gSDE"):
        PPOScratch("MlpPolicy", NeverStepped(spaces.Box(-1, 1, (2,))), policy_kwargs={"squash_output": True})


@pytest.mark.parametrize("batch_size", [64, None])
def test_a_rollout_of_one_transition_is_refused_whatever_the_minibatches(batch_size: int | None) -> None:
    with pytest.raises(ArgumentError, match=r"`n_steps \* n_envs` must be greater than 1, got n_steps=1 and n_envs=1"):
        PPOScratch("MlpPolicy", NeverStepped(spaces.Discrete(2)), n_steps=1, batch_size=batch_size)


def test_errors_of_value_are_assertion_errors_too_as_in_stock_ppo() -> None:
    with pytest.raises(AssertionError, match="must be greater than 1"):
        PPOScratch("MlpPolicy", NeverStepped(spaces.Discrete(2)), n_steps=1)
    assert issubclass(ArgumentError, ValueError)


def test_unknown_policy_name_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(ValueError, match=r"`policy` must be one of .*'MlpPolicy'.*, got 'MlPolicy'"):
        PPOScratch("MlPolicy", "CartPole-v1")


def test_a_buffer_that_would_ignore_monte_carlo_returns_is_refused() -> None:
    with pytest.raises(ArgumentError, match=r"`advantage='monte_carlo'` would be ignored by .*RolloutBuffer"):
        PPOScratch("MlpPolicy", "CartPole-v1", advantage="monte_carlo", rollout_buffer_class=RolloutBuffer)
    own = type("OwnBuffer", (ScratchRolloutBuffer,), {})
    model = PPOScratch(
        "MlpPolicy", "CartPole-v1", n_steps=8, batch_size=8, advantage="monte_carlo", rollout_buffer_class=own
    )
    assert type(model.learn(8).rollout_buffer) is own


def test_storing_clipped_actions_is_refused_where_nothing_is_clipped() -> None:
    with pytest.raises(ArgumentError, match="`store_clipped_actions=True` has no meaning with squash_output=True"):
        PPOScratch(
            "MlpPolicy",
            "Pendulum-v1",
            use_sde=True,
            store_clipped_actions=True,
            policy_kwargs={"squash_output": True},
        )


def test_clipping_values_is_refused_where_there_are_none() -> None:
    with pytest.raises(ArgumentError, match="`clip_range_vf` contradicts critic=False: there are no values to clip"):
        PPOScratch("MlpPolicy", NeverStepped(spaces.Discrete(2)), critic=False, clip_range_vf=0.2)


def test_what_a_search_draws_for_every_trial_contradicts_nothing() -> None:
    model = PPOScratch(
        "MlpPolicy",
        NeverStepped(spaces.Discrete(2)),
        advantage="monte_carlo",
        critic=False,
        gae_lambda=0.9,
        vf_coef=0.3,
    )
    assert (model.gae_lambda, model.vf_coef) == (0.9, 0.3)
    ReinforceScratch("MlpPolicy", NeverStepped(spaces.Discrete(2)), baseline="mean", vf_coef=0.3)


def test_short_last_minibatch_is_warned_about_once() -> None:
    env = DummyVecEnv([lambda: EndingsEnv(spaces.Discrete(2))] * 2)
    with pytest.warns(UserWarning, match="truncated mini-batch of size 4, ") as record:
        PPOScratch("MlpPolicy", env, n_steps=10, batch_size=8)
    assert len(record) == 1


def test_model_for_another_space_is_refused() -> None:
    model = PPOScratch("MlpPolicy", "CartPole-v1", n_steps=8)
    with pytest.raises(ValueError, match="Observation spaces do not match"):
        model.set_env(DummyVecEnv([lambda: gym.make("Acrobot-v1")]))


def test_unknown_name_is_refused_with_the_nearest_known_one() -> None:
    with pytest.raises(TypeError, match="the file does not know `gama`; did you mean `gamma`"):
        check_known_names(["gama"], ["gamma", "n_steps"], where="the file")
    with pytest.raises(TypeError, match="known are: gamma, n_steps"):
        check_known_names(["zzz"], ["gamma", "n_steps"], where="the file")
