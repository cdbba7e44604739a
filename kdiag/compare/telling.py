"""What the ways of packets tell: which rules show a fault, and whose rule decided."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from msgspec import Struct

from kdiag.compare.outcomes import Fault
from kdiag.model.dataplane import Case, Disposition, Effect, Fate, Passed, RuleRef
from kdiag.model.difference import Symptom
from kdiag.walk.ownership import is_dispatch, is_endpoint_chain, is_proxy_chain, is_service_chain

MARKING_CHAINS = ("KUBE-MARK-MASQ", "mark-for-masquerade")
DEFAULT_REFUSALS = ("cluster-ips-check", "KUBE-IPVS-FILTER")
# Chains that all Services share.
NOT_OF_ONE_SERVICE = ("KUBE-NODEPORTS", "KUBE-NODE-PORT", *MARKING_CHAINS)
# The ways to so many ends show a fault, as many as are named in words; those to the others say the same again.
FATES_LIMIT = 4
_REFUSED = (Disposition.DROPPED, Disposition.REJECTED)

Paths = Mapping[Fate, Passed]
"""The last step of the way to each fate (`Case.paths`)."""


class _Way(Struct, frozen=True):
    """The steps to a fate, and those of them at which somebody else's rule is met."""

    steps: tuple[Passed, ...]
    foreign: tuple[Passed, ...]
    enters: bool
    """True if a chain of the Service itself is entered (KUBE-SVC-…, KUBE-EXT-…, service-…)."""


class TellingRules:
    """The lines that show a fault, and whose decide. The cases of a Service port share most of their ways: each is read once.

    Ways are known by their last step, which must live as long as this.
    """

    def __init__(self) -> None:
        self._ways: dict[int, _Way] = {}
        self._rules: dict[tuple[Symptom, int], dict[RuleRef, None]] = {}

    def _way(self, passed: Passed) -> _Way:
        way = self._ways.get(id(passed))
        if way is None:
            steps = passed.steps()
            foreign = tuple([step for step in steps if step.met.foreign and not step.met.is_policy])
            enters = any(is_service_chain(step.met.leads_to) for step in steps)
            way = self._ways[id(passed)] = _Way(steps, foreign, enters)
        return way

    def of(self, fault: Fault, paths: Paths) -> tuple[RuleRef, ...]:
        """The lines that make the difference, most telling first."""
        rules: dict[RuleRef, None] = {}
        for fate in fault.fates[:FATES_LIMIT]:
            passed = paths.get(fate)
            if passed is None:
                continue
            key = (fault.symptom, id(passed))
            mine = self._rules.get(key)
            if mine is None:
                steps = _telling_steps(fault.symptom, self._way(passed).steps)
                mine = self._rules[key] = {step.ref(): None for step in steps}
            rules.update(mine)
        return tuple(rules)

    def decided_by(self, fault: Fault, paths: Paths) -> RuleRef | None:
        """The rule of somebody else, or the policy of a built-in chain, that decided the packets' way."""
        search = _search_for(fault.symptom)
        for fate in fault.fates:
            passed = paths.get(fate)
            if passed is None:
                continue
            foreign = self._way(passed).foreign
            step = search(foreign) if foreign else None
            if step is not None:
                return step.ref()
            if passed.met.is_policy and passed.met.effect is Effect.DROP:
                return passed.ref()
            if fate.backend is not None and fate.disposition in _REFUSED:
                # Translated and then taken: no rule of a Service does that, whatever its chain is called (an
                # unconditional DROP in KUBE-FIREWALL, kubernetes issue 114549).
                return passed.ref()
        return None

    def are_decided(self, case: Case) -> bool:
        """True if somebody else decides on some way of a case."""
        fault = Fault(symptom=Symptom.STALE_ENDPOINT, fates=tuple(case.paths))
        return self.decided_by(fault, case.paths) is not None

    def in_service_chain(self, fault: Fault, paths: Paths) -> bool:
        """True if a way enters a chain of the Service itself."""
        ways = (paths.get(fate) for fate in fault.fates)
        return any(passed is not None and self._way(passed).enters for passed in ways)


_Search = Callable[[Sequence[Passed]], Passed | None]
"""The step at which somebody else decides, of those at which somebody else's rule is met."""


def _search_for(symptom: Symptom) -> _Search:
    """How the step at which somebody else decides is found."""
    match symptom:
        case Symptom.MASQUERADE_MISSING | Symptom.MASQUERADE_NEEDLESS:
            return _foreign_source_decision
        case Symptom.NOT_REFUSED:
            return _foreign_decision_or_acceptance
        case _:
            return _foreign_decision


def _telling_steps(symptom: Symptom, steps: Sequence[Passed]) -> list[Passed]:
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


def _foreign_decision(steps: Sequence[Passed]) -> Passed | None:
    """The step at which one of these rules decides the packet's way, if one does."""
    for step in steps:
        effect = step.met.effect
        if _in_dispatch(step) and (effect in (Effect.ACCEPT, Effect.TRANSLATE) or _leaves(step)):
            return step
        if effect in (Effect.DROP, Effect.REJECT, Effect.UNTRACK, Effect.OTHER):
            return step
    return None


def _foreign_decision_or_acceptance(steps: Sequence[Passed]) -> Passed | None:
    return _foreign_decision(steps) or _foreign_acceptance(steps)


def _foreign_acceptance(steps: Sequence[Passed]) -> Passed | None:
    """The step at which one of these rules lets a packet through before kube-proxy's can refuse it."""
    for step in steps:
        if step.kind == "filter" and (step.met.effect is Effect.ACCEPT or _leaves(step)):
            return step
    return None


def _foreign_source_decision(steps: Sequence[Passed]) -> Passed | None:
    """The step at which one of these rules keeps a packet from being masqueraded, if one does."""
    for step in steps:
        if step.kind == "nat" and step.hook == "POSTROUTING" and (step.met.effect is Effect.ACCEPT or _leaves(step)):
            return step
        if step.met.effect is Effect.MARK:
            return step
    return None


def _leaves(step: Passed) -> bool:
    """True for a RETURN that ends a built-in chain, or one of kube-proxy's: elsewhere it decides nothing by itself."""
    return step.met.effect is Effect.RETURN and (step.depth == 0 or is_proxy_chain(step.met.chain))


def refused_by_default(passed: Passed | None) -> bool:
    """True where the packet ends at a rule that refuses all Service addresses that no other rule serves."""
    return passed is not None and passed.met.chain in DEFAULT_REFUSALS and not passed.met.is_policy


def dispatch_rules(fates: Sequence[Fate], paths: Paths) -> tuple[RuleRef, ...]:
    """The lines in which addresses are looked up on the ways to some fates."""
    found: dict[RuleRef, None] = {}
    for fate in fates[:FATES_LIMIT]:
        passed = paths.get(fate)
        for step in passed.steps() if passed else ():
            met = step.met
            if met.is_policy or met.leads_to in NOT_OF_ONE_SERVICE or met.effect is Effect.MARK:
                continue
            if is_dispatch(met.table, met.chain):
                found[step.ref()] = None
    return tuple(found)
