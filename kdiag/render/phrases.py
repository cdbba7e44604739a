"""What several formats say in the same words. Nothing here is escaped: that is for each format."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC

from kdiag.model.report import Acceptance, Affected, Evidence, Finding, Gap, GapKind, Report, Severity
from kdiag.render.layout import count, some

NODES_SHOWN = 5

GAP_HEADINGS = (
    (GapKind.FAILED, "Not examined, although wanted"),
    (GapKind.NOT_APPLICABLE, "Not examined, because there is nothing to see"),
    (GapKind.NOT_ASKED, "Not examined, as asked"),
)


def report_heading(report: Report) -> str:
    """`Cluster prod, Kubernetes v1.30.3, recorded 2026-11-23 06:05:04 UTC, kube-proxy iptables on 3 nodes`."""
    parts = [f"Cluster {report.cluster}"]
    if report.server_version:
        parts.append(f"Kubernetes {report.server_version}")
    if report.taken_at is not None:
        parts.append(f"recorded {report.taken_at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC")
    modes = sorted(set(report.modes.values()))
    if modes:
        nodes_by_mode = [f"{mode} on {count(list(report.modes.values()).count(mode), 'node')}" for mode in modes]
        parts.append(f"kube-proxy {' and '.join(nodes_by_mode)}")
    return ", ".join(parts)


def severity_counts(report: Report) -> list[tuple[Severity, str]]:
    """`1 error`, `2 warnings` and, if there are any, `3 infos`."""
    return [
        (severity, count(report.count(severity), severity.value))
        for severity in Severity
        if severity is not Severity.INFO or report.count(severity)
    ]


def judged_words(report: Report) -> str:
    """`judged 2 of 3 nodes, 14 Services, 41 addresses; 2 parts not examined`."""
    judged = (
        f"judged {report.nodes_judged} of {count(report.nodes_known, 'node')}, "
        f"{count(report.services_judged, 'Service')}, {count(report.frontends_judged, 'address', 'addresses')}"
    )
    failed = sum(1 for gap in report.gaps if gap.kind is GapKind.FAILED)
    return judged + (f"; {count(failed, 'part')} not examined" if failed else "")


def summary_line(report: Report) -> str:
    """All counts on one line."""
    parts = [text for _, text in severity_counts(report)]
    if report.accepted:
        parts.append(f"{len(report.accepted)} accepted")
    return f"{', '.join(parts)}; {judged_words(report)}"


def place(item: Finding | Affected) -> str:
    """`node02 default/web 80/TCP`: as much of it as there is, an empty text for the cluster as a whole."""
    return " ".join(part for part in (item.node, item.service, item.port) if part)


def by_file(items: Sequence[Evidence]) -> list[Evidence]:
    """Evidence file by file, in the order in which the files are first named, and line by line."""
    files = {source: place for place, source in enumerate(dict.fromkeys(item.source for item in items))}
    return sorted(items, key=lambda item: (files[item.source], item.line))


def other_places(finding: Finding) -> list[str]:
    """Where the finding shows, without repeating where it is."""
    labels = dict.fromkeys(place(item) for item in finding.affected)
    return [label for label in labels if label and label != place(finding)]


def acceptance_words(acceptance: Acceptance) -> str:
    """`accepted by ann until 2027-01-31: known`, or that this is over."""
    day = acceptance.expires.isoformat()
    if acceptance.expired:
        return f"counts again: its acceptance by {acceptance.owner} ended on {day} ({acceptance.reason})"
    return f"accepted by {acceptance.owner} until {day}: {acceptance.reason}"


def gap_groups(gaps: Iterable[Gap]) -> list[tuple[str, str, tuple[str, ...]]]:
    """Subject, reason, and the nodes that share them: 500 nodes may have the same trouble."""
    nodes: dict[tuple[str, str], dict[str, None]] = {}
    for gap in sorted(gaps, key=lambda gap: (gap.subject, gap.reason, gap.node or "")):
        places = nodes.setdefault((gap.subject, gap.reason), {})
        if gap.node:
            places[gap.node] = None
    return [(subject, reason, tuple(places)) for (subject, reason), places in nodes.items()]


def gap_words(subject: str, reason: str, nodes: tuple[str, ...]) -> str:
    """`iptables-save on node03 and 4 more: connection refused`."""
    where = f" on {some(nodes, NODES_SHOWN)}" if nodes else ""
    return f"{subject}{where}: {reason}"
