"""Everything that rl_zoo3 has to be told about this project, one function per fact.

What is here: what is registered. What is not: when (`autoload.py` by import hook, `commands.py` by an explicit call).
rl_zoo3 has no plug-in interface, so some of its functions are replaced by ones that call them; each replacement acts
for this project's algorithm or wrapper only, and replacing twice changes nothing.
"""

import functools
import inspect
import io
import sys
import warnings
from collections.abc import Callable, Mapping, MutableMapping
from contextlib import redirect_stdout
from contextvars import ContextVar
from importlib.metadata import version
from types import MappingProxyType
from typing import Any

from sb3_ppo_scratch.errors import check_known_names
from sb3_ppo_scratch.hyperparams import hyperparams_file
from sb3_ppo_scratch.zoo import ALGORITHMS
from sb3_ppo_scratch.zoo.lunar_lander_ids import IDS, give_notice_once
from sb3_ppo_scratch.zoo.reinforce_search import convert_reinforce_params, sample_reinforce_params
from sb3_ppo_scratch.zoo.wrapper_lists import with_unscaled_reward

PPO, REINFORCE = ALGORITHMS
TRIED_VERSIONS = ("2.9.0", "2.9.1", "2.9.2")
"""Versions of rl_zoo3 with which the tests of this folder have passed."""

_MARK = "__sb3_ppo_scratch__"
_NONE: Mapping[str, Any] = MappingProxyType({})
_hyperparams_of_file: ContextVar[Mapping[str, Any]] = ContextVar("hyperparams_of_file", default=_NONE)


def register() -> None:
    """Tell rl_zoo3 everything, now."""
    register_algorithm()
    register_experiment_manager()


def register_algorithm() -> None:
    """Tell `rl_zoo3.utils`: the algorithm, and in which units to play it."""
    import rl_zoo3
    from rl_zoo3 import utils  # by this form also while rl_zoo3's own import is under way

    add_algorithm(utils.ALGOS)
    for module in (utils, rl_zoo3):
        if hasattr(module, "create_test_env"):
            play_in_original_units(module)
    try:
        warn_if_untried(version("rl_zoo3"))
    except Warning as warning:  # under `python -W error`, which is no reason to go without the algorithm
        print(f"sb3-ppo-scratch: {warning}", file=sys.stderr)


def register_experiment_manager() -> None:
    """Tell `rl_zoo3.exp_manager`: config file, keys, threads, and the hyperparameter search."""
    from rl_zoo3 import hyperparams_opt
    from rl_zoo3.exp_manager import ExperimentManager

    register_algorithm()
    share_search_space(hyperparams_opt.HYPERPARAMS_SAMPLER, hyperparams_opt.HYPERPARAMS_CONVERTER)
    use_packaged_config(ExperimentManager)
    announce_lunar_lander_v2(ExperimentManager)
    honour_num_threads(ExperimentManager)
    refuse_unknown_keys(ExperimentManager)
    keep_policy_kwargs_while_searching(ExperimentManager)
    keep_policy_kwargs_of_loaded_trial(ExperimentManager)
    keep_faults_beside_runs(ExperimentManager)


@functools.cache
def warn_if_untried(zoo_version: str) -> None:
    """Warn, once, if the installed rl_zoo3 is none of those that the tests have run with.

    Args:
        zoo_version: The installed version.
    """
    if zoo_version not in TRIED_VERSIONS:
        warnings.warn(
            f"sb3-ppo-scratch was tried with rl_zoo3 {', '.join(TRIED_VERSIONS)}, not with {zoo_version}; "
            "if something fails, `python -m sb3_ppo_scratch` shows whether the import hook is the reason.",
            stacklevel=2,
        )


def add_algorithm(algorithms: MutableMapping[str, Any]) -> None:
    """Make this project's algorithms choices of `--algo` (this table's keys when arguments are parsed).

    Args:
        algorithms: rl_zoo3's table of names and classes.
    """
    from sb3_ppo_scratch.ppo_scratch import PPOScratch
    from sb3_ppo_scratch.reinforce import ReinforceScratch

    algorithms[PPO], algorithms[REINFORCE] = PPOScratch, ReinforceScratch


def play_in_original_units(module: Any) -> None:
    """Let `enjoy` print returns in the environment's units: it sums rewards outside the wrappers.

    Args:
        module: A module with a `create_test_env`. Environments whose saved config contains this project's `ScaleReward`
            are made with scale 1 there; all others exactly as before.
    """

    def replacement(original: Callable[..., Any]) -> Callable[..., Any]:
        signature = inspect.signature(original)

        def create_test_env(*arguments: Any, **keywords: Any) -> Any:
            hyperparams = signature.bind_partial(*arguments, **keywords).arguments.get("hyperparams")
            if hyperparams and "env_wrapper" in hyperparams:
                hyperparams["env_wrapper"] = with_unscaled_reward(hyperparams["env_wrapper"])
            return original(*arguments, **keywords)

        return create_test_env

    _replace(module, "create_test_env", replacement)


def share_search_space(samplers: MutableMapping[str, Any], converters: MutableMapping[str, Any]) -> None:
    """Tell `-optimize` and `--trial-id` what to search: for PPO what they do for `ppo`.

    Args:
        samplers: rl_zoo3's table of functions that draw hyperparameters.
        converters: rl_zoo3's table of functions that turn drawn values into hyperparameters.
    """
    samplers[PPO] = _keeping_policy_kwargs(samplers["ppo"])
    samplers[REINFORCE] = _keeping_policy_kwargs(sample_reinforce_params)
    converters[PPO], converters[REINFORCE] = converters["ppo"], convert_reinforce_params


def _keeping_policy_kwargs(sampler: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """Let a sampler merge its `policy_kwargs` into the file's, which they would replace otherwise."""

    def sample(trial: Any, n_actions: int, n_envs: int, additional_args: dict[str, Any]) -> dict[str, Any]:
        sampled = sampler(trial, n_actions, n_envs, additional_args)
        return {**sampled, "policy_kwargs": fit_policy_kwargs(_hyperparams_of_file.get(), sampled["policy_kwargs"])}

    return sample


def use_packaged_config(manager: Any) -> None:
    """Read this project's file where no `-conf` is given: rl_zoo3 would look for one in its own folder.

    Args:
        manager: rl_zoo3's `ExperimentManager`.
    """

    def point_at_our_file(experiment: Any, given: Mapping[str, Any]) -> None:
        if experiment.algo in ALGORITHMS and not given.get("config"):
            experiment.config = str(hyperparams_file(f"{experiment.algo}.yml"))

    _after_construction(manager, "config", point_at_our_file)


def announce_lunar_lander_v2(manager: Any) -> None:
    """Say what v2 means also where only worker processes make the environment (`--vec-env subproc`).

    Args:
        manager: rl_zoo3's `ExperimentManager`.
    """

    def announce(_experiment: Any, given: Mapping[str, Any]) -> None:
        if given["env_id"] in IDS:
            give_notice_once()

    _after_construction(manager, "v2", announce)


def honour_num_threads(manager: Any) -> None:
    """Let `--num-threads` win over `torch_threads="auto"`.

    Args:
        manager: rl_zoo3's `ExperimentManager`, whose argument `args` is the parsed command line.
    """

    def keep_threads(_experiment: Any, given: Mapping[str, Any]) -> None:
        if getattr(given["args"], "num_threads", -1) > 0:
            from sb3_ppo_scratch.torch_threads import keep_current_threads

            keep_current_threads()

    _after_construction(manager, "threads", keep_threads)


def refuse_unknown_keys(manager: Any) -> None:
    """Name a key of the YAML file (or of `-params`) that the algorithm does not know, before an environment is made.

    Args:
        manager: rl_zoo3's `ExperimentManager`.
    """

    def replacement(original: Callable[..., Any]) -> Callable[..., Any]:
        def _preprocess_hyperparams(self: Any, hyperparams: dict[str, Any]) -> Any:
            result = original(self, hyperparams)
            if self.algo in ALGORITHMS:
                check_known_names(result[0], algorithm_arguments(self.algo), where=f"{self.algo} ({self.config})")
            return result

        return _preprocess_hyperparams

    _replace(manager, "_preprocess_hyperparams", replacement)


def algorithm_arguments(algorithm: str) -> set[str]:
    """List what a YAML file may say to an algorithm.

    Args:
        algorithm: A name in rl_zoo3's table.

    Returns:
        The names of its constructor's arguments, without those that rl_zoo3 gives itself.
    """
    from rl_zoo3.utils import ALGOS

    given_by_zoo = {"self", "env", "tensorboard_log", "seed", "verbose", "device", "_init_setup_model"}
    return set(inspect.signature(ALGOS[algorithm].__init__).parameters) - given_by_zoo


def keep_faults_beside_runs(manager: Any) -> None:
    """Let what is written when a fault ends a run lie in the run's folder.

    Args:
        manager: rl_zoo3's `ExperimentManager`.
    """

    def replacement(original: Callable[..., Any]) -> Callable[..., Any]:
        def setup_experiment(self: Any) -> Any:
            result = original(self)
            if result is not None and self.algo in ALGORITHMS:
                result[0].fault_folder = self.save_path
            return result

        return setup_experiment

    _replace(manager, "setup_experiment", replacement)


def keep_policy_kwargs_while_searching(manager: Any) -> None:
    """Hand the file's hyperparameters to this project's sampler, whose `policy_kwargs` replace the file's otherwise.

    Args:
        manager: rl_zoo3's `ExperimentManager`.
    """

    def replacement(original: Callable[..., float]) -> Callable[..., float]:
        def objective(self: Any, trial: Any) -> float:
            token = _hyperparams_of_file.set(self._hyperparams)
            try:
                return original(self, trial)
            finally:
                _hyperparams_of_file.reset(token)

        return objective

    _replace(manager, "objective", replacement)


def keep_policy_kwargs_of_loaded_trial(manager: Any) -> None:
    """Merge the `policy_kwargs` of a trial read by `--trial-id` into the file's, which they replace otherwise.

    Args:
        manager: rl_zoo3's `ExperimentManager`.
    """

    def replacement(original: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
        def load_trial(self: Any, *arguments: Any, **keywords: Any) -> dict[str, Any]:
            loaded = original(self, *arguments, **keywords)
            if self.algo not in ALGORITHMS or "policy_kwargs" not in loaded:
                return loaded
            return {**loaded, "policy_kwargs": fit_policy_kwargs(_read_file(self), loaded["policy_kwargs"])}

        return load_trial

    _replace(manager, "load_trial", replacement)


def _read_file(manager: Any) -> Mapping[str, Any]:
    """Read the config file's hyperparameters: as rl_zoo3 does, silently, and without the trial."""
    trial_id, manager.trial_id = manager.trial_id, None
    try:
        with redirect_stdout(io.StringIO()):
            hyperparams, _ = manager.read_hyperparameters()
    finally:
        manager.trial_id = trial_id
    read: Mapping[str, Any] = hyperparams
    return read


def fit_policy_kwargs(of_file: Mapping[str, Any], sampled: Any) -> str | dict[str, Any]:
    """Fit sampled `policy_kwargs` to the file: its own are kept, and what actor and critic share has one `net_arch`.

    Args:
        of_file: The file's hyperparameters.
        sampled: The sampled `policy_kwargs`, as for `merge_policy_kwargs`.

    Returns:
        As `merge_policy_kwargs`; with `share_features` in the file, separate layers are replaced by the actor's.
    """
    if of_file.get("share_features") and not isinstance(sampled, str) and isinstance(sampled.get("net_arch"), Mapping):
        sampled = {**sampled, "net_arch": sampled["net_arch"]["pi"]}
    return merge_policy_kwargs(of_file.get("policy_kwargs"), sampled)


def merge_policy_kwargs(of_file: str | Mapping[str, Any] | None, sampled: Any) -> str | dict[str, Any]:
    """Let sampled `policy_kwargs` win over the file's, key by key.

    Args:
        of_file: The file's: a mapping, or Python source that rl_zoo3 evaluates later; None: the file has none.
        sampled: The sampled ones (a string only if the command line gave them, which wins).

    Returns:
        The merged ones, as source if the file's are.
    """
    if isinstance(sampled, str):
        return sampled
    if not isinstance(of_file, str):
        return {**(of_file or {}), **sampled}
    source = ", ".join(f"{key!r}: {_as_source(value)}" for key, value in sampled.items())
    return f"{{**{of_file}, **{{{source}}}}}"


def _as_source(value: Any) -> str:
    """Write a sampled value as rl_zoo3 would evaluate it, with `nn` in its namespace."""
    return f"nn.{value.__name__}" if isinstance(value, type) else repr(value)


def _after_construction(manager: Any, purpose: str, action: Callable[[Any, Mapping[str, Any]], None]) -> None:
    """Call `action` with every new experiment and the arguments it was made with, by name."""

    def replacement(original: Callable[..., None]) -> Callable[..., None]:
        signature = inspect.signature(original)

        def __init__(self: Any, *arguments: Any, **keywords: Any) -> None:  # noqa: N807 # a constructor's replacement
            original(self, *arguments, **keywords)
            action(self, signature.bind(self, *arguments, **keywords).arguments)

        return __init__

    _replace(manager, "__init__", replacement, mark=f"{_MARK}{purpose}")


def _replace(
    owner: Any, name: str, replacement: Callable[[Callable[..., Any]], Callable[..., Any]], *, mark: str = _MARK
) -> None:
    """Replace a function by one that wraps it, unless that was done before."""
    original = getattr(owner, name)
    if hasattr(original, mark):
        return
    wrapped = functools.wraps(original)(replacement(original))
    setattr(wrapped, mark, True)
    setattr(owner, name, wrapped)
