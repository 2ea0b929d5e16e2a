"""Mutations of files that keep so much of their structure that readers look at the rest.

A byte changed in a zip file fails at its CRC, one in a checkpoint at its digest; here members are changed and the file
is put together again around them.

What is here: mutations of zip files, checkpoints, JSON and pickles. What is not: those of plain bytes, which the fuzzer
has of its own.
"""

import base64
import hashlib
import json
import pickletools
import random
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from sb3_ppo_scratch.checkpoints.checkpoint_file import DIGEST, STATE
from tests.untrusted.hostile import members_of, zipped

Plain = Callable[[bytes], bytes]
"""A mutation of bytes that have no structure."""
VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 255, 2**31, 2**63, -(2**63), 2**200, 1e308, float("nan"), float("inf"), "", "<f4",
    "|b1", "dict", "list", "array", "generator", "\ud800", [], {}, [[]], [0] * 70, [1, 2, 3],
)  # fmt: skip
"""What is put in the place of values in JSON."""
OPCODES = (
    b"(", b".", b"0", b"1", b"2", b"N", b"}", b"]", b")", b"t", b"\x85", b"\x86", b"\x87", b"l", b"d", b"a", b"e", b"s",
    b"u", b"b", b"R", b"\x81", b"\x93", b"\x94", b"Q", b"h\x00", b"h\x05", b"K\x01", b"K\xff", b"X\x01\x00\x00\x00a",
    b"\x8a\x09\x00\x00\x00\x00\x00\x00\x00\x00\x01", b"r\xff\xff\xff\x7f", b"cos\nsystem\n", b"C\x02ab",
)  # fmt: skip
"""What is put into pickles."""
MOST_MEMBERS = 64
RAW = 0.1
"""Share of mutations that know nothing of the structure."""


def mutated(file: bytes, rng: random.Random, plain: Plain) -> bytes:
    """Change a file.

    Args:
        file: A zip file, JSON, a pickle or anything else.
        rng: Says where and how.
        plain: Changes what has no structure.

    Returns:
        Another file of the same kind, or nearly.
    """
    if rng.random() >= RAW:
        for kind in (_with_other_member, _with_other_value, _with_other_opcodes):
            with suppress(Exception):  # it is of another kind, or damaged
                return kind(file, rng, plain)
    return plain(file)


def _with_other_member(file: bytes, rng: random.Random, plain: Plain) -> bytes:
    """Change a member of a zip file, or which there are."""
    members = list(members_of(file).items())
    place = rng.randrange(len(members))
    name, content = members[place]
    what = rng.random()
    if what < 0.85:
        members[place] = (name, mutated(content, rng, plain))
    elif what < 0.9:
        del members[place]
    elif what < 0.95:
        members[place] = (plain(name.encode()).decode(errors="replace"), content)
    elif len(members) < MOST_MEMBERS:
        members.append((name, rng.choice(members)[1]))
    return sealed(members) if rng.random() >= RAW else zipped(members)


def sealed(members: list[tuple[str, bytes]]) -> bytes:
    """Put members together, a checkpoint's with digests that are right.

    Args:
        members: Names and contents.

    Returns:
        The zip file.
    """
    run = dict(members).get(STATE)
    if run is None:
        return zipped(members)
    content = json.loads(run)
    content["sha256"] = {name: hashlib.sha256(each).hexdigest() for name, each in members if name != STATE}
    run = json.dumps(content).encode()
    file = zipped([(name, run if name == STATE else each) for name, each in members])
    return with_comment(file, DIGEST + hashlib.sha256(run).hexdigest().encode())


def with_comment(file: bytes, comment: bytes) -> bytes:
    """Give a zip file a comment; it ends with the comment's length, 0, so far."""
    return file[:-2] + len(comment).to_bytes(2, "little") + comment


def _with_other_value(file: bytes, rng: random.Random, plain: Plain) -> bytes:
    """Change a value in JSON; what follows JSON, as arrays follow a state, stays."""
    text = file.decode()
    value, end = json.JSONDecoder().raw_decode(text)
    if not isinstance(value, dict | list):
        raise ValueError("a single value")
    return (json.dumps(_other_value(value, rng, plain)) + text[end:]).encode()


def _other_value(value: Any, rng: random.Random, plain: Plain) -> Any:
    """Change a value, or one inside of it."""
    if isinstance(value, dict | list) and value and rng.random() < 0.9:
        return _with_other_part(value, rng, plain)
    if isinstance(value, str) and rng.random() < 0.7:
        return _other_text(value, rng, plain)
    if type(value) is int and rng.random() < 0.5:
        return value + rng.choice((-1, 1, 8, -value, value, 1 << 40))
    return rng.choice(VALUES)


def _with_other_part(value: Any, rng: random.Random, plain: Plain) -> Any:
    """Change, remove or repeat an entry of a list or dict."""
    made = value.copy()
    key = rng.choice(list(made)) if isinstance(made, dict) else rng.randrange(len(made))
    what = rng.random()
    if what < 0.8:
        made[key] = _other_value(made[key], rng, plain)
    elif what < 0.87:
        del made[key]
    elif isinstance(made, list):
        made.insert(key, rng.choice([made[rng.randrange(len(made))], *VALUES]))
    else:
        made[plain(key.encode()).decode(errors="replace")] = made[key]
    return made


def _other_text(text: str, rng: random.Random, plain: Plain) -> str:
    """Change text, which may be JSON or bytes in text itself."""
    if text[:1] in ("[", "{"):
        return mutated(text.encode(), rng, plain).decode(errors="replace")
    if len(text) > 100 and len(text) % 4 == 0:
        return base64.b64encode(plain(base64.b64decode(text))).decode()
    return plain(text.encode()).decode(errors="replace")


def _with_other_opcodes(file: bytes, rng: random.Random, plain: Plain) -> bytes:
    """Change, remove, repeat or add opcodes of a pickle."""
    if file[:1] != b"\x80":
        raise ValueError("no pickle")
    places = [place or 0 for _, _, place in pickletools.genops(file)]
    parts = [file[begin:end] for begin, end in zip(places, [*places[1:], len(file)], strict=True)]
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        place = rng.randrange(len(parts))
        what = rng.random()
        if what < 0.6:
            parts[place] = parts[place][:1] + plain(parts[place][1:]) if len(parts[place]) > 1 else rng.choice(OPCODES)
        elif what < 0.7:
            parts.insert(place, rng.choice(OPCODES))
        elif what < 0.8:
            parts.insert(place, rng.choice(parts))
        elif what < 0.9:
            parts[place] = rng.choice(parts)
        elif len(parts) > 1:
            del parts[place]
    return b"".join(parts)
