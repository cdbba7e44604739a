"""Checks as pages: for `kdiag explain` and for docs/checks.md."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Protocol

from kdiag.model.report import Severity
from kdiag.render.layout import paragraphs, table, visible
from kdiag.render.style import Ink, Style

FAMILIES = (
    ("KD1", "Address ranges"),
    ("KD2", "Data plane"),
    ("KD3", "Services and endpoints"),
    ("KD4", "Nodes and proxies"),
)
"""The families of codes and what they are about, in the order of the codes."""

_LEAD = re.compile(r"\*\*(.+?)\*\*")
_LIST_ITEM = re.compile(r"(?P<indent> *)(?P<mark>[-*+]|[0-9]+\.) +")


class Example(Protocol):
    """A cluster in which a check has something to say (`kdiag.checks.examples.CheckExample`)."""

    @property
    def told(self) -> str:
        """What was done to the cluster. Markdown."""

    @property
    def console(self) -> str:
        """The command after `$ `, and what it printed."""


class Documented(Protocol):
    """What is needed of a check to write its page (`kdiag.checks.interface.Check` has it)."""

    @property
    def code(self) -> str:
        """`KD201`."""

    @property
    def slug(self) -> str:
        """`missing-frontend`."""

    @property
    def title(self) -> str:
        """One line without a full stop."""

    @property
    def severity(self) -> Severity:
        """The usual severity."""

    @property
    def explanation(self) -> str:
        """Markdown."""

    @property
    def hint(self) -> str:
        """One or two sentences."""


def check_page(check: Documented, style: Style, example: Example | None = None) -> str:
    """One check, for a terminal."""
    lines = [
        style.ink(f"{check.code} {check.slug} ({check.severity.value})", Ink.HEADING),
        *paragraphs(check.title, style.width),
        "",
        *_with_leads(check.explanation, style),
    ]
    if check.hint:
        lines.extend(["", *paragraphs(check.hint, style.width, indent="      ", first="hint: ")])
    if example is not None:
        lines.extend(["", *_with_leads(f"**Example.** {example.told}", style), ""])
        lines.extend(visible(line) for line in example.console.split("\n"))
    return "\n".join(lines) + "\n"


def _with_leads(markdown: str, style: Style) -> list[str]:
    return [_LEAD.sub(lambda found: style.ink(found[1], Ink.HEADING), line) for line in reflow(markdown, style.width)]


def check_list(checks: Sequence[Documented], style: Style) -> str:
    """All checks in a table for each family."""
    lines: list[str] = []
    for family, group in groupby(sorted(checks, key=lambda check: check.code), key=lambda check: check.code[:3]):
        rows = [(check.code, check.slug, check.severity.value, check.title) for check in group]
        lines.append(style.ink(f"{family}xx  {dict(FAMILIES).get(family, '')}".rstrip(), Ink.HEADING))
        lines.extend(
            table(("CODE", "CHECK", "SEVERITY", "WHAT IT REPORTS"), rows, width=style.width, indent="  ", whole=3)
        )
        lines.append("")
    lines.append("kdiag explain CODE says more about one of them.")
    return "\n".join(lines) + "\n"


def checks_markdown(checks: Sequence[Documented], examples: Mapping[str, Example]) -> str:
    """The text of docs/checks.md. `examples` are looked up by code."""
    ordered = sorted(checks, key=lambda check: check.code)
    lines = [
        "# Checks",
        "",
        "<!-- Written by `make docs` out of kdiag/checks; changes belong there. -->",
        "",
        "`kdiag explain CODE` prints the same text. The severity is the usual one; a finding may carry another. The examples are",
        "what kdiag prints about recordings of real clusters, of which most were bent in one place.",
    ]
    for family, group in groupby(ordered, key=lambda check: check.code[:3]):
        lines.extend(["", f"## {family}xx: {dict(FAMILIES).get(family, 'Others')}"])
        for check in group:
            lines.extend(["", f"### {check.code} {check.slug}", "", f"**{check.title}** ({check.severity.value})"])
            lines.extend(["", check.explanation.strip()])
            if check.hint:
                lines.extend(["", f"*What to do:* {check.hint.strip()}"])
            example = examples.get(check.code)
            if example is not None:
                lines.extend(
                    ["", f"**Example.** {example.told}", "", "```console", *example.console.split("\n"), "```"]
                )
    return "\n".join(lines) + "\n"


def reflow(markdown: str, width: int) -> list[str]:
    """Markdown wrapped to `width`: paragraphs and list items are filled, code, tables and headings are left alone."""
    out: list[str] = []
    pending: list[str] = []
    prefix = ("", "")
    fenced = False

    def flush() -> None:
        if pending:
            out.extend(paragraphs(" ".join(pending), width, indent=prefix[1], first=prefix[0]))
            pending.clear()

    for raw in markdown.strip().split("\n"):
        line = raw.rstrip()
        item = _LIST_ITEM.match(line)
        if line.lstrip().startswith("```"):
            flush()
            out.append(visible(line))
            fenced = not fenced
        elif fenced or (not pending and line.startswith("    ") and item is None) or line.startswith(("#", "|")):
            flush()
            out.append(visible(line))
        elif not line:
            flush()
            out.append("")
        elif item is not None:
            flush()
            prefix = (item.group(), " " * len(item.group()))
            pending.append(line[item.end() :])
        else:
            if not pending:
                prefix = ("", "")
            pending.append(line.strip())
    flush()
    return out
