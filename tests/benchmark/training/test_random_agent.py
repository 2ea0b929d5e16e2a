"""Tests of `benchmark/training/random_agent.py`: the oracle is a loop over Gymnasium's own environment."""

from pathlib import Path

import gymnasium as gym

from sb3_ppo_scratch.benchmark.training.plan import RANDOM, Contestant, Evaluation, Goal, Run
from sb3_ppo_scratch.benchmark.training.process import FOLDER, identity, run_words, train_in_process
from sb3_ppo_scratch.benchmark.training.random_agent import main
from sb3_ppo_scratch.benchmark.training.records import read_evaluations, read_record

GOAL = Goal("CartPole-v1", n_timesteps=256, evaluate_every=128, solved=475, packages=("tests.envs",))


def random_run(seed: int) -> Run:
    """A run of it, evaluated in one environment on the seeds 77, 78 and 79."""
    return Run(Contestant("random", "random", RANDOM), GOAL, seed, Evaluation(1, 3, 77))


def test_actions_are_drawn_from_the_space_on_the_seeds_of_the_evaluation(tmp_path: Path) -> None:
    env = gym.make("CartPole-v1")
    env.action_space.seed(5)
    expected = []
    for seed in (77, 78, 79):
        env.reset(seed=seed)
        expected.append(0.0)
        ended = False
        while not ended:
            _, reward, terminated, truncated, _ = env.step(env.action_space.sample())
            expected[-1] += float(reward)
            ended = terminated or truncated
    words = [word.replace(FOLDER, str(tmp_path)) for word in run_words(random_run(5))]
    main(words[2:])
    first, last = read_evaluations(tmp_path)
    assert first.returns == last.returns == tuple(expected)
    assert (first.steps, last.steps, last.seconds) == (0, 256, 0.0)


def test_a_run_is_recorded_as_any_other(tmp_path: Path) -> None:
    record = train_in_process(random_run(5), tmp_path / "run", lambda _process: None)
    assert record == read_record(tmp_path / "run")
    assert record.identity == identity(random_run(5)) != identity(random_run(6))
    assert "--gym-packages tests.envs" in record.command
    assert record.model_digest == ""
