"""Small edits of sound nodes in nftables and IPVS mode: each gives one finding, or none where nothing changes for packets."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from msgspec.structs import replace

from kdiag.model.report import Finding, Severity
from tests.corpus_fixtures import cluster, variant
from tests.test_corpus_modes import faults_in
from tests.test_corpus_rules import services_of

NFT = "v1.36.2-nftables-nft"
IPVS = "v1.36.2-ipvs-nft"
THREE = "default/three-eps"
MANY = "many"
Objects = list[dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Mutation:
    """An edit, and the one finding that it must give (None: none). `service` MANY stands for ten or more."""

    code: str | None
    service: str | None = THREE
    severity: Severity = Severity.ERROR
    evidence: str = ""
    says: str = ""


def judged(found: list[Finding], mutation: Mutation) -> None:
    if mutation.code is None:
        assert found == []
        return
    assert [(item.code, item.node, item.severity) for item in found] == [(mutation.code, "node01", mutation.severity)]
    (finding,) = found
    if mutation.service == MANY:
        assert len(services_of(finding)) >= 10
    else:
        assert services_of(finding) == set((mutation.service or "").split())
    assert any(mutation.evidence in item.text for item in finding.evidence), finding.evidence
    assert mutation.says in finding.message, finding.message


# -- nftables mode -------------------------------------------------------------------------------------------------------

NftEdit = Callable[[Objects], Objects]
CHAIN = "service-PIZV3J44-default/three-eps/tcp/"
EXTERNAL = "external-ZJ4UXOOD-default/lb-open/tcp/"


def rules_of(item: dict[str, Any], chain: str) -> bool:
    rule = item.get("rule", {})
    return (rule.get("family"), rule.get("table"), rule.get("chain")) == ("ip", "kube-proxy", chain)


def set_of(item: dict[str, Any], name: str) -> dict[str, Any] | None:
    found: dict[str, Any] = item.get("map") or item.get("set") or {}
    mine = (found.get("family"), found.get("table"), found.get("name")) == ("ip", "kube-proxy", name)
    return found if mine else None


def without_rules(chain: str, holding: str = "") -> NftEdit:
    return lambda items: [item for item in items if not (rules_of(item, chain) and holding in json.dumps(item))]


def without_chain(name: str) -> NftEdit:
    def edit(items: Objects) -> Objects:
        kept = without_rules(name)(items)
        return [
            item
            for item in kept
            if (item.get("chain", {}).get("family"), item.get("chain", {}).get("name")) != ("ip", name)
        ]

    return edit


def without_elements(name: str, holding: str = "") -> NftEdit:
    def edit(items: Objects) -> Objects:
        for item in items:
            found = set_of(item, name)
            if found is not None:
                found["elem"] = [each for each in found["elem"] if holding not in json.dumps(each)]
        return items

    return edit


def with_element(name: str, element: Any) -> NftEdit:
    def edit(items: Objects) -> Objects:
        for item in items:
            found = set_of(item, name)
            if found is not None:
                found["elem"].append(element)
        return items

    return edit


def in_chain(chain: str, old: str, new: str) -> NftEdit:
    def edit(items: Objects) -> Objects:
        return [json.loads(json.dumps(item).replace(old, new)) if rules_of(item, chain) else item for item in items]

    return edit


def everywhere(old: str, new: str) -> NftEdit:
    def edit(items: Objects) -> Objects:
        text = json.dumps(items)
        assert old in text
        changed: Objects = json.loads(text.replace(old, new))
        return changed

    return edit


def foreign(*rules: list[dict[str, Any]], hook: str, kind: str, priority: int, policy: str = "accept") -> NftEdit:
    """A table of somebody else's with one base chain."""
    where = {"family": "inet", "table": "other"}
    chain = {**where, "name": "first", "handle": 1, "type": kind, "hook": hook, "prio": priority, "policy": policy}
    added: Objects = [
        {"table": {"family": "inet", "name": "other", "handle": 900}},
        {"chain": chain},
        *({"rule": {**where, "chain": "first", "handle": 10 + at, "expr": rule}} for at, rule in enumerate(rules)),
    ]
    return lambda items: [*items, *added]


def to(address: str) -> dict[str, Any]:
    return {"match": {"op": "==", "left": {"payload": {"protocol": "ip", "field": "daddr"}}, "right": address}}


def from_(address: str) -> dict[str, Any]:
    return {"match": {"op": "==", "left": {"payload": {"protocol": "ip", "field": "saddr"}}, "right": address}}


DROP: dict[str, Any] = {"drop": None}
ACCEPT: dict[str, Any] = {"accept": None}
VIP = "10.96.100.7"
TCP = {"match": {"op": "==", "left": {"meta": {"key": "l4proto"}}, "right": "tcp"}}
ELSEWHERE = {"dnat": {"family": "ip", "addr": "203.0.113.7", "port": 80}}

NFT_MUTATIONS: dict[str, tuple[NftEdit, Mutation]] = {
    "map element lost": (without_elements("service-ips", VIP + '"'), Mutation(code="KD201", evidence="services")),
    "map element of a Service that is gone": (
        with_element("service-ips", [{"concat": ["10.96.200.1", "tcp", 81]}, {"goto": {"target": CHAIN}}]),
        Mutation(code="KD202", severity=Severity.WARNING, says="which has other addresses or ports"),
    ),
    "map element leads to another Service": (
        lambda items: with_element(
            "service-ips",
            [{"concat": [VIP, "tcp", 80]}, {"goto": {"target": "service-I6PD5YBS-default/local-cluster/tcp/"}}],
        )(without_elements("service-ips", VIP + '"')(items)),
        Mutation(code="KD204", says="an endpoint of default/local-cluster"),
    ),
    "Service chain flushed": (without_rules(CHAIN), Mutation(code="KD218", evidence="vmap @service-ips")),
    "all Services' map flushed": (
        without_elements("service-ips"),
        Mutation(code="KD212", service=MANY, says="map service-ips of table ip kube-proxy is empty"),
    ),
    "chain services flushed": (
        without_rules("services"),
        Mutation(code="KD212", service=MANY, says="chain services of table ip kube-proxy is empty"),
    ),
    "dnat to an address that no pod has": (
        in_chain(CHAIN, "10.244.1.11", "10.244.1.99"),
        Mutation(code="KD204", says="10.244.1.99:80 (no pod has it)"),
    ),
    "dnat to the wrong port": (
        in_chain(CHAIN, '"10.244.1.11", 80', '"10.244.1.11", 8081'),
        Mutation(code="KD205", says="10.244.1.11:8081"),
    ),
    "an endpoint lost from the map of the Service": (
        lambda items: in_chain(CHAIN, ', [2, {"concat": ["10.244.2.10", 80]}]', "")(
            in_chain(CHAIN, '"mod": 3', '"mod": 2')(items)
        ),
        Mutation(code="KD203", says="10.244.2.10:80 (pod default/three-2)"),
    ),
    "an endpoint has too large a share": (
        in_chain(CHAIN, '[[0, {"concat"', '[[{"range": [0, 0]}, {"concat": ["10.244.1.10", 80]}], [7, {"concat"'),
        Mutation(code=None),
    ),
    "a number of the map leads nowhere": (
        in_chain(CHAIN, '"mod": 3', '"mod": 4'),
        Mutation(code="KD218"),
    ),
    "base chain of prerouting deleted": (
        without_chain("nat-prerouting"),
        Mutation(code="KD210", service=MANY, says="at hook prerouting leads to chain services"),
    ),
    "base chain of output emptied": (
        without_rules("nat-output"),
        Mutation(
            code="KD210", service=MANY, evidence="chain nat-output", says="at hook output leads to chain services"
        ),
    ),
    "checks of forward deleted": (
        without_chain("filter-forward"),
        Mutation(code="KD210", service="default/no-eps default/no-eps-np default/not-ready", severity=Severity.WARNING),
    ),
    "masquerade deleted": (
        without_rules("masquerading"),
        Mutation(code="KD213", service=MANY, says="chain masquerading of table ip kube-proxy has no masquerade"),
    ),
    "chain masquerading is not asked": (
        without_rules("nat-postrouting"),
        Mutation(code="KD210", service=MANY, says="at hook postrouting leads to chain masquerading"),
    ),
    "another mark is asked for": (
        in_chain("masquerading", "16384", "32768"),
        Mutation(code="KD213", service=MANY, says="set mark 0x4000 and chain masquerading asks for 0x8000"),
    ),
    "pods told by another range": (
        everywhere('{"addr": "10.244.0.0", "len": 16}', '{"addr": "10.99.0.0", "len": 16}'),
        Mutation(code="KD215", service=MANY, severity=Severity.WARNING, says="take 10.99.0.0/16 for the pods' range"),
    ),
    "masquerade of NodePorts deleted": (
        without_rules(EXTERNAL, "mark"),
        Mutation(code="KD214", service="default/lb-open"),
    ),
    "cluster-ips lacks one": (
        without_elements("cluster-ips", f'"{VIP}"'),
        Mutation(code="KD214"),
    ),
    "nodeport-ips emptied": (
        without_elements("nodeport-ips"),
        Mutation(code="KD212", service=MANY, says="set nodeport-ips of table ip kube-proxy is empty"),
    ),
    "NodePorts are not looked up": (
        without_rules("services", "service-nodeports"),
        Mutation(code="KD222", service=MANY, says="does not look NodePorts up"),
    ),
    "NodePorts' map emptied": (
        without_elements("service-nodeports"),
        Mutation(code="KD212", service=MANY, says="map service-nodeports of table ip kube-proxy is empty"),
    ),
    "reject left from a time without endpoints": (
        lambda items: with_element(
            "no-endpoint-services", [{"concat": [VIP, "tcp", 80]}, {"goto": {"target": "reject-chain"}}]
        )(without_elements("service-ips", VIP + '"')(items)),
        Mutation(code="KD207"),
    ),
    "reject lost": (
        without_elements("no-endpoint-services", "10.96.100.9"),
        # Chain cluster-ips-check refuses it all the same.
        Mutation(code=None),
    ),
    "source ranges not enforced": (
        without_elements("firewall-ips"),
        Mutation(code="KD220", service="default/lb-ranges", says="lets in clients that are in none of"),
    ),
    "affinity lost": (
        lambda items: without_rules("service-EDE2N7RF-default/sticky/tcp/", "@affinity-")(items),
        Mutation(code="KD219", service="default/sticky", severity=Severity.WARNING),
    ),
    "table emptied": (
        lambda items: [
            item
            for item in items
            if not any(value.get("family") == "ip" and value.get("table") == "kube-proxy" for value in item.values())
        ],
        Mutation(code="KD211", service=MANY, says="hold no"),
    ),
    "table deleted": (
        lambda items: [
            item
            for item in items
            if not any(
                value.get("family") == "ip" and "kube-proxy" in (value.get("table"), value.get("name"))
                for value in item.values()
            )
        ],
        Mutation(code="KD211", service=MANY),
    ),
    "a foreign table drops a ClusterIP": (
        foreign([to(VIP), DROP], hook="prerouting", kind="filter", priority=-150),
        Mutation(code="KD209", evidence=f"ip daddr {VIP} drop", says="the node itself is not affected"),
    ),
    "a foreign table takes a ClusterIP elsewhere": (
        foreign([to(VIP), TCP, ELSEWHERE], hook="prerouting", kind="nat", priority=-150),
        Mutation(code="KD209", evidence="dnat ip to 203.0.113.7:80"),
    ),
    "a foreign table keeps a ClusterIP from nat": (
        foreign([to(VIP), {"notrack": None}], hook="prerouting", kind="filter", priority=-300),
        Mutation(code="KD209", evidence="notrack"),
    ),
    "a foreign table drops one pod": (
        foreign([from_("10.244.1.40"), DROP], hook="forward", kind="filter", priority=10),
        Mutation(code="KD209", service=MANY, evidence="ip saddr 10.244.1.40 drop"),
    ),
    "a foreign policy drops all": (
        foreign(hook="forward", kind="filter", priority=10, policy="drop"),
        Mutation(code="KD221", service=MANY, evidence="policy drop"),
    ),
    "a foreign table asks later and is never asked": (
        foreign([to(VIP), TCP, ELSEWHERE], hook="prerouting", kind="nat", priority=-90),
        Mutation(code=None),
    ),
    "a foreign table accepts": (
        foreign([to(VIP), ACCEPT], hook="prerouting", kind="filter", priority=-150),
        Mutation(code=None),
    ),
    "a foreign table drops what is no Service": (
        foreign([to("203.0.113.77"), DROP], hook="forward", kind="filter", priority=0, policy="accept"),
        Mutation(code=None),
    ),
}


@pytest.mark.parametrize("name", NFT_MUTATIONS)
def test_a_small_edit_in_nftables_mode(name: str) -> None:
    edit, mutation = NFT_MUTATIONS[name]

    def on_text(text: str) -> str:
        whole = json.loads(text)
        return json.dumps({**whole, "nftables": edit(whole["nftables"])})

    edited = variant(cluster(NFT), node="node01", probe="nft-j-list-ruleset", edit=on_text)
    judged(faults_in(edited, "node01"), mutation)


# -- IPVS mode -----------------------------------------------------------------------------------------------------------

TextEdit = Callable[[str], str]


def without(*needles: str) -> TextEdit:
    return lambda text: "".join(
        line for line in text.splitlines(keepends=True) if not any(needle in line for needle in needles)
    )


def replacing(old: str, new: str) -> TextEdit:
    def edit(text: str) -> str:
        assert old in text, old
        return text.replace(old, new)

    return edit


def addresses(keep: Callable[[str], bool], *more: str) -> TextEdit:
    """The addresses on kube-ipvs0."""

    def edit(text: str) -> str:
        links = json.loads(text)
        for link in links:
            if link["ifname"] == "kube-ipvs0":
                like = link["addr_info"][0]
                link["addr_info"] = [item for item in link["addr_info"] if keep(item["local"])]
                link["addr_info"] += [{**like, "local": item} for item in more]
        return json.dumps(links)

    return edit


SERVER = f"-t {VIP}:80"
IPVS_MUTATIONS: dict[str, tuple[str, TextEdit, Mutation]] = {
    "virtual server lost": ("ipvsadm-save-n", without(SERVER), Mutation(code="KD201")),
    "a virtual server of somebody else": (
        "ipvsadm-save-n",
        lambda text: f"{text}-A -t 10.96.200.1:80 -s rr\n-a -t 10.96.200.1:80 -r 10.244.1.3:80 -m -w 1\n",
        # Nor did kube-proxy ever put its address on the node: it is somebody else's.
        Mutation(code=None),
    ),
    "all real servers lost": (
        "ipvsadm-save-n",
        without(f"-a {SERVER}"),
        Mutation(code="KD207", evidence=f"-A {SERVER}"),
    ),
    "one real server lost": ("ipvsadm-save-n", without(f"-a {SERVER} -r 10.244.2.10"), Mutation(code="KD203")),
    "stale real server": (
        "ipvsadm-save-n",
        replacing(f"{SERVER} -r 10.244.2.10:80", f"{SERVER} -r 10.244.2.99:80"),
        Mutation(code="KD204", says="10.244.2.99:80 (no pod has it)"),
    ),
    "weight 0 for an endpoint that is there": (
        "ipvsadm-save-n",
        replacing(f"{SERVER} -r 10.244.2.10:80 -m -w 1", f"{SERVER} -r 10.244.2.10:80 -m -w 0"),
        Mutation(code="KD203"),
    ),
    "weight 0 for an endpoint that has gone": (
        "ipvsadm-save-n",
        replacing(f"-A {SERVER} -s rr\n", f"-A {SERVER} -s rr\n-a {SERVER} -r 10.244.2.99:80 -m -w 0\n"),
        Mutation(code=None),
    ),
    "weights differ under a scheduler that minds them": (
        "ipvsadm-save-n",
        lambda text: text.replace(f"-A {SERVER} -s rr", f"-A {SERVER} -s wrr").replace(
            f"{SERVER} -r 10.244.2.10:80 -m -w 1", f"{SERVER} -r 10.244.2.10:80 -m -w 8"
        ),
        Mutation(code="KD206", severity=Severity.WARNING, says="80%"),
    ),
    "weights differ under a scheduler that does not": (
        "ipvsadm-save-n",
        replacing(f"{SERVER} -r 10.244.2.10:80 -m -w 1", f"{SERVER} -r 10.244.2.10:80 -m -w 8"),
        Mutation(code=None),
    ),
    "persistence lost": (
        "ipvsadm-save-n",
        replacing("-A -t 10.96.100.5:80 -s rr -p 7200", "-A -t 10.96.100.5:80 -s rr"),
        Mutation(code="KD219", service="default/sticky", severity=Severity.WARNING),
    ),
    "persistence that nobody asked for": (
        "ipvsadm-save-n",
        replacing(f"-A {SERVER} -s rr", f"-A {SERVER} -s rr -p 60"),
        Mutation(code="KD219", severity=Severity.WARNING),
    ),
    "no virtual server at all": ("ipvsadm-save-n", lambda text: "", Mutation(code="KD212", service=MANY)),
    "address lost from kube-ipvs0": ("ip-addr", addresses(lambda item: item != VIP), Mutation(code="KD201")),
    "all addresses lost from kube-ipvs0": (
        "ip-addr",
        addresses(lambda item: False),
        Mutation(code="KD212", service=MANY, says="are not on kube-ipvs0"),
    ),
    "set lacks a Service": (
        "ipset-save",
        without(f"add KUBE-CLUSTER-IP {VIP},tcp:80"),
        Mutation(code="KD212", says=f"ipset KUBE-CLUSTER-IP lacks {VIP},tcp:80"),
    ),
    "set of ClusterIPs emptied": (
        "ipset-save",
        without("add KUBE-CLUSTER-IP "),
        Mutation(code="KD212", service=MANY, says="ipset KUBE-CLUSTER-IP is empty"),
    ),
    "hairpin set lacks an endpoint": (
        "ipset-save",
        without("add KUBE-LOOP-BACK 10.244.1.10,tcp:80,10.244.1.10"),
        Mutation(code="KD214", service=MANY),
    ),
    "masquerade lost": ("iptables-save", without("-j MASQUERADE"), Mutation(code="KD213", service=MANY)),
    "jump of prerouting lost": (
        "iptables-save",
        without('-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES'),
        Mutation(code="KD210", service=MANY, says="nothing is marked for masquerade there"),
    ),
    "jump of postrouting lost": (
        "iptables-save",
        without("-j KUBE-POSTROUTING"),
        Mutation(code="KD210", service=MANY, says="nothing is masqueraded"),
    ),
    "a foreign rule drops a ClusterIP": (
        "iptables-save",
        replacing("-A INPUT ", f"-A INPUT -d {VIP}/32 -j DROP\n-A INPUT "),
        Mutation(code="KD209", evidence=f"-d {VIP}/32 -j DROP"),
    ),
    "a foreign rule takes a ClusterIP elsewhere": (
        "iptables-save",
        replacing(
            '-A PREROUTING -m comment --comment "kubernetes service portals"',
            f"-A PREROUTING -d {VIP}/32 -p tcp -j DNAT --to-destination 203.0.113.7\n"
            '-A PREROUTING -m comment --comment "kubernetes service portals"',
        ),
        Mutation(code="KD209", evidence="--to-destination 203.0.113.7"),
    ),
}


@pytest.mark.parametrize("name", IPVS_MUTATIONS)
def test_a_small_edit_in_ipvs_mode(name: str) -> None:
    probe, edit, mutation = IPVS_MUTATIONS[name]
    judged(faults_in(variant(cluster(IPVS), node="node01", probe=probe, edit=edit), "node01"), mutation)


# -- both families -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "probe", "old", "new"),
    [
        ("dual-v1.36.2-iptables-nft", "ip6tables-save", "--dport 30050", "--dport 30051"),
        ("dual-v1.36.2-nftables-nft", "nft-j-list-ruleset", '"tcp", 30050]', '"tcp", 30051]'),
    ],
)
def test_a_node_port_of_the_other_family_is_no_services_here(name: str, probe: str, old: str, new: str) -> None:
    """30051 is nodeport-v4's, which has no IPv6 address: in IPv6 nothing may be open there."""
    snapshot = cluster(name)
    probes = snapshot.nodes["node01"]
    text = probes[probe].text()
    assert old in text
    changed = {**probes, probe: probes[probe].replaced(content=text.replace(old, new).encode())}
    found = faults_in(replace(snapshot, nodes={"node01": changed}), "node01")
    assert [(item.code, services_of(item)) for item in found] == [
        ("KD201", {"default/nodeport-v6"}),
        ("KD202", {"default/nodeport-v6"}),
    ]
