"""Recordings of nftables, IPVS and userspace mode: silent where all is well, and each fault told once, at its node and Service."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from kdiag.model.report import Finding, Severity
from kdiag.model.snapshot import Snapshot
from kdiag.pipeline.flow import Scope, diagnose
from tests.corpus_fixtures import (
    FAULTS_IPVS,
    FAULTS_NFTABLES,
    NO_FAULTS_IPVS,
    OTHER_MODES,
    STOCK_GATES,
    cluster,
    fault,
    fault_description,
)
from tests.test_corpus_rules import services_of, services_selecting, services_with_cluster_ip

# Services that the recorded clusters leave without usable endpoints, so that these are right.
WITHOUT_ENDPOINTS = ("KD301", "KD302", "KD308")
IPVS = "v1.36.2-ipvs-nft"
DUAL = "dual-v1.36.2-nftables-nft"


def faults_in(snapshot: Snapshot, *nodes: str) -> list[Finding]:
    """What is found at warning or above, whatever the check."""
    report = diagnose(snapshot, Scope(nodes=nodes))
    return [
        item for item in report.findings if item.severity is not Severity.INFO and item.code not in WITHOUT_ENDPOINTS
    ]


@pytest.mark.parametrize("name", OTHER_MODES)
def test_a_healthy_cluster_of_another_mode_has_no_finding(name: str) -> None:
    snapshot = cluster(name)
    assert faults_in(snapshot) == []
    report = diagnose(snapshot, Scope())
    assert report.nodes_judged == len(snapshot.nodes)
    assert report.frontends_judged > 200 * len(snapshot.nodes)
    told = {(gap.node, gap.reason) for gap in report.gaps if gap.node in snapshot.nodes}
    assert told == set()


def test_a_proxy_that_looks_healthy_and_never_programs_a_service_is_found_once() -> None:
    (finding,) = faults_in(cluster(STOCK_GATES))
    assert (finding.code, finding.node, finding.severity) == ("KD211", None, Severity.ERROR)
    assert {item.node for item in finding.affected} == {"controlplane", "node01", "node02"}
    # In userspace mode SCTP is never served.
    assert services_of(finding) == services_with_cluster_ip(STOCK_GATES, version=4) - {"default/sctp-svc"}
    assert finding.actual is not None
    assert "empty chains" in finding.actual


@pytest.mark.parametrize("name", NO_FAULTS_IPVS)
def test_what_only_looks_like_a_fault_is_none(name: str) -> None:
    """A real server that finishes its connections with weight 0 gets no new ones: it is no stale endpoint."""
    assert fault_description(name)["must_be_reported"] is False
    assert faults_in(fault(name)) == []


@dataclass(frozen=True, kw_only=True)
class Expected:
    """The findings that a fault must give; `services` and `evidence` are those of the first."""

    codes: tuple[str, ...]
    services: Callable[[], frozenset[str]] = frozenset
    evidence: str = ""
    says: str = ""


def _all_of_ipvs() -> frozenset[str]:
    return services_with_cluster_ip(IPVS, version=4) - {"default/web-admin"} | {"default/new-svc"}


def _named(*names: str) -> Callable[[], frozenset[str]]:
    return lambda: frozenset(f"default/{name}" for name in names)


# kube-proxy was killed before each of these edits, or it would have mended them.
DEAD = "KD401"
EXPECTED = {
    "address-missing-kube-ipvs0": Expected(
        codes=("KD201", DEAD),
        services=_named("local-cluster"),
        evidence="-A KUBE-SERVICES -m set --match-set KUBE-CLUSTER-IP dst,dst -j ACCEPT",
        says="all pods on the node and all clients outside the node; the node itself is not affected",
    ),
    "all-virtual-servers-cleared": Expected(
        codes=("KD212", DEAD), services=_all_of_ipvs, evidence="(no virtual server)", says="has no IPv4 virtual server"
    ),
    "extra-address-kube-ipvs0": Expected(
        codes=("KD202", DEAD), evidence="-a -t 10.96.200.200:80 -r 10.244.1.3:80", says="10.96.200.200:80/TCP"
    ),
    "ipset-cluster-ip-flushed": Expected(
        codes=("KD212", DEAD),
        services=lambda: (
            # What is without endpoints is refused all the same.
            services_with_cluster_ip(IPVS, version=4) - _named("no-eps", "no-eps-np", "not-ready")()
        ),
        evidence="create KUBE-CLUSTER-IP hash:ip,port",
        says="ipset KUBE-CLUSTER-IP is empty",
    ),
    "mode-switch-leftovers": Expected(
        codes=("KD225", "KD403"),
        services=_named("itp-etp-local", "itp-local"),
        evidence="kube-ipvs0: 10.96.100.28",
        says="85 virtual servers and 49 addresses on kube-ipvs0 of IPVS mode",
    ),
    "nothing-programmed": Expected(
        codes=("KD211", DEAD),
        services=_all_of_ipvs,
        evidence="(no virtual server)",
        says="hold no Service of kube-proxy at all",
    ),
    "proxy-dead-rules-right": Expected(codes=(DEAD,)),
    "real-server-deleted": Expected(
        codes=("KD203", DEAD),
        services=_named("three-eps"),
        evidence="-a -t 10.96.100.7:80 -r 10.244.1.10:80 -m -w 1",
        says="10.244.1.11:80 (pod default/three-1)",
    ),
    "real-server-wrong-port": Expected(
        codes=("KD205", DEAD),
        services=_named("local-cluster"),
        evidence="-a -t 10.101.67.139:80 -r 10.244.1.3:8080 -m -w 1",
        says="the address is right, the port is not",
    ),
    "stale-real-server": Expected(
        codes=("KD223", DEAD),
        services=lambda: services_selecting(IPVS, "three") | {"default/new-svc"},
        evidence="-a -t 10.96.100.14:8088 -r 10.244.1.11:80 -m -w 1",
        # Nothing tells that this was the address of default/web-admin.
        says="- 10.96.100.26:80/TCP: no Service has the address, still programmed at 10.96.100.26:80\n",
    ),
    "nft-v6-dnat-wrong": Expected(
        codes=("KD204", DEAD),
        services=_named("local-cluster-dual"),
        evidence="map { 0 : fd00:10:244:1::63 . 80 }",
        says="[fd00:10:244:1::63]:80 (no pod has it)",
    ),
}


def test_every_recorded_fault_is_expected() -> None:
    assert set(EXPECTED) == {*FAULTS_IPVS, *FAULTS_NFTABLES}


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_a_fault_of_another_mode_is_found_and_nothing_else_is_said(name: str) -> None:
    expected = EXPECTED[name]
    node = fault_description(name)["faulty_node"]
    found = faults_in(fault(name), node)
    assert [(item.code, item.node) for item in found] == [(code, node) for code in expected.codes]
    first = found[0]
    assert services_of(first) == expected.services()
    assert any(expected.evidence in item.text for item in first.evidence), first.evidence
    assert expected.says in first.message, first.message
    assert all(item.source.startswith(f"nodes/{node}/") for item in first.evidence if first.code != DEAD)
    # The other node of the cluster is as it was.
    others = [item for item in fault(name).nodes if item != node]
    assert name in GOES_ON or [item for item in faults_in(fault(name), *others) if item.node != node] == []


# Of these the other node was recorded before the cluster changed.
GOES_ON = ("mode-switch-leftovers",)
