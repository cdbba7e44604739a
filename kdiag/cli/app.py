"""The command `kdiag` as click runs it. Of its commands only the one that is asked for is put together."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import click
import typer
from typer.core import TyperCommand, TyperGroup, TyperOption

from kdiag import __version__
from kdiag.cli.by_typer import typer_function
from kdiag.cli.commands import PROGRAM, SLUGS, command_named
from kdiag.errors import UsageError

EXIT_USAGE = 2


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
        examples = command_named(self.name).examples if self.name in SLUGS else ()
        if examples:
            with formatter.section("Examples"):
                for line, does in examples:
                    formatter.write_text(f"# {does}")
                    formatter.write(f"  {ctx.find_root().info_name} {line}\n")


class _Group(TyperGroup):
    """Puts a command together when it is asked for, and helps with a mistyped one."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order of the registry."""
        return list(SLUGS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """None for a name that no command has."""
        return built_command(cmd_name) if cmd_name in SLUGS else None

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


@cache
def built_command(slug: str) -> click.Command:
    """The click command with this slug."""
    command = command_named(slug)
    app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, add_completion=False)
    app.command(slug, cls=_Command, help=command.summary + "\n\n" + command.details, short_help=command.summary)(
        typer_function(command)
    )
    built = typer.main.get_command(app)
    built.params.insert(-1, _verbose_option())
    return built


def _root_command() -> click.Command:
    app = typer.Typer(
        cls=_Group,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        no_args_is_help=True,
        suggest_commands=False,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    )
    app.callback()(_root)
    return typer.main.get_command(app)


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


COMMAND: Any = _root_command()
"""The click command; `main` runs it and `docs` describes it."""


def run_by_click(arguments: Sequence[str], *, program: str) -> int:
    """Runs the command of a command line and returns the exit code. Raises UsageError for what click does not take."""
    try:
        outcome = COMMAND.main(args=arguments, prog_name=program, standalone_mode=False)
        return outcome if isinstance(outcome, int) else 0
    except click.exceptions.NoArgsIsHelpError as error:
        print(error.message, file=sys.stderr)
        return EXIT_USAGE
    except click.NoSuchOption as error:
        raise UsageError(f"there is no option {error.option_name}", hint=_option_hint(error)) from error
    except click.UsageError as error:
        raise UsageError(_sentence(error.format_message()), hint=_help_hint(error)) from error
    except click.ClickException as error:
        raise UsageError(_sentence(error.format_message())) from error
    except click.Abort:
        raise KeyboardInterrupt from None


def _sentence(message: str) -> str:
    """click's message in the form of kdiag's: no capital, no full stop, and on one line."""
    text = " ".join(message.split())
    if text[:2].istitle():
        text = text[0].lower() + text[1:]
    return text.rstrip(".")


def _help_hint(error: click.UsageError) -> str:
    return f"see '{PROGRAM if error.ctx is None else error.ctx.command_path} --help'"


def _option_hint(error: click.NoSuchOption) -> str:
    if error.ctx is None:
        return _help_hint(error)
    from kdiag.model.lookup import did_you_mean

    if isinstance(error.ctx.command, click.Group) and any(
        error.option_name in parameter.opts for slug in SLUGS for parameter in built_command(slug).params
    ):
        return f"it belongs behind the command, as in '{error.ctx.command_path} preflight {error.option_name}'"
    known = [option for parameter in error.ctx.command.get_params(error.ctx) for option in parameter.opts]
    return did_you_mean(error.option_name, [option for option in known if option.startswith("--")]) or _help_hint(error)
