"""Plan files: comparisons as YAML.

What is here: reading, writing, and refusing what cannot work, before anything is trained. What is not: what a plan is
(`plan.py`).
"""

import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from sb3_ppo_scratch.benchmark.training.plan import RANDOM, ZOO, Contestant, Evaluation, Goal, TrainingPlan, config_path
from sb3_ppo_scratch.errors import ArgumentError, ArgumentTypeError, check_known_names
from sb3_ppo_scratch.hyperparams import hyperparams_folder

PLANS = Path(__file__).parent / "plans"
"""The plans that come with this project."""
KEYS = ("title", "environments", "variants", "contestants", "seeds", "evaluation", "options")


def find_plan(name: str) -> Path:
    """Find a plan file.

    Args:
        name: A path, or the name of one of this project's plans.

    Returns:
        The file's path.

    Raises:
        FileNotFoundError: If there is neither.
    """
    own = {path.stem: path for path in sorted(PLANS.glob("*.yml"))}
    if name in own:
        return own[name]
    if not Path(name).is_file():
        raise FileNotFoundError(f"there is no plan file {name}, and no plan of that name; there are {', '.join(own)}.")
    return Path(name)


def load_plan(path: Path, *, has_configs: bool = True) -> TrainingPlan:
    """Read a plan file.

    Args:
        path: A YAML file with `title`, `environments`, `contestants`, `seeds` and, if they are wanted, `variants`,
            `evaluation` and `options`. Hyperparameter files are looked for beside it, then among this project's.
        has_configs: Whether the hyperparameter files have to be there.

    Returns:
        The plan, with a contestant for each variant of one.

    Raises:
        FileNotFoundError: If there is no such file, or it names a hyperparameter file that does not exist.
        ArgumentTypeError: If a key is unknown; the message names the nearest.
        ArgumentError: If something is missing or cannot work.
    """
    written = _read_mapping(path)
    check_known_names(written, KEYS, where=f"{path}")
    try:
        goals = [
            _read(Goal, values, f"{path}, {name}", env_id=name) for name, values in written["environments"].items()
        ]
        contestants = list(itertools.chain.from_iterable(_read_contestants(written, path)))
        title, seeds = str(written["title"]), tuple(written["seeds"])
    except ArgumentTypeError:
        raise
    except (KeyError, AttributeError, TypeError) as error:
        raise ArgumentError(f"{path} is no whole plan: {error!r}.") from error
    evaluation = _read(Evaluation, written.get("evaluation") or {}, f"{path}, evaluation")
    options = tuple(map(str, written.get("options") or ()))
    plan = TrainingPlan(title, tuple(goals), tuple(contestants), seeds, evaluation, options)
    _check(plan, path)
    if has_configs:
        _check_configs(plan, path)
    return plan


def _read_mapping(path: Path) -> dict[str, Any]:
    """Read a YAML file.

    Raises:
        FileNotFoundError: If there is none.
        ArgumentError: If it is no YAML, or holds no mapping.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no plan {path}")
    try:
        written = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise ArgumentError(f"{path} is no YAML: {' '.join(str(error).split())}.") from error
    if not isinstance(written, dict):
        raise ArgumentError(f"{path} is no plan: it holds no mapping.")
    return written


def _read_contestants(written: Mapping[str, Any], path: Path) -> Iterator[list[Contestant]]:
    """Read the contestants, each with its variants.

    Raises:
        ArgumentTypeError: If a key or a variant is unknown.
        ArgumentError: If something is missing.
    """
    variants = written.get("variants") or {}
    for name, entry in variants.items():
        check_known_names(entry, ("title", "hyperparams"), where=f"{path}, {name}")
    for name, entry in written["contestants"].items():
        values = dict(entry)
        chosen = values.pop("variants", None) or []
        check_known_names(chosen, variants, where=f"{path}, {name}")
        contestant = _find_config(_read(Contestant, values, f"{path}, {name}", name=name), path)
        yield [_vary(contestant, each, variants[each]) for each in chosen] or [contestant]


def _vary(contestant: Contestant, name: str, variant: Mapping[str, Any]) -> Contestant:
    """Change a contestant's hyperparameters, its wrappers for one."""
    return replace(
        contestant,
        name=f"{contestant.name}-{name}",
        title=f"{contestant.title}, {variant.get('title', name)}",
        hyperparams={**contestant.hyperparams, **(variant.get("hyperparams") or {})},
    )


def _find_config(contestant: Contestant, plan: Path) -> Contestant:
    """Let a hyperparameter file be the one beside the plan, if there is one."""
    beside = plan.parent / contestant.config
    if contestant.config in ("", ZOO) or not beside.is_file() or plan.parent.samefile(hyperparams_folder()):
        return contestant
    return replace(contestant, config=str(beside.resolve()))


def _read(kind: Any, values: Mapping[str, Any], where: str, **named: str) -> Any:
    """Make one entry of a plan.

    Raises:
        ArgumentTypeError: If a key is unknown.
        ArgumentError: If one is missing, or has a value of a wrong type.
    """
    fields = {each.name: each for each in dataclasses.fields(kind)}
    check_known_names(values, set(fields) - set(named), where=where)
    read = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    for name, value in read.items():
        wanted = _types_of(fields[name].type)
        if not isinstance(value, wanted) or isinstance(value, bool):
            raise ArgumentError(f"{where}: `{name}: {value}` must be of the type {_name(wanted)}.")
    try:
        return kind(**named, **read)
    except TypeError as error:
        raise ArgumentError(f"{where}: {error}") from error


def _types_of(annotation: Any) -> tuple[type, ...]:
    """Tell which types a field of a plan may have in YAML."""
    plain: dict[Any, tuple[type, ...]] = {int: (int,), float: (int, float), str: (str,), Mapping[str, Any]: (dict,)}
    return plain.get(annotation, (tuple,))


def _name(types: Iterable[type]) -> str:
    """Name types as YAML does."""
    names = {int: "integer", float: "number", str: "text", dict: "mapping", tuple: "list"}
    return names[list(types)[-1]]


def _check(plan: TrainingPlan, path: Path) -> None:
    """Check what can be checked without looking anywhere else.

    Raises:
        ArgumentTypeError: If a name is unknown.
        ArgumentError: If something is missing, or a number cannot work.
    """
    names = [each.name for each in plan.contestants]
    if not plan.goals or not names:
        raise ArgumentError(f"{path}: there must be an environment and a contestant at least.")
    for contestant in plan.contestants:
        where = f"{path}, {contestant.name}"
        check_known_names(contestant.environments, [goal.env_id for goal in plan.goals], where=where)
        check_known_names(contestant.against, set(names) - {contestant.name}, where=where)
        if not contestant.config and contestant.algorithm != RANDOM:
            raise ArgumentError(f"{where}: `config` is missing; `{ZOO}` takes rl_zoo3's own file.")
    _check_numbers(plan, path)


def _check_configs(plan: TrainingPlan, path: Path) -> None:
    """Check that all hyperparameter files are there.

    Raises:
        FileNotFoundError: If one is not.
    """
    for contestant in plan.contestants:
        if contestant.algorithm != RANDOM and not config_path(contestant).is_file():
            raise FileNotFoundError(f"{path}, {contestant.name}: there is no file {config_path(contestant)}")


def _check_numbers(plan: TrainingPlan, path: Path) -> None:
    """Check seeds, episodes and steps.

    Raises:
        ArgumentError: If one cannot work.
    """
    if not plan.seeds or any(type(seed) is not int or seed < 0 for seed in plan.seeds):
        raise ArgumentError(f"{path}: `seeds` must be a list of numbers from 0 on, got {list(plan.seeds)}.")
    if len(set(plan.seeds)) < len(plan.seeds):
        raise ArgumentError(f"{path}: `seeds` names one twice, got {list(plan.seeds)}.")
    some, last = plan.evaluation.n_episodes, plan.evaluation.n_final_episodes
    if some < 1 or last % some:
        raise ArgumentError(f"{path}: `n_final_episodes` ({last}) must be a multiple of `n_episodes` ({some}).")
    too_short = [goal.env_id for goal in plan.goals if min(goal.n_timesteps, goal.evaluate_every) < 1]
    if too_short:
        raise ArgumentError(f"{path}, {too_short[0]}: numbers of steps must be at least 1.")


def plan_as_yaml(plan: TrainingPlan) -> str:
    """Write a plan as a file that `load_plan` reads.

    Args:
        plan: It.

    Returns:
        YAML. Variants are contestants of their own.
    """
    written = {
        "title": plan.title,
        "environments": {goal.env_id: _entries(goal, "env_id") for goal in plan.goals},
        "contestants": {each.name: _entries(each, "name") for each in plan.contestants},
        "seeds": list(plan.seeds),
        "evaluation": _entries(plan.evaluation),
        "options": list(plan.options),
    }
    return yaml.safe_dump(written, sort_keys=False, allow_unicode=True)


def _entries(part: Any, *without: str) -> dict[str, Any]:
    """List what a part of a plan says beyond its defaults."""
    values = {each.name: (getattr(part, each.name), each.default) for each in dataclasses.fields(part)}
    return {
        name: list(value) if isinstance(value, tuple) else dict(value) if isinstance(value, Mapping) else value
        for name, (value, default) in values.items()
        if name not in without and value != default and value != {}
    }
