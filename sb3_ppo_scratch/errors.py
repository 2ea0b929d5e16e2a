"""The errors that a user's mistake raises, SB3's among them, and finding the name that was probably meant.

What is here: nothing that imports SB3 or torch, so that the command line starts fast. What is not: the checks that
raise these errors (`value_checks.py`, `space_checks.py`, `argument_checks.py`).
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from typing import Any


class ArgumentError(ValueError, AssertionError):
    """A wrong value for an argument.

    Also an `AssertionError`, because that is what SB3's own PPO raises in several of these places: code written for it
    (among it rl_zoo3's hyperparameter search, which prunes such a trial) keeps working.
    """


class UnsupportedSpaceError(ArgumentError, NotImplementedError):
    """A space that no policy can handle; for nested ones SB3 raises `NotImplementedError`."""


class ArgumentTypeError(TypeError):
    """A wrong type of an argument."""


class TrainingFaultError(Exception):
    """Something that ends a run, and that is written down together with the run."""

    batch: object = None
    """The numbers that it came with: arrays, or named tuples and dicts of such; None: those of the rollout."""

    def __str__(self) -> str:
        return str(self.args[0])

    def add(self, what: str) -> None:
        """Say more.

        Args:
            what: Words that follow.
        """
        self.args = (f"{self}; {what}",)


class NotFiniteError(TrainingFaultError, ValueError):
    """NaN or infinity where learning needs a number.

    Args:
        quantity: What is not finite: "observation", "reward", "action", "loss", "gradient" or "parameter".
        where: Where it is, in words.
    """

    def __init__(self, quantity: str, where: str = "") -> None:
        self.quantity, self.where = quantity, where
        subject = f"the {quantity} {where}".strip()
        super().__init__(f"{subject} is NaN or infinite")


_AS_IN_EVERY_ERROR = {
    name: vars(BaseException)[name] for name in ("args", "__setattr__", "__delattr__", "__getattribute__", "__repr__")
}
"""What an error's own type may have changed: frozen dataclasses, for one, take no attributes, not even a traceback."""


class EnvironmentFaultError(TrainingFaultError, RuntimeError):
    """An environment has raised, hung, or returned what it must not.

    Args:
        message: What has happened.
        env_index: The environment's number; None: unknown.
    """

    def __init__(self, message: str, env_index: int | None = None) -> None:
        self.env_index = env_index
        super().__init__(message)

    @classmethod
    def of(cls, error: BaseException, message: str, env_index: int | None) -> "EnvironmentFaultError":
        """Make an error that is of another's type, too, so that `except` clauses for that still work.

        Args:
            error: The other. Its attributes are the new one's, too, but for those that this class has itself.
            message: What has happened.
            env_index: The environment's number; None: unknown.

        Returns:
            The error; a plain one where the types cannot be combined, and for what ends a process, as SystemExit does.
        """
        if not isinstance(error, Exception):
            return cls(message, env_index)
        both: Any
        try:
            both = type(cls.__name__, (cls, type(error)), {"__module__": cls.__module__, **_AS_IN_EVERY_ERROR})
            fault = type(error).__new__(both, message)
            own = {name: value for name, value in vars(error).items() if not hasattr(cls, name)}
            vars(fault).update(own, env_index=env_index)
            fault.args = (message,)
        except Exception:  # noqa: BLE001 # whatever a foreign type raises when another inherits from it
            return cls(message, env_index)
        named: EnvironmentFaultError = fault
        return named

    def __reduce__(self) -> tuple[Any, ...]:
        return EnvironmentFaultError, (str(self), self.env_index)


def check_known_names(names: Iterable[str], known: Iterable[str], *, where: str) -> None:
    """Refuse names that nothing would read.

    Args:
        names: The names received.
        known: The names that mean something.
        where: What they were given to, for the message.

    Raises:
        ArgumentTypeError: If a name is unknown; the message names the nearest known one.
    """
    known = sorted(known)
    for name in names:
        if name not in known:
            nearest = get_close_matches(name, known, n=1)
            hint = f"did you mean `{nearest[0]}`?" if nearest else f"known are: {', '.join(known)}."
            raise ArgumentTypeError(f"{where} does not know `{name}`; {hint}")


@contextmanager
def sb3_errors_named(what: str) -> Iterator[None]:
    """Turn what SB3 raises about arguments inside the block into this project's errors.

    Args:
        what: What cannot be done, naming the argument.

    Yields:
        Nothing.

    Raises:
        ArgumentError: In place of an `AssertionError` or `ValueError`, or of a `RuntimeError` of torch's about shapes.
        ArgumentTypeError: In place of a `TypeError`.
        UnsupportedSpaceError: In place of a `NotImplementedError`.
    """
    try:
        yield
    except (ArgumentError, ArgumentTypeError):
        raise
    except (AssertionError, ValueError) as error:
        raise ArgumentError(f"{what}: {error}") from error
    except TypeError as error:
        raise ArgumentTypeError(f"{what}: {error}") from error
    except NotImplementedError as error:
        raise UnsupportedSpaceError(f"{what}: {error}") from error
    except RuntimeError as error:
        if type(error) is not RuntimeError:  # too little memory, for one, is no mistake of arguments
            raise
        raise ArgumentError(f"{what}: {error}") from error
