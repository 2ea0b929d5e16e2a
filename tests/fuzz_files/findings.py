"""Files that made a reader do what it must not; all readers have been mended since.

Each is as small as shows that: where such a file took hours or the whole memory, or ended the process, the one here
does a little of it, so that a reader that is broken again is only wrong.
"""

import base64
import io
import json
import pickle
import zipfile
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from tests.fuzz_files.seeds import seeds
from tests.fuzz_files.targets import SEPARATOR
from tests.untrusted.hostile import (
    DATA,
    DESCRIPTION,
    edit_description,
    laughing_pickle,
    members_of,
    policy_of,
    torch_file,
    with_pickle,
    zipped,
)

FUZZER, MUTATIONS, READING = "the fuzzer", "mutations of sound files", "reading the code"
BEGIN, END = b"\x80\x02", b"."
"""Of a pickle."""


class Finding(NamedTuple):
    """Such a file."""

    target: str
    make: Callable[[], bytes]
    harm: str
    """What it did."""
    said: str
    """What a reader says of it now, as a regular expression."""
    found_by: str


def pickled(value: Any) -> bytes:
    """Write the opcodes of a value, without begin and end."""
    return pickle.dumps(value, 2)[len(BEGIN) : -len(END)]


def named(name: str, arguments: bytes, state: bytes = b"") -> bytes:
    """Write the opcodes of an object: its class or function, its arguments, its state."""
    module, _, attribute = name.rpartition(".")
    return f"c{module}\n{attribute}\n(".encode() + arguments + b"tR" + (state + b"b" if state else b"")


def with_key(key: bytes) -> bytes:
    """Write a mapping with a key."""
    return BEGIN + b"}" + key + b"Ns" + END


def doubling_key() -> bytes:
    """Write a tuple that holds another one twice, and so on."""
    content: Any = (1,)
    for _ in range(18):
        content = (content, content)
    return with_key(pickled(content))


def statistics_of(kind: Any) -> bytes:
    """Write statistics whose numbers are of any type."""
    dtype = named("numpy.dtype", pickled(kind), b"(" + pickled(3) + pickled("<") + b"t")
    number = named("numpy.scalar", dtype + pickled("12345678"))
    entries = pickled("norm_obs") + b"\x89s" + pickled("clip_obs") + number + b"s" + pickled("epsilon") + number + b"s"
    return BEGIN + named("x.VecNormalize", b"", b"}" + entries) + END


def model_with(change: Callable[[dict[str, bytes]], dict[str, bytes]]) -> Callable[[], bytes]:
    """Change the members of a sound model."""
    return lambda: zipped(change(members_of(seeds("model")[2])))


def with_attributes(state: Any) -> bytes:
    """Write an OrderedDict with attributes of its own."""
    return BEGIN + named("collections.OrderedDict", b"", pickled(state)) + END


def changed_function() -> bytes:
    """Give torch's function other default arguments."""
    return BEGIN + b"ctorch._utils\n_rebuild_tensor_v2\n" + b"N" + pickled({"__defaults__": (1, 2)}) + b"\x86b" + END


def tensor_of_shape(members: dict[str, bytes], shape: bytes) -> dict[str, bytes]:
    """Let the parameters be one tensor of any shape."""
    members = {**members, "policy.pth": torch_file(policy_of(members))}
    name, content = next(each for each in members_of(members["policy.pth"]).items() if "/data/" in each[0])
    storage = pickled("storage") + b"ctorch\nFloatStorage\n" + pickled(name.rpartition("/")[2]) + pickled("cpu")
    place = b"(" + storage + pickled(len(content) // 4) + b"tQ"
    tensor = named("torch._utils._rebuild_tensor_v2", place + b"K\x00" + shape + shape)
    return with_pickle(members, BEGIN + b"}" + pickled("a") + tensor + b"s" + END)


def box(n: int) -> dict[str, Any]:
    """Describe a Box."""
    return {"an object of": "gymnasium.spaces.box.Box", "low": 0.0, "high": 1.0, "shape": [n], "dtype": "<f4"}


def without_arrays(members: dict[str, bytes]) -> dict[str, bytes]:
    """Leave a part of the description out."""
    content = json.loads(members[DESCRIPTION])
    del content["arrays"]
    return {**members, DESCRIPTION: json.dumps(content).encode()}


def state(text: str, arrays: bytes = b"") -> Callable[[], bytes]:
    """Write a state as its target reads it."""
    return lambda: text.encode() + SEPARATOR + arrays


def generator_at(place: int) -> bytes:
    """Let Mersenne's generator be where it has no numbers."""
    key = '["array","<u4",[624],0]'
    inner = f'["dict",["key",{key}],["pos",{place}]]'
    return state(
        f'["generator",["dict",["bit_generator","MT19937"],["state",{inner}]]]', np.ones(624, "<u4").tobytes()
    )()


def philox_at(place: int) -> bytes:
    """Let Philox be where it has no numbers."""
    arrays = [f'["array","<u8",[{n}],{at}]' for n, at in ((4, 0), (2, 32), (4, 48))]
    inner = f'["dict",["counter",{arrays[0]}],["key",{arrays[1]}]]'
    rest = f'["buffer",{arrays[2]}],["buffer_pos",{place}],["has_uint32",0],["uinteger",0]'
    text = f'["generator",["dict",["bit_generator","Philox"],["state",{inner}],{rest}]]'
    return state(text, bytes(80))()


def merged_settings() -> bytes:
    """Write mappings that take over another one twice, and so on."""
    lines = [f"a{i + 1}: &a{i + 1} {{<<: [*a{i}, *a{i}]}}\n" for i in range(16)]
    return "".join(["a0: &a0 {x: 1}\n", *lines]).encode()


def statistics_file(compression: int = zipfile.ZIP_STORED, *, claimed: int = 1) -> bytes:
    """Write an `.npz` file whose mean claims any number of elements."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, array in {"count": np.array(0), "mean": np.zeros(1), "var": np.ones(1)}.items():
            content = io.BytesIO()
            np.save(content, array)
            shape, other = b"(1,), }", b"(%d,), }" % claimed
            longer = other + b" " * 12
            header = content.getvalue().replace(shape + b" " * (len(longer) - len(shape)), longer)
            archive.writestr(f"{name}.npy", header if name == "mean" else content.getvalue())
    return file.getvalue()


def long_member() -> bytes:
    """Let a member claim more compressed bytes than there are."""
    file = bytearray(zipped({DATA: b"{}"}))
    place = file.find(b"PK\x01\x02") + 20
    file[place : place + 4] = (1 << 30).to_bytes(4, "little")
    return bytes(file)


def many_members() -> bytes:
    """Write a zip file of many members, the last of which is there twice."""
    return zipped([*((str(number), b"") for number in range(3000)), ("2999", b"")])


FINDINGS: dict[str, Finding] = {
    "keys of the same hash": Finding(
        "statistics",
        lambda: BEGIN + pickled({number * (2**61 - 1): None for number in range(2, 50)}) + END,
        "a mapping whose integers all have one hash took time that grows with their number squared",
        "a mapping with such a key: int",
        READING,
    ),
    "a key that doubles": Finding(
        "statistics",
        doubling_key,
        "a key, a tuple that holds a tuple twice and so on, took twice the time for each level to be hashed",
        "a mapping with such a key: tuple",
        READING,
    ),
    "a deep key": Finding(
        "statistics",
        lambda: with_key(b")" + b"\x85" * 20_000),
        "a key, tuples in each other, overran the stack: the process died",
        "a mapping with such a key: tuple",
        READING,
    ),
    "a type that doubles": Finding(
        "statistics",
        lambda: statistics_of(pickle.loads(laughing_pickle(10))),
        "the type of numbers, lists that hold each other twice, doubled in the error's text with each level",
        "no floating-point numbers",
        READING,
    ),
    "a function that is changed": Finding(
        "model",
        model_with(lambda members: with_pickle(members, changed_function())),
        "a pickle gave a function of ours other default arguments, for the rest of the process",
        "a pickle that changes a function",
        READING,
    ),
    "a mapping without its methods": Finding(
        "model",
        model_with(lambda members: with_pickle(members, with_attributes({"values": 1}))),
        "an OrderedDict's `values` was replaced, so that its tensors were not counted",
        "a pickle that changes an OrderedDict",
        READING,
    ),
    "a shape that doubles": Finding(
        "model",
        model_with(lambda members: tensor_of_shape(members, b"(" + pickled(pickle.loads(laughing_pickle(10))) + b"t")),
        "a tensor's shape, lists that hold each other twice, doubled in the error's text with each level",
        "no shape that an array can have",
        READING,
    ),
    "a tensor of endless axes": Finding(
        "model",
        model_with(lambda members: tensor_of_shape(members, b"(" + b"K\x09" * 500 + b"t")),
        "a tensor's axes took time that grows with their number squared to be multiplied",
        "no shape that an array can have",
        READING,
    ),
    "spaces of less than nothing": Finding(
        "model",
        model_with(lambda members: edit_description(members, observation_space=[box(1 << 23), box(-(1 << 23))])),
        "a space of a negative size made up for another one of any size",
        "no shape that an array can have",
        READING,
    ),
    "a description without arrays": Finding(
        "model",
        model_with(without_arrays),
        "`read_model` let a KeyError through, and the message was the key",
        "its description is damaged: KeyError 'arrays'",
        READING,
    ),
    "settings in another encoding": Finding(
        "model",
        model_with(lambda members: {**members, DATA: json.dumps({}).encode("utf-32-le")}),
        "the encoding of JSON was guessed, and a module imported for it",
        "is no JSON",
        FUZZER,
    ),
    "arrays of the same bytes": Finding(
        "state",
        state(json.dumps(["list", *[["array", "|u1", [1000], 0]] * 5]), bytes(1000)),
        "any number of arrays were copies of the same bytes",
        "an array of 1000 bytes at 0 in 1000",
        READING,
    ),
    "an array of endless axes": Finding(
        "state",
        state(json.dumps(["array", "|u1", [9] * 500, 0])),
        "an array's axes took time that grows with their number squared to be multiplied",
        "no shape that an array can have",
        READING,
    ),
    "a generator behind its numbers": Finding(
        "state",
        lambda: generator_at(625),
        "NumPy's MT19937 read memory that is not its own: the process died",
        "draws from outside of its memory",
        READING,
    ),
    "a generator before its numbers": Finding(
        "state",
        lambda: philox_at(-1),
        "NumPy's Philox read memory that is not its own: the process died",
        "draws from outside of its memory",
        READING,
    ),
    "settings without end": Finding(
        "settings",
        lambda: b"a: 1" + bytes(1 << 17).replace(b"\0", b" "),
        "a number to the base 60 took time that grows with its length squared",
        "more than 131072 bytes",
        READING,
    ),
    "settings that merge": Finding(
        "settings",
        merged_settings,
        "mappings that merge each other doubled in time and memory with each line",
        "more than 65536 entries",
        READING,
    ),
    "settings in each other": Finding(
        "settings", lambda: b"[" * 1000, "lists in each other raised RecursionError", "is damaged", READING
    ),
    "a truth that is none": Finding(
        "settings", lambda: b"a: !!bool maybe", "a word that is no truth value raised KeyError", "is damaged", READING
    ),
    "a date that is none": Finding(
        "settings",
        lambda: b"a: !!timestamp then",
        "a word that is no date raised AttributeError",
        "is damaged",
        READING,
    ),
    "an empty number": Finding(
        "settings", lambda: b"a: !!int ''", "an empty number raised IndexError", "is damaged", READING
    ),
    "a mean of a terabyte": Finding(
        "moments",
        lambda: statistics_file(claimed=1 << 37),
        "a mean that claims a terabyte got its memory before its bytes were looked for",
        "claims the shape",
        READING,
    ),
    "compressed statistics": Finding(
        "moments",
        lambda: statistics_file(zipfile.ZIP_DEFLATED),
        "compressed statistics could take a thousand times the file's size",
        "is compressed",
        READING,
    ),
    "many members": Finding(
        "zip",
        many_members,
        "a name that is there twice took time that grows with the number of members squared to be found",
        "'2999' is there twice",
        READING,
    ),
    "a member of two sizes": Finding(
        "zip",
        long_member,
        "`read_saved_settings` asked for as much memory as a member's second size claims",
        "has two sizes",
        FUZZER,
    ),
    "settings cut off": Finding(
        "zip",
        lambda: zipped({DATA: b"{"}),
        "`read_saved_settings` let JSON's error through, which names no file",
        "is no zip file that SB3 has saved a model in",
        MUTATIONS,
    ),
    "a name that is no text": Finding(
        "zip",
        lambda: base64.b64decode(
            "UEsDBBQAAAgAAGWwdV3FbFvEIQAAACEAAAADAAAA77+9AgAAAAAAAAACAAAAAAAAAP////////////9/////////UEsBAhQDFAAA"
            "CAAAZbB1XcVsW8QhAAAAIQAAAAMAAAAA77+9AgAAAAAAAAACAAAAvVBLBQYAAAAAAQABADEAAABCAAAAAAA="
        ),
        "`read_whole` let UnicodeDecodeError through",
        "it is no sound zip file",
        FUZZER,
    ),
}
"""By what they are."""
