"""Tests of `zoo/register.py`: one per fact that rl_zoo3 is told, against the real rl_zoo3."""

import argparse
import inspect
import math
import re
import warnings
from pathlib import Path
from typing import Any

import optuna
import pytest
import rl_zoo3
import yaml
from rl_zoo3 import hyperparams_opt
from rl_zoo3 import utils as zoo_utils
from rl_zoo3.exp_manager import ExperimentManager
from torch import nn

from sb3_ppo_scratch import PPOScratch, ReinforceScratch, torch_threads
from sb3_ppo_scratch.hyperparams import hyperparams_file, hyperparams_files, hyperparams_folder
from sb3_ppo_scratch.networks import SharedTrunk
from sb3_ppo_scratch.zoo import register


@pytest.fixture(autouse=True, scope="module")
def _registered() -> None:
    register.register()


def manager_of(folder: Path, algorithm: str = "ppo_scratch", **keywords: Any) -> ExperimentManager:
    arguments = argparse.Namespace(num_threads=keywords.pop("num_threads", -1))
    env_id = keywords.pop("env_id", "CartPole-v1")
    return ExperimentManager(arguments, algorithm, env_id, str(folder), **{"eval_freq": -1, "verbose": 0, **keywords})


def config_file(folder: Path, **settings: Any) -> str:
    path = folder / "config.yml"
    path.write_text(yaml.safe_dump({"CartPole-v1": {"n_timesteps": 64, "policy": "MlpPolicy", **settings}}))
    return str(path)


def test_algorithms_are_choices() -> None:
    assert zoo_utils.ALGOS["ppo_scratch"] is PPOScratch
    assert zoo_utils.ALGOS["reinforce_scratch"] is ReinforceScratch


def test_reinforce_has_its_own_file_and_search_space(tmp_path: Path) -> None:
    assert manager_of(tmp_path, "reinforce_scratch").config == str(hyperparams_file("reinforce_scratch.yml"))
    fixed = {
        "one_minus_gamma": 0.01, "n_episodes": 5, "learning_rate": 1e-3, "reward_to_go": True, "baseline": "mean",
        "normalize_returns": False, "ent_coef": 1e-3, "max_grad_norm": 1.0, "net_arch": "tiny", "activation_fn": "relu",
    }  # fmt: skip
    trial = optuna.trial.FixedTrial(fixed)
    sampled = hyperparams_opt.HYPERPARAMS_SAMPLER["reinforce_scratch"](trial, 0, 1, {})
    assert sampled["gamma"] == pytest.approx(0.99)
    assert sampled["policy_kwargs"] == {"net_arch": [16], "activation_fn": nn.ReLU}
    assert sampled == hyperparams_opt.HYPERPARAMS_CONVERTER["reinforce_scratch"](fixed)
    ReinforceScratch(policy="MlpPolicy", env="CartPole-v1", **sampled)


def test_registering_twice_changes_nothing() -> None:
    before = (
        ExperimentManager.__init__,
        ExperimentManager.objective,
        zoo_utils.create_test_env,
        rl_zoo3.create_test_env,
    )
    register.register()
    after = (
        ExperimentManager.__init__,
        ExperimentManager.objective,
        zoo_utils.create_test_env,
        rl_zoo3.create_test_env,
    )
    assert before == after


def test_replaced_functions_keep_their_signatures() -> None:
    for function in (ExperimentManager.__init__, zoo_utils.create_test_env, ExperimentManager.read_hyperparameters):
        assert inspect.signature(function) == inspect.signature(inspect.unwrap(function))


def test_our_config_is_read_without_conf_and_theirs_for_others(tmp_path: Path) -> None:
    assert manager_of(tmp_path).config == str(hyperparams_file("ppo_scratch.yml"))
    assert manager_of(tmp_path, config="mine.yml").config == "mine.yml"
    assert Path(manager_of(tmp_path, "ppo").config) == Path(rl_zoo3.__file__).parent / "hyperparams" / "ppo.yml"


def test_search_space_is_ppos_and_the_files_policy_kwargs_survive() -> None:
    fixed = {
        "batch_size_pow": 6, "n_steps_pow": 7, "one_minus_gamma": 0.01, "one_minus_gae_lambda": 0.05,
        "learning_rate": 1e-4, "ent_coef": 1e-3, "clip_range": 0.1, "n_epochs": 5, "max_grad_norm": 0.5,
        "net_arch": "tiny", "activation_fn": "relu",
    }  # fmt: skip
    theirs = hyperparams_opt.HYPERPARAMS_SAMPLER["ppo"](optuna.trial.FixedTrial(fixed), 0, 1, {})
    ours = hyperparams_opt.HYPERPARAMS_SAMPLER["ppo_scratch"](optuna.trial.FixedTrial(fixed), 0, 1, {})
    assert ours == theirs
    assert hyperparams_opt.HYPERPARAMS_CONVERTER["ppo_scratch"] is hyperparams_opt.HYPERPARAMS_CONVERTER["ppo"]


@pytest.mark.parametrize("module", [zoo_utils, rl_zoo3], ids=["utils", "rl_zoo3"])
def test_environments_that_enjoy_makes_pay_the_original_reward(module: Any) -> None:
    wrapped = {"env_wrapper": [{"sb3_ppo_scratch.wrappers.ScaleReward": {"scale": 0.01}}]}
    env = module.create_test_env("CartPole-v1", should_render=False, hyperparams=wrapped)
    env.reset()
    rewards = env.step([0])[1]
    env.close()
    assert rewards == [1.0]


def test_policy_kwargs_of_the_file_reach_every_trials_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[dict[str, Any]] = []

    class Recorded(PPOScratch):
        def _setup_model(self) -> None:
            seen.append(self.policy_kwargs)
            super()._setup_model()

    monkeypatch.setitem(zoo_utils.ALGOS, "ppo_scratch", Recorded)
    config = config_file(tmp_path, policy_kwargs="dict(ortho_init=False, net_arch=[3])")
    manager = manager_of(
        tmp_path, config=config, optimize_hyperparameters=True, n_trials=2, no_optim_plots=True, n_eval_episodes=1
    )
    assert manager.setup_experiment() is None
    manager.hyperparameters_optimization()
    assert len(seen) == 2
    for policy_kwargs in seen:
        assert policy_kwargs["ortho_init"] is False
        assert policy_kwargs["net_arch"] in [{"pi": [64] * n, "vf": [64] * n} for n in (1, 2)] + [
            {"pi": [256, 256], "vf": [256, 256]}
        ]
        assert policy_kwargs["activation_fn"] in (nn.Tanh, nn.ReLU)
    assert register._hyperparams_of_file.get() == {}


def test_search_goes_on_where_the_file_shares_features(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained: list[PPOScratch] = []

    class Recorded(PPOScratch):
        def learn(self, *arguments: Any, **keywords: Any) -> "Recorded":  # what matters is that trials come so far
            trained.append(self)
            return self

    monkeypatch.setitem(zoo_utils.ALGOS, "ppo_scratch", Recorded)
    config = config_file(tmp_path, share_features=True, policy_kwargs="dict(ortho_init=False, net_arch=[3])")
    arguments = {"optimize_hyperparameters": True, "n_trials": 2, "no_optim_plots": True}
    manager = manager_of(tmp_path, config=config, **arguments)
    assert manager.setup_experiment() is None
    manager.hyperparameters_optimization()
    assert len(trained) == 2
    for model in trained:
        assert isinstance(model.policy.features_extractor, SharedTrunk)
        assert model.policy_kwargs["net_arch"] in ([64], [64, 64], [256, 256])
        assert model.policy_kwargs["ortho_init"] is False


@pytest.mark.parametrize("settings", [{"policy_kwargs": "dict(ortho_init=False)"}, {}], ids=str)
@pytest.mark.parametrize("said_by", ["file", "command_line"])
def test_loaded_trial_trains_where_features_are_shared(settings: dict[str, Any], said_by: str, tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path}/study.db"
    study = optuna.create_study(storage=storage, study_name="s", direction="maximize")
    for _ in range(2):  # rl_zoo3 reads trial 0 as "no trial"
        trial = study.ask()
        hyperparams_opt.HYPERPARAMS_SAMPLER["ppo_scratch"](trial, 0, 1, {})
        study.tell(trial, 1.0)
    shared = {"share_features": True}
    config = config_file(tmp_path, **settings, **(shared if said_by == "file" else {}))
    command_line = shared if said_by == "command_line" else None
    manager = manager_of(tmp_path, config=config, storage=storage, study_name="s", trial_id=1, hyperparams=command_line)
    model, _ = manager.setup_experiment()
    sampled = hyperparams_opt.HYPERPARAMS_CONVERTER["ppo"](study.trials[1].params)
    assert model.share_features is True
    assert model.policy_kwargs["net_arch"] == sampled["policy_kwargs"]["net_arch"]["pi"]
    assert model.policy_kwargs.get("ortho_init", True) is (settings == {})


@pytest.mark.parametrize("sampled", [{"net_arch": [32]}, "dict(net_arch=[32])"], ids=str)
def test_layers_that_are_none_of_separate_networks_stay_as_they_are(sampled: Any) -> None:
    assert register.fit_policy_kwargs({"share_features": True}, sampled) == sampled
    separate = {"net_arch": {"pi": [8], "vf": [9]}}
    assert register.fit_policy_kwargs({}, separate) == separate
    assert register.fit_policy_kwargs({"share_features": False}, separate) == separate


@pytest.mark.parametrize(
    "of_file", ["dict(ortho_init=False, net_arch=[3])", {"ortho_init": False, "net_arch": [3]}, None]
)
def test_policy_kwargs_of_the_file_survive_a_loaded_trial(tmp_path: Path, of_file: Any) -> None:
    storage = f"sqlite:///{tmp_path}/study.db"
    study = optuna.create_study(storage=storage, study_name="s", direction="maximize")
    for _ in range(2):  # rl_zoo3 reads trial 0 as "no trial"
        trial = study.ask()
        hyperparams_opt.sample_ppo_params(trial, 0, 1, {})
        study.tell(trial, 1.0)
    config = config_file(tmp_path, **({} if of_file is None else {"policy_kwargs": of_file}))
    manager = manager_of(tmp_path, config=config, storage=storage, study_name="s", trial_id=1)
    model, saved = manager.setup_experiment()
    sampled = hyperparams_opt.HYPERPARAMS_CONVERTER["ppo"](study.trials[1].params)
    assert model.policy_kwargs["net_arch"] == sampled["policy_kwargs"]["net_arch"]
    assert model.policy_kwargs["activation_fn"] is sampled["policy_kwargs"]["activation_fn"]
    assert model.policy_kwargs.get("ortho_init", True) is (of_file is None)
    assert model.gamma == sampled["gamma"]
    assert "policy_kwargs" in saved


SMALL_TRIAL = {
    "batch_size_pow": 5, "n_steps_pow": 5, "one_minus_gamma": 0.01, "one_minus_gae_lambda": 0.05,
    "learning_rate": 1e-4, "ent_coef": 1e-3, "clip_range": 0.1, "n_epochs": 1, "max_grad_norm": 0.5,
    "net_arch": "small", "activation_fn": "relu",
}  # fmt: skip


@pytest.mark.parametrize("name", ["binned_actions", "ordinal_actions"])
def test_bins_of_the_file_survive_a_search_and_a_loaded_trial(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[PPOScratch] = []

    class Recorded(PPOScratch):
        def learn(self, *arguments: Any, **keywords: Any) -> "Recorded":
            trained.append(self)
            return super().learn(*arguments, **keywords)

    monkeypatch.setitem(zoo_utils.ALGOS, "ppo_scratch", Recorded)
    file = hyperparams_file(f"ladder/{name}.yml")
    bins = eval(yaml.safe_load(file.read_text())["LunarLanderContinuous-v3"]["policy_kwargs"])["bins"]
    settings = {"env_id": "LunarLanderContinuous-v3", "config": str(file), "n_timesteps": 32, "n_eval_episodes": 1}
    settings |= {"hyperparams": {"n_envs": 1}, "env_kwargs": {"render_mode": None}}

    searching = manager_of(tmp_path, optimize_hyperparameters=True, **settings)
    assert searching.setup_experiment() is None
    assert math.isfinite(searching.objective(optuna.trial.FixedTrial(SMALL_TRIAL)))

    storage = f"sqlite:///{tmp_path}/study.db"
    study = optuna.create_study(storage=storage, study_name="s")
    drawn = optuna.trial.FixedTrial(SMALL_TRIAL)
    hyperparams_opt.sample_ppo_params(drawn, 0, 1, {})
    finished = optuna.trial.create_trial(params=drawn.params, distributions=drawn.distributions, value=1.0)
    study.add_trials([finished] * 2)  # rl_zoo3 reads trial 0 as "no trial"
    loaded, _ = manager_of(tmp_path, storage=storage, study_name="s", trial_id=1, **settings).setup_experiment()

    assert [len(atoms) for atoms in bins] == [3, 5]
    for model in (*trained, loaded):
        assert model.policy.bins == bins
        assert model.policy.action_net.out_features == 3 + 5
        assert model.policy_kwargs["net_arch"] == {"pi": [64, 64], "vf": [64, 64]}
        assert model.policy_kwargs["activation_fn"] is nn.ReLU
    assert len(trained) == 1


def test_merged_policy_kwargs_given_as_source_are_source_that_rl_zoo3_can_evaluate() -> None:
    merged = register.merge_policy_kwargs("dict(a=1, b=2)", {"b": [3], "activation_fn": nn.ReLU})
    assert merged == "{**dict(a=1, b=2), **{'b': [3], 'activation_fn': nn.ReLU}}"
    assert eval(merged, {"nn": nn}) == {"a": 1, "b": [3], "activation_fn": nn.ReLU}
    assert register.merge_policy_kwargs({"a": 1}, "dict(c=3)") == "dict(c=3)"


def test_unknown_key_is_refused_with_the_nearest_and_others_are_left_to_their_algorithms(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"ppo_scratch \(.*config.yml\) does not know `gama`; did you mean `gamma`"):
        manager_of(tmp_path, config=config_file(tmp_path, gama=0.9)).setup_experiment()
    with pytest.raises(TypeError, match="unexpected keyword argument 'gama'"):
        manager_of(tmp_path, "ppo", config=config_file(tmp_path, gama=0.9)).setup_experiment()


def test_own_options_can_be_set_from_yaml(tmp_path: Path) -> None:
    config = config_file(tmp_path, normalize_observations=True, torch_threads=1, clip_range="lin_0.3")
    model, _ = manager_of(tmp_path, config=config).setup_experiment()
    assert model.normalize_observations is True
    assert model.torch_threads == 1
    assert model.clip_range(0.5) == pytest.approx(0.15)


def test_num_threads_wins_over_auto(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_threads._UserSetting, "kept", False)
    policy = nn.Linear(1, 1)
    manager_of(tmp_path)
    assert torch_threads.choose_threads("auto", policy, 64, 2) == 1
    manager_of(tmp_path, num_threads=2)
    assert torch_threads.choose_threads("auto", policy, 64, 2) == 2
    assert torch_threads.choose_threads(3, policy, 64, 2) == 3


def test_untried_version_of_rl_zoo3_is_warned_about_once() -> None:
    with pytest.warns(UserWarning, match=r"not with 99\.0\.0"):
        register.warn_if_untried("99.0.0")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert register.warn_if_untried("99.0.0") is None


def test_installed_version_of_rl_zoo3_is_one_of_those_tried() -> None:
    assert rl_zoo3.__version__ in register.TRIED_VERSIONS


# -- hyperparameter files ----------------------------------------------------------------------------------------------

LANDERS = [f"LunarLander{kind}-v{version}" for kind in ("", "Continuous") for version in (2, 3)]


def test_main_file_holds_the_five_environments_and_a_default() -> None:
    content = yaml.safe_load(hyperparams_file("ppo_scratch.yml").read_text())
    assert set(content) == {"default", "CartPole-v1", *LANDERS}
    for env_id in LANDERS:
        assert {"sb3_ppo_scratch.wrappers.ScaleReward": {"scale": 0.01}} in content[env_id]["env_wrapper"]


def test_binned_file_holds_the_continuous_landers_with_bins() -> None:
    content = yaml.safe_load(hyperparams_file("ppo_scratch_binned.yml").read_text())
    assert set(content) == {"LunarLanderContinuous-v2", "LunarLanderContinuous-v3"}
    for block in content.values():
        assert [path for entry in block["env_wrapper"] for path in entry] == [
            "sb3_ppo_scratch.wrappers.ScaleReward",
            "sb3_ppo_scratch.wrappers.BinAction",
        ]


def test_solved_file_is_the_monte_carlo_critics_with_a_stop() -> None:
    with_stop = yaml.safe_load(hyperparams_file("ladder/stop_when_solved.yml").read_text())
    stop = {"sb3_ppo_scratch.callbacks.StopWhenSolved": {"threshold": 200, "n_episodes": 10, "verbose": 1}}
    assert [block.pop("callback") for block in with_stop.values()] == [[stop], [stop]]
    assert with_stop == yaml.safe_load(hyperparams_file("ladder/monte_carlo_critic.yml").read_text())


ALGORITHMS_OF_FILE = {
    file.relative_to(hyperparams_folder()).as_posix(): re.findall(r"--algo (\w+)", file.read_text().split("\n\n")[0])
    for file in hyperparams_files()
}
"""As the comment says that each file begins with."""


def test_every_file_says_which_algorithms_it_is_for() -> None:
    known = {"ppo_scratch", "ppo", "reinforce_scratch"}
    assert all(named and set(named) <= known for named in ALGORITHMS_OF_FILE.values()), ALGORITHMS_OF_FILE


@pytest.mark.parametrize(
    ("name", "algorithm"),
    [(name, algorithm) for name, algorithms in ALGORITHMS_OF_FILE.items() for algorithm in algorithms],
)
def test_every_block_of_every_file_builds_a_model_of_its_algorithms(name: str, algorithm: str, tmp_path: Path) -> None:
    file = hyperparams_file(name)
    for env_id in set(yaml.safe_load(file.read_text())) - {"default"}:
        arguments = argparse.Namespace(num_threads=-1)
        manager = ExperimentManager(
            arguments, algorithm, env_id, str(tmp_path), eval_freq=-1, verbose=0, config=str(file)
        )
        model, _ = manager.setup_experiment()
        assert model.n_envs == manager.n_envs
        model.env.close()


def test_unknown_hyperparameter_file_is_named_with_those_there_are() -> None:
    with pytest.raises(FileNotFoundError, match=r"no hyperparameter file 'x\.yml'; there are: .*ppo_scratch\.yml"):
        hyperparams_file("x.yml")
