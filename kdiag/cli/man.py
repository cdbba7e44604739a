"""Manual pages in roff, written out of the same declarations as the help."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import click

from kdiag.cli.app import COMMAND, built_command
from kdiag.cli.command import Command
from kdiag.cli.commands import PROGRAM, all_commands

_EXIT_CODES = (
    ("0", "nothing found"),
    ("1", "findings"),
    ("2", "wrong usage, or a cluster or snapshot that cannot be read"),
    ("3", "nothing found, but something could not be examined"),
    ("70", "a bug in kdiag"),
)


def man_pages() -> Mapping[str, str]:
    """The text of every page by its path in the project: `docs/man/kdiag.1`, and one for each command."""
    pages = {f"docs/man/{PROGRAM}.1": _main_page()}
    for command in all_commands():
        pages[f"docs/man/{PROGRAM}-{command.slug}.1"] = _command_page(command)
    return pages


def _main_page() -> str:
    lines = [
        *_head(PROGRAM, COMMAND.help.split("\n")[0]),
        ".SH SYNOPSIS",
        f".B {PROGRAM}",
        r"\fICOMMAND\fR [\fIOPTIONS\fR]",
        ".SH DESCRIPTION",
        *_paragraphs(COMMAND.help),
        ".SH COMMANDS",
    ]
    for command in all_commands():
        lines += [".TP", rf"\fB{_escaped(f'{PROGRAM}-{command.slug}')}\fR(1)", _line(command.summary)]
    lines += [*_exit_codes(), ".SH SEE ALSO", r"\fBkubectl\fR(1), \fBiptables\-save\fR(8), \fBnft\fR(8)"]
    return "\n".join(lines) + "\n"


def _command_page(command: Command) -> str:
    described = built_command(command.slug)
    context = click.Context(described, info_name=command.slug, help_option_names=["-h", "--help"])
    usage = " ".join(described.collect_usage_pieces(context))
    lines = [
        *_head(f"{PROGRAM}-{command.slug}", command.summary),
        ".SH SYNOPSIS",
        rf"\fB{_escaped(f'{PROGRAM} {command.slug}')}\fR {_escaped(usage)}",
        ".SH DESCRIPTION",
        *_paragraphs(f"{command.summary}\n\n{command.details}"),
        ".SH OPTIONS",
    ]
    for parameter in described.get_params(context):
        lines += [".TP", rf"\fB{_escaped(_words(parameter, context))}\fR", _line(getattr(parameter, "help", "") or "")]
    lines += list(_examples(command))
    lines += [*_exit_codes(), ".SH SEE ALSO", rf"\fB{PROGRAM}\fR(1)"]
    return "\n".join(lines) + "\n"


def _head(page: str, summary: str) -> list[str]:
    return [
        r".\" Written by `make docs` out of kdiag/cli; changes belong there.",
        f'.TH {_escaped(page.upper())} 1 "" "{PROGRAM}" "User Commands"',
        ".nh",
        ".ad l",
        ".SH NAME",
        rf"{_escaped(page)} \- {_escaped(summary.rstrip('.'))}",
    ]


def _paragraphs(text: str) -> Iterator[str]:
    for paragraph in text.split("\n\n"):
        yield ".PP"
        yield _line(" ".join(paragraph.split()))


def _examples(command: Command) -> Iterator[str]:
    if command.examples:
        yield ".SH EXAMPLES"
    for line, does in command.examples:
        yield from (".TP", rf"\fB{_escaped(f'{PROGRAM} {line}')}\fR", _line(does))


def _exit_codes() -> Iterator[str]:
    yield ".SH EXIT STATUS"
    for code, means in _EXIT_CODES:
        yield from (".TP", rf"\fB{code}\fR", _line(means))


def _words(parameter: click.Parameter, context: click.Context) -> str:
    if not isinstance(parameter, click.Option):
        return parameter.make_metavar(context)
    words = ", ".join(sorted(parameter.opts, key=lambda word: (len(word), word)))
    return words if parameter.is_flag or parameter.count else f"{words} {parameter.make_metavar(context)}"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\e").replace("-", r"\-").replace("~", r"\(ti").replace("^", r"\(ha")


def _line(text: str) -> str:
    """A line of running text: never taken for a request of roff."""
    escaped = _escaped(text)
    return rf"\&{escaped}" if escaped.startswith((".", "'")) else escaped
