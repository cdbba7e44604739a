"""KD402: a kube-proxy that says itself that it does not keep up."""

from __future__ import annotations

from collections.abc import Iterable

from kdiag.checks.interface import Check
from kdiag.checks.proxy_release import seen_release
from kdiag.model.host import HealthAnswer
from kdiag.model.proxy import Version
from kdiag.model.report import Evidence, Finding, Severity
from kdiag.model.view import NodeView, View

IDLE_IS_FRESH: Version = (1, 19)
"""From here on for certain, a healthy proxy gives the present as lastUpdated, idle or not."""

OLD_LIMIT_S = 7200.0
"""Before, lastUpdated was the last sync, and an idle iptables proxy syncs once an hour (1.17, 1.18)."""

DEFAULT_SYNC_PERIOD_S = 30.0


def run(view: View) -> Iterable[Finding]:
    """One finding per node."""
    for node in view.nodes:
        health = node.host.health
        if health is None or not health.answered or node.other_proxy is not None:
            continue
        finding = _finding(node, health)
        if finding is not None:
            yield finding


def _finding(node: NodeView, health: HealthAnswer) -> Finding | None:
    limit_s = _limit_s(node)
    if health.healthy is not None:
        if health.healthy:
            return None
        severity = Severity.ERROR
        expected, actual = "healthy", "not healthy"
        what = "kube-proxy says that it is not healthy"
    elif health.behind_s is not None and health.behind_s >= limit_s:
        severity = Severity.ERROR if _is_new(node) else Severity.WARNING
        expected = f"a sync in the last {_spelled(limit_s)}"
        actual = f"last sync {_spelled(health.behind_s)} ago"
        what = "kube-proxy answers its health check with a sync that lies far back"
    else:
        return None
    since = (
        f" Its last complete sync was {_spelled(health.behind_s)} before the answer."
        if health.behind_s is not None and health.behind_s >= 1
        else ""
    )
    return CHECK.finding(
        severity=severity,
        node=node.name,
        expected=expected,
        actual=actual,
        message=(
            f"On {node.name} {what}: changes of Services or endpoints are waiting, and it cannot write them.{since} "
            "The rules of the node are old."
        ),
        hint=_hint(node),
        evidence=(Evidence(source=health.source, line=1, text=health.text[:300]),),
    )


def _hint(node: NodeView) -> str:
    """Where this node's log is, if kube-proxy is known to be a pod there."""
    if node.proxy_pod is None:
        return CHECK.hint
    key = node.proxy_pod.key
    return f"Read kube-proxy's log for failed syncs: kubectl -n {key.namespace} logs {key.name}"


def _is_new(node: NodeView) -> bool:
    release = seen_release(node)
    return release is not None and release >= IDLE_IS_FRESH


def _limit_s(node: NodeView) -> float:
    """How far lastUpdated may lie back: kube-proxy calls itself unhealthy after two sync periods."""
    if not _is_new(node):
        return OLD_LIMIT_S
    period_s = node.config.sync_period_s if node.config is not None else None
    return 2 * (period_s or DEFAULT_SYNC_PERIOD_S)


def _spelled(seconds: float) -> str:
    """`95 s`, `12 min`, `3 h`; `never` for a time before kube-proxy existed (Go's zero time)."""
    if seconds > 20 * 365 * 86400:
        return "for ever (never since its start)"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"


CHECK = Check(
    code="KD402",
    slug="proxy-unhealthy",
    title="kube-proxy is not healthy",
    severity=Severity.ERROR,
    explanation="""\
kube-proxy answers `/healthz` (port 10256) with the time of its last complete sync, and since 1.34 or so also with a plain
`healthy`. It is unhealthy if a change has waited for more than two sync periods (60 s by default) and is not written yet.

**What it does to traffic.** The node's rules are old: new Services do not work, traffic goes to pods that are gone. Load
balancers that use this health check take the node out.

**How it is found.** `healthy: false`, or a `lastUpdated` more than two sync periods before `currentTime`. A healthy
kube-proxy of 1.19 and later gives the same time for both, idle or not. For older and unknown releases, whose
`lastUpdated` is the last sync and may be an hour old on an idle node, the limit is two hours.

**What is left alone.** `nodeEligible: false`: the node is being removed and kube-proxy is well. No answer at all (KD401).
""",
    hint="Read the log of the node's kube-proxy for failed syncs.",
    run=run,
    needs_nodes=True,
)
