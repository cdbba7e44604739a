"""How text output is laid out: decided once by the command line, obeyed by every text renderer."""

from __future__ import annotations

import enum

from msgspec import Struct

PIPED_WIDTH = 100
"""Columns where nobody says how wide the output may be: what a pipe or a file gets does not depend on a terminal."""


class Ink(enum.Enum):
    """What a piece of text is, for those who see colours: the ANSI parameters that it gets."""

    ERROR = "1;31"
    WARNING = "1;33"
    INFO = "1;36"
    GOOD = "32"
    HEADING = "1"
    FAINT = "2"


class Style(Struct, frozen=True, kw_only=True):
    """Columns that text is wrapped to, colour or not, and whether lines that must not be wrapped are cut to `width`.

    `ascii_only` is for a stream whose encoding has no box-drawing characters: pictures are made of letters then. The
    default is what a pipe gets: 100 columns, no colour, nothing cut.
    """

    width: int = PIPED_WIDTH
    colour: bool = False
    cut: bool = False
    ascii_only: bool = False

    def ink(self, text: str, ink: Ink) -> str:
        """`text` in colour, or as it is without. The text must be laid out and escaped already."""
        return f"\x1b[{ink.value}m{text}\x1b[0m" if self.colour and text else text
