"""Which runs a comparison is made of, read from a plan file.

What is here: data, and checking it before anything is trained. What is not: running (`process.py`, `execution.py`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from sb3_ppo_scratch.errors import ArgumentError, ArgumentTypeError, check_known_names
from sb3_ppo_scratch.hyperparams import hyperparams_folder

PLANS = Path(__file__).parent / "plans"
"""The plans that come with this project."""
ZOO = "rl_zoo3"
"""As a contestant's `config`: the file that rl_zoo3 has for the algorithm."""


@dataclass(frozen=True)
class Goal:
    """What is to be learned, and when it counts as solved.

    Args:
        env_id: The environment; it is made with `render_mode=None`.
        n_timesteps: Steps of a run, over all environments.
        evaluate_every: Steps from one evaluation to the next.
        solved: The mean return of an evaluation from which on it is solved.
        margin: The largest difference of mean returns that makes none; 0: every difference matters.
    """

    env_id: str
    n_timesteps: int
    evaluate_every: int
    solved: float
    margin: float = 0.0

    def shortened(self, share: int) -> "Goal":
        """Leave fewer steps.

        Args:
            share: What steps are divided by.

        Returns:
            The smaller goal; evaluations stay as far apart as they are if there are five at least.
        """
        n_timesteps = self.n_timesteps // share
        every = min(self.evaluate_every, max(1, n_timesteps // 5))
        return replace(self, n_timesteps=n_timesteps, evaluate_every=every)


@dataclass(frozen=True)
class Contestant:
    """An algorithm with its hyperparameters.

    Args:
        name: A short name, which is also its folder's.
        title: Its name in tables and figures.
        algorithm: rl_zoo3's name of it.
        config: Its hyperparameter file, below the folder of this project's files; `rl_zoo3`: rl_zoo3's own.
        about: What is new in it, in a few words.
        environments: Where it takes part; empty: everywhere.
        hyperparams: What it changes of the file, by key.
    """

    name: str
    title: str
    algorithm: str
    config: str
    about: str = ""
    environments: tuple[str, ...] = ()
    hyperparams: Mapping[str, Any] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class Evaluation:
    """How a policy is judged: by whole episodes with its most likely actions, on seeds that training never uses.

    Args:
        n_episodes: Episodes of an evaluation.
        n_final_episodes: Episodes of the last one, a multiple of that.
        first_seed: Seed of the first episode; the others follow.
    """

    n_episodes: int = 20
    n_final_episodes: int = 100
    first_seed: int = 1_000_000


@dataclass(frozen=True)
class Run:
    """One training run.

    Args:
        contestant: The algorithm.
        goal: The environment.
        seed: Of everything random.
        evaluation: How it is judged.
    """

    contestant: Contestant
    goal: Goal
    seed: int
    evaluation: Evaluation

    @property
    def folder(self) -> Path:
        """Where everything about it lies, below the comparison's folder."""
        return Path(self.goal.env_id, self.contestant.name, f"seed_{self.seed}")


@dataclass(frozen=True)
class TrainingPlan:
    """A whole comparison.

    Args:
        title: Its name.
        goals: What is to be learned.
        contestants: Who takes part.
        seeds: Each contestant trains with each.
        evaluation: How all are judged.
    """

    title: str
    goals: tuple[Goal, ...]
    contestants: tuple[Contestant, ...]
    seeds: tuple[int, ...]
    evaluation: Evaluation

    def runs(self) -> list[Run]:
        """List all runs.

        Returns:
            Seed by seed, so that a comparison that is stopped has whole rounds.
        """
        return [
            Run(contestant, goal, seed, self.evaluation)
            for seed in self.seeds
            for goal in self.goals
            for contestant in self.contestants
            if not contestant.environments or goal.env_id in contestant.environments
        ]

    def narrowed(
        self,
        *,
        contestants: Sequence[str] = (),
        env_ids: Sequence[str] = (),
        n_seeds: int | None = None,
        share: int = 1,
    ) -> "TrainingPlan":
        """Leave something out.

        Args:
            contestants: Names of those that stay; empty: all.
            env_ids: Environments that stay; empty: all.
            n_seeds: So many seeds stay, from the first; more than there are are counted on from the last. None: all.
            share: What steps are divided by.

        Returns:
            The smaller plan.

        Raises:
            ArgumentTypeError: If a name is unknown.
            ArgumentError: If a number is too small.
        """
        check_known_names(contestants, [each.name for each in self.contestants], where="The plan")
        check_known_names(env_ids, [goal.env_id for goal in self.goals], where="The plan")
        if n_seeds is not None and n_seeds < 1:
            raise ArgumentError(f"there must be at least 1 seed, not {n_seeds}.")
        seeds = self.seeds if n_seeds is None else tuple(range(self.seeds[0], self.seeds[0] + n_seeds))
        goals = [goal for goal in self.goals if not env_ids or goal.env_id in env_ids]
        return replace(
            self,
            goals=tuple(goal.shortened(share) for goal in goals),
            contestants=tuple(each for each in self.contestants if not contestants or each.name in contestants),
            seeds=seeds,
        )


def load_plan(path: Path) -> TrainingPlan:
    """Read a plan file.

    Args:
        path: A YAML file with `title`, `environments`, `contestants`, `seeds` and, if it is to differ, `evaluation`.

    Returns:
        The plan.

    Raises:
        FileNotFoundError: If there is no such file, or it names a hyperparameter file that does not exist.
        ArgumentTypeError: If a key is unknown; the message names the nearest.
        ArgumentError: If something is missing or cannot work.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no plan {path}")
    written = yaml.safe_load(path.read_text())
    if not isinstance(written, dict):
        raise ArgumentError(f"{path} is no plan: it holds no mapping.")
    check_known_names(written, ("title", "environments", "contestants", "seeds", "evaluation"), where=f"{path}")
    try:
        goals = [
            _read(Goal, values, f"{path}, {name}", env_id=name) for name, values in written["environments"].items()
        ]
        contestants = [
            _read(Contestant, values, f"{path}, {name}", name=name) for name, values in written["contestants"].items()
        ]
        title, seeds = str(written["title"]), tuple(written["seeds"])
    except ArgumentTypeError:
        raise
    except (KeyError, AttributeError, TypeError) as error:
        raise ArgumentError(f"{path} is no whole plan: {error!r}.") from error
    evaluation = _read(Evaluation, written.get("evaluation") or {}, f"{path}, evaluation")
    plan = TrainingPlan(title, tuple(goals), tuple(contestants), seeds, evaluation)
    _check(plan, path)
    return plan


def _read(kind: Any, values: Mapping[str, Any], where: str, **named: str) -> Any:
    """Make one entry of a plan.

    Raises:
        ArgumentTypeError: If a key is unknown.
        ArgumentError: If one is missing.
    """
    check_known_names(values, set(kind.__dataclass_fields__) - set(named), where=where)
    lists = {name: tuple(value) for name, value in values.items() if isinstance(value, list)}
    try:
        return kind(**named, **{**values, **lists})
    except TypeError as error:
        raise ArgumentError(f"{where}: {error}") from error


def _check(plan: TrainingPlan, path: Path) -> None:
    """Check what can be checked before anything is trained.

    Raises:
        FileNotFoundError: If a hyperparameter file does not exist.
        ArgumentTypeError: If an environment's name is unknown.
        ArgumentError: If a number cannot work.
    """
    for contestant in plan.contestants:
        check_known_names(
            contestant.environments, [goal.env_id for goal in plan.goals], where=f"{path}, {contestant.name}"
        )
        if contestant.config != ZOO and not config_path(contestant).is_file():
            raise FileNotFoundError(f"{path}, {contestant.name}: there is no file {config_path(contestant)}")
    _check_numbers(plan, path)


def _check_numbers(plan: TrainingPlan, path: Path) -> None:
    """Check seeds, episodes and steps.

    Raises:
        ArgumentError: If one cannot work.
    """
    if not plan.seeds or not all(isinstance(seed, int) and seed >= 0 for seed in plan.seeds):
        raise ArgumentError(f"{path}: `seeds` must be a list of numbers from 0 on, got {list(plan.seeds)}.")
    if plan.evaluation.n_episodes < 1 or plan.evaluation.n_final_episodes % plan.evaluation.n_episodes:
        raise ArgumentError(
            f"{path}: `n_final_episodes` ({plan.evaluation.n_final_episodes}) must be a multiple of `n_episodes` "
            f"({plan.evaluation.n_episodes})."
        )
    for goal in plan.goals:
        if goal.n_timesteps < 1 or goal.evaluate_every < 1:
            raise ArgumentError(f"{path}, {goal.env_id}: numbers of steps must be at least 1.")


def config_path(contestant: Contestant) -> Path:
    """Find a contestant's hyperparameter file.

    Args:
        contestant: It.

    Returns:
        The file's path, of which rl_zoo3's own lies in its package.
    """
    if contestant.config != ZOO:
        return hyperparams_folder() / contestant.config
    import importlib.util

    found = importlib.util.find_spec("rl_zoo3")
    assert found is not None
    assert found.submodule_search_locations
    return Path(found.submodule_search_locations[0]) / "hyperparams" / f"{contestant.algorithm}.yml"
