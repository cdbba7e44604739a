"""kube-proxy's iptables mode, 1.16 to 1.37: rules are walked, and the frontends they serve are found in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from kdiag.model.addresses import Family, Protocol
from kdiag.model.cluster import ObjectKey
from kdiag.model.dataplane import Behaviour, ClientSet, DataPlane, Frontend, FrontendKind, Position, ServicePortKey
from kdiag.model.difference import CauseKind, Condition
from kdiag.model.proxy import ProxyMode
from kdiag.model.report import Gap
from kdiag.model.rules import Backend, Rule, Ruleset
from kdiag.parse.chain_names import service_port_of_comment
from kdiag.planes.interface import NodeEvidence, Plane, PlaneReading, ReadingOrder
from kdiag.planes.iptables_conditions import conditions_of, has_base_jump, serves, two_backends
from kdiag.walk.cases import cases_of
from kdiag.walk.matches import Surroundings
from kdiag.walk.network import NodeNetwork
from kdiag.walk.program import Program
from kdiag.walk.walker import PROXY_PREFIXES, Leaf, Walker

DISPATCH_CHAINS = (("nat", "KUBE-SERVICES"), ("filter", "KUBE-SERVICES"), ("filter", "KUBE-EXTERNAL-SERVICES"))
# What an address that no Service has may still be told from: the words kube-proxy puts into its comments.
KIND_WORDS = (("external IP", FrontendKind.EXTERNAL_IP), ("loadbalancer IP", FrontendKind.LOAD_BALANCER_IP))


def _signs(evidence: NodeEvidence) -> tuple[str, ...]:
    found = []
    for ruleset in evidence.rulesets:
        nat = ruleset.tables.get("nat")
        chains = sum(1 for name in nat.chains if name.startswith("KUBE-SVC-")) if nat else 0
        if chains:
            found.append(f"{chains} KUBE-SVC chains in {ruleset.source}")
    return tuple(found)


def _read(evidence: NodeEvidence, order: ReadingOrder) -> PlaneReading:
    behaviours: dict[Frontend, Behaviour] = {}
    conditions: list[Condition] = []
    gaps: list[Gap] = []
    filter_seen = True
    for family, network in order.networks.items():
        mine = {frontend: item for frontend, item in order.expected.behaviours.items() if frontend.family is family}
        candidates = [ruleset for ruleset in evidence.rulesets if ruleset.family is family]
        if not candidates:
            if mine:
                gaps.append(
                    Gap(
                        node=evidence.node_name,
                        subject=f"{family} rules",
                        reason=f"no readable {'ip6tables' if family is Family.IPV6 else 'iptables'}-save was recorded",
                    )
                )
            continue
        ruleset, others = choose(candidates)
        if not ruleset.covers_table("nat"):
            gaps.append(Gap(node=evidence.node_name, subject=f"{family} nat table", reason="it was not recorded"))
            continue
        if not ruleset.covers_table("filter"):
            filter_seen = False
            gaps.append(
                Gap(
                    node=evidence.node_name,
                    subject=f"{family} filter table",
                    reason="it was not recorded: refused, dropped and untouched packets look alike",
                )
            )
        split = two_backends(ruleset, others, family)
        if split is not None:
            conditions.append(split)
        conditions += conditions_of(ruleset, mine, order, family)
        if any(item.cause is CauseKind.NEVER_WROTE for item in conditions if item.family is family):
            # Nothing to walk: the condition says all there is to say.
            continue
        walker = Walker(Program(ruleset, Surroundings(network=network, ipsets=evidence.ipsets)))
        targets = {**{frontend: item.service_port for frontend, item in mine.items()}}
        targets.update(_found_in_rules(ruleset, mine, network, order.node_ports))
        for frontend, service_port in targets.items():
            clients = network.clients(frontend.position, frontend.address)
            if clients:
                behaviours[frontend] = Behaviour(
                    cases=cases_of(walker.walk(frontend, clients)), service_port=service_port
                )
    return PlaneReading(
        data_plane=DataPlane(node=evidence.node_name, behaviours=behaviours),
        conditions=tuple(conditions),
        gaps=tuple(gaps),
        filter_seen=filter_seen,
    )


def _follow(
    evidence: NodeEvidence, network: NodeNetwork, frontend: Frontend, clients: Sequence[ClientSet]
) -> list[Leaf]:
    candidates = [ruleset for ruleset in evidence.rulesets if ruleset.family is frontend.family]
    if not candidates:
        return []
    ruleset, _ = choose(candidates)
    return Walker(Program(ruleset, Surroundings(network=network, ipsets=evidence.ipsets))).walk(frontend, clients)


def choose(rulesets: list[Ruleset]) -> tuple[Ruleset, tuple[Ruleset, ...]]:
    """The rule set that kube-proxy's rules are in, and the others.

    Not the default binary decides but what is there: base jumps first, then Service chains, then nft over legacy.
    """

    def rank(ruleset: Ruleset) -> tuple[bool, bool, bool]:
        return (not has_base_jump(ruleset), not serves(ruleset), ruleset.backend is Backend.LEGACY)

    ordered = sorted(rulesets, key=rank)
    return ordered[0], tuple(ordered[1:])


def _found_in_rules(
    ruleset: Ruleset,
    expected: Mapping[Frontend, Behaviour],
    network: NodeNetwork,
    known_node_ports: frozenset[tuple[Protocol, int]],
) -> dict[Frontend, ServicePortKey | None]:
    """Frontends that the dispatch chains serve and nobody expects."""
    known = {(frontend.address, frontend.protocol, frontend.port) for frontend in expected}
    # nodePortAddresses may leave a NodePort closed on this node; its rules are there all the same.
    node_ports = known_node_ports | {
        (frontend.protocol, frontend.port) for frontend in expected if frontend.kind is FrontendKind.NODE_PORT
    }
    found: dict[Frontend, ServicePortKey | None] = {}
    for table, chain_name in DISPATCH_CHAINS:
        chain = ruleset.chain(table, chain_name)
        for rule in chain.rules if chain else ():
            protocol, number = _protocol_and_port(rule)
            if protocol is None or number is None or not _is_dispatch(rule):
                continue
            if rule.destination is None:
                if (protocol, number) not in node_ports:
                    _add_node_port(found, rule, protocol, number, network)
                continue
            if rule.destination.negated or len(rule.destination.networks) != 1:
                continue
            destination = rule.destination.networks[0]
            if destination.num_addresses != 1 or (destination.network_address, protocol, number) in known:
                continue
            kind = next((kind for words, kind in KIND_WORDS if words in (rule.comment or "")), FrontendKind.CLUSTER_IP)
            for position in Position:
                frontend = Frontend(
                    address=destination.network_address, protocol=protocol, port=number, kind=kind, position=position
                )
                found.setdefault(frontend, _service_port_in(rule, protocol))
    chain = ruleset.chain("nat", "KUBE-NODEPORTS")
    for rule in chain.rules if chain else ():
        protocol, number = _protocol_and_port(rule)
        if protocol is not None and number is not None and _is_dispatch(rule) and (protocol, number) not in node_ports:
            _add_node_port(found, rule, protocol, number, network)
    return found


def _add_node_port(
    found: dict[Frontend, ServicePortKey | None], rule: Rule, protocol: Protocol, number: int, network: NodeNetwork
) -> None:
    if not network.own:
        return
    for position in Position:
        frontend = Frontend(
            address=network.own.first(),
            protocol=protocol,
            port=number,
            kind=FrontendKind.NODE_PORT,
            position=position,
        )
        found.setdefault(frontend, _service_port_in(rule, protocol))


def _is_dispatch(rule: Rule) -> bool:
    target = rule.target or ""
    return target.startswith(PROXY_PREFIXES) or target in ("REJECT", "DROP", "DNAT", "KUBE-MARK-MASQ")


def _protocol_and_port(rule: Rule) -> tuple[Protocol | None, int | None]:
    if rule.protocol is None or rule.protocol.negated:
        return None, None
    try:
        protocol = Protocol(rule.protocol.name.upper())
    except ValueError:
        return None, None
    for option in rule.matches:
        if option.name == "dport" and not option.negated and option.values and option.values[0].isdigit():
            return protocol, int(option.values[0])
    return protocol, None


def _service_port_in(rule: Rule, protocol: Protocol) -> ServicePortKey | None:
    """The Service port that the rule's comment names."""
    text = service_port_of_comment(rule.comment or "")
    if not text:
        return None
    service_text, _, port_name = text.partition(":")
    namespace, slash, service_name = service_text.partition("/")
    if not slash:
        return None
    return ServicePortKey(
        service=ObjectKey(namespace=namespace, name=service_name), port_name=port_name, protocol=protocol
    )


PLANE = Plane(
    mode=ProxyMode.IPTABLES,
    probes=("iptables-save", "ip6tables-save", "iptables-legacy-save", "ip6tables-legacy-save", "ip-addr", "ip-route"),
    signs=_signs,
    read=_read,
    follow=_follow,
)
