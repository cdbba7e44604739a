"""What was not recorded makes gaps, never findings: every healthy cluster with parts of the evidence taken away."""

from __future__ import annotations

import pytest
from msgspec import structs

from kdiag.model.snapshot import Snapshot
from kdiag.pipeline.viewing import build_view
from tests.corpus_fixtures import HEALTHY_IPTABLES, cluster

RUNNING = ("configz", "argv", "ps-ef", "ps-aux", "kube-proxy", "proxyMode")
TAKEN_AWAY: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "everything but rules": (("*",), ()),
    "configuration": (RUNNING, ("kube-system-configmaps",)),
    "everything but rules, configuration and releases": (
        ("*",),
        ("kube-system-configmaps", "kube-system-daemonsets", "version"),
    ),
    "pods": ((), ("pods",)),
    "nodes": ((), ("nodes",)),
    "routes": (("ip-route", "ip6-route"), ()),
    "addresses": (("ip-addr",), ()),
}


def _without(snapshot: Snapshot, probes: tuple[str, ...], kinds: tuple[str, ...]) -> Snapshot:
    def kept(probe: str) -> bool:
        return probe.endswith("tables-save") if probes == ("*",) else probe not in probes

    return structs.replace(
        snapshot,
        api={kind: item for kind, item in snapshot.api.items() if kind not in kinds},
        nodes={
            node: {probe: item for probe, item in recorded.items() if kept(probe)}
            for node, recorded in snapshot.nodes.items()
        },
    )


@pytest.mark.parametrize("what", TAKEN_AWAY)
@pytest.mark.parametrize("name", HEALTHY_IPTABLES)
def test_less_evidence_makes_no_difference(name: str, what: str) -> None:
    probes, kinds = TAKEN_AWAY[what]
    view, gaps = build_view(_without(cluster(name), probes, kinds), nodes=("node01",))
    comparison = view.node_by_name["node01"].comparison
    assert comparison is not None
    assert comparison.judged > 150
    assert [group.detail for group in comparison.groups] == []
    assert not [gap for gap in gaps if gap.subject.startswith("cannot tell")]
    for kind in kinds:
        if kind in ("pods", "nodes"):
            assert any(gap.subject == kind for gap in gaps)
