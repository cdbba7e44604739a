"""The checks of the data plane (KD2xx) on recordings of real nodes: silent on healthy ones, and to the point on faults."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import pytest
from msgspec.structs import replace

from kdiag.model.report import Finding, Severity
from kdiag.model.snapshot import Snapshot
from kdiag.pipeline.flow import Scope, diagnose
from tests.corpus_fixtures import (
    FAULTS,
    FAULTS_DUAL,
    HEALTHY_IPTABLES,
    HEALTHY_OVERLAYS,
    cluster,
    fault,
    fault_description,
    variant,
)

RULES = Scope(select=("KD2",))
Edit = Callable[[str], str]


def findings(snapshot: Snapshot, *nodes: str) -> tuple[Finding, ...]:
    return diagnose(snapshot, replace(RULES, nodes=nodes)).findings


def services_of(finding: Finding) -> set[str]:
    named = {item.service for item in finding.affected} or {finding.service}
    return {service for service in named if service}


def lines_of(finding: Finding) -> list[str]:
    return [item.text for item in finding.evidence]


# What the recordings themselves say, read without kdiag: the sets that a fault must show at.


@cache
def services_in_chain(name: str, node: str, chain: str, dump: str = "iptables-save") -> frozenset[str]:
    """The Services that the nat rules of a healthy node name in a chain."""
    text = cluster(name).nodes[node][dump].text()
    nat = text[text.index("*nat") :].split("COMMIT")[0]
    comments = re.findall(rf'^-A {chain} .*--comment "?(\S+/[^": ]+)', nat, re.MULTILINE)
    return frozenset(comments)


@cache
def services_with_cluster_ip(name: str, *, version: int) -> frozenset[str]:
    """The Services that kube-proxy serves and that have a cluster IP of the family."""
    found = set()
    for item in json.loads(cluster(name).api["services"].text())["items"]:
        meta, spec = item["metadata"], item["spec"]
        if "service.kubernetes.io/service-proxy-name" in meta.get("labels", {}) or not spec.get("ports"):
            continue
        addresses = spec.get("clusterIPs") or [spec.get("clusterIP", "None")]
        if any(address not in ("", "None") and (":" in address) == (version == 6) for address in addresses):
            found.add(f"{meta['namespace']}/{meta['name']}")
    return frozenset(found)


@cache
def services_selecting(name: str, app: str) -> frozenset[str]:
    """The Services with a cluster IP that select the pods of an app."""
    listed = json.loads(cluster(name).api["services"].text())["items"]
    return frozenset(
        f"{item['metadata']['namespace']}/{item['metadata']['name']}"
        for item in listed
        if item["spec"].get("selector") == {"app": app} and item["spec"].get("clusterIP") not in (None, "", "None")
    ) & services_with_cluster_ip(name, version=4)


OLD = "v1.20.2-iptables-nft"
DUAL = "dual-v1.36.2-iptables-nft"
LOCAL_CLUSTER = frozenset({"default/local-cluster"})


@dataclass(frozen=True, kw_only=True)
class Expected:
    """The one finding that a fault must give. `evidence` is a part of one of its lines, `says` of its message."""

    code: str
    node: str
    services: Callable[[], frozenset[str]]
    evidence: str
    says: str
    severity: Severity = Severity.ERROR


EXPECTED = {
    # No pod answers at 10.244.1.10 and 10.244.1.3 any more; new-svc is new, web-admin is gone.
    "a-stale-node": Expected(
        code="KD223",
        node="node02",
        services=lambda: (
            services_selecting(OLD, "three")
            | {"default/new-svc", "default/web-admin", "default/local-cluster", "default/nodeport-wide"}
        ),
        evidence="-A KUBE-SEP-JNE6DYGPUE67GEDY -p tcp",
        says="- default/local-cluster 80/TCP: sends to 10.244.1.3:80 (no pod has it), lacks 10.244.2.77:80\n",
    ),
    "b-kube-services-flushed": Expected(
        code="KD212",
        node="node01",
        services=lambda: services_in_chain(OLD, "node01", "KUBE-SERVICES"),
        evidence=":KUBE-SERVICES",
        says="chain KUBE-SERVICES of table nat is empty",
    ),
    "c-sep-dnat-deleted": Expected(
        code="KD218",
        node="node01",
        services=lambda: LOCAL_CLUSTER,
        evidence="-j KUBE-SEP-JNE6DYGPUE67GEDY",
        says="has lost its DNAT rule",
    ),
    "e-prerouting-jump-missing": Expected(
        code="KD210",
        node="node01",
        services=lambda: services_in_chain(OLD, "node01", "KUBE-SERVICES"),
        evidence=":PREROUTING ACCEPT",
        says="for all pods on the node and all clients outside the node; the node itself is not affected.",
    ),
    "f-masquerade-missing": Expected(
        code="KD213",
        node="node01",
        services=lambda: services_in_chain(OLD, "node01", "KUBE-SERVICES"),
        evidence=":KUBE-POSTROUTING",
        says="KUBE-POSTROUTING of table nat has no MASQUERADE",
    ),
    "g-empty-tables": Expected(
        code="KD211",
        node="node01",
        services=lambda: services_with_cluster_ip(OLD, version=4),
        evidence="(no KUBE-SERVICES chain)",
        says="Every IPv4 address of 37 Services is dead",
    ),
    "h-split-brain": Expected(
        code="KD217",
        node="node02",
        services=lambda: (
            services_selecting(OLD, "three")
            # new-svc is in the legacy rules alone, and served by them whichever backend is asked first.
            | {"default/web-admin", "default/local-cluster", "default/nodeport-wide"}
        ),
        evidence='-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES',
        says="neither of them can be trusted",
    ),
    "i-foreign-dnat-hijack": Expected(
        code="KD209",
        node="node01",
        services=lambda: LOCAL_CLUSTER,
        evidence="-A PREROUTING -d 10.101.67.139/32 -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.244.2.99:8080",
        says="It hits all pods on the node and all clients outside the node; the node itself is not affected.",
    ),
    "j-probability-starves": Expected(
        code="KD203",
        node="node01",
        services=lambda: frozenset({"default/three-eps"}),
        evidence='-A KUBE-SVC-OKFF342BO4PYBWUL -m comment --comment "default/three-eps" -j KUBE-SEP-3EYBMP7FQCW4FFY5',
        says="10.244.1.11:80 (pod default/three-1) and 10.244.2.10:80 (pod default/three-2)",
    ),
    "k-other-cluster-cidr": Expected(
        code="KD215",
        node="node02",
        services=lambda: services_in_chain(OLD, "node02", "KUBE-SERVICES"),
        evidence="-A KUBE-SERVICES ! -s 10.99.0.0/16",
        says="take 10.99.0.0/16 for the pods' range; the cluster's is 10.244.0.0/16",
        severity=Severity.WARNING,
    ),
    "n-nodeports-jump-missing": Expected(
        code="KD222",
        node="node01",
        services=lambda: services_in_chain(OLD, "node01", "KUBE-NODEPORTS"),
        evidence=":KUBE-SERVICES -",
        says="Every node port is dead there",
    ),
    "s-wrong-port": Expected(
        code="KD205",
        node="node01",
        services=lambda: LOCAL_CLUSTER,
        evidence="-j DNAT --to-destination 10.244.1.3:8080",
        says="sends every new connection to 10.244.1.3:8080 (pod default/nginx): the address is right, the port is not",
    ),
    "v6-clusterip-rule-missing": Expected(
        code="KD201",
        node="node01",
        services=lambda: frozenset({"default/local-cluster-v6"}),
        evidence="-A PREROUTING",
        says="no rule catches packets to ClusterIP [fd00:10:96::b]:80/TCP",
    ),
    "v6-no-ip6tables-binary": Expected(
        code="KD211",
        node="node01",
        services=lambda: services_with_cluster_ip(DUAL, version=6),
        evidence='"No iptables support for family" ipFamily="IPv6"',
        says="Its log says that it serves the other family only",
    ),
    "v6-prerouting-jump-missing": Expected(
        code="KD210",
        node="node01",
        services=lambda: services_in_chain(DUAL, "node01", "KUBE-SERVICES", "ip6tables-save"),
        evidence=":PREROUTING ACCEPT",
        says="- IPv6: chain PREROUTING of table nat has no jump to KUBE-SERVICES",
    ),
    "v6-stale-family": Expected(
        code="KD223",
        node="node01",
        services=lambda: frozenset({"default/downgraded", "default/upgraded"}),
        evidence="-A KUBE-SERVICES -d fd00:10:96::42/128",
        says="- default/upgraded 80/TCP: given up by the Service, still programmed at [fd00:10:96::42]:80",
    ),
    "v6-tables-empty": Expected(
        code="KD211",
        node="node01",
        services=lambda: services_with_cluster_ip(DUAL, version=6),
        evidence="(no KUBE-SERVICES chain)",
        says="the IPv6 rules hold no Service of kube-proxy at all",
    ),
}


@pytest.mark.parametrize("name", HEALTHY_IPTABLES)
def test_a_healthy_cluster_has_no_finding(name: str) -> None:
    report = diagnose(cluster(name), RULES)
    assert report.findings == ()
    assert report.nodes_judged == 3
    assert report.frontends_judged > 600


@pytest.mark.parametrize("name", HEALTHY_OVERLAYS)
def test_harmless_rules_of_others_are_no_finding(name: str) -> None:
    assert findings(fault(name)) == ()


def test_every_recorded_fault_is_expected() -> None:
    assert set(EXPECTED) == {*FAULTS, *FAULTS_DUAL}


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_a_fault_is_one_finding(name: str) -> None:
    expected = EXPECTED[name]
    found = findings(fault(name))
    assert [(item.code, item.node, item.severity) for item in found] == [
        (expected.code, expected.node, expected.severity)
    ]
    (finding,) = found
    assert finding.node == fault_description(name)["faulty_node"]
    assert services_of(finding) == expected.services()
    assert any(expected.evidence in line for line in lines_of(finding)), lines_of(finding)
    assert expected.says in finding.message, finding.message
    sources = {item.source for item in finding.evidence}
    assert all(source.startswith(f"nodes/{expected.node}/") for source in sources), sources
    assert len(finding.evidence) == len(set(finding.evidence)) <= 12


def test_both_dumps_are_evidence_for_two_backends() -> None:
    (finding,) = findings(fault("h-split-brain"))
    assert {item.source for item in finding.evidence} == {
        "nodes/node02/iptables-save.txt",
        "nodes/node02/iptables-legacy-save.txt",
    }


def test_what_is_out_of_date_is_told_service_by_service() -> None:
    (finding,) = findings(fault("a-stale-node"))
    lines = [line for line in finding.message.splitlines() if line.startswith("- ")]
    assert len(lines) == 12
    assert "- default/new-svc 80/TCP: 10.96.100.90:80 is not programmed" in lines
    assert "- default/web-admin 80/TCP: deleted, still programmed at 10.96.100.26:80" in lines
    assert "- default/three-eps 80/TCP: sends to 10.244.1.10:80 (no pod has it)" in lines
    assert "start it" in finding.hint


# Small edits of a healthy node: the checks that no recorded fault calls.

NEW = "v1.36.2-iptables-nft"
THREE = "default/three-eps"


def without(*needles: str) -> Edit:
    return lambda text: "".join(
        line for line in text.splitlines(keepends=True) if not any(needle in line for needle in needles)
    )


def replacing(*pairs: tuple[str, str]) -> Edit:
    def edit(text: str) -> str:
        for old, new in pairs:
            assert text.count(old) == 1, old
            text = text.replace(old, new)
        return text

    return edit


def before(needle: str, *lines: str) -> Edit:
    """Insert rules before the first line that holds the needle."""

    def edit(text: str) -> str:
        where = text.rindex("\n", 0, text.index(needle)) + 1
        return text[:where] + "".join(f"{line}\n" for line in lines) + text[where:]

    return edit


def both(*edits: Edit) -> Edit:
    def edit(text: str) -> str:
        for each in edits:
            text = each(text)
        return text

    return edit


def without_affinity(text: str) -> str:
    text = without('"default/sticky -> 10.244.1.10:80" -m recent')(text)
    text = without('"default/sticky -> 10.244.1.11:80" -m recent')(text)
    text = without('"default/sticky -> 10.244.2.10:80" -m recent')(text)
    return re.sub(r'("default/sticky") -m recent --set --name \S+ --mask \S+ --rsource', r"\1", text)


def dropping_forward(text: str) -> str:
    head, filter_table = text.split("*filter")
    return f"{head}*filter{filter_table.replace(':FORWARD ACCEPT', ':FORWARD DROP', 1)}"


POD_DROP = "-A FORWARD -s 10.244.1.40/32 -d 10.244.1.31/32 -j DROP"


@dataclass(frozen=True, kw_only=True)
class Mutation:
    code: str
    edit: Edit
    service: str | None
    evidence: str
    severity: Severity = Severity.ERROR
    says: str = ""


MUTATIONS = {
    "dispatch rule lost": Mutation(
        code="KD201",
        edit=without('"default/three-eps cluster IP" -m tcp --dport 80 -j KUBE-SVC-'),
        service=THREE,
        evidence="-j KUBE-SERVICES",
    ),
    "dispatch rule of a Service that is gone": Mutation(
        code="KD202",
        edit=before(
            "-A KUBE-SERVICES -d 10.96.100.16/32",
            '-A KUBE-SERVICES -d 10.96.200.1/32 -p tcp -m comment --comment "default/gone cluster IP" -m tcp --dport 81 '
            "-j KUBE-SVC-OKFF342BO4PYBWUL",
        ),
        service="default/gone",
        evidence="-d 10.96.200.1/32",
        severity=Severity.WARNING,
        says="the rules name Service default/gone, which does not exist",
    ),
    "endpoint rule lost": Mutation(
        code="KD203",
        edit=without('"default/three-eps -> 10.244.1.10:80"'),
        service=THREE,
        evidence="default/three-eps -> 10.244.1.11:80",
        says="never sends to 1 endpoint that it ought to use: 10.244.1.10:80 (pod default/three-0)",
    ),
    "DNAT to an address that no pod has": Mutation(
        code="KD204",
        edit=replacing(
            (
                '"default/three-eps" -m tcp -j DNAT --to-destination 10.244.1.10:80',
                '"default/three-eps" -m tcp -j DNAT --to-destination 10.244.1.99:80',
            )
        ),
        service=THREE,
        evidence="--to-destination 10.244.1.99:80",
        says="sends about 33 % of the new connections to 10.244.1.99:80 (no pod has it)",
    ),
    "DNAT to a pod of another Service": Mutation(
        code="KD204",
        edit=replacing(
            (
                '"default/three-eps" -m tcp -j DNAT --to-destination 10.244.1.10:80',
                '"default/three-eps" -m tcp -j DNAT --to-destination 10.244.1.3:80',
            )
        ),
        service=THREE,
        evidence="--to-destination 10.244.1.3:80",
        says="(pod default/nginx, an endpoint of default/local-cluster and default/nodeport-wide)",
    ),
    "probability changed": Mutation(
        code="KD206",
        edit=replacing(
            (
                '"default/three-eps -> 10.244.1.10:80" -m statistic --mode random --probability 0.33333333349',
                '"default/three-eps -> 10.244.1.10:80" -m statistic --mode random --probability 0.90000000000',
            )
        ),
        service=THREE,
        evidence="--probability 0.90000000000",
        severity=Severity.WARNING,
        says="10.244.1.10:80 (90%)",
    ),
    "REJECT left from a time without endpoints": Mutation(
        code="KD207",
        edit=both(
            without('"default/three-eps cluster IP" -m tcp --dport 80 -j KUBE-SVC-'),
            before(
                "-A KUBE-SERVICES -d 10.96.100.10/32",
                '-A KUBE-SERVICES -d 10.96.100.7/32 -p tcp -m comment --comment "default/three-eps has no endpoints" '
                "-m tcp --dport 80 -j REJECT --reject-with icmp-port-unreachable",
            ),
        ),
        service=THREE,
        evidence="default/three-eps has no endpoints",
    ),
    "REJECT lost": Mutation(
        code="KD208",
        edit=without('"default/no-eps has no endpoints"'),
        service="default/no-eps",
        evidence="",
        severity=Severity.WARNING,
    ),
    "pod dropped by a rule of somebody": Mutation(
        code="KD209",
        edit=before("-A FORWARD -m conntrack", POD_DROP),
        service="default/half-ready",
        evidence=POD_DROP,
        says="It hits pods with the address 10.244.1.40; the node itself and clients outside the node are not affected.",
    ),
    "pod dropped by a network policy": Mutation(
        code="KD209",
        edit=both(
            before(":KUBE-FORWARD - ", ":cali-tw-x - [0:0]"),
            before("-A FORWARD -m conntrack", "-A FORWARD -j cali-tw-x", POD_DROP.replace("FORWARD", "cali-tw-x")),
        ),
        service="default/half-ready",
        evidence="-A cali-tw-x",
        severity=Severity.INFO,
        says="rules in chains of Calico",
    ),
    "jumps of the filter table lost": Mutation(
        code="KD210",
        edit=without("kubernetes externally-visible service portals"),
        service="default/no-eps-np",
        evidence=":FORWARD ACCEPT",
        severity=Severity.WARNING,
        says="NodePorts without endpoints are not refused",
    ),
    "masquerade of one Service lost": Mutation(
        code="KD214",
        edit=without("! -s 10.244.0.0/16 -d 10.96.100.7/32"),
        service=THREE,
        evidence="--to-destination 10.244.1.10:80",
        says="pods on the node are not affected",
    ),
    "masquerade of one Service for everybody": Mutation(
        code="KD216",
        edit=replacing(("! -s 10.244.0.0/16 -d 10.96.100.7/32", "-d 10.96.100.7/32")),
        service=THREE,
        evidence="-j KUBE-MARK-MASQ",
        severity=Severity.WARNING,
    ),
    "Service chain emptied": Mutation(
        code="KD218",
        edit=without("-A KUBE-SVC-OKFF342BO4PYBWUL"),
        service=THREE,
        evidence="-j KUBE-SVC-OKFF342BO4PYBWUL",
        says="(KUBE-SVC-OKFF342BO4PYBWUL)",
    ),
    "affinity lost": Mutation(
        code="KD219",
        edit=without_affinity,
        service="default/sticky",
        evidence="-j DNAT",
        severity=Severity.WARNING,
        says="no session affinity instead of ClientIP affinity for 7200 s",
    ),
    "source ranges not enforced": Mutation(
        code="KD220",
        edit=without("-A KUBE-PROXY-FIREWALL -d"),
        service="default/lb-ranges",
        evidence="",
        severity=Severity.WARNING,
        says="does not drop packets of clients that are in none of",
    ),
    "source range changed": Mutation(
        code="KD220",
        edit=replacing(("-A KUBE-FW-IKZ6PZRZ3NN7QS5Z -s 10.0.0.0/8", "-A KUBE-FW-IKZ6PZRZ3NN7QS5Z -s 8.0.0.0/8")),
        service="default/lb-ranges",
        evidence="-A KUBE-PROXY-FIREWALL -d 192.168.56.241/32",
        says="lets in clients that are in none of the Service's loadBalancerSourceRanges and drops clients that are in",
    ),
    "policy of FORWARD": Mutation(
        code="KD221",
        edit=dropping_forward,
        service=None,
        evidence=":FORWARD DROP",
        says="the node itself is not affected",
    ),
    "node port chain emptied": Mutation(
        code="KD212",
        edit=without("-A KUBE-NODEPORTS -p", "-A KUBE-NODEPORTS -d"),
        service=None,
        evidence=":KUBE-NODEPORTS",
        says="chain KUBE-NODEPORTS of table nat is empty",
    ),
    "all jumps of the nat table lost": Mutation(
        code="KD210",
        edit=without("-j KUBE-POSTROUTING", '"kubernetes service portals" -j KUBE-SERVICES'),
        service=None,
        evidence=":POSTROUTING ACCEPT",
        says="the node's own packets are not translated",
    ),
}


@pytest.mark.parametrize("name", sorted(MUTATIONS))
def test_a_small_edit_is_one_finding(name: str) -> None:
    mutation = MUTATIONS[name]
    edited = variant(cluster(NEW), node="node01", probe="iptables-save", edit=mutation.edit)
    found = findings(edited, "node01")
    assert [(item.code, item.node, item.severity) for item in found] == [(mutation.code, "node01", mutation.severity)]
    (finding,) = found
    if mutation.service is None:
        assert finding.service is None
        assert len(services_of(finding)) > 10
    else:
        assert services_of(finding) == {mutation.service}
    assert any(mutation.evidence in line for line in lines_of(finding)), lines_of(finding)
    assert mutation.says in finding.message, finding.message


NEAR_MISSES: dict[str, Edit] = {
    "a Service chain that nothing leads to": both(
        before(":KUBE-SVC-OKFF342BO4PYBWUL", ":KUBE-SVC-AAAAAAAAAAAAAAAA - [0:0]"),
        before("-A KUBE-SVC-OKFF342BO4PYBWUL", "-A KUBE-SVC-AAAAAAAAAAAAAAAA -j KUBE-SEP-3EYBMP7FQCW4FFY5"),
    ),
    "probabilities as old releases wrote them": replacing(
        (
            '"default/three-eps -> 10.244.1.10:80" -m statistic --mode random --probability 0.33333333349',
            '"default/three-eps -> 10.244.1.10:80" -m statistic --mode random --probability 0.33332999982',
        )
    ),
    "a rule that only counts": before("-A FORWARD -m conntrack", "-A FORWARD -d 10.244.1.10/32"),
    "a rule that only logs": before("-A FORWARD -m conntrack", "-A FORWARD -d 10.244.1.10/32 -j LOG"),
    "a DROP for what is no Service": before("-A FORWARD -m conntrack", "-A FORWARD -d 203.0.113.77/32 -j DROP"),
    "a DNAT of a host port that no Service has": before(
        "-A PREROUTING -m comment",
        "-A PREROUTING -p tcp -m addrtype --dst-type LOCAL -m tcp --dport 8443 -j DNAT --to-destination 10.244.1.10:80",
    ),
    "a FORWARD policy whose traffic is accepted": both(
        dropping_forward,
        before(
            "-A OUTPUT -j KUBE-FIREWALL",
            "-A FORWARD -s 10.244.0.0/16 -j ACCEPT",
            "-A FORWARD -d 10.244.0.0/16 -j ACCEPT",
            "-A FORWARD -m conntrack --ctstate NEW -m conntrack --ctstatus DNAT -j ACCEPT",
        ),
    ),
}


@pytest.mark.parametrize("name", sorted(NEAR_MISSES))
def test_a_near_miss_is_no_finding(name: str) -> None:
    edited = variant(cluster(NEW), node="node01", probe="iptables-save", edit=NEAR_MISSES[name])
    assert findings(edited, "node01") == ()


def test_the_same_fault_on_two_nodes_is_one_finding() -> None:
    edit = without('"default/three-eps -> 10.244.1.10:80"')
    edited = cluster(NEW)
    for node in ("node01", "node02"):
        edited = variant(edited, node=node, probe="iptables-save", edit=edit)
    (finding,) = findings(edited, "node01", "node02")
    assert (finding.code, finding.node, finding.service, finding.port) == ("KD203", None, THREE, "80/TCP")
    assert [(item.node, item.service, item.port) for item in finding.affected] == [
        ("node01", THREE, "80/TCP"),
        ("node02", THREE, "80/TCP"),
    ]
    assert finding.message.startswith("On node01 and node02, ")
    assert {item.source for item in finding.evidence} == {
        "nodes/node01/iptables-save.txt",
        "nodes/node02/iptables-save.txt",
    }
