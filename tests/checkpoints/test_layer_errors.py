"""A layer that cannot say what it keeps, or not take it, is named together with its environment."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecEnv, VecEnvWrapper

from sb3_ppo_scratch import PPOScratch
from sb3_ppo_scratch.callbacks import SaveCheckpoints
from sb3_ppo_scratch.checkpoints.environment_states import read_environments, write_environments
from sb3_ppo_scratch.errors import EnvironmentFaultError
from sb3_ppo_scratch.vec_env import ShardedVecEnv
from tests.checkpoints.test_resume import ReadableCounter

KINDS: dict[str, Callable[..., VecEnv]] = {
    "dummy": DummyVecEnv,
    "subproc": partial(SubprocVecEnv, start_method="fork"),
    "sharded": partial(ShardedVecEnv, n_workers=1, start_method="fork"),
}


class Keeping(gym.Wrapper[Any, Any, Any, Any]):
    """Keeps something, and says so or not.

    Args:
        env: Any environment.
        answer: What `get_state` returns; an error is raised.
        takes: Whether `set_state` works.
    """

    def __init__(self, env: gym.Env[Any, Any], answer: Any = 0, *, takes: bool = True) -> None:
        super().__init__(env)
        self.answer, self.takes = answer, takes

    def get_state(self) -> Any:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def set_state(self, state: Any) -> None:
        if not self.takes:
            raise LookupError("not taken\nfor reasons")


def two(kind: str, answer: Any = 0, *, takes: bool = True) -> VecEnv:
    """Make two environments, of which the second has a layer that may fail."""
    return KINDS[kind](
        [lambda: Keeping(ReadableCounter()), lambda: Keeping(ReadableCounter(), answer, takes=takes)],
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (print, "returned what no checkpoint can hold: <built-in function print>"),
        (ZeroDivisionError("first\nsecond"), "raised ZeroDivisionError: first ..."),
    ],
)
def test_what_cannot_be_read_is_named(kind: str, answer: Any, message: str) -> None:
    env = two(kind, answer)
    env.reset()
    with pytest.raises(EnvironmentFaultError, match="environment 1: `get_state` of Keeping") as caught:
        read_environments(env)
    assert str(caught.value) == f"environment 1: `get_state` of Keeping {message}"
    assert caught.value.env_index == 1
    assert env.get_attr("render_mode") == [None, None]  # they are alive
    env.close()


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_not_taken_is_named(kind: str) -> None:
    whole, deaf = two("dummy"), two(kind, takes=False)
    whole.reset()
    with pytest.raises(
        EnvironmentFaultError, match=r"^environment 1: `set_state` of Keeping raised LookupError: not taken \.\.\.$"
    ) as caught:
        write_environments(deaf, read_environments(whole))
    assert caught.value.env_index == 1
    deaf.close()


def test_the_error_of_the_layer_is_in_the_chain_of_causes() -> None:
    error = ZeroDivisionError("own")
    with pytest.raises(EnvironmentFaultError, match="ZeroDivisionError: own") as caught:
        read_environments(two("dummy", error))
    cause = caught.value.__cause__
    assert cause is not None
    assert cause.__cause__ is error


class Bare(ReadableCounter):
    """An environment in no wrapper."""

    def get_state(self) -> Any:
        return print


def test_environments_in_no_wrapper_are_named_by_their_number() -> None:
    env = DummyVecEnv([Bare])
    env.reset()
    message = r"^environment 0: `get_state` of environment in no wrapper returned what no checkpoint can hold: <"
    with pytest.raises(EnvironmentFaultError, match=message):
        read_environments(env)


class Around(VecEnvWrapper):
    """A layer around all environments that cannot be read."""

    def reset(self) -> Any:
        return self.venv.reset()

    def step_wait(self) -> Any:
        return self.venv.step_wait()

    def get_state(self) -> Any:
        raise LookupError("nothing")

    def set_state(self, state: Any) -> None: ...


def test_a_layer_around_the_environments_is_named() -> None:
    message = r"^around the environments: `get_state` of Around raised LookupError: nothing$"
    with pytest.raises(EnvironmentFaultError, match=message) as caught:
        read_environments(Around(two("dummy")))
    assert caught.value.env_index is None


@pytest.mark.parametrize("answer", [print, ZeroDivisionError()])
def test_a_run_that_ends_by_it_leaves_a_checkpoint(answer: Any, tmp_path: Path) -> None:
    model = PPOScratch("MlpPolicy", two("dummy", answer), n_steps=4, batch_size=4, n_epochs=1, device="cpu")
    model.fault_folder = tmp_path
    with pytest.raises(EnvironmentFaultError, match=r"^environment 1: `get_state` of Keeping .* the run without them$"):
        model.learn(32, callback=SaveCheckpoints(8, tmp_path))
    [checkpoint] = tmp_path.glob("fault*.zip")
    again = PPOScratch.load_checkpoint(checkpoint, env=two("dummy"))
    assert again.resume().num_timesteps == 32
