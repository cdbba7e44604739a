"""One cluster recorded in several modes of kube-proxy: its nodes treat packets alike, but for what the modes are known to
do differently. Each of those differences is named here with its source; any other fails, and so does one that is named
and never seen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache

import pytest

from kdiag.compare.outcomes import shares_by_backend
from kdiag.model.addresses import AddressSet, Protocol, SocketAddress
from kdiag.model.cluster import Service, TrafficPolicy
from kdiag.model.dataplane import Disposition, Frontend, FrontendKind, Masquerade, Outcome, Position
from kdiag.model.view import NodeView, View
from kdiag.pipeline.viewing import build_view
from kdiag.pipeline.walking import network_of
from tests.compare.builders import agree
from tests.corpus_fixtures import cluster
from tests.walk.setting import addresses, in_words

PODS = addresses("10.244.0.0/16")


@dataclass(frozen=True, kw_only=True)
class Seen:
    """Clients of a frontend that fare differently in iptables mode (`first`) and another (`second`). None: the frontend
    does not exist in that mode."""

    node: NodeView
    service: Service
    frontend: Frontend
    clients: AddressSet
    first: Outcome | None
    second: Outcome | None

    def __str__(self) -> str:
        both = [in_words(item) if item else "no such frontend" for item in (self.first, self.second)]
        return f"{self.node.name} {self.service.key} {self.frontend} {self.clients.describe(limit=3)}: {both}"

    @property
    def kind(self) -> FrontendKind:
        return self.frontend.kind

    @property
    def from_pods(self) -> bool:
        return not self.clients - PODS

    def has_local(self, *, usable: Outcome | None) -> bool:
        """Whether one of an outcome's endpoints is on the node."""
        assert self.node.node is not None
        here = AddressSet.of(self.clients.family, self.node.node.pod_cidrs)
        return usable is not None and any(item.address in here for item in backends(usable))

    @property
    def local_policy(self) -> bool:
        """externalTrafficPolicy: Local, at an external address."""
        return self.kind is not FrontendKind.CLUSTER_IP and self.service.external_policy is TrafficPolicy.LOCAL


def backends(outcome: Outcome | None) -> frozenset[SocketAddress]:
    return frozenset(shares_by_backend(outcome)) if outcome else frozenset()


def ends_as(outcome: Outcome | None, *dispositions: Disposition) -> bool:
    return outcome is not None and outcome.dispositions == frozenset(dispositions)


def without_masquerade(outcome: Outcome | None) -> list[tuple[object, ...]]:
    shares = outcome.shares if outcome else ()
    found = [(fate.disposition, fate.backend, fate.affinity_s, round(share, 6)) for fate, share in shares]
    return sorted(found, key=str)


def masqueraded(outcome: Outcome | None) -> frozenset[SocketAddress | None]:
    shares = outcome.shares if outcome else ()
    return frozenset(fate.backend for fate, _ in shares if fate.masquerade is not Masquerade.NO)


@dataclass(frozen=True, kw_only=True)
class Documented:
    """A difference that is meant, and where that is written."""

    words: str
    source: str
    covers: Callable[[Seen], bool]


# -- what any other mode does otherwise than iptables mode ---------------------------------------------------------------


def _distant_hairpin(seen: Seen) -> bool:
    """An endpoint on another node, whose packets come in from outside, and calls its own Service here."""
    if seen.frontend.position is not Position.EXTERNAL or seen.clients.size != 1:
        return False
    itself = {item for item in backends(seen.first) if item.address in seen.clients}
    same = without_masquerade(seen.first) == without_masquerade(seen.second)
    return same and bool(itself) and masqueraded(seen.first) == itself and not masqueraded(seen.second)


NO_LOOPBACK_NODE_PORTS = Documented(
    words="NodePorts at 127.0.0.1 are judged in iptables mode alone",
    source="pkg/proxy/nftables/proxier.go NewProxier (localhost NodePorts are not supported), KEP-3866; "
    "in IPVS mode 1.20 has virtual servers there and 1.36 none; in userspace mode there are the proxy's own sockets",
    covers=lambda seen: (
        seen.second is None and seen.kind is FrontendKind.NODE_PORT and seen.frontend.address.is_loopback
    ),
)
DISTANT_HAIRPIN = Documented(
    words="only the node's own endpoints are masqueraded when they call themselves",
    source="set KUBE-LOOP-BACK, pkg/proxy/ipvs/proxier.go syncProxyRules (`if epInfo.IsLocal()`); "
    "map hairpin-connections, pkg/proxy/nftables/proxier.go 1.33 on",
    covers=_distant_hairpin,
)

# -- nftables mode -------------------------------------------------------------------------------------------------------

PRIMARY_NODE_PORTS = Documented(
    words="NodePorts are offered at the node's InternalIPs alone",
    source="nodePortAddresses unset means `primary`: pkg/proxy/nftables/proxier.go 1.31 on, KEP-3866",
    covers=lambda seen: (
        seen.second is None
        and seen.kind is FrontendKind.NODE_PORT
        and not seen.frontend.address.is_loopback
        and str(seen.frontend.address) not in [text for _, text in (seen.node.node.addresses if seen.node.node else ())]
    ),
)

# -- IPVS mode -----------------------------------------------------------------------------------------------------------


def _internal_local_refused(seen: Seen) -> bool:
    service = seen.service
    none_here = ends_as(seen.first, Disposition.DROPPED) and ends_as(seen.second, Disposition.REJECTED)
    return none_here and seen.kind is FrontendKind.CLUSTER_IP and service.internal_policy is TrafficPolicy.LOCAL


def _internal_local_falls_back(seen: Seen) -> bool:
    service = seen.service
    both = service.internal_policy is service.external_policy is TrafficPolicy.LOCAL
    falls_back = ends_as(seen.first, Disposition.DROPPED) and ends_as(seen.second, Disposition.BACKEND)
    return both and seen.kind is FrontendKind.CLUSTER_IP and falls_back and not seen.has_local(usable=seen.second)


def _external_local_falls_back(seen: Seen) -> bool:
    falls_back = ends_as(seen.first, Disposition.DROPPED) and ends_as(seen.second, Disposition.BACKEND)
    return seen.local_policy and falls_back and not seen.has_local(usable=seen.second)


def _no_short_cut(seen: Seen) -> bool:
    """Pods and the node get what clients outside get: the local endpoints (or all where none is local), with their own
    source."""
    inside = seen.frontend.position is Position.NODE or seen.from_pods
    if not seen.local_policy or not inside or not ends_as(seen.second, Disposition.BACKEND):
        return False
    fewer = backends(seen.second) <= backends(seen.first)
    whole = backends(seen.second) == backends(seen.first)
    own_source = all(item is not None and item.address in seen.clients for item in masqueraded(seen.second))
    return fewer and own_source and (not whole or seen.frontend.position is Position.NODE)


def _old_external_local_refused(seen: Seen) -> bool:
    return seen.local_policy and ends_as(seen.second, Disposition.REJECTED) and not seen.has_local(usable=seen.first)


def _old_external_ip(seen: Seen) -> bool:
    """At an external IP that is not the node's own in iptables mode, and is on kube-ipvs0 in IPVS mode."""
    inside = seen.frontend.position in (Position.POD, Position.NODE)
    now_served = ends_as(seen.first, Disposition.UNTRANSLATED) and ends_as(seen.second, Disposition.BACKEND)
    return seen.kind is FrontendKind.EXTERNAL_IP and inside and now_served


def _marked_only(seen: Seen) -> bool:
    allowed = AddressSet.of(seen.clients.family, seen.service.source_ranges)
    served = ends_as(seen.first, Disposition.UNTRANSLATED) and ends_as(seen.second, Disposition.BACKEND)
    return bool(seen.service.source_ranges) and served and not seen.clients & allowed


IPVS_SINCE_124 = (
    Documented(
        words="internalTrafficPolicy: Local without a local endpoint is refused, not dropped",
        source="a virtual server without real servers: ip_vs_leave of net/netfilter/ipvs/ip_vs_core.c",
        covers=_internal_local_refused,
    ),
    Documented(
        words="a ClusterIP of a Service with both policies Local falls back on all endpoints",
        source="pkg/proxy/ipvs/proxier.go syncEndpoint (`if len(localEndpoints) == 0` … `allReachableEndpoints`), 1.24 on",
        covers=_internal_local_falls_back,
    ),
    Documented(
        words="externalTrafficPolicy: Local without a local endpoint falls back on all endpoints",
        source="pkg/proxy/ipvs/proxier.go syncEndpoint, 1.24 on",
        covers=_external_local_falls_back,
    ),
)
NO_SHORT_CUT = Documented(
    words="under externalTrafficPolicy: Local, pods and the node get what others get",
    source="one virtual server serves all clients; the short cut is a rule of KUBE-EXT-/KUBE-XLB- in iptables mode "
    "(pkg/proxy/iptables/proxier.go)",
    covers=_no_short_cut,
)
IPVS_OF_120 = (
    Documented(
        words="externalTrafficPolicy: Local without a local endpoint is refused for all",
        source="a virtual server without real servers: ip_vs_leave of net/netfilter/ipvs/ip_vs_core.c",
        covers=_old_external_local_refused,
    ),
    Documented(
        words="bridged pods and the node itself reach an external IP",
        source="pkg/proxy/iptables/proxier.go 1.20 (`! physdev-is-in`, `! src-type LOCAL`): the address is on kube-ipvs0 in "
        "IPVS mode",
        covers=_old_external_ip,
    ),
    Documented(
        words="outside the source ranges a packet is only marked for a drop, and served if kubelet's rules are missing",
        source="pkg/proxy/ipvs/proxier.go 1.20, KUBE-LOAD-BALANCER-FW → KUBE-MARK-DROP",
        covers=_marked_only,
    ),
)

# -- userspace mode ------------------------------------------------------------------------------------------------------


def _to_proxy(seen: Seen) -> bool:
    return ends_as(seen.second, Disposition.BACKEND) and backends(seen.second) == frozenset()


USERSPACE = (
    Documented(
        words="the proxy process takes the connection, and an endpoint is chosen where no rule shows it",
        source="pkg/proxy/userspace/proxier.go",
        covers=lambda seen: _to_proxy(seen) and ends_as(seen.first, Disposition.BACKEND),
    ),
    Documented(
        words="without endpoints the proxy process takes the connection all the same",
        source="pkg/proxy/userspace/proxysocket.go (it is closed when no endpoint is found)",
        covers=lambda seen: _to_proxy(seen) and ends_as(seen.first, Disposition.REJECTED),
    ),
    Documented(
        words="policies and source ranges are not in the rules",
        source="pkg/proxy/userspace/proxier.go",
        covers=lambda seen: (
            _to_proxy(seen)
            and ends_as(seen.first, Disposition.UNTRANSLATED)
            and (seen.local_policy or bool(seen.service.source_ranges))
        ),
    ),
    Documented(
        words="SCTP is not served",
        source="pkg/proxy/userspace/proxysocket.go newProxySocket",
        covers=lambda seen: seen.second is None and seen.frontend.protocol is Protocol.SCTP,
    ),
)

PAIRS = {
    ("v1.36.2-iptables-nft", "v1.36.2-nftables-nft"): (NO_LOOPBACK_NODE_PORTS, PRIMARY_NODE_PORTS, DISTANT_HAIRPIN),
    ("v1.36.2-iptables-nft", "v1.36.2-ipvs-nft"): (
        NO_LOOPBACK_NODE_PORTS,
        DISTANT_HAIRPIN,
        NO_SHORT_CUT,
        *IPVS_SINCE_124,
    ),
    ("v1.20.2-iptables-nft", "v1.20.2-ipvs-nft"): (
        NO_LOOPBACK_NODE_PORTS,
        DISTANT_HAIRPIN,
        NO_SHORT_CUT,
        *IPVS_OF_120,
    ),
    ("v1.20.2-iptables-nft", "v1.20.2-userspace-nft"): (NO_LOOPBACK_NODE_PORTS, *USERSPACE),
    ("dual-v1.36.2-iptables-nft", "dual-v1.36.2-nftables-nft"): (
        NO_LOOPBACK_NODE_PORTS,
        PRIMARY_NODE_PORTS,
        DISTANT_HAIRPIN,
    ),
}


@cache
def _view(name: str) -> View:
    return build_view(cluster(name), every_port=True)[0]


def _differences(first: View, second: View) -> Iterator[Seen]:
    for node in second.nodes:
        if node.actual is None:
            continue
        here = first.node_by_name[node.name].actual
        assert here is not None
        for frontend in {**here.behaviours, **node.actual.behaviours}:
            one, other = here.behaviours.get(frontend), node.actual.behaviours.get(frontend)
            known = one or other
            assert known is not None
            assert known.service_port is not None, frontend
            service = second.cluster.service_by_key[known.service_port.service]
            if one is None or other is None:
                for case in known.cases:
                    (outcome,) = case.outcomes
                    pair = (outcome, None) if one else (None, outcome)
                    yield Seen(
                        node=node,
                        service=service,
                        frontend=frontend,
                        clients=case.clients.addresses,
                        first=pair[0],
                        second=pair[1],
                    )
                continue
            for mine in one.cases:
                for theirs in other.cases:
                    (left,), (right,) = mine.outcomes, theirs.outcomes
                    clients = mine.clients.addresses & theirs.clients.addresses
                    if not clients or agree(left, right):
                        continue
                    yield Seen(node=node, service=service, frontend=frontend, clients=clients, first=left, second=right)


@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_modes_differ_as_documented_and_in_nothing_else(first: str, second: str) -> None:
    documented = PAIRS[first, second]
    seen = list(_differences(_view(first), _view(second)))
    strange = [str(item) for item in seen if not any(known.covers(item) for known in documented)]
    assert strange == []
    unseen = [known.words for known in documented if not any(known.covers(item) for item in seen)]
    assert unseen == []


@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_both_modes_are_compared_at_the_same_addresses(first: str, second: str) -> None:
    """The clusters have the same Services, and the nodes the same addresses: else the comparison would show nothing."""
    one, other = _view(first), _view(second)
    assert set(one.cluster.service_by_key) == set(other.cluster.service_by_key)
    for node in other.nodes:
        if node.actual is not None:
            for frontend in list(node.actual.behaviours)[:1]:
                mine, theirs = (network_of(view, node, frontend.address) for view in (one, other))
                assert mine.own == theirs.own
    compared = [node.name for node in other.nodes if node.actual is not None]
    assert compared == (["node01", "node02"] if "ipvs" in second else ["controlplane", "node01", "node02"])
