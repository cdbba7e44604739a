"""The one walker: a set of packets is followed from the hook through every rule to every end.

Order of hooks and base chains is the kernel's (NF_INET_*, by priority): PREROUTING; then by the new destination INPUT, or
FORWARD and POSTROUTING. The node's own packets start at OUTPUT, and those for the node itself come back in over lo. What
a virtual server takes goes out through OUTPUT and POSTROUTING (ip_vs_nat_send_or_cont of ip_vs_xmit.c).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from msgspec import Struct

from kdiag.model.dataplane import ClientSet, Frontend, Position
from kdiag.walk.chains import ChainWalker, Leaf
from kdiag.walk.flow import Flow
from kdiag.walk.passages import Before, Passages, is_behind_nat, passage_of, passages_of
from kdiag.walk.program import Chains, CompiledChain, Hooked, Program
from kdiag.walk.targets import Verdict

__all__ = ["Leaf", "Walker"]

# Where connection tracking looks at packets (NF_IP_PRI_CONNTRACK, and the hooks of ipv4_conntrack_ops).
CONNTRACK_PRIORITY = -200
TRACKING_HOOKS = frozenset({"PREROUTING", "OUTPUT"})


class _Base(Struct, frozen=True, eq=False):
    """A base chain that does something. `tracked` says whether connection tracking comes before it, `passages` where its passages
    are kept, if they are."""

    hooked: Hooked
    chains: Chains
    chain: CompiledChain
    tracked: bool
    passages: Passages | None


class Walker(ChainWalker):
    """Walks packets through the rules of one family on one node."""

    def __init__(self, program: Program) -> None:
        super().__init__(program)
        self._ways_out: dict[int, tuple[bool, frozenset[str] | None]] = {}
        self._walks = 0
        self._passages: Passages | None = None
        self._bases: dict[str, tuple[_Base, ...]] = {}

    def walk(self, frontend: Frontend, clients: Iterable[ClientSet]) -> list[Leaf]:
        """Every end of the packets that these clients send to the frontend. The weights of one client's leaves that
        share their assumptions add up to 1."""
        self._leaves = []
        self._steps = 0
        self._walks += 1
        if self._walks == 2:
            # For a single walk it is not worth while.
            self._passages = passages_of(self.program.spaces, self.program.around)
            self._bases = {}
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

    def _from_wire(self, flow: Flow) -> None:
        for arrived in self._through("PREROUTING", [flow]):
            if self._is_local(arrived.destination):
                for ended in self._through("INPUT", [arrived]):
                    self._delivered(ended)
                continue
            self._route_out(arrived)
            forwarded = self._through("FORWARD", [arrived])
            for ended in self._through("POSTROUTING", forwarded):
                self._delivered(ended)

    def _from_node(self, flow: Flow) -> None:
        self._route_out(flow)
        # A new route changes what -o sees only after the hook: its interfaces are set when it begins (nf_hook_state).
        for sent in self._through("OUTPUT", [flow]):
            self._leave(sent)

    def _leave(self, sent: Flow) -> None:
        self._route_out(sent)
        for leaving in self._through("POSTROUTING", [sent]):
            if not self._is_local(leaving.destination):
                self._delivered(leaving)
                continue
            # Over lo the packet is received too; nat is not asked again, the connection is known by now.
            leaving.in_interfaces = frozenset({"lo"})
            received = self._through("PREROUTING", [leaving], nat=False)
            for ended in self._through("INPUT", received, nat=False):
                self._delivered(ended)

    def _is_local(self, destination: int) -> bool:
        return self._way_out(destination)[0]

    def _route_out(self, flow: Flow) -> None:
        flow.out_interfaces = self._way_out(flow.destination)[1]

    def _way_out(self, destination: int) -> tuple[bool, frozenset[str] | None]:
        """Whether an address is the node's own, and by which interface packets leave for it (None: that is not known)."""
        found = self._ways_out.get(destination)
        if found is None:
            network = self.network
            local = any(low <= destination <= high for low, high in network.local.ranges)
            route = None if local else network.route(destination)
            name = "lo" if local else route.interface if route else None
            found = self._ways_out[destination] = (local, frozenset({name}) if name else None)
        return found

    def _through(self, hook: str, flows: list[Flow], *, nat: bool = True) -> list[Flow]:
        """The flows that pass the hook's base chains; those that end there become leaves."""
        known = self._bases.get(hook)
        for base in self._find_bases(hook) if known is None else known:
            kind = base.hooked.kind
            self._hook, self._kind = hook, kind
            if base.tracked:
                for flow in flows:
                    flow.seen = True
            if kind == "nat" and not nat:
                continue
            passages = base.passages
            passing: list[Flow] = []
            for flow in flows:
                if kind == "nat" and not self._asks_nat(flow):
                    passing.append(flow)
                elif passages is not None:
                    passing += self._pass_alike(passages, base, flow)
                else:
                    passing += self._pass_base(base, flow)
            flows = self._sent_by_virtual_servers(passing) if kind == "ipvs" else passing
        for flow in flows:
            flow.seen = True
        return flows

    def _find_bases(self, hook: str) -> Iterator[_Base]:
        """The base chains at a hook. Each is made ready when packets come to it: rules are numbered in this order."""
        found = []
        for hooked, chains in self.program.bases.get(hook, ()):
            chain = chains.chain(hooked.table, hooked.chain)
            if chain is not None and (chain.rules or chain.policy != "ACCEPT"):
                tracked = hooked.priority > CONNTRACK_PRIORITY or hook not in TRACKING_HOOKS
                base = _Base(hooked, chains, chain, tracked, self._passages if is_behind_nat(hooked) else None)
                found.append(base)
                yield base
        self._bases[hook] = tuple(found)

    def _pass_base(self, base: _Base, flow: Flow) -> list[Flow]:
        """What comes out of a base chain."""
        accepted: list[Flow] = []
        passing: list[Flow] = []
        hooked, chain = base.hooked, base.chain
        for rest in self._chain(base.chains, hooked.table, hooked.chain, flow, accepted, 0):
            if chain.policy == "DROP":
                if chain.end is not None:
                    self._pass(rest, chain.end, 0)
                self._end(rest, Verdict.DROP)
            else:
                passing.append(rest)
        return passing + accepted

    def _pass_alike(self, passages: Passages, base: _Base, flow: Flow) -> list[Flow]:
        """What comes out of a base chain, as it did for packets like these before."""
        key = passages.key(base.hooked, flow)
        known = passages.known(key)
        if known is not None and self._steps + known.steps <= self._max_steps:
            self._steps += known.steps
            known.repeat(flow, base.hooked)
            if known.end is None:
                return [flow]
            self._leaf(flow, known.end)
            return []
        if not passages.is_new(key):
            return self._pass_base(base, flow)
        before, steps, ends = Before.of(flow), self._steps, len(self._leaves)
        passing = self._pass_base(base, flow)
        passages.remember(key, passage_of(before, flow, passing, self._leaves[ends:], self._steps - steps))
        return passing

    def _asks_nat(self, flow: Flow) -> bool:
        """False where nat is not asked: for what conntrack does not track, and where the connection has been given its
        new address already (nf_nat_inet_fn)."""
        if flow.untracked:
            return False
        return flow.rewritten is None if self._hook in ("INPUT", "POSTROUTING") else not flow.translated

    def _sent_by_virtual_servers(self, flows: list[Flow]) -> list[Flow]:
        """What virtual servers have taken leaves for its real server; only packets for the node itself stay here."""
        staying = []
        for flow in flows:
            taken, flow.just_scheduled = flow.just_scheduled, False
            if not taken or self._is_local(flow.destination):
                staying.append(flow)
                continue
            self._route_out(flow)
            for sent in self._through("OUTPUT", [flow], nat=False):
                self._leave(sent)
        return staying
