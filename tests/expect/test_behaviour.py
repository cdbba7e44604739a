"""What ought to happen, by traffic policies, endpoints, releases, and who the client is."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from msgspec import structs

from kdiag.expect.behaviour import Outcomes, expected_cases, ways
from kdiag.expect.endpoints import Candidate, Candidates
from kdiag.expect.frontends import ServiceAddress
from kdiag.expect.selection import ProxyRules, Selection
from kdiag.expect.situation import LocalDetector, Situation
from kdiag.model.addresses import AddressSet, Family, SocketAddress
from kdiag.model.cluster import TrafficPolicy
from kdiag.model.dataplane import Case, ClientSet, Disposition, FrontendKind, Masquerade, Outcome, Position
from kdiag.model.host import HostFacts, InterfaceAddress
from kdiag.model.proxy import Version
from kdiag.walk.network import NodeNetwork, node_network
from tests.checks import builders as b

POD, NODE, EXTERNAL = Position.POD, Position.NODE, Position.EXTERNAL
VIP, EXT, LB, NP = (
    FrontendKind.CLUSTER_IP,
    FrontendKind.EXTERNAL_IP,
    FrontendKind.LOAD_BALANCER_IP,
    FrontendKind.NODE_PORT,
)
BY_RANGE = LocalDetector(network=b.network("10.244.0.0/16"))
NO_DETECTOR = LocalDetector()


def candidate(last: int, node: str = "node01", where: str | None = None) -> Candidate:
    return Candidate(
        at=SocketAddress(b.address(where or f"10.244.1.{last}"), 80),
        ready=True,
        serving=True,
        terminating=False,
        node_name=node,
        zone_hints=frozenset(),
        node_hints=frozenset(),
    )


HERE, AWAY = (candidate(5),), (candidate(9, "node02"),)
ENDPOINTS = {
    "both": Selection(cluster=HERE + AWAY, local=HERE, has_any=True),
    "away": Selection(cluster=AWAY, local=(), has_any=True),
    "none": Selection(cluster=(), local=(), has_any=False),
}


def situation(
    kind: FrontendKind = VIP,
    position: Position = POD,
    *,
    endpoints: str = "both",
    internal: str = "Cluster",
    external: str = "Cluster",
    version: Version = (1, 36),
    detector: LocalDetector = BY_RANGE,
    masquerade_all: bool = False,
    local: bool = False,
    ranges: tuple[str, ...] = (),
    affinity_s: int | None = None,
    selection: Selection | None = None,
) -> Situation:
    service = structs.replace(
        b.service(
            type="LoadBalancer",
            external_ips=["203.0.113.5"],
            internal_policy=TrafficPolicy(internal),
            external_policy=TrafficPolicy(external),
        ),
        affinity_s=affinity_s,
    )
    address = {VIP: "10.96.0.50", EXT: "203.0.113.5", LB: "203.0.113.9", NP: "192.168.56.11"}[kind]
    return Situation(
        service=service,
        target=ServiceAddress(
            kind=kind,
            address=b.address(address),
            port=80,
            source_ranges=tuple(b.network(item) for item in ranges),
        ),
        position=position,
        selection=selection or ENDPOINTS[endpoints],
        rules=ProxyRules(version=version, gates={}, node_name="node01", node=None),
        detector=detector,
        masquerade_all=masquerade_all,
        target_is_local=local or kind is NP,
    )


def words(given: Situation, *, is_pod: bool | None = None, in_ranges: bool = True) -> str:
    """`all` or `local` endpoints, `+m` with masquerade, `reject`, `drop`, `pass`; several legal ways with ` or `."""
    as_pod = given.position is POD if is_pod is None else is_pod
    texts = []
    for way in ways(given, is_pod=as_pod and given.detector.works, in_ranges=in_ranges):
        if way.disposition is Disposition.BACKEND:
            which = {given.selection.cluster: "all", given.selection.local: "local"}[way.endpoints]
            texts.append(which + ("+m" if way.masquerade else ""))
        else:
            texts.append({"rejected": "reject", "dropped": "drop", "untranslated": "pass"}[way.disposition])
    return " or ".join(texts)


# -- ClusterIPs --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [(1, 16), (1, 20), (1, 22), (1, 25), (1, 36)])
@pytest.mark.parametrize(
    ("position", "detector", "masquerade_all", "expected"),
    [
        (POD, BY_RANGE, False, "all"),
        (NODE, BY_RANGE, False, "all+m"),
        (EXTERNAL, BY_RANGE, False, "all+m"),
        (POD, NO_DETECTOR, False, "all"),
        (NODE, NO_DETECTOR, False, "all"),
        (EXTERNAL, NO_DETECTOR, False, "all"),
        (POD, BY_RANGE, True, "all+m"),
        (POD, NO_DETECTOR, True, "all+m"),
    ],
)
def test_cluster_ip_masquerades_what_is_no_pod(
    version: Version, position: Position, detector: LocalDetector, masquerade_all: bool, expected: str
) -> None:
    given = situation(VIP, position, version=version, detector=detector, masquerade_all=masquerade_all)
    assert words(given) == expected


@pytest.mark.parametrize(
    ("version", "position", "expected"),
    [
        ((1, 16), POD, "reject or pass"),
        ((1, 17), EXTERNAL, "reject or pass"),
        ((1, 17), NODE, "reject"),
        ((1, 18), POD, "reject"),
        ((1, 21), POD, "reject"),
        # 1.22.0 took unready endpoints for usable ones.
        ((1, 22), POD, "reject or pass"),
        ((1, 22), NODE, "reject or pass"),
        ((1, 23), POD, "reject"),
        ((1, 25), POD, "reject"),
        ((1, 36), EXTERNAL, "reject"),
    ],
)
def test_cluster_ip_without_endpoints_is_rejected(version: Version, position: Position, expected: str) -> None:
    assert words(situation(VIP, position, endpoints="none", version=version)) == expected


@pytest.mark.parametrize(
    ("version", "endpoints", "expected"),
    [
        ((1, 24), "both", "local"),
        ((1, 36), "both", "local"),
        # 1.24 leaves the drop to a mark that kubelet's rules act upon.
        ((1, 24), "away", "drop or pass"),
        ((1, 25), "away", "drop"),
        ((1, 36), "away", "drop"),
    ],
)
def test_internal_policy_local(version: Version, endpoints: str, expected: str) -> None:
    assert words(situation(VIP, POD, internal="Local", endpoints=endpoints, version=version)) == expected


def test_internal_policy_local_masquerades_like_cluster_does() -> None:
    assert words(situation(VIP, NODE, internal="Local")) == "local+m"


@pytest.mark.parametrize("version", [(1, 22), (1, 23)])
def test_up_to_1_23_the_selection_has_narrowed_to_the_node_already(version: Version) -> None:
    narrowed = Selection(cluster=HERE, local=HERE, has_any=True)
    assert words(situation(VIP, POD, internal="Local", version=version, selection=narrowed)) == "local"
    nothing = Selection(cluster=(), local=(), has_any=False)
    assert words(situation(VIP, POD, internal="Local", version=(1, 23), selection=nothing)) == "reject"


def test_external_policy_does_not_touch_the_cluster_ip() -> None:
    assert words(situation(VIP, POD, external="Local", endpoints="away")) == "all"


# -- addresses for clients outside -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [LB, NP])
@pytest.mark.parametrize("version", [(1, 16), (1, 20), (1, 21), (1, 22), (1, 23), (1, 24), (1, 25), (1, 36)])
@pytest.mark.parametrize("position", list(Position))
def test_external_policy_cluster_always_masquerades(kind: FrontendKind, version: Version, position: Position) -> None:
    assert words(situation(kind, position, version=version)) == "all+m"


@pytest.mark.parametrize("kind", [LB, NP])
@pytest.mark.parametrize(
    ("version", "lost"),
    [
        ((1, 16), "drop or pass"),
        ((1, 22), "drop or pass"),
        ((1, 24), "drop or pass"),
        ((1, 25), "drop"),
        ((1, 36), "drop"),
    ],
)
def test_external_policy_local(kind: FrontendKind, version: Version, lost: str) -> None:
    def found(position: Position, endpoints: str, detector: LocalDetector = BY_RANGE) -> str:
        return words(
            situation(kind, position, external="Local", endpoints=endpoints, version=version, detector=detector)
        )

    assert found(EXTERNAL, "both") == "local"
    assert found(EXTERNAL, "away") == lost
    # Pods and the node itself take the short cut to all endpoints …
    assert found(POD, "away") == "all"
    assert found(NODE, "away") == "all+m"
    # … but pods only where they are known for such.
    assert found(POD, "both", NO_DETECTOR) == "local"
    assert found(POD, "away", NO_DETECTOR) == lost
    assert found(NODE, "away", NO_DETECTOR) == "all+m"


def test_the_nodes_own_packets_from_a_pod_range_address_count_as_a_pods() -> None:
    assert words(situation(NP, NODE, external="Local", endpoints="away"), is_pod=True) == "all"


@pytest.mark.parametrize(
    ("version", "kind", "position", "local", "expected"),
    [
        ((1, 36), NP, POD, True, "reject"),
        ((1, 36), NP, NODE, True, "reject"),
        ((1, 36), LB, EXTERNAL, False, "reject"),
        # KUBE-EXTERNAL-SERVICES is not asked in OUTPUT.
        ((1, 36), LB, NODE, False, "pass"),
        ((1, 25), EXT, NODE, False, "pass"),
        ((1, 36), LB, NODE, True, "reject"),
        ((1, 19), LB, EXTERNAL, False, "reject"),
        # Up to 1.18 it is not asked in FORWARD either.
        ((1, 18), LB, EXTERNAL, False, "reject or pass"),
        ((1, 18), LB, EXTERNAL, True, "reject"),
        ((1, 16), NP, EXTERNAL, True, "reject"),
        ((1, 22), NP, EXTERNAL, True, "reject or pass or drop"),
        ((1, 23), NP, EXTERNAL, True, "reject"),
        ((1, 25), EXT, EXTERNAL, False, "reject"),
    ],
)
def test_no_endpoint_anywhere_is_rejected(
    version: Version, kind: FrontendKind, position: Position, local: bool, expected: str
) -> None:
    assert words(situation(kind, position, endpoints="none", version=version, local=local)) == expected


@pytest.mark.parametrize(
    ("version", "expected"),
    [((1, 20), "drop or pass"), ((1, 24), "drop or pass"), ((1, 25), "drop"), ((1, 36), "drop")],
)
@pytest.mark.parametrize("external", ["Cluster", "Local"])
@pytest.mark.parametrize("position", list(Position))
def test_clients_outside_the_source_ranges(version: Version, expected: str, external: str, position: Position) -> None:
    given = situation(LB, position, external=external, version=version)
    assert words(given, in_ranges=False) == expected


def test_without_endpoints_source_ranges_do_not_matter() -> None:
    assert words(situation(LB, EXTERNAL, endpoints="none"), in_ranges=False) == "reject"


# -- external IPs ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "position", "local", "expected"),
    [
        # Up to 1.20 only packets from outside, and packets for an address of the node, reach the Service's chain:
        # for pods it depends on whether they come by a bridge.
        ((1, 20), EXTERNAL, False, "all+m"),
        ((1, 20), POD, False, "all+m or pass"),
        ((1, 20), NODE, False, "pass"),
        ((1, 20), POD, True, "all+m"),
        ((1, 20), NODE, True, "all+m"),
        ((1, 16), NODE, False, "pass"),
        ((1, 21), EXTERNAL, False, "all+m"),
        ((1, 21), POD, False, "all+m or all"),
        ((1, 21), NODE, False, "all+m"),
        ((1, 22), EXTERNAL, False, "all+m"),
        ((1, 22), POD, False, "all"),
        ((1, 23), POD, False, "all"),
        ((1, 23), NODE, False, "all+m"),
        ((1, 24), POD, False, "all+m"),
        ((1, 25), POD, False, "all+m"),
        ((1, 36), NODE, False, "all+m"),
    ],
)
def test_external_ip_with_policy_cluster(version: Version, position: Position, local: bool, expected: str) -> None:
    assert words(situation(EXT, position, version=version, local=local)) == expected


def test_external_ip_without_detector_masquerades_everybody_in_1_22() -> None:
    assert words(situation(EXT, POD, version=(1, 22), detector=NO_DETECTOR)) == "all+m"


@pytest.mark.parametrize(
    ("version", "position", "expected"),
    [
        ((1, 20), EXTERNAL, "all+m or drop or pass"),
        ((1, 21), POD, "all+m or all or all"),
        ((1, 22), EXTERNAL, "drop or pass"),
        ((1, 25), EXTERNAL, "drop"),
        ((1, 25), POD, "all"),
        ((1, 36), NODE, "all+m"),
    ],
)
def test_external_ip_with_policy_local(version: Version, position: Position, expected: str) -> None:
    assert words(situation(EXT, position, external="Local", endpoints="away", version=version)) == expected


# -- the local detector ------------------------------------------------------------------------------------------------


def clients(*ranges: str, interfaces: Iterable[str] | None = None) -> ClientSet:
    return ClientSet(
        addresses=AddressSet.of(Family.IPV4, [b.network(item) for item in ranges]),
        interfaces=frozenset(interfaces) if interfaces is not None else None,
    )


def test_a_range_splits_addresses() -> None:
    pods, others, certain = BY_RANGE.split(clients("10.244.1.0/24", "192.168.0.0/16"), EXTERNAL)
    assert (pods.addresses.describe(), others.addresses.describe(), certain) == (
        "10.244.1.0/24",
        "192.168.0.0/16",
        True,
    )
    assert BY_RANGE.works


@pytest.mark.parametrize(
    ("interface", "mine", "rest"),
    [
        ("cni0", {"cni0"}, {"eth0", "cni01"}),
        ("cni+", {"cni0", "cni01"}, {"eth0"}),
        ("veth+", set(), {"cni0", "eth0", "cni01"}),
    ],
)
def test_an_interface_splits_interfaces(interface: str, mine: set[str], rest: set[str]) -> None:
    detector = LocalDetector(interface=interface)
    pods, others, certain = detector.split(clients("10.0.0.0/8", interfaces=["cni0", "eth0", "cni01"]), POD)
    assert (set(pods.interfaces or ()), set(others.interfaces or ()), certain) == (mine, rest, True)
    assert detector.works


def test_by_interface_the_node_itself_is_no_pod_and_unknown_interfaces_are_uncertain() -> None:
    detector = LocalDetector(interface="cni0")
    pods, others, certain = detector.split(clients("10.0.0.0/8", interfaces=["lo"]), NODE)
    assert (bool(pods), bool(others), certain) == (False, True, True)
    pods, others, certain = detector.split(clients("10.0.0.0/8"), POD)
    assert (bool(pods), bool(others), certain) == (True, False, False)


def test_the_no_op_takes_nobody_for_a_pod() -> None:
    pods, others, certain = NO_DETECTOR.split(clients("10.0.0.0/8"), POD)
    assert (bool(pods), bool(others), certain, NO_DETECTOR.works) == (False, True, True, False)


# -- cases -------------------------------------------------------------------------------------------------------------

NETWORK: NodeNetwork = node_network(
    Family.IPV4,
    HostFacts(
        addresses=tuple(
            InterfaceAddress(interface=link, address=b.address(text), prefix_length=24)
            for link, text in (("lo", "127.0.0.1"), ("eth0", "192.168.56.11"), ("cni0", "10.244.1.1"))
        )
    ),
    None,
    (),
)


def told(cases: Iterable[Case]) -> dict[str, list[list[str]]]:
    """Clients to legal outcomes, each as sorted texts of its fates."""
    return {case.clients.addresses.describe(): [_texts(outcome) for outcome in case.outcomes] for case in cases}


def _texts(outcome: Outcome) -> list[str]:
    return sorted(
        f"{fate.backend or fate.disposition} {share:.2f}"
        + ("+m" if fate.masquerade is Masquerade.PROXY else "")
        + (f" {fate.affinity_s}s" if fate.affinity_s else "")
        for fate, share in outcome.shares
    )


def test_pods_and_others_are_two_cases() -> None:
    given = situation(VIP, EXTERNAL, selection=Selection(cluster=AWAY, local=(), has_any=True))
    assert told(expected_cases([given], [clients("10.244.2.0/28", "192.168.56.0/28")], Outcomes(NETWORK))) == {
        "10.244.2.0/28": [["10.244.1.9:80 1.00"]],
        "192.168.56.0/28": [["10.244.1.9:80 1.00+m"]],
    }


def test_an_endpoint_that_calls_itself_is_masqueraded() -> None:
    given = situation(VIP, POD, affinity_s=600)
    assert told(expected_cases([given], [clients("10.244.1.4/31")], Outcomes(NETWORK))) == {
        "10.244.1.4": [["10.244.1.5:80 0.50 600s", "10.244.1.9:80 0.50 600s"]],
        "10.244.1.5": [["10.244.1.5:80 0.50+m 600s", "10.244.1.9:80 0.50 600s"]],
    }


def test_a_host_network_endpoint_of_the_node_is_never_masqueraded_for_packets_from_the_wire() -> None:
    own: Candidates = (candidate(0, where="192.168.56.11"),)
    selection = Selection(cluster=own, local=own, has_any=True)
    wire = expected_cases([situation(NP, EXTERNAL, selection=selection)], [clients("192.0.2.0/30")], Outcomes(NETWORK))
    assert told(wire) == {"192.0.2.0/30": [["192.168.56.11:80 1.00"]]}
    itself = expected_cases(
        [situation(NP, NODE, selection=selection)], [clients("192.168.56.11/32")], Outcomes(NETWORK)
    )
    assert told(itself) == {"192.168.56.11": [["192.168.56.11:80 1.00+m"]]}


def test_source_ranges_split_clients_and_the_address_itself_is_not_judged() -> None:
    given = situation(LB, EXTERNAL, ranges=("203.0.113.0/29",), endpoints="away")
    assert told(expected_cases([given], [clients("203.0.113.0/28")], Outcomes(NETWORK))) == {
        "203.0.113.0/29": [["10.244.1.9:80 1.00+m"]],
        "203.0.113.8, 203.0.113.10/31, 203.0.113.12/30": [["dropped 1.00"]],
    }


def test_several_situations_give_several_legal_outcomes() -> None:
    one = situation(VIP, POD, endpoints="away")
    other = situation(VIP, POD, endpoints="none")
    assert told(expected_cases([one, other, one], [clients("10.244.1.64/30")], Outcomes(NETWORK))) == {
        "10.244.1.64/30": [["10.244.1.9:80 1.00"], ["rejected 1.00"]]
    }


def test_without_a_situation_nothing_is_expected() -> None:
    assert expected_cases([], [clients("10.244.1.64/30")], Outcomes(NETWORK)) == ()


def test_where_it_is_not_known_who_is_a_pod_either_way_is_legal() -> None:
    given = situation(VIP, POD, endpoints="away", detector=LocalDetector(interface="cni0"))
    assert told(expected_cases([given], [clients("10.244.1.64/30")], Outcomes(NETWORK))) == {
        "10.244.1.64/30": [["10.244.1.9:80 1.00"], ["10.244.1.9:80 1.00+m"]]
    }


def test_clients_by_interface_are_cut_by_interface() -> None:
    given = situation(VIP, POD, endpoints="away", detector=LocalDetector(interface="cni0"))
    cases = expected_cases([given], [clients("10.244.1.64/30", interfaces=["cni0", "eth0"])], Outcomes(NETWORK))
    assert {tuple(sorted(case.clients.interfaces or ())): _texts(case.outcomes[0]) for case in cases} == {
        ("cni0",): ["10.244.1.9:80 1.00"],
        ("eth0",): ["10.244.1.9:80 1.00+m"],
    }
