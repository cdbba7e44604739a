"""SARIF 2.1.0, for code scanning (https://docs.oasis-open.org/sarif/sarif/v2.1.0/).

Findings are results, gaps are notifications of the invocation, and what a baseline accepts is suppressed. GitHub shows
only results that have a file, so the first piece of evidence is the location, and the snapshot's manifest where there is
none; files are relative to the snapshot (`SNAPSHOT`). `partialFingerprints` hold what makes a finding the same one in the
next run: not its words. What the tool's documentation calls a rule is a check here; only those that reported are listed.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

from kdiag.model.report import Evidence, Finding, Gap, GapKind, Report, Severity
from kdiag.render.interface import Format
from kdiag.render.layout import visible
from kdiag.render.phrases import (
    acceptance_words,
    gap_groups,
    gap_words,
    other_places,
    place,
    report_heading,
    summary_line,
)
from kdiag.render.style import Style

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"

_BASE = "SNAPSHOT"
_PLAIN = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~/")
_WHOLE_SNAPSHOT = "manifest.json"
_LEVELS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.INFO: "note"}
_GAP_LEVELS = {GapKind.FAILED: "error", GapKind.NOT_APPLICABLE: "note", GapKind.NOT_ASKED: "note"}


def _sarif(report: Report, _style: Style) -> str:
    codes = sorted({finding.code for finding in report.findings})
    log = {"$schema": SCHEMA, "version": "2.1.0", "runs": [_run(report, codes)]}
    # Pure ASCII, as the JSON format is.
    return json.dumps(log, indent=2, ensure_ascii=True, allow_nan=False) + "\n"


def _run(report: Report, codes: Sequence[str]) -> dict[str, Any]:
    first = {finding.code: finding for finding in reversed(report.findings)}
    seen: Counter[str] = Counter()
    results = []
    for finding in report.findings:
        fingerprint = _fingerprint(finding)
        seen[fingerprint] += 1
        results.append(_result(finding, codes.index(finding.code), f"{fingerprint}:{seen[fingerprint]}"))
    notes = [] if report.baseline is None else [f"no longer needed: {entry}" for entry in report.baseline.unneeded]
    return {
        "tool": {
            "driver": {
                "name": "kdiag",
                "version": report.kdiag_version,
                "semanticVersion": report.kdiag_version,
                "rules": [_rule(first[code]) for code in codes],
                "notifications": [
                    {"id": kind.value, "defaultConfiguration": {"level": _GAP_LEVELS[kind]}} for kind in GapKind
                ]
                + [{"id": "baseline-entry-not-needed", "defaultConfiguration": {"level": "note"}}],
            }
        },
        # A file for each cluster: GitHub replaces the results of the same id.
        "automationDetails": {"id": f"kdiag/{visible(report.cluster)}/"},
        "originalUriBaseIds": {_BASE: {"description": _message("The directory of the snapshot.")}},
        "columnKind": "unicodeCodePoints",
        "invocations": [
            {
                "executionSuccessful": not any(gap.kind is GapKind.FAILED for gap in report.gaps),
                "toolExecutionNotifications": [
                    *_notifications(report.gaps),
                    *(_notification("baseline-entry-not-needed", "note", entry) for entry in notes),
                ],
            }
        ],
        "results": results,
        "properties": {"summary": [visible(report_heading(report)), summary_line(report)]},
    }


def _rule(finding: Finding) -> dict[str, Any]:
    """What is common to the findings of a check, as its first finding tells it."""
    return {
        "id": finding.code,
        "name": finding.slug,
        "shortDescription": _message(finding.title),
        "help": _message(f"kdiag explain {finding.code}"),
        "defaultConfiguration": {"level": _LEVELS[finding.severity]},
    }


def _result(finding: Finding, rule: int, fingerprint: str) -> dict[str, Any]:
    out: dict[str, Any] = {
        "ruleId": finding.code,
        "ruleIndex": rule,
        "level": _LEVELS[finding.severity],
        "message": _message("\n".join(_words(finding))),
        "locations": [_location(finding)],
        # The first name is the only one that GitHub takes note of.
        "partialFingerprints": {"primaryLocationLineHash": fingerprint, "kdiagKey/v1": fingerprint},
    }
    if len(finding.evidence) > 1:
        out["relatedLocations"] = [{"physicalLocation": _physical(item)} for item in finding.evidence[1:]]
    if finding.acceptance is not None and finding.accepted:
        justification = visible(acceptance_words(finding.acceptance))
        out["suppressions"] = [{"kind": "external", "status": "accepted", "justification": justification}]
    values = (
        ("node", finding.node),
        ("service", finding.service),
        ("port", finding.port),
        ("frontend", finding.frontend),
        ("expected", finding.expected),
        ("actual", finding.actual),
    )
    out["properties"] = {key: visible(value) for key, value in values if value}
    return out


def _words(finding: Finding) -> list[str]:
    lines = [place(finding) or "the cluster"]
    if finding.acceptance is not None and not finding.accepted:
        lines.append(acceptance_words(finding.acceptance))
    lines.append(finding.message or finding.title)
    for label, value in (("Expected", finding.expected), ("Actual", finding.actual), ("Hint", finding.hint)):
        if value:
            lines.append(f"{label}: {value}")
    return lines


def _location(finding: Finding) -> dict[str, Any]:
    first = finding.evidence[0] if finding.evidence else Evidence(source=_WHOLE_SNAPSHOT)
    out: dict[str, Any] = {"physicalLocation": _physical(first)}
    names = [label for label in (place(finding), *other_places(finding)) if label]
    if names:
        out["logicalLocations"] = [{"fullyQualifiedName": visible(label)} for label in names]
    return out


def _physical(item: Evidence) -> dict[str, Any]:
    out: dict[str, Any] = {"artifactLocation": {"uri": _uri(item.source), "uriBaseId": _BASE}}
    if item.line:
        out["region"] = {"startLine": item.line}
        if item.text:
            out["region"]["snippet"] = {"text": visible(item.text)}
    return out


def _uri(path: str) -> str:
    """A path within the snapshot as a relative reference (RFC 3986): a colon, too, is escaped."""
    octets = path.lstrip("/").encode("utf-8", "backslashreplace")
    return "".join(chr(octet) if octet in _PLAIN else f"%{octet:02X}" for octet in octets)


def _notifications(gaps: Sequence[Gap]) -> list[dict[str, Any]]:
    return [
        _notification(kind.value, _GAP_LEVELS[kind], gap_words(subject, reason, nodes), nodes)
        for kind in GapKind
        for subject, reason, nodes in gap_groups(gap for gap in gaps if gap.kind is kind)
    ]


def _notification(slug: str, level: str, text: str, nodes: Sequence[str] = ()) -> dict[str, Any]:
    out: dict[str, Any] = {"descriptor": {"id": slug}, "level": level, "message": _message(text)}
    if nodes:
        out["locations"] = [{"logicalLocations": [{"fullyQualifiedName": visible(node)} for node in nodes]}]
    return out


def _message(text: str) -> dict[str, str]:
    """Plain text, in which `[words](target)` would be a link (§3.11.6): a name from a cluster must not make one."""
    shown = "\n".join(visible(line) for line in text.split("\n"))
    return {"text": shown.replace("](", "] (")}


def _fingerprint(finding: Finding) -> str:
    parts = (finding.code, finding.node, finding.service, finding.port, finding.frontend)
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


SARIF = Format(slug="sarif", report=_sarif)
