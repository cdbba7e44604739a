"""KD409: a kube-proxy whose log shows that it cannot write its rules."""

from __future__ import annotations

from collections.abc import Iterable

from kdiag.checks.interface import Check
from kdiag.model.host import HealthAnswer, ProxyLog
from kdiag.model.report import Evidence, Finding, Severity
from kdiag.model.view import NodeView, View

MANY = 3
"""So many failures are needed where the log is too terse to show successes: one or two are retried and forgotten."""

FRESH_S = 1.0


def run(view: View) -> Iterable[Finding]:
    """One finding per node."""
    for node in view.nodes:
        log = node.host.log
        if log is None or node.other_proxy is not None:
            continue
        severity, failures = _judge(log, node.host.health)
        if severity is not None:
            yield _finding(node, log, failures, severity)


def _judge(log: ProxyLog, health: HealthAnswer | None) -> tuple[Severity | None, tuple[tuple[int, str], ...]]:
    """How bad the failures after the last success are, and which ones count."""
    failures = tuple(item for item in log.failures if item[0] > log.last_success_line)
    if not failures:
        return None, ()
    if log.last_success_line:
        return Severity.WARNING, failures
    if len(failures) < MANY:
        return None, failures
    # A proxy that has written everything calls itself healthy: the failures are over, or harmless.
    return (Severity.INFO if _is_well(health) else Severity.WARNING), failures


def _is_well(health: HealthAnswer | None) -> bool:
    if health is None or not health.answered:
        return False
    return health.healthy is True or (health.healthy is None and (health.behind_s or 0.0) < FRESH_S)


def _finding(node: NodeView, log: ProxyLog, failures: tuple[tuple[int, str], ...], severity: Severity) -> Finding:
    last_line, last_text = failures[-1]
    count = f"{len(failures)} failed sync{'' if len(failures) == 1 else 's'}"
    seen = "after its last success" if log.last_success_line else "since its last start"
    return CHECK.finding(
        severity=severity,
        node=node.name,
        expected="syncs that succeed",
        actual=f"{count} {seen}",
        message=(
            f"kube-proxy on {node.name} logs {count} {seen}, the last one: {last_text.strip()[:300]} "
            + (
                "It calls itself healthy, so it has probably recovered."
                if severity is Severity.INFO
                else "While a sync fails, none of its changes reaches the kernel, and the rules grow old."
            )
        ),
        evidence=[
            Evidence(source=log.source, line=line, text=text.strip()[:300])
            for line, text in dict.fromkeys((failures[0], *failures[-3:], (last_line, last_text)))
        ],
    )


CHECK = Check(
    code="KD409",
    slug="sync-failing",
    title="kube-proxy cannot write its rules",
    severity=Severity.WARNING,
    explanation="""\
kube-proxy writes its rules in one transaction for each family. If a rule in it cannot be loaded (a missing kernel module, a
malformed value in one Service, another program that holds the lock), nothing of it is: `Sync failed`,
`Failed to execute iptables-restore`.

**What it does to traffic.** The node keeps its old rules: new Services do not work, old endpoints stay.

**How it is found.** Failures in kube-proxy's log after its last start and its last visible success. Successes are logged
from verbosity 2 on only; without them at least three failures are needed, and a kube-proxy that calls itself healthy makes
them worth knowing only (info).

**What is left alone.** Failures before a success or before the last start. Nodes whose log was not recorded.
""",
    hint="Read the log for the rule or module that it names: kubectl -n kube-system logs <kube-proxy pod>.",
    run=run,
    needs_nodes=True,
)
