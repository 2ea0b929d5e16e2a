"""Tests of `networks.py`: policies without a critic, and with a shared trunk."""

from typing import Any

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.policies import ActorCriticCnnPolicy, ActorCriticPolicy, BasePolicy
from stable_baselines3.common.torch_layers import MlpExtractor, NatureCNN

from sb3_ppo_scratch import PPOScratch
from sb3_ppo_scratch.errors import ArgumentError, ArgumentTypeError
from sb3_ppo_scratch.networks import SharedTrunk, share_trunk
from tests.envs import EndingsEnv

IMAGES = spaces.Box(0, 255, (36, 36, 1), np.uint8)
DICTS = spaces.Dict({"a": spaces.Box(-1, 1, (2,), np.float32), "b": spaces.Box(-1, 1, (3,), np.float32)})
KINDS: dict[str, tuple[str, Any]] = {
    "vectors": ("MlpPolicy", None),
    "dicts": ("MultiInputPolicy", DICTS),
    "images": ("CnnPolicy", IMAGES),
}


BOX = spaces.Box(-1, 1, (2,), np.float32)


class Passing(ActorCriticPolicy):
    """Passes its arguments on without naming them, as SB3's documentation does."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)


class PassingCnn(ActorCriticCnnPolicy):
    """The same for images."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)


class OwnDefaults(ActorCriticPolicy):
    """Has other layers than SB3's where none are asked for."""

    def __init__(
        self, *arguments: Any, net_arch: Any = (12,), activation_fn: Any = th.nn.ReLU, **keywords: Any
    ) -> None:
        super().__init__(*arguments, net_arch=net_arch, activation_fn=activation_fn, **keywords)


class OwnExtractors(ActorCriticPolicy):
    """Has separate features extractors where nothing is said about them."""

    def __init__(self, *arguments: Any, share_features_extractor: bool = False, **keywords: Any) -> None:
        super().__init__(*arguments, share_features_extractor=share_features_extractor, **keywords)


class OwnLayers(Passing):
    """Has layers that no argument speaks of."""

    def _build_mlp_extractor(self) -> None:
        self.mlp_extractor = MlpExtractor(self.features_dim, [8], th.nn.Tanh)


def model_of(kind: str = "vectors", action_space: spaces.Space[Any] | None = None, **arguments: Any) -> PPOScratch:
    policy, observation_space = KINDS[kind]
    env = EndingsEnv(action_space or spaces.Discrete(3), observation_space)
    return PPOScratch(policy, env, **{"n_steps": 16, "batch_size": 8, "n_epochs": 2, "seed": 0, **arguments})


# -- no critic ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [True, False], ids=["shared_extractor", "own_extractors"])
def test_without_critic_nothing_of_it_is_left_and_values_are_zero(kind: str, share: bool) -> None:
    model = model_of(kind, critic=False, policy_kwargs={"share_features_extractor": share}).learn(32)
    assert not [name for name, _ in model.policy.named_parameters() if "value" in name or "vf" in name]
    trained = {id(each) for group in model.policy.optimizer.param_groups for each in group["params"]}
    assert trained == {id(each) for each in model.policy.parameters()}
    assert not model.rollout_buffer.values.any()
    assert not {"train/value_loss", "train/explained_variance"} & set(model.logger.name_to_value)


def test_actor_begins_and_learns_as_with_a_critic_of_no_influence() -> None:
    with_critic = model_of(normalize_advantage=False, vf_coef=0.0, gae_lambda=1.0)
    without = model_of(normalize_advantage=False, critic=False, gae_lambda=1.0)
    actor = dict(with_critic.policy.named_parameters())
    for name, parameter in without.policy.named_parameters():
        assert th.equal(parameter, actor[name])


@pytest.mark.parametrize(
    "action_space", [spaces.Discrete(3), spaces.Box(-1, 1, (2,), np.float32)], ids=["discrete", "box"]
)
def test_both_updates_learn_the_same_without_critic(action_space: spaces.Space[Any]) -> None:
    models = [
        model_of(action_space=action_space, critic=False, update=update).learn(48)
        for update in ("closed_form", "autograd")
    ]
    for ours, theirs in zip(*(model.policy.parameters() for model in models), strict=True):
        th.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


def test_rewards_without_critic_are_not_bootstrapped() -> None:
    model = model_of(critic=False, gamma=0.5, gae_lambda=1.0)
    model.learn(16)
    rewards, advantages, starts = (
        getattr(model.rollout_buffer, name).reshape(-1) for name in ("rewards", "advantages", "episode_starts")
    )
    expected, following = np.zeros(16), 0.0
    for step in reversed(range(16)):
        following = rewards[step] + 0.5 * following * (0 if step == 15 or starts[step + 1] else 1)
        expected[step] = following
    np.testing.assert_allclose(advantages, expected, rtol=1e-5)


def test_model_without_critic_survives_saving_and_is_refused_by_stock(tmp_path: Any) -> None:
    from stable_baselines3 import PPO

    model = model_of(critic=False).learn(16)
    model.save(tmp_path / "model")
    loaded = PPOScratch.load(tmp_path / "model", env=EndingsEnv(spaces.Discrete(3)))
    for ours, theirs in zip(model.policy.parameters(), loaded.policy.parameters(), strict=True):
        assert th.equal(ours, theirs)
    loaded.learn(16)
    with pytest.raises(RuntimeError, match="value_net"):
        PPO.load(tmp_path / "model")


def test_critic_cannot_appear_or_vanish_later() -> None:
    model = model_of()
    with pytest.raises(ValueError, match="`critic` cannot become False once the policy is built"):
        model.critic = False


# -- shared trunk ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_shared_features_leave_one_layer_each_to_actor_and_critic(kind: str) -> None:
    model = model_of(kind, share_features=True, policy_kwargs={"net_arch": [16, 8]}).learn(32)
    extractor = model.policy.features_extractor
    assert isinstance(extractor, SharedTrunk)
    assert extractor.features_dim == 8
    assert [type(layer) for layer in extractor.layers] == [th.nn.Linear, th.nn.Tanh] * 2
    others = {name.split(".")[0] for name, _ in model.policy.named_parameters() if "features_extractor" not in name}
    assert others == {"action_net", "value_net"}


def test_default_trunk_has_the_layers_that_sb3_gives_each_network() -> None:
    sizes = [tuple(p.shape) for p in model_of(share_features=True).policy.features_extractor.parameters()]
    assert sizes == [(64, 3), (64,), (64, 64), (64,)]
    assert not list(model_of("images", share_features=True).policy.features_extractor.layers.parameters())


def test_shared_trunk_begins_orthogonal_and_is_covered_by_the_closed_form() -> None:
    model = model_of(share_features=True)
    weight = model.policy.features_extractor.layers[2].weight.detach()
    th.testing.assert_close(weight @ weight.T, 2 * th.eye(64), rtol=0, atol=1e-4)
    models = [model_of(share_features=True, update=update).learn(48) for update in ("closed_form", "autograd")]
    for ours, theirs in zip(*(each.policy.parameters() for each in models), strict=True):
        th.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


CORRELATED = {"state_dependent_std": True, "independent_components": False}


@pytest.mark.parametrize(
    ("policy", "update", "kwargs"),
    [
        ("BinnedMlpPolicy", "autograd", {"bins": 3}),
        ("OrdinalMlpPolicy", "autograd", {"bins": [[-1.0, 0.0, 0.5], 4]}),
        ("GaussianMlpPolicy", "closed_form", {}),
        ("GaussianMlpPolicy", "autograd", CORRELATED),
        (Passing, "closed_form", {}),
    ],
)
def test_every_policy_shares_its_trunk_learns_and_survives_saving(
    policy: Any, update: Any, kwargs: dict[str, Any], tmp_path: Any
) -> None:
    arguments = {"n_steps": 16, "batch_size": 8, "n_epochs": 2, "seed": 0, "update": update}
    kwargs = {"net_arch": [16, 8], **kwargs}
    model = PPOScratch(policy, EndingsEnv(BOX), share_features=True, policy_kwargs=kwargs, **arguments)
    trunk = list(model.policy.features_extractor.layers.parameters())
    assert [len(parameter) for parameter in trunk] == [16, 16, 8, 8]
    before = [parameter.detach().clone() for parameter in trunk]
    model.learn(48)
    assert not any(th.equal(*pair) for pair in zip(trunk, before, strict=True))
    observations = np.random.default_rng(0).normal(size=(9, 3)).astype(np.float32)
    drawn, _ = model.predict(observations)
    values, log_probs, _ = model.policy.evaluate_actions(th.as_tensor(observations), th.as_tensor(drawn))
    for output in (values, log_probs):
        assert all(gradient.any() for gradient in th.autograd.grad(output.sum(), trunk, retain_graph=True))
    others = {name.split(".")[0] for name, _ in model.policy.named_parameters() if "features_extractor" not in name}
    assert others <= {"action_net", "value_net", "log_std"}
    model.save(tmp_path / "model")
    model.policy.save(tmp_path / "policy")
    chosen, _ = model.predict(observations, deterministic=True)
    for loaded in (PPOScratch.load(tmp_path / "model"), type(model.policy).load(tmp_path / "policy")):
        np.testing.assert_array_equal(loaded.predict(observations, deterministic=True)[0], chosen)


@pytest.mark.parametrize("policy", ["GaussianMlpPolicy", Passing])
def test_both_updates_learn_the_same_with_a_shared_trunk_of_any_covered_policy(policy: Any) -> None:
    arguments = {"n_steps": 16, "batch_size": 8, "n_epochs": 2, "seed": 0, "share_features": True}
    models = [
        PPOScratch(policy, EndingsEnv(BOX), update=update, **arguments).learn(48)  # type: ignore[arg-type]
        for update in ("closed_form", "autograd")
    ]
    for ours, theirs in zip(*(each.policy.parameters() for each in models), strict=True):
        th.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


def test_trunk_begins_with_what_the_policy_would_have_without_it() -> None:
    trunk = share_trunk(PassingCnn, {})["features_extractor_kwargs"]
    assert trunk["extractor_class"] is NatureCNN
    assert trunk["layers"] == []
    chosen = share_trunk(Passing, {"features_extractor_class": NatureCNN, "features_extractor_kwargs": {"a": 1}})
    assert chosen["features_extractor_kwargs"]["extractor_class"] is NatureCNN
    assert chosen["features_extractor_kwargs"]["extractor_kwargs"] == {"a": 1}
    assert chosen["features_extractor_kwargs"]["layers"] == []  # SB3 adds none to this extractor
    own = share_trunk(OwnDefaults, {})["features_extractor_kwargs"]
    assert (own["layers"], own["activation_fn"]) == ([12], th.nn.ReLU)


@pytest.mark.parametrize(
    ("policy", "policy_kwargs", "message"),
    [
        ("MlpPolicy", {"net_arch": {"pi": [8], "vf": [8]}}, "contradicts net_arch=.* layers of their own"),
        ("MlpPolicy", {"net_arch": [{"pi": [8], "vf": [8]}]}, "contradicts net_arch=.* layers of their own"),
        (
            Passing,
            {"net_arch": 8},
            "contradicts net_arch=8 in policy_kwargs, which holds no widths; pass a list of widths",
        ),
        (Passing, {"net_arch": [8, 0]}, r"contradicts net_arch=\[8, 0\] in policy_kwargs, which holds no widths"),
        (Passing, {"net_arch": "64"}, "contradicts net_arch='64' in policy_kwargs, which holds no widths"),
        ("MlpPolicy", {"share_features_extractor": False}, "contradicts policy_kwargs"),
        (OwnExtractors, {}, "contradicts policy_kwargs"),
        (OwnLayers, {}, "contradicts OwnLayers, whose mlp_extractor has layers that come after"),
    ],
)
def test_separate_layers_contradict_a_shared_trunk(policy: Any, policy_kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises((ArgumentError, ArgumentTypeError), match=message):
        PPOScratch(policy, EndingsEnv(BOX), share_features=True, policy_kwargs=policy_kwargs)


def test_policy_that_is_no_actor_critic_has_no_trunk_to_share() -> None:
    with pytest.raises(ArgumentError, match="needs a policy that knows `net_arch`; BasePolicy does not"):
        share_trunk(BasePolicy, {})


@pytest.mark.parametrize("net_arch", [(8, 4), np.array([8, 4])], ids=["tuple", "array"])
def test_widths_may_come_in_any_sequence(net_arch: Any) -> None:
    assert share_trunk(ActorCriticPolicy, {"net_arch": net_arch})["features_extractor_kwargs"]["layers"] == [8, 4]


def test_shared_trunk_survives_saving(tmp_path: Any) -> None:
    model = model_of(share_features=True).learn(16)
    model.save(tmp_path / "model")
    loaded = PPOScratch.load(tmp_path / "model")
    observations = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    np.testing.assert_array_equal(
        model.predict(observations, deterministic=True)[0], loaded.predict(observations, deterministic=True)[0]
    )


# -- switches of single details ----------------------------------------------------------------------------------------


def test_weights_begin_orthogonal_unless_switched_off() -> None:
    for switch, orthogonal in ((True, True), (False, False)):
        weight = model_of(orthogonal_init=switch).policy.mlp_extractor.policy_net[2].weight.detach()
        assert th.allclose(weight @ weight.T, 2 * th.eye(64), atol=1e-4) == orthogonal


def test_adam_epsilon_is_sb3s_unless_said_otherwise() -> None:
    assert model_of().policy.optimizer.param_groups[0]["eps"] == 1e-5
    assert model_of(adam_epsilon=1e-8).policy.optimizer.param_groups[0]["eps"] == 1e-8
    with pytest.raises(ValueError, match=r"`adam_epsilon=1e-08` contradicts eps=0\.1 in policy_kwargs"):
        model_of(adam_epsilon=1e-8, policy_kwargs={"optimizer_kwargs": {"eps": 0.1}})


def test_no_clipping_is_an_infinite_clip_range() -> None:
    models = [model_of(clip_range=clip_range, learning_rate=1e-2).learn(48) for clip_range in (None, 1e9)]
    for ours, theirs in zip(*(model.policy.parameters() for model in models), strict=True):
        assert th.equal(ours, theirs)
