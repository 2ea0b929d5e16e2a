"""Files of `torch.save` that nobody vouches for.

What is here: showing that every tensor lies within the bytes that are there, before torch reads any, and writing the
file anew from what was looked at. torch reads the result with `weights_only=True`, but believes the sizes that a file
declares. What is not: whose tensors they are (`saved_model.py`).
"""

import functools
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from sb3_ppo_scratch.checkpoints.state_tree import LONGEST_AXIS, count_items
from sb3_ppo_scratch.untrusted.inert_pickle import MOST_OPCODES, Maker, Ordered, read_inertly
from sb3_ppo_scratch.zip_members import UnsafeFileError, read_members, write_members

ITEM_SIZES = {
    "ByteStorage": 1,
    "CharStorage": 1,
    "BoolStorage": 1,
    "ShortStorage": 2,
    "HalfStorage": 2,
    "BFloat16Storage": 2,
    "IntStorage": 4,
    "FloatStorage": 4,
    "LongStorage": 8,
    "DoubleStorage": 8,
}
"""Bytes of an element, by torch's name of the type."""
SMALLEST = 1 << 12
"""Bytes that a tensor may take whatever the file's size: torch's own small ones are shared."""


class Tensor(NamedTuple):
    """What a file says of a tensor."""

    shape: tuple[int, ...]
    n_bytes: int
    place: tuple[str, int]
    """Where its memory is; layers that are shared have several names for the same tensor."""


class _Storage(NamedTuple):
    """What a file says of the memory of a tensor."""

    key: str
    item_size: int
    n_items: int


def checked_tensors(file: bytes) -> tuple[bytes, Any]:
    """Check a file of `torch.save`.

    Args:
        file: All of it.

    Returns:
        The same written anew, and what it holds, with a `Tensor` in the place of each tensor.

    Raises:
        UnsafeFileError: If it holds anything but numbers, text, tensors and containers, or a tensor that is larger than
            its bytes.
    """
    members = read_members(file)
    folder = next(iter(members), "").partition("/")[0]
    pickled = members.get(f"{folder}/data.pkl")
    if pickled is None or any(not name.startswith(f"{folder}/") for name in members):
        raise UnsafeFileError("it is no file of torch.save")
    known: dict[tuple[str, str], Any] = {("torch", name): size for name, size in ITEM_SIZES.items()}
    known["collections", "OrderedDict"] = Ordered
    known["torch._utils", "_rebuild_tensor_v2"] = Maker(_tensor)
    known["torch._utils", "_rebuild_parameter"] = Maker(lambda tensor, _requires_grad, _hooks: tensor)
    content = read_inertly(pickled, known, functools.partial(_storage, members, folder))
    _check_total(content, len(file))
    return write_members(members), content


def _storage(members: Mapping[str, bytes], folder: str, pid: Any) -> _Storage:
    """Check the memory of a tensor against the bytes that are there.

    Raises:
        UnsafeFileError: If they do not fit.
    """
    kind, item_size, key, _, n_items = pid
    if kind != "storage" or type(item_size) is not int or type(n_items) is not int or type(key) is not str:
        raise UnsafeFileError("it refers to something that is no tensor")
    there = len(members.get(f"{folder}/data/{key}", b""))
    if n_items < 0 or n_items * item_size != there:
        raise UnsafeFileError(f"a tensor claims {n_items * item_size} bytes, of which {there} are there")
    return _Storage(key, item_size, n_items)


def _tensor(storage: _Storage, offset: int, shape: tuple[int, ...], stride: tuple[int, ...], *_: Any) -> Tensor:
    """Check a tensor against its memory.

    Raises:
        UnsafeFileError: If it reaches beyond it.
        StateError: If the shape is none.
    """
    if not isinstance(storage, _Storage) or len(shape) != len(stride):
        raise UnsafeFileError("it holds something that is no tensor")
    n_items = count_items(shape)
    if any(type(number) is not int or not 0 <= number <= LONGEST_AXIS for number in (offset, *stride)):
        raise UnsafeFileError("a tensor's elements lie nowhere")
    last = offset + sum((length - 1) * step for length, step in zip(shape, stride, strict=True))
    if n_items > storage.n_items or (n_items and last >= storage.n_items):
        raise UnsafeFileError(f"a tensor claims the shape {shape}, but has {storage.n_items} elements")
    return Tensor(tuple(shape), n_items * storage.item_size, (storage.key, offset))


def tensors_in(content: Any) -> Iterator[Tensor]:
    """List the tensors in what a file holds.

    Args:
        content: What `checked_tensors` has returned.

    Yields:
        Each.

    Raises:
        UnsafeFileError: If containers are in each other so often that there is no end.
    """
    left, n_seen = [content], 0
    while left:
        each = left.pop()
        n_seen += 1
        if n_seen > MOST_OPCODES:
            raise UnsafeFileError("its containers hold each other over and over")
        if isinstance(each, Tensor):
            yield each
        elif isinstance(each, dict):
            left.extend(each.values())
        elif isinstance(each, list | tuple):
            left.extend(each)


def _check_total(content: Any, size: int) -> None:
    """Refuse many tensors in the same bytes.

    Raises:
        UnsafeFileError: If all together are larger than the file.
    """
    total = sum(tensor.n_bytes for tensor in set(tensors_in(content)))
    if total > size + SMALLEST:
        raise UnsafeFileError(f"its tensors claim {total} bytes, more than the file's {size}")
