"""What single checks of the data plane say beyond what they have in common, and how bad they call it."""

from __future__ import annotations

import pytest
from msgspec import structs
from msgspec.structs import replace

from kdiag.checks import (
    base_jump_missing,
    broken_chain,
    chains_flushed,
    foreign_rule,
    forward_policy,
    local_detection,
    masquerade_missing,
    masquerade_rule_missing,
    never_wrote,
    node_port_dispatch_missing,
    source_ranges,
    stale_endpoint,
    stale_frontend,
    stale_node,
    two_backends,
)
from kdiag.checks.interface import Check
from kdiag.model.addresses import Family, parse_network
from kdiag.model.cluster import ClusterState
from kdiag.model.dataplane import FrontendKind, Position
from kdiag.model.difference import CauseKind, DifferenceGroup, Symptom
from kdiag.model.host import HostFacts, ProxyLog
from kdiag.model.report import Affected, Finding, Severity
from tests.checks.builders import cluster, node_view, service, service_port
from tests.checks.differences import at_all_positions, difference, frontend, group, owner, rule, view_of


def told(check: Check, *groups: DifferenceGroup, state: ClusterState | None = None) -> list[Finding]:
    return list(check.run(view_of(*groups, state=state)))


V6 = frontend("fd00::50:80")


# KD202


@pytest.mark.parametrize(
    ("service_name", "says"),
    [
        ("gone", "the rules name Service default/gone, which does not exist"),
        ("web", "the rules name Service default/web, which has other addresses or ports (its cluster IP: 10.96.0.51)"),
        ("headless", "(its cluster IP: none)"),
        (None, "the rules do not tell which one had it"),
    ],
)
def test_a_stale_address_is_told_with_its_former_owner(service_name: str | None, says: str) -> None:
    state = cluster(service("web", cluster_ips=("10.96.0.51",)), service("headless", headless=True))
    item = difference(Symptom.NO_SUCH_SERVICE, service=service_name, actual="DNAT to 10.244.1.5:80")
    (found,) = told(stale_frontend.CHECK, group(CauseKind.STALE_FRONTEND, item), state=state)
    assert found.severity is Severity.WARNING
    assert says in found.message
    assert "ClusterIP 10.96.0.50:80/TCP (DNAT to 10.244.1.5:80)" in found.message


# KD204


def test_a_replaced_endpoint_is_stale_and_missing_at_once() -> None:
    stale = difference(Symptom.STALE_ENDPOINT, backends=["10.244.1.7:80"], gets={"10.244.1.7:80": 1.0})
    missing = difference(Symptom.MISSING_ENDPOINT, backends=["10.244.1.5:80"])
    (found,) = told(stale_endpoint.CHECK, group(CauseKind.STALE_ENDPOINT, missing, stale))
    assert "sends every new connection to 10.244.1.7:80 (no pod has it), which is no usable endpoint" in found.message
    assert "It never sends to 10.244.1.5:80, which it ought to use." in found.message


def test_stale_endpoints_alone_lack_nothing() -> None:
    stale = difference(Symptom.STALE_ENDPOINT, backends=["10.244.1.7:80", "10.244.1.8:80"])
    (found,) = told(stale_endpoint.CHECK, group(CauseKind.STALE_ENDPOINT, stale))
    assert "which are no usable endpoints of the Service" in found.message
    assert "never sends" not in found.message


# KD209


def foreign(
    chain: str, *, node: str = "node01", line: int = 5, text: str = "-j DROP", **more: object
) -> DifferenceGroup:
    decides = rule(line, f"-A {chain} {text}", node=node, table="filter", chain=chain, action="DROP", foreign=True)
    symptom = more.get("symptom", Symptom.REFUSED)
    assert isinstance(symptom, Symptom)
    return group(
        CauseKind.FOREIGN_RULE,
        replace(difference(symptom, node=node, actual="dropped"), decided_by=decides),
        detail=f"a rule in chain {chain} of table filter decides before kube-proxy's: DROP",
        rules=[decides],
    )


@pytest.mark.parametrize(
    ("symptom", "severity"),
    [
        (Symptom.REFUSED, Severity.ERROR),
        (Symptom.STALE_ENDPOINT, Severity.ERROR),
        (Symptom.MASQUERADE_MISSING, Severity.ERROR),
        (Symptom.MASQUERADE_NEEDLESS, Severity.WARNING),
        (Symptom.NOT_REFUSED, Severity.INFO),
    ],
)
def test_how_bad_a_foreign_rule_is(symptom: Symptom, severity: Severity) -> None:
    (found,) = told(foreign_rule.CHECK, foreign("FORWARD", symptom=symptom))
    assert found.severity is severity
    assert found.evidence[0].text == "-A FORWARD -j DROP"
    assert "DROP in chain FORWARD of table filter" in found.message
    assert "It hits all pods on the node" in found.message


@pytest.mark.parametrize(
    ("chain", "engine"),
    [
        ("cali-tw-cali1234", "Calico"),
        ("KUBE-POD-FW-ABCDEF", "kube-router"),
        ("KUBE-NWPLCY-ABCDEF", "kube-router"),
        ("WEAVE-NPC-DEFAULT", "Weave Net"),
        ("CILIUM_FORWARD", "Cilium"),
        ("ANTREA-FORWARD", "Antrea"),
        ("OVN-KUBE-FORWARD", "OVN-Kubernetes"),
        ("AZURE-NPM-INGRESS", "Azure NPM"),
        ("AWS-CONNMARK-CHAIN-0", "the AWS VPC CNI"),
    ],
)
def test_a_network_policy_is_worth_knowing_only(chain: str, engine: str) -> None:
    (found,) = told(foreign_rule.CHECK, foreign(chain))
    assert found.severity is Severity.INFO
    assert found.title == f"A network policy of {engine} takes traffic of Services"
    assert f"- node01: DROP in chain {chain} (nodes/node01/iptables-save.txt:5) for default/web 80/TCP" in found.message
    assert "all pods on the node" in found.message


def test_a_chain_that_only_looks_like_a_policy_is_no_policy() -> None:
    (found,) = told(foreign_rule.CHECK, foreign("MY-cali-CHAIN"))
    assert found.severity is Severity.ERROR


def test_all_rules_of_a_policy_engine_are_one_finding() -> None:
    groups = [foreign(f"KUBE-POD-FW-{number:02}", node=f"node0{number % 2 + 1}", line=number) for number in range(25)]
    (found,) = told(foreign_rule.CHECK, *groups)
    assert found.node is None
    assert len([line for line in found.message.splitlines() if line.startswith("- node")]) == 20
    assert "- and 5 more" in found.message
    assert {item.node for item in found.affected} == {"node01", "node02"}


def test_the_same_rule_on_two_nodes_is_one_finding_and_another_rule_another() -> None:
    groups = (
        foreign("FORWARD"),
        foreign("FORWARD", node="node02", line=9),
        foreign("FORWARD", text="-s 10.0.0.1 -j DROP"),
    )
    found = told(foreign_rule.CHECK, *groups)
    assert sorted((item.node or "", len(item.evidence)) for item in found) == [("", 2), ("node01", 1)]


# KD210, KD212


def jump(*items: Symptom, target: str = "KUBE-SERVICES", family: str | None = None) -> DifferenceGroup:
    at = V6 if family == "IPv6" else frontend()
    return group(
        CauseKind.BASE_JUMP,
        *(difference(symptom, at=at) for symptom in items),
        family=family,
        detail=f"chain FORWARD of table filter has no jump to {target}: harm",
        expected=f"filter FORWARD: -j {target}",
        actual="no such rule",
        rules=[rule(3, ":FORWARD ACCEPT", chain="FORWARD")],
    )


@pytest.mark.parametrize(
    ("given", "severity"),
    [
        (jump(), Severity.WARNING),
        (jump(Symptom.NOT_REFUSED), Severity.WARNING),
        (jump(Symptom.NOT_REFUSED, Symptom.NOT_PROGRAMMED), Severity.ERROR),
        (jump(Symptom.NOT_REFUSED, target="KUBE-PROXY-FIREWALL"), Severity.ERROR),
        (jump(target="KUBE-PROXY-FIREWALL"), Severity.WARNING),
    ],
)
def test_how_bad_a_missing_jump_is(given: DifferenceGroup, severity: Severity) -> None:
    (found,) = told(base_jump_missing.CHECK, given)
    assert found.severity is severity
    suffering = "No Service was found to suffer" not in found.message
    assert suffering is bool(given.differences)


def test_missing_jumps_of_a_node_are_one_finding() -> None:
    (found,) = told(base_jump_missing.CHECK, jump(), jump(Symptom.NOT_PROGRAMMED, target="KUBE-FORWARD"))
    assert found.severity is Severity.ERROR
    assert found.expected == "filter FORWARD: -j KUBE-SERVICES; filter FORWARD: -j KUBE-FORWARD"
    assert "- IPv4: chain FORWARD of table filter has no jump to KUBE-FORWARD: harm" in found.message
    assert "1 Service on this node suffers from it, for all pods on the node." in found.message


def test_families_that_lack_the_same_jump_are_one_finding() -> None:
    (found,) = told(base_jump_missing.CHECK, jump(), jump(family="IPv6"))
    assert "- IPv4 and IPv6: chain FORWARD" in found.message
    assert len(told(base_jump_missing.CHECK, jump(), jump(family="IPv6", target="KUBE-FORWARD"))) == 2


@pytest.mark.parametrize(
    ("symptoms", "severity", "says"),
    [
        (
            [Symptom.NOT_PROGRAMMED],
            Severity.ERROR,
            "1 Service cannot be reached as the API says, by all pods on the node.",
        ),
        ([Symptom.NOT_REFUSED], Severity.WARNING, "1 Service cannot be reached"),
        ([], Severity.WARNING, "What suffers from it is already dead for another reason."),
    ],
)
def test_how_bad_a_flushed_chain_is(symptoms: list[Symptom], severity: Severity, says: str) -> None:
    flushed = group(
        CauseKind.FLUSHED,
        *(difference(symptom) for symptom in symptoms),
        detail="chain KUBE-SERVICES of table nat is empty",
        rules=[rule(2, ":KUBE-SERVICES -")],
    )
    (found,) = told(chains_flushed.CHECK, flushed)
    assert found.severity is severity
    assert says in found.message
    assert "- IPv4: chain KUBE-SERVICES of table nat is empty" in found.message


# KD211


def never(family: str) -> DifferenceGroup:
    return group(
        CauseKind.NEVER_WROTE,
        family=family,
        expected="chains",
        actual="none",
        rules=[rule(0, "(no KUBE-SERVICES chain)")],
    )


STATE = cluster(
    service("web", cluster_ips=("10.96.0.50", "fd00::50"), ports=[service_port(80), service_port(443, name="https")])
)
EXPECTED = {
    frontend(): owner("web"),
    replace(frontend(), port=443): owner("web", "https"),
    V6: owner("web"),
    frontend("10.96.0.99:80"): owner("unknown"),
}


def wrote_nothing(*which: str, log: ProxyLog | None = None) -> Finding:
    node = node_view("node01", host=HostFacts(log=log))
    shown = view_of(*(never(family) for family in which), state=STATE, nodes=[node], expected=EXPECTED)
    (found,) = never_wrote.CHECK.run(shown)
    return found


def test_a_node_without_rules_lists_every_port_of_the_family() -> None:
    found = wrote_nothing("IPv4")
    assert found.affected == (
        Affected(node="node01", service="default/web", port="443/TCP"),
        Affected(node="node01", service="default/web", port="80/TCP"),
    )
    assert "Every IPv4 address of 1 Service is dead on this node" in found.message
    assert "Look into kube-proxy's log" in found.hint
    assert found.evidence[0].line == 0


def test_both_families_are_one_finding() -> None:
    found = wrote_nothing("IPv4", "IPv6")
    assert "Every IPv4 and IPv6 address of 1 Service" in found.message


def test_a_log_that_tells_of_one_family_is_evidence() -> None:
    log = ProxyLog(
        source="nodes/node01/kube-proxy.log",
        single_family=Family.IPV4,
        notes=((6, '"No iptables support for family" ipFamily="IPv6" '), (9, "something else")),
    )
    found = wrote_nothing("IPv6", log=log)
    assert (found.evidence[0].line, found.evidence[0].text) == (
        6,
        '"No iptables support for family" ipFamily="IPv6"',
    )
    assert len(found.evidence) == 2
    assert "serves the other family only" in found.message
    assert "ip6tables" in found.hint


def test_a_log_without_such_a_line_is_evidence_as_a_whole() -> None:
    log = ProxyLog(source="nodes/node01/kube-proxy.log", single_family=Family.IPV4)
    assert wrote_nothing("IPv6", log=log).evidence[0].text == "serves IPv4 only"


def test_a_log_that_tells_of_the_empty_family_explains_nothing() -> None:
    log = ProxyLog(source="nodes/node01/kube-proxy.log", single_family=Family.IPV4)
    found = wrote_nothing("IPv4", log=log)
    assert "serves the other family" not in found.message
    assert len(found.evidence) == 1


def test_a_node_whose_expectation_is_unknown_lists_nothing() -> None:
    shown = view_of(never("IPv4"))
    shown = replace(shown, nodes=tuple(replace(item, expected=None) for item in shown.nodes))
    (found,) = never_wrote.CHECK.run(shown)
    assert found.affected == ()


# KD213, KD214, KD215, KD221, KD222


def test_a_masquerade_that_nothing_needs_is_still_told() -> None:
    given = group(
        CauseKind.MASQUERADE_RULE, detail="chain KUBE-POSTROUTING of table nat has no MASQUERADE", rules=[rule(4)]
    )
    (found,) = told(masquerade_rule_missing.CHECK, given)
    assert found.severity is Severity.WARNING
    assert "No Service was found to suffer from it now." in found.message


def test_a_masquerade_fault_of_both_families_is_one_finding() -> None:
    given = [
        group(CauseKind.MASQUERADE_RULE, difference(Symptom.MASQUERADE_MISSING, at=at), expected="e", actual="a")
        for at in (frontend(), V6)
    ]
    (found,) = told(masquerade_rule_missing.CHECK, *given)
    assert "On node01 (IPv4 and IPv6), detail." in found.message
    assert "1 Service suffers from it" in found.message


def test_both_families_of_a_service_that_lose_masquerade_are_one_finding() -> None:
    given = [
        group(
            CauseKind.MASQUERADE_MISSING,
            difference(Symptom.MASQUERADE_MISSING, at=at, expected="masked", actual="kept"),
        )
        for at in (frontend(), V6)
    ]
    (found,) = told(masquerade_missing.CHECK, *given)
    assert found.frontend == "10.96.0.50:80/TCP"
    assert "ClusterIP 10.96.0.50:80/TCP and 1 more address" in found.message


@pytest.mark.parametrize(
    ("symptoms", "says"),
    [([], False), ([Symptom.NOT_PROGRAMMED], True)],
)
def test_a_wrong_range_may_also_lead_packets_astray(symptoms: list[Symptom], says: bool) -> None:
    given = group(
        CauseKind.LOCAL_DETECTION,
        difference(Symptom.MASQUERADE_NEEDLESS),
        *(difference(symptom, service="local") for symptom in symptoms),
        detail="the masquerade rules take 10.99.0.0/16 for the pods' range; the cluster's is 10.244.0.0/16",
    )
    (found,) = told(local_detection.CHECK, given)
    assert found.severity is Severity.WARNING
    assert ("as they ought to: default/local." in found.message) is says


def test_a_policy_is_named_with_its_chain() -> None:
    declared = rule(3, ":FORWARD DROP", table="filter", chain="FORWARD", action="policy DROP")
    given = group(CauseKind.FORWARD_POLICY, difference(Symptom.REFUSED, actual="dropped"), rules=[declared])
    (found,) = told(forward_policy.CHECK, given)
    assert (found.expected, found.actual) == ("translated packets are let through", "policy DROP of filter FORWARD")
    assert found.evidence[0].text == ":FORWARD DROP"


def test_a_missing_dispatch_that_nobody_needs_is_still_told() -> None:
    at = frontend("10.244.1.1:30080", kind=FrontendKind.NODE_PORT)
    (idle,) = told(node_port_dispatch_missing.CHECK, group(CauseKind.NODE_PORT_DISPATCH, rules=[rule(4)]))
    assert "No node port was found to suffer from it now." in idle.message
    (busy,) = told(node_port_dispatch_missing.CHECK, group(CauseKind.NODE_PORT_DISPATCH, difference(at=at)))
    assert "Every node port is dead there (1 Service: 30080/TCP), for all pods on the node." in busy.message


# KD217, KD223


def test_two_backends_without_a_difference_name_the_dump_that_was_compared() -> None:
    legacy = rule(7, source="nodes/node01/iptables-legacy-save.txt")
    given = group(CauseKind.TWO_BACKENDS, detail="both lead to KUBE-SERVICES", rules=[rule(5), legacy])
    (found,) = told(two_backends.CHECK, given)
    assert found.severity is Severity.ERROR
    assert (
        "The rules of nodes/node01/iptables-save.txt agree with the API; the other dump was not compared."
        in found.message
    )
    (bare,) = told(two_backends.CHECK, replace(given, rules=()))
    assert "The rules of one of them agree" in bare.message


def test_two_backends_tell_which_dump_differs() -> None:
    given = group(CauseKind.TWO_BACKENDS, difference(), detail="both lead to KUBE-SERVICES", rules=[rule(5)])
    (found,) = told(two_backends.CHECK, given)
    assert (
        "The rules of nodes/node01/iptables-save.txt were compared with the API, and differ at 1 Service"
        in found.message
    )
    assert "- default/web 80/TCP: 10.96.0.50:80 is not programmed" in found.message
    (bare,) = told(two_backends.CHECK, replace(given, differences=(difference(rules=[]),)))
    assert "The rules of the first were compared" in bare.message


def test_a_stale_node_is_one_finding_for_both_families() -> None:
    v4 = group(
        CauseKind.STALE_NODE, difference(), difference(service="db"), expected="e", actual="2 Services out of date"
    )
    v6 = group(CauseKind.STALE_NODE, difference(at=V6), difference(at=V6, service="new"), expected="e", actual="x")
    (found,) = told(stale_node.CHECK, v4, v6)
    assert "rules of 3 Services are out of date" in found.message
    assert "the IPv4 and IPv6 rules" in found.message
    assert "- default/web 80/TCP: 10.96.0.50:80 and [fd00::50]:80 are not programmed" in found.message
    assert "kube-proxy's log" in found.hint


def test_stale_nodes_are_told_one_by_one() -> None:
    given = [
        group(
            CauseKind.STALE_NODE, difference(node=node), difference(node=node, service="db"), expected="e", actual="a"
        )
        for node in ("node01", "node02")
    ]
    assert [item.node for item in told(stale_node.CHECK, *given)] == ["node01", "node02"]


# KD218


def test_the_chains_of_the_service_are_named() -> None:
    steps = [
        rule(4, chain="KUBE-SERVICES", action="jump KUBE-SVC-AAAA"),
        rule(5, chain="KUBE-SVC-AAAA", action="jump KUBE-SEP-BBBB"),
        rule(6, chain="KUBE-SEP-BBBB", action="jump KUBE-MARK-MASQ"),
    ]
    item = difference(rules=steps, gets={"untranslated": 0.5, "10.244.1.5:80": 0.5})
    (found,) = told(broken_chain.CHECK, group(CauseKind.BROKEN_CHAIN, item))
    assert "(KUBE-SVC-AAAA and KUBE-SEP-BBBB)" in found.message
    assert "about 50 % of the new connections" in found.message
    (bare,) = told(broken_chain.CHECK, group(CauseKind.BROKEN_CHAIN, difference(rules=[rule(4)])))
    assert "gets into the Service's chains and leaves them" in bare.message


# KD220

BALANCER = frontend("192.168.56.200:80", kind=FrontendKind.LOAD_BALANCER_IP, position=Position.EXTERNAL)


@pytest.mark.parametrize(
    ("expected", "gets", "severity", "says"),
    [
        ("dropped", {"10.244.1.5:80": 1.0}, Severity.ERROR, "lets in clients that are in none of"),
        ("dropped", {"untranslated": 1.0}, Severity.WARNING, "does not drop packets of clients that are in none of"),
        ("dropped", None, Severity.WARNING, "does not drop packets"),
        ("DNAT to 10.244.1.5:80", {"dropped": 1.0}, Severity.ERROR, "drops clients that are in the Service's"),
    ],
)
def test_how_bad_source_ranges_are(expected: str, gets: dict[str, float] | None, severity: Severity, says: str) -> None:
    network = parse_network("10.0.0.0/8")
    assert network is not None
    state = cluster(structs.replace(service("web"), source_ranges=(network,)))
    given = group(
        CauseKind.SOURCE_RANGES, difference(Symptom.STALE_ENDPOINT, at=BALANCER, expected=expected, gets=gets)
    )
    (found,) = told(source_ranges.CHECK, given, state=state)
    assert found.severity is severity
    assert says in found.message
    assert "(10.0.0.0/8)" in found.message
    (unknown,) = told(source_ranges.CHECK, given, state=cluster())
    assert "(10.0.0.0/8)" not in unknown.message


def test_source_ranges_of_an_address_without_owner() -> None:
    item = difference(Symptom.NOT_REFUSED, at=BALANCER, service=None, expected="dropped")
    (found,) = told(source_ranges.CHECK, group(CauseKind.SOURCE_RANGES, item))
    assert found.frontend == "192.168.56.200:80/TCP"


def test_all_positions_are_told_once() -> None:
    items = at_all_positions(difference(Symptom.STALE_ENDPOINT, backends=["10.244.1.7:80"]))
    (found,) = told(stale_endpoint.CHECK, group(CauseKind.STALE_ENDPOINT, *items))
    assert found.message.count("all clients outside the node") == 1
    assert found.affected == ()


def test_many_services_that_lose_masquerade_point_at_the_configuration() -> None:
    def groups(number: int) -> list[DifferenceGroup]:
        item = difference(Symptom.MASQUERADE_MISSING)
        return [
            group(CauseKind.MASQUERADE_MISSING, replace(item, service_port=owner(f"web-{index}")))
            for index in range(number)
        ]

    (many,) = told(masquerade_missing.CHECK, *groups(5))
    assert "clusterCIDR" in many.hint
    assert len(many.affected) == 5
    assert "of 5 Services reach the right endpoints" in many.message
    few = told(masquerade_missing.CHECK, *groups(4))
    assert len(few) == 4
    assert "clusterCIDR" not in few[0].hint


def test_many_services_whose_ranges_are_not_enforced_name_none_of_the_ranges() -> None:
    network = parse_network("10.0.0.0/8")
    assert network is not None
    names = [f"web-{index}" for index in range(5)]
    state = cluster([structs.replace(service(name), source_ranges=(network,)) for name in names])
    groups = [
        group(CauseKind.SOURCE_RANGES, difference(Symptom.NOT_REFUSED, at=BALANCER, service=name, expected="dropped"))
        for name in names
    ]
    (found,) = told(source_ranges.CHECK, *groups, state=state)
    assert "(10.0.0.0/8)" not in found.message
