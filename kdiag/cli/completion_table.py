"""The tables that `kdiag.cli.fast_completion` reads, made out of the commands."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from kdiag.checks import all_checks
from kdiag.cli.fast_completion import ROOT
from kdiag.cli.output_type import OutputType

_NAMES = {
    "service": "services",
    "target": "targets",
    "client": "clients",
    "node": "nodes",
    "namespace": "namespaces",
    "context": "contexts",
    "select": "codes",
    "ignore": "codes",
    "code": "codes",
}
"""What stands for the value of a parameter: the words that `kdiag.cli.fast_completion` knows."""


def completion_tables(root: click.Group) -> Mapping[str, Mapping[str, Any]]:
    """Every command with its options and arguments, and under ROOT what there is before a command.

    `type` says what a value is, `values` are the words to choose from, what to look up (see _NAMES), `files`, `any` for a
    value that nobody can guess, and None for an option without a value.
    """
    context = click.Context(root, info_name=root.name, help_option_names=["-h", "--help"])
    tables: dict[str, Mapping[str, Any]] = {}
    commands = {}
    for name in root.list_commands(context):
        command = root.get_command(context, name)
        assert command is not None  # it is listed
        within = click.Context(command, info_name=name, parent=context)
        commands[name] = command.get_short_help_str()
        tables[name] = {
            "options": _options(command, within),
            "arguments": [
                {"parameter": item.name, "values": _values(item), "type": _type(item)}
                for item in command.params
                if isinstance(item, click.Argument)
            ],
        }
    tables[ROOT] = {
        "commands": commands,
        "options": _options(root, context),
        "codes": {check.code: check.title for check in all_checks()},
    }
    return tables


def _options(command: click.Command, context: click.Context) -> list[Mapping[str, Any]]:
    return [
        {
            # Short before long, and never in click's order: that of -h and --help is the order of a set.
            "names": sorted(option.opts, key=lambda word: (len(word), word)),
            "parameter": option.name,
            "help": option.help or "",
            "values": None if option.is_flag or option.count else _values(option),
            "type": _type(option),
            "repeats": option.multiple,
        }
        for option in command.get_params(context)
        if isinstance(option, click.Option) and not option.hidden
    ]


def _type(parameter: click.Parameter) -> str:
    """What a value is, for `kdiag.cli.plain_line`."""
    if isinstance(parameter, click.Option) and (parameter.is_flag or parameter.count):
        return "flag"
    if isinstance(parameter.type, OutputType):
        return "format"
    if isinstance(parameter.type, click.Choice):
        return "choice"
    if isinstance(parameter.type, click.Path):
        return "path"
    return "text" if parameter.type is click.STRING else "number"


def _values(parameter: click.Parameter) -> Any:
    formats = getattr(parameter.type, "formats", None)
    if formats is not None:
        return [item.value for item in formats]
    if isinstance(parameter.type, click.Choice):
        return [str(getattr(item, "value", item)) for item in parameter.type.choices]
    if isinstance(parameter.type, click.Path):
        return "files"
    return _NAMES.get(parameter.name or "", "any")
