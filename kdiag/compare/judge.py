"""One frontend judged: where no possible outcome is a legal one, there is a difference."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec import Struct
from msgspec.structs import replace

from kdiag.compare.outcomes import Fault, OutcomeComparer
from kdiag.compare.telling import Paths, TellingRules, dispatch_rules, refused_by_default
from kdiag.model.addresses import AddressSet, SocketAddress
from kdiag.model.dataplane import (
    Behaviour,
    Case,
    ClientSet,
    Disposition,
    Fate,
    Frontend,
    Outcome,
    Position,
    RuleRef,
    ServicePortKey,
)
from kdiag.model.difference import Difference, Symptom


class Verdict(Struct, frozen=True, kw_only=True):
    """What came out for a frontend: differences, and the rules on which an undecided verdict hangs."""

    differences: tuple[Difference, ...] = ()
    unclear: tuple[RuleRef, ...] = ()
    undecided: bool = False


class _Said(Struct, frozen=True, cache_hash=True):
    """What a difference says of its clients."""

    symptom: Symptom
    expected: str
    actual: str
    backends: tuple[SocketAddress, ...]
    rules: tuple[RuleRef, ...]


class _Told(Struct, frozen=True):
    """What is wrong with an outcome, and what its ways tell of that (see `Difference`)."""

    said: _Said
    decided_by: RuleRef | None
    in_service_chain: bool


class Known:
    """What is known of the outcomes and ways of one Service port: its frontends share many of them.

    These must live as long as this.
    """

    def __init__(self) -> None:
        self.outcomes = OutcomeComparer()
        self._rules = TellingRules()
        self._told: dict[tuple[int, int, int], tuple[_Told, ...]] = {}

    def told(self, outcome: Outcome, legal: Outcome, paths: Paths) -> tuple[_Told, ...]:
        """What is wrong with an outcome that ought to be the legal one, and came about on these ways."""
        key = (id(outcome), id(legal), id(paths))
        told = self._told.get(key)
        if told is None:
            faults = self.outcomes.faults(outcome, legal) or (_unnamed(outcome),)
            told = self._told[key] = tuple([self._tell(fault, outcome, legal, paths) for fault in faults])
        return told

    def _tell(self, fault: Fault, outcome: Outcome, legal: Outcome, paths: Paths) -> _Told:
        if fault.symptom is Symptom.REFUSED and all(refused_by_default(paths.get(fate)) for fate in fault.fates):
            fault = replace(fault, symptom=Symptom.NOT_PROGRAMMED)
        expected = _expected_words(fault, legal) or self.outcomes.describe(legal)
        actual = _actual_words(fault, outcome) or self.outcomes.describe(outcome)
        return _Told(
            _Said(fault.symptom, expected, actual, fault.backends, self._rules.of(fault, paths)),
            self._rules.decided_by(fault, paths),
            self._rules.in_service_chain(fault, paths),
        )


def judge(
    node: str,
    frontend: Frontend,
    expected: Behaviour,
    actual: Behaviour,
    port_label: str | None,
    *,
    filter_seen: bool,
    known: Known | None = None,
) -> Verdict:
    """Compare the two behaviours of a frontend, case by case."""
    unclear: dict[RuleRef, None] = {}
    undecided = False
    subject = _Subject(node, frontend, expected.service_port, port_label, known or Known())
    by_clients = {case.clients: case for case in expected.cases}
    for case in actual.cases:
        same = by_clients.get(case.clients)
        pairs: Iterable[tuple[ClientSet, Case]] = (
            [(case.clients, same)]
            if same is not None
            else [(both, other) for other in expected.cases if (both := case.clients & other.clients)]
        )
        for clients, legal in pairs:
            good = [subject.is_legal(outcome, legal, filter_seen=filter_seen) for outcome in case.outcomes]
            if all(good):
                continue
            if any(good) or subject.hangs_on_unknown(case, legal):
                undecided = True
                unclear.update(dict.fromkeys(case.unclear))
                continue
            subject.compare(clients, case, legal)
    return Verdict(differences=subject.differences(actual), unclear=tuple(unclear), undecided=undecided)


def judge_unexpected(node: str, frontend: Frontend, actual: Behaviour) -> tuple[Difference, ...]:
    """An address that the rules serve and no Service has."""
    subject = _Subject(node, frontend, actual.service_port, f"{frontend.port}/{frontend.protocol}", Known())
    for case in actual.cases:
        if len(case.outcomes) == 1:
            subject.expect_nothing(case)
    return subject.differences(actual)


class _Subject:
    """The frontend that is judged. Differences that say the same of several sets of clients are one."""

    def __init__(
        self,
        node: str,
        frontend: Frontend,
        service_port: ServicePortKey | None,
        port_label: str | None,
        known: Known,
    ) -> None:
        self._node = node
        self._frontend = frontend
        self._service_port = service_port
        self._port_label = port_label
        self._known = known
        self._outcomes = known.outcomes
        self._found: dict[_Said, tuple[Difference, list[ClientSet]]] = {}

    def is_legal(self, outcome: Outcome, legal: Case, *, filter_seen: bool) -> bool:
        """True if the outcome is one of the legal ones."""
        return any(self._outcomes.agree(outcome, allowed, filter_seen=filter_seen) for allowed in legal.outcomes)

    def hangs_on_unknown(self, case: Case, legal: Case) -> bool:
        """True if some way ends in what is not known and does nothing wrong else: whether it is a fault cannot be told."""
        for outcome in case.outcomes:
            if Disposition.UNKNOWN not in self._outcomes.dispositions(outcome):
                continue
            known = [fate for fate, _ in outcome.shares if fate.disposition is not Disposition.UNKNOWN]
            if any(
                all(any(_same_end(fate, other) for other, _ in allowed.shares) for fate in known)
                for allowed in legal.outcomes
            ):
                return True
        return False

    def compare(self, clients: ClientSet, case: Case, legal: Case) -> None:
        """Find what is wrong for some clients of a case that meet no legal outcome."""
        outcome = case.outcomes[0]
        nearest = self._outcomes.nearest(outcome, legal.outcomes)
        for told in self._known.told(outcome, nearest, case.paths):
            if not self._has_said(told.said, clients):
                self._say(
                    told.said,
                    clients,
                    outcome,
                    decided_by=told.decided_by,
                    in_service_chain=told.in_service_chain,
                )

    def expect_nothing(self, case: Case) -> None:
        """Find what the one outcome of a case serves, at an address that no Service has."""
        (outcome,) = case.outcomes
        if not outcome.dispositions & {Disposition.BACKEND, Disposition.REJECTED, Disposition.DROPPED}:
            return
        fates = tuple(fate for fate, _ in outcome.shares)
        said = _Said(
            Symptom.NO_SUCH_SERVICE,
            "no Service has this address",
            self._outcomes.describe(outcome),
            outcome.backends,
            dispatch_rules(fates, case.paths),
        )
        if not self._has_said(said, case.clients):
            self._say(said, case.clients, outcome)

    def _has_said(self, said: _Said, clients: ClientSet) -> bool:
        before = self._found.get(said)
        if before is not None:
            before[1].append(clients)
        return before is not None

    def _say(
        self,
        said: _Said,
        clients: ClientSet,
        outcome: Outcome,
        *,
        decided_by: RuleRef | None = None,
        in_service_chain: bool = False,
    ) -> None:
        difference = Difference(
            node=self._node,
            frontend=self._frontend,
            service_port=self._service_port,
            port_label=self._port_label,
            clients=clients,
            symptom=said.symptom,
            expected=said.expected,
            actual=said.actual,
            actual_outcome=outcome,
            backends=said.backends,
            rules=said.rules,
            decided_by=decided_by,
            in_service_chain=in_service_chain,
        )
        self._found[said] = (difference, [clients])

    def differences(self, actual: Behaviour) -> tuple[Difference, ...]:
        """What was found, each with its clients in words."""
        if not self._found:
            return ()
        everybody = AddressSet.union([case.clients.addresses for case in actual.cases])
        named = []
        for difference, parts in self._found.values():
            clients = _together(parts)
            who = _who(self._frontend.position, clients.addresses, everybody)
            named.append(replace(difference, clients=clients, who=who))
        return tuple(named)


def _together(parts: Sequence[ClientSet]) -> ClientSet:
    if len(parts) == 1:
        return parts[0]
    addresses = AddressSet.union([part.addresses for part in parts])
    interfaces: set[str] = set()
    for part in parts:
        if part.interfaces is None:
            return ClientSet(addresses=addresses)
        interfaces |= part.interfaces
    return ClientSet(addresses=addresses, interfaces=frozenset(interfaces))


def _same_end(fate: Fate, other: Fate) -> bool:
    return fate.disposition is other.disposition and fate.backend == other.backend


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


def _who(position: Position, clients: AddressSet, everybody: AddressSet) -> str:
    """The clients in words, shortest of "all", "all but" and a list."""
    if clients == everybody:
        return ALL[position]
    spared = everybody - clients
    if not spared:
        return ALL[position]
    if len(spared.ranges) <= 4 and len(spared.ranges) < len(clients.ranges):
        return f"{ALL[position]} but {spared.describe()}"
    return f"{SOME[position]} {clients.describe()}"


def _unnamed(outcome: Outcome) -> Fault:
    """Outcomes that do not agree and yet no fault has a name: the shares of several ends differ."""
    return Fault(symptom=Symptom.UNBALANCED, fates=tuple(fate for fate, _ in outcome.shares))


def _expected_words(fault: Fault, legal: Outcome) -> str | None:
    """What a fault of its own kind lacks; None where the outcome says it all."""
    match fault.symptom:
        case Symptom.MASQUERADE_MISSING:
            return "source address masqueraded"
        case Symptom.MASQUERADE_NEEDLESS:
            return "source address kept"
        case Symptom.AFFINITY:
            return _affinity_words(fate for fate, _ in legal.shares)
        case _:
            return None


def _actual_words(fault: Fault, outcome: Outcome) -> str | None:
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
            return None


def _affinity_words(fates: Iterable[Fate]) -> str:
    found = sorted({fate.affinity_s for fate in fates if fate.affinity_s is not None})
    return f"ClientIP affinity for {', '.join(str(item) for item in found)} s" if found else "no session affinity"
