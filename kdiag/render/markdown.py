"""Markdown as GitHub and GitLab show it, for a comment on a change and for the summary of a job.

Names and messages come from clusters, and a comment is shown with the rights of whoever posts it: what they say is text
and nothing else. It cannot make a link, a picture or HTML, mention anybody, point at an issue, or leave its table cell.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from kdiag.model.report import Evidence, Finding, GapKind, Report, Severity
from kdiag.render.interface import Format
from kdiag.render.layout import at_most, count, cut_middle, visible
from kdiag.render.phrases import (
    GAP_HEADINGS,
    acceptance_words,
    by_file,
    gap_groups,
    gap_words,
    other_places,
    place,
    report_heading,
    summary_line,
)
from kdiag.render.style import Style

LIMIT_CHARACTERS = 60_000
"""GitHub refuses a comment of more than 65,536 characters; what the workflow adds must have room, too."""
SIDE_LIMIT_CHARACTERS = 8_000
"""How much of it gaps may take, and what a baseline accepts, and what it need not accept."""
ROWS_LIMIT_CHARACTERS = 20_000
"""How much the table of findings may take, so that room is left for what the first of them say."""

AFFECTED_SHOWN = 10
EVIDENCE_SHOWN = 8
MESSAGE_CHARACTERS = 3_000
LINE_CHARACTERS = 400

_ICONS = {Severity.ERROR: "❌ error", Severity.WARNING: "⚠️ warning", Severity.INFO: "info"}
_NOTHING = "\u200b"
"""A space without width: what looks like a mention or a link is none any more with it, and reads the same."""
_SPECIAL = re.compile(r"[\\`*_{}\[\]|~$!]")
_LINKED = re.compile(
    r"(?<=@)(?=\w)|(?<=#)(?=\w)|(?<=:)(?=//)|(?<=www)(?=\.)|(?<=:)(?=(?:100|1234|[\w+-]*[a-z_+-][\w+-]*):)|(?<=GH)(?=-\d)",
    re.ASCII | re.IGNORECASE,
)
_MARK_AT_START = re.compile(r"^[#+=-]")
_NUMBER_AT_START = re.compile(r"(?<=^\d)(?=[.)])|(?<=^\d\d)(?=[.)])")


def _markdown(report: Report, _style: Style) -> str:
    head = [f"### kdiag: {prose(summary_line(report))}", "", prose(report_heading(report))]
    tail = [*_accepted(report), *_unneeded(report), *_gaps(report)]
    left = LIMIT_CHARACTERS - _size([*head, *tail])
    table, left = _table(report.counting, left)
    details = _details(report.counting, left)
    return "\n".join([*head, *table, *details, *tail]) + "\n"


def _table(findings: Sequence[Finding], left: int) -> tuple[list[str], int]:
    """One row a finding, and how many characters are left after it."""
    if not findings:
        return [], left
    head = ["", "| | Check | Where | What |", "|---|---|---|---|"]
    rows = [_row(finding) for finding in findings]
    shown, note = _fitting([[row] for row in rows], min(left, ROWS_LIMIT_CHARACTERS) - _size(head), "finding")
    lines = [*head, *shown, *note]
    return lines, left - _size(lines)


def _row(finding: Finding) -> str:
    what = finding.title + (" (its acceptance has expired)" if finding.acceptance is not None else "")
    cells = (
        _ICONS[finding.severity],
        f"{finding.code} {prose(finding.slug)}",
        prose(cut_middle(place(finding), LINE_CHARACTERS)),
        prose(cut_middle(what, LINE_CHARACTERS)),
    )
    return f"| {' | '.join(cells)} |"


def _details(findings: Sequence[Finding], left: int) -> list[str]:
    shown, note = _fitting([_block(finding) for finding in findings], left, "finding")
    return [*shown, *note]


def _block(finding: Finding) -> list[str]:
    label = " ".join(part for part in (finding.code, finding.slug, place(finding)) if part)
    lines = ["", "<details>", f"<summary>{_html(cut_middle(label, LINE_CHARACTERS))}</summary>", ""]
    if finding.acceptance is not None:
        lines += [prose(acceptance_words(finding.acceptance)), ""]
    # The marker of the list below is another than that of lists in messages, or the two would be one.
    lines += [*_lines(cut_middle(finding.message or finding.title, MESSAGE_CHARACTERS)), ""]
    for word, value in (("Address", finding.frontend), ("Expected", finding.expected), ("Actual", finding.actual)):
        if value:
            lines.append(f"* {word}: {_code(cut_middle(value, LINE_CHARACTERS))}")
    places = other_places(finding)
    if places:
        lines.append(f"* Affected: {prose(', '.join(at_most(places, AFFECTED_SHOWN)))}")
    if finding.hint:
        lines.append(f"* Hint: {prose(cut_middle(' '.join(finding.hint.split()), MESSAGE_CHARACTERS))}")
    return [*lines, *_evidence(finding.evidence), "", "</details>"]


def _evidence(items: Sequence[Evidence]) -> list[str]:
    if not items:
        return []
    shown = [
        cut_middle(
            f"{visible(item.source)}{f':{item.line}' if item.line else ''}  {visible(item.text)}".rstrip(),
            LINE_CHARACTERS,
        )
        for item in by_file(items[:EVIDENCE_SHOWN])
    ]
    longest = max((len(run) for line in shown for run in re.findall("`+", line)), default=0)
    fence = "`" * max(longest + 1, 3)
    more = (
        [f"and {count(len(items) - EVIDENCE_SHOWN, 'more line', 'more lines')}"] if len(items) > EVIDENCE_SHOWN else []
    )
    return ["", f"{fence}text", *shown, *more, fence]


def _accepted(report: Report) -> list[str]:
    items = []
    for finding in report.accepted:
        head = " ".join(part for part in (finding.code, finding.slug, place(finding)) if part)
        words = "" if finding.acceptance is None else f": {acceptance_words(finding.acceptance)}"
        items.append(head + words)
    return _section("Accepted, not counted", items, "finding")


def _unneeded(report: Report) -> list[str]:
    if report.baseline is None:
        return []
    return _section("No longer needed in the baseline", [str(entry) for entry in report.baseline.unneeded], "entry")


def _gaps(report: Report) -> list[str]:
    lines = []
    for kind, heading in GAP_HEADINGS:
        groups = gap_groups(gap for gap in report.gaps if gap.kind is kind)
        icon = "⚠️ " if kind is GapKind.FAILED else ""
        lines += _section(icon + heading, [gap_words(*group) for group in groups], "part")
    return lines


def _section(heading: str, items: Sequence[str], noun: str) -> list[str]:
    if not items:
        return []
    bullets = [[f"- {prose(cut_middle(' '.join(item.split()), MESSAGE_CHARACTERS))}"] for item in items]
    shown, note = _fitting(bullets, SIDE_LIMIT_CHARACTERS, noun)
    return ["", f"**{heading}**", "", *shown, *note]


def _fitting(blocks: Sequence[Sequence[str]], limit: int, noun: str) -> tuple[list[str], list[str]]:
    """The lines of the first blocks that fit into `limit` characters, and a note that tells how many are left out."""
    plural = "entries" if noun == "entry" else f"{noun}s"
    lines: list[str] = []
    room = limit - 60  # for the note itself
    for index, block in enumerate(blocks):
        room -= _size(block)
        if room < 0:
            more = count(len(blocks) - index, f"more {noun}", f"more {plural}")
            return lines, ["", f"… {more}, left out here for length"]
        lines += block
    return lines, []


def _size(lines: Sequence[str]) -> int:
    return sum(len(line) + 1 for line in lines)


def _lines(text: str) -> Iterator[str]:
    """Paragraphs and lists of a message; every other line break stays one."""
    lines = text.split("\n")
    for index, line in enumerate(lines):
        item, following = line.startswith("- "), lines[index + 1] if index + 1 < len(lines) else ""
        if index and item is not lines[index - 1].startswith("- "):
            yield ""
        if item:
            yield f"- {prose(line[2:])}"
        else:
            yield prose(line) + ("  " if following and not following.startswith("- ") else "")


def prose(text: str) -> str:
    """One line of text in which nothing means anything to Markdown, HTML, or what GitHub makes links of."""
    shown = _SPECIAL.sub(r"\\\g<0>", _unlinked(text.strip(" ")))
    shown = _MARK_AT_START.sub(r"\\\g<0>", shown)
    return _entities(_NUMBER_AT_START.sub(_NOTHING, shown))


def _html(text: str) -> str:
    """The same between HTML tags, where Markdown means nothing."""
    return _entities(_unlinked(text))


def _code(text: str) -> str:
    """The same as code, which can be copied: only a run of as many backticks would end it."""
    shown = visible(text)
    fence = "`" * (max((len(run) for run in re.findall("`+", shown)), default=0) + 1)
    return f"{fence} {shown} {fence}" if "`" in shown else f"{fence}{shown}{fence}"


def _unlinked(text: str) -> str:
    """`text` made visible, with nothing in it that reads as a mention, an issue, an emoji or an address of the web."""
    return _LINKED.sub(_NOTHING, visible(text))


def _entities(text: str) -> str:
    for raw, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ('"', "&quot;"), (_NOTHING, "&#8203;")):
        text = text.replace(raw, entity)
    return text


MARKDOWN = Format(slug="markdown", report=_markdown)
