"""What `iptables-save` prints where kube-proxy 1.36 has written the rules, in iptables mode.

The rules are those of the recordings that the tests use: chains named after SHA-256, endpoints in the order of their
text, KUBE-SERVICES and KUBE-NODEPORTS in another order on each node (Go's maps), tables and chains in the order in which
iptables-nft 1.8.9 prints them.
"""

from __future__ import annotations

import random
import time
from base64 import b32encode
from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import sha256

from bench.generator.cluster import CLUSTER_CIDR, Cluster, Endpoint, NodeState, Port, Service

_MANGLE = [
    "*mangle",
    *(f":{name} ACCEPT [0:0]" for name in ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING")),
]
_MANGLE += [":KUBE-PROXY-CANARY - [0:0]", "COMMIT"]
_NEW = "-m conntrack --ctstate NEW -m comment --comment"
_FILTER_CHAINS = (
    "KUBE-EXTERNAL-SERVICES",
    "KUBE-FIREWALL",
    "KUBE-FORWARD",
    "KUBE-NODEPORTS",
    "KUBE-PROXY-CANARY",
    "KUBE-PROXY-FIREWALL",
    "KUBE-SERVICES",
)
_FILTER_JUMPS = (
    "-A INPUT -j KUBE-FIREWALL",
    f'-A INPUT {_NEW} "kubernetes load balancer firewall" -j KUBE-PROXY-FIREWALL',
    '-A INPUT -m comment --comment "kubernetes health check service ports" -j KUBE-NODEPORTS',
    f'-A INPUT {_NEW} "kubernetes externally-visible service portals" -j KUBE-EXTERNAL-SERVICES',
    f'-A FORWARD {_NEW} "kubernetes load balancer firewall" -j KUBE-PROXY-FIREWALL',
    '-A FORWARD -m comment --comment "kubernetes forwarding rules" -j KUBE-FORWARD',
    f'-A FORWARD {_NEW} "kubernetes service portals" -j KUBE-SERVICES',
    f'-A FORWARD {_NEW} "kubernetes externally-visible service portals" -j KUBE-EXTERNAL-SERVICES',
    "-A OUTPUT -j KUBE-FIREWALL",
    f'-A OUTPUT {_NEW} "kubernetes load balancer firewall" -j KUBE-PROXY-FIREWALL',
    f'-A OUTPUT {_NEW} "kubernetes service portals" -j KUBE-SERVICES',
)
_FIREWALL = (
    '-A KUBE-FIREWALL ! -s 127.0.0.0/8 -d 127.0.0.0/8 -m comment --comment "block incoming localnet connections" '
    "-m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP"
)
_FORWARD = (
    "-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP",
    '-A KUBE-FORWARD -m comment --comment "kubernetes forwarding rules" -m mark --mark 0x4000/0x4000 -j ACCEPT',
    '-A KUBE-FORWARD -m comment --comment "kubernetes forwarding conntrack rule" '
    "-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
)
_NAT_JUMPS = (
    '-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES',
    '-A OUTPUT -m comment --comment "kubernetes service portals" -j KUBE-SERVICES',
    '-A POSTROUTING -m comment --comment "kubernetes postrouting rules" -j KUBE-POSTROUTING',
)
_POSTROUTING = (
    "-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN",
    "-A KUBE-POSTROUTING -j MARK --set-xmark 0x4000/0x0",
    '-A KUBE-POSTROUTING -m comment --comment "kubernetes service traffic requiring SNAT" -j MASQUERADE --random-fully',
)
_LAST = (
    '-A KUBE-SERVICES -m comment --comment "kubernetes service nodeports; NOTE: this must be the last rule in this '
    'chain" -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS'
)
_LAST_IPV6 = _LAST.replace("-A KUBE-SERVICES ", "-A KUBE-SERVICES ! -d ::1/128 ")


@dataclass(slots=True)
class _Rules:
    """Rules in the order in which they are written; `chains` are the nat chains of single Services."""

    chains: dict[str, str] = field(default_factory=dict)
    services: list[str] = field(default_factory=list)
    node_ports: list[str] = field(default_factory=list)
    external: list[str] = field(default_factory=list)
    health: list[str] = field(default_factory=list)


class IptablesNodes:
    """Dumps of the nodes of one cluster. What all nodes have alike is put together once."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._comments = not cluster.large
        self._alike: dict[int, _Rules] = {}

    def dump(self, state: NodeState, *, taken_at_s: float = 1_795_000_000) -> str:
        """The whole of what `iptables-save` prints on the node."""
        every = _Rules()
        for service in self._cluster.services_of(state):
            dispatched = service.number not in state.undispatched
            if service.number in state.instead or service.local or not dispatched:
                rules = self._rules(service, state, dispatched=dispatched)
            else:
                known = self._alike.get(service.number)
                rules = known or self._rules(service, state, dispatched=True)
                self._alike[service.number] = rules
            every.chains |= rules.chains
            every.services += rules.services
            every.node_ports += rules.node_ports
            every.external += rules.external
            every.health += rules.health
        rnd = random.Random(f"order/{self._cluster.options.seed}/{state.node.number}")
        rnd.shuffle(every.services)
        rnd.shuffle(every.node_ports)
        stamp = time.strftime("%a %b %d %H:%M:%S %Y", time.gmtime(taken_at_s + state.node.number))
        tables = (_MANGLE, _filter(every), _nat(every, rnd))
        return "".join(_framed(lines, "iptables-save v1.8.9 (nf_tables)", stamp) for lines in tables)

    def _rules(self, service: Service, state: NodeState, *, dispatched: bool) -> _Rules:
        rules = _Rules()
        for port in service.ports:
            self._port(rules, service, port, state, dispatched=dispatched)
        if service.health_port:
            rules.health.append(
                f'-A KUBE-NODEPORTS -p tcp -m comment --comment "{service.key} health check node port" '
                f"-m tcp --dport {service.health_port} -j ACCEPT"
            )
        return rules

    def _port(self, rules: _Rules, service: Service, port: Port, state: NodeState, *, dispatched: bool) -> None:
        name, protocol = service.port_name(port), port.protocol.lower()
        suffix = _hash(name, protocol)
        svc, ext, svl = f"KUBE-SVC-{suffix}", f"KUBE-EXT-{suffix}", f"KUBE-SVL-{suffix}"
        endpoints = sorted((text_of(item, port), item) for item in service.endpoints)
        seps = {text: f"KUBE-SEP-{_hash(name, protocol, text)}" for text, _ in endpoints}
        to = f"{service.cluster_ip}/32 -p {protocol}"
        if dispatched:
            rules.services.append(
                f'-A KUBE-SERVICES -d {to} -m comment --comment "{name} cluster IP" -m {protocol} --dport {port.port} -j {svc}'
            )
        masquerade = (
            f'-A {svc} ! -s {CLUSTER_CIDR} -d {to} -m comment --comment "{name} cluster IP" '
            f"-m {protocol} --dport {port.port} -j KUBE-MARK-MASQ"
        )
        rules.chains[svc] = "\n".join([masquerade, *self._balance(svc, name, service, seps)])
        for text, endpoint in endpoints:
            sep = seps[text]
            comment = f'-m comment --comment "{name}" ' if self._comments else ""
            recent = f"-m recent --set --name {sep} --mask 255.255.255.255 --rsource " if service.affinity else ""
            rules.chains[sep] = (
                f"-A {sep} -s {endpoint.address}/32 {comment}-j KUBE-MARK-MASQ\n"
                f"-A {sep} -p {protocol} {comment}{recent}-m {protocol} -j DNAT --to-destination {text}"
            )
        if not port.node_port:
            return
        local = {text: seps[text] for text, item in endpoints if item.node == state.node.number}
        comment = f'-m comment --comment "{name}"'
        rules.node_ports.append(
            f"-A KUBE-NODEPORTS -p {protocol} {comment} -m {protocol} --dport {port.node_port} -j {ext}"
        )
        if service.load_balancer_ip:
            rules.services.append(
                f'-A KUBE-SERVICES -d {service.load_balancer_ip}/32 -p {protocol} -m comment --comment "{name} loadbalancer '
                f'IP" -m {protocol} --dport {port.port} -j {ext}'
            )
        if service.local:
            rules.chains[ext] = "\n".join(_local_external(ext, svc, svl if local else "", name))
            if local:
                rules.chains[svl] = "\n".join(self._balance(svl, name, service, local))
            else:
                rules.external += _no_local_endpoints(service, port, name)
        else:
            rules.chains[ext] = (
                f'-A {ext} -m comment --comment "masquerade traffic for {name} external destinations" -j KUBE-MARK-MASQ\n'
                f"-A {ext} -j {svc}"
            )

    def _balance(self, chain: str, name: str, service: Service, seps: dict[str, str]) -> list[str]:
        """The rules that spread connections over endpoints, behind those that keep a client at its own."""
        out: list[str] = []
        comments = {text: f'-m comment --comment "{name} -> {text}" ' if self._comments else "" for text in seps}
        if service.affinity:
            out += [
                f"-A {chain} {comments[text]}-m recent --rcheck --seconds 10800 --reap --name {sep} "
                f"--mask 255.255.255.255 --rsource -j {sep}"
                for text, sep in seps.items()
            ]
        for index, (text, sep) in enumerate(seps.items()):
            left = len(seps) - index
            chance = f"-m statistic --mode random --probability {_probability(left)} " if left > 1 else ""
            out.append(f"-A {chain} {comments[text]}{chance}-j {sep}")
        return out


def ip6tables_dump(*, taken_at_s: float = 1_795_000_000) -> str:
    """What `ip6tables-save` prints where no Service has an IPv6 address: kube-proxy's fixed rules."""
    filter_table = _filter(_Rules())
    # kube-proxy fills KUBE-FIREWALL for IPv4 alone: there is no such trick with ::1.
    filter_table.remove(_FIREWALL)
    nat = [
        "*nat",
        *(f":{name} ACCEPT [0:0]" for name in ("PREROUTING", "INPUT", "OUTPUT", "POSTROUTING")),
        *(f":KUBE-{name} - [0:0]" for name in ("MARK-MASQ", "NODEPORTS", "POSTROUTING", "PROXY-CANARY", "SERVICES")),
        *_NAT_JUMPS,
        "-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000",
        *_POSTROUTING,
        _LAST_IPV6,
        "COMMIT",
    ]
    stamp = time.strftime("%a %b %d %H:%M:%S %Y", time.gmtime(taken_at_s))
    return "".join(_framed(lines, "ip6tables-save v1.8.9 (nf_tables)", stamp) for lines in (_MANGLE, filter_table, nat))


def text_of(endpoint: Endpoint, port: Port) -> str:
    """`10.0.0.2:8080`"""
    return f"{endpoint.address}:{endpoint.port or port.target}"


def _framed(lines: Iterable[str], program: str, stamp: str) -> str:
    return f"# Generated by {program} on {stamp}\n" + "\n".join(lines) + f"\n# Completed on {stamp}\n"


def _filter(rules: _Rules) -> list[str]:
    return [
        "*filter",
        *(f":{name} ACCEPT [0:0]" for name in ("INPUT", "FORWARD", "OUTPUT")),
        *(f":{name} - [0:0]" for name in _FILTER_CHAINS),
        *_FILTER_JUMPS,
        *sorted(rules.external),
        _FIREWALL,
        *_FORWARD,
        *rules.health,
        "COMMIT",
    ]


def _nat(rules: _Rules, rnd: random.Random) -> list[str]:
    chains = {
        **rules.chains,
        "KUBE-KUBELET-CANARY": "",
        "KUBE-MARK-MASQ": "-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000",
        "KUBE-NODEPORTS": "\n".join(rules.node_ports),
        "KUBE-POSTROUTING": "\n".join(_POSTROUTING),
        "KUBE-PROXY-CANARY": "",
        "KUBE-SERVICES": "\n".join([*rules.services, _LAST]),
    }
    names = sorted(chains)
    counters = {
        name: f"[{rnd.randrange(10**6)}:{rnd.randrange(10**8)}]"
        for name in ("PREROUTING", "INPUT", "OUTPUT", "POSTROUTING")
    }
    return [
        "*nat",
        *(f":{name} ACCEPT {counter}" for name, counter in counters.items()),
        *(f":{name} - [0:0]" for name in names),
        *_NAT_JUMPS,
        *(chains[name] for name in names if chains[name]),
        "COMMIT",
    ]


def _local_external(ext: str, svc: str, svl: str, name: str) -> list[str]:
    lines = [
        f'-A {ext} -s {CLUSTER_CIDR} -m comment --comment "pod traffic for {name} external destinations" -j {svc}',
        f'-A {ext} -m comment --comment "masquerade LOCAL traffic for {name} external destinations" '
        "-m addrtype --src-type LOCAL -j KUBE-MARK-MASQ",
        f'-A {ext} -m comment --comment "route LOCAL traffic for {name} external destinations" '
        f"-m addrtype --src-type LOCAL -j {svc}",
    ]
    return [*lines, f"-A {ext} -j {svl}"] if svl else lines


def _no_local_endpoints(service: Service, port: Port, name: str) -> list[str]:
    protocol = port.protocol.lower()
    comment = f'-m comment --comment "{name} has no local endpoints"'
    lines = []
    if service.load_balancer_ip:
        lines.append(
            f"-A KUBE-EXTERNAL-SERVICES -d {service.load_balancer_ip}/32 -p {protocol} {comment} "
            f"-m {protocol} --dport {port.port} -j DROP"
        )
    lines.append(
        f"-A KUBE-EXTERNAL-SERVICES -p {protocol} {comment} -m addrtype --dst-type LOCAL "
        f"-m {protocol} --dport {port.node_port} -j DROP"
    )
    return lines


def _probability(left: int) -> str:
    """1/left as iptables prints what the kernel keeps of it: 31 bits."""
    return f"{round(float(f'{1 / left:.10f}') * 0x80000000) / 0x80000000:.11f}"


def _hash(*parts: str) -> str:
    return b32encode(sha256("".join(parts).encode()).digest()).decode()[:16]
