"""A node whose rules are given as text, and one Service on it, for tests of the planes."""

from __future__ import annotations

from kdiag.expect.dataplane import NodeContext, expected_data_plane
from kdiag.model.addresses import Family, Protocol
from kdiag.model.cluster import ClusterState, Service
from kdiag.model.host import HostFacts, InterfaceAddress, Route
from kdiag.model.proxy import ProxyConfig, Version
from kdiag.model.rules import Backend, Ruleset
from kdiag.model.snapshot import Recording
from kdiag.parse.iptables_save import parse_iptables_save
from kdiag.planes.interface import NodeEvidence, PlaneReading, ReadingOrder
from kdiag.planes.iptables import PLANE
from kdiag.walk.network import NodeNetwork, node_network
from tests.checks import builders as b

POD_RANGE = "10.244.0.0/16"
NODE = b.node("node01", addresses=["192.168.56.11"], pod_cidrs=["10.244.1.0/24"])
HOST = HostFacts(
    addresses=tuple(
        InterfaceAddress(interface=link, address=b.address(text), prefix_length=24)
        for link, text in (("lo", "127.0.0.1"), ("eth0", "192.168.56.11"), ("cni0", "10.244.1.1"))
    ),
    routes=(
        Route(network=b.network("10.244.1.0/24"), interface="cni0"),
        Route(network=b.network("0.0.0.0/0"), interface="eth0"),
    ),
)
WEB = b.service("web", type="NodePort", ports=[b.service_port(80, 8080, node_port=30080)])
IDLE = b.service("idle", cluster_ips=["10.96.0.60"])
STATE = b.cluster(WEB, IDLE, b.endpoint_slice("web", b.endpoint("10.244.1.5"), ports=[8080]))
CONFIG = ProxyConfig(source="configz", cluster_cidrs=(b.network(POD_RANGE),))

FILTER = """*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:KUBE-EXTERNAL-SERVICES - [0:0]
:KUBE-FIREWALL - [0:0]
:KUBE-FORWARD - [0:0]
:KUBE-NODEPORTS - [0:0]
:KUBE-PROXY-FIREWALL - [0:0]
:KUBE-SERVICES - [0:0]
-A INPUT -m conntrack --ctstate NEW -j KUBE-PROXY-FIREWALL
-A INPUT -j KUBE-NODEPORTS
-A INPUT -m conntrack --ctstate NEW -j KUBE-EXTERNAL-SERVICES
-A FORWARD -m conntrack --ctstate NEW -j KUBE-PROXY-FIREWALL
-A FORWARD -j KUBE-FORWARD
-A FORWARD -m conntrack --ctstate NEW -j KUBE-SERVICES
-A FORWARD -m conntrack --ctstate NEW -j KUBE-EXTERNAL-SERVICES
-A OUTPUT -m conntrack --ctstate NEW -j KUBE-PROXY-FIREWALL
-A OUTPUT -m conntrack --ctstate NEW -j KUBE-SERVICES
-A KUBE-FORWARD -m mark --mark 0x4000/0x4000 -j ACCEPT
-A KUBE-SERVICES -d 10.96.0.60/32 -p tcp -m comment --comment "default/idle has no endpoints" -m tcp --dport 80 -j REJECT
COMMIT
"""
NAT = """*nat
:PREROUTING ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:KUBE-SERVICES - [0:0]
:KUBE-NODEPORTS - [0:0]
:KUBE-POSTROUTING - [0:0]
:KUBE-MARK-MASQ - [0:0]
:KUBE-SVC-WEB - [0:0]
:KUBE-EXT-WEB - [0:0]
:KUBE-SEP-WEB - [0:0]
-A PREROUTING -j KUBE-SERVICES
-A OUTPUT -j KUBE-SERVICES
-A POSTROUTING -j KUBE-POSTROUTING
-A KUBE-SERVICES -d 10.96.0.50/32 -p tcp -m comment --comment "default/web cluster IP" -m tcp --dport 80 -j KUBE-SVC-WEB
-A KUBE-SERVICES -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS
-A KUBE-NODEPORTS -p tcp -m comment --comment default/web -m tcp --dport 30080 -j KUBE-EXT-WEB
-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
-A KUBE-POSTROUTING -j MARK --set-xmark 0x4000/0x0
-A KUBE-POSTROUTING -j MASQUERADE --random-fully
-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000
-A KUBE-SVC-WEB ! -s 10.244.0.0/16 -d 10.96.0.50/32 -p tcp -m comment --comment "default/web cluster IP" -m tcp --dport 80 -j KUBE-MARK-MASQ
-A KUBE-SVC-WEB -j KUBE-SEP-WEB
-A KUBE-EXT-WEB -j KUBE-MARK-MASQ
-A KUBE-EXT-WEB -j KUBE-SVC-WEB
-A KUBE-SEP-WEB -s 10.244.1.5/32 -j KUBE-MARK-MASQ
-A KUBE-SEP-WEB -p tcp -m tcp -j DNAT --to-destination 10.244.1.5:8080
COMMIT
"""
RULES = FILTER + NAT


def ruleset(
    text: str = RULES, *, backend: Backend = Backend.NFT, source: str = "nodes/node01/iptables-save.txt"
) -> Ruleset:
    """Rules from text, IPv4."""
    return parse_iptables_save(text, family=Family.IPV4, backend=backend, source=source)


def networks() -> dict[Family, NodeNetwork]:
    """The node's network; it has IPv4 only."""
    return {Family.IPV4: node_network(Family.IPV4, HOST, NODE, ())}


def order(
    state: ClusterState = STATE,
    *,
    config: ProxyConfig = CONFIG,
    version: Version | None = (1, 36),
    node_ports: frozenset[tuple[Family, Protocol, int]] = frozenset(),
) -> ReadingOrder:
    """What a plane is asked on the node."""
    context = NodeContext(node_name="node01", node=NODE, host=HOST, config=config, version=version, networks=networks())
    ranges = config.cluster_cidr(Family.IPV4)
    return ReadingOrder(
        expected=expected_data_plane(state, context),
        networks=networks(),
        version=version,
        local_ranges={Family.IPV4: ranges} if ranges else {},
        node_ports=node_ports,
    )


def evidence(*rulesets: Ruleset, host: HostFacts = HOST, **probes: str) -> NodeEvidence:
    """What was recorded on the node; probes by name with `_` for `-`."""
    named = {name.replace("_", "-"): text for name, text in probes.items()}
    return NodeEvidence(
        node_name="node01",
        probes={name: Recording(source=f"nodes/node01/{name}", content=text.encode()) for name, text in named.items()},
        host=host,
        rulesets=rulesets,
    )


def read(*rulesets: Ruleset, given: ReadingOrder | None = None) -> PlaneReading:
    """The node's data plane in iptables mode."""
    assert PLANE.read is not None
    return PLANE.read(evidence(*rulesets), given or order())


def without(text: str, *starts: str) -> str:
    """Rules without the lines that begin so; each must be there."""
    lines = text.splitlines(keepends=True)
    for start in starts:
        assert any(line.startswith(start) for line in lines), start
    return "".join(line for line in lines if not line.startswith(starts))


def service_named(name: str) -> Service:
    """One of the node's Services."""
    return {"web": WEB, "idle": IDLE}[name]
