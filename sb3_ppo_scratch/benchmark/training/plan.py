"""Which runs a comparison is made of.

What is here: data. What is not: plan files (`plan_files.py`), running (`process.py`, `execution.py`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sb3_ppo_scratch.errors import ArgumentError, check_known_names
from sb3_ppo_scratch.hyperparams import hyperparams_folder

ZOO = "rl_zoo3"
"""As a contestant's `config`: the file that rl_zoo3 has for the algorithm."""
RANDOM = "random"
"""As a contestant's `algorithm`: draws actions from the action space, and learns nothing."""


@dataclass(frozen=True)
class Goal:
    """What is to be learned, and when it counts as solved.

    Args:
        env_id: The environment; it is made with `render_mode=None`.
        n_timesteps: Steps of a run, over all environments.
        evaluate_every: Steps from one evaluation to the next.
        solved: The mean return of an evaluation from which on it is solved.
        margin: The largest difference of mean returns that makes none; 0: every difference matters.
        packages: Packages that register the environment when they are imported.
    """

    env_id: str
    n_timesteps: int
    evaluate_every: int
    solved: float
    margin: float = 0.0
    packages: tuple[str, ...] = ()

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
        algorithm: rl_zoo3's name of it; `random`: draws actions.
        config: Its hyperparameter file, below the folder of this project's files or wherever an absolute path says;
            `rl_zoo3`: rl_zoo3's own. Empty for `random`.
        about: What is new in it, in a few words.
        environments: Where it takes part; empty: everywhere.
        hyperparams: What it changes of the file, by key.
        against: Names of those that it is compared with, seed by seed.
    """

    name: str
    title: str
    algorithm: str
    config: str = ""
    about: str = ""
    environments: tuple[str, ...] = ()
    hyperparams: Mapping[str, Any] = field(default_factory=dict, hash=False)
    against: tuple[str, ...] = ()

    def among(self, others: Sequence["Contestant"]) -> "Contestant":
        """Leave out comparisons with those who do not take part.

        Args:
            others: Who does.

        Returns:
            The contestant.
        """
        names = {each.name for each in others}
        return replace(self, against=tuple(name for name in self.against if name in names))


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
        options: Further words for `rl_zoo3.train`.
    """

    contestant: Contestant
    goal: Goal
    seed: int
    evaluation: Evaluation
    options: tuple[str, ...] = ()

    @property
    def folder(self) -> Path:
        """Where everything about it lies, below the comparison's folder."""
        return run_folder(self.goal.env_id, self.contestant.name, self.seed)


def run_folder(env_id: str, contestant: str, seed: int) -> Path:
    """Say where everything about a run lies.

    Args:
        env_id: Its environment.
        contestant: The name of who is trained.
        seed: Its seed.

    Returns:
        The folder, below the comparison's.
    """
    return Path(env_id, contestant, f"seed_{seed}")


@dataclass(frozen=True)
class TrainingPlan:
    """A whole comparison.

    Args:
        title: Its name.
        goals: What is to be learned.
        contestants: Who takes part.
        seeds: Each contestant trains with each.
        evaluation: How all are judged.
        options: Further words for `rl_zoo3.train` in every run, for TensorBoard or Weights & Biases.
    """

    title: str
    goals: tuple[Goal, ...]
    contestants: tuple[Contestant, ...]
    seeds: tuple[int, ...]
    evaluation: Evaluation
    options: tuple[str, ...] = ()

    def runs(self) -> list[Run]:
        """List all runs.

        Returns:
            Seed by seed, so that a comparison that is stopped has whole rounds.
        """
        return [
            Run(contestant, goal, seed, self.evaluation, self.options)
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
        seeds = self.seeds if n_seeds is None else tuple(range(self.seeds[0], self.seeds[0] + n_seeds))
        if not seeds:
            raise ArgumentError(f"there must be at least 1 seed, not {n_seeds}.")
        goals = [goal for goal in self.goals if not env_ids or goal.env_id in env_ids]
        left = [each for each in self.contestants if not contestants or each.name in contestants]
        return replace(
            self,
            goals=tuple(goal.shortened(share) for goal in goals),
            contestants=tuple(each.among(left) for each in left),
            seeds=seeds,
        )


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
