"""Files that are made to do harm: none runs code, takes memory, or fails without saying why."""

import io
import pickle
import pickletools
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch as th
from stable_baselines3 import A2C, DQN, PPO

from sb3_ppo_scratch import PPOScratch, ReinforceScratch
from sb3_ppo_scratch.__main__ import main
from sb3_ppo_scratch.errors import ArgumentError
from sb3_ppo_scratch.zip_members import UnsafeFileError
from tests.limits import little_memory
from tests.untrusted.hostile import (
    DATA,
    DESCRIPTION,
    OPTIMIZER,
    POLICY,
    RunsCode,
    bytes_pickle,
    edit_description,
    edit_json,
    laughing_pickle,
    link,
    members_of,
    pickle_of,
    pickled_setting,
    places_pickle,
    policy_of,
    torch_file,
    with_pickle,
    zipped,
)

Members = dict[str, bytes]
Make = Callable[[Members, Path], Members | bytes | list[Any]]


@pytest.fixture(scope="module")
def sound() -> Members:
    """The members of a sound file."""
    model = PPOScratch("MlpPolicy", "CartPole-v1", n_steps=16, batch_size=16, seed=1, policy_kwargs={"net_arch": [8]})
    file = io.BytesIO()
    model.learn(16).save(file)
    file.seek(0)
    PPOScratch.load(file, trusted=False)  # what Python and torch load once is no memory that a file takes
    return members_of(file.getvalue())


def made(name: str, **fields: Any) -> dict[str, Any]:
    """Describe an object."""
    return {"an object of": name, **fields}


def box(*shape: int) -> dict[str, Any]:
    """Describe a Box of any shape."""
    return made("gymnasium.spaces.box.Box", low=0.0, high=1.0, shape=shape, dtype="<f4")


def class_named(name: str) -> dict[str, Any]:
    """Describe a class."""
    return {"the class": name}


def with_memory(members: Members, n: int) -> Members:
    """Let the parameters' memory claim another size."""
    pickled = pickle_of(members)
    opcodes = list(pickletools.genops(pickled))
    first = next(index for index, (opcode, _, _) in enumerate(opcodes) if opcode.name == "BINPERSID")
    begin, end = next(
        (opcodes[index][2], opcodes[index + 1][2])
        for index in reversed(range(first))
        if opcodes[index][0].name in ("BININT1", "BININT2", "BININT")
    )
    return with_pickle(members, pickled[:begin] + b"J" + struct.pack("<i", n) + pickled[end:])


def strided(members: Members) -> Members:
    """Let a tensor be larger than its memory."""
    policy = policy_of(members)
    policy["action_net.weight"] = th.zeros(1).expand(2**30, 8)
    return {**members, POLICY: torch_file(policy)}


def with_shape(members: Members, name: str, *shape: int) -> Members:
    """Give a parameter another shape."""
    return {**members, POLICY: torch_file({**policy_of(members), name: th.zeros(shape)})}


def with_optimizer_shape(members: Members) -> Members:
    """Give Adam's state another shape."""
    state = th.load(io.BytesIO(members[OPTIMIZER]))
    state["state"][0]["exp_avg"] = th.zeros(3, 3)
    return {**members, OPTIMIZER: torch_file(state)}


def saved(algorithm: type[Any], path: Path, **arguments: Any) -> bytes:
    """Save another algorithm's model."""
    algorithm("MlpPolicy", "CartPole-v1", **arguments).save(path)
    return path.with_suffix(".zip").read_bytes()


def overlapping(members: Members) -> bytes:
    """Let two names share their bytes."""
    file = bytearray(zipped({"a" * 40: b"x" * 100, **members}))
    first, second = (file.find(b"PK\x01\x02", place) for place in (0, file.find(b"PK\x01\x02") + 1))
    file[second + 42 : second + 46] = file[first + 42 : first + 46]
    return bytes(file)


HOSTILE: dict[str, tuple[Make, str]] = {
    # code
    "code in a setting": (
        lambda m, c: pickled_setting(m, "seed", c),
        r"`seed` \(not described\) can only be unpickled",
    ),
    "code in a setting of one's own": (lambda m, c: pickled_setting(m, "mine", c), "`mine` .* can only be unpickled"),
    "code in the parameters": (
        lambda m, c: with_pickle(m, pickle.dumps(RunsCode(c), protocol=2)),
        "a pickle that names posix.system",
    ),
    "code in the optimiser": (
        lambda m, c: with_pickle(m, b"cbuiltins\neval\n(X\x01\x00\x00\x001tR.", OPTIMIZER),
        r"a pickle that names builtins\.eval",
    ),
    "code by an old opcode": (lambda m, c: with_pickle(m, b"(S'ls'\nios\nsystem\n."), "a pickle with the opcode"),
    # paths
    "a path upwards": (lambda m, c: {**m, "../../evil": b""}, r"'\.\./\.\./evil' points out of the file"),
    "a path from the root": (lambda m, c: {**m, "/etc/evil": b""}, "'/etc/evil' points out of the file"),
    "a path of Windows": (lambda m, c: {**m, "C:\\evil": b""}, "points out of the file"),
    # bombs
    "a compressed member": (lambda m, c: zipped({**m, "big": bytes(1 << 25)}, "big"), "'big' is compressed"),
    "compressed parameters": (
        lambda m, c: {
            **m,
            POLICY: zipped({**members_of(m[POLICY]), "archive/data/9": bytes(1 << 25)}, "archive/data/9"),
        },
        "'archive/data/9' is compressed",
    ),
    "members that share bytes": (lambda m, c: overlapping(m), "no sound zip file|claim"),
    "mostly nothing": (lambda m, c: bytes(64 << 20) + zipped(m), "its members have .* bytes, the file"),
    # pickles that take memory
    "a pickle with many places": (lambda m, c: with_pickle(m, places_pickle()), "asks for 2147483647 places"),
    "a pickle with many bytes": (lambda m, c: with_pickle(m, bytes_pickle()), "a damaged pickle"),
    "a pickle that doubles": (lambda m, c: with_pickle(m, laughing_pickle()), "hold each other over and over"),
    # shapes
    "parameters of another shape": (
        lambda m, c: with_shape(m, "action_net.weight", 3, 8),
        "size mismatch for action_net",
    ),
    "a parameter too many": (lambda m, c: with_shape(m, "more", 3), 'Unexpected key.*"more"'),
    "an optimiser of another shape": (lambda m, c: with_optimizer_shape(m), r"exp_avg of the shape \(3, 3\) for"),
    "spaces of another shape": (
        lambda m, c: edit_description(m, observation_space=box(7)),
        "size mismatch for mlp_extractor",
    ),
    # not whole
    "half of it": (lambda m, c: zipped(m)[: len(zipped(m)) // 2], "not a zip file"),
    "nothing": (lambda m, c: b"", "not a zip file"),
    "without its end": (lambda m, c: zipped(m)[:-30], "no model that SB3 has saved|not a zip file"),
    "a byte changed": (lambda m, c: zipped(m).replace(m[OPTIMIZER][200:300], bytes(100)), "Bad CRC-32"),
    "without parameters": (lambda m, c: {n: e for n, e in m.items() if n != POLICY}, "no member 'policy.pth'"),
    "without settings": (lambda m, c: {n: e for n, e in m.items() if n != DATA}, "no model that SB3 has saved"),
    "parameters cut off": (lambda m, c: {**m, POLICY: m[POLICY][:-100]}, "no sound zip file"),
    # others' files
    "stock PPO's": (lambda m, c: saved(PPO, c), "SB3 or an older version has saved it"),
    "A2C's": (lambda m, c: saved(A2C, c), "SB3 or an older version has saved it"),
    "DQN's": (lambda m, c: saved(DQN, c, buffer_size=100), "SB3 or an older version has saved it"),
    "REINFORCE's": (lambda m, c: saved(ReinforceScratch, c), "holds no model of PPOScratch"),
    "no zip": (lambda m, c: b"PK\x03\x04 and nothing more", "not a zip file"),
    # tensors that claim more than they have
    "a tensor larger than its memory": (lambda m, c: strided(m), "claims the shape"),
    "memory larger than its bytes": (
        lambda m, c: with_memory(m, 1 << 30),
        "a tensor claims .* bytes, of which .* are there",
    ),
    "a network that has no parameters": (
        lambda m, c: edit_json(m, DATA, policy_kwargs={"net_arch": [20000, 20000]}),
        "ask for .* elements that its parameters have not",
    ),
    "a network of endless width": (
        lambda m, c: edit_json(m, DATA, policy_kwargs={"net_arch": [10**12]}),
        "ask for 1000000000000, but it has no",
    ),
    "a network of endless depth": (
        lambda m, c: edit_json(m, DATA, policy_kwargs={"net_arch": [1] * 100_000}),
        "more than .* settings for",
    ),
    "a space without end": (
        lambda m, c: edit_description(m, observation_space=box(1 << 20, 1 << 20)),
        "its spaces claim 10995116277.. numbers",
    ),
    "actions without end": (
        lambda m, c: edit_description(
            m, action_space=made("gymnasium.spaces.discrete.Discrete", n=1 << 40, start=0, dtype="<i8")
        ),
        "its spaces claim 10995116277.. numbers",
    ),
    # twice
    "settings twice": (lambda m, c: [*m.items(), (DATA, b"{}")], "'data' is there twice"),
    "parameters twice": (lambda m, c: [*m.items(), (POLICY, m[POLICY])], "'policy.pth' is there twice"),
    "a description twice": (lambda m, c: [*m.items(), (DESCRIPTION, b"{}")], "is there twice"),
    # odd members
    "a link": (lambda m, c: [*m.items(), (link(), b"/etc/passwd")], "'policy.pth2' is a link"),
    "a link in the parameters": (
        lambda m, c: {**m, POLICY: zipped([*members_of(m[POLICY]).items(), (link("archive/x"), b"/")])},
        "'archive/x' is a link",
    ),
    "a folder": (lambda m, c: {**m, "folder/": b""}, "'folder/' is a folder"),
    # JSON
    "settings that are no JSON": (lambda m, c: {**m, DATA: b"{"}, "'data' is no JSON"),
    "settings that are a list": (lambda m, c: {**m, DATA: b"[1]"}, "'data' is no mapping"),
    "settings without end": (lambda m, c: {**m, DATA: b"[" * 100_000}, "'data' is no JSON"),
    "large settings": (lambda m, c: {**m, DATA: b" " * (17 << 20)}, "'data' has 17825792 bytes"),
    "a description that is no JSON": (lambda m, c: {**m, DESCRIPTION: b"\xff"}, "is no JSON"),
    "a description of nothing": (lambda m, c: edit_json(m, DESCRIPTION, described="[]"), "not loaded"),
    "a description of another kind": (lambda m, c: edit_json(m, DESCRIPTION, format="x"), "of the format 'x'"),
    "a newer description": (lambda m, c: edit_json(m, DESCRIPTION, version=99), "written in format 99 by a newer"),
    # names
    "a class of anybody's": (
        lambda m, c: edit_description(m, policy_class=class_named("os.system")),
        "names 'os.system', which is none",
    ),
    "an object of anybody's": (
        lambda m, c: edit_description(m, clip_range=made("subprocess.Popen")),
        "names 'subprocess.Popen', which is none",
    ),
    "a class that is no policy": (
        lambda m, c: edit_description(m, policy_class=class_named("torch.nn.modules.activation.ReLU")),
        "its policy is a",
    ),
    # settings that mean harm
    "threads without end": (lambda m, c: edit_json(m, DATA, torch_threads="many"), "torch_threads"),
    "a rollout of nothing": (lambda m, c: edit_json(m, DATA, n_steps=0), "n_steps"),
    "a discount that is no number": (lambda m, c: edit_json(m, DATA, gamma=float("nan")), "gamma"),
    "a text for a number": (lambda m, c: edit_json(m, DATA, verbose="x"), "verbose"),
    "a negative count": (lambda m, c: edit_json(m, DATA, _n_updates=-1), "_n_updates"),
    "a window of nothing": (lambda m, c: edit_json(m, DATA, _stats_window_size=0), "_stats_window_size"),
}

SOUND = ("REINFORCE's",)
"""Files that are fine where nobody asks for PPO."""


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_refused_before_they_do_harm(name: str, sound: Members, tmp_path: Path) -> None:
    make, message = HOSTILE[name]
    path, canary = tmp_path / "model.zip", tmp_path / "canary"
    made = make(sound, canary)
    path.write_bytes(made if isinstance(made, bytes) else zipped(made))
    canary.unlink(missing_ok=True)
    error = ArgumentError if name in SOUND else UnsafeFileError
    with little_memory(), pytest.raises(error, match=message) as caught:
        PPOScratch.load(path, trusted=False)
    assert str(caught.value).startswith(str(path))
    assert not canary.exists()


@pytest.mark.parametrize("name", [name for name in list(HOSTILE)[::3] if name not in SOUND])
@pytest.mark.parametrize("command", ["show", "export"])
def test_no_command_runs_what_a_hostile_file_holds(
    command: str, name: str, sound: Members, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, canary = tmp_path / "model.zip", tmp_path / "canary"
    made = HOSTILE[name][0](sound, canary)
    path.write_bytes(made if isinstance(made, bytes) else zipped(made))
    canary.unlink(missing_ok=True)
    with little_memory():
        status = main([command, str(path), *(["--env", "CartPole-v1"] if command == "export" else [])])
    said = capsys.readouterr()
    assert status in (0, 2)
    assert command == "show" or status == 2
    assert (said.err.startswith("error: ") and said.err.count("\n") == 1) == (status == 2)
    assert not canary.exists()
