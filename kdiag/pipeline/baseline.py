"""Holding a report against a baseline."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from pathlib import Path

from msgspec.structs import replace

from kdiag.checks import SLUGS, check_of
from kdiag.gather.text_files import read_text_file
from kdiag.model.baseline import ANY_NODE, Baseline, BaselineEntry, BaselineUse
from kdiag.model.report import Acceptance, Finding, GapKind, Report
from kdiag.parse.baseline import parse_baseline
from kdiag.pipeline.flow import Scope, is_chosen


def read_baseline(path: Path) -> Baseline:
    """The baseline in a file. Raises KdiagError if it cannot be read or is none."""
    return parse_baseline(read_text_file(path, "baseline"), str(path), codes=list(SLUGS))


def apply_baseline(report: Report, baseline: Baseline, scope: Scope, *, today: date) -> Report:
    """The report with what the baseline says of each finding, and of entries that are of no use any more.

    Of several entries for one finding (one for its node, one for all) the one that holds longest counts. Entries are of
    no use if nothing answers to them although all that they are about was looked at.
    """
    findings = tuple(_judged(finding, baseline.entries, today) for finding in report.findings)
    unneeded = tuple(
        entry
        for entry in baseline.entries
        if _was_looked_at(entry, report, scope) and not any(entry.key.covers(finding) for finding in findings)
    )
    return replace(report, findings=findings, baseline=BaselineUse(path=baseline.path, unneeded=unneeded))


def _judged(finding: Finding, entries: Iterable[BaselineEntry], today: date) -> Finding:
    matching = [entry for entry in entries if entry.key.covers(finding)]
    if not matching:
        return finding
    entry = max(matching, key=lambda entry: entry.expires)
    acceptance = Acceptance(
        reason=entry.reason, owner=entry.owner, expires=entry.expires, expired=entry.expires < today
    )
    return replace(finding, acceptance=acceptance)


def _was_looked_at(entry: BaselineEntry, report: Report, scope: Scope) -> bool:
    """Whether this run would have found what the entry is about, so that finding nothing means something."""
    key = entry.key
    if not is_chosen(key.code, scope):
        return False
    named = key.node is not None and key.node != ANY_NODE
    if scope.nodes and (not named or key.node not in scope.nodes):
        return False
    if scope.without_nodes and (named or check_of(key.code).needs_nodes):
        return False
    if key.service is not None:
        if scope.services and key.service not in {str(service) for service in scope.services}:
            return False
        if scope.namespace is not None and not key.service.startswith(f"{scope.namespace}/"):
            return False
    elif scope.services or scope.namespace is not None:
        return False
    failed = {gap.node for gap in report.gaps if gap.kind is GapKind.FAILED}
    return None not in failed and key.node not in failed and (named or not failed)
