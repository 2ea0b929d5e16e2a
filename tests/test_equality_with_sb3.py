"""`PPOScratch` equals stock PPO: the same parameters after three iterations, feature by feature, with each update.

Each case trains stock PPO and `PPOScratch` from the same seed and compares all parameters, once per way of updating;
where the closed form does not cover a case, it has to say so by name. To show that a case tests
what it is named after, it also asserts that the feature acted, and that stock PPO *without* it ends elsewhere, although
it starts from the same random state and from the same parameters (those that have the same shapes without the feature).
"""

import functools
import math
from collections import Counter
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
from sb3_ppo_scratch.updates.autograd import AutogradUpdate
from sb3_ppo_scratch.updates.closed_form import ClosedFormUpdate
from tests.envs import ENDINGS, EndingsEnv

BOUNDS = {"autograd": 1e-6, "closed_form": 1e-5}
"""Largest difference of any parameter between stock PPO and each update, one torch thread (see README)."""
UPDATES = sorted(BOUNDS)
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


class MlpExtractor(BaseFeaturesExtractor):
    """One layer, written as users write them."""

    def __init__(self, observation_space: spaces.Box) -> None:
        super().__init__(observation_space, features_dim=12)
        self.linear = th.nn.Linear(int(np.prod(observation_space.shape)), 12)

    def forward(self, observations: th.Tensor) -> th.Tensor:
        return th.relu(self.linear(observations.flatten(1)))


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


class CaseEnv(EndingsEnv):
    """Draws from every kind of observation space."""

    def _draw(self, space: spaces.Space[Any]) -> Any:
        if isinstance(space, spaces.MultiDiscrete):
            return self.np_random.integers(space.nvec)
        if isinstance(space, spaces.MultiBinary):
            return self.np_random.integers(0, 2, space.shape, dtype=np.int8)
        if space.dtype == np.float64:
            return self.np_random.normal(self.episode % 3, 1.0, space.shape)
        return super()._draw(space)


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
    not_covered: str = ""
    """What the closed form says that it does not cover; empty: nothing."""

    def train(
        self, algorithm: type[OnPolicyAlgorithm], *, off_from: Evidence | None = None, **own: Any
    ) -> tuple[OnPolicyAlgorithm, Evidence]:
        """Train with the feature, or without it from where a run with it (`off_from`) began."""
        off = off_from is not None
        n_envs = (off and self.off_n_envs) or self.n_envs
        wrap = (off and self.off_wrap) or self.wrap
        arguments = {"n_steps": N_STEPS * N_ENVS // n_envs, "batch_size": 16, "n_epochs": 4, "learning_rate": 3e-3}
        arguments |= self.arguments | (self.off if off else {})
        env = wrap(DummyVecEnv([partial(self._make, index, off=off) for index in range(n_envs)]))
        model = algorithm(self.policy, env, seed=7, device="cpu", **arguments, **own)
        if off_from is not None:
            off_from.restore_start(model)
        evidence = Evidence()
        model.learn(ITERATIONS * N_STEPS * N_ENVS, callback=evidence)
        return model, evidence

    def _make(self, index: int, *, off: bool) -> CaseEnv:
        first = index % len(LENGTHS)
        what = {"action_space": self.action_space, "observation_space": self.observation_space}
        return CaseEnv(lengths=LENGTHS[first:] + LENGTHS[:first], **what | (self.off_environment if off else {}))


SDE = "the action distribution StateDependentNoiseDistribution"


def optimizer_case(name: str, optimizer_class: type[th.optim.Optimizer] = th.optim.Adam, **options: Any) -> Case:
    return Case(
        name,
        BOX,
        arguments={"policy_kwargs": {"optimizer_class": optimizer_class, "optimizer_kwargs": options}},
        off={"policy_kwargs": {}},
    )


def widths_case(name: str, net_arch: Any, other: Any, learning_rate: float = 3e-3) -> Case:
    arguments = {"policy_kwargs": {"net_arch": net_arch}, "learning_rate": learning_rate}
    return Case(name, arguments=arguments, off={"policy_kwargs": {"net_arch": other}})


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
    Case(
        "use_sde",
        BOX,
        arguments={"use_sde": True, "sde_sample_freq": 4},
        off={"use_sde": False},
        not_covered=SDE,
    ),
    Case(
        "sde_sample_freq",
        BOX,
        arguments={"use_sde": True, "sde_sample_freq": 4},
        off={"sde_sample_freq": -1},
        not_covered=SDE,
    ),
    Case(
        "squashed_sde",
        BOX,
        arguments={"use_sde": True, "ent_coef": 0.01, "policy_kwargs": {"squash_output": True}},
        off={"policy_kwargs": {"squash_output": False}},
        not_covered=SDE,
    ),
    Case(
        "dict_observations",
        observation_space=DICT,
        policy="MultiInputPolicy",
        off_environment={"zeroed": ("place",)},
        not_covered="Dict observations",
    ),
    Case(
        "small_cnn",
        observation_space=IMAGE,
        policy="CnnPolicy",
        arguments={"policy_kwargs": {"features_extractor_class": SmallCnn}},
        off={"policy_kwargs": {"features_extractor_class": SmallCnn, "normalize_images": False}},
        not_covered="the operation Conv2d",
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
        not_covered="the operation Conv2d",
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
        not_covered="the optimiser SGD",
    ),
    Case(
        "discrete_observations",
        observation_space=spaces.Discrete(5),
        off_environment={"observation_space": spaces.Box(-np.inf, np.inf, (5,), np.float32)},
    ),
    Case(
        "multi_discrete_observations",
        observation_space=spaces.MultiDiscrete([2, 3]),
        off_environment={"observation_space": spaces.Box(-np.inf, np.inf, (5,), np.float32)},
    ),
    Case(
        "multi_binary_observations",
        observation_space=spaces.MultiBinary(5),
        off_environment={"observation_space": spaces.Box(-np.inf, np.inf, (5,), np.float32)},
    ),
    Case(
        "flattened_image",
        observation_space=spaces.Box(0, 255, (3, 6, 6), np.uint8),
        off={"policy_kwargs": {"normalize_images": False}},
    ),
    Case(
        "custom_mlp_extractor",
        BOX,
        arguments={"policy_kwargs": {"features_extractor_class": MlpExtractor}},
        off={"policy_kwargs": {}},
    ),
    Case(
        "separate_custom_mlp_extractors",
        arguments={"policy_kwargs": {"features_extractor_class": MlpExtractor, "share_features_extractor": False}},
        off={"policy_kwargs": {"features_extractor_class": MlpExtractor}},
    ),
    widths_case("other_widths_for_actor_and_critic", {"pi": [8], "vf": [32, 16, 8]}, {"pi": [8], "vf": [32]}, 1e-2),
    widths_case("linear_actor", {"pi": [], "vf": [16]}, {"pi": [16], "vf": [16]}),
    widths_case("linear_critic", {"pi": [16], "vf": []}, {"pi": [16], "vf": [16]}),
    widths_case("linear_actor_and_critic", [], [16]),
    Case("actions_of_two_dimensions", spaces.Box(-0.5, 0.5, (2, 2)), off_environment={"action_space": BOX}),
    optimizer_case("adamw", th.optim.AdamW, weight_decay=0.5),
    optimizer_case("adam_betas", betas=(0.7, 0.9)),
    optimizer_case("adam_eps", eps=1e-2),
    optimizer_case("adam_weight_decay", weight_decay=0.1),
    optimizer_case("adam_amsgrad", amsgrad=True),
    optimizer_case("adam_maximize", maximize=True),
]


@functools.cache
def train_stock(index: int) -> tuple[OnPolicyAlgorithm, Evidence, dict[str, th.Tensor]]:
    """Stock PPO with a case's feature, and its parameters without it; trained once for all updates."""
    stock, evidence = CASES[index].train(PPO)
    without, _ = CASES[index].train(PPO, off_from=evidence)
    return stock, evidence, named_parameters(without)


@pytest.fixture
def steps_taken(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Counts the optimiser steps of each update."""
    counts: Counter[str] = Counter()

    def count(update_class: type[Any], name: str) -> None:
        step = update_class.step

        def counted(*arguments: Any) -> None:
            counts[name] += 1
            step(*arguments)

        monkeypatch.setattr(update_class, "step", counted)

    count(AutogradUpdate, "autograd")
    count(ClosedFormUpdate, "closed_form")
    return counts


@pytest.mark.parametrize(
    ("index", "update"),
    [
        pytest.param(index, update, id=f"{case.name}-{update}")
        for index, case in enumerate(CASES)
        for update in UPDATES
        if update == "autograd" or not case.not_covered
    ],
)
def test_parameters_equal_stock_ppos_and_the_feature_made_a_difference(
    index: int, update: str, steps_taken: Counter[str]
) -> None:
    case = CASES[index]
    stock, stock_evidence, without = train_stock(index)
    ours, evidence = case.train(PPOScratch, update=update)

    assert (parameters(ours) - parameters(stock)).abs().max() <= BOUNDS[update]
    assert steps_taken == {update: optimizer_steps(stock) if case.name != "plain_sgd" else full_optimizer_steps(ours)}
    assert_learned_and_clipped(stock, stock_evidence)
    assert case.acted(ours, evidence), "the feature did not act"
    difference = largest_common_difference(without, named_parameters(ours))
    assert difference > BOUNDS[update], "stock without it agrees"


@pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in CASES if case.not_covered])
def test_closed_form_says_by_name_what_it_does_not_cover(case: Case) -> None:
    with pytest.raises(ValueError, match=rf"`update='closed_form'` does not cover {case.not_covered}"):
        case.train(PPOScratch, update="closed_form")


@pytest.mark.parametrize("update", UPDATES)
def test_parameters_equal_stock_ppos_for_float64_observations(update: str) -> None:
    case = Case("float64", BOX, spaces.Box(-np.inf, np.inf, (3,), np.float64))
    (stock, _), (ours, evidence) = case.train(PPO), case.train(PPOScratch, update=update)
    assert ours.rollout_buffer.observations.dtype == np.float64
    assert (parameters(ours) - parameters(stock)).abs().max() <= BOUNDS[update]
    assert_learned_and_clipped(ours, evidence)


CARTPOLE_ZOO = {
    "n_steps": 32, "batch_size": 256, "n_epochs": 20, "gae_lambda": 0.8, "gamma": 0.98, "learning_rate": 1e-3
}  # fmt: skip
LANDER_ZOO = {"n_steps": 128, "n_epochs": 4, "gae_lambda": 0.98, "gamma": 0.999, "ent_coef": 0.01}


REAL_ENVIRONMENTS: dict[str, tuple[str, dict[str, Any]]] = {
    "cartpole_defaults": ("CartPole-v1", {}),
    "cartpole_zoo": ("CartPole-v1", CARTPOLE_ZOO),
    # At the default learning rate, no ratio of the discrete lander is clipped within three iterations.
    "lander_zoo": ("LunarLander-v3", {**LANDER_ZOO, "learning_rate": 1e-3}),
    "continuous_lander_zoo": ("LunarLanderContinuous-v3", LANDER_ZOO),
}


def train_for_real(name: str, algorithm: type[OnPolicyAlgorithm], **own: Any) -> tuple[OnPolicyAlgorithm, Evidence]:
    import gymnasium as gym

    env_id, arguments = REAL_ENVIRONMENTS[name]
    env = DummyVecEnv([lambda: gym.make(env_id) for _ in range(8)])
    model = algorithm("MlpPolicy", env, seed=1, device="cpu", **({"n_steps": 256} | arguments), **own)
    evidence = Evidence()
    return model.learn(3 * model.n_steps * 8, callback=evidence), evidence


@functools.cache
def train_stock_for_real(name: str) -> OnPolicyAlgorithm:
    stock, evidence = train_for_real(name, PPO)
    assert_learned_and_clipped(stock, evidence)
    return stock


@pytest.mark.parametrize("update", UPDATES)
@pytest.mark.parametrize("name", REAL_ENVIRONMENTS)
def test_parameters_equal_stock_ppos_on_real_environments(name: str, update: str, steps_taken: Counter[str]) -> None:
    ours, evidence = train_for_real(name, PPOScratch, update=update)
    stock = train_stock_for_real(name)
    assert_learned_and_clipped(ours, evidence)
    assert (parameters(ours) - parameters(stock)).abs().max() <= BOUNDS[update]
    assert ours.num_timesteps == stock.num_timesteps
    assert steps_taken == {update: optimizer_steps(stock)}


@pytest.mark.parametrize("update", UPDATES)
@pytest.mark.parametrize("patched", [False, True], ids=["gymnasium", "rl_zoo3"])
def test_episodes_cut_by_either_time_limit_equal_stock_ppos_and_bootstrap(patched: bool, update: str) -> None:
    """rl_zoo3 replaces Gymnasium's TimeLimit by one that sets `truncated` only if the episode is not over already."""
    from rl_zoo3.gym_patches import PatchedTimeLimit

    [original] = [base for base in PatchedTimeLimit.__mro__ if base.__name__ == "TimeLimit"]
    time_limit = PatchedTimeLimit if patched else original

    def train(
        algorithm: type[OnPolicyAlgorithm], *, cut: bool = True, **own: Any
    ) -> tuple[OnPolicyAlgorithm, Evidence]:
        def make() -> Any:
            env = EndingsEnv(DISCRETE, lengths=(5, 9), endings=("terminated",))
            return time_limit(env, max_episode_steps=5) if cut else env

        arguments = {"n_steps": N_STEPS, "batch_size": 16, "gamma": 0.9, "learning_rate": 3e-3}
        model = algorithm("MlpPolicy", DummyVecEnv([make] * N_ENVS), seed=7, **arguments, **own)
        evidence = Evidence()
        return model.learn(ITERATIONS * N_STEPS * N_ENVS, callback=evidence), evidence

    (stock, _), (ours, evidence), (uncut, _) = train(PPO), train(PPOScratch, update=update), train(PPO, cut=False)
    assert (parameters(ours) - parameters(stock)).abs().max() <= BOUNDS[update]
    assert_learned_and_clipped(ours, evidence)
    assert (parameters(ours) - parameters(uncut)).abs().max() > BOUNDS[update]
    assert evidence.terminal_observations > len(evidence.endings) > 3, "no episode was cut without ending"


@pytest.mark.parametrize("update", UPDATES)
def test_log_equals_stock_ppos_where_stock_logs_means(update: str) -> None:
    case = Case("log", BOX, arguments={"clip_range_vf": 0.2, "ent_coef": 0.01})
    (stock, _), (ours, _) = case.train(PPO), case.train(PPOScratch, update=update)
    expected, logged = stock.logger.name_to_value, ours.logger.name_to_value
    assert set(expected) == set(logged) - {"time/rollout_fps", "time/update_fps"}
    differs_by_design = {"train/approx_kl", "train/loss"}
    for key in set(expected) - differs_by_design:
        assert logged[key] == pytest.approx(expected[key], rel=1e-4, abs=1e-6), key


@pytest.mark.parametrize("update", UPDATES)
def test_the_same_seed_gives_the_same_run_and_another_seed_does_not(update: str) -> None:
    case = Case("repeat", BOX)
    first, second = (parameters(case.train(PPOScratch, update=update)[0]) for _ in range(2))
    assert th.equal(first, second)
    env = DummyVecEnv([lambda: EndingsEnv(BOX)])
    assert not th.equal(
        parameters(PPOScratch("MlpPolicy", env, seed=8)), parameters(PPOScratch("MlpPolicy", env, seed=7))
    )
