"""The lines of `kdiag watch`: one for each thing that changed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec
from msgspec.structs import replace

from kdiag.model.change import Change
from kdiag.model.report import Finding, Gap, Report, Severity
from kdiag.render.documents import report_document
from kdiag.render.layout import count, visible
from kdiag.render.phrases import place, summary_line
from kdiag.render.style import Ink, Style

SCHEMA = "kdiag/watch/v1"
_INKS = {Severity.ERROR: Ink.ERROR, Severity.WARNING: Ink.WARNING, Severity.INFO: Ink.INFO}


def change_lines(change: Change, at: datetime, style: Style) -> Iterator[str]:
    """`2026-11-23 06:05:04Z + ERROR KD204 stale-endpoint  node02 default/web 80/TCP: title`; `-` for what is gone."""
    for sign, findings in (("+", change.new), ("-", change.gone)):
        for finding in findings:
            yield f"{_clock(at)} {sign} {_finding(finding, style)}"
    for sign, gaps in (("+", change.new_gaps), ("-", change.gone_gaps)):
        for gap in gaps:
            where = f"{gap.node}: " if gap.node else ""
            yield f"{_clock(at)} {sign} NOT EXAMINED {visible(f'{where}{gap.subject}: {gap.reason}')}"


def failure_line(failure: str, at: datetime) -> str:
    """A run that failed as a whole."""
    return f"{_clock(at)} ! the run failed: {visible(failure)}"


def summary_text(runs: int, failed: int, new: int, gone: int, last: Report | None, at: datetime) -> str:
    """What there was in all, and how it is now."""
    text = f"{_clock(at)} {count(runs, 'run')}, {failed} failed; findings: {new} new, {gone} gone"
    return text if last is None else f"{text}; now {summary_line(last)}"


def change_documents(change: Change, at: datetime, number: int) -> Iterator[str]:
    """The same as JSON lines; findings and gaps look as in reports."""
    for event, report in (
        ("finding-new", _with(change.after, change.new)),
        ("finding-gone", _with(change.before, change.gone)),
    ):
        for finding in report_document(report).findings:
            yield _line(at, run=number, event=event, finding=msgspec.to_builtins(finding))
    for event, gaps in (("gap-new", change.new_gaps), ("gap-gone", change.gone_gaps)):
        for gap in report_document(_with(change.after, (), gaps)).gaps:
            yield _line(at, run=number, event=event, gap=msgspec.to_builtins(gap))


def failure_document(failure: str, at: datetime, number: int) -> str:
    """A run that failed, as a JSON line."""
    return _line(at, run=number, event="run-failed", reason=failure)


def summary_document(runs: int, failed: int, new: int, gone: int, last: Report | None, at: datetime) -> str:
    """The last JSON line; `summary` is that of the last report, null without one."""
    summary = None if last is None else msgspec.to_builtins(report_document(last).summary)
    return _line(at, run=runs, event="summary", failed=failed, new=new, gone=gone, summary=summary)


def _with(report: Report, findings: tuple[Finding, ...], gaps: tuple[Gap, ...] = ()) -> Report:
    return replace(report, findings=findings, gaps=gaps)


def _finding(finding: Finding, style: Style) -> str:
    where = place(finding)
    words = f"{finding.code} {finding.slug}" + (f"  {where}" if where else "")
    return (
        f"{style.ink(finding.severity.value.upper(), _INKS[finding.severity])} {visible(f'{words}: {finding.title}')}"
    )


def _clock(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%SZ}"


def _line(at: datetime, **values: Any) -> str:
    document = {"schema": SCHEMA, "time": f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}", **values}
    return json.dumps(document, ensure_ascii=True, allow_nan=False)
