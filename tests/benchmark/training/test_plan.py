"""Tests of `benchmark/training/plan.py`."""

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from sb3_ppo_scratch.benchmark.training.ladder import LADDER, REFERENCE
from sb3_ppo_scratch.benchmark.training.plan import RANDOM, Contestant, config_path
from sb3_ppo_scratch.benchmark.training.plan_files import find_plan, load_plan, plan_as_yaml
from sb3_ppo_scratch.errors import ArgumentError, ArgumentTypeError, check_known_names
from sb3_ppo_scratch.zoo.commands import ZOO_KEYS
from sb3_ppo_scratch.zoo.register import algorithm_arguments
from tests.benchmark.training.synthetic import PLAN, write_plan

GOAL = {"n_timesteps": 10, "evaluate_every": 5, "solved": 1}
CONTESTANT = {"title": "a", "algorithm": "ppo", "config": "rl_zoo3"}


def test_runs_go_seed_by_seed_over_all_contestants(tmp_path: Path) -> None:
    runs = load_plan(write_plan(tmp_path / "plan.yml")).runs()
    assert [(run.seed, run.contestant.name) for run in runs] == [(1, "ours"), (1, "stock"), (2, "ours"), (2, "stock")]
    assert runs[1].folder == Path("CartPole-v1/stock/seed_1")
    assert (runs[0].goal.n_timesteps, runs[0].goal.solved) == (256, 475)
    assert (runs[0].evaluation.n_episodes, runs[0].evaluation.n_final_episodes) == (2, 4)


def test_a_contestant_takes_part_where_it_says(tmp_path: Path) -> None:
    goal = {"n_timesteps": 10, "evaluate_every": 5, "solved": 1}
    contestant = {"title": "ours", "algorithm": "ppo_scratch", "config": "ppo_scratch.yml", "environments": ["B-v0"]}
    path = write_plan(
        tmp_path / "plan.yml", environments={"A-v0": goal, "B-v0": goal}, contestants={"ours": contestant}, seeds=[7]
    )
    assert [run.goal.env_id for run in load_plan(path).runs()] == ["B-v0"]


def test_plans_are_narrowed() -> None:
    narrow = PLAN.narrowed(contestants=["stock"], env_ids=["CartPole-v1"], n_seeds=2, share=5)
    assert [each.name for each in narrow.contestants] == ["stock"]
    assert narrow.seeds == (1, 2)
    assert (narrow.goals[0].n_timesteps, narrow.goals[0].evaluate_every) == (200, 40)
    assert PLAN.narrowed(n_seeds=5).seeds == (1, 2, 3, 4, 5)
    assert PLAN.narrowed().seeds == PLAN.seeds


def test_narrowing_to_what_is_not_there_names_the_nearest() -> None:
    with pytest.raises(ArgumentTypeError, match="does not know `stok`; did you mean `stock`"):
        PLAN.narrowed(contestants=["stok"])
    with pytest.raises(ArgumentTypeError, match="does not know `CartPole-v2`; did you mean `CartPole-v1`"):
        PLAN.narrowed(env_ids=["CartPole-v2"])
    with pytest.raises(ArgumentError, match="at least 1 seed, not 0"):
        PLAN.narrowed(n_seeds=0)


def test_narrowing_leaves_no_comparison_with_who_is_gone() -> None:
    assert [each.against for each in PLAN.narrowed().contestants] == [("stock",), ()]
    assert [each.against for each in PLAN.narrowed(contestants=["ours"]).contestants] == [()]


def test_variants_are_contestants_of_their_own(tmp_path: Path) -> None:
    path = write_plan(
        tmp_path / "plan.yml",
        variants={"plain": {}, "scaled": {"title": "scaled", "hyperparams": {"env_wrapper": "a.B", "n_steps": 4}}},
        contestants={
            "ours": {
                "title": "ours", "algorithm": "ppo_scratch", "config": "ppo_scratch.yml",
                "hyperparams": {"n_steps": 8, "gamma": 0.9}, "variants": ["plain", "scaled"],
            },
            "stock": {**CONTESTANT, "against": ["ours-plain", "ours-scaled"]},
        },
    )  # fmt: skip
    plain, scaled, stock = load_plan(path).contestants
    assert (plain.name, plain.title, plain.hyperparams) == ("ours-plain", "ours, plain", {"n_steps": 8, "gamma": 0.9})
    assert (scaled.name, scaled.title) == ("ours-scaled", "ours, scaled")
    assert scaled.hyperparams == {"n_steps": 4, "gamma": 0.9, "env_wrapper": "a.B"}
    assert stock.against == ("ours-plain", "ours-scaled")


def test_a_hyperparameter_file_beside_the_plan_comes_first(tmp_path: Path) -> None:
    (tmp_path / "ppo_scratch.yml").write_text("CartPole-v1: {n_steps: 8}")
    ours, stock = load_plan(write_plan(tmp_path / "plan.yml")).contestants
    assert config_path(ours) == (tmp_path / "ppo_scratch.yml").resolve()
    assert config_path(stock).name == "ppo.yml"


@pytest.mark.parametrize("name", ["ladder", "default", "small"])
def test_a_plan_is_read_as_it_was_written(name: str, tmp_path: Path) -> None:
    plan = load_plan(find_plan(name))
    plan = replace(plan, options=("--tensorboard-log", "tb"))
    (tmp_path / "plan.yml").write_text(plan_as_yaml(plan))
    assert load_plan(tmp_path / "plan.yml") == plan
    assert {run.options for run in plan.runs()} == {("--tensorboard-log", "tb")}


def test_plans_are_found_by_name_or_path(tmp_path: Path) -> None:
    assert find_plan("ladder") == LADDER
    own = write_plan(tmp_path / "own.yml")
    assert find_plan(str(own)) == own
    with pytest.raises(FileNotFoundError, match="no plan of that name; there are default, ladder, small"):
        find_plan("laddr")


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"seed": [1]}, ArgumentTypeError, "does not know `seed`; did you mean `seeds`"),
        ({"title": None}, ArgumentError, "no whole plan: KeyError\\('title'\\)"),
        ({"seeds": [1, 1]}, ArgumentError, "`seeds` names one twice"),
        ({"seeds": [True]}, ArgumentError, "`seeds` must be a list of numbers from 0 on"),
        ({"environments": {}}, ArgumentError, "an environment and a contestant at least"),
        (
            {"environments": {"A-v0": {**GOAL, "n_timesteps": "1e5"}}},
            ArgumentError,
            "`n_timesteps: 1e5` must be .*integer",
        ),
        (
            {"environments": {"A-v0": {**GOAL, "packages": "a"}}},
            ArgumentError,
            "`packages: a` must be of the type list",
        ),
        ({"contestants": {"a": {**CONTESTANT, "config": ""}}}, ArgumentError, "a: `config` is missing"),
        ({"contestants": {"a": {**CONTESTANT, "against": ["b"]}}}, ArgumentTypeError, "a does not know `b`"),
        ({"contestants": {"a": {**CONTESTANT, "against": ["a"]}}}, ArgumentTypeError, "a does not know `a`"),
        ({"contestants": {"a": {**CONTESTANT, "variants": ["b"]}}}, ArgumentTypeError, "a does not know `b`"),
        ({"variants": {"v": {"wrappers": []}}}, ArgumentTypeError, "v does not know `wrappers`"),
        ({"seeds": []}, ArgumentError, "`seeds` must be a list of numbers from 0 on"),
        ({"seeds": [-1]}, ArgumentError, "`seeds` must be a list of numbers from 0 on"),
        ({"evaluation": {"n_episodes": 3, "n_final_episodes": 4}}, ArgumentError, "must be a multiple"),
        ({"evaluation": {"episodes": 3}}, ArgumentTypeError, "did you mean `n_episodes`"),
        ({"environments": {"A-v0": {**GOAL, "n_timesteps": 0}}}, ArgumentError, "A-v0: numbers of steps"),
        ({"environments": {"A-v0": {"solved": 1}}}, ArgumentError, "A-v0: .*missing.*n_timesteps"),
        ({"contestants": {"a": {"title": "a", "algoritm": "ppo"}}}, ArgumentTypeError, "did you mean `algorithm`"),
        (
            {"contestants": {"a": {"title": "a", "algorithm": "ppo", "config": "no.yml"}}},
            FileNotFoundError,
            "plan.yml, a: there is no file .*no.yml",
        ),
        (
            {
                "contestants": {
                    "a": {"title": "a", "algorithm": "ppo", "config": "rl_zoo3", "environments": ["CarPole"]}
                }
            },
            ArgumentTypeError,
            "did you mean `CartPole-v1`",
        ),
    ],
)
def test_a_plan_that_cannot_work_is_refused(
    changes: dict[str, object], error: type[Exception], message: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=message):
        load_plan(write_plan(tmp_path / "plan.yml", **changes))


def write_text(path: Path, text: str) -> Path:
    """Write a file."""
    path.write_text(text)
    return path


def test_what_is_no_plan_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"there is no plan .*none\.yml"):
        load_plan(tmp_path / "none.yml")
    (tmp_path / "list.yml").write_text("[1]")
    with pytest.raises(ArgumentError, match=r"text\.yml is no YAML: .*line 1"):
        load_plan(write_text(tmp_path / "text.yml", "title: [1"))
    with pytest.raises(ArgumentError, match="holds no mapping"):
        load_plan(tmp_path / "list.yml")


def test_the_zoos_own_file_is_found() -> None:
    path = config_path(Contestant("trpo", "TRPO", "trpo", "rl_zoo3"))
    assert "LunarLander-v3" in yaml.safe_load(path.read_text())


def test_the_ladder_stands_beside_its_reference() -> None:
    plan = load_plan(LADDER)
    assert REFERENCE in [each.name for each in plan.contestants]
    assert {goal.env_id for goal in plan.goals} >= {"CartPole-v1", "LunarLander-v3"}


@pytest.mark.parametrize("path", sorted(LADDER.parent.glob("*.yml")), ids=lambda path: path.stem)
def test_the_plans_that_come_along_can_be_read_and_name_settings_for_every_environment(path: Path) -> None:
    plan = load_plan(path)
    assert len(plan.seeds) >= 5
    for run in plan.runs():
        if run.contestant.algorithm == RANDOM:
            continue
        assert run.goal.env_id in yaml.safe_load(config_path(run.contestant).read_text()), run.folder
        changes = {"policy_kwargs": "", **run.contestant.hyperparams}
        check_known_names(changes, ZOO_KEYS | algorithm_arguments(run.contestant.algorithm), where=f"{run.folder}")
