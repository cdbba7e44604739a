"""Writing the answer: how wide, in colour or not, and what happens if nobody takes it."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from kdiag.cli.options import Colour
from kdiag.errors import KdiagError

if TYPE_CHECKING:
    from kdiag.render.style import Style

NARROWEST, WIDEST = 60, 200
"""Columns of a terminal that are made use of: text is not readable in lines of any length."""


def style_for(colour: Colour) -> Style:
    """The style for standard output: that of a pipe unless it is a terminal.

    `NO_COLOR` (https://no-color.org: set and not empty) and `TERM=dumb` turn colour off unless it is asked for.
    """
    from kdiag.render.style import PIPED_WIDTH, Style

    terminal = sys.stdout.isatty()
    plain = bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"
    width = PIPED_WIDTH
    if terminal:
        import shutil

        width = min(max(shutil.get_terminal_size(fallback=(PIPED_WIDTH, 24)).columns, NARROWEST), WIDEST)
    in_colour = colour is Colour.ALWAYS or (colour is Colour.AUTO and terminal and not plain)
    return Style(width=width, colour=in_colour, cut=terminal, ascii_only=not _draws(sys.stdout.encoding))


def _draws(encoding: str | None) -> bool:
    """Whether an encoding has the characters that trees and maps are drawn with."""
    try:
        "│├█░▚✗".encode(encoding or "utf-8")
    except (LookupError, UnicodeEncodeError):
        return False
    return True


def emit(text: str) -> None:
    """Writes the answer to standard output.

    If the reader has gone away (`kdiag … | head`), nothing is said: the verdict, and so the exit code, stands.
    Raises KdiagError if it cannot be written for another reason.
    """
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        forget_stdout()
    except OSError as error:
        forget_stdout()
        raise KdiagError(f"cannot write the answer: {error.strerror or error}") from error


def forget_stdout() -> None:
    """Sends what is left in the buffer of standard output nowhere, or Python complains of it when it ends."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError):
        # A standard output without a file behind it cannot be a broken pipe.
        return
