"""Tests of `updates/heads.py` against torch's and SB3's distributions."""

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch as th
from stable_baselines3.common.distributions import (
    BernoulliDistribution,
    CategoricalDistribution,
    DiagGaussianDistribution,
    Distribution,
    MultiCategoricalDistribution,
)

from sb3_ppo_scratch.updates import heads
from sb3_ppo_scratch.updates.heads import BernoulliHead, CategoricalHead, GaussianHead, Head, draw_categories

LOG_STD = np.array([0.3, -0.7])


class Pair:
    """A head and SB3's distribution for the same actions, both about the same random outputs."""

    def __init__(self, kind: str, batch: int = 9, dtype: Any = np.float64) -> None:
        rng = np.random.default_rng(0)
        n_outputs = {"categorical": 4, "multi_categorical": 9, "bernoulli": 3, "gaussian": 2}[kind]
        self.outputs = rng.normal(0, 2, size=(n_outputs, batch)).astype(dtype)
        self.log_std = LOG_STD.astype(dtype)[:, None].copy()
        self.log_std_gradient = np.full_like(self.log_std, np.nan)
        self.logits = th.tensor(self.outputs.T.copy(), requires_grad=True)
        self.log_std_tensor = th.tensor(self.log_std[:, 0].copy(), requires_grad=True)
        made: tuple[Head, Distribution]
        made = {
            "categorical": lambda: (CategoricalHead([4]), CategoricalDistribution(4)),
            "multi_categorical": lambda: (CategoricalHead([2, 4, 3]), MultiCategoricalDistribution([2, 4, 3])),
            "bernoulli": lambda: (BernoulliHead(), BernoulliDistribution(3)),
            "gaussian": lambda: (GaussianHead(self.log_std, self.log_std_gradient), DiagGaussianDistribution(2)),
        }[kind]()
        self.head, self.distribution = made
        parameters = (self.logits, self.log_std_tensor) if kind == "gaussian" else (self.logits,)
        self.distribution.proba_distribution(*parameters)
        self.head.condition(self.outputs.copy())

    def actions(self) -> th.Tensor:
        """Some actions, shape (batch,) or (batch, action_dim)."""
        th.manual_seed(1)
        return self.distribution.sample().detach()


KINDS = ["categorical", "multi_categorical", "bernoulli", "gaussian"]


def as_columns(actions: th.Tensor) -> np.ndarray:
    return actions.detach().reshape(len(actions), -1).numpy().T


@pytest.mark.parametrize("kind", KINDS)
def test_log_probability_and_mean_entropy_equal_sb3s_distributions(kind: str) -> None:
    pair = Pair(kind)
    actions = pair.actions()
    log_prob = pair.head.log_prob(as_columns(actions))
    np.testing.assert_allclose(log_prob, pair.distribution.log_prob(actions).detach().numpy(), rtol=1e-12, atol=1e-12)
    assert pair.head.mean_entropy() == pytest.approx(pair.distribution.entropy().mean().item(), rel=1e-12)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("d_entropy", [0.0, -0.3, 1.0])
def test_derivatives_by_outputs_and_deviations_equal_autograds(kind: str, d_entropy: float) -> None:
    pair = Pair(kind)
    actions = pair.actions()
    weights = np.random.default_rng(2).normal(size=9)
    pair.head.mean_entropy()
    pair.head.log_prob(as_columns(actions))
    gradient = np.full_like(pair.outputs, np.nan)
    pair.head.backward(weights.copy(), d_entropy, gradient)
    loss = (th.as_tensor(weights) * pair.distribution.log_prob(actions)).sum()
    (loss + d_entropy * pair.distribution.entropy().mean()).backward()
    np.testing.assert_allclose(gradient.T, pair.logits.grad.numpy(), rtol=1e-10, atol=1e-12)
    if kind == "gaussian":
        np.testing.assert_allclose(pair.log_std_gradient[:, 0], pair.log_std_tensor.grad.numpy(), rtol=1e-10)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("batch", [1, 2, 9, 40])
def test_samples_and_generator_state_equal_sb3s_distributions(kind: str, batch: int) -> None:
    pair = Pair(kind, batch, np.float32)
    for seed in range(5):
        th.manual_seed(seed)
        with th.no_grad():
            expected, state = pair.distribution.sample(), th.get_rng_state()
        th.manual_seed(seed)
        drawn = pair.head.sample()
        np.testing.assert_allclose(drawn, as_columns(expected), rtol=1e-6, atol=1e-6)
        assert drawn.dtype == expected.numpy().dtype
        assert th.equal(th.get_rng_state(), state)


@pytest.mark.parametrize("head", [CategoricalHead([3]), BernoulliHead()], ids=["categorical", "bernoulli"])
def test_huge_logits_give_finite_probabilities_and_gradients(head: Head) -> None:
    head.condition(np.array([[1e4, -1e4], [0.0, 0.0], [-1e4, 1e4]], dtype=np.float32))
    actions = np.array([[0, 0]]) if isinstance(head, CategoricalHead) else np.array([[1, 1], [0, 1], [0, 0]])
    gradient = np.empty((3, 2), np.float32)
    assert np.isfinite(head.log_prob(actions)).all()
    assert np.isfinite(head.mean_entropy())
    head.backward(np.ones(2, np.float32), -0.1, gradient)
    assert np.isfinite(gradient).all()


def test_huge_logits_of_one_distribution_leave_those_of_the_others_exact() -> None:
    head, logits = CategoricalHead([3]), np.array([[1e4, 0.0], [0.0, 1.0], [-1e4, 2.0]])
    head.condition(logits.copy())
    expected = th.log_softmax(th.as_tensor(logits), dim=0)[2].numpy()
    np.testing.assert_allclose(head.log_prob(np.array([[2, 2]])), expected, rtol=1e-12)


@pytest.mark.filterwarnings("ignore:invalid value")
def test_zeros_and_ones_of_no_probability_are_nan() -> None:
    head = BernoulliHead()
    head.condition(np.array([[0.0, np.nan], [1.0, 2.0]], np.float32))
    drawn = head.sample()
    assert np.isnan(drawn).all()
    assert (drawn.shape, drawn.dtype) == ((2, 2), np.float32)


# -- drawing categories ------------------------------------------------------------------------------------------------


@pytest.fixture(params=["quick", "torchs"])
def way_of_drawing(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "torchs":
        monkeypatch.setattr(heads, "_torch_draws_by_exponentials", lambda: False)
    return str(request.param)


@pytest.mark.usefixtures("way_of_drawing")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(1, 2), (1, 5), (64, 3), (7, 40)], ids=str)
def test_categories_and_generator_state_equal_multinomials(dtype: Any, shape: tuple[int, int]) -> None:
    probabilities = np.random.default_rng(0).dirichlet(np.ones(shape[1]), size=shape[0]).astype(dtype)
    for seed in range(10):
        th.manual_seed(seed)
        expected = th.multinomial(th.as_tensor(probabilities), 1, replacement=True)[:, 0].numpy()
        state = th.get_rng_state()
        th.manual_seed(seed)
        drawn = draw_categories(np.ascontiguousarray(probabilities.T))
        np.testing.assert_array_equal(drawn, expected)
        assert drawn.dtype == np.int64
        assert th.equal(th.get_rng_state(), state)


@pytest.mark.usefixtures("way_of_drawing")
def test_a_category_of_probability_zero_is_never_drawn() -> None:
    th.manual_seed(0)
    drawn = draw_categories(np.tile(np.array([[0.5], [0.0], [0.5]], np.float32), 2000))
    assert set(drawn.tolist()) == {0, 2}


def test_quick_way_is_taken_with_this_torch_and_not_with_one_that_draws_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    heads._torch_draws_by_exponentials.cache_clear()
    assert heads._torch_draws_by_exponentials()
    multinomial: Callable[..., th.Tensor] = th.multinomial
    monkeypatch.setattr(
        th, "multinomial", lambda *arguments, **keywords: 1 - multinomial(*arguments, **keywords).clip(max=1)
    )
    heads._torch_draws_by_exponentials.cache_clear()
    assert not heads._torch_draws_by_exponentials()
    heads._torch_draws_by_exponentials.cache_clear()


def test_how_torch_draws_is_found_out_by_unequal_probabilities_as_the_policys_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[np.ndarray] = []
    monkeypatch.setattr(heads, "_draw_by_exponentials", lambda probabilities, _: seen.append(probabilities))
    heads._torch_draws_by_exponentials.__wrapped__()
    [probabilities] = seen
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0, rtol=1e-6)
    assert (np.ptp(probabilities, axis=1) > 0).all()


def test_finding_out_how_torch_draws_leaves_the_generator_alone() -> None:
    heads._torch_draws_by_exponentials.cache_clear()
    state = th.get_rng_state()
    heads._torch_draws_by_exponentials()
    assert th.equal(th.get_rng_state(), state)


@pytest.mark.parametrize("kind", ["categorical", "gaussian"])
def test_threads_draw_into_memory_of_their_own(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    addresses, together, noise = [], threading.Barrier(2), heads._noise

    def watched_noise(*arguments: Any) -> Any:
        memory = noise(*arguments)
        addresses.append(memory[1].ctypes.data)
        return memory

    def draw() -> None:
        Pair(kind, dtype=np.float32).head.sample()
        together.wait()  # a thread that has ended leaves its number to the next

    monkeypatch.setattr(heads, "_noise", watched_noise)
    monkeypatch.setattr(heads, "_torch_draws_by_exponentials", lambda: True)
    workers = [threading.Thread(target=draw) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(set(addresses)) == 2
