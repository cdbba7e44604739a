"""Help pages that are known beforehand, printed without building the command line.

`make docs` writes them out of the program into kdiag/cli/pages/; a test keeps the two together. Nothing but the standard
library is imported. Help for a terminal of another width is made by the command line itself (None here).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

COLUMNS = (80, 100)
"""Widths of terminals that there are pages for. 100 is also for wider ones: help is not wider than that."""

ROOT = "kdiag"
"""Name of the pages of the program itself."""

_HELP = ("--help", "-h")
_PLACE = os.path.join(os.path.dirname(__file__), "pages")


def page_path(columns: int, name: str) -> str:
    """Where the help page is, from kdiag/cli/pages on; `name` is a command or ROOT."""
    return f"{columns}/{name}.txt"


def help_page(arguments: Sequence[str]) -> str | None:
    """The page that `kdiag --help` and `kdiag COMMAND --help` print."""
    match arguments:
        case [option] if option in _HELP:
            name = ROOT
        case [command, option] if (
            option in _HELP and command.replace("-", "").isalpha() and not command.startswith("-")
        ):
            name = command
        case _:
            return None
    columns = _columns()
    return None if columns is None else _text(page_path(columns, name))


def _text(path: str) -> str | None:
    try:
        with open(os.path.join(_PLACE, *path.split("/")), encoding="utf-8") as file:
            return file.read()
    except OSError:
        return None


def _columns() -> int | None:
    """The width of the terminal, as shutil.get_terminal_size finds it, if there are pages for it."""
    stated = os.environ.get("COLUMNS", "")
    try:
        columns = int(stated)
    except ValueError:
        columns = 0
    if columns <= 0:
        try:
            columns = os.get_terminal_size(sys.__stdout__.fileno()).columns if sys.__stdout__ else 0
        except (AttributeError, ValueError, OSError):
            columns = 0
    columns = min(columns or 80, COLUMNS[-1])
    return columns if columns in COLUMNS else None
