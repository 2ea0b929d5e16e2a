"""A saved model together with everything that its environment was trained with.

What is here: finding that in the folder that rl_zoo3 wrote, and making environment and model from it. What is not:
playing (`film/playing.py`), evaluating (`benchmark/training/evaluation.py`).
"""

import importlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium as gym
import yaml
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecFrameStack

from sb3_ppo_scratch.errors import ArgumentError
from sb3_ppo_scratch.saved_settings import read_whole
from sb3_ppo_scratch.untrusted.saved_model import refusing, settings_of
from sb3_ppo_scratch.zip_members import read_members
from sb3_ppo_scratch.zoo import ALGORITHMS
from sb3_ppo_scratch.zoo.harmless_names import check_names
from sb3_ppo_scratch.zoo.plain_yaml import read_plain_yaml
from sb3_ppo_scratch.zoo.saved_statistics import normalized

ONLY_FOR_LEARNING = {"learning_rate": 0.0, "lr_schedule": lambda _: 0.0, "clip_range": lambda _: 0.0}
"""In place of what a file holds for learning only, and Python versions may fail to read."""
WRAPPERS = ("env_wrapper", "vec_env_wrapper")
"""Keys of rl_zoo3's settings that name wrappers."""


class SavedRun(NamedTuple):
    """What is known about a saved model."""

    model_path: Path
    algorithm: str
    """rl_zoo3's name of the algorithm."""
    env_id: str
    settings: Path | None
    """Folder with rl_zoo3's config.yml, args.yml and statistics; None: the file lies in no folder of rl_zoo3's."""
    trusted: bool
    """Whether to run what the files hold or name: pickles, packages, wrappers of anybody's."""


def find_run(
    model_path: Path, env_id: str | None = None, algorithm: str | None = None, *, trusted: bool = False
) -> SavedRun:
    """Find out what belongs to a saved model.

    Args:
        model_path: The zip file.
        env_id: The environment; None: that of rl_zoo3's folder.
        algorithm: rl_zoo3's name of the algorithm; None: that of the folder, or this project's that fits the file.
        trusted: Whether to run what the files hold or name.

    Returns:
        What was found.

    Raises:
        FileNotFoundError: If there is no such file.
        ArgumentError: If nothing tells which environment it is for, or the folder's files hold more than settings.
    """
    if not model_path.is_file():
        raise FileNotFoundError(f"there is no file {model_path}")
    settings = next(iter(settings_below(model_path.parent)), None)
    arguments = {} if settings is None else _read_yaml(settings / "args.yml", trusted=trusted)
    env_id = env_id or (str(arguments["env"]) if "env" in arguments else None)
    if env_id is None:
        raise ArgumentError(f"{model_path} lies in no folder of rl_zoo3's; say with --env which environment it is for.")
    algorithm = algorithm or arguments.get("algo") or _guess_algorithm(model_path)
    return SavedRun(model_path, str(algorithm), env_id, settings, trusted)


def open_run(run: SavedRun, seed: int, render_mode: str | None = None) -> tuple[BaseAlgorithm, VecEnv]:
    """Load a model, and make its environment with the wrappers and normalisation that it learned with.

    Args:
        run: What belongs to the model.
        seed: Seed of the environment.
        render_mode: Gymnasium's; None: no rendering.

    Returns:
        Both. Rewards are in the environment's own units.

    Raises:
        ArgumentError: If rl_zoo3 does not know the algorithm, or model or environment cannot be made, or do not fit.
    """
    from rl_zoo3 import utils

    from sb3_ppo_scratch.zoo.register import register_algorithm

    register_algorithm()
    if run.algorithm not in utils.ALGOS:
        raise ArgumentError(f"`algorithm={run.algorithm!r}` is none of {sorted(utils.ALGOS)}.")
    if run.algorithm not in ALGORITHMS and not run.trusted:
        raise ArgumentError(
            f"only unpickling can read a file of {run.algorithm}; --trusted does, and runs what it holds."
        )
    trust: dict[str, Any] = {"trusted": run.trusted} if run.algorithm in ALGORITHMS else {}
    env = open_environment(run, seed, render_mode)
    algorithm: type[BaseAlgorithm] = utils.ALGOS[run.algorithm]
    subject = f"{run.model_path} cannot be loaded as {run.algorithm} for {run.env_id}"
    with in_one_line(subject, AttributeError, KeyError, TypeError, ValueError, remedy="--env and --algo say otherwise"):
        return algorithm.load(run.model_path, env=env, custom_objects=ONLY_FOR_LEARNING, device="cpu", **trust), env


def open_environment(run: SavedRun, seed: int, render_mode: str | None = None) -> VecEnv:
    """Make the environment of a saved model, with the wrappers and normalisation that it learned with.

    Args:
        run: What belongs to the model.
        seed: Seed of the environment.
        render_mode: Gymnasium's; None: no rendering.

    Returns:
        One environment. Rewards are in its own units.

    Raises:
        ArgumentError: If there is no such environment, or a package is missing, or saved statistics do not fit.
    """
    subject = f"{run.env_id} cannot be made"
    with (
        in_one_line(
            subject, gym.error.Error, AssertionError, TypeError, ValueError, remedy="--env names another environment"
        ),
        in_one_line(subject, gym.error.DependencyNotInstalled, ImportError),
    ):
        return make_environments(run.env_id, run.settings, seed, render_mode=render_mode, trusted=run.trusted)


@contextmanager
def in_one_line(subject: str, *kinds: type[Exception], remedy: str = "") -> Iterator[None]:
    """Let errors that others raise end the program in one line, as this project's own do.

    Args:
        subject: What was not possible.
        *kinds: The errors that mean that the user has to change something.
        remedy: What, where the errors themselves do not say.

    Yields:
        Nothing.

    Raises:
        ArgumentError: In place of these errors, with their message in it.
    """
    try:
        yield
    except ArgumentError:
        raise
    except kinds as error:
        message = " ".join(str(error).split()) or type(error).__name__
        raise ArgumentError(f"{subject}: {message}{f' ({remedy})' if remedy else ''}") from error


def make_environments(
    env_id: str, settings: Path | None, seed: int, *, n_envs: int = 1, render_mode: str | None = None, trusted: bool
) -> VecEnv:
    """Make the environments of a run again, with its packages, arguments, wrappers, normalisation and frame stack.

    Args:
        env_id: The environment.
        settings: rl_zoo3's folder of settings; None: no wrappers.
        seed: Seed of the first one; the others follow.
        n_envs: How many, all in this process.
        render_mode: Gymnasium's; None: no rendering.
        trusted: Whether to import whatever packages and wrappers the settings name.

    Returns:
        The environments. Rewards are in their own units.

    Raises:
        ArgumentError: If the settings hold or name more than `trusted` allows.
    """
    from rl_zoo3 import utils

    hyperparams, arguments = _read_settings(settings, env_id, trusted=trusted)
    for package in arguments.get("gym_packages") or ():
        importlib.import_module(package)
    env = utils.create_test_env(
        env_id,
        n_envs=n_envs,
        seed=seed,
        should_render=False,
        hyperparams={key: hyperparams[key] for key in WRAPPERS if key in hyperparams},
        env_kwargs=_with_rendering(arguments.get("env_kwargs") or {}, render_mode),
        vec_env_cls=DummyVecEnv,
    )
    if settings is not None and hyperparams.get("normalize"):
        env = normalized(env, settings / "vecnormalize.pkl")
    return VecFrameStack(env, hyperparams["frame_stack"]) if hyperparams.get("frame_stack") else env


def _read_settings(settings: Path | None, env_id: str, *, trusted: bool) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Read hyperparameters and command line of a run; both are empty if there are none.

    Raises:
        ArgumentError: If they hold or name more than `trusted` allows.
    """
    if settings is None:
        hyperparams: Mapping[str, Any] = {}
        arguments: Mapping[str, Any] = {}
    else:
        hyperparams = _read_yaml(settings / "config.yml", trusted=trusted)
        arguments = _read_yaml(settings / "args.yml", trusted=trusted)
    if not trusted:
        check_names(env_id, arguments.get("gym_packages") or (), hyperparams)
    return hyperparams, arguments


def _with_rendering(env_kwargs: Mapping[str, Any], render_mode: str | None) -> dict[str, Any]:
    """Change how an environment renders; where nothing is rendered, it need not know of rendering."""
    others = {name: value for name, value in env_kwargs.items() if name != "render_mode"}
    return others if render_mode is None else {**others, "render_mode": render_mode}


def settings_below(folder: Path) -> list[Path]:
    """Find rl_zoo3's folders of settings: each lies beside its model and is named like the environment.

    Args:
        folder: Where to look, one level down.

    Returns:
        What was found, sorted.
    """
    return sorted(config.parent for config in folder.glob("*/config.yml"))


def _read_yaml(path: Path, *, trusted: bool) -> dict[str, Any]:
    """Read what rl_zoo3 has written; nothing if there is no such file.

    Raises:
        ArgumentError: If it holds Python objects, and is not trusted.
    """
    if not path.is_file():
        return {}
    if trusted:
        return dict(yaml.load(path.read_text(), Loader=yaml.UnsafeLoader))  # as rl_zoo3 reads its own files
    with in_one_line("", ValueError, remedy="--trusted reads it as rl_zoo3 does, and runs what it holds"):
        return read_plain_yaml(path)


def _guess_algorithm(model_path: Path) -> str:
    """Tell this project's algorithms apart by what their files hold."""
    with refusing(model_path):
        settings = settings_of(read_members(read_whole(model_path)))
    return "reinforce_scratch" if "reward_to_go" in settings else "ppo_scratch"
