"""Pickles that nobody vouches for: read as data, with stand-ins for everything that they name.

What is here: refusing what only a hostile pickle has, and building the rest out of functions that do nothing but
remember. What is not: which names a kind of file may have (`torch_files.py`, `zoo/saved_statistics.py`).

Python's documentation says how this is done: https://docs.python.org/3/library/pickle.html#restricting-globals
"""

import io
import pickle
import pickletools
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar

from sb3_ppo_scratch.zip_members import UnsafeFileError

OPCODES = re.compile(
    "PROTO|FRAME|STOP|MARK|POP|POP_MARK|DUP|NONE|NEWTRUE|NEWFALSE|INT|BININT|BININT1|BININT2|LONG|LONG1|FLOAT|BINFLOAT"
    "|BINUNICODE|SHORT_BINUNICODE|BINUNICODE8|BINBYTES|SHORT_BINBYTES|BINBYTES8|BYTEARRAY8"
    "|EMPTY_TUPLE|TUPLE|TUPLE1|TUPLE2|TUPLE3|EMPTY_LIST|LIST|APPEND|APPENDS|EMPTY_DICT|DICT|SETITEM|SETITEMS"
    "|PUT|BINPUT|LONG_BINPUT|MEMOIZE|GET|BINGET|LONG_BINGET|GLOBAL|STACK_GLOBAL|REDUCE|NEWOBJ|BUILD|BINPERSID"
)
"""What picklers of plain objects write."""
PLACES = frozenset({"PUT", "BINPUT", "LONG_BINPUT"})
"""Opcodes with a place in the pickle's memory."""
MOST_OPCODES = 1 << 20
"""Each makes an object of at most some dozen bytes; Adam's state of 5,000 tensors has a half of this."""
LARGEST_KEY = 1 << 60
"""Of a mapping's integers; some larger ones have the same hash, and many of these take a mapping hours."""
Persistent = Callable[[Any], Any]


class Maker:
    """Stands for a function that a pickle names, and can be called, but not changed: a plain function could be.

    Args:
        make: What is called in its place.
    """

    __slots__ = ("_make",)

    def __init__(self, make: Callable[..., Any]) -> None:
        self._make = make

    def __call__(self, *arguments: Any) -> Any:
        """Call what stands for the function."""
        return self._make(*arguments)

    def __setstate__(self, state: Any) -> None:
        """Refuse to be changed.

        Raises:
            UnsafeFileError: Always.
        """
        raise UnsafeFileError("a pickle that changes a function")


class Ordered(dict[Any, Any]):
    """Stands for an `OrderedDict`: made empty, then filled. torch writes `_metadata` as its one attribute."""

    __slots__ = ()

    def __new__(cls) -> "Ordered":
        """Make an empty one; a list of pairs would not be looked at."""
        return super().__new__(cls)

    def __setstate__(self, state: Any) -> None:
        """Leave the attributes out.

        Raises:
            UnsafeFileError: If there are others, which could replace methods.
        """
        if not isinstance(state, dict) or set(state) != {"_metadata"}:
            raise UnsafeFileError("a pickle that changes an OrderedDict")


class Unknown:
    """Stands for whatever a pickle names, and remembers its state; fit for files of which little is needed."""

    name = ""
    """Module and name that the pickle has."""

    arguments: tuple[Any, ...]
    state: Any

    def __new__(cls, *arguments: Any) -> "Unknown":
        """Remember what it is made of; pickles leave `__init__` out."""
        made = super().__new__(cls)
        made.arguments, made.state = arguments, None
        return made

    def __setstate__(self, state: Any) -> None:
        """Remember."""
        self.state = state

    def ignore(self, *_: Any) -> None:
        """Stand for the methods that pickles of containers call."""

    __setitem__ = append = extend = ignore


class AnythingUnknown(dict[tuple[str, str], Any]):
    """What stands for each name, where anything may be named."""

    def __contains__(self, key: object) -> bool:
        """Say that there is always something."""
        return True

    def __missing__(self, key: tuple[str, str]) -> type[Unknown]:
        """Make a stand-in."""
        return type("Unknown", (Unknown,), {"name": ".".join(key)})


def read_inertly(content: bytes, known: Mapping[tuple[str, str], Any], persistent: Persistent | None = None) -> Any:
    """Read a pickle without running anything but what is given here.

    Args:
        content: The pickle.
        known: What stands for each module and name that it may have: types without state of their own, and `Maker`s.
        persistent: What stands for objects that are kept outside the pickle; None: there must be none.

    Returns:
        What it holds, made of numbers, text, lists, tuples, dicts and the stand-ins.

    Raises:
        UnsafeFileError: If it names anything else, or is damaged.
    """
    try:
        check_opcodes(content)
        return _InertUnpickler(content, known, persistent).load()
    except UnsafeFileError:
        raise
    except Exception as error:  # damaged pickles raise anything
        raise UnsafeFileError(f"a damaged pickle: {error or type(error).__name__}") from error


def check_opcodes(content: bytes) -> None:
    """Look over a pickle without building anything.

    Args:
        content: The pickle.

    Raises:
        UnsafeFileError: If there are too many opcodes, one that plain objects do not need, or one that would take
            memory that the pickle does not fill.
        ValueError: If it is no pickle.
    """
    for count, (opcode, argument, _) in enumerate(pickletools.genops(content)):
        if not OPCODES.fullmatch(opcode.name):
            raise UnsafeFileError(f"a pickle with the opcode {opcode.name}")
        if count > MOST_OPCODES:
            raise UnsafeFileError(f"a pickle of more than {MOST_OPCODES} opcodes")
        if opcode.name in PLACES and not 0 <= int(argument or 0) <= count:
            raise UnsafeFileError(f"a pickle that asks for {argument} places")


def _with_checked_keys(opcode: bytes, begin: int | None) -> Callable[[Any], None]:
    """Look at keys before a mapping takes them.

    Args:
        opcode: What puts keys and values, which alternate on the stack above the last mark, into a mapping.
        begin: Where the first key lies on the stack.

    Returns:
        What an unpickler does on this opcode.
    """

    def check_and_load(unpickler: Any) -> None:
        _check_keys(unpickler.stack[begin::2])
        pickle._Unpickler.dispatch[opcode[0]](unpickler)

    return check_and_load


def _check_keys(keys: Iterable[Any]) -> None:
    """Refuse keys whose hash may take for ever.

    A tuple's walks through all that is in it, again and again, and so deep that it can overrun the process's stack.

    Raises:
        UnsafeFileError: If there is one.
    """
    for key in keys:
        if isinstance(key, tuple) or (isinstance(key, int) and abs(key) > LARGEST_KEY):
            raise UnsafeFileError(f"a pickle of a mapping with such a key: {type(key).__name__}")


class _InertUnpickler(pickle._Unpickler):
    """Finds stand-ins only, and looks at keys. The one that is written in Python: C's asks nobody about keys."""

    dispatch: ClassVar[dict[int, Any]] = {
        **pickle._Unpickler.dispatch,
        pickle.SETITEM[0]: _with_checked_keys(pickle.SETITEM, -2),
        pickle.SETITEMS[0]: _with_checked_keys(pickle.SETITEMS, None),
        pickle.DICT[0]: _with_checked_keys(pickle.DICT, None),
    }

    def __init__(self, content: bytes, known: Mapping[tuple[str, str], Any], persistent: Persistent | None) -> None:
        super().__init__(io.BytesIO(content))
        self._known, self._persistent = known, persistent

    def find_class(self, module: str, name: str) -> Any:
        """Look a name up.

        Raises:
            UnsafeFileError: If nothing stands for it.
        """
        if (module, name) not in self._known:
            raise UnsafeFileError(f"a pickle that names {module}.{name}")
        return self._known[module, name]

    def persistent_load(self, pid: Any) -> Any:
        """Look up what is kept outside.

        Raises:
            UnsafeFileError: If nothing may be.
        """
        if self._persistent is None:
            raise UnsafeFileError("a pickle that refers to something outside")
        return self._persistent(pid)
