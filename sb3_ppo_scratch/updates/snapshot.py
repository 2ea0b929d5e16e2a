"""Tells whether anything about a policy has been set since it was looked at.

What is here: one list of everything that hangs on a policy's modules and optimiser, and comparing it. What is not: what
was looked for (`update_choice.py`), and whether parameters have moved in memory (`flat_memory.py`).

Looking for all that decides whether the closed form covers a policy takes milliseconds, comparing two lists
microseconds. Nothing has to be known about modules for it: what they do depends on their attributes, on the entries of
those that are dictionaries (parts, parameters, hooks), and on code that does not change.
"""

import itertools
import operator
from collections.abc import Iterable, Mapping
from typing import Any

import torch as th
from stable_baselines3.common.policies import ActorCriticPolicy

OF_PARAMETERS = operator.attrgetter("requires_grad", "_backward_hooks", "_post_accumulate_grad_hooks")


class Entries:
    """What some dictionaries hold now.

    Args:
        dictionaries: Any.
    """

    def __init__(self, dictionaries: Iterable[Mapping[Any, Any]]) -> None:
        # Views, which show what the dictionaries hold whenever they are looked at.
        self._views = [dictionary.values() for dictionary in dictionaries]
        self._objects = self._look()

    def are_the_same(self) -> bool:
        """Tell whether they hold the very same objects, in the same order."""
        objects = self._look()
        return len(objects) == len(self._objects) and all(map(operator.is_, objects, self._objects))

    def _look(self) -> list[Any]:
        return list(itertools.chain.from_iterable(self._views))


def parts_of(module: th.nn.Module) -> Entries:
    """Look at what a module consists of.

    Args:
        module: The module.

    Returns:
        All modules and parameters in it, at any depth.
    """
    return Entries(parts for each in module.modules() for parts in (each._modules, each._parameters) if parts)


class Snapshot:
    """A policy and its optimiser as they are now.

    Args:
        policy: The policy.
    """

    def __init__(self, policy: ActorCriticPolicy) -> None:
        self._policy, self._optimizer, self._parameters = policy, policy.optimizer, list(policy.parameters())
        attributes = [vars(part) for part in (*policy.modules(), policy.optimizer)]
        entries = [each for attribute in attributes for each in attribute.values() if isinstance(each, dict)]
        states = policy.optimizer.state.values()
        self._entries, self._values = Entries((*attributes, *entries, *states)), self._look_at_values()

    def is_current(self, policy: ActorCriticPolicy) -> bool:
        """Tell whether a policy is this one and everything about it is as it was, its parameters' values excepted.

        Args:
            policy: The policy.

        Returns:
            Whether that is so. False also for changes that make no difference, such as a counter in a module.
        """
        if policy is not self._policy or policy.optimizer is not self._optimizer:
            return False
        return self._entries.are_the_same() and self._look_at_values() == self._values

    def _look_at_values(self) -> list[Any]:
        """List what may be equal without being the same; the learning rate may be any number."""
        groups = [
            [type(value) if name == "lr" else id(value) for name, value in group.items()]
            for group in self._optimizer.param_groups
        ]
        in_groups = [[*map(id, group["params"])] for group in self._optimizer.param_groups]
        return [groups, in_groups, *map(OF_PARAMETERS, self._parameters)]
