"""Both kinds of installation in a fresh environment, without the development tools, and every promised command there.

What a package forgets to declare shows only where nothing else has brought it along. One more environment has nothing
but SB3: there, stock PPO opens our saved models. Takes minutes (downloads).
"""

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.vec_env import DummyVecEnv

from sb3_ppo_scratch import PPOScratch
from tests.envs import EndingsEnv

pytestmark = pytest.mark.install

ROOT = Path(__file__).parents[2]
TRAIN = ("--algo", "ppo_scratch", "-n", "600", "--eval-freq", "300", "--eval-episodes", "1", "-params", "n_epochs:1")


def run(*command: str | Path, folder: Path, **variables: str) -> str:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    environment = {**inherited, "OMP_NUM_THREADS": "1", "SDL_VIDEODRIVER": "dummy", **variables}
    finished = subprocess.run(
        [str(word) for word in command], cwd=folder, env=environment, capture_output=True, text=True, timeout=1200,
        check=False,
    )  # fmt: skip
    assert finished.returncode == 0, f"{command}\n{finished.stdout[-4000:]}\n{finished.stderr[-4000:]}"
    return finished.stdout


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist and the wheel built from it."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--outdir", folder, ROOT, folder=folder)
    return folder


def new_environment(folder: Path, *what: str | Path) -> Path:
    """Make an environment, install into it, and return its folder of commands."""
    run(sys.executable, "-m", "venv", folder, folder=folder.parent)
    pip = (folder / "bin" / "python", "-m", "pip", "--disable-pip-version-check", "install", "--quiet")
    run(*pip, "--constraint", ROOT / "constraints.txt", *what, folder=folder.parent)
    return folder / "bin"


@pytest.fixture(scope="module", params=["wheel", "editable"])
def commands(request: pytest.FixtureRequest, distributions: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The commands of a fresh environment into which the project was installed."""
    folder = tmp_path_factory.mktemp(request.param) / "venv"
    what: tuple[str | Path, ...] = ("--editable", ROOT)
    if request.param == "wheel":
        what = tuple(distributions.glob("*.whl"))
    return new_environment(folder, *what)


def test_sdist_and_wheel_pass_twine_and_the_wheel_has_everything(distributions: Path) -> None:
    files = list(distributions.iterdir())
    assert sorted(file.suffix for file in files) == [".gz", ".whl"]
    run(sys.executable, "-m", "twine", "check", "--strict", *files, folder=distributions)
    with zipfile.ZipFile(next(distributions.glob("*.whl"))) as wheel:
        names = wheel.namelist()
        entry_points = wheel.read(next(name for name in names if name.endswith("entry_points.txt"))).decode()
    for name in (
        "py.typed",
        "wrappers/bin_action.py",
        "hyperparams/ppo_scratch.yml",
        "hyperparams/ppo_scratch_binned.yml",
        "hyperparams/ladder/reinforce.yml",
        "benchmark/training/plans/ladder.yml",
        "benchmark/training/plans/default.yml",
        "benchmark/comparison/templates/report.html",
        "zoo/autoload.py",
    ):
        assert f"sb3_ppo_scratch/{name}" in names
    assert not [name for name in names if name.startswith(("wrappers/", "hyperparams/", "tests/"))]
    assert "[torch.backends]" in entry_points
    assert "sb3-ppo-scratch = " in entry_points
    with tarfile.open(next(distributions.glob("*.tar.gz"))) as sdist:
        assert any(name.endswith("/sb3_ppo_scratch/wrappers/bin_action.py") for name in sdist.getnames())


@pytest.mark.parametrize("where", ["empty", "clone"])
@pytest.mark.parametrize("env", ["LunarLander-v2", "LunarLanderContinuous-v3"])
def test_main_command_trains_and_enjoys_from_any_folder(commands: Path, env: str, where: str, tmp_path: Path) -> None:
    folder = ROOT if where == "clone" else tmp_path
    logs = tmp_path / "logs"
    python = commands / "python"
    run(python, "-m", "rl_zoo3.train", *TRAIN, "--env", env, "-f", logs, folder=folder)
    played = ("--algo", "ppo_scratch", "--env", env, "-f", logs, "--no-render", "-n", "300")
    assert "Mean reward: " in run(python, "-m", "rl_zoo3.enjoy", *played, folder=folder)


def test_every_other_promised_command_runs(commands: Path, tmp_path: Path) -> None:
    python = commands / "python"
    cartpole = (*TRAIN, "--env", "CartPole-v1")
    options = ("--tensorboard-log", "tb", "-P", "--save-freq", "300", "--num-threads", "1", "--vec-env", "subproc")
    run(commands / "rl_zoo3", "train", *cartpole, *options, folder=tmp_path)
    assert list(tmp_path.glob("tb/CartPole-v1/PPO_1/events*"))
    model = tmp_path / "logs" / "ppo_scratch" / "CartPole-v1_1" / "CartPole-v1.zip"
    run(commands / "rl_zoo3", "train", *cartpole, "-i", model, folder=tmp_path)
    played = ("--algo", "ppo_scratch", "--env", "CartPole-v1", "-f", "logs", "--no-render")
    run(commands / "rl_zoo3", "enjoy", *played, "-n", "100", folder=tmp_path)
    run(python, "-m", "rl_zoo3.record_video", *played, "-n", "20", folder=tmp_path)
    assert list((tmp_path / "logs").rglob("*.mp4"))
    search = ("-optimize", "--n-trials", "1", "--storage", f"sqlite:///{tmp_path}/s.db", "--study-name", "s")
    run(python, "-m", "rl_zoo3.train", *cartpole, *search, folder=tmp_path)
    assert list(tmp_path.rglob("report_CartPole-v1_*.csv"))
    own = {"SB3_PPO_SCRATCH_AUTOLOAD": "0"}
    run(commands / "sb3-ppo-scratch", "train", *cartpole, folder=tmp_path, **own)
    run(commands / "sb3-ppo-scratch", "enjoy", *played, "-n", "100", folder=tmp_path, **own)
    run(commands / "sb3-ppo-scratch", "hyperparams", "--copy", "mine", folder=tmp_path)
    small = ("benchmark", "run", "small", "--seeds", "1", "--share", "100")
    run(commands / "sb3-ppo-scratch", *small, folder=tmp_path, **own)
    run(
        commands / "sb3-ppo-scratch", "benchmark", "report", "logs/benchmark/small", "--trusted", folder=tmp_path, **own
    )
    assert "<video " in (tmp_path / "logs" / "benchmark" / "small" / "report" / "report.html").read_text()
    run(python, "-m", "rl_zoo3.train", "--algo", "ppo", "-n", "600", "--env", "LunarLander-v3", "-conf",
        "mine/ppo_scratch.yml", folder=tmp_path)  # fmt: skip


def test_hook_loads_nothing_but_its_own_few_files(commands: Path, tmp_path: Path) -> None:
    # Its cost in milliseconds is measured in docs/results; here is what that cost follows from.
    code = (
        "import torch, sys; print(sorted(name for name in sys.modules if name.startswith('sb3_ppo_scratch')), "
        "'rl_zoo3' in sys.modules, 'stable_baselines3' in sys.modules)"
    )
    files = ["sb3_ppo_scratch", "sb3_ppo_scratch.post_import", "sb3_ppo_scratch.zoo", "sb3_ppo_scratch.zoo.autoload"]
    assert run(commands / "python", "-c", code, folder=tmp_path) == f"{files} False False\n"


MODELS: dict[str, dict[str, Any]] = {
    "mlp": {"policy": "MlpPolicy", "action_space": spaces.Discrete(3)},
    "cnn": {
        "policy": "CnnPolicy",
        "action_space": spaces.Box(-0.5, 0.5, (2,), np.float32),
        "observation_space": spaces.Box(0, 255, (3, 36, 36), np.uint8),
    },
    "sde": {"policy": "MlpPolicy", "action_space": spaces.Box(-0.5, 0.5, (2,), np.float32), "use_sde": True},
}

STOCK_ONLY = """
import sys
import numpy as np
import torch
from stable_baselines3 import PPO
try:
    import sb3_ppo_scratch
except ModuleNotFoundError:
    pass
else:
    raise SystemExit("the package is installed here")
torch.set_num_threads(1)
for name in sys.argv[1:]:
    model = PPO.load(name + ".zip", device="cpu")
    assert type(model) is PPO
    observations = np.load(name + "_observations.npy")
    with torch.no_grad():
        values = model.policy.predict_values(model.policy.obs_to_tensor(observations)[0]).numpy()
    np.savez(name + "_found.npz", actions=model.predict(observations, deterministic=True)[0], values=values)
"""


def save_model(
    name: str, folder: Path, *, policy: str, action_space: Any, observation_space: Any = None, **arguments: Any
) -> dict[str, np.ndarray]:
    """Save a trained model and observations, and return what the model predicts for them."""
    env = DummyVecEnv([lambda: EndingsEnv(action_space, observation_space)] * 2)
    model = PPOScratch(policy, env, n_steps=8, batch_size=8, learning_rate=3e-3, seed=0, device="cpu", **arguments)
    model.learn(32).save(folder / f"{name}.zip")
    model.policy.observation_space.seed(0)
    observations = np.stack([model.policy.observation_space.sample() for _ in range(50)])
    np.save(folder / f"{name}_observations.npy", observations)
    with th.no_grad():
        values = model.policy.predict_values(model.policy.obs_to_tensor(observations)[0]).numpy()
    return {"actions": model.predict(observations, deterministic=True)[0], "values": values}


def test_stock_opens_saved_models_and_predicts_the_same_where_only_sb3_is_installed(tmp_path: Path) -> None:
    expected = {name: save_model(name, tmp_path, **arguments) for name, arguments in MODELS.items()}
    python = new_environment(tmp_path / "venv", "stable-baselines3") / "python"
    run(python, "-c", STOCK_ONLY, *MODELS, folder=tmp_path)
    for name, predictions in expected.items():
        found = np.load(tmp_path / f"{name}_found.npz")
        assert len(np.unique(predictions["actions"], axis=0)) > 1, f"{name} always acts alike"
        for key, values in predictions.items():
            assert np.array_equal(found[key], values), (name, key)
