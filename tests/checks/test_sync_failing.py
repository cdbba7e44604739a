from __future__ import annotations

from typing import Any

from kdiag.checks.sync_failing import CHECK
from kdiag.model.host import HealthAnswer, HostFacts, ProxyLog
from kdiag.model.report import Finding, Severity
from tests.checks.builders import node_view, view


def found(*lines: int, last_success: int = 0, health: HealthAnswer | None = None, **changes: Any) -> list[Finding]:
    log = ProxyLog(
        source="nodes/node01/kube-proxy.log",
        failures=tuple((line, f"E1123 proxier.go:1] Sync failed {line}") for line in lines),
        last_success_line=last_success,
    )
    return list(CHECK.run(view(nodes=[node_view(host=HostFacts(log=log, health=health), **changes)])))


def health(healthy: bool | None, behind_s: float | None = 0.0, *, answered: bool = True) -> HealthAnswer:
    return HealthAnswer(source="h", text="{}", answered=answered, healthy=healthy, behind_s=behind_s)


def test_a_failure_after_the_last_success() -> None:
    (finding,) = found(3, 12, last_success=10)
    assert (finding.code, finding.severity, finding.node) == ("KD409", Severity.WARNING, "node01")
    assert finding.actual == "1 failed sync after its last success"
    assert [(item.line, item.source) for item in finding.evidence] == [(12, "nodes/node01/kube-proxy.log")]


def test_failures_before_the_last_success_are_forgotten() -> None:
    assert found(3, 5, last_success=10) == []
    assert found() == []


def test_a_terse_log_needs_three() -> None:
    assert found(3, 5) == []
    (finding,) = found(3, 5, 7, 9, 11)
    assert finding.severity is Severity.WARNING
    assert [item.line for item in finding.evidence] == [3, 7, 9, 11]


def test_a_healthy_proxy_has_probably_recovered() -> None:
    def severity(answer: HealthAnswer) -> Severity:
        (finding,) = found(3, 5, 7, health=answer)
        return finding.severity

    assert severity(health(True)) is Severity.INFO
    assert severity(health(None)) is Severity.INFO
    assert severity(health(False)) is Severity.WARNING
    assert severity(health(None, 90.0)) is Severity.WARNING
    assert severity(health(None, answered=False)) is Severity.WARNING


def test_nodes_without_log_or_with_another_proxy_are_left_alone() -> None:
    assert list(CHECK.run(view(nodes=[node_view()]))) == []
    assert found(3, 5, 7, other_proxy="Cilium") == []
