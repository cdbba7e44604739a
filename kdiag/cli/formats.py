"""Which formats each kind of answer can be had in: what the formats in `kdiag.render` are made for; they are too expensive to import.

tests/cli/test_output.py compares the two.
"""

from __future__ import annotations

import enum
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

STANDARD_OUTPUT = "-"


class OutputFormat(enum.StrEnum):
    """The words for `-o`: the slugs of the formats, in their order."""

    TEXT = "text"
    JSON = "json"
    YAML = "yaml"
    JUNIT = "junit"
    SARIF = "sarif"
    GITHUB = "github"
    MARKDOWN = "markdown"
    HTML = "html"
    SVG = "svg"
    MERMAID = "mermaid"
    DOT = "dot"


REPORT_FORMATS = (
    OutputFormat.TEXT,
    OutputFormat.JSON,
    OutputFormat.YAML,
    OutputFormat.JUNIT,
    OutputFormat.SARIF,
    OutputFormat.GITHUB,
    OutputFormat.MARKDOWN,
    OutputFormat.HTML,
    OutputFormat.SVG,
)
TRACE_FORMATS = (
    OutputFormat.TEXT,
    OutputFormat.JSON,
    OutputFormat.YAML,
    OutputFormat.SVG,
    OutputFormat.MERMAID,
    OutputFormat.DOT,
)
DIFF_FORMATS = (OutputFormat.TEXT, OutputFormat.JSON, OutputFormat.MARKDOWN)
"""What `kdiag.render.diff.DIFF_RENDERERS` holds."""

FACTS_FORMATS = (OutputFormat.TEXT, OutputFormat.JSON, OutputFormat.YAML)


class OutputTarget(NamedTuple):
    """One answer to give: in which format, and into which file (None: standard output)."""

    output_format: OutputFormat
    path: Path | None = None


def read_target(text: str, formats: Collection[str]) -> OutputTarget:
    """The target that `FORMAT`, `FORMAT=-` or `FORMAT=FILE` names. Raises ValueError, which says why it is none of `formats`."""
    slug, equals, path = text.partition("=")
    if slug not in formats:
        known = ", ".join(repr(str(item)) for item in formats)
        raise ValueError(f"{slug!r} is not one of {known}")
    if equals and not path:
        raise ValueError(f"{text!r} names no file")
    return OutputTarget(output_format=OutputFormat(slug), path=Path(path) if path and path != STANDARD_OUTPUT else None)
