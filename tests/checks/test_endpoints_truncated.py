from __future__ import annotations

from collections.abc import Mapping

from kdiag.checks.endpoints_truncated import CHECK
from kdiag.model.endpoints import LegacyEndpoints
from kdiag.model.proxy import ProxyConfig, ProxyMode
from kdiag.model.report import Finding, Severity
from kdiag.model.view import NodeView
from tests.checks.builders import cluster, meta, node_view, view


def found(annotations: Mapping[str, str], *nodes: NodeView) -> list[Finding]:
    listed = LegacyEndpoints(meta=meta("web", annotations=annotations))
    return list(CHECK.run(view(cluster(listed), nodes=nodes)))


TRUNCATED = {"endpoints.kubernetes.io/over-capacity": "truncated"}


def test_a_cut_object_is_worth_knowing() -> None:
    (finding,) = found(TRUNCATED, node_view())
    assert (finding.code, finding.severity, finding.service) == ("KD306", Severity.INFO, "default/web")
    assert [item.source for item in finding.evidence] == ["cluster/endpoints.json"]


def test_others_are_silent() -> None:
    assert found({}, node_view()) == []


def test_a_warning_mark_cuts_nothing() -> None:
    (finding,) = found({"endpoints.kubernetes.io/over-capacity": "warning"}, node_view(version=(1, 18)))
    assert finding.severity is Severity.INFO
    assert "more than 1000" in finding.message


def severity(node: NodeView) -> Severity:
    (finding,) = found(TRUNCATED, node)
    return finding.severity


def test_a_proxy_that_reads_endpoints_makes_it_a_warning() -> None:
    gate_off = ProxyConfig(source="x", feature_gates={"EndpointSliceProxying": False})
    gate_on = ProxyConfig(source="x", feature_gates={"EndpointSliceProxying": True})
    assert severity(node_view(version=(1, 18))) is Severity.WARNING
    assert severity(node_view(version=(1, 18), config=gate_on)) is Severity.INFO
    assert severity(node_view(version=(1, 20), config=gate_off)) is Severity.WARNING
    assert severity(node_view(version=(1, 20), mode=ProxyMode.USERSPACE)) is Severity.WARNING
    assert severity(node_view(version=(1, 20))) is Severity.INFO
    assert severity(node_view(version=None)) is Severity.INFO
