"""The value of `-o`: a format, and the file that it goes to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click
from click.shell_completion import CompletionItem

from kdiag.cli.formats import OutputFormat

STANDARD_OUTPUT = "-"


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputTarget:
    """One answer to give: in which format, and into which file (None: standard output)."""

    output_format: OutputFormat
    path: Path | None = None


class OutputType(click.ParamType[OutputTarget]):
    """`FORMAT`, `FORMAT=-` or `FORMAT=FILE`, where the format is one of those that the command can answer in."""

    name = "FORMAT[=FILE]"

    def __init__(self, formats: Sequence[OutputFormat]) -> None:
        self.formats = tuple(formats)

    def convert(self, value: object, parameter: click.Parameter | None, context: click.Context | None) -> OutputTarget:
        """Raises click.BadParameter, as click wants it."""
        if isinstance(value, OutputTarget):
            return value
        slug, equals, path = str(value).partition("=")
        if slug not in list(self.formats):
            known = ", ".join(repr(item.value) for item in self.formats)
            self.fail(f"{slug!r} is not one of {known}", parameter, context)
        if equals and not path:
            self.fail(f"{value!r} names no file", parameter, context)
        wanted = OutputFormat(slug)
        return OutputTarget(output_format=wanted, path=Path(path) if path and path != STANDARD_OUTPUT else None)

    def shell_complete(
        self, _context: click.Context, _parameter: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """The formats; not the files."""
        return [CompletionItem(item.value) for item in self.formats if item.value.startswith(incomplete)]
