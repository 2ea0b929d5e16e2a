"""`PPOScratch` equals stock PPO: the same parameters after three iterations, feature by feature.

Each case trains stock PPO and `PPOScratch` from the same seed and compares all parameters. To show that a case tests
what it is named after, it also asserts that the feature acted, and that stock PPO *without* it ends elsewhere, although
it starts from the same random state and from the same parameters (those that have the same shapes without the feature).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3 import PPO
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.utils import LinearSchedule
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from sb3_ppo_scratch import PPOScratch
from tests.envs import ENDINGS, EndingsEnv

BOUND = 1e-6
"""Largest difference of any parameter between stock PPO and the autograd update, one torch thread (see README)."""
ITERATIONS = 3
N_ENVS = 4
N_STEPS = 16
LENGTHS = (3, 5, 4, 7)
"""Of the episodes; each environment begins with another of them, so that not all end at once."""

BOX = spaces.Box(-0.5, 0.5, (2,), np.float32)
DISCRETE = spaces.Discrete(3)
DICT = spaces.Dict(
    {"place": spaces.Box(-np.inf, np.inf, (2,), np.float32), "speed": spaces.Box(-np.inf, np.inf, (3,), np.float32)}
)
IMAGE = spaces.Box(0, 255, (3, 36, 36), np.uint8)


class SmallCnn(BaseFeaturesExtractor):
    """One convolution."""

    def __init__(self, observation_space: spaces.Box) -> None:
        super().__init__(observation_space, features_dim=8 * 8 * 8)
        self.layers = th.nn.Sequential(th.nn.Conv2d(3, 8, 8, stride=4), th.nn.ReLU(), th.nn.Flatten())

    def forward(self, observations: th.Tensor) -> th.Tensor:
        return self.layers(observations)


SMALL_NETWORKS = {"features_extractor_class": SmallCnn, "net_arch": {"pi": [16], "vf": [32, 8]}}


def parameters(model: BaseAlgorithm) -> th.Tensor:
    return th.nn.utils.parameters_to_vector(model.policy.parameters()).detach().clone()


def named_parameters(model: BaseAlgorithm) -> dict[str, th.Tensor]:
    return {name: parameter.detach().clone() for name, parameter in model.policy.named_parameters()}


class Evidence(BaseCallback):
    """Records, from outside the algorithm, what happened while it learned."""

    def __init__(self) -> None:
        super().__init__()
        self.steps_some_but_not_all_ended = 0
        self.endings: list[str] = []
        self.truncations_flagged = 0
        self.terminal_observations = 0
        self.clip_fractions: list[float] = []

    def _on_training_start(self) -> None:
        self.initial = named_parameters(self.model)
        self.random_state = th.get_rng_state()

    def restore_start(self, model: BaseAlgorithm) -> None:
        """Give a model the parameters, as far as they fit, and torch's random state as they were before learning."""
        for name, parameter in model.policy.named_parameters():
            if name in self.initial and self.initial[name].shape == parameter.shape:
                parameter.data.copy_(self.initial[name])
        th.set_rng_state(self.random_state)

    def _on_step(self) -> bool:
        self.steps_some_but_not_all_ended += 0 < self.locals["dones"].sum() < len(self.locals["dones"])
        for info in self.locals["infos"]:
            self.terminal_observations += "terminal_observation" in info
            if "ending" in info:
                self.endings.append(info["ending"])
                self.truncations_flagged += info["TimeLimit.truncated"]
        return True

    def _on_rollout_start(self) -> None:
        self._look_at_log()

    def _on_training_end(self) -> None:
        self._look_at_log()

    def _look_at_log(self) -> None:
        if "train/clip_fraction" in self.logger.name_to_value:
            self.clip_fractions.append(self.logger.name_to_value["train/clip_fraction"])


def optimizer_steps(model: OnPolicyAlgorithm) -> int:
    return int(next(iter(model.policy.optimizer.state.values()))["step"])


def full_optimizer_steps(model: OnPolicyAlgorithm) -> int:
    assert isinstance(model, PPOScratch)
    return ITERATIONS * model.n_epochs * math.ceil(N_STEPS * N_ENVS / model.batch_size)


def largest_value_change(model: OnPolicyAlgorithm) -> float:
    """How far value estimates of the last rollout moved during its update."""
    buffer = model.rollout_buffer
    with th.no_grad():
        now = model.policy.predict_values(buffer.to_torch(buffer.observations)).numpy().ravel()
    return float(np.abs(now - buffer.values.ravel()).max())


def largest_common_difference(first: dict[str, th.Tensor], second: dict[str, th.Tensor]) -> float:
    """Of the parameters that have the same name and the same shape in both."""
    common = [name for name in first if name in second and first[name].shape == second[name].shape]
    assert common, "nothing can be compared"
    return max(float((first[name] - second[name]).abs().max()) for name in common)


def assert_learned_and_clipped(model: OnPolicyAlgorithm, evidence: Evidence) -> None:
    assert largest_common_difference(named_parameters(model), evidence.initial) > 1e-3, "nothing was learned"
    assert max(evidence.clip_fractions) > 0, "no ratio was clipped"


Check = Callable[[OnPolicyAlgorithm, Evidence], bool]


@dataclass
class Case:
    """One feature: how it is switched on, how off, and what shows that it acted."""

    name: str
    action_space: spaces.Space[Any] = field(default_factory=lambda: DISCRETE)
    observation_space: spaces.Space[Any] | None = None
    policy: str = "MlpPolicy"
    arguments: dict[str, Any] = field(default_factory=dict)
    off: dict[str, Any] = field(default_factory=dict)
    off_environment: dict[str, Any] = field(default_factory=dict)
    n_envs: int = N_ENVS
    off_n_envs: int | None = None
    wrap: Callable[[DummyVecEnv], Any] = lambda env: env
    off_wrap: Callable[[DummyVecEnv], Any] | None = None
    acted: Check = lambda model, evidence: True

    def train(
        self, algorithm: type[OnPolicyAlgorithm], *, off_from: Evidence | None = None
    ) -> tuple[OnPolicyAlgorithm, Evidence]:
        """Train with the feature, or without it from where a run with it (`off_from`) began."""
        off = off_from is not None
        n_envs = (off and self.off_n_envs) or self.n_envs
        wrap = (off and self.off_wrap) or self.wrap
        arguments = {"n_steps": N_STEPS * N_ENVS // n_envs, "batch_size": 16, "n_epochs": 4, "learning_rate": 3e-3}
        arguments |= self.arguments | (self.off if off else {})
        env = wrap(DummyVecEnv([partial(self._make, index, off=off) for index in range(n_envs)]))
        model = algorithm(self.policy, env, seed=7, device="cpu", **arguments)
        if off_from is not None:
            off_from.restore_start(model)
        evidence = Evidence()
        model.learn(ITERATIONS * N_STEPS * N_ENVS, callback=evidence)
        return model, evidence

    def _make(self, index: int, *, off: bool) -> EndingsEnv:
        first = index % len(LENGTHS)
        what = {"action_space": self.action_space, "observation_space": self.observation_space}
        return EndingsEnv(lengths=LENGTHS[first:] + LENGTHS[:first], **what | (self.off_environment if off else {}))


CASES = [
    Case("discrete", off_environment={"action_space": spaces.MultiBinary(3)}),
    Case("box", BOX, off_environment={"action_space": spaces.Discrete(2)}),
    Case("multi_discrete", spaces.MultiDiscrete([3, 2, 4]), off_environment={"action_space": spaces.Discrete(9)}),
    Case("multi_binary", spaces.MultiBinary(3), off_environment={"action_space": spaces.Discrete(3)}),
    Case(
        "several_environments",
        n_envs=8,
        off_n_envs=1,
        acted=lambda model, evidence: model.rollout_buffer.n_envs == 8 and evidence.steps_some_but_not_all_ended >= 3,
    ),
    Case(
        "endings_of_all_kinds",
        off_environment={"endings": ("terminated",)},
        acted=lambda model, evidence: (
            all(evidence.endings.count(kind) >= 3 for kind in ENDINGS) and evidence.truncations_flagged >= 3
        ),
    ),
    Case(
        "termination_and_truncation_at_once_is_no_truncation",
        arguments={"gamma": 0.9},
        off_environment={"endings": ("terminated", "truncated", "truncated")},
        acted=lambda model, evidence: evidence.endings.count("both") >= 3,
    ),
    Case("clip_range", off={"clip_range": 1e9}),
    Case(
        "clip_range_vf",
        arguments={"clip_range_vf": 0.05},
        off={"clip_range_vf": None},
        acted=lambda model, evidence: largest_value_change(model) > 0.05,
    ),
    Case(
        "target_kl",
        arguments={"target_kl": 0.01, "n_epochs": 8},
        off={"target_kl": None},
        acted=lambda model, evidence: ITERATIONS < optimizer_steps(model) < full_optimizer_steps(model),
    ),
    Case("use_sde", BOX, arguments={"use_sde": True, "sde_sample_freq": 4}, off={"use_sde": False}),
    Case(
        "sde_sample_freq",
        BOX,
        arguments={"use_sde": True, "sde_sample_freq": 4},
        off={"sde_sample_freq": -1},
    ),
    Case(
        "squashed_sde",
        BOX,
        arguments={"use_sde": True, "ent_coef": 0.01, "policy_kwargs": {"squash_output": True}},
        off={"policy_kwargs": {"squash_output": False}},
    ),
    Case(
        "dict_observations",
        observation_space=DICT,
        policy="MultiInputPolicy",
        off_environment={"zeroed": ("place",)},
    ),
    Case(
        "small_cnn",
        observation_space=IMAGE,
        policy="CnnPolicy",
        arguments={"policy_kwargs": {"features_extractor_class": SmallCnn}},
        off={"policy_kwargs": {"features_extractor_class": SmallCnn, "normalize_images": False}},
    ),
    Case(
        "short_last_minibatch",
        arguments={"batch_size": 24},
        off={"batch_size": 32},
        acted=lambda model, evidence: optimizer_steps(model) == ITERATIONS * 4 * 3,
    ),
    Case(
        "minibatch_of_one_at_the_end",
        arguments={"batch_size": 21},
        off={"batch_size": 32},
        acted=lambda model, evidence: optimizer_steps(model) == ITERATIONS * 4 * 4,
    ),
    Case(
        "linear_schedules",
        arguments={
            "learning_rate": LinearSchedule(3e-3, 1e-3, 1.0),
            "clip_range": LinearSchedule(0.2, 0.1, 1.0),
            "clip_range_vf": LinearSchedule(0.3, 0.1, 1.0),
        },
        off={"learning_rate": 3e-3, "clip_range": 0.2, "clip_range_vf": 0.3},
        acted=lambda model, evidence: largest_value_change(model) > 0.1,
    ),
    Case(
        "learning_rate_schedule",
        arguments={"learning_rate": LinearSchedule(3e-3, 1e-3, 1.0)},
        off={"learning_rate": 3e-3},
    ),
    Case("clip_range_schedule", arguments={"clip_range": LinearSchedule(0.2, 0.05, 1.0)}, off={"clip_range": 0.2}),
    Case("entropy_bonus", arguments={"ent_coef": 0.05}, off={"ent_coef": 0.0}),
    Case("entropy_bonus_of_a_gaussian", BOX, arguments={"ent_coef": 0.05}, off={"ent_coef": 0.0}),
    Case("value_loss_weight", arguments={"vf_coef": 0.9}, off={"vf_coef": 0.5}),
    Case("gradient_clipping", arguments={"max_grad_norm": 0.1}, off={"max_grad_norm": 1e9}),
    Case("unscaled_advantages", arguments={"normalize_advantage": False}, off={"normalize_advantage": True}),
    Case("gae_lambda", arguments={"gae_lambda": 0.6}, off={"gae_lambda": 0.95}),
    Case("gamma", arguments={"gamma": 0.7}, off={"gamma": 0.99}),
    Case(
        "vec_normalize",
        wrap=lambda env: VecNormalize(env, gamma=0.99),
        off_wrap=lambda env: env,
        acted=lambda model, evidence: model.get_vec_normalize_env() is not None,
    ),
    Case(
        "separate_features_extractors",
        observation_space=IMAGE,
        policy="CnnPolicy",
        arguments={"policy_kwargs": {**SMALL_NETWORKS, "share_features_extractor": False}},
        off={"policy_kwargs": {**SMALL_NETWORKS, "share_features_extractor": True}},
    ),
    Case(
        "relu",
        arguments={"policy_kwargs": {"activation_fn": th.nn.ReLU}},
        off={"policy_kwargs": {"activation_fn": th.nn.Tanh}},
    ),
    Case(
        "plain_sgd",
        arguments={"policy_kwargs": {"optimizer_class": th.optim.SGD}, "learning_rate": 0.7},
        off={"policy_kwargs": {"optimizer_class": th.optim.Adam}},
    ),
    Case(
        "discrete_observations",
        observation_space=spaces.Discrete(5),
        off_environment={"observation_space": spaces.Box(-np.inf, np.inf, (5,), np.float32)},
    ),
]


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_parameters_equal_stock_ppos_and_the_feature_made_a_difference(case: Case) -> None:
    stock, stock_evidence = case.train(PPO)
    ours, evidence = case.train(PPOScratch)
    without, _ = case.train(PPO, off_from=stock_evidence)

    assert (parameters(ours) - parameters(stock)).abs().max() <= BOUND
    assert_learned_and_clipped(stock, stock_evidence)
    assert case.acted(ours, evidence), "the feature did not act"
    difference = largest_common_difference(named_parameters(without), named_parameters(ours))
    assert difference > BOUND, "stock without it agrees"


CARTPOLE_ZOO = {
    "n_steps": 32, "batch_size": 256, "n_epochs": 20, "gae_lambda": 0.8, "gamma": 0.98, "learning_rate": 1e-3
}  # fmt: skip
LANDER_ZOO = {"n_steps": 128, "n_epochs": 4, "gae_lambda": 0.98, "gamma": 0.999, "ent_coef": 0.01}


@pytest.mark.parametrize(
    ("env_id", "arguments"),
    [
        ("CartPole-v1", {}),
        ("CartPole-v1", CARTPOLE_ZOO),
        # At the default learning rate, no ratio of the discrete lander is clipped within three iterations.
        ("LunarLander-v3", {**LANDER_ZOO, "learning_rate": 1e-3}),
        ("LunarLanderContinuous-v3", LANDER_ZOO),
    ],
    ids=["cartpole_defaults", "cartpole_zoo", "lander_zoo", "continuous_lander_zoo"],
)
def test_parameters_equal_stock_ppos_on_real_environments(env_id: str, arguments: dict[str, Any]) -> None:
    import gymnasium as gym

    n_envs, models = 8, []
    for algorithm in (PPO, PPOScratch):
        env = DummyVecEnv([lambda: gym.make(env_id) for _ in range(n_envs)])
        model = algorithm("MlpPolicy", env, seed=1, device="cpu", **({"n_steps": 256} | arguments))
        evidence = Evidence()
        models.append(model.learn(3 * model.n_steps * n_envs, callback=evidence))
        assert_learned_and_clipped(model, evidence)
    assert (parameters(models[0]) - parameters(models[1])).abs().max() <= BOUND
    assert models[0].num_timesteps == models[1].num_timesteps


@pytest.mark.parametrize("patched", [False, True], ids=["gymnasium", "rl_zoo3"])
def test_episodes_cut_by_either_time_limit_equal_stock_ppos_and_bootstrap(patched: bool) -> None:
    """rl_zoo3 replaces Gymnasium's TimeLimit by one that sets `truncated` only if the episode is not over already."""
    from rl_zoo3.gym_patches import PatchedTimeLimit

    [original] = [base for base in PatchedTimeLimit.__mro__ if base.__name__ == "TimeLimit"]
    time_limit = PatchedTimeLimit if patched else original

    def train(algorithm: type[OnPolicyAlgorithm], *, cut: bool = True) -> tuple[OnPolicyAlgorithm, Evidence]:
        def make() -> Any:
            env = EndingsEnv(DISCRETE, lengths=(5, 9), endings=("terminated",))
            return time_limit(env, max_episode_steps=5) if cut else env

        arguments = {"n_steps": N_STEPS, "batch_size": 16, "gamma": 0.9, "learning_rate": 3e-3}
        model = algorithm("MlpPolicy", DummyVecEnv([make] * N_ENVS), seed=7, **arguments)
        evidence = Evidence()
        return model.learn(ITERATIONS * N_STEPS * N_ENVS, callback=evidence), evidence

    (stock, _), (ours, evidence), (uncut, _) = train(PPO), train(PPOScratch), train(PPO, cut=False)
    assert (parameters(ours) - parameters(stock)).abs().max() <= BOUND
    assert_learned_and_clipped(ours, evidence)
    assert (parameters(ours) - parameters(uncut)).abs().max() > BOUND
    assert evidence.terminal_observations > len(evidence.endings) > 3, "no episode was cut without ending"


def test_log_equals_stock_ppos_where_stock_logs_means() -> None:
    case = Case("log", BOX, arguments={"clip_range_vf": 0.2, "ent_coef": 0.01})
    (stock, _), (ours, _) = case.train(PPO), case.train(PPOScratch)
    expected, logged = stock.logger.name_to_value, ours.logger.name_to_value
    assert set(expected) == set(logged) - {"time/rollout_fps", "time/update_fps"}
    differs_by_design = {"train/approx_kl", "train/loss"}
    for key in set(expected) - differs_by_design:
        assert logged[key] == pytest.approx(expected[key], rel=1e-4, abs=1e-6), key


def test_the_same_seed_gives_the_same_run_and_another_seed_does_not() -> None:
    case = Case("repeat", BOX)
    first, second = parameters(case.train(PPOScratch)[0]), parameters(case.train(PPOScratch)[0])
    assert th.equal(first, second)
    case.arguments["seed"] = 7
    env = DummyVecEnv([lambda: EndingsEnv(BOX)])
    assert not th.equal(
        parameters(PPOScratch("MlpPolicy", env, seed=8)), parameters(PPOScratch("MlpPolicy", env, seed=7))
    )
