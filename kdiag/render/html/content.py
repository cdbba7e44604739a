"""What the page's script reads: the report and the cluster beside it, as compact JSON.

Names are long and repeated a million times over, so places are numbers of nodes, Services and ports. All text is made
harmless for the eye here (control characters, bidirectional overrides); the script only ever writes it as text.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC
from typing import Any

import msgspec

from kdiag.model.overview import Overview, ServiceOverview
from kdiag.model.report import Evidence, Finding, GapKind, Report, Severity
from kdiag.render.layout import visible
from kdiag.render.phrases import by_file

EVIDENCE_SHOWN, EVIDENCE_AT_ONCE = 40, 12
"""Lines of evidence of one finding that the page holds, and that it shows before it is asked for more (findings.js knows it,
too). The JSON format has all."""

NOWHERE = -1
"""Stands for no node, no Service or no port in a place."""

_STRIPES = ("KD2", "KD4")
"""Families whose findings on a whole node say something of every Service there."""


def in_order(items: Sequence[Evidence]) -> list[Evidence]:
    """What is shown at once and the rest, each file by file and line by line: checks put the most telling lines first."""
    return [*by_file(items[:EVIDENCE_AT_ONCE]), *by_file(items[EVIDENCE_AT_ONCE:])]


def page_content(report: Report) -> dict[str, Any]:
    """Everything that the page shows but for its pictures, in the order in which it is shown."""
    return _Content(report).told()


def embedded(content: object) -> str:
    """JSON that is safe inside a `<script>` element: no markup can begin or end in it, and no line can."""
    text = msgspec.json.encode(content).decode()
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


class _Words:
    """Numbers for words, in the order of their first use."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}

    def number(self, word: str | None) -> int:
        """The number of a word; NOWHERE for none."""
        if word is None:
            return NOWHERE
        return self.numbers.setdefault(shown(word), len(self.numbers))

    @property
    def words(self) -> list[str]:
        """All words; the number of each is its place."""
        return list(self.numbers)


def shown(text: str) -> str:
    """Text with everything escaped that is not there to be seen; line breaks stay."""
    return "\n".join(visible(line) for line in text.split("\n"))


class _Content:
    """The words of one page and the parts that refer to them."""

    def __init__(self, report: Report) -> None:
        self.report = report
        self.overview = report.overview or Overview()
        self.nodes = _Words()
        self.services = _Words()
        self.ports = _Words()
        self.sources = _Words()
        for node in self.overview.nodes:
            self.nodes.number(node.node)
        for service in self.overview.services:
            self.services.number(service.service)

    def told(self) -> dict[str, Any]:
        """All parts. What findings name and the cluster does not have is numbered behind what it has."""
        report = self.report
        overview = self.overview
        findings = [self._finding(finding) for finding in report.findings]
        services = [self._service(service) for service in overview.services]
        unjudged = [
            {
                "node": self.nodes.number(item.node),
                "reason": shown(item.reason),
                "services": [self.services.number(name) for name in item.services],
            }
            for item in overview.unjudged
        ]
        return {
            "cluster": self._cluster(),
            "findings": findings,
            "serviceFacts": services,
            "nodeFacts": [
                {"judged": node.judged, "mode": shown(node.mode or ""), "version": shown(node.version or "")}
                for node in overview.nodes
            ],
            "unjudged": unjudged,
            "gaps": self._gaps(),
            "checks": [{"code": check.code, "explanation": shown(check.explanation)} for check in overview.checks],
            "checksLeftOut": list(overview.checks_left_out),
            "tracesLeftOut": overview.traces_left_out,
            "withOverview": report.overview is not None,
            "nodes": self.nodes.words,
            "services": self.services.words,
            "ports": self.ports.words,
            "sources": self.sources.words,
        }

    def _cluster(self) -> dict[str, Any]:
        report = self.report
        kinds = [gap.kind for gap in report.gaps]
        taken_at = report.taken_at
        return {
            "name": shown(report.cluster),
            "server": shown(report.server_version or ""),
            "takenAt": "" if taken_at is None else f"{taken_at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC",
            "kdiag": report.kdiag_version,
            "nodesKnown": report.nodes_known,
            "nodesJudged": report.nodes_judged,
            "servicesJudged": report.services_judged,
            "frontendsJudged": report.frontends_judged,
            "counts": {severity.value: report.count(severity) for severity in Severity},
            "accepted": len(report.accepted),
            "gaps": {kind.value: kinds.count(kind) for kind in GapKind},
        }

    def _finding(self, finding: Finding) -> dict[str, Any]:
        acceptance = finding.acceptance
        return {
            "code": finding.code,
            "slug": shown(finding.slug),
            "severity": finding.severity.value,
            "title": shown(finding.title),
            "node": self.nodes.number(finding.node),
            "service": self.services.number(finding.service),
            "port": self.ports.number(finding.port),
            "frontend": shown(finding.frontend or ""),
            "expected": shown(finding.expected or ""),
            "actual": shown(finding.actual or ""),
            "message": shown(finding.message or finding.title),
            "hint": shown(finding.hint),
            "stripe": finding.code.startswith(_STRIPES),
            "places": [
                number
                for place in finding.places
                for number in (
                    self.nodes.number(place.node),
                    self.services.number(place.service),
                    self.ports.number(place.port),
                )
            ],
            "evidence": [
                [self.sources.number(item.source), item.line, shown(item.text)]
                for item in in_order(finding.evidence[:EVIDENCE_SHOWN])
            ],
            "moreEvidence": max(len(finding.evidence) - EVIDENCE_SHOWN, 0),
            "acceptance": None
            if acceptance is None
            else {
                "expired": acceptance.expired,
                "reason": shown(acceptance.reason),
                "owner": shown(acceptance.owner),
                "expires": acceptance.expires.isoformat(),
            },
        }

    def _service(self, service: ServiceOverview) -> dict[str, Any]:
        return {
            "type": shown(service.type),
            "addresses": [shown(address) for address in service.addresses],
            "endpoints": [
                [shown(item.address), shown(item.pod or ""), self.nodes.number(item.node), shown(item.state)]
                for item in service.endpoints
            ],
            "endpointCount": service.endpoint_count,
            "note": shown(service.note),
        }

    def _gaps(self) -> list[dict[str, Any]]:
        """Gaps of several nodes with one reason are one: 500 nodes may have the same trouble."""
        grouped: dict[tuple[str, str, str], list[str]] = {}
        for gap in self.report.gaps:
            nodes = grouped.setdefault((gap.kind.value, shown(gap.subject), shown(gap.reason)), [])
            if gap.node is not None and shown(gap.node) not in nodes[-1:]:
                nodes.append(shown(gap.node))
        return [
            {"kind": kind, "subject": subject, "reason": reason, "nodes": _unique(nodes)}
            for (kind, subject, reason), nodes in grouped.items()
        ]


def _unique(items: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(items))
