"""Command lines that click and typer need not read: to import them takes an eighth of the time of a small run.

Such a line looks at no live cluster, spells options out, and no settings stand in files or in the environment. It means here
what it means to click (tests/cli/test_plain_line.py compares the two). Everything else, above all whatever is wrong, is left
to click: it knows what to say.
"""

from __future__ import annotations

import os
import sys
from collections import ChainMap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kdiag.cli.command import Command
from kdiag.cli.commands import SLUGS, command_named
from kdiag.cli.fast_completion import read_table
from kdiag.cli.formats import read_target

_SOURCES = ("--snapshot", "--demo")
_WITHOUT_CLUSTER = ("diff", "explain")
"""Commands that never look at a live cluster."""


def read(arguments: Sequence[str]) -> tuple[Command, dict[str, Any]] | None:
    """The command, and the values of options and arguments that are given; None if click has to read the line.

    Raises UsageError and ParseError for settings that are wrong.
    """
    if not arguments or arguments[0] not in SLUGS:
        return None
    with_cluster = arguments[0] not in _WITHOUT_CLUSTER
    if with_cluster and not any(word.startswith(_SOURCES) for word in arguments):
        return None
    if any(name.endswith("_COMPLETE") for name in os.environ):
        return None
    declared = read_table(arguments[0])
    command = command_named(arguments[0])
    try:
        values = _values(command, declared, arguments[1:])
    except _NotPlainError:
        return None
    if (with_cluster and not {"snapshot", "demo"} & values.keys()) or "help" in values or "verbose" in values:
        return None
    _import_msgspec()
    if not any(option["parameter"] == "no_config" for option in declared["options"]):
        return command, values  # a command without settings
    from kdiag.gather.settings_file import read_settings

    settings = read_settings(
        config=values.get("config"),
        without_files=values.get("no_config", False),
        environment=os.environ,
        directory=Path.cwd(),
    )
    return None if settings else (command, values)


def _import_msgspec() -> None:
    """It looks for typing_extensions first, and takes typing where that is missing, which has had all of it since Python 3.11.
    So it is missing for the moment: to import it takes, with ast, dis and inspect, a thirtieth of a small run."""
    if "typing_extensions" in sys.modules or "msgspec" in sys.modules:
        return
    sys.modules["typing_extensions"] = None  # type: ignore[assignment]
    try:
        import msgspec  # noqa: F401
    except ImportError:
        pass  # Another release wants it: it is imported with it then.
    finally:
        del sys.modules["typing_extensions"]


class _NotPlainError(Exception):
    """A line that click has to read."""


def _values(command: Command, declared: Mapping[str, Any], words: Sequence[str]) -> dict[str, Any]:
    options = {name: option for option in declared["options"] for name in option["names"]}
    values: dict[str, Any] = {}
    places = iter(declared["arguments"])
    rest = iter(words)
    for word in rest:
        if not word.startswith("-"):
            place = next(places, None)
            if place is None:
                raise _NotPlainError
            values[place["parameter"]] = _converted(command, place, word)
            continue
        name, equals, text = word.partition("=") if word.startswith("--") else (word, "", "")
        option = options.get(name)
        if option is None:
            raise _NotPlainError
        parameter = option["parameter"]
        if option["type"] == "flag":
            if equals:
                raise _NotPlainError
            values[parameter] = True
            continue
        value = _converted(command, option, text if equals else next(rest, ""))
        if option["repeats"]:
            values.setdefault(parameter, []).append(value)
        else:
            values[parameter] = value
    if any(place["parameter"] not in _defaults(command) for place in places):
        raise _NotPlainError
    return values


def _converted(command: Command, declared: Mapping[str, Any], text: str) -> Any:
    """The value of an option or argument. Raises _NotPlainError if it is none, or if that takes more than a look."""
    if not text or text.startswith("-"):
        raise _NotPlainError
    match declared["type"]:
        case "text":
            return text
        case "path" if _may_be_read(text):
            return Path(text)
        case "choice" if text in declared["values"]:
            return type(_defaults(command)[declared["parameter"]])(text)
        case "format":
            try:
                return read_target(text, declared["values"])
            except ValueError:
                raise _NotPlainError from None
    raise _NotPlainError


def _may_be_read(path: str) -> bool:
    """As click has it: what is not there is not its business."""
    try:
        return os.access(path, os.R_OK) or not os.path.lexists(path)
    except ValueError:
        return False


def _defaults(command: Command) -> Mapping[str, Any]:
    """Of the options and arguments that have one. `inspect.signature` says the same, but to import it takes longer than to
    read the line."""
    groups = (group.defaults() for group in command.groups.values())
    return ChainMap(command.function.__kwdefaults__ or {}, *groups)
