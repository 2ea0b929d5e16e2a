"""Tests of `benchmark/speed/measure.py`; a whole process of it runs in `test_execution.py`."""

import json
import os

import pytest
import torch as th

from sb3_ppo_scratch.benchmark.speed.measure import THREAD_VARIABLES, main


def test_the_last_line_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--workload", "cartpole", "--competitor", "stepping", "--set", "n_envs=1", "--set", "steps=64"])
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (figures["steps"], figures["updating"]) == (64, 0.0)


def test_threads_are_those_of_torch_and_blas(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in THREAD_VARIABLES:
        monkeypatch.setenv(name, "5")
    before = th.get_num_threads()
    try:
        main(["--workload", "cartpole", "--competitor", "stepping", "--threads", "2", "--set", "steps=256"])
        assert [os.environ[name] for name in THREAD_VARIABLES] == ["2"] * len(THREAD_VARIABLES)
    finally:
        th.set_num_threads(before)
    assert json.loads(capsys.readouterr().out)["torch_threads"] == 2


def test_unknown_setting_is_refused() -> None:
    with pytest.raises(TypeError, match="does not know `size`"):
        main(["--workload", "cartpole", "--competitor", "stock", "--set", "size=3"])
