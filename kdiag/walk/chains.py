"""Walking chains: what one rule after the other does to a set of packets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import assert_never

from msgspec import Struct
from msgspec.structs import replace

from kdiag.model.addresses import AddressSet, socket_address
from kdiag.model.dataplane import (
    TO_BACKEND,
    ClientSet,
    Disposition,
    Fate,
    Masquerade,
    Met,
    Passed,
)
from kdiag.walk.actions import (
    Accept,
    Action,
    Change,
    Continue,
    Drop,
    Jump,
    Reject,
    Remember,
    Return,
    Rewrite,
    Schedule,
    Translate,
    Unclear,
    Untrack,
    Way,
)
from kdiag.walk.flow import Flow
from kdiag.walk.network import NodeNetwork
from kdiag.walk.program import Chains, CompiledRule, Program
from kdiag.walk.targets import Verdict

# Deeper than any sane rule set; a dump that goes deeper is not followed to the end. Nor is a jump into a chain that the
# packet is in: the kernel takes no rules with loops (ELOOP), so that it is not known what such a dump is of.
MAX_DEPTH = 64
# Undecided rules are followed both ways; with this many on one way the answer could only be "cannot tell".
MAX_ASSUMPTIONS = 6
# How many rules the packets to one address may pass: far more than in any real rule set, where each backend has rules
# of its own. One that was made to split or to send them round without end stops here.
MAX_STEPS = 50_000
MAX_STEPS_PER_RULE = 100

# A share below this is what adding up fractions leaves.
ROUNDING = 1e-9

NO_INPUT = frozenset({"OUTPUT", "POSTROUTING"})
NO_OUTPUT = frozenset({"PREROUTING", "INPUT"})


class Leaf(Struct, frozen=True, kw_only=True):
    """One end of the walk: who gets there, with which share, on which assumptions, and how."""

    clients: ClientSet
    weight: float
    assumptions: tuple[tuple[int, bool], ...]
    fate: Fate
    passed: Passed | None


class _Ends(Struct):
    """Where the rules of a chain stand, and where the flows go that one has dealt with: on to the next rule, out of the
    chain, or out of the base chain."""

    chains: Chains
    table: str
    depth: int
    remaining: list[Flow]
    fallen: list[Flow]
    accepted: list[Flow]


class ChainWalker:
    """Walks flows through chains, and collects where they end."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.network: NodeNetwork = program.around.network
        self._leaves: list[Leaf] = []
        self._hook = ""
        self._kind = ""
        self._steps = 0
        self._entered: set[tuple[str, str]] = set()
        self._primaries: dict[frozenset[str] | None, int | None] = {}
        self._max_steps = MAX_STEPS + MAX_STEPS_PER_RULE * program.rule_count

    def _chain(self, chains: Chains, table: str, name: str, flow: Flow, accepted: list[Flow], depth: int) -> list[Flow]:
        """Walk one chain. Returns the flows that fall off its end or RETURN; accepted ones go to `accepted`."""
        chain = chains.chain(table, name)
        entered, key = self._entered, (table, name)
        if chain is None or depth > MAX_DEPTH or key in entered:
            self._end(flow, Verdict.UNKNOWN)
            return []
        entered.add(key)
        fallen: list[Flow] = []
        flows = [flow]
        ends = _Ends(chains, table, depth, [], fallen, accepted)
        for compiled in chain.candidates(flow.destination, flow.port):
            if self._steps > self._max_steps:
                for current in flows:
                    self._end(current, Verdict.UNKNOWN)
                flows = []
                break
            ends.remaining = []
            for current in flows:
                self._apply(compiled, current, ends)
            flows = ends.remaining
            if not flows:
                break
        entered.discard(key)
        fallen.extend(flows)
        return fallen

    def _apply(self, compiled: CompiledRule, flow: Flow, ends: _Ends) -> None:
        """Split the flow by one rule: what does not match goes to `remaining`, what matches is acted upon.

        Every flow is in one place only, so that what is left of one after a split needs no copy.
        """
        remaining = ends.remaining
        protocol = compiled.protocol
        if protocol is not None and (protocol == flow.protocol) is compiled.protocol_negated:
            remaining.append(flow)
            return
        ranges = compiled.destinations
        if ranges is not None:
            destination = flow.destination
            for low, high in ranges:
                if low <= destination <= high:
                    break
            else:
                remaining.append(flow)
                return
        meaning = compiled.meaning
        decided = True
        for test in meaning.tests:
            answer = test(flow)
            if answer is False:
                remaining.append(flow)
                return
            if answer is None:
                decided = False
        if compiled.in_interface is not None or compiled.out_interface is not None:
            answer = self._interfaces(compiled, flow)
            if answer is False:
                remaining.append(flow)
                return
            if answer is None:
                decided = False
        sources = compiled.sources
        if compiled.narrows is not None:
            narrowed = compiled.narrows(flow)
            if narrowed is None:
                decided = False
            else:
                sources = narrowed if sources is None else sources & narrowed
        matched = flow
        if sources is not None:
            part, decided = self._split_by_source(flow, sources, decided, remaining)
            if part is None:
                return
            matched = part
        if compiled.in_interface is not None and matched.in_interfaces is not None and self._hook not in NO_INPUT:
            known = frozenset(item for item in matched.in_interfaces if compiled.in_interface(item))
            if known != matched.in_interfaces:
                other = matched.copy()
                other.in_interfaces = (matched.in_interfaces or frozenset()) - known
                remaining.append(other)
                matched.in_interfaces = known
        if meaning.looks_up is not None:
            # The client is not in the list yet; remember that it was asked for.
            matched.looked_up = (*matched.looked_up, (*meaning.looks_up, compiled.met.leads_to or ""))
            remaining.append(matched)
            return
        if meaning.share is not None and meaning.share < 1:
            if meaning.share <= 0:
                remaining.append(matched)
                return
            rest = matched.copy()
            rest.weight = matched.weight * (1 - meaning.share)
            remaining.append(rest)
            matched.weight *= meaning.share
        ways: Sequence[Way] | None = None
        if compiled.ways is not None:
            ways = compiled.ways(matched)
            if ways is None:
                decided = False
            elif not ways:
                remaining.append(matched)
                return
            elif not ways[0].certain:
                decided = False
        if not decided:
            followed = dict(matched.assumptions).get(compiled.number)
            if followed is False:
                remaining.append(matched)
                return
            if followed is None:
                if len(matched.assumptions) >= MAX_ASSUMPTIONS:
                    self._pass(matched, compiled.met, ends.depth, unclear=True)
                    self._end(matched, Verdict.UNKNOWN)
                    return
                passed_by = matched.copy()
                passed_by.assumptions = (*matched.assumptions, (compiled.number, False))
                remaining.append(passed_by)
                matched.assumptions = (*matched.assumptions, (compiled.number, True))
        self._steps += 1
        if ways is not None:
            self._go_ways(compiled, ways, matched, ends, decided=decided)
            return
        self._pass(matched, compiled.met, ends.depth, unclear=not decided)
        if compiled.ways is not None:
            # What it does hangs on what is not known.
            self._end(matched, Verdict.UNKNOWN)
            return
        if meaning.remembers is not None:
            _remember(matched, meaning.remembers, compiled.met.chain)
        self._act(compiled, compiled.met, compiled.actions, matched, ends)

    def _split_by_source(
        self, flow: Flow, sources: AddressSet, decided: bool, remaining: list[Flow]
    ) -> tuple[Flow | None, bool]:
        """The part of a flow whose source is among these, and whether that is certain; the other part remains."""
        if flow.rewritten is not None:
            inside = flow.rewritten & sources
            if not inside and decided:
                remaining.append(flow)
                return None, decided
            return flow, decided and inside == flow.rewritten
        inside = flow.addresses & sources
        if not inside:
            remaining.append(flow)
            return None, decided
        if inside == flow.addresses:
            return flow, decided
        outside = flow.copy()
        outside.addresses = flow.addresses - sources
        remaining.append(outside)
        flow.addresses = inside
        return flow, decided

    def _go_ways(self, compiled: CompiledRule, ways: Sequence[Way], flow: Flow, ends: _Ends, *, decided: bool) -> None:
        """Follow each of several things that a rule may do; what none takes goes on to the next rule."""
        rest = flow.copy()
        share = 1.0
        for way in ways:
            taken = flow.copy()
            if way.sources is not None:
                taken.addresses = flow.addresses & way.sources
                if not taken.addresses:
                    continue
                rest.addresses = rest.addresses - way.sources
            else:
                taken.weight = flow.weight * way.share
                share -= way.share
            self._pass(taken, way.met, ends.depth, unclear=not decided)
            self._act(compiled, way.met, way.actions, taken, ends)
        rest.weight = flow.weight * share
        if rest.addresses and share > ROUNDING:
            ends.remaining.append(rest)

    def _interfaces(self, compiled: CompiledRule, flow: Flow) -> bool | None:
        """Whether -i and -o can match: None if that is not known. A part of a known set is split by the caller."""
        answer: bool | None = True
        test = compiled.in_interface
        if test is not None:
            if self._hook in NO_INPUT:
                # No input interface here: only a negated match holds (ip_packet_match compares with the empty name).
                answer = test("")
                if self._hook == "POSTROUTING" and not flow.local_origin and answer is not _common(test, flow):
                    # Since kernel 5.7 forwarded packets have one.
                    answer = None
            elif flow.in_interfaces is None:
                answer = compiled.in_unknown
            elif not any(test(item) for item in flow.in_interfaces):
                answer = False
            if answer is False:
                return False
        test = compiled.out_interface
        if test is not None:
            if self._hook in NO_OUTPUT:
                return answer if test("") else False
            if flow.out_interfaces is None:
                return None
            if not any(test(item) for item in flow.out_interfaces):
                return False
        return answer

    def _act(self, compiled: CompiledRule, met: Met, actions: tuple[Action, ...], flow: Flow, ends: _Ends) -> None:
        """Do what a rule says, in order; what no action ends goes on to the next rule."""
        for action in actions:
            match action:
                case Jump(chain=name, goto=goto):
                    returned = self._chain(ends.chains, ends.table, name, flow, ends.accepted, ends.depth + 1)
                    (ends.fallen if goto else ends.remaining).extend(returned)
                    return
                case Accept():
                    ends.accepted.append(flow)
                    return
                case Return():
                    ends.fallen.append(flow)
                    return
                case Drop():
                    self._end(flow, Verdict.DROP)
                    return
                case Reject():
                    self._end(flow, Verdict.REJECT)
                    return
                case Translate(place=place):
                    found = place(flow, self._primary(flow))
                    if found is None:
                        self._end(flow, Verdict.UNKNOWN)
                        return
                    flow.destination, flow.port = found
                    flow.translated = True
                    ends.accepted.append(flow)
                    return
                case Schedule(destination=destination, port=port, tracked=tracked, affinity_s=affinity_s):
                    flow.destination, flow.port = destination, port
                    flow.translated = flow.scheduled = flow.just_scheduled = True
                    flow.affinity_s = affinity_s
                    flow.untracked = flow.untracked or not tracked
                    ends.accepted.append(flow)
                    return
                case Rewrite(sources=sources, by_proxy=by_proxy):
                    flow.masquerade = Masquerade.PROXY if by_proxy else Masquerade.OTHER
                    flow.rewritten = sources
                    ends.accepted.append(flow)
                    return
                case Change(apply=apply):
                    if not apply(flow):
                        self._undecided(compiled, flow)
                case Untrack():
                    # What has its connection already keeps it: all that was tracked before, and what comes back in over
                    # lo; and so does what has a template of one (xt_ct_target, nft_notrack_eval).
                    flow.untracked = flow.untracked or not (flow.seen or flow.templated)
                case Remember(list_name=list_name):
                    _remember(flow, list_name, met.chain)
                case Continue(rest=rest):
                    self._apply(rest, flow, ends)
                    return
                case Unclear():
                    self._undecided(compiled, flow)
                case _:
                    assert_never(action)
        ends.remaining.append(flow)

    def _undecided(self, compiled: CompiledRule, flow: Flow) -> None:
        """An action whose effect is not known: it may take the packet, or let it go on."""
        taken = flow.copy()
        number = -1 - compiled.number
        if flow.passed is not None:
            flow.passed = taken.passed = replace(flow.passed, unclear=True)
        taken.assumptions = (*flow.assumptions, (number, True))
        self._end(taken, Verdict.UNKNOWN)
        flow.assumptions = (*flow.assumptions, (number, False))

    def _primary(self, flow: Flow) -> int | None:
        """The first address of the interface that the flow came in by; None if it is not one address."""
        names = flow.in_interfaces
        if names not in self._primaries:
            self._primaries[names] = self._primary_of(names)
        return self._primaries[names]

    def _primary_of(self, names: frozenset[str] | None) -> int | None:
        if names is None:
            own = self.network.own
            return int(own.first()) if own.size == 1 else None
        found = {self.network.primaries.get(name) for name in names}
        address = found.pop() if len(found) == 1 else None
        return None if address is None else int(address)

    # -- records -------------------------------------------------------------------------------------------------

    def _pass(self, flow: Flow, met: Met, depth: int, *, unclear: bool = False) -> None:
        flow.passed = Passed(flow.passed, met, self._hook, self._kind, flow.weight, depth, unclear)

    def _delivered(self, flow: Flow) -> None:
        self._leaf(flow, TO_BACKEND if flow.translated else Disposition.UNTRANSLATED)

    def _end(self, flow: Flow, verdict: Verdict) -> None:
        disposition = {
            Verdict.DROP: Disposition.DROPPED,
            Verdict.REJECT: Disposition.REJECTED,
            Verdict.UNKNOWN: Disposition.UNKNOWN,
        }[verdict]
        self._leaf(flow, disposition)

    def _leaf(self, flow: Flow, disposition: Disposition) -> None:
        addresses: AddressSet = flow.addresses
        self._leaves.append(
            Leaf(
                clients=ClientSet(addresses=addresses, interfaces=flow.in_interfaces),
                weight=flow.weight,
                assumptions=flow.assumptions,
                fate=Fate(
                    disposition=disposition,
                    backend=socket_address(flow.family, flow.destination, flow.port) if flow.translated else None,
                    masquerade=flow.masquerade if disposition is TO_BACKEND else Masquerade.NO,
                    affinity_s=flow.affinity_s if disposition is TO_BACKEND else None,
                ),
                passed=flow.passed,
            )
        )


def _common(test: Callable[[str], bool], flow: Flow) -> bool | None:
    """The answer of a test for all interfaces that the flow may have come in by; None if they differ."""
    answers = {test(name) for name in flow.in_interfaces} if flow.in_interfaces else set()
    return answers.pop() if len(answers) == 1 else None


def _remember(flow: Flow, list_name: str, chain: str) -> None:
    """A client is written into the list that it was looked for in: it comes back here for that long."""
    for looked_up, seconds, led_to in flow.looked_up:
        if looked_up == list_name and led_to == chain:
            flow.affinity_s = seconds
