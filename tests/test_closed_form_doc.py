"""The derivation's worked example is right, to the digits it prints, and its table leads to functions that exist.

What is here: `docs/closed-form.md` against autograd in float64. What is not: the closed form itself (`updates/`).
"""

import ast
import itertools
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch as th
from gymnasium import spaces

from sb3_ppo_scratch.updates import losses
from sb3_ppo_scratch.updates.closed_form import Columns
from sb3_ppo_scratch.updates.closed_form_of_policy import build_objective
from sb3_ppo_scratch.updates.flat_memory import FlatParameters
from sb3_ppo_scratch.updates.mlp import ActorCriticShape, LayerShape
from sb3_ppo_scratch.updates.update import UpdateSettings

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "closed-form.md").read_text(encoding="utf-8")
[EXAMPLE] = re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)
OUTSIDE = EXAMPLE.replace("0, -0.4, 0.9,", "0, -0.6, 0.9,")
"""The example with the ratio above the clip range."""
HELD = EXAMPLE.replace("clip_range_vf, vf_coef, ent_coef = 0.2, 0.5,", "clip_range_vf, vf_coef, ent_coef = 0.2, 0.1,")
"""The example with the value held by its own clipping."""
IN_MEMORY = (("W0",), ("b0",), ("W_actor",), ("W_critic",), ("b_actor", "b_critic"))
"""The example's parameters, in groups as the closed form has them in memory."""


def run(code: str) -> dict[str, Any]:
    names: dict[str, Any] = {}
    exec(code, names)
    return names


def test_numbers_in_the_comments_are_those_of_the_code() -> None:
    names = run(EXAMPLE)
    printed = re.findall(r"^(\w+) = .*  # = \[?([-\d., ]+)\]?$", EXAMPLE, flags=re.MULTILINE)
    assert len(printed) == EXAMPLE.count("# =") >= 10
    for name, numbers in printed:
        np.testing.assert_allclose(
            np.ravel(names[name]), [float(number) for number in numbers.split(",")], rtol=0, atol=5e-5, err_msg=name
        )


@pytest.mark.parametrize("code", [EXAMPLE, OUTSIDE, HELD], ids=["inside", "ratio_outside", "value_held"])
def test_derivatives_are_autograds(code: str) -> None:
    names = run(code)
    leaves = {name: th.tensor(names[name], requires_grad=True) for name in itertools.chain(*IN_MEMORY)}
    hidden = th.tanh(leaves["W0"] @ th.tensor(names["x"]) + leaves["b0"])
    logits = (leaves["W_actor"] @ hidden[:2] + leaves["b_actor"]).T
    values = (leaves["W_critic"] @ hidden[2:] + leaves["b_critic"])[0]
    distribution = th.distributions.Categorical(logits=logits)
    old_log_prob, old_value, advantage, value_target = (
        th.tensor([names[figure]], dtype=th.float64)
        for figure in ("old_log_prob", "old_value", "advantage", "value_target")
    )
    ratio = (distribution.log_prob(th.tensor([names["action"]])) - old_log_prob).exp()
    loss = losses.clipped_surrogate_loss(ratio, advantage, names["clip_range"])
    loss = loss + names["vf_coef"] * losses.value_loss(values, old_value, value_target, names["clip_range_vf"])
    loss = loss - names["ent_coef"] * distribution.entropy().mean()
    gradients = th.autograd.grad(loss, list(leaves.values()))
    assert names["loss"] == pytest.approx(loss.item(), rel=1e-12)
    for name, gradient in zip(leaves, gradients, strict=True):
        np.testing.assert_allclose(names[f"d_{name}"], gradient.numpy(), rtol=1e-12, atol=1e-15, err_msg=name)


def test_what_the_text_says_about_a_ratio_above_the_range() -> None:
    names = run(OUTSIDE)
    assert names["ratio"] == pytest.approx(1.3187, abs=5e-5)
    assert names["d_log_prob"] == 0
    assert names["d_z"] == pytest.approx(names["ent_coef"] * names["p"] * (names["log_p"] + names["entropy"]))
    assert run(HELD)["d_value"] == 0


@pytest.mark.parametrize("code", [EXAMPLE, OUTSIDE, HELD], ids=["inside", "ratio_outside", "value_held"])
def test_the_code_computes_what_the_example_does(code: str) -> None:
    names = run(code)
    shape = ActorCriticShape(
        actor=(LayerShape(2, 2, "tanh", 0, 1), LayerShape(2, 2, None, 2, 3)),
        critic=(LayerShape(2, 1, "tanh", 4, 5), LayerShape(1, 1, None, 6, 7)),
    )
    memory = FlatParameters([[th.nn.Parameter(th.as_tensor(names[name])) for name in group] for group in IN_MEMORY])
    objective = build_objective(spaces.Discrete(2), shape, memory.values.numpy(), memory.gradient.numpy())
    columns = Columns(
        names["x"],
        np.array([[names["action"]]]),
        *(np.array([names[figure]]) for figure in ("old_value", "old_log_prob", "advantage", "value_target")),
    )
    settings = UpdateSettings(
        clip_range=names["clip_range"], clip_range_vf=names["clip_range_vf"], normalize_advantage=True,
        ent_coef=names["ent_coef"], vf_coef=names["vf_coef"], max_grad_norm=1.0,
    )  # fmt: skip
    figures = objective.evaluate(columns, settings)
    objective.backward(settings)
    assert figures.loss == pytest.approx(names["loss"], rel=1e-12)
    for name, derivative in zip(itertools.chain(*IN_MEMORY), memory.views_of(memory.gradient), strict=True):
        np.testing.assert_allclose(derivative, names[f"d_{name}"], rtol=1e-12, atol=1e-15)


def test_table_names_functions_that_exist() -> None:
    rows = re.findall(r"^\| [^|]+ \| `(\w+\.py)` \| `([\w.]+)` \|$", TEXT, flags=re.MULTILINE)
    assert len(rows) == TEXT.count(".py` | `") > 10
    for file, name in rows:
        body: list[Any] = [ast.parse((ROOT / "sb3_ppo_scratch" / "updates" / file).read_text(encoding="utf-8"))]
        for part in name.split("."):
            body = [node for parent in body for node in parent.body if getattr(node, "name", None) == part]
        assert len(body) == 1, f"{file}: {name}"
