from __future__ import annotations

import pytest

from kdiag.checks.evidence import from_api, from_host, from_statement
from kdiag.model.host import HostFacts
from kdiag.model.report import Evidence
from tests.checks.builders import cluster, node_view


def test_api_objects_are_evidence_where_their_file_is_known() -> None:
    assert from_api(cluster(), "pods", "a") == (Evidence(source="cluster/pods.json", text="a"),)
    assert from_api(cluster(), "leases", "a") == ()


def test_probes_are_evidence_where_their_file_is_known() -> None:
    item = node_view(host=HostFacts(sources={"log": "nodes/node01/kube-proxy.log"}))
    assert from_host(item, "log", "a", line=3) == (Evidence(source="nodes/node01/kube-proxy.log", line=3, text="a"),)
    assert from_host(item, "sockets") == ()


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("nodes/node01/configz.json", (Evidence(source="nodes/node01/configz.json", text="a"),)),
        ("ConfigMap kube-system/x", (Evidence(source="cluster/configmaps.json", text="ConfigMap kube-system/x: a"),)),
        ("pod kube-system/x", (Evidence(source="cluster/pods.json", text="pod kube-system/x: a"),)),
        ("", ()),
    ],
)
def test_statements_are_traced_to_a_file(source: str, expected: tuple[Evidence, ...]) -> None:
    assert from_statement(cluster(), source, "a") == expected
