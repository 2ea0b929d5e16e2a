"""rl_zoo3's own YAML files, read without running anything that stands in them.

What is here: a loader that knows the one Python object that rl_zoo3 writes, an ordered mapping. What is not: what is
looked up in the files.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

ORDERED = "tag:yaml.org,2002:python/object/apply:collections.OrderedDict"
TUPLE = "tag:yaml.org,2002:python/tuple"


MOST_BYTES = 1 << 17
"""Of a file; rl_zoo3's have some thousand. PyYAML's time for a number to the base 60 grows with its length squared."""
MOST_NODES = 1 << 16
"""Of a file, each counted as often as it is referred to: a few lines may refer to each other endlessly often."""


class _PlainLoader(yaml.SafeLoader):
    """PyYAML's safe loader, with ordered mappings and tuples."""

    def get_single_node(self) -> Any:
        """Read the nodes, before anything is made of them.

        Returns:
            The first.

        Raises:
            ValueError: If there are too many.
        """
        node = super().get_single_node()
        left, n_seen = [node], 0
        while left:
            each = left.pop()
            n_seen += 1
            if n_seen > MOST_NODES:
                raise ValueError(f"more than {MOST_NODES} entries")
            if isinstance(each, yaml.nodes.CollectionNode):
                left.extend(part for entry in each.value for part in (entry if isinstance(entry, tuple) else (entry,)))
        return node


def _ordered(loader: yaml.SafeLoader, node: yaml.nodes.Node) -> dict[Any, Any]:
    """Read `OrderedDict`'s one argument, a list of pairs."""
    assert isinstance(node, yaml.nodes.SequenceNode)
    pairs = loader.construct_sequence(node, deep=True)
    return dict(pairs[0]) if pairs else {}


def _tuple(loader: yaml.SafeLoader, node: yaml.nodes.Node) -> tuple[Any, ...]:
    """Read a tuple."""
    assert isinstance(node, yaml.nodes.SequenceNode)
    return tuple(loader.construct_sequence(node, deep=True))


_PlainLoader.add_constructor(ORDERED, _ordered)
_PlainLoader.add_constructor(TUPLE, _tuple)


def read_plain_yaml(path: Path) -> dict[str, Any]:
    """Read a file of rl_zoo3's.

    Args:
        path: The file.

    Returns:
        Its mapping.

    Raises:
        ValueError: If it holds anything but numbers, text, lists and mappings, or no mapping.
        FileNotFoundError: If there is no such file.
    """
    try:
        if path.stat().st_size > MOST_BYTES:
            raise ValueError(f"more than {MOST_BYTES} bytes")
        content = yaml.load(path.read_text(), Loader=_PlainLoader)
    except FileNotFoundError:
        raise
    except Exception as error:  # PyYAML lets through whatever Python says to bad numbers, dates and keys
        raise ValueError(f"{path} holds more than plain settings, or is damaged: {error}") from error
    if not isinstance(content, Mapping):
        raise ValueError(f"{path} holds no settings.")
    return dict(content)
