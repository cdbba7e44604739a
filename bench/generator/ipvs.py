"""What `ipvsadm -S -n`, `ipset save` and `iptables-save` print where kube-proxy 1.36 works in IPVS mode, and the
addresses that it gives to kube-ipvs0."""

from __future__ import annotations

import time
from collections.abc import Iterator

from bench.generator.cluster import CLUSTER_CIDR, Cluster, NodeState, Port, Service
from bench.generator.iptables import text_of

_HASH = "family {family} hashsize 1024 maxelem 65536 bucketsize 12 initval 0x{initial:08x}"
_SETS = (
    ("NODE-PORT-SCTP-HASH", "hash:ip,port"),
    ("LOOP-BACK", "hash:ip,port,ip"),
    ("CLUSTER-IP", "hash:ip,port"),
    ("EXTERNAL-IP", "hash:ip,port"),
    ("EXTERNAL-IP-LOCAL", "hash:ip,port"),
    ("NODE-PORT-LOCAL-TCP", "bitmap:port"),
    ("HEALTH-CHECK-NODE-PORT", "bitmap:port"),
    ("LOAD-BALANCER-FW", "hash:ip,port"),
    ("LOAD-BALANCER-LOCAL", "hash:ip,port"),
    ("LOAD-BALANCER", "hash:ip,port"),
    ("NODE-PORT-TCP", "bitmap:port"),
    ("NODE-PORT-UDP", "bitmap:port"),
    ("IPVS-IPS", "hash:ip"),
    ("LOAD-BALANCER-SOURCE-IP", "hash:ip,port,ip"),
    ("LOAD-BALANCER-SOURCE-CIDR", "hash:ip,port,net"),
    ("NODE-PORT-LOCAL-UDP", "bitmap:port"),
    ("NODE-PORT-LOCAL-SCTP-HASH", "hash:ip,port"),
)
_NAME_LENGTH = 31
"""The kernel's limit for the name of a set; kube-proxy cuts its names for IPv6."""

_FILTER = """\
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:KUBE-FORWARD - [0:0]
:KUBE-IPVS-FILTER - [0:0]
:KUBE-IPVS-OUT-FILTER - [0:0]
:KUBE-NODE-PORT - [0:0]
:KUBE-PROXY-FIREWALL - [0:0]
:KUBE-SOURCE-RANGES-FIREWALL - [0:0]
-A INPUT -m comment --comment "kubernetes ipvs access filter" -j KUBE-IPVS-FILTER
-A INPUT -m comment --comment "kube-proxy firewall rules" -j KUBE-PROXY-FIREWALL
-A INPUT -m comment --comment "kubernetes health check rules" -j KUBE-NODE-PORT
-A FORWARD -m comment --comment "kube-proxy firewall rules" -j KUBE-PROXY-FIREWALL
-A FORWARD -m comment --comment "kubernetes forwarding rules" -j KUBE-FORWARD
-A OUTPUT -m comment --comment "kubernetes ipvs access filter" -j KUBE-IPVS-OUT-FILTER
-A KUBE-FORWARD -m comment --comment "kubernetes forwarding rules" -m mark --mark 0x4000/0x4000 -j ACCEPT
-A KUBE-FORWARD -m comment --comment "kubernetes forwarding conntrack rule" -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A KUBE-IPVS-FILTER -m set --match-set KUBE-LOAD-BALANCER dst,dst -j RETURN
-A KUBE-IPVS-FILTER -m set --match-set KUBE-CLUSTER-IP dst,dst -j RETURN
-A KUBE-IPVS-FILTER -m set --match-set KUBE-EXTERNAL-IP dst,dst -j RETURN
-A KUBE-IPVS-FILTER -m set --match-set KUBE-EXTERNAL-IP-LOCAL dst,dst -j RETURN
-A KUBE-IPVS-FILTER -m set --match-set KUBE-HEALTH-CHECK-NODE-PORT dst -j RETURN
-A KUBE-IPVS-FILTER -m conntrack --ctstate NEW -m set --match-set KUBE-IPVS-IPS dst -j REJECT --reject-with icmp-port-unreachable
-A KUBE-NODE-PORT -m comment --comment "Kubernetes health check node port" -m set --match-set KUBE-HEALTH-CHECK-NODE-PORT dst -j ACCEPT
-A KUBE-PROXY-FIREWALL -m comment --comment "Kubernetes service load balancer ip + port for load balancer with sourceRange" -m set --match-set KUBE-LOAD-BALANCER-FW dst,dst -j KUBE-SOURCE-RANGES-FIREWALL
-A KUBE-SOURCE-RANGES-FIREWALL -m comment --comment "Kubernetes service load balancer ip + port + source cidr for packet filter purpose" -m set --match-set KUBE-LOAD-BALANCER-SOURCE-CIDR dst,dst,src -j RETURN
-A KUBE-SOURCE-RANGES-FIREWALL -m comment --comment "Kubernetes service load balancer ip + port + source IP for packet filter purpose" -m set --match-set KUBE-LOAD-BALANCER-SOURCE-IP dst,dst,src -j RETURN
-A KUBE-SOURCE-RANGES-FIREWALL -j DROP
"""
_NAT = """\
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:KUBE-LOAD-BALANCER - [0:0]
:KUBE-MARK-MASQ - [0:0]
:KUBE-NODE-PORT - [0:0]
:KUBE-POSTROUTING - [0:0]
:KUBE-SERVICES - [0:0]
-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A OUTPUT -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A POSTROUTING -m comment --comment "kubernetes postrouting rules" -j KUBE-POSTROUTING
-A KUBE-LOAD-BALANCER -m comment --comment "Kubernetes service load balancer ip + port with externalTrafficPolicy=local" -m set --match-set KUBE-LOAD-BALANCER-LOCAL dst,dst -j RETURN
-A KUBE-LOAD-BALANCER -j KUBE-MARK-MASQ
-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000
-A KUBE-NODE-PORT -p tcp -m comment --comment "Kubernetes nodeport TCP port with externalTrafficPolicy=local" -m set --match-set KUBE-NODE-PORT-LOCAL-TCP dst -j RETURN
-A KUBE-NODE-PORT -p tcp -m comment --comment "Kubernetes nodeport TCP port for masquerade purpose" -m set --match-set KUBE-NODE-PORT-TCP dst -j KUBE-MARK-MASQ
-A KUBE-NODE-PORT -p udp -m comment --comment "Kubernetes nodeport UDP port with externalTrafficPolicy=local" -m set --match-set KUBE-NODE-PORT-LOCAL-UDP dst -j RETURN
-A KUBE-NODE-PORT -p udp -m comment --comment "Kubernetes nodeport UDP port for masquerade purpose" -m set --match-set KUBE-NODE-PORT-UDP dst -j KUBE-MARK-MASQ
-A KUBE-POSTROUTING -m comment --comment "Kubernetes endpoints dst ip:port, source ip for solving hairpin purpose" -m set --match-set KUBE-LOOP-BACK dst,dst,src -j MASQUERADE
-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
-A KUBE-POSTROUTING -j MARK --set-xmark 0x4000/0x0
-A KUBE-POSTROUTING -m comment --comment "kubernetes service traffic requiring SNAT" -j MASQUERADE --random-fully
-A KUBE-SERVICES -s 127.0.0.0/8 -j RETURN
-A KUBE-SERVICES -m comment --comment "Kubernetes service lb portal" -m set --match-set KUBE-LOAD-BALANCER dst,dst -j KUBE-LOAD-BALANCER
-A KUBE-SERVICES ! -s {cluster_cidr} -m comment --comment "Kubernetes service cluster ip + port for masquerade purpose" -m set --match-set KUBE-CLUSTER-IP dst,dst -j KUBE-MARK-MASQ
-A KUBE-SERVICES -m addrtype --dst-type LOCAL -j KUBE-NODE-PORT
-A KUBE-SERVICES -m set --match-set KUBE-CLUSTER-IP dst,dst -j ACCEPT
-A KUBE-SERVICES -m set --match-set KUBE-LOAD-BALANCER dst,dst -j ACCEPT
"""


def iptables_dump(*, taken_at_s: float = 1_795_000_000) -> str:
    """What `iptables-save` prints: the same for any number of Services, which are in the sets."""
    stamp = time.strftime("%a %b %d %H:%M:%S %Y", time.gmtime(taken_at_s))
    tables = (("filter", _FILTER), ("nat", _NAT.replace("{cluster_cidr}", CLUSTER_CIDR)))
    return "".join(
        f"# Generated by iptables-save v1.8.9 (nf_tables) on {stamp}\n*{name}\n{body}COMMIT\n# Completed on {stamp}\n"
        for name, body in tables
    )


def virtual_servers(cluster: Cluster, state: NodeState) -> str:
    """What `ipvsadm -S -n` prints."""
    return "".join(_servers(cluster, state))


def ipsets(cluster: Cluster, state: NodeState) -> str:
    """What `ipset save` prints."""
    members: dict[str, list[str]] = {name: [] for name, _ in _SETS}
    for service in cluster.services_of(state):
        addresses = [service.cluster_ip] if service.number not in state.undispatched else []
        addresses += [service.load_balancer_ip] if service.load_balancer_ip else []
        members["IPVS-IPS"] += addresses
        for port in service.ports:
            _add(members, service, port, state)
        if service.health_port:
            members["HEALTH-CHECK-NODE-PORT"].append(str(service.health_port))
    lines = []
    for family, infix in (("inet", ""), ("inet6", "6-")):
        for index, (name, kind) in enumerate(_SETS):
            full = f"KUBE-{infix}{name}"[:_NAME_LENGTH]
            is_hash = kind.startswith("hash")
            options = (
                _HASH.format(family=family, initial=index * 2654435761 & 0xFFFFFFFF) if is_hash else "range 0-65535"
            )
            lines.append(f"create {full} {kind} {options}\n")
            if not infix:
                lines += [f"add {full} {member}\n" for member in members[name]]
    return "".join(lines)


def dummy_addresses(cluster: Cluster, state: NodeState) -> list[str]:
    """The addresses on kube-ipvs0."""
    out = []
    for service in cluster.services_of(state):
        if service.number not in state.undispatched:
            out.append(service.cluster_ip)
        if service.load_balancer_ip:
            out.append(service.load_balancer_ip)
    return out


def _servers(cluster: Cluster, state: NodeState) -> Iterator[str]:
    for service in cluster.services_of(state):
        for port in service.ports:
            kind = "-t" if port.protocol == "TCP" else "-u"
            texts = [text_of(item, port) for item in service.endpoints]
            local = [text_of(item, port) for item in service.endpoints if item.node == state.node.number]
            outside = local if service.local and local else texts
            places: list[tuple[str, list[str]]] = []
            if service.number not in state.undispatched:
                places.append((f"{service.cluster_ip}:{port.port}", texts))
            if service.load_balancer_ip:
                places.append((f"{service.load_balancer_ip}:{port.port}", outside))
            if port.node_port:
                for address in (state.node.address, state.node.bridge_address):
                    places.append((f"{address}:{port.node_port}", outside))
            for place, backends in places:
                yield f"-A {kind} {place} -s rr{' -p 10800' if service.affinity else ''}\n"
                for text in backends:
                    yield f"-a {kind} {place} -r {text} -m -w 1\n"


def _add(members: dict[str, list[str]], service: Service, port: Port, state: NodeState) -> None:
    protocol = port.protocol.lower()
    for endpoint in service.endpoints:
        if endpoint.node == state.node.number:
            target = endpoint.port or port.target
            entry = f"{endpoint.address},{protocol}:{target},{endpoint.address}"
            if entry not in members["LOOP-BACK"]:
                members["LOOP-BACK"].append(entry)
    if service.number not in state.undispatched:
        members["CLUSTER-IP"].append(f"{service.cluster_ip},{protocol}:{port.port}")
    if service.load_balancer_ip:
        members["LOAD-BALANCER"].append(f"{service.load_balancer_ip},{protocol}:{port.port}")
        if service.local:
            members["LOAD-BALANCER-LOCAL"].append(f"{service.load_balancer_ip},{protocol}:{port.port}")
    if port.node_port:
        members[f"NODE-PORT-{port.protocol}"].append(str(port.node_port))
        if service.local:
            members[f"NODE-PORT-LOCAL-{port.protocol}"].append(str(port.node_port))
