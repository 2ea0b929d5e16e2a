"""What the proofs rest on: the cases that they try, and that they notice a difference of one bit."""

from collections.abc import Callable
from itertools import combinations, product
from pathlib import Path

import numpy as np
import pytest

from tests.comparison import Comparison, compare, figures_of_episodes, figures_of_log
from tests.proofs.halves import PARTS, VEC_ENVS, Case, run_part
from tests.proofs.resume import CARTPOLE, KL_MODES, LANDERS, UPDATES, all_cases, compare_parts

SETTINGS = {"vec_env": tuple(VEC_ENVS), "update": UPDATES, "kl_mode": KL_MODES}


def test_on_cartpole_every_two_settings_meet_and_on_each_lander_each_occurs() -> None:
    cases = [case._asdict() for case in all_cases()]
    on_cartpole = [case for case in cases if case["env_id"] == CARTPOLE]
    for one, other in combinations(SETTINGS, 2):
        met = {(case[one], case[other]) for case in on_cartpole}
        assert met == set(product(SETTINGS[one], SETTINGS[other]))
    for env_id, (name, values) in product(LANDERS, SETTINGS.items()):
        assert {case[name] for case in cases if case["env_id"] == env_id} == set(values)


@pytest.mark.parametrize("env_id", [CARTPOLE, *LANDERS])
def test_halves_of_a_short_run_are_the_whole(env_id: str, tmp_path: Path) -> None:
    case = Case(env_id, "DummyVecEnv", "auto", "penalty")
    for part in PARTS:
        run_part(part, tmp_path, 3000, case)
    result = compare_parts(case, tmp_path)
    assert result.is_equal
    assert result.model.compared > 40
    assert result.log.compared > 20


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda array: array, Comparison(2, [], 0.0)),
        (lambda array: np.nextafter(array, np.float32(2)), Comparison(2, ["b"], 2.0**-23)),
        (lambda array: array.astype(np.float64), Comparison(2, ["b"], 0.0)),
        (lambda array: array[:1], Comparison(2, ["b"], np.inf)),
        (lambda array: array * np.float32(np.nan), Comparison(2, ["b"], np.inf)),
    ],
    ids=["same", "last-bit", "type", "shape", "not-a-number"],
)
def test_any_difference_is_noticed(change: Callable[[np.ndarray], np.ndarray], expected: Comparison) -> None:
    ones = np.ones(3, np.float32)
    assert compare({"a": ones, "b": ones}, {"a": ones.copy(), "b": change(ones)}) == expected


def test_a_missing_array_is_a_difference() -> None:
    one, other = {"a": np.zeros(1)}, {"b": np.zeros(1)}
    assert (
        compare(one, other) == compare(other, one)._replace(differing=["a", "b"]) == Comparison(2, ["a", "b"], np.inf)
    )


def test_logs_are_compared_cell_by_cell_but_for_times(tmp_path: Path) -> None:
    whole, first, second = (tmp_path / f"{name}.csv" for name in ("whole", "first", "second"))
    whole.write_text("time/fps,a,b\n1,2,\n3,0.5,5\n")
    first.write_text("a,time/fps\n2,7\n")
    second.write_text("time/fps,b,a\n8,5,0.5\n")
    assert compare(figures_of_log(whole), figures_of_log(first, second)) == Comparison(3, [], 0.0)
    assert compare(figures_of_log(whole), figures_of_log(first)).differing == ["1: a", "1: b"]
    second.write_text("b,a\nearly stop,0.75\n")
    assert compare(figures_of_log(whole), figures_of_log(first, second)) == Comparison(3, ["1: a", "1: b"], np.inf)
    second.write_text("b,a\n5,0.75\n")
    assert compare(figures_of_log(whole), figures_of_log(first, second)) == Comparison(3, ["1: a"], 0.25)


def test_episodes_are_compared_but_for_their_times(tmp_path: Path) -> None:
    one, other = tmp_path / "one" / "0.monitor.csv", tmp_path / "other" / "0.monitor.csv"
    for path, time in ((one, 1.5), (other, 2.5)):
        path.parent.mkdir()
        path.write_text(f'#{{"t_start": {time}}}\nr,l,t\n-0.25,7,{time}\n')
    assert compare(figures_of_episodes([one]), figures_of_episodes([other])) == Comparison(1, [], 0.0)
    other.write_text(other.read_text().replace("7", "8"))
    assert compare(figures_of_episodes([one]), figures_of_episodes([other])).differing == ["0.monitor.csv"]
