"""What rl_zoo3's `-optimize` searches for `--algo reinforce_scratch`.

What is here: drawing hyperparameters, and reading drawn ones. What is not: telling rl_zoo3 about it (`register.py`).
"""

from collections.abc import Mapping
from typing import Any

from torch import nn

ARCHITECTURES = {"tiny": [16], "small": [64], "medium": [64, 64]}
ACTIVATIONS = {"tanh": nn.Tanh, "relu": nn.ReLU}


def sample_reinforce_params(
    trial: Any,
    n_actions: int,  # noqa: ARG001 # rl_zoo3's signature, as those below
    n_envs: int,  # noqa: ARG001
    additional_args: dict[str, Any],  # noqa: ARG001
) -> dict[str, Any]:
    """Draw hyperparameters.

    Args:
        trial: optuna's trial.
        n_actions: Not used.
        n_envs: Not used.
        additional_args: Not used.

    Returns:
        Arguments of `ReinforceScratch`.
    """
    one_minus_gamma = trial.suggest_float("one_minus_gamma", 0.0001, 0.1, log=True)
    trial.set_user_attr("gamma", 1 - one_minus_gamma)
    return convert_reinforce_params(
        {
            "one_minus_gamma": one_minus_gamma,
            "n_episodes": trial.suggest_categorical("n_episodes", [1, 2, 5, 10, 20]),
            "learning_rate": trial.suggest_float("learning_rate", 1e-4, 0.05, log=True),
            "reward_to_go": trial.suggest_categorical("reward_to_go", [True, False]),
            "baseline": trial.suggest_categorical("baseline", ["none", "mean", "value"]),
            "normalize_returns": trial.suggest_categorical("normalize_returns", [True, False]),
            "ent_coef": trial.suggest_float("ent_coef", 1e-8, 0.1, log=True),
            "max_grad_norm": trial.suggest_float("max_grad_norm", 0.3, 10, log=True),
            "net_arch": trial.suggest_categorical("net_arch", sorted(ARCHITECTURES)),
            "activation_fn": trial.suggest_categorical("activation_fn", sorted(ACTIVATIONS)),
        }
    )


def convert_reinforce_params(sampled: Mapping[str, Any]) -> dict[str, Any]:
    """Turn drawn values into hyperparameters.

    Args:
        sampled: A trial's values by name.

    Returns:
        Arguments of `ReinforceScratch`.
    """
    hyperparams = dict(sampled)
    hyperparams["gamma"] = 1 - hyperparams.pop("one_minus_gamma")
    architecture, activation = hyperparams.pop("net_arch"), hyperparams.pop("activation_fn")
    policy_kwargs = {"net_arch": ARCHITECTURES[architecture], "activation_fn": ACTIVATIONS[activation]}
    return {**hyperparams, "policy_kwargs": policy_kwargs}
