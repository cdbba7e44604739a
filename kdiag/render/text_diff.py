"""What is different between two looks, as text."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC

from kdiag.model.change import Change, PlaneChange
from kdiag.model.report import Finding, Gap, Report, Severity
from kdiag.render.layout import count, paragraphs, some
from kdiag.render.phrases import gap_groups, gap_words, place
from kdiag.render.style import Ink, Style

NODES_SHOWN = 5
_INKS = {Severity.ERROR: Ink.ERROR, Severity.WARNING: Ink.WARNING, Severity.INFO: Ink.INFO}


def diff_text(change: Change, style: Style) -> str:
    """New findings with their messages, gone ones in a line each, then gaps, the data plane and one summary line."""
    lines = paragraphs(f"Before: {look_words(change.before)}", style.width, indent="  ", first="")
    lines += paragraphs(f"After:  {look_words(change.after)}", style.width, indent="  ", first="")
    if change.new:
        lines += ["", style.ink("New", Ink.HEADING)]
    for finding in change.new:
        lines += _head("+", finding, style)
        lines += paragraphs(finding.message or finding.title, style.width, indent="    ")
    if change.gone:
        lines += ["", style.ink("Gone", Ink.HEADING)]
    for finding in change.gone:
        lines += _head("-", finding, style)
        lines += paragraphs(finding.title, style.width, indent="    ")
    lines += _gaps("Not examined now, and examined before", change.new_gaps, style)
    lines += _gaps("Examined now, and not before", change.gone_gaps, style)
    if change.plane:
        lines += ["", style.ink("Data plane", Ink.HEADING)]
        known = None
        for item in change.plane:
            if item.service != known:
                known = item.service
                lines += paragraphs(item.service or "addresses that no Service has", style.width, indent="  ")
            lines += paragraphs(plane_words(item), style.width, indent="      ", first="    ")
    lines += ["", *paragraphs(diff_summary(change), style.width)]
    return "\n".join(lines) + "\n"


def look_words(report: Report) -> str:
    """`cluster prod, recorded 2026-11-23 06:05:04 UTC, 3 of 3 nodes judged`."""
    words = [f"cluster {report.cluster}"]
    if report.taken_at is not None:
        words.append(f"recorded {report.taken_at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC")
    words.append(f"{report.nodes_judged} of {count(report.nodes_known, 'node')} judged")
    return ", ".join(words)


def plane_words(item: PlaneChange) -> str:
    """`80/TCP endpoint removed 10.244.1.3:80 (10.96.0.10:80/TCP) on node02`."""
    words = [item.port, item.kind.value, item.backend, f"({some(item.frontends, NODES_SHOWN)})"]
    words.append(f"on {some(item.nodes, NODES_SHOWN)}" if item.nodes else "on all nodes")
    return " ".join(word for word in words if word)


def diff_summary(change: Change) -> str:
    """`1 new, 2 gone, 14 unchanged; 3 changes of the data plane on 3 nodes`."""
    text = f"{len(change.new)} new, {len(change.gone)} gone, {len(change.unchanged)} unchanged"
    if change.new_gaps or change.gone_gaps:
        text += f"; gaps: {len(change.new_gaps)} new, {len(change.gone_gaps)} gone"
    if change.plane is None:
        return text
    nodes = count(change.nodes_compared, "node")
    return f"{text}; {count(len(change.plane), 'change')} of the data plane, {nodes} compared"


def _head(sign: str, finding: Finding, style: Style) -> list[str]:
    word = style.ink(finding.severity.value.upper(), _INKS[finding.severity])
    line = "  ".join(part for part in (f"{finding.code} {finding.slug}", place(finding)) if part)
    wrapped = paragraphs(line, style.width, indent="    ", first="")
    return [f"{sign} {word} {wrapped[0]}", *wrapped[1:]]


def _gaps(heading: str, gaps: Sequence[Gap], style: Style) -> list[str]:
    lines = ["", style.ink(heading, Ink.WARNING)] if gaps else []
    for subject, reason, nodes in gap_groups(gaps):
        lines += paragraphs(gap_words(subject, reason, nodes), style.width, indent="    ", first="  ")
    return lines
