"""Any spaces with any options: two iterations of training, after which stock PPO has learned the same."""

import pytest
import torch as th

from tests.fuzz.exploring import Tally, explore
from tests.fuzz.strategies import TrainingCase, training_cases
from tests.fuzz.training import compare_with_autograd, compare_with_stock, judge, stock_equivalent, train_ours

FEW = 100
LEAST_SHARE = 0.6
"""Of the cases with MLPs, in closed form."""
LEAST_MOVE = 1e-4
"""Of a parameter, where something was learned."""


def check_training(case: TrainingCase, tally: Tally) -> None:
    trained = train_ours(case)
    [update] = trained.updates
    assert update == ("closed_form" if case.is_covered and case.option("update") != "autograd" else "autograd")
    stock = stock_equivalent(case)
    if stock is not None:
        verdict = compare_with_stock(case, stock, trained)
        compared = "stock"
    elif update == "closed_form":
        verdict = compare_with_autograd(case, trained)
        compared = "autograd"
    else:
        verdict, compared = None, "nothing"
    names = [f"update: {update}", f"compared with {compared}", f"policy: {case.policy}"]
    if verdict is not None:
        names.append(f"compared with {compared}, {update}: {verdict.what}")
        if verdict.what == "equal":
            tally.keep_largest(f"{compared}, {update}", verdict.difference)
    if case.is_mlp:
        names.append(f"MLP: {update}")
    if trained.moved > LEAST_MOVE:
        names.append("moved")
    names += [f"observations: {type(case.observation_space).__name__}", f"actions: {type(case.action_space).__name__}"]
    names += [f"option: {name}" for name in (*case.options, *map("policy_kwargs.{}".format, case.policy_kwargs))]
    tally.count(case, *names)


def share_in_closed_form(tally: Tally) -> float:
    """Of the cases with MLPs."""
    closed_form, autograd = tally.counts["MLP: closed_form"], tally.counts["MLP: autograd"]
    return closed_form / (closed_form + autograd)


def explore_training(*, examples: int = FEW, fresh: bool = False) -> Tally:
    """Train drawn cases; of those with MLPs enough have to be in closed form, and most have to learn something."""
    tally = explore(training_cases(), check_training, examples=examples, fresh=fresh)
    assert share_in_closed_form(tally) >= LEAST_SHARE
    assert tally.counts["moved"] >= tally.n_cases / 2
    assert tally.counts["compared with stock"] >= tally.n_cases / 2
    return tally


def test_any_spaces_and_options_train_and_equal_stock_ppo_where_it_has_them() -> None:
    assert explore_training().n_cases >= FEW / 2


def test_a_parameter_that_is_off_is_noticed() -> None:
    """The comparison itself: what no rounding explains, is no rounding."""

    def reference(number: int | None) -> dict[str, th.Tensor]:
        return {"weight": th.full((2,), 0.0 if number is None else 1e-7)}

    assert judge({"weight": th.full((2,), 5e-7)}, reference, 1e-6).what == "equal"
    assert judge({"weight": th.full((2,), 9e-7)}, reference, 1e-8).what == "within rounding's reach"
    with pytest.raises(AssertionError, match="off by 2e-06, the reference from itself by 1e-07"):
        judge({"weight": th.full((2,), 2e-6)}, reference, 1e-6)
    with pytest.raises(AssertionError, match="off by inf"):
        judge({"weight": th.full((2,), float("nan"))}, reference, 1e-6)
