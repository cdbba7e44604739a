"""The value of `-o` as click reads it: a format, and the file that it goes to."""

from __future__ import annotations

from collections.abc import Sequence

import click
from click.shell_completion import CompletionItem

from kdiag.cli.formats import OutputTarget, read_target


class OutputType(click.ParamType[OutputTarget]):
    """`FORMAT`, `FORMAT=-` or `FORMAT=FILE`, where the format is one of those that the command can answer in."""

    name = "FORMAT[=FILE]"

    def __init__(self, formats: Sequence[str]) -> None:
        self.formats = tuple(formats)

    def convert(self, value: object, parameter: click.Parameter | None, context: click.Context | None) -> OutputTarget:
        """Raises click.BadParameter, as click wants it."""
        if isinstance(value, OutputTarget):
            return value
        try:
            return read_target(str(value), self.formats)
        except ValueError as error:
            self.fail(str(error), parameter, context)

    def shell_complete(
        self, _context: click.Context, _parameter: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """The formats; not the files."""
        return [CompletionItem(str(item)) for item in self.formats if item.startswith(incomplete)]
