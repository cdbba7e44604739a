"""The commands of kdiag in the order that its help lists them. A command is imported when it is asked for."""

from __future__ import annotations

from importlib import import_module

from kdiag.cli.command import Command

PROGRAM = "kdiag"

SLUGS = (
    "preflight",
    "check-cidrs",
    "check-rules",
    "check-endpoints",
    "check-nodes",
    "trace",
    "flags",
    "diff",
    "watch",
    "collect",
    "doctor",
    "explain",
)
"""The slugs of the commands: `check-rules` is `COMMAND` in the module `check_rules` beside this one."""


def command_named(slug: str) -> Command:
    """What the module of a command declares. Imported when it is asked for: declaring options takes time."""
    command: Command = import_module(f"kdiag.cli.{slug.replace('-', '_')}").COMMAND
    return command


def all_commands() -> tuple[Command, ...]:
    """What all modules of commands declare, in the order of the help."""
    return tuple(command_named(slug) for slug in SLUGS)
