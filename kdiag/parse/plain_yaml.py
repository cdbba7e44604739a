"""YAML as Kubernetes' own programs write it: mappings and lists in lines of their own, of plain words and figures.

A large library reads the rest: to import it takes as long as all else that a small cluster needs of libraries, and ConfigMaps
that kubeadm wrote are in most clusters. What is read here is what that library (PyYAML, for YAML 1.1) makes of it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

# An entry of a mapping or of a list. What is between quotes has none of them in it, and nothing that stands for something else.
_LINE = re.compile(
    r"( {0,99})(?:(-)|([A-Za-z][A-Za-z0-9_.-]{0,99}):)(?: (?:"
    r"""(?:"([ !#-\[\]-~]{0,999})"|'([ -&(-~]{0,999})')"""
    r"|(-?(?:0|[1-9][0-9]{0,17}))"
    r"|([A-Za-z/](?:[A-Za-z0-9/.,_-]|:(?=[A-Za-z0-9/:])){0,999}"
    r"|[0-9]{1,3}(?:\.[0-9]{1,3}){3}(?:[/:][0-9]{1,5})?(?:,[0-9a-f]*::?[0-9a-f:]*/[0-9]{1,3})?"
    r"|(?:[0-9]{1,9}(?:h|m|s|ms))+)"
    r"|(\{\}|\[\])))?"
)
_WORDS: dict[str, Any] = {"null": None, "true": True, "false": False}
# These mean something in YAML 1.1, however they are spelled.
_ODD_WORDS = frozenset({"yes", "no", "on", "off", "true", "false", "null"})

_Entry = tuple[int, str | None, bool, Any]
"""How far it is from the left, its key (None in a list), whether it has a value, and the value."""


def read_plain(text: str) -> dict[str, Any] | None:
    """The mapping that a text is; None if there is anything in it that is not plain."""
    entries: list[_Entry] = []
    for line in text.split("\n"):
        if line:
            found = _LINE.fullmatch(line)
            entry = _entry(found) if found is not None else None
            if entry is None:
                return None
            entries.append(entry)
    if not entries or entries[0][0]:
        return None
    mapping, at = _mapping(entries, 0)
    return mapping if at == len(entries) else None


def _entry(found: re.Match[str]) -> _Entry | None:
    spaces, item, key, double, single, number, word, empty = found.groups()
    said = [text for text in (double, single, number, word, empty) if text is not None]
    odd = {(key or "").lower(), (word or "").lower() if word not in _WORDS else ""}
    if not odd.isdisjoint(_ODD_WORDS) or (item and not said):
        return None
    value: Any = said[0] if said else None
    if number is not None:
        value = int(number)
    elif word is not None:
        value = _WORDS.get(word, word)
    elif empty is not None:
        value = {} if empty == "{}" else []
    return len(spaces), key, bool(said), value


def _mapping(entries: Sequence[_Entry], at: int) -> tuple[dict[str, Any] | None, int]:
    """The mapping that begins at an entry, and the first one behind it. None if it is not plain."""
    found: dict[str, Any] = {}
    indent = entries[at][0]
    while at < len(entries) and entries[at][0] == indent:
        _, key, has_value, value = entries[at]
        if key is None or key in found:
            return None, at
        at += 1
        if not has_value and at < len(entries):
            beginning, item, _, _ = entries[at]
            if item is None and beginning >= indent:
                value, at = _list(entries, at)
            elif beginning > indent:
                value, at = _mapping(entries, at)
                if value is None:
                    return None, at
        found[key] = value
    return found, at


def _list(entries: Sequence[_Entry], at: int) -> tuple[list[Any], int]:
    """The same of a list."""
    found: list[Any] = []
    indent = entries[at][0]
    while at < len(entries) and entries[at][:2] == (indent, None):
        found.append(entries[at][3])
        at += 1
    return found, at
