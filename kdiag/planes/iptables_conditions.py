"""Structural faults of iptables mode that are seen in the rules before any packet is followed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from msgspec.structs import replace

from kdiag.model.addresses import AddressSet, Family, Network, SocketAddress, parse_address
from kdiag.model.dataplane import Behaviour, Frontend, FrontendKind, RuleRef
from kdiag.model.difference import CauseKind, Condition, Symptom
from kdiag.model.rules import Chain, Rule, Ruleset
from kdiag.planes.interface import ReadingOrder, sends_on
from kdiag.planes.iptables_jumps import MASKED, NOT_SENT_ON, missing_base_jumps
from kdiag.planes.iptables_lines import chain_reference, reference, rules_of
from kdiag.walk.meaning import read_mask
from kdiag.walk.ownership import PROXY_PREFIXES
from kdiag.walk.targets import options_of, read_destination


def serves(ruleset: Ruleset) -> bool:
    """True if the nat table has chains of Services, or the chain that leads to them."""
    nat = ruleset.tables.get("nat")
    if nat is None:
        return False
    return "KUBE-SERVICES" in nat.chains or any(name.startswith(PROXY_PREFIXES) for name in nat.chains)


def has_base_jump(ruleset: Ruleset) -> bool:
    """True if a built-in nat chain leads to KUBE-SERVICES."""
    return any(
        rule.target == "KUBE-SERVICES" for hook in ("PREROUTING", "OUTPUT") for rule in rules_of(ruleset, "nat", hook)
    )


def two_backends(
    ruleset: Ruleset, others: tuple[Ruleset, ...], family: Family, expected: Mapping[Frontend, Behaviour]
) -> Condition | None:
    """Both backends of a family hold Service rules that are hooked: which one decides, no dump shows.

    Which one is kept up to date shows in where they send packets to, compared with the endpoints of the API.
    """
    for other in others:
        if has_base_jump(ruleset) and has_base_jump(other):
            rules = tuple(
                reference(item, rule)
                for item in (ruleset, other)
                for rule in rules_of(item, "nat", "PREROUTING")
                if rule.target == "KUBE-SERVICES"
            )
            return Condition(
                cause=CauseKind.TWO_BACKENDS,
                family=family,
                detail=(
                    f"{ruleset.source} and {other.source} both lead to KUBE-SERVICES. The kernel asks both backends; the "
                    "one whose hooks were registered last decides, which no dump shows. "
                    + ". ".join(_currency(item, expected, family) for item in (ruleset, other))
                ),
                expected="Service rules in one backend",
                actual=f"Service rules in {ruleset.backend} and in {other.backend}",
                rules=rules,
            )
    return None


def _currency(ruleset: Ruleset, expected: Mapping[Frontend, Behaviour], family: Family) -> str:
    """How far the destinations of a rule set are those that the API asks for."""
    wanted = {
        str(backend)
        for item in expected.values()
        for case in item.cases
        for outcome in case.outcomes
        for backend in outcome.backends
    }
    nat = ruleset.tables.get("nat")
    there = {
        str(SocketAddress(parsed, place[1]))
        for chain in (nat.chains.values() if nat else ())
        for rule in chain.rules
        if rule.target == "DNAT" and (text := "".join(options_of(rule)["to-destination"].values))
        if (place := read_destination(text, family)) is not None and place[0] is not None and place[1] is not None
        if (parsed := parse_address(place[0])) is not None
    }
    stale, missing = sorted(there - wanted), sorted(wanted - there)
    if not stale and not missing:
        return f"The endpoints in {ruleset.source} are those of the API"
    told = [f"sends to {len(stale)} that no Service has ({', '.join(stale[:3])})"] if stale else []
    told += [f"lacks {len(missing)} ({', '.join(missing[:3])})"] if missing else []
    return f"{ruleset.source} is out of date: of endpoints, it {' and '.join(told)}"


def conditions_of(
    ruleset: Ruleset, expected: Mapping[Frontend, Behaviour], order: ReadingOrder, family: Family
) -> tuple[Condition, ...]:
    """Every structural fault of one rule set, the one that explains most first."""
    if not expected:
        return ()
    nat = ruleset.tables.get("nat")
    proxy_chains = [name for name in nat.chains if name.startswith(("KUBE-SERVICES", *PROXY_PREFIXES))] if nat else []
    if not proxy_chains:
        return (
            Condition(
                cause=CauseKind.NEVER_WROTE,
                family=family,
                detail=f"{ruleset.source} has no chain of kube-proxy in its nat table",
                expected="chains KUBE-SERVICES, KUBE-SVC-… in the nat table",
                actual="none of them",
                rules=(RuleRef(source=ruleset.source, line=0, text="(no KUBE-SERVICES chain)", table="nat"),),
            ),
        )
    return (
        *missing_base_jumps(ruleset, order.version, family),
        *_flushed(ruleset, order.demanded(expected), family),
        *_node_port_dispatch(ruleset, order.demanded(expected), family),
        *masquerading(ruleset, family),
        *local_detection(ruleset, order, family),
    )


def _flushed(ruleset: Ruleset, expected: Mapping[Frontend, Behaviour], family: Family) -> Iterator[Condition]:
    translated = [frontend for frontend, item in expected.items() if sends_on(item)]
    refused = [frontend for frontend, item in expected.items() if not sends_on(item)]
    cases: tuple[tuple[str, str, list[Frontend], frozenset[Symptom], frozenset[FrontendKind] | None], ...] = (
        ("nat", "KUBE-SERVICES", translated, NOT_SENT_ON, None),
        (
            "nat",
            "KUBE-NODEPORTS",
            [frontend for frontend in translated if frontend.kind is FrontendKind.NODE_PORT],
            NOT_SENT_ON,
            frozenset({FrontendKind.NODE_PORT}),
        ),
        (
            "filter",
            "KUBE-SERVICES",
            [frontend for frontend in refused if frontend.kind is FrontendKind.CLUSTER_IP],
            frozenset({Symptom.NOT_REFUSED}),
            frozenset({FrontendKind.CLUSTER_IP}),
        ),
    )
    for table, name, frontends, symptoms, kinds in cases:
        if not frontends or not ruleset.covers_table(table):
            continue
        chain = ruleset.chain(table, name)
        if chain is not None and chain.rules:
            continue
        yield Condition(
            cause=CauseKind.FLUSHED,
            family=family,
            detail=f"chain {name} of table {table} {'is empty' if chain else 'does not exist'}",
            expected=f"{table} {name} with a rule for each address",
            actual="no rules" if chain else "no such chain",
            rules=(chain_reference(ruleset, table, chain),) if chain else (),
            symptoms=symptoms,
            kinds=kinds,
            # An empty filter chain is right as long as nothing has to be refused from it.
            stands_alone=table == "nat",
        )


def _node_port_dispatch(
    ruleset: Ruleset, expected: Mapping[Frontend, Behaviour], family: Family
) -> Iterator[Condition]:
    chain = ruleset.chain("nat", "KUBE-SERVICES")
    if chain is None or not chain.rules:
        return
    wanted = any(frontend.kind is FrontendKind.NODE_PORT and sends_on(item) for frontend, item in expected.items())
    if not wanted or any(rule.target == "KUBE-NODEPORTS" for rule in chain.rules):
        return
    yield Condition(
        cause=CauseKind.NODE_PORT_DISPATCH,
        family=family,
        detail="chain KUBE-SERVICES of table nat has no jump to KUBE-NODEPORTS, which ought to be its last rule",
        expected="nat KUBE-SERVICES: -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS",
        actual="no such rule",
        rules=(chain_reference(ruleset, "nat", chain),),
        kinds=frozenset({FrontendKind.NODE_PORT}),
        symptoms=NOT_SENT_ON,
    )


def masquerading(ruleset: Ruleset, family: Family) -> Iterator[Condition]:
    """The mark is not set, not asked for, or not the same on both sides (also in IPVS mode)."""
    marking = ruleset.chain("nat", "KUBE-MARK-MASQ")
    post = ruleset.chain("nat", "KUBE-POSTROUTING")
    bits = set()
    for rule in marking.rules if marking else ():
        if rule.target == "MARK":
            for option in options_of(rule).values():
                parsed = read_mask(option.values[0]) if option.values else None
                if parsed is not None:
                    bits.add(parsed[0])
    masquerades = [rule for rule in (post.rules if post else ()) if rule.target in ("MASQUERADE", "SNAT")]
    problem: str | None = None
    rules: tuple[RuleRef, ...] = ()
    wanted = ""
    if marking is None or not bits:
        problem = "chain KUBE-MARK-MASQ of table nat " + ("does not exist" if marking is None else "sets no mark")
        rules = () if marking is None else (chain_reference(ruleset, "nat", marking),)
        wanted = "nat KUBE-MARK-MASQ: -j MARK --set-xmark 0x4000/0x4000"
    elif post is None or not masquerades:
        problem = "chain KUBE-POSTROUTING of table nat " + ("does not exist" if post is None else "has no MASQUERADE")
        rules = () if post is None else (chain_reference(ruleset, "nat", post),)
        wanted = "nat KUBE-POSTROUTING: -j MASQUERADE"
    else:
        asked = _asked_bits(post)
        if asked and not asked & bits:
            problem = (
                f"KUBE-MARK-MASQ sets mark {_hex(bits)} and KUBE-POSTROUTING asks for {_hex(asked)}: "
                "kube-proxy and kubelet, or two proxies, use different mark bits"
            )
            rules = tuple(reference(ruleset, rule) for rule in ((*marking.rules, *post.rules)))
            wanted = "one mark bit in both chains"
    if problem is None:
        return
    yield Condition(
        cause=CauseKind.MASQUERADE_RULE,
        family=family,
        detail=problem,
        expected=wanted,
        actual="no such rule" if "different" not in problem else problem,
        rules=rules,
        symptoms=MASKED,
    )


def _asked_bits(chain: Chain) -> set[int]:
    found = set()
    for rule in chain.rules:
        for option in rule.matches:
            if option.module == "mark" and option.values and (parsed := read_mask(option.values[0])) is not None:
                found.add(parsed[0])
    return found


def _hex(bits: set[int]) -> str:
    return ", ".join(hex(bit) for bit in sorted(bits))


def local_detection(ruleset: Ruleset, order: ReadingOrder, family: Family) -> Iterator[Condition]:
    """The range in the masquerade rules' `! -s RANGE` is not the one that the cluster's pods have."""
    wanted = order.local_ranges.get(family)
    nat = ruleset.tables.get("nat")
    if wanted is None or nat is None:
        return
    found: dict[str, list[Rule]] = {}
    right = 0
    for chain in nat.chains.values():
        if chain.name != "KUBE-SERVICES" and not chain.name.startswith(("KUBE-SVC-", "KUBE-SVL-")):
            continue
        for rule in chain.rules:
            if rule.target == "KUBE-MARK-MASQ" and rule.source is not None and rule.source.negated:
                for network in rule.source.networks:
                    if network == wanted:
                        right += 1
                    else:
                        found.setdefault(str(network), []).append(rule)
    if not found and not right:
        yield from _no_detection(ruleset, wanted, family)
    for text, rules in sorted(found.items()):
        yield Condition(
            cause=CauseKind.LOCAL_DETECTION,
            family=family,
            detail=f"the masquerade rules take {text} for the pods' range; the cluster's is {wanted}",
            expected=f"! -s {wanted}",
            actual=f"! -s {text} in {len(rules)} rules",
            rules=tuple(reference(ruleset, rule) for rule in rules[:1]),
            # The same range tells who is sent past a Local policy, so whole ways differ and not only the masquerade.
            clients=AddressSet.of(
                family, [wanted, *(item for rule in rules if rule.source for item in rule.source.networks)]
            ),
        )


def _no_detection(ruleset: Ruleset, wanted: Network, family: Family) -> Iterator[Condition]:
    """No rule tells pods from others, as when kube-proxy runs without clusterCIDR."""
    chain = ruleset.chain("nat", "KUBE-SERVICES")
    shared = Condition(
        cause=CauseKind.LOCAL_DETECTION,
        family=family,
        detail=f"no masquerade rule tells pods from others; the cluster's pods have {wanted}",
        expected=f"! -s {wanted}",
        actual="no such match in any rule",
        rules=() if chain is None else (chain_reference(ruleset, "nat", chain),),
        symptoms=MASKED,
        stands_alone=False,
    )
    yield shared
    # The same match sends pods past a Local policy.
    yield replace(
        shared,
        symptoms=frozenset({Symptom.REFUSED, Symptom.NOT_PROGRAMMED, Symptom.MISSING_ENDPOINT}),
        kinds=frozenset(FrontendKind) - {FrontendKind.CLUSTER_IP},
        clients=AddressSet.of(family, [wanted]),
    )
