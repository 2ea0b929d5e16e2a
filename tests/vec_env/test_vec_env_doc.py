"""The Python of `docs/vec_env.md` runs, with fewer steps, and its YAML says what exists."""

import inspect
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from sb3_ppo_scratch.vec_env import EnvPoolVecEnv, rebuild_sharded
from sb3_ppo_scratch.zoo.wrapper_lists import entries, resolve

TEXT = (Path(__file__).parents[2] / "docs" / "vec_env.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", TEXT, flags=re.DOTALL)


@pytest.mark.parametrize("code", blocks("python"), ids=["sharded", "envpool"])
def test_python_runs(code: str) -> None:
    if "EnvPool" in code:
        pytest.importorskip("envpool")
    shortened = code.replace("env).learn(100_000)", "env, n_steps=32).learn(1)")
    assert shortened != code
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(shortened, names)
    names["env"].close()
    assert names["env"].num_envs == 16
    assert names["model"].num_timesteps == 16 * 32


def test_option_that_unbinds_envpools_threads_exists() -> None:
    pytest.importorskip("envpool")
    assert "`EnvPoolVecEnv(..., thread_affinity_offset=-1)`" in TEXT
    env = EnvPoolVecEnv("CartPole-v1", 2, thread_affinity_offset=-1)
    assert env._options_of_pool["thread_affinity_offset"] == -1
    env.close()


def test_yaml_names_a_function_and_its_arguments() -> None:
    [text] = blocks("yaml")
    [settings] = yaml.safe_load(text).values()
    [(path, keywords)] = entries(settings["vec_env_wrapper"])
    assert resolve(path) is rebuild_sharded
    assert set(keywords) <= set(inspect.signature(rebuild_sharded).parameters)
