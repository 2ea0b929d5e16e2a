"""Training a drawn case, and what it has to equal: stock PPO wherever that can do the same, else the other update.

What is here: stock PPO's arguments for a case (`stock_equivalent`), and the comparison. What is not: the cases
(`strategies.py`), and how many of them there are (`test_training.py`).
"""

import io
import math
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock

import torch as th
from gymnasium import spaces
from stable_baselines3 import PPO
from stable_baselines3.common.distributions import Distribution
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor, CombinedExtractor, FlattenExtractor, create_mlp
from stable_baselines3.common.utils import set_random_seed
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecNormalize

from sb3_ppo_scratch import PPOScratch
from sb3_ppo_scratch.updates.autograd import AutogradUpdate
from sb3_ppo_scratch.updates.closed_form import ClosedFormUpdate
from tests.fuzz.following_env import FollowingEnv, is_acceptable
from tests.fuzz.strategies import TrainingCase

BOUNDS = {"autograd": 1e-6, "closed_form": 1e-5}
"""Largest difference of any parameter from stock PPO's, one torch thread (docs/decisions.md)."""
N_PERTURBED = 16
"""Runs of stock PPO from parameters that were rounded otherwise, to see how much that changes what it learns."""
AMPLIFIED = 10.0
"""A case that magnifies rounding may differ by so many times what stock differs from itself then: an update in closed
form rounds in each of its sums, a perturbed run once."""
Parameters = dict[str, th.Tensor]


@dataclass(frozen=True)
class Trained:
    """What a run has come to."""

    parameters: Parameters
    updates: Counter[str]
    """Minibatches that each update of `PPOScratch` has evaluated."""
    moved: float
    """Largest change of a parameter."""


@dataclass(frozen=True)
class Verdict:
    """What a comparison has come to."""

    what: str
    """"equal", or "within rounding's reach" where the reference parts from itself, too, by rounding."""
    difference: float
    """Largest of a parameter."""


@dataclass(frozen=True)
class StockRun:
    """A run of stock PPO that has to learn the same as a case."""

    case: TrainingCase
    """With stock PPO's options only."""
    total: int
    prepare: Callable[[ActorCriticPolicy], None]
    """Changes the policy before it learns."""


class Trunk(BaseFeaturesExtractor):
    """Flattened observations followed by layers that actor and critic share."""

    def __init__(self, observation_space: Any, first: Any, first_kwargs: Any, widths: Any, activation_fn: Any) -> None:
        first = first(observation_space, **first_kwargs)
        super().__init__(observation_space, [first.features_dim, *widths][-1])
        self.first = first
        self.layers = th.nn.Sequential(*create_mlp(first.features_dim, -1, widths, activation_fn))

    def forward(self, observations: Any) -> th.Tensor:
        return self.layers(self.first(observations))


def make_environments(case: TrainingCase) -> VecEnv:
    """Make a case's environments; each begins with another length and ending."""

    def make(index: int) -> FollowingEnv:
        lengths, endings = case.lengths * 4, case.endings * 4
        return FollowingEnv(
            case.observation_space,
            case.action_space,
            lengths[index : index + len(case.lengths)],
            endings[index : index + len(case.endings)],
            seed=case.seed + index,
        )

    env = DummyVecEnv([partial(make, index) for index in range(case.n_envs)])
    return VecNormalize(env) if case.vec_normalize else env


def build(algorithm: type[OnPolicyAlgorithm], case: TrainingCase, env: VecEnv) -> OnPolicyAlgorithm:
    """Build a case's model, from random streams that are the same for all algorithms."""
    set_random_seed(case.seed)
    with redirect_stdout(io.StringIO()):
        return algorithm(case.policy, env, policy_kwargs=case.policy_kwargs or None, **case.options)


def nothing(policy: ActorCriticPolicy) -> None:
    """Leave a policy as it is."""


def finish(
    model: OnPolicyAlgorithm, totals: list[int], prepare: Callable[[ActorCriticPolicy], None] = nothing
) -> tuple[Parameters, float]:
    """Let a model learn, in one or more calls, and tell what it has become, and by how much it has changed."""
    prepare(model.policy)
    before = {name: parameter.detach().clone() for name, parameter in model.policy.named_parameters()}
    with redirect_stdout(io.StringIO()):
        for index, total in enumerate(totals):
            model.learn(total, reset_num_timesteps=index == 0)
    after = {name: parameter.detach().clone() for name, parameter in model.policy.named_parameters()}
    return after, largest_difference(before, after)


def largest_difference(ours: Parameters, theirs: Parameters) -> float:
    """Compare all of the first ones' parameters; one that is NaN in one of the two differs infinitely."""
    differences = [float((ours[name] - theirs[name]).abs().max()) for name in ours if ours[name].numel()]
    return math.inf if any(map(math.isnan, differences)) else max(differences)


@contextmanager
def updates_counted() -> Iterator[Counter[str]]:
    """Count the minibatches that each update evaluates, inside the block."""
    counts: Counter[str] = Counter()

    def counted(name: str, evaluate: Any) -> Any:
        def evaluate_and_count(*arguments: Any) -> Any:
            counts[name] += 1
            return evaluate(*arguments)

        return evaluate_and_count

    with (
        mock.patch.object(AutogradUpdate, "evaluate", counted("autograd", AutogradUpdate.evaluate)),
        mock.patch.object(ClosedFormUpdate, "evaluate", counted("closed_form", ClosedFormUpdate.evaluate)),
    ):
        yield counts


def train_ours(case: TrainingCase, *, perturbation: int | None = None) -> Trained:
    """Train `PPOScratch` for two iterations, and check what holds for every case; perturbed as `train_stock` does."""
    stock = stock_equivalent(case)
    if stock is not None:
        totals = [stock.total]
    elif case.option("n_episodes") is not None:
        totals = [1, 1]  # each call ends with the first rollout
    else:
        totals = [2 * case.options["n_steps"] * case.n_envs]
    env = make_environments(case)
    with warnings.catch_warnings(), updates_counted() as counts, TemporaryDirectory() as folder:
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", RuntimeWarning)  # NumPy's, about NaN and infinity
        logged = case.option("tensorboard_log") is not None
        model = build(PPOScratch, case.without(tensorboard_log=folder) if logged else case, env)
        parameters, moved = finish(model, totals, partial(round_otherwise, number=perturbation))
        model.logger.close()
        assert bool(list(Path(folder).iterdir())) == logged
    check_predictions(model, case, env.reset())
    assert model._n_updates >= 2, "there were not two updates"
    assert sum(env.get_attr("n_steps")) == model.num_timesteps
    assert model.num_timesteps == sum(totals) or case.option("n_episodes") is not None
    assert all(bool(th.isfinite(parameter).all()) for parameter in parameters.values())
    return Trained(parameters, counts, moved)


def check_predictions(model: PPOScratch, case: TrainingCase, observations: Any) -> None:
    """Ask for actions, which have to be actions."""
    for deterministic in (True, False):
        actions, _ = model.predict(observations, deterministic=deterministic)
        assert len(actions) == case.n_envs
        assert all(is_acceptable(action, case.action_space) for action in actions)


def train_stock(stock: StockRun, *, perturbation: int | None = None) -> Parameters:
    """Train stock PPO; if a perturbation is given, by its number, with numbers that are rounded otherwise."""

    def prepare(policy: ActorCriticPolicy) -> None:
        stock.prepare(policy)
        round_otherwise(policy, perturbation)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = build(PPO, stock.case, make_environments(stock.case))
        return finish(model, [stock.total], prepare)[0]


class TanhOfRoundings(th.autograd.Function):
    """The hyperbolic tangent times factors near 1; its derivative is that of the rounded value, as everywhere."""

    @staticmethod
    def forward(ctx: Any, inputs: th.Tensor, factors: th.Tensor) -> th.Tensor:
        outputs = (inputs.tanh() * factors).clamp(-1.0, 1.0)
        ctx.save_for_backward(outputs)
        return outputs

    @staticmethod
    def backward(ctx: Any, gradient: th.Tensor) -> tuple[th.Tensor, None]:
        [outputs] = ctx.saved_tensors
        return gradient * (1 - outputs * outputs), None


def round_otherwise(policy: ActorCriticPolicy, number: int | None) -> None:
    """Move parameters by up to one rounding; from now on what layers and tanh give, log-probabilities, and gradients.

    A gradient moves by a rounding of its largest element, since each is a sum; that of a choice's log-probability by
    one of 1, since it is 1 or 0 less a probability, of which nothing is left where a choice is all but certain.

    Args:
        policy: A policy that has not learned yet.
        number: Which way; None: not at all.
    """
    if number is None:
        return
    generator = th.Generator().manual_seed(number)

    def roundings(values: th.Tensor) -> th.Tensor:
        return th.randint(-1, 2, values.shape, generator=generator) * th.finfo(th.float32).eps

    log_prob = policy.action_dist.log_prob

    def log_prob_otherwise(*arguments: th.Tensor) -> th.Tensor:
        result = log_prob(*arguments)
        for logits in logits_of(policy.action_dist):
            result = result + (roundings(logits) * (logits - logits.detach())).sum(-1)
        return result * (1 + roundings(result))

    policy.action_dist.log_prob = log_prob_otherwise
    for module in policy.modules():
        if isinstance(module, th.nn.Tanh):
            module.forward = lambda inputs: TanhOfRoundings.apply(inputs, 1 + roundings(inputs))
        elif isinstance(module, th.nn.Linear | th.nn.Conv2d):
            module.register_forward_hook(lambda _module, _inputs, outputs: outputs * (1 + roundings(outputs)))
    for parameter in policy.parameters():
        if parameter.numel():
            parameter.data *= 1 + roundings(parameter)
            parameter.register_hook(lambda gradient: gradient + gradient.abs().max() * roundings(gradient))


def logits_of(distribution: Distribution) -> list[th.Tensor]:
    """List the logits of the choices that a distribution is made of, each of shape (batch, n)."""
    inner = distribution.distribution
    parts = inner if isinstance(inner, list) else [inner]
    return [
        part.logits for part in parts if isinstance(part, th.distributions.Categorical | th.distributions.Bernoulli)
    ]


def stock_equivalent(case: TrainingCase) -> StockRun | None:
    """Say how stock PPO learns the same.

    Args:
        case: The case.

    Returns:
        Stock's run; None if stock cannot do the same.
    """
    cut = case.option("n_episodes") is not None
    if (
        case.option("normalize_observations", False)
        or case.option("normalize_returns", False)
        or case.option("kl_mode") not in (None, "none", "early_stop")
        or (case.option("store_clipped_actions", False) and isinstance(case.action_space, spaces.Box))
        or (cut and (case.n_envs > 1 or len(set(case.lengths)) > 1))
    ):
        return None
    n_steps = case.options["n_episodes"] * case.lengths[0] if cut else case.options["n_steps"]
    n_transitions = n_steps * case.n_envs
    if n_transitions == 1 and case.option("normalize_advantage", True):
        return None  # stock refuses such a rollout
    endings = case.endings
    if not case.option("timeout_bootstrap", True):
        endings = tuple("terminated" if each == "truncated" else each for each in endings)
    options = stock_options(case) | {"n_steps": n_steps, "batch_size": case.options["batch_size"] or n_transitions}
    converted = replace(case, options=options, policy_kwargs=stock_policy_kwargs(case), endings=endings)
    return StockRun(converted, 2 * n_transitions, nothing if case.option("critic", True) else without_values)


def stock_options(case: TrainingCase) -> dict[str, Any]:
    """Translate options; `n_steps` and `batch_size` are left to `stock_equivalent`."""
    own = (
        "torch_threads", "on_nan", "update", "advantage", "normalize_returns", "n_episodes", "critic", "kl_mode",
        "share_features", "timeout_bootstrap", "store_clipped_actions", "orthogonal_init", "adam_epsilon", "kl_coef",
        "normalize_observations", "observation_clip",
        "tensorboard_log",
    )  # fmt: skip
    options = case.without(*own).options
    for name in ("learning_rate", "clip_range", "clip_range_vf"):
        if name in options and options[name] is not None and not callable(options[name]):
            options[name] = float(options[name])  # stock takes no NumPy numbers
    if "clip_range" in options and options["clip_range"] is None:
        options["clip_range"] = math.inf
    if case.option("advantage") == "monte_carlo":
        options = {name: value for name, value in options.items() if name != "rollout_buffer_class"}
        options["gae_lambda"] = 1.0
    if "Scratch" in getattr(options.get("rollout_buffer_class"), "__name__", ""):
        del options["rollout_buffer_class"]
    return options if case.option("critic", True) else options | {"vf_coef": 0.0}


def stock_policy_kwargs(case: TrainingCase) -> dict[str, Any]:
    """Translate options that are about the policy."""
    kwargs = dict(case.policy_kwargs)
    if not case.option("orthogonal_init", True):
        kwargs["ortho_init"] = False
    if case.option("adam_epsilon") is not None:
        kwargs["optimizer_kwargs"] = {**kwargs.get("optimizer_kwargs", {}), "eps": case.option("adam_epsilon")}
    if case.option("share_features", False):
        default = CombinedExtractor if case.policy == "MultiInputPolicy" else FlattenExtractor
        trunk = {
            "first": kwargs.get("features_extractor_class", default),
            "first_kwargs": kwargs.get("features_extractor_kwargs", {}),
            "widths": kwargs.get("net_arch", [64, 64]),
            "activation_fn": kwargs.get("activation_fn", th.nn.Tanh),
        }
        kwargs |= {"net_arch": [], "features_extractor_class": Trunk, "features_extractor_kwargs": trunk}
    return kwargs


def without_values(policy: ActorCriticPolicy) -> None:
    """Let all values be 0; with `vf_coef=0` they stay so."""
    th.nn.init.zeros_(policy.value_net.weight)
    th.nn.init.zeros_(policy.value_net.bias)


def compare_with_stock(case: TrainingCase, stock: StockRun, trained: Trained) -> Verdict:
    """Compare a run with stock PPO's.

    Args:
        case: The case.
        stock: Stock's run.
        trained: What ours has come to.

    Returns:
        What that has come to.
    """
    reorders = trained.updates["closed_form"] > 0 or case.option("advantage") == "monte_carlo"
    return judge(
        trained.parameters,
        lambda number: named_as_ours(train_stock(stock, perturbation=number)),
        BOUNDS["closed_form" if reorders else "autograd"],
    )


def compare_with_autograd(case: TrainingCase, trained: Trained) -> Verdict:
    """Compare a run in closed form with one by autograd."""
    by_autograd = case.without(update="autograd")
    return judge(
        trained.parameters,
        lambda number: train_ours(by_autograd, perturbation=number).parameters,
        BOUNDS["closed_form"],
    )


def judge(ours: Parameters, reference: Callable[[int | None], Parameters], bound: float) -> Verdict:
    """Compare parameters with those of a reference.

    Args:
        ours: The parameters.
        reference: Trains the reference; takes the number of a perturbation, or None for none.
        bound: The largest difference of what is equal.

    Returns:
        What that has come to.

    Raises:
        AssertionError: If it is further off than rounding explains.
    """
    theirs = reference(None)
    difference = largest_difference(ours, theirs)
    if difference <= bound:
        return Verdict("equal", difference)
    spread = max(largest_difference(theirs, reference(number)) for number in range(N_PERTURBED))
    assert difference <= AMPLIFIED * spread, f"off by {difference:.2g}, the reference from itself by {spread:.2g}"
    return Verdict("within rounding's reach", difference)


def named_as_ours(theirs: Parameters) -> Parameters:
    """Rename stock's parameters as ours are called; only with `share_features` they are called otherwise."""
    return {name.replace("extractor.first.", "extractor.extractor."): value for name, value in theirs.items()}
