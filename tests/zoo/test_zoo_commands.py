"""The promised commands, run as a user runs them: unmodified rl_zoo3, a fresh process, an empty folder.

Training is cut short with `-n`; that the full command learns is measured in `docs/results/`.
"""

import re
import shutil
from pathlib import Path

import optuna
import pytest
import torch as th
import yaml
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy

from sb3_ppo_scratch import ReinforceScratch
from sb3_ppo_scratch.__main__ import main
from sb3_ppo_scratch.hyperparams import hyperparams_file
from sb3_ppo_scratch.zoo.commands import mistakes_named
from tests.zoo.processes import run_python

TRAIN = ("-m", "rl_zoo3.train", "--algo", "ppo_scratch")
SHORT = ("-n", "2048", "--eval-freq", "2048", "--eval-episodes", "1", "--seed", "1")
RETURN = re.compile(r"Episode Reward: (-?[\d.]+)")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the main command has run, with a few of its options."""
    folder = tmp_path_factory.mktemp("zoo")
    options = ("--save-freq", "2048", "--tensorboard-log", "tb", "-P", "--num-threads", "1")
    options = (*options, "-params", "n_epochs:1", "n_envs:2")
    finished = run_python(*TRAIN, "--env", "LunarLander-v2", *SHORT, *options, folder=folder)
    (folder / "output.txt").write_text(finished.stdout)
    return folder


def enjoy(
    folder: Path, *options: str, algorithm: str = "ppo_scratch", env: str = "LunarLander-v2", **variables: str
) -> str:
    arguments = ("-m", "rl_zoo3.enjoy", "--algo", algorithm, "--env", env, "-f", "logs", "--no-render", "-n", "600")
    return run_python(*arguments, *options, folder=folder, **variables).stdout


def run_here(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """Run this project's form of a command in this process, which spares it some five seconds of importing."""
    assert main(words) == 0
    return capsys.readouterr().out


def enjoy_here(capsys: pytest.CaptureFixture[str], folder: Path, *options: str, **names: str) -> str:
    """Play as `enjoy` does, in this process."""
    chosen = {"algorithm": "ppo_scratch", "env": "LunarLander-v2", **names}
    arguments = ("--algo", chosen["algorithm"], "--env", chosen["env"], "-f", str(folder / "logs"))
    return run_here(capsys, "enjoy", *arguments, "--no-render", "-n", "600", *options)


def test_main_command_trains_evaluates_and_saves(trained: Path) -> None:
    run = trained / "logs" / "ppo_scratch" / "LunarLander-v2_1"
    for name in ("LunarLander-v2.zip", "best_model.zip", "evaluations.npz", "rl_model_2048_steps.zip", "0.monitor.csv"):
        assert (run / name).is_file(), name
    assert (run / "LunarLander-v2" / "config.yml").is_file()
    assert list((trained / "tb" / "LunarLander-v2").glob("PPO_1/events*"))
    output = (trained / "output.txt").read_text()
    assert "Eval num_timesteps=2048" in output
    assert "('n_epochs', 1)" in output


def test_logged_returns_are_in_original_units(trained: Path) -> None:
    output = (trained / "output.txt").read_text()
    means = [float(value) for value in re.findall(r"ep_rew_mean +\| (-?[\d.e+]+)", output)]
    assert means
    assert all(mean < -20 for mean in means)  # a random lander gets about -200, hence -2 after scaling


@pytest.mark.slow
def test_enjoy_prints_the_returns_that_the_same_run_has_without_the_wrapper(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(trained / "logs", tmp_path / "logs")
    config = tmp_path / "logs" / "ppo_scratch" / "LunarLander-v2_1" / "LunarLander-v2" / "config.yml"
    assert "ScaleReward" in config.read_text()
    settings = yaml.load(config.read_text(), Loader=yaml.UnsafeLoader)
    del settings["env_wrapper"]
    config.write_text(yaml.dump(settings))
    with_wrapper = [float(value) for value in RETURN.findall(enjoy(trained))]
    without_wrapper = [float(value) for value in RETURN.findall(enjoy_here(capsys, tmp_path))]
    assert with_wrapper == without_wrapper
    assert with_wrapper
    assert min(with_wrapper) < -20


def test_enjoy_plays_checkpoints_and_the_best_model(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "rl_model_2048_steps.zip" in enjoy_here(capsys, trained, "--load-checkpoint", "2048")
    assert "best_model.zip" in enjoy_here(capsys, trained, "--load-best", "--device", "cpu")


@pytest.mark.slow
def test_stock_ppo_with_our_wrapper_is_played_in_original_units_and_other_runs_print_what_they_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    config = tmp_path / "mine.yml"
    settings = {"n_timesteps": 256, "policy": "MlpPolicy", "n_steps": 128}
    with_wrapper = {**settings, "env_wrapper": [{"sb3_ppo_scratch.wrappers.ScaleReward": {"scale": 0.01}}]}
    config.write_text(yaml.safe_dump({"LunarLander-v3": with_wrapper, "CartPole-v1": settings}))
    for env in ("LunarLander-v3", "CartPole-v1"):
        arguments = ("--algo", "ppo", "--env", env, "-conf", "mine.yml", "--eval-freq", "-1", "--seed", "1")
        assert main(["train", *arguments]) == 0
    capsys.readouterr()
    unscaled = enjoy_here(capsys, tmp_path, algorithm="ppo", env="LunarLander-v3")
    scaled = enjoy(tmp_path, algorithm="ppo", env="LunarLander-v3", SB3_PPO_SCRATCH_AUTOLOAD="0")
    by_hand = [float(value) * 100 for value in RETURN.findall(scaled)]
    assert [float(value) for value in RETURN.findall(unscaled)] == pytest.approx(by_hand, abs=0.51)
    assert by_hand
    of_other = [
        RETURN.findall(enjoy_here(capsys, tmp_path, algorithm="ppo", env="CartPole-v1")),
        RETURN.findall(enjoy(tmp_path, algorithm="ppo", env="CartPole-v1", SB3_PPO_SCRATCH_AUTOLOAD="0")),
    ]
    assert of_other[0] == of_other[1]
    assert of_other[0]


@pytest.mark.slow
def test_record_video_writes_a_film(trained: Path) -> None:
    arguments = ("--algo", "ppo_scratch", "--env", "LunarLander-v2", "-f", "logs", "-n", "30", "--no-render")
    run_python("-m", "rl_zoo3.record_video", *arguments, folder=trained, SDL_VIDEODRIVER="dummy")
    films = list((trained / "logs").rglob("*.mp4"))
    assert len(films) == 1
    assert films[0].stat().st_size > 1000


@pytest.mark.slow
def test_training_goes_on_from_a_saved_model(trained: Path) -> None:
    model = trained / "logs" / "ppo_scratch" / "LunarLander-v2_1" / "LunarLander-v2.zip"
    arguments = ("--env", "LunarLander-v2", *SHORT, "-params", "n_envs:2", "-i", str(model), "-f", "continued")
    output = run_python(*TRAIN, *arguments, folder=trained).stdout
    assert "Loading pretrained agent" in output
    assert (trained / "continued" / "ppo_scratch" / "LunarLander-v2_1" / "LunarLander-v2.zip").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("env", ["CartPole-v1", "LunarLanderContinuous-v2"])
def test_other_environments_train_in_subprocesses(env: str, tmp_path: Path) -> None:
    options = ("--vec-env", "subproc", "-params", "n_envs:2")  # each environment is a process that imports rl_zoo3
    output = run_python(*TRAIN, "--env", env, *SHORT, "--eval-freq", "-1", *options, folder=tmp_path).stdout
    assert (tmp_path / "logs" / "ppo_scratch" / f"{env}_1" / f"{env}.zip").is_file()
    assert "total_timesteps" in output


@pytest.mark.parametrize("env", ["LunarLander-v3", "LunarLanderContinuous-v3"])
def test_other_environments_train_with_their_file_and_the_binned_one(
    env: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options: tuple[str, ...] = ()
    if env == "LunarLanderContinuous-v3":
        options = ("-conf", str(hyperparams_file("ppo_scratch_binned.yml")))
    run_here(capsys, "train", "--env", env, *SHORT, "--eval-freq", "-1", "-f", str(tmp_path), *options)
    assert (tmp_path / "ppo_scratch" / f"{env}_1" / f"{env}.zip").is_file()


def test_environment_without_a_block_of_its_own_uses_the_default(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("train", "--env", "Acrobot-v1", "-n", "100", "--eval-freq", "-1", "-f", str(tmp_path))
    assert "Using 'default' hyperparameters" in run_here(capsys, *words)


@pytest.mark.slow
def test_script_of_rl_zoo3_knows_the_algorithm(tmp_path: Path) -> None:
    script = ("-m", "rl_zoo3.cli", "train", "--algo", "ppo_scratch", "--env", "CartPole-v1")
    run_python(*script, "-n", "512", "--eval-freq", "-1", folder=tmp_path)
    assert (tmp_path / "logs" / "ppo_scratch" / "CartPole-v1_1" / "CartPole-v1.zip").is_file()


@pytest.mark.slow
def test_optimisation_searches_and_a_trial_can_be_trained(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train = ("train", "--env", "CartPole-v1", "-n", "200", "-f", str(tmp_path))
    study = ("--study-name", "s", "--storage", f"sqlite:///{tmp_path}/s.db")
    search = ("-optimize", "--n-trials", "2", "--n-startup-trials", "1", "--no-optim-plots", "--eval-episodes", "1")
    assert "Number of finished trials:  2" in run_here(capsys, *train, *search, *study)
    assert list((tmp_path / "ppo_scratch").glob("report_CartPole-v1_2-trials-*.csv"))
    output = run_here(capsys, *train, "--eval-freq", "-1", *study, "--trial-id", "1")
    assert "Loading from Optuna study" in output
    assert len(list((tmp_path / "ppo_scratch").glob("CartPole-v1_*/CartPole-v1.zip"))) == 1


# -- --algo reinforce_scratch ------------------------------------------------------------------------------------------

REINFORCE = ("--algo", "reinforce_scratch", "--env", "CartPole-v1")
BRIEF = ("-n", "200", "--eval-freq", "-1")


@pytest.fixture(scope="module")
def reinforced(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which rl_zoo3 has trained with REINFORCE."""
    folder = tmp_path_factory.mktemp("reinforce")
    options = ("-n", "300", "--eval-freq", "200", "--eval-episodes", "1", "--seed", "1")
    run_python("-m", "rl_zoo3.train", *REINFORCE, *options, folder=folder)
    return folder


def reinforce_model(folder: Path, run: int = 1) -> ReinforceScratch:
    return ReinforceScratch.load(folder / "reinforce_scratch" / f"CartPole-v1_{run}" / "CartPole-v1.zip")


def test_reinforce_is_trained_evaluated_and_saved_with_the_settings_of_its_file(reinforced: Path) -> None:
    run = reinforced / "logs" / "reinforce_scratch" / "CartPole-v1_1"
    for name in ("CartPole-v1.zip", "best_model.zip", "evaluations.npz", "0.monitor.csv", "CartPole-v1/config.yml"):
        assert (run / name).is_file(), name
    settings = yaml.safe_load(hyperparams_file("reinforce_scratch.yml").read_text())["CartPole-v1"]
    model = reinforce_model(reinforced / "logs")
    assert model.lr_schedule(1) == settings["learning_rate"]
    for name in ("n_episodes", "gamma", "normalize_returns"):
        assert getattr(model, name) == settings[name]


@pytest.mark.slow
def test_enjoy_plays_reinforces_agents(reinforced: Path) -> None:
    output = enjoy(reinforced, algorithm="reinforce_scratch", env="CartPole-v1")
    returns = [float(value) for value in RETURN.findall(output)]
    env = make_vec_env("CartPole-v1", seed=0)
    expected, _ = evaluate_policy(reinforce_model(reinforced / "logs"), env, len(returns), return_episode_rewards=True)
    assert returns == expected
    assert returns


def test_reinforce_goes_on_from_a_saved_model(reinforced: Path, tmp_path: Path) -> None:
    saved = reinforced / "logs" / "reinforce_scratch" / "CartPole-v1_1" / "CartPole-v1.zip"
    stay = ("-params", "learning_rate:0.0")
    assert main(["train", *REINFORCE, *BRIEF, *stay, "-i", str(saved), "-f", str(tmp_path)]) == 0
    continued = reinforce_model(tmp_path)
    for before, after in zip(
        reinforce_model(reinforced / "logs").policy.parameters(), continued.policy.parameters(), strict=True
    ):
        assert th.equal(before, after)


@pytest.mark.slow
def test_search_for_reinforces_settings_and_training_with_those_of_a_trial(tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path}/s.db"
    study = ("--study-name", "s", "--storage", storage, "-f", str(tmp_path))
    search = ("-optimize", "--n-trials", "2", "--pruner", "none", "--no-optim-plots", "--eval-episodes", "1")
    assert main(["train", *REINFORCE, *BRIEF, *search, *study]) == 0
    trials = optuna.load_study(study_name="s", storage=storage).trials
    assert [trial.state for trial in trials] == [optuna.trial.TrialState.COMPLETE] * 2
    assert main(["train", *REINFORCE, *BRIEF, *study, "--trial-id", "1"]) == 0
    [run] = [path.parent for path in (tmp_path / "reinforce_scratch").glob("*/CartPole-v1.zip")]
    model = reinforce_model(tmp_path, int(run.name.split("_")[1]))
    assert model.gamma == pytest.approx(1 - trials[1].params["one_minus_gamma"])
    assert model.lr_schedule(1) == trials[1].params["learning_rate"]
    for name in ("n_episodes", "reward_to_go", "baseline", "normalize_returns"):
        assert getattr(model, name) == trials[1].params[name]


# -- python -m sb3_ppo_scratch -----------------------------------------------------------------------------------------


@pytest.mark.slow
def test_own_command_line_trains_and_plays_without_the_import_hook(tmp_path: Path) -> None:
    off = {"SB3_PPO_SCRATCH_AUTOLOAD": "0"}
    own = ("-m", "sb3_ppo_scratch")
    model = ("--algo", "ppo_scratch", "--env", "LunarLander-v2")
    run_python(*own, "train", *model, *SHORT, folder=tmp_path, **off)
    output = run_python(*own, "enjoy", *model, "-f", "logs", "--no-render", "-n", "400", folder=tmp_path, **off).stdout
    assert min(float(value) for value in RETURN.findall(output)) < -20
    film = ("record_video", *model, "-f", "logs", "-n", "10", "--no-render")
    run_python(*own, *film, folder=tmp_path, SDL_VIDEODRIVER="dummy", **off)
    assert list((tmp_path / "logs").rglob("*.mp4"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_env": 4}, "does not know `n_env`; did you mean `n_envs`?"),
        ({"clip_rang": 0.1}, "does not know `clip_rang`; did you mean `clip_range`?"),
        (
            {"clip_range": None},
            "`clip_range: null` is refused by rl_zoo3; leave the key out for the default, or write 1.0e+6",
        ),
        ({"learning_rate": "1e-3"}, "`learning_rate: 1e-3` is text in YAML, but no `lin_` schedule; write 1.0e-3"),
        ({"n_envs": 0}, "`n_envs: 0` must be a number of at least 1"),
        ({"n_timesteps": -5}, "`n_timesteps: -5` must be a number of at least 1"),
        ({"normalize": 3}, "`normalize: 3` must be true, false or a mapping"),
        ({"env_wrapper": "sb3_ppo_scratch.wrappers.ScaleRewad"}, "did you mean sb3_ppo_scratch.wrappers.ScaleReward?"),
        ({"callback": [{"nowhere.Callback": {"a": 1}}]}, "'nowhere.Callback' cannot be imported"),
    ],
    ids=["zoo_key", "algorithm_key", "null", "schedule", "n_envs", "n_timesteps", "normalize", "wrapper", "callback"],
)
@pytest.mark.parametrize("algorithm", ["ppo_scratch", "ppo"])
def test_own_train_command_checks_the_file_before_it_starts(
    settings: dict[str, object], message: str, algorithm: str, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    content = {"CartPole-v1": {"n_timesteps": 100, "policy": "MlpPolicy", **settings}}
    (tmp_path / "mine.yml").write_text(yaml.safe_dump(content))
    status = main(["train", "--algo", algorithm, "--env", "CartPole-v1", "-conf", "mine.yml"])
    assert status == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "logs").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_steps": 0}, "error: `n_steps` must be at least 1, got 0"),
        ({"n_steps": 64.0}, "error: `n_steps` must be an integer of at least 1, got 64.0"),
        ({"clip_range": 0.0}, "error: `clip_range` must be finite and positive, got 0.0"),
    ],
)
def test_own_train_command_names_a_bad_value_without_a_traceback(
    settings: dict[str, object], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    content = {"CartPole-v1": {"n_timesteps": 100, "policy": "MlpPolicy", **settings}}
    (tmp_path / "mine.yml").write_text(yaml.safe_dump(content))
    assert main(["train", "--env", "CartPole-v1", "-conf", "mine.yml", "--eval-freq", "-1"]) == 2
    assert message in capsys.readouterr().err


def test_own_commands_mean_our_algorithm_unless_another_is_named() -> None:
    from sb3_ppo_scratch.zoo.commands import with_our_algorithm

    assert with_our_algorithm(["--env", "X-v0"]) == ["--algo", "ppo_scratch", "--env", "X-v0"]
    assert with_our_algorithm(["--env", "X-v0", "--algo", "a2c"]) == ["--env", "X-v0", "--algo", "a2c"]
    assert with_our_algorithm(["--algo=a2c"]) == ["--algo=a2c"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train", "--algo", "ppo_scrach", "--env", "CartPole-v1"], "`ppo_scrach`; did you mean `ppo_scratch`?"),
        (["enjoy", "--algo=pppo", "--env", "CartPole-v1"], "--algo does not know `pppo`; did you mean `ppo`?"),
        (["train", "--env", "CartPol-v1"], "CartPol-v1 not found in gym registry, you maybe meant CartPole-v1?"),
        (["train", "--env", "CartPole-v1", "-i", "none.zip"], "must be a valid path to a .zip file"),
        (
            ["train", "--env", "CartPole-v1", "-conf", "mine.yml"],
            "Hyperparameters not found for ppo_scratch-CartPole-v1",
        ),
        (["enjoy", "--env", "CartPole-v1", "-f", "logs", "--exp-id", "7"], "CartPole-v1_7 folder was not found"),
    ],
)
def test_what_is_not_there_is_named_without_a_traceback(
    words: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "logs").mkdir()
    (tmp_path / "mine.yml").write_text("Acrobot-v1: {n_timesteps: 100, policy: MlpPolicy}")
    assert main(words) == 2
    assert message in capsys.readouterr().err


def test_other_errors_keep_their_traceback() -> None:
    with pytest.raises(ValueError, match=r"^a bug$"), mistakes_named():
        raise ValueError("a bug")


def test_missing_config_file_is_named_without_a_traceback(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["train", "--env", "CartPole-v1", "-conf", str(tmp_path / "none.yml"), "-f", str(tmp_path)]) == 2
    assert "none.yml" in capsys.readouterr().err
