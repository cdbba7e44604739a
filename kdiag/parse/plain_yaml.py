"""YAML as programs write it: mappings of plain words, one a line. kubeadm's ConfigMaps are such.

To import a parser of YAML, and to read three of these with it, takes a fifteenth of a small run. What is read here is what that
parser makes of it (tests/parse/test_plain_yaml.py compares the two); all else is left to it, above all whatever is wrong.
"""

from __future__ import annotations

import re
from typing import Any

_LINE = re.compile(r"( *)(?:- (\S+)|([A-Za-z][A-Za-z0-9_-]{0,99}):(?: (\S+))?)")
_WORDS = {'""': "", "''": "", "null": None, "true": True, "false": False}
_SPECIAL = frozenset({"yes", "no", "true", "false", "on", "off", "null"})
"""Words that are no text however they are written."""

_NUMBER = re.compile(r"0|-?[1-9][0-9]{0,17}")
_NETWORK = "[0-9a-f][0-9a-f:.]*/[0-9]{1,3}"
_TEXT = re.compile(
    r"[A-Za-z/][A-Za-z0-9/._,=+-]*|[0-9]{1,3}(?:\.[0-9]{1,3}){3}|(?:[0-9]+(?:ns|us|ms|[smh]))+"
    rf"|{_NETWORK}(?:,{_NETWORK})*"
)
_QUOTED = re.compile(r"\"([A-Za-z0-9/._,:=+-]*)\"|'([A-Za-z0-9/._,:=+-]*)'")


def read_plain(text: str) -> dict[str, Any] | None:
    """The mapping that a document holds; None if it takes a parser to tell."""
    root: dict[str, Any] = {}
    within = [(0, root)]
    opened: tuple[dict[str, Any], str, int] | None = None
    """The last key if it had no value, and its indentation: what follows may be its mapping or list."""
    items: tuple[int, list[Any]] | None = None
    try:
        for line in filter(None, text.split("\n")):
            read = _LINE.fullmatch(line)
            if read is None:
                return None
            indent, item, key, value = len(read[1]), read[2], read[3], read[4]
            if item is not None:
                if items is None and opened is not None and indent >= opened[2]:
                    items = indent, []
                    opened[0][opened[1]] = items[1]
                if items is None or items[0] != indent:
                    return None
                items[1].append(_scalar(item))
                continue
            if opened is not None and items is None and indent > opened[2]:
                within.append((indent, {}))
                opened[0][opened[1]] = within[-1][1]
            while within[-1][0] > indent:
                within.pop()
            mapping = within[-1][1]
            if within[-1][0] != indent or key in mapping or key.lower() in _SPECIAL:
                return None
            mapping[key] = None if value is None else _scalar(value)
            opened, items = (mapping, key, indent) if value is None else None, None
    except ValueError:
        return None
    return root or None


def _scalar(word: str) -> Any:
    """The value of a word. Raises ValueError if it may have another one than it seems to."""
    if word in _WORDS:
        return _WORDS[word]
    if word in ("{}", "[]"):
        return {} if word == "{}" else []
    if _NUMBER.fullmatch(word):
        return int(word)
    quoted = _QUOTED.fullmatch(word)
    if quoted:
        return quoted[1] if quoted[1] is not None else quoted[2]
    if word.lower() in _SPECIAL or not _TEXT.fullmatch(word):
        raise ValueError(word)
    return word
