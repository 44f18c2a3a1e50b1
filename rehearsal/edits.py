"""Edits of YAML files by key: each other byte, comments too, stays as it is.

PyYAML says where a value begins and ends, and the text is replaced there. A library
that writes the file anew would also change lines that a proposal is not about.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

Keys = Sequence[str]


class EditError(Exception):
    """A file cannot be edited as asked; the message names the file and the key."""


def set_value(file: Path, keys: Keys, value: str) -> None:
    """Replace a scalar; a step of a job is named by its ``name``.

    Raises:
        EditError: there is no such key, its value is a collection, or it is
            ``value`` already.
    """
    text = file.read_text(encoding="utf-8")
    node = _node(file, text, keys)
    if not isinstance(node, yaml.ScalarNode):
        raise EditError(f"{file}: {'.'.join(keys)} is a collection, not a value")
    start, end = node.start_mark.index, node.end_mark.index
    _write(file, keys, f"{text[:start]}{value}{text[end:]}", value)


def add_items(file: Path, keys: Keys, items: Sequence[str]) -> None:
    """Append items to a list, one on each line.

    Raises:
        EditError: there is no such key, it holds no list of that layout, or the list
            holds one of the items already.
    """
    text = file.read_text(encoding="utf-8")
    node = _node(file, text, keys)
    if not isinstance(node, yaml.SequenceNode) or node.flow_style or not node.value:
        raise EditError(f"{file}: {'.'.join(keys)} is not a list with an item per line")
    before = yaml.safe_load(yaml.serialize(node))
    if present := sorted({*before} & {*items}):
        raise EditError(f"{file}: {'.'.join(keys)} holds {present} already")
    end = text.find("\n", node.value[-1].end_mark.index)
    end = len(text) if end < 0 else end
    lines = "".join(f"\n{' ' * node.start_mark.column}- {item}" for item in items)
    _write(file, keys, f"{text[:end]}{lines}{text[end:]}", [*before, *items])


def add_key(file: Path, keys: Keys, name: str, value: str) -> None:
    """Add a key to a mapping, on a line of its own, after the last one.

    Raises:
        EditError: there is no such mapping, or it has the key already.
    """
    text = file.read_text(encoding="utf-8")
    node = _node(file, text, keys)
    if not isinstance(node, yaml.MappingNode) or node.flow_style or not node.value:
        raise EditError(f"{file}: {'.'.join(keys)} is not a mapping with lines")
    if _child(node, name) is not None:
        raise EditError(f"{file}: {'.'.join(keys)} has {name} already")
    end = text.find("\n", _last(node).end_mark.index)
    end = len(text) if end < 0 else end
    line = f"\n{' ' * node.start_mark.column}{name}: {value}"
    expected = {**read_value(file, keys), name: yaml.safe_load(value)}
    _write(file, keys, f"{text[:end]}{line}{text[end:]}", expected)


def remove_key(file: Path, keys: Keys, name: str) -> None:
    """Remove a key of a mapping whose value stands on the key's own line.

    Raises:
        EditError: there is no such key, or its value has lines of its own.
    """
    text = file.read_text(encoding="utf-8")
    value = _node(file, text, (*keys, name))
    if isinstance(value, yaml.CollectionNode) and not value.flow_style:
        raise EditError(f"{file}: {'.'.join(keys)}.{name} has lines of its own")
    start = text.rfind("\n", 0, value.start_mark.index) + 1
    end = text.find("\n", value.end_mark.index) + 1 or len(text)
    expected = {k: v for k, v in read_value(file, keys).items() if k != name}
    _write(file, keys, f"{text[:start]}{text[end:]}", expected)


def read_value(file: Path, keys: Keys) -> Any:
    """Return what a file holds under a key.

    Raises:
        EditError: there is no such key.
    """
    return yaml.safe_load(yaml.serialize(_node(file, file.read_text("utf-8"), keys)))


def _write(file: Path, keys: Keys, text: str, expected: object) -> None:
    """Write the text, after a check that the key changes to what is expected."""
    if read_value(file, keys) == expected:
        raise EditError(f"{file}: {'.'.join(keys)} is {expected} already")
    written = yaml.safe_load(yaml.serialize(_node(file, text, keys)))
    if written != expected:
        raise EditError(f"{file}: {'.'.join(keys)} would be {written}, not {expected}")
    file.write_text(text, encoding="utf-8")


def _node(file: Path, text: str, keys: Keys) -> Any:
    """Return the YAML node under a path of keys."""
    try:
        node: Any = yaml.compose(text)
    except yaml.YAMLError as error:
        raise EditError(f"{file}, edited, is not valid YAML: {error}") from error
    for depth, key in enumerate(keys, 1):
        node = _child(node, key)
        if node is None:
            raise EditError(f"{file} has no key {'.'.join(keys[:depth])}")
    return node


def _last(node: Any) -> Any:
    """Return the last value in a collection: that of a block ends on its own line."""
    while isinstance(node, yaml.CollectionNode) and node.value and not node.flow_style:
        last = node.value[-1]
        node = last[1] if isinstance(last, tuple) else last
    return node


def _child(node: Any, key: str) -> Any:
    """Return what a mapping has under a key, or a list's entry of that ``name``."""
    if isinstance(node, yaml.MappingNode):
        return next((value for name, value in node.value if name.value == key), None)
    if isinstance(node, yaml.SequenceNode):
        for entry in node.value:
            if (name := _child(entry, "name")) is not None and name.value == key:
                return entry
    return None
