"""Tests of `kl_control.py`: the paper's rules by number, and every mode in a model that learns."""

import copy
import math
from typing import Any

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from hypothesis import given
from hypothesis import strategies as st
from stable_baselines3.common.buffers import RolloutBuffer

from sb3_ppo_scratch import PPOScratch
from sb3_ppo_scratch.kl_control import (
    COEFFICIENT_SCALES,
    RATE_SCALES,
    KlControl,
    adapt_coefficient_scale,
    adapt_rate_scale,
    begin_kl_control,
    resolve_kl_mode,
)
from tests.envs import EndingsEnv
from tests.updates.reference import mean_divergence

ACTIONS = {
    "discrete": spaces.Discrete(3),
    "multi_discrete": spaces.MultiDiscrete([2, 3]),
    "multi_binary": spaces.MultiBinary(2),
    "box": spaces.Box(-1, 1, (2,), np.float32),
}


@pytest.mark.parametrize(
    ("kl", "expected"), [(0.0151, 4.0), (0.0149, 2.0), (0.01, 2.0), (0.0067, 2.0), (0.0066, 1.0), (0.0, 1.0)]
)
def test_coefficient_is_doubled_or_halved_beyond_one_and_a_half_times_the_target(kl: float, expected: float) -> None:
    assert adapt_coefficient_scale(2.0, kl, 0.01) == expected


@pytest.mark.parametrize(("kl", "expected"), [(0.0151, 1 / 1.5), (0.01, 1.0), (0.0066, 1.5)])
def test_rate_scale_moves_against_the_divergence(kl: float, expected: float) -> None:
    assert adapt_rate_scale(1.0, kl, 0.01) == pytest.approx(expected)


@pytest.mark.parametrize(("target_kl", "kl"), [(2.0**-7, 1.5 * 2.0**-7), (1.5 * 2.0**-7, 2.0**-7)])
def test_divergence_exactly_at_the_tolerance_is_still_near_its_target(target_kl: float, kl: float) -> None:
    assert adapt_coefficient_scale(2.0, kl, target_kl) == 2.0
    assert adapt_rate_scale(2.0, kl, target_kl) == 2.0
    control = control_of("early_stop", target_kl)
    assert control.allows(figures_of(kl), RecordedUpdate())  # type: ignore[arg-type] # not looked at


@given(kls=st.lists(st.sampled_from([0.0, 0.01, 1.0, float("nan")]), max_size=40))
def test_rate_scale_stays_within_its_bounds(kls: list[float]) -> None:
    scale = 1.0
    for kl in kls:
        scale = adapt_rate_scale(scale, kl, 0.01)
    assert RATE_SCALES[0] <= scale <= RATE_SCALES[1]


@pytest.mark.parametrize(("away", "back", "bound"), [(0.0, 1.0, 0), (1.0, 0.0, 1)], ids=["halved", "doubled"])
def test_coefficient_comes_back_from_its_bound_however_long_it_lay_there(away: float, back: float, bound: int) -> None:
    scale = 1.0
    for _ in range(2000):  # without bounds 1100 halvings give 0, as many doublings infinity
        scale = adapt_coefficient_scale(scale, away, 0.01)
    assert scale == COEFFICIENT_SCALES[bound]
    for _ in range(20):
        scale = adapt_coefficient_scale(scale, back, 0.01)
    assert scale == 1.0


@pytest.mark.parametrize(
    ("kl_mode", "target_kl", "expected"),
    [(None, None, "none"), (None, 0.1, "early_stop"), ("none", None, "none"), ("penalty", 0.1, "penalty")],
)
def test_mode_follows_sb3_where_none_is_named(kl_mode: Any, target_kl: float | None, expected: str) -> None:
    assert resolve_kl_mode(kl_mode, target_kl) == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kl_mode": "none", "target_kl": 0.1}, "contradicts target_kl=0.1"),
        ({"kl_mode": "penalty"}, "`kl_mode='penalty'` needs a target; pass for example target_kl=0.01"),
        ({"kl_mode": "rollback"}, "needs a target"),
        ({"kl_mode": "trust"}, "`kl_mode` must be one of"),
        ({"kl_mode": "penalty", "target_kl": 0.1, "kl_coef": 0}, "`kl_coef` must be positive"),
        (
            {"kl_coef": 2.0},
            "`kl_coef=2.0` is looked at by kl_mode='penalty' alone, not by kl_mode=None; leave it at 1.0",
        ),
        ({"kl_mode": "rollback", "target_kl": 0.1, "kl_coef": 2.0}, "not by kl_mode='rollback'"),
        ({"kl_mode": "penalty", "target_kl": 0.1, "kl_coef": np.inf}, "`kl_coef` must be positive and finite, got inf"),
    ],
)
def test_contradictory_settings_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PPOScratch("MlpPolicy", EndingsEnv(ACTIONS["discrete"]), **arguments)


def model_of(kind: str = "discrete", **arguments: Any) -> PPOScratch:
    settings = {"n_steps": 32, "batch_size": 16, "n_epochs": 4, "learning_rate": 3e-3, "seed": 0, **arguments}
    return PPOScratch("MlpPolicy", EndingsEnv(ACTIONS[kind]), **settings)


def observations_of(model: PPOScratch) -> th.Tensor:
    return th.as_tensor(model.rollout_buffer.observations.reshape(-1, 3))


@pytest.mark.parametrize("update", ["closed_form", "autograd"])
@pytest.mark.parametrize("kind", ACTIONS)
def test_last_kl_is_sb3s_own_divergence_between_the_policies_before_and_after(kind: str, update: str) -> None:
    model = model_of(kind, kl_mode="penalty", target_kl=0.01, update=update)
    model._setup_learn(32)
    model.collect_rollouts(model.env, model._init_callback(None), model.rollout_buffer, 32)
    before, observations = copy.deepcopy(model.policy), observations_of(model)
    model.train()
    expected = mean_divergence(before, model.policy, observations).item()
    assert expected > 1e-5
    assert model.logger.name_to_value["train/kl_last"] == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("kind", ACTIONS)
def test_penalty_is_the_same_by_both_updates(kind: str) -> None:
    arguments = {"kl_mode": "penalty", "target_kl": 1e-4, "kl_coef": 3.0}
    models = [model_of(kind, **arguments, update=update).learn(96) for update in ("closed_form", "autograd")]
    for ours, theirs in zip(*(model.policy.parameters() for model in models), strict=True):
        th.testing.assert_close(ours, theirs, rtol=0, atol=2e-5)
    assert models[0].kl_coef_scale == models[1].kl_coef_scale != 1.0
    assert models[0].kl_coef == 3.0


def test_coefficient_that_is_logged_is_the_next_updates() -> None:
    model = model_of(kl_mode="penalty", target_kl=1e-9, kl_coef=3.0).learn(96)
    assert model.logger.name_to_value["train/kl_coef"] == 3.0 * 2**3


@pytest.mark.parametrize("clip_range", [0.2, None], ids=["clipped", "unclipped"])
def test_heavy_penalty_keeps_the_policy_nearer(clip_range: float | None) -> None:
    moved = []
    for kl_coef in (1e-6, 1e3):
        model = model_of(kl_mode="penalty", target_kl=1.0, kl_coef=kl_coef, clip_range=clip_range).learn(32)
        moved.append(model.logger.name_to_value["train/kl_last"])
    assert moved[1] < 0.2 * moved[0]


@pytest.mark.parametrize("update", ["closed_form", "autograd"])
def test_adaptive_rate_multiplies_the_schedule(update: str) -> None:
    model = model_of(
        kl_mode="adaptive_lr", target_kl=1e-9, update=update, learning_rate=lambda progress: 1e-3 * (1 + progress)
    )
    model.learn(96)
    assert model.kl_rate_scale == pytest.approx(1.5**-3)
    rate = model.policy.optimizer.param_groups[0]["lr"]
    assert rate == pytest.approx(1e-3 * 1.5**-2)
    assert model.logger.name_to_value["train/learning_rate"] == pytest.approx(rate)


@pytest.mark.parametrize("others", [{"kl_mode": None, "target_kl": None}, {"kl_mode": "penalty"}], ids=str)
def test_what_a_mode_has_adapted_ends_with_the_mode(others: dict[str, Any], tmp_path: Any) -> None:
    model = model_of(kl_mode="adaptive_lr", target_kl=1e-9).learn(96)
    assert model.kl_rate_scale < 0.5
    model.save(tmp_path / "model")
    changed = PPOScratch.load(tmp_path / "model", env=model.get_env(), **others)
    for name, value in others.items():
        setattr(model, name, value)
    for each in (changed, model):
        each.learn(32)
        assert each.policy.optimizer.param_groups[0]["lr"] == pytest.approx(3e-3)
        assert each.kl_rate_scale == 1.0


def test_penalty_begins_anew_after_another_mode() -> None:
    model = model_of(kl_mode="penalty", target_kl=1e-9).learn(96)
    model.kl_mode = "early_stop"
    model.learn(32)
    model.kl_mode = "penalty"
    model.learn(32)
    assert model.logger.name_to_value["train/kl_coef"] == 2.0


@pytest.mark.parametrize("update", ["closed_form", "autograd"])
@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_rollback_ends_inside_the_bound_with_the_state_of_the_last_good_step(update: str, optimizer: str) -> None:
    if optimizer == "sgd" and update == "closed_form":
        pytest.skip("the closed form is for Adam")
    kwargs = {"policy_kwargs": {"optimizer_class": th.optim.SGD}} if optimizer == "sgd" else {}
    rate = 1.0 if optimizer == "sgd" else 1e-2
    target = 1e-3
    model = model_of(kl_mode="rollback", target_kl=target, update=update, learning_rate=rate, n_epochs=10, **kwargs)
    model.learn(32)
    assert model.logger.name_to_value["train/kl_last"] <= 1.5 * target * 1.5  # the bound holds on the last minibatch
    assert "taken back" in model.logger.name_to_value["train/stop_reason"]
    n_applied = model.logger.name_to_value["train/n_minibatches"]
    states = model.policy.optimizer.state_dict()["state"]
    if optimizer == "adam" and n_applied > 0:
        assert {float(state["step"]) for state in states.values()} == {float(n_applied)}
    model.learn(32)  # goes on
    assert all(parameter.isfinite().all() for parameter in model.policy.parameters())


@pytest.mark.parametrize("update", ["closed_form", "autograd"])
def test_rollback_takes_back_the_only_step_if_that_leads_too_far(update: str) -> None:
    model = model_of(kl_mode="rollback", target_kl=1e-6, update=update, n_epochs=1, batch_size=32, learning_rate=1e-2)
    before = [parameter.detach().clone() for parameter in model.policy.parameters()]
    model.learn(32)
    for ours, theirs in zip(model.policy.parameters(), before, strict=True):
        assert th.equal(ours, theirs)
    values = model.logger.name_to_value
    assert values["train/kl_last"] == pytest.approx(0.0, abs=1e-7)
    assert values["train/kl_max"] > 1.5e-6, "what led to the taking back is left out"
    assert values["train/stop_reason"] == f"reaching max kl: {values['train/kl_max']:.3g}, last step taken back"


class RecordedUpdate:
    """Records what a control asks of an update."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def remember(self) -> None:
        self.calls.append("remember")

    def restore(self) -> None:
        self.calls.append("restore")


def figures_of(kl: float) -> Any:
    return type("Figures", (), {"kl": kl})


def control_of(kl_mode: Any, target_kl: float | None) -> KlControl:
    return begin_kl_control(kl_mode, target_kl, coefficient_scale=1.0, rate_scale=1.0)


def test_rollback_takes_back_no_step_of_the_update_before() -> None:
    control, update = control_of("rollback", 1e-12), RecordedUpdate()
    assert not control.allows(figures_of(1e-9), update)  # type: ignore[arg-type] # by rounding: nothing has moved yet
    assert update.calls == []
    assert control.stop_reason == "reaching max kl: 1e-09"
    assert control.n_applied == 0


def test_rollback_equals_a_run_that_stopped_one_step_earlier() -> None:
    target, rate = 1e-3, 1e-3
    model = model_of(kl_mode="rollback", target_kl=target, learning_rate=rate, n_epochs=10).learn(32)
    n_good = int(model.logger.name_to_value["train/n_minibatches"])
    assert n_good >= 1
    other = model_of(learning_rate=rate, n_epochs=10)
    steps = 0
    original = type(other._update_choice.choose(other.update, other.policy, other.rollout_buffer)).step

    def limited(self: Any) -> None:
        nonlocal steps
        steps += 1
        if steps <= n_good:
            original(self)

    cls = type(other._update_choice.choose(other.update, other.policy, other.rollout_buffer))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cls, "step", limited)
        other.learn(32)
    for ours, theirs in zip(model.policy.parameters(), other.policy.parameters(), strict=True):
        th.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)


@pytest.mark.parametrize("update", ["closed_form", "autograd"])
@pytest.mark.parametrize("kl_mode", ["penalty", "adaptive_lr", "rollback", "early_stop"])
def test_divergences_are_logged_where_they_are_watched(kl_mode: str, update: str) -> None:
    values = model_of(kl_mode=kl_mode, target_kl=0.01, n_epochs=1, update=update).learn(32).logger.name_to_value
    assert {"train/kl", "train/kl_max", "train/kl_last", "train/n_minibatches"} <= set(values)
    assert values["train/kl_max"] >= values["train/kl"] >= 0
    # After the second of two steps the policy is further away than before it, which is where minibatches are evaluated.
    assert values["train/kl_max"] >= values["train/kl_last"] > 0


@pytest.mark.filterwarnings("ignore:You have specified a mini-batch size")
@pytest.mark.parametrize("update", ["closed_form", "autograd"])
def test_last_kl_is_the_mean_over_transitions_also_if_the_last_minibatch_is_short(update: str) -> None:
    model = model_of(kl_mode="penalty", target_kl=0.01, update=update, batch_size=30)  # the last of 2
    model._setup_learn(32)
    model.collect_rollouts(model.env, model._init_callback(None), model.rollout_buffer, 32)
    before, observations = copy.deepcopy(model.policy), observations_of(model)
    model.train()
    expected = mean_divergence(before, model.policy, observations).item()
    assert model.logger.name_to_value["train/kl_last"] == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("update", ["closed_form", "autograd"])
@pytest.mark.parametrize("kl_mode", ["early_stop", "rollback"])
def test_place_of_a_stop_is_that_of_the_first_step_that_adam_did_not_take(
    kl_mode: str, update: str, capsys: pytest.CaptureFixture[str]
) -> None:
    model = model_of(kl_mode=kl_mode, target_kl=0.005, n_epochs=20, update=update, verbose=1).learn(32)
    values = model.logger.name_to_value
    taken = float(next(iter(model.policy.optimizer.state.values()))["step"])
    assert 2 <= taken < 40, "stops in the first epoch, or never"
    assert values["train/n_minibatches"] == taken
    assert (values["train/stop_epoch"], values["train/stop_minibatch"]) == divmod(taken, 2)
    assert f"Early stopping at step {taken // 2:.0f} due to reaching max kl: " in capsys.readouterr().out


def test_update_that_is_not_stopped_says_nothing_of_a_stop() -> None:
    values = model_of(kl_mode="rollback", target_kl=100.0).learn(32).logger.name_to_value
    assert values["train/n_minibatches"] == 4 * 2
    assert not [key for key in values if "stop" in key]


def test_nothing_more_is_logged_than_by_stock_where_nothing_is_watched() -> None:
    assert not [key for key in model_of().learn(32).logger.name_to_value if "train/kl" in key]


def test_adapted_state_survives_saving(tmp_path: Any) -> None:
    model = model_of(kl_mode="penalty", target_kl=1e-9).learn(64)
    model.save(tmp_path / "model")
    loaded = PPOScratch.load(tmp_path / "model")
    assert loaded.kl_coef_scale == model.kl_coef_scale == 4.0
    assert loaded.kl_coef == 1.0
    assert loaded.kl_mode == "penalty"


class OwnWayBuffer(RolloutBuffer):
    """A user's buffer that passes over its content by itself."""

    def get(self, batch_size: int | None = None) -> Any:
        yield from super().get(batch_size)


@pytest.mark.parametrize("kl_mode", ["penalty", "adaptive_lr", "rollback"])
def test_estimate_in_place_of_the_exact_divergence_is_said_with_its_reason(kl_mode: str) -> None:
    model = model_of(kl_mode=kl_mode, target_kl=0.01, rollout_buffer_class=OwnWayBuffer)
    with pytest.warns(UserWarning, match=rf"`kl_mode='{kl_mode}'` goes by SB3's estimate .*: OwnWayBuffer passes over"):
        model.learn(32)


def test_estimate_is_said_where_the_distribution_has_no_closed_form(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sb3_ppo_scratch.updates.autograd.describe_distribution", lambda distribution: None)
    model = model_of(kl_mode="penalty", target_kl=0.01, update="autograd")
    with pytest.warns(UserWarning, match=r"SB3's estimate .*: CategoricalDistribution has no closed form"):
        model.learn(32)


def test_nothing_is_said_where_divergences_are_exact_or_need_not_be(recwarn: pytest.WarningsRecorder) -> None:
    for update in ("closed_form", "autograd"):
        model_of(kl_mode="penalty", target_kl=0.01, update=update).learn(32)
    model_of(kl_mode="early_stop", target_kl=0.01, rollout_buffer_class=OwnWayBuffer).learn(32)
    assert not [warning for warning in recwarn if "estimate" in str(warning.message)]


@pytest.mark.parametrize("as_dict", [False, True], ids=["array", "dict"])
def test_divergences_are_exact_where_observations_are_too_large_for_the_device(
    as_dict: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    box = spaces.Box(-1, 1, (3,), np.float32)
    env = EndingsEnv(ACTIONS["discrete"], spaces.Dict({"x": box}) if as_dict else box)
    models = []
    for fits in (True, False):
        monkeypatch.setattr("sb3_ppo_scratch.updates.autograd.is_worth_bringing", lambda *_, fits=fits: fits)
        model = PPOScratch(
            "MultiInputPolicy" if as_dict else "MlpPolicy", copy.deepcopy(env), kl_mode="penalty", target_kl=1e-4,
            update="autograd", n_steps=300, batch_size=100, n_epochs=2, seed=0,
        )  # fmt: skip
        models.append(model.learn(600))
    for ours, theirs in zip(*(model.policy.parameters() for model in models), strict=True):
        assert th.equal(ours, theirs)
    assert len({model.logger.name_to_value["train/kl_last"] for model in models}) == 1


def test_squashed_gsde_policy_is_watched_by_the_exact_divergence_of_its_gaussians() -> None:
    model = model_of("box", kl_mode="penalty", target_kl=0.01, use_sde=True, policy_kwargs={"squash_output": True})
    assert np.isfinite(model.learn(64).logger.name_to_value["train/kl_last"])


def test_nothing_is_too_far_and_nothing_said_where_there_is_no_target() -> None:
    control = control_of("none", None)
    assert control.allows(figures_of(1e9), RecordedUpdate())  # type: ignore[arg-type] # not looked at
    assert (control.target_kl, control.stop_reason) == (math.inf, "")


@pytest.mark.parametrize(("kl", "shown"), [(0.0151, "0.0151"), (1.234567e-6, "1.23e-06")])
def test_stop_says_why_in_three_significant_digits(kl: float, shown: str) -> None:
    control = control_of("early_stop", kl / 2)
    assert not control.allows(figures_of(kl), RecordedUpdate())  # type: ignore[arg-type] # not looked at
    assert control.stop_reason == f"reaching max kl: {shown}"
