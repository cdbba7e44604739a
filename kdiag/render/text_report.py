"""A report as text: findings by severity and code, what was not examined, one summary line."""

from __future__ import annotations

import re
from collections.abc import Sequence

from kdiag.model.report import Affected, Evidence, Finding, Gap, GapKind, Report, Severity
from kdiag.render.layout import at_most, count, enumeration, fitted, paragraphs, table, visible
from kdiag.render.phrases import (
    GAP_HEADINGS,
    acceptance_words,
    gap_groups,
    gap_words,
    judged_words,
    place,
    report_heading,
    severity_counts,
    summary_line,
)
from kdiag.render.style import Ink, Style

AFFECTED_SHOWN = 10
AFFECTED_ON_ONE_NODE = 12
EVIDENCE_SHOWN = 8

_INKS = {Severity.ERROR: Ink.ERROR, Severity.WARNING: Ink.WARNING, Severity.INFO: Ink.INFO}
_INDENT = "  "


def report_text(report: Report, style: Style) -> str:
    """The whole report. Findings with the same code stand together, and a hint that they share stands once, at the end."""
    lines = paragraphs(report_heading(report), style.width)
    ordered = sorted(report.counting, key=_order)
    for index, finding in enumerate(ordered):
        following = ordered[index + 1] if index + 1 < len(ordered) else None
        shared = following is not None and (finding.code, finding.hint) == (following.code, following.hint)
        lines.append("")
        lines.extend(_finding(finding, style, with_hint=not shared))
    lines.extend(_accepted(report, style))
    for kind, heading in GAP_HEADINGS:
        gaps = [gap for gap in report.gaps if gap.kind is kind]
        if gaps:
            lines.extend(["", style.ink(heading, Ink.WARNING if kind is GapKind.FAILED else Ink.HEADING)])
            lines.extend(_gaps(gaps, style))
    if report.address_ranges is not None:
        from kdiag.render.text_map import map_lines  # few reports have a map

        drawn = map_lines(report.address_ranges, style)
        lines.extend(["", *drawn] if drawn else [])
    lines.extend(["", *_summary(report, style)])
    return "\n".join(lines) + "\n"


def _order(finding: Finding) -> tuple[int, str, str, str, str, str, str]:
    return (
        finding.severity.rank,
        finding.code,
        finding.node or "",
        finding.service or "",
        finding.port or "",
        finding.frontend or "",
        finding.message,
    )


def _finding(finding: Finding, style: Style, *, with_hint: bool) -> list[str]:
    lines = _headline(finding, style)
    if finding.acceptance is not None:
        lines.extend(paragraphs(acceptance_words(finding.acceptance), style.width, indent=_INDENT))
    lines.extend(paragraphs(finding.message or finding.title, style.width, indent=_INDENT))
    for label, value in _fields(finding):
        if value:
            first = f"{_INDENT}{label:<9} "
            lines.extend(paragraphs(value, style.width, indent=" " * len(first), first=first))
    lines.extend(_affected(finding, style))
    lines.extend(_evidence(finding.evidence, style))
    if finding.hint and with_hint:
        lines.extend(paragraphs(finding.hint, style.width, indent=_INDENT * 2 + "    ", first=f"{_INDENT}hint: "))
    return lines


def _fields(finding: Finding) -> list[tuple[str, str | None]]:
    """What is set beside each other below the message, without what the message says word for word.

    Expected and actual are left out together or not at all: one tells little without the other.
    """
    fields = []
    if not _says(finding.message, finding.frontend):
        fields.append(("address", finding.frontend))
    if not (_says(finding.message, finding.expected) and _says(finding.message, finding.actual)):
        fields += [("expected", finding.expected), ("actual", finding.actual)]
    return fields


def _says(message: str, value: str | None) -> bool:
    """True if the message holds the value as words of their own, not as a part of a longer name or address."""
    if value is None or value not in message:  # As most: no pattern is made for it.
        return False
    return re.search(rf"(?<![\w.:/-]){re.escape(value)}(?![\w/-]|[.:][\w:])", message) is not None


def _headline(finding: Finding, style: Style) -> list[str]:
    """`ERROR CODE slug  node  service port`: one line, or two on a terminal that is too narrow for it."""
    word = finding.severity.value.upper()
    check = f"{finding.code} {finding.slug}"
    service_port = " ".join(part for part in (finding.service, finding.port) if part)
    place = visible("  ".join(part for part in (finding.node or "", service_port) if part))
    inked = style.ink(word, _INKS[finding.severity]) + " "
    if not place:
        return [inked + style.ink(check, Ink.HEADING)]
    if style.cut and len(f"{word} {check}  {place}") > style.width:
        return [inked + style.ink(check, Ink.HEADING), style.ink(f"{_INDENT}{place}", Ink.HEADING)]
    return [inked + style.ink(f"{check}  {place}", Ink.HEADING)]


def _affected(finding: Finding, style: Style) -> list[str]:
    """Left out where it would only repeat the headline; columns that say nothing are left out too."""
    itself = Affected(node=finding.node, service=finding.service, port=finding.port)
    items = finding.affected
    if all(item == itself for item in items):
        return []
    if finding.node is not None and all(item.node == finding.node for item in items):
        labels = [" ".join(part for part in (item.service, item.port) if part) for item in items]
        if all(label in finding.message for label in labels):
            return []
        first = f"{_INDENT}affected: "
        return enumeration(at_most(labels, AFFECTED_ON_ONE_NODE), style.width, indent=" " * len(first), first=first)
    columns = [
        (header, [value or "" for value in values])
        for header, values in (
            ("NODE", [item.node for item in items]),
            ("SERVICE", [item.service for item in items]),
            ("PORT", [item.port for item in items]),
        )
        if any(values)
    ]
    lines = [f"{_INDENT}affected: {count(len(items), 'place')}"]
    if columns:
        rows = list(zip(*(values[:AFFECTED_SHOWN] for _, values in columns), strict=True))
        lines.extend(table([header for header, _ in columns], rows, width=style.width, indent=_INDENT * 2))
    if len(items) > AFFECTED_SHOWN:
        lines.append(f"{_INDENT * 2}and {len(items) - AFFECTED_SHOWN} more")
    return lines


def _evidence(items: Sequence[Evidence], style: Style) -> list[str]:
    """Each file once, and below it the lines in their order: `LINE  TEXT`.

    Of much evidence the first is shown, because checks put the most telling first. A terminal gets a long line as a few,
    a pipe as one.
    """
    files: dict[str, list[Evidence]] = {}
    for item in items[:EVIDENCE_SHOWN]:
        files.setdefault(item.source, []).append(item)
    lines: list[str] = []
    for source, members in files.items():
        lines.append(_INDENT + visible(source))
        number = max(len(str(item.line)) if item.line else 0 for item in members)
        margin = _INDENT * 2 + " " * (number + 2 if number else 0)
        for item in sorted(members, key=lambda item: item.line):
            head = f"{_INDENT * 2}{item.line or '':>{number}}  " if number else margin
            shown = fitted(item.text, style.width - len(margin)) if style.cut else [visible(item.text)]
            lines.extend((margin if index else head) + part for index, part in enumerate(shown))
    lines = [style.ink(line.rstrip(), Ink.FAINT) for line in lines if line.strip()]
    if len(items) > EVIDENCE_SHOWN:
        lines.append(f"{_INDENT}and {count(len(items) - EVIDENCE_SHOWN, 'more line', 'more lines')}")
    return lines


def _gaps(gaps: Sequence[Gap], style: Style) -> list[str]:
    lines: list[str] = []
    for subject, reason, nodes in gap_groups(gaps):
        lines.extend(paragraphs(gap_words(subject, reason, nodes), style.width, indent=_INDENT * 2, first=_INDENT))
    return lines


def _accepted(report: Report, style: Style) -> list[str]:
    """What the baseline accepts, and what it need not accept any more."""
    if report.baseline is None:
        return []
    lines: list[str] = []
    if report.accepted:
        lines += ["", style.ink("Accepted, not counted", Ink.HEADING)]
    for finding in report.accepted:
        head = f"{finding.severity.value.upper()} {finding.code} {finding.slug}"
        lines += paragraphs("  ".join(part for part in (head, place(finding)) if part), style.width, indent=_INDENT)
        lines += paragraphs(finding.title, style.width, indent=_INDENT * 2)
        if finding.acceptance is not None:
            lines += paragraphs(acceptance_words(finding.acceptance), style.width, indent=_INDENT * 2)
    if report.baseline.unneeded:
        lines += ["", style.ink(f"No longer needed in {visible(report.baseline.path)}", Ink.INFO)]
        for entry in report.baseline.unneeded:
            lines += paragraphs(str(entry), style.width, indent=_INDENT * 2, first=_INDENT)
    return lines


def _summary(report: Report, style: Style) -> list[str]:
    """One line, or two on a terminal that is too narrow for it."""
    found = ", ".join(
        style.ink(text, _INKS[severity]) if report.count(severity) else text
        for severity, text in severity_counts(report)
    )
    if report.accepted:
        found += f", {len(report.accepted)} accepted"
    if style.cut and len(summary_line(report)) > style.width:
        return [f"{found};", *paragraphs(judged_words(report), style.width)]
    return [f"{found}; {judged_words(report)}"]
