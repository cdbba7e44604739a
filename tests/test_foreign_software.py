"""Other software on a node: its rules say nothing against kube-proxy, unless they take Service traffic away."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest
from msgspec import structs

from kdiag.model.report import Finding, GapKind, Report, Severity
from kdiag.model.snapshot import Recording, Snapshot
from kdiag.pipeline.flow import Scope, diagnose
from tests import foreign_rules as rules
from tests.corpus_fixtures import cluster, variant, variant_api

NODE = "node01"
SETTLED_S = 0.0
"""The recordings were made seconds after their Services, when kube-proxy had followed."""
NEW, OLD = "v1.36.2-iptables-nft", "v1.20.2-iptables-nft"
WEAVE, WEAVE_SETS = rules.weave()
WEAVE_CLOSED_SETS = rules.weave(("10.244.1.10",))[1]


@dataclass(frozen=True, kw_only=True)
class Software:
    """Pieces of rules, and what else of the recording belongs to them.

    `bridge` renames the interface of the pods, `sets` are its ipsets, `addresses` those of an interface that it makes.
    """

    pieces: tuple[str, ...]
    bridge: str | None = None
    sets: str = ""
    addresses: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)


def software(*pieces: str, bridge: str | None = None, sets: str = "", **addresses: tuple[str, ...]) -> Software:
    return Software(pieces=pieces, bridge=bridge, sets=sets, addresses=addresses)


def installed(item: Software, base: str) -> Snapshot:
    """The recording with the software's rules on node01."""
    found = cluster(base)
    for piece in item.pieces:
        found = variant(found, node=NODE, probe="iptables-save", edit=rules.beside(piece))
    if item.bridge is not None:
        for probe in ("ip-addr", "ip-route"):
            found = variant(found, node=NODE, probe=probe, edit=lambda text: text.replace('"cni0"', f'"{item.bridge}"'))
    if item.addresses:
        found = variant(found, node=NODE, probe="ip-addr", edit=lambda text: with_interfaces(text, item.addresses))
    if item.sets:
        recording = Recording(source=f"nodes/{NODE}/ipset-save.txt", content=item.sets.encode(), exit_status=0)
        found = structs.replace(found, nodes={**found.nodes, NODE: {**found.nodes[NODE], "ipset-save": recording}})
    return found


def with_interfaces(text: str, addresses: Mapping[str, tuple[str, ...]]) -> str:
    links: list[dict[str, Any]] = json.loads(text)
    for name, found in addresses.items():
        listed = [{"family": "inet", "local": item, "prefixlen": 32, "scope": "global"} for item in found]
        links.append({"ifindex": 90, "ifname": name, "flags": ["UP", "LOWER_UP"], "addr_info": listed})
    return json.dumps(links)


QUIET: dict[str, Software] = {
    "Istio ambient": software(rules.ISTIO_AMBIENT, sets=rules.ISTIO_SETS),
    "linkerd, its own ports": software(rules.LINKERD),
    "node-local DNS at its own address and the Service's": software(
        rules.node_local_dns("169.254.20.10", "10.96.0.10"), nodelocaldns=("169.254.20.10", "10.96.0.10")
    ),
    "node-local DNS at its own address": software(
        rules.node_local_dns("169.254.25.10"), nodelocaldns=("169.254.25.10",)
    ),
    "ip-masq-agent": software(rules.ip_masq_agent("IP-MASQ", first=False)),
    "ip-masq-agent in front": software(rules.ip_masq_agent("IP-MASQ-AGENT", first=True)),
    "portmap": software(rules.portmap(8443)),
    "portmap with a port that is a NodePort too, which wins": software(rules.portmap(30019)),
    "flannel": software(rules.FLANNEL),
    "Docker": software(rules.DOCKER),
    "Docker 28": software(rules.DOCKER_28),
    "Docker's policy, and flannel": software(rules.DOCKER, rules.FORWARD_DROP, rules.FLANNEL, rules.OTHERS_ACCEPTED),
    "firewalld": software(rules.FIREWALLD),
    "ufw": software(rules.UFW),
    "fail2ban": software(rules.FAIL2BAN),
    "tailscale": software(rules.TAILSCALE),
    "kube-router's policies": software(rules.kube_router_policy(allowing=True)),
    "Calico": software(rules.calico("0x10000/0x10000"), bridge="cali7f1c2d3e4f5", sets=rules.CALICO_SETS),
    "AWS VPC CNI": software(rules.AWS_VPC_CNI, bridge="eni7f1c2d3e4f5"),
    "Weave": software(WEAVE, bridge="weave", sets=WEAVE_SETS),
    "Antrea without proxyAll": software(rules.ANTREA, bridge="antrea-gw0", sets=rules.ANTREA_SETS),
    "OpenShift SDN": software(rules.OPENSHIFT_SDN, bridge="tun0"),
    "Cilium as a network plugin": software(rules.CILIUM, bridge="cilium_host", sets=rules.CILIUM_SETS),
    "an old kubelet": software(rules.OLD_KUBELET),
    "several at once": software(rules.FLANNEL, rules.DOCKER, rules.FAIL2BAN, rules.portmap(8443), rules.OLD_KUBELET),
}


TAKING: dict[str, tuple[Software, str, str]] = {
    "linkerd that redirects the node's own namespace": (
        software(rules.LINKERD_REDIRECT),
        "KD209",
        "-j REDIRECT --to-ports 4143",
    ),
    "a hostPort that is a NodePort, and comes first": (
        software(rules.portmap(30019, first=True)),
        "KD209",
        "--to-destination 10.244.1.9:8443",
    ),
    "node-local DNS that has gone and left its rules": (
        software(rules.node_local_dns("169.254.20.10", "10.96.0.10")),
        "KD209",
        "-d 10.96.0.10/32 -p udp",
    ),
    "Docker's policy without anybody who accepts": (
        software(rules.DOCKER, rules.FORWARD_DROP),
        "KD221",
        ":FORWARD DROP",
    ),
    "ufw that denies forwarding": (software(rules.UFW, rules.UFW_FORWARD_DROP), "KD221", ":FORWARD DROP"),
    "firewalld that reloaded and stands in front": (
        software(rules.FIREWALLD_IN_FRONT),
        "KD209",
        "-A FORWARD -j REJECT --reject-with icmp-host-prohibited",
    ),
    "fail2ban on all ports, and a node in its list": (
        software(rules.FAIL2BAN_ALL),
        "KD209",
        "-A f2b-all -s 10.244.1.3/32",
    ),
    "kube-router's policies that allow nothing": (
        software(rules.kube_router_policy(allowing=False)),
        "KD209",
        "-m mark ! --mark 0x10000/0x10000 -j REJECT",
    ),
    "Calico without a chain for the pods' interface": (
        software(rules.calico("0x10000/0x10000"), bridge="cali000", sets=rules.CALICO_SETS),
        "KD209",
        "Unknown interface",
    ),
    "Weave's policies that leave a pod out": (
        software(WEAVE, bridge="weave", sets=WEAVE_CLOSED_SETS),
        "KD209",
        "-A FORWARD -o weave -j DROP",
    ),
}
"""The same software where it does take traffic: the rules, the code, and what the evidence shows."""


@cache
def usual(base: str) -> frozenset[tuple[str, str | None, str | None]]:
    """What is said of the recording without the software (Services that the scenario leaves without endpoints)."""
    return frozenset(key(item) for item in judged(cluster(base)).findings)


def key(finding: Finding) -> tuple[str, str | None, str | None]:
    return finding.code, finding.node, finding.service


def judged(snapshot: Snapshot) -> Report:
    return diagnose(snapshot, Scope(nodes=(NODE,), settle_s=SETTLED_S))


def silent_about(item: Software, base: str) -> None:
    report = judged(installed(item, base))
    serious = [found for found in report.findings if found.severity is not Severity.INFO]
    assert [f"{found.code} {found.message}" for found in serious if key(found) not in usual(base)] == []
    assert [f"{gap.subject}: {gap.reason}" for gap in report.gaps if gap.subject.startswith("cannot tell")] == []
    assert report.nodes_judged == 1


@pytest.mark.parametrize("name", QUIET)
def test_software_that_leaves_services_alone(name: str) -> None:
    silent_about(QUIET[name], NEW)


@pytest.mark.parametrize("name", ["Docker", "firewalld", "ufw", "Calico", "Weave", "an old kubelet", "several at once"])
def test_software_that_leaves_services_of_an_old_release_alone(name: str) -> None:
    silent_about(QUIET[name], OLD)


@pytest.mark.parametrize("name", TAKING)
def test_software_that_takes_service_traffic_away(name: str) -> None:
    item, code, evidence = TAKING[name]
    report = judged(installed(item, NEW))
    found = [finding for finding in report.findings if finding.code == code and key(finding) not in usual(NEW)]
    assert {finding.node for finding in found} == {NODE}
    assert any(evidence in line.text for finding in found for line in finding.evidence), found


def test_the_other_nodes_are_not_concerned() -> None:
    report = diagnose(
        installed(TAKING["a hostPort that is a NodePort, and comes first"][0], NEW),
        Scope(select=("KD2",), settle_s=SETTLED_S),
    )
    assert report.nodes_judged == 3
    assert {(finding.code, finding.node) for finding in report.findings} == {("KD209", NODE)}


# -- software that takes kube-proxy's place ------------------------------------------------------------------------------


def with_cilium(snapshot: Snapshot, replacement: str) -> Snapshot:
    """Cilium's ConfigMap, and its agent on every node."""
    nodes = sorted(snapshot.nodes)

    def config(listed: dict[str, Any]) -> None:
        meta = {"name": "cilium-config", "namespace": "kube-system"}
        listed["items"].append({"metadata": meta, "data": {"kube-proxy-replacement": replacement}})

    def agents(listed: dict[str, Any]) -> None:
        for node in nodes:
            meta = {"name": f"cilium-{node}", "namespace": "kube-system", "labels": {"k8s-app": "cilium"}}
            status = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
            spec = {"nodeName": node, "containers": [{"name": "cilium-agent", "image": "cilium:v1.16.1"}]}
            listed["items"].append({"metadata": meta, "spec": spec, "status": status})

    return variant_api(variant_api(snapshot, "kube-system-configmaps", config), "pods", agents)


def without_kube_proxy(snapshot: Snapshot) -> Snapshot:
    """Its pods are gone and its processes have ended; what it wrote is still there."""

    def forget(listed: dict[str, Any]) -> None:
        listed["items"] = [item for item in listed["items"] if "kube-proxy" not in item["metadata"]["name"]]

    kept = ("iptables-save", "ip6tables-save", "ip-addr", "ip-route")
    nodes = {name: {probe: probes[probe] for probe in kept} for name, probes in snapshot.nodes.items()}
    return structs.replace(variant_api(snapshot, "pods", forget), nodes=nodes)


def test_cilium_beside_kube_proxy_changes_nothing() -> None:
    report = judged(with_cilium(installed(QUIET["flannel"], NEW), "false"))
    assert {key(item) for item in report.findings if item.severity is not Severity.INFO} <= usual(NEW)
    assert report.nodes_judged == 1


def test_what_kube_proxy_left_beside_cilium() -> None:
    report = diagnose(without_kube_proxy(with_cilium(cluster(NEW), "true")), Scope())
    left = [item for item in report.findings if item.code.startswith("KD2")]
    nodes = sorted(cluster(NEW).nodes)
    assert [(item.code, item.node, item.severity) for item in left] == [
        ("KD224", node, Severity.WARNING) for node in nodes
    ]
    assert report.nodes_judged == 0
    gaps = [gap for gap in report.gaps if gap.subject == "rules"]
    assert [(gap.node, gap.kind) for gap in gaps] == [(node, GapKind.NOT_APPLICABLE) for node in nodes]
    assert all(gap.reason.endswith("-c cilium-agent -- cilium-dbg service list") for gap in gaps)


def test_services_and_addresses_are_examined_without_kube_proxy() -> None:
    scope = Scope(select=("KD1", "KD3"))
    replaced = diagnose(without_kube_proxy(with_cilium(cluster(NEW), "true")), scope)
    assert [key(item) for item in replaced.findings] == [key(item) for item in diagnose(cluster(NEW), scope).findings]
    assert any(item.code.startswith("KD3") for item in replaced.findings)


def test_a_replacement_without_a_trace_of_kube_proxy_is_no_fault() -> None:
    snapshot = without_kube_proxy(with_cilium(cluster(NEW), "true"))
    bare = {
        name: {probe: item for probe, item in probes.items() if not probe.endswith("tables-save")}
        for name, probes in snapshot.nodes.items()
    }
    report = diagnose(structs.replace(snapshot, nodes=bare), Scope(select=("KD2", "KD4")))
    assert report.findings == ()
    assert {gap.kind for gap in report.gaps if gap.node is not None} == {GapKind.NOT_APPLICABLE}
