"""Saving models and loading them, from files that one trusts and from those that one does not.

What is here: SB3's file with a description of what it pickles, and the way back. What is not: the format of both
(`untrusted/`), and checkpoints of runs (`resumable_run.py`).
"""

import functools
import inspect
import io
import pathlib
import warnings
from abc import abstractmethod
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import torch as th
from stable_baselines3.common.save_util import open_path
from stable_baselines3.common.type_aliases import GymEnv
from stable_baselines3.common.utils import check_for_correct_spaces

from sb3_ppo_scratch.argument_checks import CHECKS, OWN_CHECKS, SB3_CHECKS
from sb3_ppo_scratch.errors import ArgumentError, check_known_names
from sb3_ppo_scratch.live_attributes import IN_PARAMETERS, unchangeable
from sb3_ppo_scratch.resumable_run import OF_A_RUN, ResumableRun
from sb3_ppo_scratch.saved_settings import read_saved_settings, read_whole
from sb3_ppo_scratch.untrusted.bounded_memory import BoundedTensors
from sb3_ppo_scratch.untrusted.saved_model import SavedModel, read_model, refusing, with_description, with_settings
from sb3_ppo_scratch.untrusted.soundness import check_optimizer, check_policy
from sb3_ppo_scratch.value_checks import Check, check_arguments, check_positive_integer, check_unless

if TYPE_CHECKING:
    from typing_extensions import Self  # in `typing` only since Python 3.11

Kwargs = dict[str, Any]
"""Keyword arguments for something that is built later."""
AnyPath = str | pathlib.Path | io.BufferedIOBase
NOT_SAVED = ("fault_folder", "_choose_device", "_keep_buffer_class", "_update_choice", "_announced_update", *OF_A_RUN)
"""Attributes that a new model makes anew."""
NOT_FOR_STOCK = "this_file_needs_sb3_ppo_scratch"
"""An argument that no rollout buffer has: in a file it stops stock PPO from continuing a run in another way."""
OF_SPACES = frozenset({"observation_space", "action_space", "n_envs"})
"""Attributes that a model has once it has an environment."""
_COUNT = functools.partial(check_positive_integer, remedy="the file is damaged")
_CHECKED_IN_FILES = (
    *("batch_size", "n_epochs", "gamma", "gae_lambda", "normalize_advantage", "ent_coef", "vf_coef", "max_grad_norm"),
    *("use_sde", "sde_sample_freq", "target_kl", "verbose", "seed"),
)
UNTRUSTED_CHECKS: Mapping[str, Check] = {
    **OWN_CHECKS,
    **{name: SB3_CHECKS[name] for name in _CHECKED_IN_FILES},
    **dict.fromkeys(("n_steps", "n_envs", "_stats_window_size"), _COUNT),
    **dict.fromkeys(
        ("num_timesteps", "_total_timesteps", "_n_updates", "_episode_num"),
        functools.partial(check_unless, (0,), _COUNT),
    ),
}
"""Of what such a file says; rl_zoo3 plays with a `clip_range` and a `learning_rate` that their checks refuse."""


class ModelFiles(ResumableRun):
    """An on-policy algorithm with files that need not be unpickled."""

    told_by: ClassVar[str]
    """A setting that stands in this algorithm's files, and in no other one's."""

    def _excluded_save_params(self) -> list[str]:
        """Name what is rebuilt by `_setup_model` and thus not saved.

        Returns:
            Attribute names.
        """
        return [*super()._excluded_save_params(), *NOT_SAVED]

    @property
    @abstractmethod
    def _learns_otherwise_than_stock(self) -> bool:
        """Whether stock PPO, which ignores attributes that it does not know, would go on in another way."""

    def save(
        self,
        path: str | pathlib.Path | io.BufferedIOBase,
        exclude: Iterable[str] | None = None,
        include: Iterable[str] | None = None,
    ) -> None:
        """Save everything to a zip file, in SB3's format, and describe beside it what SB3 pickles.

        What cannot be described (a schedule or policy of one's own) is named in a warning: `load` with `trusted=False`
        then needs it in `custom_objects`.

        Args:
            path: Where to.
            exclude: Attributes to leave out.
            include: Attributes to save that would be left out.
        """
        chosen, saved = self.rollout_buffer_kwargs, io.BytesIO()
        if self._learns_otherwise_than_stock:
            self.rollout_buffer_kwargs = {**chosen, NOT_FOR_STOCK: True}
        try:
            super().save(saved, exclude, include)
            content, left_out = with_description(saved.getvalue(), vars(self))
        finally:
            self.rollout_buffer_kwargs = chosen
        if left_out:
            _warn_of_pickles(left_out)
        file = open_path(path, "w", suffix="zip")
        file.write(content)
        if file is not path:
            file.close()

    @classmethod
    def load(
        cls,
        path: AnyPath,
        env: GymEnv | None = None,
        device: th.device | str = "auto",
        custom_objects: Kwargs | None = None,
        print_system_info: bool = False,
        force_reset: bool = True,
        *,
        trusted: bool = True,
        **kwargs: Any,
    ) -> "Self":
        """Load a model that this class or, for `PPOScratch`, SB3's PPO has saved.

        Args:
            path: The zip file.
            env: Environment to continue with; None: the model can only predict until `set_env`.
            device: Where to load the parameters.
            custom_objects: Objects to use in place of those in the file, by name.
            print_system_info: Whether to print versions, saved and current.
            force_reset: Whether the environment is reset before training goes on.
            trusted: Whether to unpickle what the file holds, as SB3 does, which runs whatever code stands in it. False:
                nothing is; this project's files say by data what they hold. `tensorboard_log`, a path, is left out.
            **kwargs: Constructor arguments to change.

        Returns:
            The model.

        Raises:
            ArgumentTypeError: If there is no such argument, the file decides it (stock would never read it), or it has
                a wrong type.
            ArgumentError: If the file is another algorithm's, or an argument has a value that is unusable, contradicts
                the file's others, or would need another policy.
            UnsafeFileError: With `trusted=False`, if the file is damaged, made to do harm, or not described by data.
        """
        changes = cls._checked_changes(kwargs)
        if not trusted:
            return cls._load_described(path, env, device, custom_objects or {}, changes)
        cls._check_file(read_saved_settings(path), path, kwargs)
        return super().load(path, env, device, custom_objects, print_system_info, force_reset, **changes)

    @classmethod
    def _checked_changes(cls, arguments: Kwargs) -> Kwargs:
        """Check arguments that are to be changed, and name them as the attributes that hold them.

        Args:
            arguments: By name.

        Returns:
            Attributes by name.

        Raises:
            ArgumentTypeError: If there is no such argument, or one has a wrong type.
            ArgumentError: If one has an unusable value.
        """
        known = set(inspect.signature(cls.__init__).parameters) - {"self", "policy", "env", "_init_setup_model"}
        check_known_names(arguments, known, where=f"{cls.__name__}.load")
        check_arguments(arguments, CHECKS)
        changes = dict(arguments)
        if "stats_window_size" in changes:  # the one argument that SB3 stores under another name
            changes["_stats_window_size"] = changes.pop("stats_window_size")
        if changes.get("rollout_buffer_class") is not None:
            changes["_keep_buffer_class"] = True
        return changes

    @classmethod
    def _load_described(
        cls, path: AnyPath, env: GymEnv | None, device: th.device | str, custom_objects: Kwargs, changes: Kwargs
    ) -> "Self":
        """Load a file without unpickling it; arguments are those of `load`."""
        with refusing(path):
            saved = read_model(read_whole(path), custom_objects)
            attributes = {**cls._known_attributes(saved.attributes), **custom_objects}
            check_arguments(attributes, UNTRUSTED_CHECKS)
            spaces_of_file = attributes["observation_space"], attributes["action_space"]
        cls._check_file(attributes, path, changes)
        if env is not None:
            env = cls._wrap_env(env, attributes["verbose"])
            check_for_correct_spaces(env, *spaces_of_file)
        with refusing(path):
            return cls._make_described(saved, attributes, env, device, changes)

    @classmethod
    def _make_described(
        cls, saved: SavedModel, attributes: Kwargs, env: GymEnv | None, device: th.device | str, changes: Kwargs
    ) -> "Self":
        """Make the model that a file describes.

        Args:
            saved: What the file holds.
            attributes: What is taken over of it, by name.
            env: Environment to continue with, or None.
            device: Where to load the parameters.
            changes: Constructor arguments by name.

        Returns:
            The model.
        """
        check_policy(attributes["policy_class"], attributes["policy_kwargs"], saved.policy)
        shape = {"n_steps": attributes["n_steps"], "n_envs": attributes["n_envs"] if env is None else 1}
        shapeless = attributes | dict.fromkeys(shape, 1)
        with BoundedTensors(saved.policy.values()):
            model = super().load(with_settings(saved.tensors, shapeless), env, device, shapeless, **changes)
        check_optimizer(model.policy)
        if "n_steps" not in changes:
            model.n_steps = shape["n_steps"]
        if env is None:
            model.n_envs = shape["n_envs"]
        # The buffer takes its memory when the first rollout begins.
        model.rollout_buffer.buffer_size, model.rollout_buffer.n_envs = model.n_steps, model.n_envs
        return model

    @classmethod
    def _known_attributes(cls, attributes: Mapping[str, Any]) -> Kwargs:
        """Choose the attributes that a model of this class saves."""
        algorithm: Any = cls
        empty = algorithm("MlpPolicy", None, _init_setup_model=False)  # as SB3's `load` makes it
        known = vars(empty).keys() - set(empty._excluded_save_params()) | OF_SPACES
        return {name: value for name, value in attributes.items() if name in known}

    @classmethod
    def _check_file(cls, saved: Mapping[str, Any], path: AnyPath, changes: Kwargs) -> None:
        """Refuse files of other algorithms, and changes that the policy in the file cannot follow.

        Args:
            saved: The model's attributes by name, as far as they are numbers or text.
            path: The zip file, for messages.
            changes: Constructor arguments by name.

        Raises:
            ArgumentError: As `load` says.
        """
        if cls.told_by not in saved:
            raise ArgumentError(
                f"{path} holds no model of {cls.__name__}: it says nothing of `{cls.told_by}`; load it with the class "
                "that has saved it."
            )
        defaults = inspect.signature(cls.__init__).parameters
        for name in IN_PARAMETERS:
            if name in changes and changes[name] != saved.get(name, defaults[name].default):
                raise ArgumentError(unchangeable(name, changes[name]))


def _warn_of_pickles(left_out: Mapping[str, str]) -> None:
    """Name what only unpickling can read.

    Args:
        left_out: What it is, by name.
    """
    what = ", ".join(f"`{name}` ({each})" for name, each in left_out.items())
    warnings.warn(
        f"{what} cannot be described by data; `load` with trusted=False will ask for it in custom_objects.",
        stacklevel=4,
    )
