"""Tests of `gaussian_distribution.py` and of the policy that uses it, against SciPy and SB3's own Gaussian."""

import copy
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from scipy import stats
from stable_baselines3.common.distributions import DiagGaussianDistribution

from sb3_ppo_scratch import PPOScratch
from sb3_ppo_scratch.errors import ArgumentError
from sb3_ppo_scratch.gaussian_distribution import GaussianDistribution
from sb3_ppo_scratch.updates.exact_kl import describe_distribution, kl_from
from tests.envs import EndingsEnv

BOX = spaces.Box(-1.0, 1.0, (3,), np.float32)
SWITCHES = [(True, True), (False, False), (True, False)]
"""Of `state_dependent_std` and `independent_components`: every combination but SB3's."""


def model_of(**arguments: Any) -> PPOScratch:
    settings = {"n_steps": 32, "batch_size": 16, "n_epochs": 2, "seed": 0, **arguments}
    return PPOScratch("GaussianMlpPolicy", EndingsEnv(BOX), **settings)


def distribution_of(
    state_dependent_std: bool, independent_components: bool, batch: int = 5, seed: int = 0
) -> GaussianDistribution:
    """A distribution in float64 with random parameters, none of which is zero."""
    th.manual_seed(seed)
    distribution = GaussianDistribution(
        3, state_dependent_std=state_dependent_std, independent_components=independent_components
    )
    head, log_std = distribution.proba_distribution_net(4, -0.3)
    head = head.double()
    for parameter in head.parameters():
        parameter.data.normal_(0.0, 0.5)
    return distribution.proba_distribution(head(th.randn(batch, 4, dtype=th.float64)), log_std.double())


def mean_and_covariance(distribution: GaussianDistribution, row: int) -> tuple[np.ndarray, np.ndarray]:
    """Read one row's moments off torch's distribution."""
    inside: Any = distribution.distribution
    if distribution.independent_components:
        return inside.mean[row].detach().numpy(), np.diag(inside.variance[row].detach().numpy())
    return inside.mean[row].detach().numpy(), inside.covariance_matrix[row].detach().numpy()


@pytest.mark.parametrize("switches", SWITCHES)
def test_log_probabilities_and_entropies_are_scipys(switches: tuple[bool, bool]) -> None:
    distribution = distribution_of(*switches)
    actions = th.randn(5, 3, dtype=th.float64)
    log_prob, entropy = distribution.log_prob(actions), distribution.entropy()
    assert log_prob.shape == entropy.shape == (5,)
    for row in range(5):
        reference = stats.multivariate_normal(*mean_and_covariance(distribution, row))
        assert log_prob[row].item() == pytest.approx(reference.logpdf(actions[row].numpy()), rel=1e-10)
        assert entropy[row].item() == pytest.approx(reference.entropy(), rel=1e-10)


def test_covariance_is_the_one_that_is_documented() -> None:
    distribution = GaussianDistribution(2, state_dependent_std=False, independent_components=False)
    outputs = th.tensor([[0.1, 0.2, 0.5]], dtype=th.float64)  # two means and the element below the diagonal
    distribution.proba_distribution(outputs, th.tensor([2.0, 3.0], dtype=th.float64).log())
    mean, covariance = mean_and_covariance(distribution, 0)
    np.testing.assert_array_equal(mean, [0.1, 0.2])
    np.testing.assert_allclose(covariance, [[4.0, 3.0], [3.0, 11.25]])  # of L = [[2, 0], [3 / 2, 3]]


@pytest.mark.parametrize("switches", SWITCHES)
def test_samples_have_the_distributions_moments_and_the_mode_is_the_mean(switches: tuple[bool, bool]) -> None:
    distribution = distribution_of(*switches, batch=1)
    inside: Any = distribution.distribution
    mean, covariance = mean_and_covariance(distribution, 0)
    samples = inside.sample((200_000,))[:, 0].numpy()
    standardised = np.linalg.solve(np.linalg.cholesky(covariance), (samples - mean).T)
    np.testing.assert_allclose(standardised.mean(axis=1), 0.0, atol=0.02)
    np.testing.assert_allclose(np.cov(standardised), np.eye(3), atol=0.02)
    np.testing.assert_array_equal(distribution.mode().detach().numpy()[0], mean)
    assert distribution.sample().shape == (1, 3)


@pytest.mark.parametrize("switches", SWITCHES)
def test_switches_do_what_they_say(switches: tuple[bool, bool]) -> None:
    state_dependent_std, independent_components = switches
    distribution = distribution_of(*switches)
    covariances = np.stack([mean_and_covariance(distribution, row)[1] for row in range(5)])
    spread = np.diagonal(covariances, axis1=1, axis2=2).std(axis=0)
    assert (spread > 1e-3).all() == state_dependent_std
    below = covariances[(slice(None), *np.tril_indices(3, -1))]
    assert (np.abs(below) > 1e-3).all() == (not independent_components)


@pytest.mark.parametrize("switches", SWITCHES)
def test_everything_stays_on_the_parameters_device(
    switches: tuple[bool, bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(th.distributions.Distribution, "_validate_args", False)  # which would look at values
    distribution = GaussianDistribution(3, state_dependent_std=switches[0], independent_components=switches[1])
    head, log_std = distribution.proba_distribution_net(4)
    distribution.proba_distribution(head.to("meta")(th.zeros(5, 4, device="meta")), log_std.to("meta"))
    results = [distribution.sample(), distribution.mode(), distribution.entropy()]
    assert [result.device.type for result in (*results, distribution.log_prob(results[0]))] == ["meta"] * 4


@pytest.mark.parametrize("switches", SWITCHES)
def test_divergence_is_that_of_gaussians(switches: tuple[bool, bool]) -> None:
    old, new = distribution_of(*switches), distribution_of(*switches, seed=1)
    described = describe_distribution(old)
    assert described is not None
    divergences = kl_from(described, new)
    assert divergences.shape == (5,)
    for row in range(5):
        (mean, covariance), (other_mean, other_covariance) = (mean_and_covariance(each, row) for each in (old, new))
        step = other_mean - mean
        expected = 0.5 * (
            np.trace(np.linalg.solve(other_covariance, covariance))
            + step @ np.linalg.solve(other_covariance, step)
            - 3
            + np.log(np.linalg.det(other_covariance) / np.linalg.det(covariance))
        )
        assert expected > 0.1
        assert divergences[row].item() == pytest.approx(expected, rel=1e-9)


def test_without_the_switches_it_is_sb3s_policy_bit_by_bit() -> None:
    ours = model_of(update="closed_form").learn(64)
    theirs = PPOScratch("MlpPolicy", EndingsEnv(BOX), n_steps=32, batch_size=16, n_epochs=2, seed=0).learn(64)
    assert type(ours.policy.action_dist) is DiagGaussianDistribution
    for name, parameter in theirs.policy.state_dict().items():
        assert th.equal(parameter, ours.policy.state_dict()[name])


@pytest.mark.parametrize("switches", SWITCHES)
def test_all_parameters_learn_and_survive_saving_copying_and_pickling(
    switches: tuple[bool, bool], tmp_path: Path
) -> None:
    kwargs = {"state_dependent_std": switches[0], "independent_components": switches[1]}
    model = model_of(policy_kwargs=kwargs)
    before = copy.deepcopy(model.policy.state_dict())
    model.learn(96)
    head = [name for name in before if name.startswith("action_net") and before[name].numel()]
    assert len(head) == 2 + 2 * switches[0] + (not switches[1])
    for name in head:
        assert not th.equal(before[name], model.policy.state_dict()[name]), name
    model.save(tmp_path / "model")
    observations = np.random.default_rng(0).normal(size=(7, 3)).astype(np.float32)
    wanted, _ = model.predict(observations, deterministic=True)
    for other in (PPOScratch.load(tmp_path / "model"), copy.deepcopy(model)):
        np.testing.assert_array_equal(other.predict(observations, deterministic=True)[0], wanted)
    policy = pickle.loads(pickle.dumps(model.policy))
    np.testing.assert_array_equal(policy.predict(observations, deterministic=True)[0], wanted)


@pytest.mark.parametrize("kl_mode", ["penalty", "adaptive_lr", "rollback", "early_stop"])
def test_kl_control_works_with_correlated_actions(kl_mode: Any) -> None:
    kwargs = {"state_dependent_std": True, "independent_components": False}
    model = model_of(policy_kwargs=kwargs, kl_mode=kl_mode, target_kl=0.01, learning_rate=1e-2).learn(64)
    assert np.isfinite(model.logger.name_to_value["train/approx_kl"])


def test_ratio_of_the_first_minibatch_is_one() -> None:
    kwargs = {"state_dependent_std": True, "independent_components": False}
    model = model_of(policy_kwargs=kwargs, n_epochs=1, batch_size=32).learn(32)
    assert model.logger.name_to_value["train/approx_kl"] == pytest.approx(0.0, abs=1e-6)


def test_what_it_cannot_do_is_refused() -> None:
    with pytest.raises(ArgumentError, match="needs a Box action space"):
        PPOScratch("GaussianMlpPolicy", "CartPole-v1")
    with pytest.raises(ArgumentError, match="`use_sde=True` is not for GaussianMlpPolicy"):
        model_of(use_sde=True)
    with pytest.raises(ArgumentError, match="`state_dependent_std` must be one of"):
        model_of(policy_kwargs={"state_dependent_std": 1})
    for log_std_init in (2.1, -21.0):
        with pytest.raises(ArgumentError, match=r"`log_std_init` must lie in \[-20\.0, 2\.0\] with .* got"):
            model_of(policy_kwargs={"state_dependent_std": True, "log_std_init": log_std_init})
    model_of(policy_kwargs={"independent_components": False, "log_std_init": 3.0})
    with pytest.raises(ArgumentError, match="does not cover"):
        model_of(policy_kwargs={"state_dependent_std": True}, update="closed_form")
