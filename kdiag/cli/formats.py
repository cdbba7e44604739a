"""Which formats each kind of answer can be had in: what the formats in `kdiag.render` are made for; they are too expensive to import.

tests/cli/test_output.py compares the two.
"""

from __future__ import annotations

import enum


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
