"""Giving an answer: in each format that was asked for, to standard output and into files."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from kdiag.cli.formats import OutputFormat, OutputTarget
from kdiag.cli.options import Colour
from kdiag.cli.output import emit, style_for
from kdiag.errors import KdiagError, UsageError

if TYPE_CHECKING:
    from kdiag.render.interface import Format
    from kdiag.render.style import Style

JOB_SUMMARY = "GITHUB_STEP_SUMMARY"
"""Where GitHub Actions says which file a step may add its summary to."""

_DEFAULT = (OutputTarget(output_format=OutputFormat.TEXT),)


def wanted_answers(targets: Sequence[OutputTarget] | None) -> tuple[OutputTarget, ...]:
    """What `-o` asks for, text on standard output without one. Files are tried now: a live run may take minutes.

    Raises UsageError if two answers want the same place, or a file cannot be written.
    """
    chosen = tuple(dict.fromkeys(targets or _DEFAULT))
    printed = [item for item in chosen if item.path is None]
    if len(printed) > 1:
        words = [f"-o {item.output_format.value}" for item in printed]
        raise UsageError(
            f"{' and '.join(words)} cannot both go to standard output",
            hint=f"write one to a file: {words[0]} {words[1]}=FILE",
        )
    from kdiag.gather.text_files import check_writable

    seen: dict[str, Path] = {}
    for item in chosen:
        if item.path is not None:
            place = os.path.realpath(item.path)
            if place in seen and not place.startswith("/dev/"):
                raise UsageError(f"two answers cannot both go to {item.path}", hint="give each a file of its own")
            seen[place] = item.path
            check_writable(item.path)
    return chosen


def answer(
    targets: Sequence[OutputTarget],
    color: Colour,
    tell: Callable[[Format, Style], str],
    *,
    job_summary: bool = False,
) -> None:
    """Gives every answer: standard output first, so that a full disk does not take everything.

    Files get the style of a pipe. With `job_summary`, the format `github` adds Markdown to the file that
    GITHUB_STEP_SUMMARY names. Raises KdiagError if something could not be written, after all else was.
    """
    from kdiag.gather.text_files import append_text_file, write_text_file
    from kdiag.render import format_named
    from kdiag.render.style import Style

    for target in targets:
        if target.path is None:
            emit(tell(format_named(target.output_format.value), style_for(color)))
    failed: list[KdiagError] = []
    for target in targets:
        if target.path is not None:
            try:
                write_text_file(target.path, tell(format_named(target.output_format.value), Style()))
            except KdiagError as error:
                failed.append(error)
    summary = os.environ.get(JOB_SUMMARY)
    if job_summary and summary and any(target.output_format is OutputFormat.GITHUB for target in targets):
        try:
            append_text_file(Path(summary), tell(format_named(OutputFormat.MARKDOWN.value), Style()))
        except KdiagError as error:
            failed.append(error)
    if failed:
        raise failed[0]
