"""IPVS virtual servers made ready for walking.

To a packet the table of virtual servers is one more base chain: at the end of INPUT for what comes from the wire, after
nat in OUTPUT for the node's own packets (ip_vs_ops of net/netfilter/ipvs/ip_vs_core.c).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from kdiag.model.dataplane import Effect, Met
from kdiag.model.ipvs import Forwarding, IpvsTable, RealServer, VirtualServer
from kdiag.walk.actions import Reject, Schedule, Unclear, Way
from kdiag.walk.flow import Flow
from kdiag.walk.meaning import Compiled, Surroundings
from kdiag.walk.ownership import IPVS_TABLE, VIRTUAL_SERVERS
from kdiag.walk.program import CompiledChain, CompiledRule, Hooked, index_chain

# NF_IP_PRI_NAT_SRC - 1 and NF_IP_PRI_NAT_DST + 2.
HOOKS = (("INPUT", 99), ("OUTPUT", -98))
# Schedulers that give more to real servers of more weight; for the others any weight above 0 is as good as another.
WEIGHTED = frozenset({"wrr", "wlc", "lblc", "lblcr", "sed", "nq", "sh", "mh", "fo", "ovf"})


class IpvsSpace:
    """All virtual servers of one node. `tracked` is False where `net.ipv4.vs.conntrack` is off: nat then never sees
    what a virtual server sends on."""

    def __init__(self, table: IpvsTable, *, tracked: bool = True) -> None:
        self.table = table
        self._tracked = tracked
        self._servers: dict[tuple[int, str, int], VirtualServer] = {}
        for server in table.servers:
            if server.address is not None and server.protocol is not None:
                self._servers[int(server.address), server.protocol.lower(), server.port] = server

    @property
    def rule_count(self) -> int:
        """Virtual servers."""
        return len(self.table.servers)

    def hooked(self) -> Iterable[Hooked]:
        """The two places at which packets are taken."""
        for hook, priority in HOOKS:
            yield Hooked(hook, priority, "ipvs", IPVS_TABLE, VIRTUAL_SERVERS)

    def compile(self, table: str, chain: str, around: Surroundings, number: Callable[[], int]) -> CompiledChain | None:
        """The table as a chain of one rule that looks the packet's address up."""
        if chain != VIRTUAL_SERVERS:
            return None
        met = Met(self.table.source, 0, VIRTUAL_SERVERS, IPVS_TABLE, VIRTUAL_SERVERS, "look-up", Effect.JUMP)
        rule = CompiledRule(met=met, number=number(), order=0, meaning=Compiled(), ways=self._ways)
        return index_chain([rule], "ACCEPT", None)

    def _ways(self, flow: Flow) -> Sequence[Way]:
        if flow.scheduled:
            return ()
        # An entry for port 0 takes every port (only with persistence; ip_vs_service_find).
        server = self._servers.get((flow.destination, flow.protocol, flow.port)) or self._servers.get(
            (flow.destination, flow.protocol, 0)
        )
        if server is None:
            return ()
        able = [item for item in server.real_servers if item.weight > 0]
        if not able:
            words = f"virtual server {server.socket}: no real server, refused"
            return (Way(self._met(server.line, server.text, words, Effect.REJECT), (Reject(),)),)
        weighted = server.scheduler in WEIGHTED
        whole = sum(item.weight if weighted else 1 for item in able)
        return [self._way(server, item, (item.weight if weighted else 1) / whole, flow.port) for item in able]

    def _way(self, server: VirtualServer, item: RealServer, share: float, port: int) -> Way:
        words = f"virtual server {server.socket} ({server.scheduler}): real server {item.socket}"
        met = self._met(item.line, item.text, words, Effect.TRANSLATE)
        if item.forwarding not in (Forwarding.MASQ, Forwarding.LOCAL):
            # The packet leaves with its destination unchanged: what becomes of it is the real server's affair.
            return Way(met, (Unclear(),), share=share)
        possible = server.possible_persistence_s
        action = Schedule(
            int(item.address), item.port or server.port or port, self._tracked, possible[0] if possible else None
        )
        return Way(met, (action,), share=share)

    def _met(self, line: int, text: str, words: str, effect: Effect) -> Met:
        return Met(self.table.source, line, text, IPVS_TABLE, VIRTUAL_SERVERS, words, effect)
