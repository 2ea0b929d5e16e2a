"""Tests of `vec_env/remote_errors.py`."""

import pickle

import pytest

from sb3_ppo_scratch.vec_env.remote_errors import RemoteError, WorkerDiedError, WorkerError, describe_exit
from tests.vec_env.environments import UnpicklableError


def captured(error: Exception) -> RemoteError:
    """As it arrives at the other side."""
    try:
        raise error
    except type(error) as caught:
        remote: RemoteError = pickle.loads(pickle.dumps(RemoteError.capture(caught, "environment 3 raised in `step`")))
        return remote


def test_original_exception_is_raised_with_its_place_as_cause() -> None:
    with pytest.raises(KeyError, match="what is missing") as caught:
        captured(KeyError("what is missing")).raise_here()
    told = str(caught.value.__cause__)
    assert told.startswith(
        "environment 3 raised in `step`: KeyError: 'what is missing'\n\nTraceback (most recent call last):"
    )
    assert "in captured" in told


@pytest.mark.parametrize("broken_here", [False, True], ids=["in_the_worker", "in_the_parent"])
def test_exception_that_cannot_be_rebuilt_is_told_in_words(broken_here: bool) -> None:
    remote = captured(UnpicklableError(1, 2))
    assert remote.pickled is None
    if broken_here:
        remote = RemoteError(remote.where, remote.traceback, b"no pickle")
    with pytest.raises(WorkerError, match=r"environment 3 raised in `step`:[\s\S]*UnpicklableError: 1 and 2"):
        remote.raise_here()


def test_death_is_a_worker_error() -> None:
    assert issubclass(WorkerDiedError, WorkerError)


@pytest.mark.parametrize(
    ("exit_code", "words"),
    [(None, "is gone"), (0, "exited with status 0"), (-11, "was ended by SIGSEGV"), (-250, "was ended by signal 250")],
)
def test_every_way_to_end_has_words(exit_code: int | None, words: str) -> None:
    assert describe_exit(exit_code) == words
