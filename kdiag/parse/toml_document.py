"""TOML with the lines that its keys stand on: the standard library's parser keeps none."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kdiag.errors import ParseError

_HEADER = re.compile(r"^\s*(\[\[?)\s*([^\]]+?)\s*\]\]?\s*(?:#.*)?$")
_KEY = re.compile(r"""^\s*(?:"([^"]*)"|'([^']*)'|([A-Za-z0-9_-]+))\s*(?:=|\.)""")


@dataclass(frozen=True, slots=True, kw_only=True)
class TomlDocument:
    """A parsed file. `origin` is what errors call it."""

    origin: str
    content: Mapping[str, Any]
    lines: Sequence[str]

    def line_of(self, key: str, *, table: str = "", index: int = 0) -> int:
        """The line (1-based) of a key in a table, that of the table's header if the key is not found, 0 if neither is.

        `table` is the header's words, empty for the top of the file; `index` counts the tables of an array of tables.
        Only for messages: text in a string over several lines may be taken for a header.
        """
        current, seen, header_line = "", -1, 0
        for number, text in enumerate(self.lines, start=1):
            header = _HEADER.match(text)
            if header is not None:
                current = ".".join(part.strip(" \"'") for part in header[2].split("."))
                if current == table:
                    seen += 1
                    if seen == index:
                        header_line = number
                continue
            here = current == table and (not table or seen == index)
            found = _KEY.match(text) if here else None
            if found is not None and (found[1] or found[2] or found[3]) == key:
                return number
        return header_line

    def place(self, line: int) -> str:
        """`FILE:12`, or the file alone."""
        return f"{self.origin}:{line}" if line else self.origin


def parse_toml(text: str, origin: str) -> TomlDocument:
    """Raises ParseError, which names the line, if it is no TOML."""
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"^(?P<what>.*?) \(at line (?P<line>\d+), column (?P<column>\d+)\)$", str(error), re.DOTALL)
        if found is None:
            raise ParseError(f"{origin} is not TOML: {_lowered(str(error))}") from None
        raise ParseError(
            f"{origin}:{found['line']}: not TOML: {_lowered(found['what'])}, column {found['column']}",
            hint="texts stand in quotes, dates as 2027-01-31, lists in square brackets",
            line=int(found["line"]),
        ) from None
    except RecursionError:
        raise ParseError(f"{origin} is not TOML that can be read: it is nested too deeply") from None
    return TomlDocument(origin=origin, content=content, lines=text.splitlines())


def _lowered(message: str) -> str:
    return message[:1].lower() + message[1:]
