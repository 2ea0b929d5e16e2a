"""Files that are made to do harm, out of one that is sound.

What is here: taking a file apart and putting it together otherwise. What is not: what is expected of the readers.
"""

import base64
import io
import json
import os
import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import cloudpickle
import torch as th

from sb3_ppo_scratch.checkpoints.state_tree import decode, encode

Change = Callable[[dict[str, bytes]], dict[str, bytes] | bytes]
DATA, DESCRIPTION, POLICY, OPTIMIZER = "data", "sb3_ppo_scratch/model.json", "policy.pth", "policy.optimizer.pth"


class RunsCode:
    """Runs a command when it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        """Say so."""
        return os.system, (f"touch {self.canary}",)


def members_of(file: bytes) -> dict[str, bytes]:
    """Take a zip file apart."""
    with zipfile.ZipFile(io.BytesIO(file)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def zipped(members: Mapping[str, bytes] | list[tuple[str | zipfile.ZipInfo, bytes]], compressed: str = "") -> bytes:
    """Put members together, one of them compressed."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items() if isinstance(members, Mapping) else members:
            kind = zipfile.ZIP_DEFLATED if name == compressed else zipfile.ZIP_STORED
            archive.writestr(name, content, compress_type=kind)
    return file.getvalue()


def edit_json(members: dict[str, bytes], name: str, **changes: Any) -> dict[str, bytes]:
    """Change a member that is JSON."""
    return {**members, name: json.dumps({**json.loads(members[name]), **changes}).encode()}


def edit_description(members: dict[str, bytes], **changes: Any) -> dict[str, bytes]:
    """Describe attributes otherwise."""
    content = json.loads(members[DESCRIPTION])
    described = decode(content["described"], base64.b64decode(content["arrays"]))
    text, arrays = encode({**described, **changes})
    return edit_json(members, DESCRIPTION, described=text, arrays=base64.b64encode(arrays).decode())


def pickled_setting(members: dict[str, bytes], name: str, canary: Path) -> dict[str, bytes]:
    """Let SB3's member hold a pickle that runs code."""
    code = base64.b64encode(cloudpickle.dumps(RunsCode(canary))).decode()
    return edit_json(members, DATA, **{name: {":type:": "x", ":serialized:": code}})


def torch_file(content: Any) -> bytes:
    """Write a file as torch does."""
    file = io.BytesIO()
    th.save(content, file)
    return file.getvalue()


def policy_of(members: Mapping[str, bytes]) -> "OrderedDict[str, th.Tensor]":
    """Read the sound file's parameters."""
    policy: OrderedDict[str, th.Tensor] = th.load(io.BytesIO(members[POLICY]))
    return policy


def with_pickle(members: dict[str, bytes], content: bytes, name: str = POLICY) -> dict[str, bytes]:
    """Replace the pickle in a file of torch's."""
    inner = members_of(members[name])
    folder = next(iter(inner)).partition("/")[0]
    return {**members, name: zipped({**inner, f"{folder}/data.pkl": content})}


def pickle_of(members: Mapping[str, bytes], name: str = POLICY) -> bytes:
    """Read the pickle in a file of torch's."""
    inner = members_of(members[name])
    return next(content for inner_name, content in inner.items() if inner_name.endswith("/data.pkl"))


def laughing_pickle(depth: int = 60) -> bytes:
    """Write a list that holds another one twice, and so on."""
    content: list[Any] = [1]
    for _ in range(depth):
        content = [content, content]
    return pickle.dumps({"a": content}, protocol=2)


def places_pickle() -> bytes:
    """Write a pickle that asks for two billion places."""
    return b"\x80\x02}r" + struct.pack("<I", 2**31 - 1) + b"."


def bytes_pickle() -> bytes:
    """Write a pickle that announces a terabyte of bytes."""
    return b"\x80\x04\x8e" + struct.pack("<Q", 2**40) + b"x."


def link(name: str = "policy.pth2") -> zipfile.ZipInfo:
    """Describe a symbolic link."""
    info = zipfile.ZipInfo(name)
    info.external_attr = 0o120777 << 16
    return info
