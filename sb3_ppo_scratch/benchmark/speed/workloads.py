"""What is measured: workloads and competitors, as data.

What is here: no code that runs anything, and no import of torch, so that the command line starts fast. What is not: how
they are built (`building.py`), which runs are made of them (`main_table.py`, `growth.py`).
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from sb3_ppo_scratch.errors import check_known_names

Part = Literal["learn", "update"]
"""What a ratio compares: the whole of `learn`, or the updates alone."""
VecEnvKind = Literal["dummy", "subproc", "sharded", "envpool"]
"""SB3's DummyVecEnv and SubprocVecEnv, and this project's ShardedVecEnv and EnvPoolVecEnv."""
Observation = Literal["vector", "dict", "image"]
"""An environment's own vector, the same as a Dict of two vectors, or painted as an image."""


@dataclass(frozen=True)
class Workload:
    """One thing to learn, with all that a competitor is told.

    Args:
        title: Its name in tables.
        env_id: The environment's id; it is made with `render_mode=None`.
        n_envs: Environments.
        n_steps: Steps of a rollout in each environment.
        batch_size: Transitions of a minibatch.
        n_epochs: Passes over a rollout.
        steps: Steps of the timed `learn`, over all environments; whole rollouts.
        arguments: PPO's other arguments; `"lin_x"` falls linearly from x to 0.
        warmup_rollouts: Rollouts, each with its update, before the clock starts.
        policy: SB3's name of the policy.
        width: Units of each of two hidden layers; 0: the policy's default.
        extractor: Whether the policy has a features extractor of its own, with an activation that the closed form does
            not cover: `auto` takes autograd.
        observation: What the policy sees.
        vec_envs: What steps the environments for ours, and for stepping alone; the fastest counts.
        n_workers: Processes of a sharded VecEnv, threads of EnvPool's.
        stock_vec_envs: What steps them for stock; the fastest counts.
        updates: Ours is measured with each of these.
        needed: The ratios to stock that this project has set itself.
        repeats: How many rounds of it a round of the table has: more where the margin is narrower than the noise.
    """

    title: str
    env_id: str
    n_envs: int
    n_steps: int
    batch_size: int
    n_epochs: int
    steps: int
    arguments: Mapping[str, float | str] = field(default_factory=dict)
    warmup_rollouts: int = 2
    policy: str = "MlpPolicy"
    width: int = 0
    extractor: bool = False
    observation: Observation = "vector"
    vec_envs: tuple[VecEnvKind, ...] = ("dummy",)
    n_workers: int = 2
    stock_vec_envs: tuple[VecEnvKind, ...] = ("dummy",)
    updates: tuple[str, ...] = ("auto", "autograd", "closed_form")
    needed: Mapping[Part, float] = field(default_factory=dict)
    repeats: int = 1

    @property
    def suits_sbx(self) -> bool:
        """Whether the JAX competitor can learn it: its networks are not torch's."""
        return self.policy == "MlpPolicy" and not self.extractor

    @property
    def rollout(self) -> int:
        """Transitions of a rollout."""
        return self.n_envs * self.n_steps

    def with_settings(self, settings: Mapping[str, int]) -> "Workload":
        """Change some of its numbers.

        Args:
            settings: New values of `CHANGEABLE` fields.

        Returns:
            The changed copy.

        Raises:
            ArgumentTypeError: If a name is no number that can be changed.
        """
        check_known_names(settings, CHANGEABLE, where="A workload")
        return dataclasses.replace(self, **settings)  # type: ignore[arg-type] # all of them are int


CHANGEABLE = ("n_envs", "n_steps", "batch_size", "n_epochs", "steps", "warmup_rollouts", "width", "n_workers")
"""Numbers of a workload that a measurement may change."""


@dataclass(frozen=True)
class Competitor:
    """An algorithm to be measured.

    Args:
        title: Its name in tables.
        algorithm: Where its class is, as `module:name`; empty: no algorithm, the environments step with random actions.
        arguments: Arguments that only it has.
    """

    title: str
    algorithm: str
    arguments: Mapping[str, str] = field(default_factory=dict)


OURS = "sb3_ppo_scratch:PPOScratch"
COMPETITORS = {
    "stock": Competitor("stock SB3 PPO", "stable_baselines3:PPO"),
    "auto": Competitor('ours, update="auto"', OURS, {"update": "auto"}),
    "autograd": Competitor('ours, update="autograd"', OURS, {"update": "autograd"}),
    "closed_form": Competitor('ours, update="closed_form"', OURS, {"update": "closed_form"}),
    "sbx": Competitor("sbx PPO (JAX)", "sbx:PPO"),
    "stepping": Competitor("stepping alone, random actions", ""),
}
"""By the name that the results file knows. `auto` is ours as it comes: what stock is compared with."""

# rl_zoo3 2.9.2, hyperparams/ppo.yml
ZOO_CARTPOLE: Mapping[str, float | str] = {
    "gamma": 0.98,
    "gae_lambda": 0.8,
    "learning_rate": "lin_1e-3",
    "clip_range": "lin_0.2",
}
ZOO_LANDER: Mapping[str, float | str] = {"gamma": 0.999, "gae_lambda": 0.98, "ent_coef": 0.01}
ZOO_ATARI: Mapping[str, float | str] = {
    "learning_rate": "lin_2.5e-4",
    "clip_range": "lin_0.1",
    "vf_coef": 0.5,
    "ent_coef": 0.01,
}

CARTPOLE = Workload(
    title="CartPole-v1",
    env_id="CartPole-v1",
    n_envs=8,
    n_steps=32,
    batch_size=256,
    n_epochs=20,
    steps=51_200,
    arguments=ZOO_CARTPOLE,
    needed={"learn": 4.5},
)
LANDER = Workload(
    title="LunarLander-v3",
    env_id="LunarLander-v3",
    n_envs=16,
    n_steps=1024,
    batch_size=64,
    n_epochs=4,
    steps=65_536,
    arguments=ZOO_LANDER,
    warmup_rollouts=1,
    needed={"learn": 3.1},
)
SMALL_LANDER = dataclasses.replace(LANDER, n_steps=256, steps=32_768, updates=("auto",), needed={"update": 1.4})
WORKLOADS = {
    "cartpole": CARTPOLE,
    "lander": LANDER,
    "lander-continuous": dataclasses.replace(
        LANDER, title="LunarLanderContinuous-v3", env_id="LunarLanderContinuous-v3", needed={"learn": 2.8}
    ),
    "custom-mlp": dataclasses.replace(SMALL_LANDER, title="LunarLander-v3, custom features extractor", extractor=True),
    "dict": dataclasses.replace(
        SMALL_LANDER, title="LunarLander-v3, Dict of vectors", policy="MultiInputPolicy", observation="dict"
    ),
    "cnn": Workload(
        title="CartPole-v1 painted, CNN",
        env_id="CartPole-v1",
        n_envs=8,
        n_steps=128,
        batch_size=256,
        n_epochs=4,
        steps=4_096,
        arguments=ZOO_ATARI,
        warmup_rollouts=1,
        policy="CnnPolicy",
        observation="image",
        updates=("auto",),
        needed={"learn": 0.98, "update": 0.98},
        repeats=3,
    ),
    "lander-parallel": dataclasses.replace(
        LANDER,
        title="LunarLander-v3, 2 cores",
        vec_envs=("sharded", "envpool"),
        stock_vec_envs=("dummy", "subproc"),
        updates=("auto",),
        needed={"learn": 4.5},
    ),
}
"""What the main table compares, by the name that the command line and the results file know."""

GROWTH_WORKLOADS = {
    "growth-environments": dataclasses.replace(CARTPOLE, warmup_rollouts=1),
    "growth-width": dataclasses.replace(LANDER, n_steps=64),
    "growth-minibatch": dataclasses.replace(LANDER, n_steps=256),
    "growth-workers": dataclasses.replace(WORKLOADS["lander-parallel"], n_steps=256, vec_envs=("sharded",)),
}
"""From where the curves start; `growth.py` says which number grows."""
ALL_WORKLOADS = {**WORKLOADS, **GROWTH_WORKLOADS}
