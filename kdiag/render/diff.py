"""What is different between two looks, in the formats that tell it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import msgspec

from kdiag.model.change import Change
from kdiag.model.report import Finding
from kdiag.render.diff_document import diff_document
from kdiag.render.json import json_text
from kdiag.render.markdown import prose
from kdiag.render.phrases import gap_groups, gap_words, place
from kdiag.render.style import Style
from kdiag.render.text_diff import diff_summary, diff_text, look_words, plane_words

ROWS_SHOWN = 100
"""Of each list: a comment has its limits."""


def diff_json(change: Change, _style: Style) -> str:
    """The document of `docs/diff.schema.json`."""
    return json_text(msgspec.to_builtins(diff_document(change)))


def diff_markdown(change: Change, _style: Style) -> str:
    """For a comment on a change: tables of findings, lists of the rest."""
    lines = [f"### kdiag diff: {prose(diff_summary(change))}", ""]
    lines += [f"Before: {prose(look_words(change.before))}  ", f"After: {prose(look_words(change.after))}"]
    lines += _table("New", change.new)
    lines += _table("Gone", change.gone)
    for heading, gaps in (("Not examined now", change.new_gaps), ("Examined again", change.gone_gaps)):
        words = [gap_words(subject, reason, nodes) for subject, reason, nodes in gap_groups(gaps)]
        lines += _list(heading, words)
    lines += _list("Data plane", [f"{item.service}: {plane_words(item)}" for item in change.plane or ()])
    return "\n".join(lines) + "\n"


def _table(heading: str, findings: Sequence[Finding]) -> Iterator[str]:
    if not findings:
        return
    yield from ("", f"#### {heading}", "", "| | Check | Where | What |", "|---|---|---|---|")
    for finding in findings[:ROWS_SHOWN]:
        cells = (finding.severity.value, f"{finding.code} {finding.slug}", place(finding), finding.title)
        yield "| " + " | ".join(prose(cell) for cell in cells) + " |"
    if len(findings) > ROWS_SHOWN:
        yield from ("", f"and {len(findings) - ROWS_SHOWN} more")


def _list(heading: str, items: Sequence[str]) -> Iterator[str]:
    if not items:
        return
    yield from ("", f"#### {heading}", "")
    yield from (f"- {prose(item)}" for item in items[:ROWS_SHOWN])
    if len(items) > ROWS_SHOWN:
        yield f"- and {len(items) - ROWS_SHOWN} more"


DIFF_RENDERERS: Mapping[str, Callable[[Change, Style], str]] = {
    "text": diff_text,
    "json": diff_json,
    "markdown": diff_markdown,
}
"""By the word for `-o`."""
