"""Tests of `torch_threads.py`: torch's and NumPy's threads while a model learns, and afterwards."""

import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.callbacks import BaseCallback
from threadpoolctl import ThreadpoolController

from sb3_ppo_scratch import PPOScratch, torch_threads
from sb3_ppo_scratch.torch_threads import choose_threads, of_numpy_alone, threads_restored, use_threads
from sb3_ppo_scratch.updates.autograd import AutogradUpdate
from sb3_ppo_scratch.updates.closed_form import ClosedFormUpdate
from tests.envs import EndingsEnv

OUTSIDE = 2
SMALL, CONVOLUTION, ELSEWHERE = th.nn.Linear(3, 3), th.nn.Conv2d(1, 1, 1), th.nn.Linear(3, 3, device="meta")
LARGE = th.nn.Linear(1024, 1024, bias=False)


def numpys_libraries() -> list[Any]:
    controllers = ThreadpoolController().select(user_api="blas").lib_controllers
    return of_numpy_alone(controllers, Path(np.__file__).parent)


def blas_threads() -> set[int]:
    return {library.num_threads for library in numpys_libraries()}


@pytest.fixture(autouse=True)
def two_threads_before() -> Iterator[None]:
    libraries = numpys_libraries()
    before, blas_before = th.get_num_threads(), [library.num_threads for library in libraries]
    th.set_num_threads(2)
    for library in libraries:
        library.set_num_threads(2)
    yield
    th.set_num_threads(before)
    for library, count in zip(libraries, blas_before, strict=True):
        library.set_num_threads(count)


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
            self.model.batch_size = 64

    recorder = Enlarge()
    large = {"net_arch": [512, 512]}
    make(policy_kwargs=large, n_steps=64, batch_size=8, n_epochs=1).learn(128, callback=recorder)
    assert recorder.seen == {(1, frozenset({1})), (2, frozenset({1}))}


def test_minibatch_counts_as_no_larger_than_the_rollout() -> None:
    recorder = Recorder()
    with pytest.warns(UserWarning, match="batch_size"):
        model = make(batch_size=2**24, n_epochs=1)
    model.learn(16, callback=recorder)
    assert recorder.seen == {(1, frozenset({1}))}


# -- outside `learn` ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("update_class", [AutogradUpdate, ClosedFormUpdate], ids=["autograd", "closed_form"])
def test_rollout_and_update_of_a_loop_of_ones_own_limit_and_restore(
    update_class: type[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    step, in_update = update_class.step, set()

    def spy(*arguments: Any) -> None:
        in_update.add((th.get_num_threads(), frozenset(blas_threads())))
        step(*arguments)

    monkeypatch.setattr(update_class, "step", spy)
    model = make(update="autograd" if update_class is AutogradUpdate else "closed_form")
    recorder = Recorder()
    _, callback = model._setup_learn(16, recorder)
    assert model.collect_rollouts(model.get_env(), callback, model.rollout_buffer, model.n_steps)
    assert recorder.seen == {(1, frozenset({1}))}
    assert (th.get_num_threads(), blas_threads()) == (2, {2})
    model.train()
    assert in_update == {(1, frozenset({1}))}
    assert (th.get_num_threads(), blas_threads()) == (2, {2})


# -- several of Python's threads ---------------------------------------------------------------------------------------


class InAnotherThread:
    """Runs a block of `threads_restored` in a thread of its own, which begins and ends when it is told."""

    def __init__(self) -> None:
        self._entered, self._leave = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.yielded, self.after = 0, 0

    def _run(self) -> None:
        with threads_restored() as self.yielded:
            use_threads(1)
            self._entered.set()
            self._leave.wait(20)
        self.after = th.get_num_threads()

    def enter(self) -> None:
        self._thread.start()
        assert self._entered.wait(20)

    def leave(self) -> None:
        self._leave.set()
        self._thread.join(20)
        assert not self._thread.is_alive()


def test_blocks_of_two_threads_that_overlap_restore_both() -> None:
    first, second = InAnotherThread(), InAnotherThread()
    first.enter()
    second.enter()
    assert blas_threads() == {1}
    first.leave()
    assert blas_threads() == {1}
    second.leave()
    assert (first.yielded, second.yielded) == (2, 2)
    assert (first.after, second.after) == (2, 2)
    assert blas_threads() == {2}


def test_block_within_a_block_restores_what_the_outer_one_uses() -> None:
    with threads_restored():
        use_threads(1)
        with threads_restored() as outside:
            use_threads(3)
        assert outside == 1
        assert (th.get_num_threads(), blas_threads()) == (1, {1})
    assert (th.get_num_threads(), blas_threads()) == (2, {2})


# -- which library -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "is_numpys"),
    [
        ("site-packages/numpy.libs/libscipy_openblas64_.so", True),
        ("site-packages/numpy/.dylibs/libscipy_openblas64_.dylib", True),
        ("site-packages/scipy.libs/libscipy_openblas.so", False),
        ("site-packages/torch/lib/libopenblas.so.0", False),
        ("lib/libmkl_rt.so.2", False),
        ("site-packages/numpy.libs.old/libopenblas.so", False),
    ],
)
def test_only_the_library_that_came_with_numpy_is_limited(path: str, is_numpys: bool, tmp_path: Path) -> None:
    library = SimpleNamespace(filepath=str(tmp_path / path))
    picked = of_numpy_alone([library], tmp_path / "site-packages" / "numpy")
    assert picked == ([library] if is_numpys else [])


def test_library_is_found_through_a_symbolic_link(tmp_path: Path) -> None:
    (tmp_path / "real" / "numpy").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    library = SimpleNamespace(filepath=str(tmp_path / "real" / "numpy.libs" / "libopenblas.so"))
    assert of_numpy_alone([library], tmp_path / "link" / "numpy") == [library]
