"""Tests of `torch_threads.py`: torch's and NumPy's threads while a model learns, and afterwards."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.callbacks import BaseCallback
from threadpoolctl import threadpool_info, threadpool_limits

from sb3_ppo_scratch import PPOScratch, torch_threads
from sb3_ppo_scratch.torch_threads import choose_threads, threads_restored, use_threads
from tests.envs import EndingsEnv

OUTSIDE = 2
SMALL, CONVOLUTION, ELSEWHERE = th.nn.Linear(3, 3), th.nn.Conv2d(1, 1, 1), th.nn.Linear(3, 3, device="meta")
LARGE = th.nn.Linear(1024, 1024, bias=False)


def blas_threads() -> set[int]:
    return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}


@pytest.fixture(autouse=True)
def two_threads_before() -> Iterator[None]:
    with threads_restored():
        use_threads(2)
        with threadpool_limits(2, user_api="blas"):
            yield


@pytest.fixture(autouse=True)
def _no_setting_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_threads._UserSetting, "kept", False)


@pytest.mark.parametrize(
    ("setting", "module", "batch_size", "expected"),
    [
        pytest.param("auto", SMALL, 64, 1, id="small_network"),
        pytest.param("auto", CONVOLUTION, 64, 2, id="convolutions"),
        pytest.param("auto", ELSEWHERE, 64, 2, id="other_device"),
        pytest.param("auto", LARGE, 16, 2, id="large_work"),
        pytest.param("auto", LARGE, 15, 1, id="large_network_small_batch"),
        pytest.param(None, SMALL, 64, 2, id="left_alone"),
        pytest.param(3, SMALL, 64, 3, id="number"),
        pytest.param(3, LARGE, 2048, 3, id="number_for_large_work"),
    ],
)
def test_threads_that_are_chosen(setting: Any, module: th.nn.Module, batch_size: int, expected: int) -> None:
    assert choose_threads(setting, module, batch_size, OUTSIDE) == expected


def test_users_own_setting_is_left_alone() -> None:
    torch_threads.keep_current_threads()
    assert choose_threads("auto", SMALL, 64, OUTSIDE) == 2
    assert choose_threads(3, SMALL, 64, OUTSIDE) == 3


def test_there_is_a_blas_library_to_be_limited() -> None:
    assert blas_threads() == {2}


class Recorder(BaseCallback):
    """Records threads at each step and during updates, and may raise."""

    def __init__(self, error: Exception | None = None) -> None:
        super().__init__()
        self.seen: set[tuple[int, frozenset[int]]] = set()
        self.error = error

    def _look(self) -> None:
        self.seen.add((th.get_num_threads(), frozenset(blas_threads())))

    def _on_step(self) -> bool:
        self._look()
        if self.error:
            raise self.error
        return True

    def _on_rollout_end(self) -> None:
        self._look()


def make(**arguments: Any) -> PPOScratch:
    return PPOScratch("MlpPolicy", EndingsEnv(spaces.Discrete(2)), **{"n_steps": 8, "batch_size": 8, **arguments})


@pytest.mark.parametrize("update", ["autograd", "closed_form"])
@pytest.mark.parametrize(("setting", "expected"), [("auto", 1), (1, 1), (3, 3), (None, 2)])
def test_both_are_limited_while_learning_and_restored(setting: Any, expected: int, update: str) -> None:
    recorder = Recorder()
    make(torch_threads=setting, update=update).learn(16, callback=recorder)
    assert recorder.seen == {(expected, frozenset({1}))}
    assert (th.get_num_threads(), blas_threads()) == (2, {2})


def test_both_are_restored_after_an_exception() -> None:
    with pytest.raises(RuntimeError, match="planned"):
        make().learn(16, callback=Recorder(RuntimeError("planned")))
    assert (th.get_num_threads(), blas_threads()) == (2, {2})


def test_large_work_keeps_all_threads() -> None:
    recorder = Recorder()
    make(policy_kwargs={"net_arch": [512, 512]}, n_steps=64, batch_size=64, n_epochs=1).learn(64, callback=recorder)
    assert recorder.seen == {(2, frozenset({1}))}


def test_batch_size_changed_by_a_callback_is_looked_at_again() -> None:
    class Enlarge(Recorder):
        def _on_rollout_end(self) -> None:
            self.model.batch_size = 2**24

    recorder = Enlarge()
    make(n_epochs=1).learn(16, callback=recorder)
    assert recorder.seen == {(1, frozenset({1})), (2, frozenset({1}))}
