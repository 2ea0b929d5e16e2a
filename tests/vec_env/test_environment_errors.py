"""Whatever an environment raises, the error that comes of it names the environment, and can be used."""

import dataclasses
import pickle
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stable_baselines3.common.vec_env import DummyVecEnv

from sb3_ppo_scratch import PPOScratch
from sb3_ppo_scratch.errors import EnvironmentFaultError
from sb3_ppo_scratch.short_texts import describe_error
from sb3_ppo_scratch.vec_env import ShardedVecEnv
from sb3_ppo_scratch.vec_env.guard import guarded
from tests.vec_env.environments import RandomEnv, UnpicklableError


@dataclasses.dataclass(frozen=True)
class Frozen(Exception):  # noqa: N818
    """Takes no attributes."""

    code: int = 3


class NothingSet(Exception):  # noqa: N818
    """Refuses attributes by an error."""

    def __setattr__(self, *_: Any) -> None:
        raise RuntimeError("nothing can be set")


class NoText(Exception):  # noqa: N818
    """Cannot be turned into text."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


class NoHeirs(Exception):  # noqa: N818
    """Nothing inherits from it."""

    def __init_subclass__(cls) -> None:
        raise RuntimeError("no heirs")


class ReadOnly(Exception):  # noqa: N818
    """Its arguments cannot be set."""

    args = property(lambda _: ("always the same",))  # type: ignore[assignment]


class Overwriting(Exception):  # noqa: N818
    """Its attributes have names that the error made of it has, too."""

    def __init__(self) -> None:
        self.env_index, self.add, self.batch, self.code = 55, "not callable", "no batch", 7


class Raising(RandomEnv):
    """Raises something in its first step.

    Args:
        make: Makes it.
    """

    def __init__(self, make: Callable[[], BaseException]) -> None:
        super().__init__()
        self.make = make

    def step(self, action: Any) -> Any:
        raise self.make()


@contextmanager
def passing_on() -> Iterator[None]:
    """Set the traceback of what goes through, as every such context manager does."""
    yield


def fault_of(make: Callable[[], BaseException], folder: Path) -> EnvironmentFaultError:
    """Let the second of two environments raise something while a model learns."""
    env = DummyVecEnv([RandomEnv, lambda: Raising(make)])
    model = PPOScratch("MlpPolicy", env, n_steps=4, batch_size=4, n_epochs=1, device="cpu")
    model.fault_folder = folder
    with pytest.raises(EnvironmentFaultError, match=r"^environment 1 raised ") as caught, passing_on():
        model.learn(8)
    [checkpoint] = folder.glob("*.zip")
    assert str(caught.value).endswith(f"{checkpoint} the run without them")
    assert caught.value.env_index == 1
    return caught.value


@pytest.mark.parametrize("kind", [Frozen, NothingSet, NoText, NoHeirs, ReadOnly, Overwriting])
def test_every_error_can_be_named_added_to_and_sent(kind: type[Exception], tmp_path: Path) -> None:
    fault = fault_of(kind, tmp_path)
    assert str(fault).startswith(f"environment 1 raised {kind.__name__}")
    assert isinstance(fault, kind) is (kind is not NoHeirs)
    assert type(fault.__cause__) is kind
    copy = pickle.loads(pickle.dumps(fault))
    assert (str(copy), copy.env_index) == (str(fault), 1)


def test_attributes_that_the_error_does_not_have_itself_are_kept(tmp_path: Path) -> None:
    fault: Any = fault_of(Overwriting, tmp_path)
    assert (fault.code, fault.env_index, list(fault.batch)) == (7, 1, ["actions"])


def test_an_environment_that_exits_is_one_that_raises(tmp_path: Path) -> None:
    fault = fault_of(lambda: SystemExit(3), tmp_path)
    assert str(fault).startswith("environment 1 raised SystemExit: 3; ")
    assert not isinstance(fault, SystemExit)
    assert isinstance(fault.__cause__, SystemExit)


def test_ctrl_c_in_an_environment_is_none_of_its_errors() -> None:
    env = DummyVecEnv([lambda: Raising(KeyboardInterrupt)])
    with guarded(env, None) as step, pytest.raises(KeyboardInterrupt, match=r"^$"):
        step(np.zeros(1, np.int64))


def test_a_signal_that_ends_the_process_while_an_environment_steps_still_does() -> None:
    def leave(*_: Any) -> None:
        sys.exit(5)

    def signalled() -> Exception:
        signal.raise_signal(signal.SIGUSR1)
        return AssertionError("still here")

    before = signal.signal(signal.SIGUSR1, leave)
    try:
        with (
            guarded(DummyVecEnv([lambda: Raising(signalled)]), None) as step,
            pytest.raises(SystemExit, match=r"^5$") as caught,
        ):
            step(np.zeros(1, np.int64))
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert not isinstance(caught.value, EnvironmentFaultError)


def test_the_message_is_one_line_and_the_cause_holds_the_whole(tmp_path: Path) -> None:
    text = "the first line\nthe second"
    fault = fault_of(lambda: LookupError(text), tmp_path)
    assert str(fault).startswith("environment 1 raised LookupError: the first line ...; ")
    assert "\n" not in str(fault)
    assert str(fault.__cause__) == text


def test_so_it_is_where_the_error_cannot_leave_its_worker() -> None:
    env = ShardedVecEnv([RandomEnv, lambda: Raising(lambda: UnpicklableError(1, 2))], 1, "fork")
    env.reset()
    message = r"^environment 1 raised in `step`: UnpicklableError: 1 and 2$"
    with guarded(env, None) as step, pytest.raises(EnvironmentFaultError, match=message) as caught:
        step(np.zeros(2, np.int64))
    assert "Traceback (most recent call last)" in str(caught.value.__cause__)
    env.close()


def test_a_long_text_is_cut() -> None:
    assert describe_error(ValueError("x" * 300)) == f"ValueError: {'x' * 200} ..."
    assert describe_error(ValueError()) == "ValueError"
