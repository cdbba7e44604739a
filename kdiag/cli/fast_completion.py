"""Completion for bash, zsh and fish, and for kubectl, without importing the commands: reading all of them takes longer than a prompt may hang.

What there is to offer stands in `words`, one file a command, which `make docs` writes out of the commands. What is offered is what typer
and click would offer, and printed as typer's completion scripts want it (tests/cli/test_fast_completion.py compares the two).
"""

from __future__ import annotations

import os

from kdiag.cli import offers

TYPE_CHECKING = False  # importing typing, and what else only annotations need, would be a third of the time
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

SHELLS = ("complete_bash", "complete_zsh", "complete_fish")
"""The values of _KDIAG_COMPLETE that `answer` speaks for."""

ROOT = "kdiag"
"""The name of what is offered before there is a command."""

Offer = tuple[str, str]
"""A word, and what it means (may be empty)."""


def answer(instruction: str) -> int:
    """Prints what a shell is offered, and returns the exit code. `instruction` is one of SHELLS; the rest of the question
    is in the environment, as typer's completion scripts put it there."""
    if instruction == "complete_bash":
        place = int(os.environ["COMP_CWORD"])
        words = _split(os.environ["COMP_WORDS"])
        found, files = offered(words[1:place], words[place] if place < len(words) else "")
        print("\n".join(word for word, _ in found))
        # completions/kdiag.bash then offers no files either.
        return 0 if files else 1
    typed = os.environ.get("_TYPER_COMPLETE_ARGS", "")
    words = _split(typed)[1:]
    incomplete = words.pop() if words and not typed.endswith(" ") else ""
    found, files = offered(words, incomplete)
    if instruction == "complete_zsh":
        listed = "\n".join(f'"{_zsh(word)}":"{_zsh(means)}"' if means else f'"{_zsh(word)}"' for word, means in found)
        print(f"_arguments '*: :(({listed}))'" if found else "_files" if files else "")
        return 0
    if os.environ.get("_TYPER_COMPLETE_FISH_ACTION") == "is-args":
        # Whether fish shall take these words, or files.
        return 1 if files else 0
    print("\n".join(f"{word}\t{' '.join(means.split())}" if means else word for word, means in found))
    return 0


def offered(words: Sequence[str], incomplete: str) -> tuple[list[Offer], bool]:
    """What may stand in the place of `incomplete` after these words (without the program's name), and whether the name of a
    file may."""
    root = read_table(ROOT)
    words = list(words)
    if incomplete == "=":
        incomplete = ""
    elif incomplete.startswith("-") and "=" in incomplete:
        option, _, incomplete = incomplete.partition("=")
        words.append(option)
    place = next((at for at, word in enumerate(words) if not word.startswith("-")), None)
    if place is None:
        found = _option_names(root["options"], {}, incomplete) if incomplete.startswith("-") else []
        return [*(item for item in root["commands"].items() if item[0].startswith(incomplete)), *found], False
    if words[place] not in root["commands"]:
        return [], False
    return _within(read_table(words[place]), root["codes"], words[place + 1 :], incomplete)


def _within(
    command: Mapping[str, Any], titles: Mapping[str, str], words: list[str], incomplete: str
) -> tuple[list[Offer], bool]:
    given, arguments = _parsed(command, words)
    if incomplete.startswith("-") and "--" not in words:
        return _option_names(command["options"], given, incomplete), False
    begun = _option(command, words[-1]) if words else None
    if begun is not None and begun["values"] is not None:
        wanted = begun["values"]
    elif len(arguments) < len(command["arguments"]):
        wanted = command["arguments"][len(arguments)]["values"]
    else:
        return [], False
    if wanted == "codes":
        return offers.codes(incomplete, titles), False
    found = wanted if isinstance(wanted, list) else _NAMES[wanted](given, incomplete) if wanted in _NAMES else []
    return [(word, "") for word in found if word.startswith(incomplete)], wanted == "files"


_NAMES = {
    "services": offers.services,
    "targets": offers.targets,
    "clients": offers.clients,
    "nodes": offers.nodes,
    "namespaces": offers.namespaces,
    "contexts": offers.contexts,
}
"""What the words for values in these files stand for."""


def _option_names(options: Sequence[Mapping[str, Any]], given: Mapping[str, Any], incomplete: str) -> list[Offer]:
    return [
        (name, str(option["help"]))
        for option in options
        if option["repeats"] or option["parameter"] not in given
        for name in option["names"]
        if name.startswith(incomplete)
    ]


def _parsed(command: Mapping[str, Any], words: list[str]) -> tuple[dict[str, Any], list[str]]:
    """The options that stand before the cursor with their values, by the names of their parameters, and the arguments."""
    given: dict[str, Any] = {}
    arguments: list[str] = []
    rest = iter(words)
    for word in rest:
        if word == "--":
            arguments.extend(rest)
        elif not word.startswith("-") or word == "-":
            arguments.append(word)
        else:
            flag, value = word, None
            if word.startswith("--"):
                flag, equals, after = word.partition("=")
                value = after if equals else None
            else:
                # `-An shop` is `-A -n shop`, and `-nshop` is `-n shop`.
                while len(flag) > 2 and (found := _option(command, flag[:2])) is not None:
                    if found["values"] is not None:
                        flag, value = flag[:2], flag[2:]
                        break
                    given[found["parameter"]] = True
                    flag = f"-{flag[2:]}"
            option = _option(command, flag)
            if option is None:
                continue
            if option["values"] is None:
                given[option["parameter"]] = True
                continue
            value = next(rest, None) if value is None else value
            if value is not None and option["repeats"]:
                given.setdefault(option["parameter"], []).append(value)
            elif value is not None:
                given[option["parameter"]] = value
    return given, arguments


def _option(command: Mapping[str, Any], name: str) -> Mapping[str, Any] | None:
    return next((option for option in command["options"] if name in option["names"]), None)


def read_table(name: str) -> dict[str, Any]:
    """What `kdiag.cli.completion_table` made of a command, or of all of them (ROOT)."""
    import json

    with open(os.path.join(os.path.dirname(__file__), "words", f"{name}.json"), encoding="utf-8") as file:
        table: dict[str, Any] = json.load(file)
    return table


def _split(text: str) -> list[str]:
    """The words of a command line; the last may have a quote that is still open."""
    if not any(mark in text for mark in "'\"\\"):
        return text.split()
    import shlex

    splitter = shlex.shlex(text, posix=True)
    splitter.whitespace_split, splitter.commenters = True, ""
    words: list[str] = []
    try:
        words.extend(splitter)
    except ValueError:
        words.append(splitter.token)
    return words


def _zsh(text: str) -> str:
    for mark, escaped in (('"', '""'), ("'", "''"), ("$", "\\$"), ("`", "\\`"), (":", r"\\:")):
        text = text.replace(mark, escaped)
    return text
