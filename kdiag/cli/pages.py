"""Help pages and words to complete that are known beforehand, answered without building the command line.

`make docs` writes them out of the program into kdiag/cli/pages/; a test keeps the two together. What stands there is all
that is used, so nothing but the standard library is imported. Whatever is out of the ordinary is answered by the command
line itself (None here): a terminal of another width, quotes in what was typed, a value to complete.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence

COLUMNS = (80, 100)
"""Widths of terminals that there are pages for. 100 is also for wider ones: help is not wider than that."""

ROOT = "kdiag"
"""Name of the pages of the program itself."""

_HELP = ("--help", "-h")
_PLACE = os.path.join(os.path.dirname(__file__), "pages")


def page_path(columns: int, name: str) -> str:
    """Where the help page is, from kdiag/cli/pages on; `name` is a command or ROOT."""
    return f"{columns}/{name}.txt"


def words_path(name: str) -> str:
    """Where the words of a command are: a line for each command or option, its words, kind (`command`, `flag`, `value`,
    `many` for a value that may be repeated) and help."""
    return f"words/{name}.tsv"


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


def completion(environment: Mapping[str, str]) -> str | None:
    """What completion in bash, zsh or fish prints for a command or an option that was begun."""
    shell = environment.get("_KDIAG_COMPLETE", "")
    if shell == "complete_bash":
        words = _typed_in_bash(environment)
    elif shell == "complete_zsh" or (
        shell == "complete_fish" and environment.get("_TYPER_COMPLETE_FISH_ACTION") == "get-args"
    ):
        words = _typed(environment.get("_TYPER_COMPLETE_ARGS", ""))
    else:
        return None
    if words is None:
        return None
    found = _fitting(words[:-1], words[-1])
    if not found:
        return None
    if shell == "complete_bash":
        return "\n".join(word for word, _ in found)
    if shell == "complete_fish":
        return "\n".join(f"{word}\t{text}" if text else word for word, text in found)
    listed = "\n".join(
        f'"{_for_zsh(word)}":"{_for_zsh(text)}"' if text else f'"{_for_zsh(word)}"' for word, text in found
    )
    return f"_arguments '*: :(({listed}))'"


def _fitting(before: list[str], begun: str) -> list[tuple[str, str]] | None:
    """Words that may follow, with their help."""
    if not before:
        if begun.startswith("-"):
            return None
        return [(word, item.help) for item in _options(ROOT) or () for word in item.words if word.startswith(begun)]
    if not begun.startswith("-") or "=" in begun:
        return None
    options = _options(before[0])
    if options is None:
        return None
    by_word = {word: option for option in options for word in option.words}
    following = iter(before[1:])
    for word in following:
        if not word.startswith("-"):
            continue
        given = by_word.get(word)
        if given is None or (given.kind != "flag" and next(following, None) is None):
            return None
        if given.kind != "many" and given in options:
            options.remove(given)
    return [(word, option.help) for option in options for word in option.words if word.startswith(begun)]


def _typed_in_bash(environment: Mapping[str, str]) -> list[str] | None:
    line, count = environment.get("COMP_WORDS", ""), environment.get("COMP_CWORD", "")
    if _needs_shell(line) or not count.isdecimal():
        return None
    words, place = line.split()[1:], int(count) - 1
    if not 0 <= place <= len(words):
        return None
    return [*words[:place], words[place] if place < len(words) else ""]


def _typed(line: str) -> list[str] | None:
    """The words of a line behind the program's name, the last one as far as it was typed."""
    if _needs_shell(line):
        return None
    words = line.split(" ")[1:]
    return [*(word for word in words[:-1] if word), words[-1]] if words else None


def _needs_shell(line: str) -> bool:
    """True if only a shell can say what the words are."""
    return any(mark in line for mark in "'\"\\#") or not line.isprintable()


class _Option:
    """A line of a file of words; dataclasses would be slower to import than all the rest."""

    __slots__ = ("help", "kind", "words")

    def __init__(self, words: str, kind: str, said: str) -> None:
        self.words, self.kind, self.help = words.split(), kind, said


def _options(name: str) -> list[_Option] | None:
    text = _text(words_path(name)) if name.replace("-", "").isalpha() else None
    if text is None:
        return None
    return [_Option(*line.split("\t")) for line in text.splitlines()]


def _for_zsh(text: str) -> str:
    for old, new in (('"', '""'), ("'", "''"), ("$", "\\$"), ("`", "\\`"), (":", r"\\:")):
        text = text.replace(old, new)
    return text


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
