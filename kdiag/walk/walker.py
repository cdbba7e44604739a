"""The one walker: a set of packets is followed from the hook through every rule to every end.

Order of hooks and tables is the kernel's (NF_INET_*, priorities of NF_IP_PRI_*): PREROUTING raw, mangle, nat; then by
the new destination INPUT (mangle, filter, nat) or FORWARD (mangle, filter) and POSTROUTING (mangle, nat). The node's own
packets start at OUTPUT (raw, mangle, nat, filter), and those for the node itself come back in over lo.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from kdiag.model.addresses import AddressSet
from kdiag.model.dataplane import (
    ClientSet,
    Disposition,
    Fate,
    Frontend,
    Masquerade,
    Passed,
    Position,
)
from kdiag.walk import targets
from kdiag.walk.flow import Flow
from kdiag.walk.network import NodeNetwork
from kdiag.walk.ownership import is_foreign, is_proxy_chain
from kdiag.walk.program import CompiledRule, Program
from kdiag.walk.targets import Verdict

# Deeper than any sane rule set (the kernel forbids loops); a dump that goes deeper is not followed to the end.
MAX_DEPTH = 64
# Undecided rules are followed both ways; with this many on one way the answer could only be "cannot tell".
MAX_ASSUMPTIONS = 6
# How many rules the packets to one address may pass: far more than in any real rule set, where each backend has rules
# of its own. One that was made to split or to send them round without end stops here.
MAX_STEPS = 50_000
MAX_STEPS_PER_RULE = 100

NO_INPUT = frozenset({"OUTPUT", "POSTROUTING"})
NO_OUTPUT = frozenset({"PREROUTING", "INPUT"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaf:
    """One end of the walk: who gets there, with which share, on which assumptions, and how."""

    clients: ClientSet
    weight: float
    assumptions: tuple[tuple[int, bool], ...]
    fate: Fate
    passed: Passed | None


class Walker:
    """Walks packets through one rule set of one node.

    A table that the dump does not cover is passed as if it were empty; whoever reads the result has to know
    (`Ruleset.covers_table`).
    """

    def __init__(self, program: Program) -> None:
        self.program = program
        self.network: NodeNetwork = program.around.network
        self._leaves: list[Leaf] = []
        self._hook = ""
        self._steps = 0
        self._max_steps = MAX_STEPS + MAX_STEPS_PER_RULE * program.ruleset.rule_count

    def walk(self, frontend: Frontend, clients: Iterable[ClientSet]) -> list[Leaf]:
        """Every end of the packets that these clients send to the frontend. The weights of one client's leaves that
        share their assumptions add up to 1."""
        self._leaves = []
        self._steps = 0
        for client in clients:
            flow = Flow(
                family=frontend.family,
                protocol=frontend.protocol.lower(),
                destination=int(frontend.address),
                port=frontend.port,
                addresses=client.addresses,
                in_interfaces=client.interfaces,
                local_origin=frontend.position is Position.NODE,
            )
            if flow.local_origin:
                self._from_node(flow)
            else:
                self._from_wire(flow)
        return self._leaves

    # -- hooks ---------------------------------------------------------------------------------------------------

    def _from_wire(self, flow: Flow) -> None:
        for arrived in self._tables("PREROUTING", ("raw", "mangle", "nat"), [flow]):
            if self._is_local(arrived.destination):
                # Since kernel 2.6.36 the source may be rewritten here.
                for ended in self._tables("INPUT", ("mangle", "filter", "security", "nat"), [arrived]):
                    self._delivered(ended)
                continue
            self._route_out(arrived)
            forwarded = self._tables("FORWARD", ("mangle", "filter", "security"), [arrived])
            for ended in self._tables("POSTROUTING", ("mangle", "nat"), forwarded):
                self._delivered(ended)

    def _from_node(self, flow: Flow) -> None:
        self._route_out(flow)
        # A new route changes what -o sees only after the hook: its interfaces are set when it begins (nf_hook_state).
        for sent in self._tables("OUTPUT", ("raw", "mangle", "nat", "filter", "security"), [flow]):
            self._route_out(sent)
            for leaving in self._tables("POSTROUTING", ("mangle", "nat"), [sent]):
                if not self._is_local(leaving.destination):
                    self._delivered(leaving)
                    continue
                # Over lo the packet is received too; nat is not asked again, the connection is known by now.
                leaving.in_interfaces = frozenset({"lo"})
                received = self._tables("PREROUTING", ("raw", "mangle"), [leaving])
                for ended in self._tables("INPUT", ("mangle", "filter", "security"), received):
                    self._delivered(ended)

    def _is_local(self, destination: int) -> bool:
        return any(low <= destination <= high for low, high in self.network.local.ranges)

    def _route_out(self, flow: Flow) -> None:
        if self._is_local(flow.destination):
            flow.out_interfaces = frozenset({"lo"})
            return
        if self.network.routes is None:
            flow.out_interfaces = None
            return
        route = self.network.route(flow.destination)
        flow.out_interfaces = frozenset({route.interface}) if route and route.interface else None

    def _tables(self, hook: str, tables: tuple[str, ...], flows: list[Flow]) -> list[Flow]:
        """The flows that pass the hook's tables; those that end there become leaves."""
        self._hook = hook
        for table in tables:
            base = self.program.chain(table, hook)
            if base is None:
                continue
            passing: list[Flow] = []
            for flow in flows:
                # The nat table is asked once per connection, and never for what conntrack does not track.
                if table == "nat" and flow.untracked:
                    passing.append(flow)
                    continue
                if not base.rules and base.chain.policy == "ACCEPT":
                    passing.append(flow)
                    continue
                accepted: list[Flow] = []
                for rest in self._chain(table, hook, flow, accepted, 0):
                    policy = base.chain.policy
                    if policy == "DROP":
                        self._pass(rest, None, table, hook, "policy DROP", 0)
                        self._end(rest, Verdict.DROP)
                    else:
                        passing.append(rest)
                passing.extend(accepted)
            flows = passing
        return flows

    # -- chains --------------------------------------------------------------------------------------------------

    def _chain(self, table: str, name: str, flow: Flow, accepted: list[Flow], depth: int) -> list[Flow]:
        """Walk one chain. Returns the flows that fall off its end or RETURN; accepted ones go to `accepted`."""
        chain = self.program.chain(table, name)
        if chain is None or depth > MAX_DEPTH:
            self._end(flow, Verdict.UNKNOWN)
            return []
        fallen: list[Flow] = []
        flows = [flow]
        for compiled in chain.candidates(flow.destination, flow.port):
            if compiled.inert:
                continue
            if self._steps > self._max_steps:
                for current in flows:
                    self._end(current, Verdict.UNKNOWN)
                flows = []
                break
            remaining: list[Flow] = []
            for current in flows:
                self._apply(compiled, current, table, name, depth, remaining, fallen, accepted)
            flows = remaining
            if not flows:
                break
        fallen.extend(flows)
        return fallen

    def _apply(
        self,
        compiled: CompiledRule,
        flow: Flow,
        table: str,
        chain: str,
        depth: int,
        remaining: list[Flow],
        fallen: list[Flow],
        accepted: list[Flow],
    ) -> None:
        """Split the flow by one rule: what does not match goes to `remaining`, what matches is acted upon."""
        protocol = compiled.protocol
        if protocol is not None and protocol != "all" and (protocol == flow.protocol) is compiled.protocol_negated:
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
        answer = self._interfaces(compiled, flow)
        if answer is False:
            remaining.append(flow)
            return
        if answer is None:
            decided = False
        matched = flow
        if compiled.sources is not None and flow.rewritten is not None:
            inside = flow.rewritten & compiled.sources
            if not inside and decided:
                remaining.append(flow)
                return
            decided = decided and inside == flow.rewritten
        elif compiled.sources is not None:
            inside = flow.addresses & compiled.sources
            if not inside:
                remaining.append(flow)
                return
            if inside != flow.addresses:
                outside = flow.copy()
                outside.addresses = flow.addresses - compiled.sources
                remaining.append(outside)
                matched = flow.copy()
                matched.addresses = inside
        if compiled.in_interface is not None and matched.in_interfaces is not None and self._hook not in NO_INPUT:
            known = frozenset(item for item in matched.in_interfaces if compiled.in_interface(item))
            if known != matched.in_interfaces:
                other = matched.copy()
                other.in_interfaces = (matched.in_interfaces or frozenset()) - known
                remaining.append(other)
                matched = matched.copy()
                matched.in_interfaces = known
        if meaning.looks_up is not None:
            # The client is not in the list yet; remember that it was asked for.
            asked = matched.copy()
            asked.looked_up = (*matched.looked_up, (*meaning.looks_up, compiled.rule.target or ""))
            remaining.append(asked)
            return
        if meaning.share is not None and meaning.share < 1:
            if meaning.share <= 0:
                remaining.append(matched)
                return
            rest = matched.copy()
            rest.weight = matched.weight * (1 - meaning.share)
            remaining.append(rest)
            matched = matched.copy()
            matched.weight *= meaning.share
        if not decided:
            followed = dict(matched.assumptions).get(compiled.number)
            if followed is False:
                remaining.append(matched)
                return
            if followed is None:
                if len(matched.assumptions) >= MAX_ASSUMPTIONS:
                    self._pass(matched, compiled, table, chain, compiled.action, depth, unclear=True)
                    self._end(matched, Verdict.UNKNOWN)
                    return
                passed_by = matched.copy()
                passed_by.assumptions = (*matched.assumptions, (compiled.number, False))
                remaining.append(passed_by)
                matched = matched.copy()
                matched.assumptions = (*matched.assumptions, (compiled.number, True))
        if matched is flow:
            matched = flow.copy()
        self._steps += 1
        self._pass(matched, compiled, table, chain, compiled.action, depth, unclear=not decided)
        self._act(compiled, matched, table, depth, remaining, fallen, accepted)

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
                if compiled.rule.in_interface is not None and compiled.rule.in_interface.name == "lo":
                    answer = compiled.rule.in_interface.negated
                else:
                    answer = None
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

    def _act(
        self,
        compiled: CompiledRule,
        flow: Flow,
        table: str,
        depth: int,
        remaining: list[Flow],
        fallen: list[Flow],
        accepted: list[Flow],
    ) -> None:
        rule = compiled.rule
        target = rule.target
        if compiled.meaning.remembers is not None:
            for list_name, seconds, looked_up_chain in flow.looked_up:
                if list_name == compiled.meaning.remembers and looked_up_chain == rule.chain:
                    flow.affinity_s = seconds
        match target:
            case None:
                remaining.append(flow)
            case "ACCEPT":
                accepted.append(flow)
            case "RETURN":
                fallen.append(flow)
            case "DROP":
                self._end(flow, Verdict.DROP)
            case "REJECT":
                self._end(flow, Verdict.REJECT)
            case "MARK" | "CONNMARK":
                if targets.mark(flow, rule):
                    remaining.append(flow)
                else:
                    self._undecided(compiled, flow, remaining)
            case "DNAT" | "REDIRECT":
                place = targets.new_destination(flow, rule, self._primary(flow))
                if place is None:
                    self._end(flow, Verdict.UNKNOWN)
                else:
                    flow.destination, flow.port = place
                    flow.translated = True
                    accepted.append(flow)
            case "MASQUERADE" | "SNAT":
                flow.masquerade = Masquerade.PROXY if rule.chain == "KUBE-POSTROUTING" else Masquerade.OTHER
                flow.rewritten = targets.new_sources(rule, self.network.own)
                accepted.append(flow)
            case "NOTRACK" | "CT":
                if target == "NOTRACK" or "notrack" in targets.options_of(rule):
                    # What comes back in over lo has its connection already (xt_ct_target).
                    flow.untracked = flow.untracked or not (flow.local_origin and self._hook == "PREROUTING")
                remaining.append(flow)
            case name if self.program.chain(table, name) is not None:
                returned = self._chain(table, name, flow, accepted, depth + 1)
                (fallen if rule.goto else remaining).extend(returned)
            case name if name in targets.GOES_ON or is_proxy_chain(name):
                # A chain of kube-proxy that the dump lacks has no rules. (No kernel lets a chain go that is jumped to.)
                remaining.append(flow)
            case _:
                self._undecided(compiled, flow, remaining)

    def _undecided(self, compiled: CompiledRule, flow: Flow, remaining: list[Flow]) -> None:
        """A target whose effect is not known: it may take the packet, or let it go on."""
        taken = flow.copy()
        number = -1 - compiled.number
        if flow.passed is not None:
            flow.passed = taken.passed = _as_unclear(flow.passed)
        taken.assumptions = (*flow.assumptions, (number, True))
        self._end(taken, Verdict.UNKNOWN)
        flow.assumptions = (*flow.assumptions, (number, False))
        remaining.append(flow)

    def _primary(self, flow: Flow) -> int | None:
        """The first address of the interface that the flow came in by; None if it is not one address."""
        if flow.in_interfaces is None:
            own = self.network.own
            return int(own.first()) if own.size == 1 else None
        found = {self.network.primaries.get(name) for name in flow.in_interfaces}
        address = found.pop() if len(found) == 1 else None
        return None if address is None else int(address)

    # -- records -------------------------------------------------------------------------------------------------

    def _pass(
        self,
        flow: Flow,
        compiled: CompiledRule | None,
        table: str,
        chain: str,
        action: str,
        depth: int,
        *,
        unclear: bool = False,
    ) -> None:
        flow.passed = Passed(
            flow.passed,
            self.program.ruleset,
            compiled.rule if compiled else None,
            self._hook,
            table,
            chain,
            action,
            flow.weight,
            depth,
            compiled.foreign if compiled else is_foreign(chain, None),
            unclear,
        )

    def _delivered(self, flow: Flow) -> None:
        self._leaf(flow, Disposition.BACKEND if flow.translated else Disposition.UNTRANSLATED)

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
                    backend=targets.socket_address(flow) if flow.translated else None,
                    masquerade=flow.masquerade if disposition is Disposition.BACKEND else Masquerade.NO,
                    affinity_s=flow.affinity_s if disposition is Disposition.BACKEND else None,
                ),
                passed=flow.passed,
            )
        )


def _common(test: Callable[[str], bool], flow: Flow) -> bool | None:
    """The answer of a test for all interfaces that the flow may have come in by; None if they differ."""
    answers = {test(name) for name in flow.in_interfaces} if flow.in_interfaces else set()
    return answers.pop() if len(answers) == 1 else None


def _as_unclear(step: Passed) -> Passed:
    return Passed(
        step.previous,
        step.ruleset,
        step.rule,
        step.hook,
        step.table,
        step.chain,
        step.action,
        step.weight,
        step.depth,
        step.foreign,
        True,
    )
