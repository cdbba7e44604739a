"""The command `kdiag` put together: its commands in the order that its help lists them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import click
import typer
from typer.core import TyperCommand, TyperGroup, TyperOption

from kdiag import __version__
from kdiag.cli import (
    check_cidrs,
    check_endpoints,
    check_nodes,
    check_rules,
    collect,
    diff,
    doctor,
    explain,
    flags,
    preflight,
    trace,
    watch,
)
from kdiag.cli.command import Command
from kdiag.errors import UsageError

PROGRAM = "kdiag"

COMMANDS: tuple[Command, ...] = (
    preflight.COMMAND,
    check_cidrs.COMMAND,
    check_rules.COMMAND,
    check_endpoints.COMMAND,
    check_nodes.COMMAND,
    trace.COMMAND,
    flags.COMMAND,
    diff.COMMAND,
    watch.COMMAND,
    collect.COMMAND,
    doctor.COMMAND,
    explain.COMMAND,
)


class _Command(TyperCommand):
    """Lists options under the headings that they were declared with: commands have many. Knows of settings."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Looks for --config first: the settings are the defaults of the other options.

        Not for --help and completion, which must be fast and work beside a broken file.
        """
        if not ctx.resilient_parsing and any(parameter.name == "no_config" for parameter in self.params):
            given, _, _ = self.make_parser(ctx).parse_args(args=list(args))
            if "help" not in given:
                from kdiag.cli.config import configured_defaults

                config = given.get("config")
                ctx.default_map = configured_defaults(
                    ctx,
                    config=None if config is None else Path(config),
                    without_files=bool(given.get("no_config")),
                )
        return super().parse_args(ctx, args)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                usual = "Arguments" if isinstance(parameter, click.Argument) else "Options"
                sections.setdefault(getattr(parameter, "rich_help_panel", None) or usual, []).append(record)
        for heading, records in sections.items():
            with formatter.section(heading):
                formatter.write_dl(records)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Examples, as lines to copy: they are never wrapped."""
        command = next((item for item in COMMANDS if item.slug == self.name), None)
        if command is not None and command.examples:
            with formatter.section("Examples"):
                for line, does in command.examples:
                    formatter.write_text(f"# {does}")
                    formatter.write(f"  {ctx.find_root().info_name} {line}\n")


class _Group(TyperGroup):
    """Takes the commands in the order given, and helps with a mistyped one."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            from kdiag.model.lookup import did_you_mean

            near = did_you_mean(args[0], self.list_commands(ctx))
            raise UsageError(f"there is no command {args[0]}", hint=near or f"see '{ctx.command_path} --help'")
        return super().resolve_command(ctx, args)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"{PROGRAM} {__version__}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool,
        typer.Option("--version", "-V", callback=_print_version, is_eager=True, help="Print the version and exit."),
    ] = False,
) -> None:
    """Tells whether every Kubernetes Service address works on every node, and if not, which rule is at fault.

    kdiag compares what the API says should happen to a packet with what the rules on each node make of it.
    It reads live clusters, over the API and SSH, and recorded ones, and changes nothing.

    Exit codes: 0 nothing found, 1 findings, 2 wrong usage, 3 nothing found but evidence is missing, 70 a bug.
    """


def _command() -> click.Command:
    app = typer.Typer(
        cls=_Group,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        no_args_is_help=True,
        suggest_commands=False,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    )
    app.callback()(_root)
    for command in COMMANDS:
        app.command(
            command.slug, cls=_Command, help=command.summary + "\n\n" + command.details, short_help=command.summary
        )(command.function)
    root = typer.main.get_command(app)
    for built in getattr(root, "commands", {}).values():
        built.params.insert(-1, _verbose_option())
    return root


def _verbose_option() -> click.Option:
    """Declared here and not with each command, for it concerns none of them."""
    return TyperOption(
        param_decls=["--verbose", "-v"],
        count=True,
        expose_value=False,
        callback=_set_verbosity,
        help="Log to standard error what is done and how long it takes; -vv in more detail.",
        show_default=False,
    )


def _set_verbosity(ctx: click.Context, _parameter: click.Parameter, value: int) -> None:
    if value and not ctx.resilient_parsing:
        from kdiag.cli import log

        log.turn_on(value)


COMMAND: Any = _command()
"""The click command; `main` runs it and `docs` describes it."""
