"""The frontends that iptables rules serve, found in the chains that kube-proxy dispatches from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from kdiag.model.addresses import Protocol
from kdiag.model.dataplane import Behaviour, Frontend, FrontendKind, Position, ServicePortKey
from kdiag.model.rules import Rule, Ruleset
from kdiag.walk.network import NodeNetwork
from kdiag.walk.ownership import PROXY_PREFIXES

DISPATCH_CHAINS = (
    ("nat", "KUBE-SERVICES"),
    ("filter", "KUBE-SERVICES"),
    ("filter", "KUBE-EXTERNAL-SERVICES"),
    ("nat", "KUBE-NODEPORTS"),
    # userspace mode
    ("nat", "KUBE-PORTALS-CONTAINER"),
    ("nat", "KUBE-PORTALS-HOST"),
    ("nat", "KUBE-NODEPORT-CONTAINER"),
    ("nat", "KUBE-NODEPORT-HOST"),
)
# What an address that no Service has may still be told from: the words kube-proxy puts into its comments.
KIND_WORDS = (("external IP", FrontendKind.EXTERNAL_IP), ("loadbalancer IP", FrontendKind.LOAD_BALANCER_IP))


def unexpected_frontends(
    ruleset: Ruleset,
    expected: Mapping[Frontend, Behaviour],
    network: NodeNetwork,
    known_node_ports: frozenset[tuple[Protocol, int]],
) -> dict[Frontend, ServicePortKey | None]:
    """Frontends that the dispatch chains serve and nobody expects, with the Service port that each once belonged to.

    That is told by the rule's comment, or where it has none by the name of the chain that it jumps to, as long as the
    Service port still exists (under another address). `known_node_ports` belong to Services that are not expected on
    this node: nodePortAddresses may leave a NodePort closed while its rules are there all the same.
    """
    known = {(frontend.address, frontend.protocol, frontend.port) for frontend in expected}
    node_ports = known_node_ports | {
        (frontend.protocol, frontend.port) for frontend in expected if frontend.kind is FrontendKind.NODE_PORT
    }
    rules: dict[Frontend, Rule] = {}
    for rule, protocol, number in _dispatch_rules(ruleset):
        if rule.destination is None:
            if (protocol, number) not in node_ports and network.own:
                for position in Position:
                    frontend = Frontend(
                        address=network.own.first(),
                        protocol=protocol,
                        port=number,
                        kind=FrontendKind.NODE_PORT,
                        position=position,
                    )
                    rules.setdefault(frontend, rule)
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
            rules.setdefault(frontend, rule)
    if not rules:
        return {}
    # On most nodes there is none, and hashing is not needed.
    from kdiag.planes.iptables_owners import owners_of

    return owners_of(rules, expected)


def _dispatch_rules(ruleset: Ruleset) -> Iterator[tuple[Rule, Protocol, int]]:
    for table, chain_name in DISPATCH_CHAINS:
        chain = ruleset.chain(table, chain_name)
        for rule in chain.rules if chain else ():
            protocol, number = _protocol_and_port(rule)
            if protocol is not None and number is not None and _is_dispatch(rule):
                yield rule, protocol, number


def _is_dispatch(rule: Rule) -> bool:
    target = rule.target or ""
    return target.startswith(PROXY_PREFIXES) or target in ("REJECT", "DROP", "DNAT", "REDIRECT", "KUBE-MARK-MASQ")


def _protocol_and_port(rule: Rule) -> tuple[Protocol | None, int | None]:
    if rule.protocol is None or rule.protocol.negated:
        return None, None
    try:
        protocol = Protocol(rule.protocol.name.upper())
    except ValueError:
        return None, None
    for option in rule.matches:
        if option.name == "dport" and not option.negated and option.values:
            number = option.values[0]
            # "²" is a digit and no number.
            if number.isascii() and number.isdigit() and len(number) <= 5:
                return protocol, int(number)
    return protocol, None
