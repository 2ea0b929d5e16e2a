"""What holds for every exported wrapper."""

import copy
import inspect
import json
import pickle
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import pytest
import yaml
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils.env_checker import check_env as check_env_of_gymnasium
from stable_baselines3.common.env_checker import check_env as check_env_of_sb3
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv

from sb3_ppo_scratch import wrappers
from sb3_ppo_scratch.wrappers import BinAction, NormalizeObservation, RunningMoments, ScaleReward
from tests.wrappers.scripted_env import ScriptedEnv

pytestmark = pytest.mark.usefixtures("no_earlier_wrapper")

FOLDER = Path(inspect.getfile(wrappers)).parent
PENDULUM = gym.spaces.Box(-2.0, 2.0, (1,), np.float32)


class Case(NamedTuple):
    """A wrapper and the keyword arguments that a YAML file could hold, for Pendulum."""

    wrapper: type[gym.Wrapper[Any, Any, Any, Any]]
    kwargs: dict[str, Any]


CASES = {
    "scale": Case(ScaleReward, {"scale": 0.1}),
    "fixed": Case(NormalizeObservation, {"mean": [0.1, 0.0, 0.0], "std": [0.7, 0.7, 3.0], "clip": 5.0}),
    "running": Case(NormalizeObservation, {}),
    "bins": Case(BinAction, {"bins": [[-2.0, 0.0, 0.5, 2.0]]}),
    "flat": Case(BinAction, {"bins": 5, "flat": True}),
}
# Running statistics of one's own allow one living environment only.
STATELESS = [name for name in CASES if name != "running"]


def make(name: str, env: gym.Env[Any, Any] | None = None) -> gym.Env[Any, Any]:
    case = CASES[name]
    return case.wrapper(gym.make("Pendulum-v1") if env is None else env, **case.kwargs)


def make_scripted(name: str, **kwargs: Any) -> gym.Env[Any, Any]:
    """A short scripted episode in spaces that suit the case."""
    return make(name, ScriptedEnv(np.arange(9.0).reshape(3, 3), action_space=PENDULUM, **kwargs))


def play(env: gym.Env[Any, Any], n_steps: int = 30) -> list[Any]:
    """What an environment answers to the same seed and the same actions, with the episode's end."""
    env.action_space.seed(1)
    observation, _ = env.reset(seed=1)
    answers: list[Any] = [observation.tolist()]
    for _ in range(n_steps):
        observation, *rest = env.step(env.action_space.sample())
        answers.append([observation.tolist(), *rest])
    return answers


def test_every_exported_wrapper_is_covered_here():
    exported = {getattr(wrappers, name) for name in wrappers.__all__}
    assert {case.wrapper for case in CASES.values()} | {RunningMoments} == exported


@pytest.mark.parametrize("name", CASES)
def test_checker_of_gymnasium_accepts_it(name):
    env = make(name)
    if name == "running":
        # The checker expects the same observation for the same seed, which learning statistics cannot give.
        play(env)
        env.freeze()
    with warnings.catch_warnings():
        # The checker prefers bare environments.
        warnings.simplefilter("ignore")
        check_env_of_gymnasium(env, skip_render_check=True)
    assert env.reset(seed=0)[0] in env.observation_space


@pytest.mark.parametrize("name", CASES)
def test_checker_of_sb3_accepts_it_without_a_warning(name):
    env = make(name)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # SB3 recommends a symmetric, normalised Box for actions; Pendulum's own is Box(-2, 2).
        warnings.filterwarnings("ignore", message="We recommend you to use a symmetric and normalized")
        check_env_of_sb3(env)
    assert env.action_space.sample() in env.action_space


@pytest.mark.parametrize("name", CASES)
def test_spec_survives_json_and_rebuilds_an_equal_env(name):
    original = make(name)
    spec = EnvSpec.from_json(original.spec.to_json())
    assert spec == original.spec
    expected_answers, expected_spaces = play(original), (original.observation_space, original.action_space)
    del original
    rebuilt = gym.make(spec)
    assert type(rebuilt) is CASES[name].wrapper
    assert (rebuilt.observation_space, rebuilt.action_space) == expected_spaces
    assert play(rebuilt) == expected_answers


@pytest.mark.parametrize("name", STATELESS)
def test_spec_records_every_argument_of_the_constructor(name):
    kwargs = json.loads(make(name).spec.to_json())["additional_wrappers"][-1]["kwargs"]
    parameters = set(inspect.signature(CASES[name].wrapper.__init__).parameters) - {"self", "env"}
    assert set(kwargs) == parameters
    assert {key: kwargs[key] for key in CASES[name].kwargs} == CASES[name].kwargs


def test_chain_of_all_three_survives_json():
    env = make("scale", make("fixed", make("bins")))
    rebuilt = gym.make(EnvSpec.from_json(env.spec.to_json()))
    assert str(rebuilt) == str(env)
    assert play(rebuilt) == play(env)


@pytest.mark.parametrize("name", CASES)
def test_seed_and_options_reach_the_env_and_its_info_comes_back(name):
    env = make_scripted(name)
    _, info = env.reset(seed=7, options={"wind": 3})
    env.reset()
    assert env.unwrapped.received_resets == [(7, {"wind": 3}), (None, None)]
    assert info == {"reset": True}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize(
    ("ending", "expected"), [("terminated", (True, False)), ("truncated", (False, True)), ("both", (True, True))]
)
def test_termination_and_truncation_pass_unchanged(name, ending, expected):
    env = make_scripted(name, ending=ending)
    env.reset()
    flags = [env.step(env.action_space.sample())[2:4] for _ in range(2)]
    assert flags == [(False, False), expected]


@pytest.mark.parametrize("name", CASES)
def test_time_limit_below_still_truncates(name):
    env = make(name, gym.make("Pendulum-v1", max_episode_steps=3))
    flags = [answer[2:4] for answer in play(env, 3)[1:]]
    assert flags == [[False, False], [False, False], [False, True]]


@pytest.mark.parametrize("name", CASES)
def test_monitor_inside_logs_the_raw_return_and_length(name):
    env = make(name, Monitor(ScriptedEnv(np.arange(9.0).reshape(3, 3), [10.0, 20.0], action_space=PENDULUM)))
    assert play(env, 2)[-1][-1]["episode"]["r"] == 30.0
    assert env.get_wrapper_attr("get_episode_lengths")() == [2]


@pytest.mark.parametrize("name", CASES)
def test_monitor_outside_logs_what_comes_out(name):
    env = Monitor(make_scripted(name, rewards=[10.0, 20.0]))
    answers = play(env, 2)
    assert answers[-1][-1]["episode"]["r"] == pytest.approx(sum(answer[1] for answer in answers[1:]))
    assert env.get_episode_lengths() == [2]


@pytest.mark.parametrize("name", STATELESS)
@pytest.mark.parametrize("vectorise", [DummyVecEnv, lambda fns: SubprocVecEnv(fns, start_method="fork")])
def test_vectorised_envs_give_what_single_ones_give(name, vectorise: Callable[..., Any]):
    vec_env = vectorise([lambda: Monitor(make(name)), lambda: make(name, Monitor(gym.make("Pendulum-v1")))])
    single = make(name)
    vec_env.seed(3)
    actions = [single.action_space.sample() for _ in range(5)]
    observations = [vec_env.reset(), *(vec_env.step([action, action])[0] for action in actions)]
    vec_env.close()
    for index in range(2):
        expected = [single.reset(seed=3 + index)[0], *(single.step(action)[0] for action in actions)]
        assert [observation[index].tolist() for observation in observations] == [o.tolist() for o in expected]


@pytest.mark.parametrize("name", STATELESS)
@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env))])
def test_copied_env_answers_like_its_original(name, duplicate):
    original = make(name)
    assert play(duplicate(original)) == play(original)


@pytest.mark.parametrize("name", CASES)
def test_rl_zoo3_builds_it_from_yaml(name):
    from rl_zoo3.utils import get_wrapper_class

    case = CASES[name]
    entry = f"sb3_ppo_scratch.wrappers.{case.wrapper.__name__}"
    text = yaml.safe_dump({"env_wrapper": [{entry: case.kwargs}]})
    env = get_wrapper_class(yaml.safe_load(text))(Monitor(gym.make("Pendulum-v1")))
    assert type(env) is case.wrapper
    assert {key: env._saved_kwargs[key] for key in case.kwargs} == case.kwargs


def test_rl_zoo3_builds_a_chain_from_yaml_text():
    from rl_zoo3.utils import get_wrapper_class

    text = """
    env_wrapper:
      - sb3_ppo_scratch.wrappers.ScaleReward:
          scale: 1.0e-2
      - sb3_ppo_scratch.wrappers.NormalizeObservation:
          mean: [0, 0, 0]
          std: 1
      - sb3_ppo_scratch.wrappers.BinAction:
          bins: [[-2, 0, 2]]
    """
    env = get_wrapper_class(yaml.safe_load(text))(gym.make("Pendulum-v1"))
    assert str(env).startswith("<BinAction<NormalizeObservation<ScaleReward<")
    assert env.action(np.array([2])).tolist() == [2.0]


def run_python(code: str, cwd: Path) -> str:
    """Run code in a fresh interpreter and return what it prints."""
    result = subprocess.run([sys.executable, "-c", code], cwd=cwd, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def test_import_loads_neither_torch_nor_sb3_nor_rl_zoo3():
    code = (
        f"import sys; sys.path.insert(0, {str(FOLDER.parent.parent)!r}); import sb3_ppo_scratch.wrappers; "
        "print([name for name in ('torch', 'stable_baselines3', 'rl_zoo3') if name in sys.modules])"
    )
    assert run_python(code, Path.cwd()) == "[]"


def test_copied_folder_works_under_another_name_without_this_package(tmp_path):
    shutil.copytree(FOLDER, tmp_path / "my_wrappers", ignore=shutil.ignore_patterns("__pycache__"))
    code = (
        "import sys; sys.modules['sb3_ppo_scratch'] = None\n"
        "import gymnasium as gym\n"
        "from my_wrappers import BinAction, NormalizeObservation, ScaleReward\n"
        "env = ScaleReward(NormalizeObservation(BinAction(gym.make('Pendulum-v1'), 3)), 0.1)\n"
        "env = gym.make(gym.envs.registration.EnvSpec.from_json(env.spec.to_json()))\n"
        "env.reset(seed=0); env.step([1]); print(env)"
    )
    assert run_python(code, tmp_path).startswith("<ScaleReward<NormalizeObservation<BinAction<TimeLimit")
