"""One frontend judged: where no possible outcome is a legal one, there is a difference."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from msgspec import Struct
from msgspec.structs import replace

from kdiag.compare.outcomes import Fault, agree, describe, distance, faults
from kdiag.model.addresses import AddressSet
from kdiag.model.dataplane import (
    Behaviour,
    Case,
    ClientSet,
    Disposition,
    Effect,
    Fate,
    Frontend,
    Outcome,
    Passed,
    Position,
    RuleRef,
    ServicePortKey,
)
from kdiag.model.difference import Difference, Symptom
from kdiag.walk.ownership import is_dispatch, is_endpoint_chain, is_proxy_chain, is_service_chain

MARKING_CHAINS = ("KUBE-MARK-MASQ", "mark-for-masquerade")
DEFAULT_REFUSALS = ("cluster-ips-check", "KUBE-IPVS-FILTER")
# Chains that all Services share.
NOT_OF_ONE_SERVICE = ("KUBE-NODEPORTS", "KUBE-NODE-PORT", *MARKING_CHAINS)


class Verdict(Struct, frozen=True, kw_only=True):
    """What came out for a frontend: differences, and the rules on which an undecided verdict hangs."""

    differences: tuple[Difference, ...] = ()
    unclear: tuple[RuleRef, ...] = ()
    undecided: bool = False


def judge(
    node: str, frontend: Frontend, expected: Behaviour, actual: Behaviour, port_label: str | None, *, filter_seen: bool
) -> Verdict:
    """Compare the two behaviours of a frontend, case by case."""
    differences: list[Difference] = []
    unclear: dict[RuleRef, None] = {}
    undecided = False
    by_clients = {case.clients: case for case in expected.cases}
    for case in actual.cases:
        same = by_clients.get(case.clients)
        pairs: Iterable[tuple[ClientSet, Case]] = (
            [(case.clients, same)]
            if same is not None
            else [(both, other) for other in expected.cases if (both := case.clients & other.clients)]
        )
        for clients, legal in pairs:
            good = [
                any(agree(outcome, allowed, filter_seen=filter_seen) for allowed in legal.outcomes)
                for outcome in case.outcomes
            ]
            if all(good):
                continue
            if any(good) or _hangs_on_unknown(case, legal):
                undecided = True
                unclear.update(dict.fromkeys(case.unclear))
                continue
            differences += _differences(node, frontend, expected.service_port, port_label, clients, case, legal)
    whole = _whole(actual)
    named = tuple(replace(item, who=_who(item, whole)) for item in merged(differences))
    return Verdict(differences=named, unclear=tuple(unclear), undecided=undecided)


def judge_unexpected(node: str, frontend: Frontend, actual: Behaviour) -> tuple[Difference, ...]:
    """An address that the rules serve and no Service has."""
    found = []
    for case in actual.cases:
        if len(case.outcomes) != 1:
            continue
        outcome = case.outcomes[0]
        served = outcome.dispositions & {Disposition.BACKEND, Disposition.REJECTED, Disposition.DROPPED}
        if not served:
            continue
        fates = tuple(fate for fate, _ in outcome.shares)
        found.append(
            Difference(
                node=node,
                frontend=frontend,
                service_port=actual.service_port,
                port_label=f"{frontend.port}/{frontend.protocol}",
                clients=case.clients,
                symptom=Symptom.NO_SUCH_SERVICE,
                expected="no Service has this address",
                actual=describe(outcome),
                actual_outcome=outcome,
                backends=outcome.backends,
                rules=_dispatch_rules(case, fates),
            )
        )
    whole = _whole(actual)
    return tuple(replace(item, who=_who(item, whole)) for item in merged(found))


def _whole(behaviour: Behaviour) -> AddressSet:
    """All clients of the position."""
    whole = behaviour.cases[0].clients.addresses
    for case in behaviour.cases[1:]:
        whole = whole | case.clients.addresses
    return whole


ALL = {
    Position.POD: "all pods on the node",
    Position.NODE: "the node itself",
    Position.EXTERNAL: "all clients outside the node",
}
SOME = {
    Position.POD: "pods with the address",
    Position.NODE: "the node's own packets from",
    Position.EXTERNAL: "outside clients from",
}


def _who(difference: Difference, whole: AddressSet) -> str:
    """The clients in words, shortest of "all", "all but" and a list."""
    position = difference.frontend.position
    clients = difference.clients.addresses
    spared = whole - clients
    if not spared:
        return ALL[position]
    if len(spared.ranges) <= 4 and len(spared.ranges) < len(clients.ranges):
        return f"{ALL[position]} but {spared.describe()}"
    return f"{SOME[position]} {clients.describe()}"


def _hangs_on_unknown(case: Case, legal: Case) -> bool:
    """True if some way ends in what is not known and does nothing wrong else: whether it is a fault cannot be told."""
    for outcome in case.outcomes:
        known = [fate for fate, _ in outcome.shares if fate.disposition is not Disposition.UNKNOWN]
        if len(known) < len(outcome.shares) and any(
            all(any(_same_end(fate, other) for other, _ in allowed.shares) for fate in known)
            for allowed in legal.outcomes
        ):
            return True
    return False


def _same_end(fate: Fate, other: Fate) -> bool:
    return fate.disposition is other.disposition and fate.backend == other.backend


def _differences(
    node: str,
    frontend: Frontend,
    service_port: ServicePortKey | None,
    port_label: str | None,
    clients: ClientSet,
    case: Case,
    legal: Case,
) -> Iterator[Difference]:
    outcome = case.outcomes[0]
    nearest = min(legal.outcomes, key=lambda allowed: distance(outcome, allowed))
    for fault in faults(outcome, nearest) or (_unnamed(outcome),):
        if fault.symptom is Symptom.REFUSED and all(_refused_by_default(case.paths.get(fate)) for fate in fault.fates):
            fault = replace(fault, symptom=Symptom.NOT_PROGRAMMED)
        yield Difference(
            node=node,
            frontend=frontend,
            service_port=service_port,
            port_label=port_label,
            clients=clients,
            symptom=fault.symptom,
            expected=_expected_words(fault, nearest),
            actual=_actual_words(fault, outcome),
            expected_outcomes=legal.outcomes,
            actual_outcome=outcome,
            backends=fault.backends,
            rules=_telling_rules(fault, case),
            decided_by=_decided_by(fault, case),
            in_service_chain=any(_reaches_service_chain(case.paths.get(fate)) for fate in fault.fates),
        )


def _refused_by_default(passed: Passed | None) -> bool:
    """True where the packet ends at a rule that refuses all Service addresses that no other rule serves."""
    return passed is not None and passed.met.chain in DEFAULT_REFUSALS and not passed.met.is_policy


def _decided_by(fault: Fault, case: Case) -> RuleRef | None:
    masquerade = fault.symptom in (Symptom.MASQUERADE_MISSING, Symptom.MASQUERADE_NEEDLESS)
    for fate in fault.fates:
        passed = case.paths.get(fate)
        if passed is None:
            continue
        step = _foreign_source_decision(passed) if masquerade else _foreign_decision(passed)
        if step is None and fault.symptom is Symptom.NOT_REFUSED:
            step = _foreign_acceptance(passed)
        if step is not None:
            return step.ref()
        if passed.met.is_policy and passed.met.effect is Effect.DROP:
            return passed.ref()
        if fate.backend is not None and fate.disposition in (Disposition.DROPPED, Disposition.REJECTED):
            # Translated and then taken: no rule of a Service does that, whatever its chain is called (an unconditional
            # DROP in KUBE-FIREWALL, kubernetes issue 114549).
            return passed.ref()
    return None


def _unnamed(outcome: Outcome) -> Fault:
    """Outcomes that do not agree and yet no fault has a name: the shares of several ends differ."""
    return Fault(symptom=Symptom.UNBALANCED, fates=tuple(fate for fate, _ in outcome.shares))


def _expected_words(fault: Fault, legal: Outcome) -> str:
    match fault.symptom:
        case Symptom.MASQUERADE_MISSING:
            return "source address masqueraded"
        case Symptom.MASQUERADE_NEEDLESS:
            return "source address kept"
        case Symptom.AFFINITY:
            return _affinity_words(fate for fate, _ in legal.shares)
        case _:
            return describe(legal)


def _actual_words(fault: Fault, outcome: Outcome) -> str:
    match fault.symptom:
        case Symptom.MASQUERADE_MISSING:
            return "source address kept"
        case Symptom.MASQUERADE_NEEDLESS:
            return "source address masqueraded"
        case Symptom.AFFINITY:
            wrong = _affinity_words(fault.fates)
            every = len({fate.backend for fate, _ in outcome.shares if fate.backend})
            return f"{wrong} at {len(fault.backends)} of {every} endpoints" if len(fault.backends) < every else wrong
        case _:
            return describe(outcome)


def _affinity_words(fates: Iterable[Fate]) -> str:
    found = sorted({fate.affinity_s for fate in fates if fate.affinity_s is not None})
    return f"ClientIP affinity for {', '.join(str(item) for item in found)} s" if found else "no session affinity"


def _telling_rules(fault: Fault, case: Case) -> tuple[RuleRef, ...]:
    """The lines that make the difference, most telling first."""
    found: dict[RuleRef, None] = {}
    for fate in fault.fates[:8]:
        passed = case.paths.get(fate)
        if passed is None:
            continue
        for step in _telling_steps(fault.symptom, passed):
            found[step.ref()] = None
    return tuple(found)


def _telling_steps(symptom: Symptom, passed: Passed) -> list[Passed]:
    steps = passed.steps()
    match symptom:
        case Symptom.STALE_ENDPOINT | Symptom.WRONG_PORT | Symptom.NO_SUCH_SERVICE | Symptom.AFFINITY:
            chosen = [step for step in steps if step.met.effect is Effect.TRANSLATE]
        case Symptom.MISSING_ENDPOINT | Symptom.UNBALANCED:
            chosen = [step for step in steps if _leads_to_endpoint(step)]
        case Symptom.MASQUERADE_NEEDLESS:
            chosen = [step for step in steps if _marks_for_masquerade(step)]
        case Symptom.NOT_REFUSED:
            # The chains that ought to have refused it, and did not.
            chosen = [step for step in steps if step.kind == "filter" and _leads_to_proxy_chain(step)]
        case Symptom.REFUSED:
            chosen = [step for step in steps[-1:] if step.hook]
        case _:
            chosen = [step for step in steps if _in_dispatch(step) and step.met.effect is not Effect.MARK][-1:]
    return chosen or list(steps[-1:])


def _in_dispatch(step: Passed) -> bool:
    """True for nat where destinations are translated."""
    return step.kind == "nat" and step.hook in ("PREROUTING", "OUTPUT")


def _leads_to_endpoint(step: Passed) -> bool:
    if step.met.effect is Effect.TRANSLATE:
        return step.met.foreign or not is_endpoint_chain(step.met.chain)
    return is_endpoint_chain(step.met.leads_to)


def _leads_to_proxy_chain(step: Passed) -> bool:
    return step.met.effect is Effect.JUMP and not step.met.foreign and step.met.leads_to is not None


def _marks_for_masquerade(step: Passed) -> bool:
    """A jump to the chain that sets the mark, or a rule outside it that sets one itself."""
    if step.met.leads_to is not None:
        return step.met.leads_to in MARKING_CHAINS
    return step.met.effect is Effect.MARK and step.met.chain not in MARKING_CHAINS and _in_dispatch(step)


def _reaches_service_chain(passed: Passed | None) -> bool:
    """True if the way enters a chain of the Service itself (KUBE-SVC-…, KUBE-EXT-…, service-…)."""
    return passed is not None and any(is_service_chain(step.met.leads_to) for step in passed.steps())


def _foreign_decision(passed: Passed) -> Passed | None:
    """The step at which somebody else's rule decides the packet's way, if one does."""
    for step in passed.steps():
        effect = step.met.effect
        if not step.met.foreign or step.met.is_policy:
            continue
        if _in_dispatch(step) and (effect in (Effect.ACCEPT, Effect.TRANSLATE) or _leaves(step)):
            return step
        if effect in (Effect.DROP, Effect.REJECT, Effect.UNTRACK, Effect.OTHER):
            return step
    return None


def _foreign_acceptance(passed: Passed) -> Passed | None:
    """The step at which somebody else's rule lets a packet through before kube-proxy's rules can refuse it."""
    for step in passed.steps():
        if step.met.foreign and not step.met.is_policy and step.kind == "filter":
            if step.met.effect is Effect.ACCEPT or _leaves(step):
                return step
    return None


def _foreign_source_decision(passed: Passed) -> Passed | None:
    """The step at which somebody else's rule keeps a packet from being masqueraded, if one does."""
    for step in passed.steps():
        if not step.met.foreign or step.met.is_policy:
            continue
        if step.kind == "nat" and step.hook == "POSTROUTING" and (step.met.effect is Effect.ACCEPT or _leaves(step)):
            return step
        if step.met.effect is Effect.MARK:
            return step
    return None


def _leaves(step: Passed) -> bool:
    """True for a RETURN that ends a built-in chain, or one of kube-proxy's: elsewhere it decides nothing by itself."""
    return step.met.effect is Effect.RETURN and (step.depth == 0 or is_proxy_chain(step.met.chain))


def _dispatch_rules(case: Case, fates: tuple[Fate, ...]) -> tuple[RuleRef, ...]:
    found: dict[RuleRef, None] = {}
    for fate in fates[:8]:
        passed = case.paths.get(fate)
        for step in passed.steps() if passed else ():
            met = step.met
            if met.is_policy or met.leads_to in NOT_OF_ONE_SERVICE or met.effect is Effect.MARK:
                continue
            if is_dispatch(met.table, met.chain):
                found[step.ref()] = None
    return tuple(found)


def merged(differences: Iterable[Difference]) -> tuple[Difference, ...]:
    """Differences of one frontend that say the same of several sets of clients, as one."""
    found: dict[tuple[object, ...], Difference] = {}
    for item in differences:
        key = (item.frontend, item.symptom, item.expected, item.actual, item.backends, item.rules)
        before = found.get(key)
        if before is None:
            found[key] = item
            continue
        interfaces = None
        if before.clients.interfaces is not None and item.clients.interfaces is not None:
            interfaces = before.clients.interfaces | item.clients.interfaces
        clients = ClientSet(addresses=before.clients.addresses | item.clients.addresses, interfaces=interfaces)
        found[key] = replace(before, clients=clients)
    return tuple(found.values())
