from __future__ import annotations

from kdiag.checks.proxy_unhealthy import CHECK
from kdiag.model.host import HealthAnswer, HostFacts
from kdiag.model.proxy import ProxyConfig, Version
from kdiag.model.report import Finding, Severity
from kdiag.model.view import NodeView
from tests.checks.builders import node_view, pod, view


def answer(healthy: bool | None = None, behind_s: float | None = None, *, answered: bool = True) -> HostFacts:
    return HostFacts(
        health=HealthAnswer(source="nodes/n/healthz", text="{}", answered=answered, healthy=healthy, behind_s=behind_s)
    )


def found(item: NodeView) -> list[Finding]:
    return list(CHECK.run(view(nodes=[item])))


def judge(behind_s: float, version: Version | None = (1, 30), config: ProxyConfig | None = None) -> list[Severity]:
    return [
        finding.severity for finding in found(node_view(host=answer(behind_s=behind_s), version=version, config=config))
    ]


def test_unhealthy_in_its_own_words() -> None:
    (finding,) = found(node_view(host=answer(False, 300.0)))
    assert (finding.code, finding.severity, finding.node) == ("KD402", Severity.ERROR, "node01")
    assert "300" not in finding.message
    assert "5 min before" in finding.message
    assert finding.evidence[0].source == "nodes/n/healthz"


def test_the_hint_names_the_pod_where_there_is_one() -> None:
    (finding,) = found(node_view(host=answer(False), proxy_pod=pod("kube-system/kube-proxy-x7")))
    assert finding.hint.endswith("kubectl -n kube-system logs kube-proxy-x7")
    (finding,) = found(node_view(host=answer(False)))
    assert finding.hint == CHECK.hint


def test_healthy_in_its_own_words_whatever_the_times() -> None:
    assert found(node_view(host=answer(True, 3600.0))) == []
    assert "Its last complete sync" not in found(node_view(host=answer(False)))[0].message


def test_a_sync_that_lies_two_periods_back() -> None:
    assert judge(61.0) == [Severity.ERROR]
    assert judge(0.0) == []
    assert judge(59.0) == []


def test_the_sync_period_counts() -> None:
    slow = ProxyConfig(source="x", sync_period_s=300.0)
    assert judge(500.0, config=slow) == []
    assert judge(601.0, config=slow) == [Severity.ERROR]


def test_old_and_unknown_releases_may_idle_for_an_hour() -> None:
    assert judge(3700.0, version=(1, 17)) == []
    assert judge(3700.0, version=None) == []
    assert judge(8000.0, version=(1, 17)) == [Severity.WARNING]


def test_times_in_words() -> None:
    (finding,) = found(node_view(host=answer(behind_s=6.4e10)))
    assert "never since its start" in finding.message
    late = found(node_view(host=answer(behind_s=100.0), version=(1, 30)))[0]
    assert (late.expected, late.actual) == ("a sync in the last 60 s", "last sync 100 s ago")
    assert found(node_view(host=answer(behind_s=36000.0)))[0].actual == "last sync 10 h ago"


def test_no_answer_and_other_proxies_are_left_alone() -> None:
    assert found(node_view()) == []
    assert found(node_view(host=answer(answered=False))) == []
    assert found(node_view(host=answer(False), other_proxy="Cilium")) == []
    assert found(node_view(host=answer())) == []
