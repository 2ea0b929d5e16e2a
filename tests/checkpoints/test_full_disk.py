"""Tests of training on a disk that fills up, in a process of its own: a small one, or a limit on files' sizes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

TRAIN = """
import json, resource, signal, sys, warnings
from pathlib import Path
from stable_baselines3.common.callbacks import EveryNTimesteps, ConvertCallback
from sb3_ppo_scratch import PPOScratch
from sb3_ppo_scratch.callbacks import SaveCheckpoints
from sb3_ppo_scratch.checkpoints.checkpoint_file import read_checkpoint

folder, how = Path(sys.argv[1]), sys.argv[2]

def leave_no_room(*_):
    if how == "limit":
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        return True
    try:
        with (folder / "ballast").open("wb", buffering=0) as file:
            while file.write(bytes(4096)):
                pass
    except OSError:
        return True

with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    model = PPOScratch("MlpPolicy", "CartPole-v1", n_steps=16, batch_size=16, n_epochs=1)
    full = EveryNTimesteps(25, ConvertCallback(leave_no_room))
    model.learn(64, callback=[full, SaveCheckpoints(10, folder, keep=9)])
failures = [str(each.message) for each in caught if "could not be written" in str(each.message)]
names = sorted(path.name for path in folder.iterdir() if path.name != "ballast")
steps = {name: read_checkpoint(folder / name)[1]["counters"]["num_timesteps"] for name in names}
print(json.dumps({"steps": model.num_timesteps, "failures": failures, "files": steps}))
"""
ON_A_SMALL_DISK = 'mount -t tmpfs -o size=4m tmpfs "$1" && exec "$2" -c "$3" "$1" disk'
"""Run by a shell that may mount, since it is root in a namespace of its own."""


OWN_ROOT = ("unshare", "--user", "--map-root-user", "--mount", "sh", "-c")


def may_mount(folder: Path) -> bool:
    """Tell whether a small disk can be mounted in a namespace of one's own."""
    try:
        mount = subprocess.run([*OWN_ROOT, 'mount -t tmpfs tmpfs "$1"', "sh", str(folder)], check=False)
    except OSError:
        return False
    return mount.returncode == 0


@pytest.mark.slow
def test_a_full_disk_ends_no_run_and_leaves_what_was_written(tmp_path: Path) -> None:
    if may_mount(tmp_path):
        command, error = [*OWN_ROOT, ON_A_SMALL_DISK, "sh", str(tmp_path), sys.executable, TRAIN], "No space left"
    else:
        command, error = [sys.executable, "-c", TRAIN, str(tmp_path), "limit"], "File too large"
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["steps"] == 64
    assert found["files"] == {"rl_model_10_steps.zip": 10, "rl_model_20_steps.zip": 20}
    assert [error in failure and "training goes on" in failure for failure in found["failures"]] == [True] * 4
