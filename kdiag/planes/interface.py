"""What a data plane is: how it is recognised, and how it is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from msgspec import Struct, field

from kdiag.model.addresses import Family, Network, Protocol
from kdiag.model.dataplane import Behaviour, ClientSet, DataPlane, Disposition, Frontend
from kdiag.model.difference import Condition
from kdiag.model.host import HostFacts
from kdiag.model.proxy import ProxyMode, Version
from kdiag.model.report import Gap
from kdiag.model.rules import IpSet, Ruleset
from kdiag.model.snapshot import Recording
from kdiag.parse.iptables_parts import CutDump
from kdiag.walk.network import NodeNetwork
from kdiag.walk.walker import Leaf

if TYPE_CHECKING:
    from kdiag.model.ipvs import IpvsTable
    from kdiag.model.nft import NftRuleset
    from kdiag.parse.nft_cut import NftCut


class NodeEvidence(Struct, frozen=True, kw_only=True):
    """Everything recorded on one node, parsed as far as all planes need it.

    `nft` and `ipvs` are None if they were not recorded, or show nothing that is not in `rulesets` too.
    """

    node_name: str
    probes: Mapping[str, Recording]
    host: HostFacts
    rulesets: tuple[Ruleset, ...] = ()
    ipsets: Mapping[str, IpSet] | None = None
    nft: NftRuleset | None = None
    ipvs: IpvsTable | None = None
    gaps: tuple[Gap, ...] = ()
    cuts: Mapping[str, CutDump] = field(default_factory=dict)
    """The large dumps among `rulesets` by source: there `rulesets` have an excerpt, some chains of each form."""
    nft_cut: NftCut | None = None
    """Set where `nft` is an excerpt of a large dump."""


class ReadingOrder(Struct, frozen=True, kw_only=True):
    """What a plane is asked: the frontends that ought to exist, and the node that they are on.

    `local_ranges` are the ranges by which local pods ought to be told from others, per family (absent: no such range).
    `node_ports` are the NodePorts that Services have in each family, open on this node or not. `settled` are the frontends
    that the proxy has had the time to write as they are expected (None: all of them): only their absence shows a
    structural fault. Of the `known` ones it is known already what happens there: they need not be walked.
    """

    expected: DataPlane
    networks: Mapping[Family, NodeNetwork]
    version: Version | None
    local_ranges: Mapping[Family, Network] = field(default_factory=dict)
    node_ports: frozenset[tuple[Family, Protocol, int]] = frozenset()
    settled: frozenset[Frontend] | None = None
    known: frozenset[Frontend] = frozenset()

    def node_ports_of(self, family: Family) -> frozenset[tuple[Protocol, int]]:
        """The NodePorts of one family: the rules of the other do not know them."""
        return frozenset((protocol, port) for known, protocol, port in self.node_ports if known is family)

    def demanded(self, expected: Mapping[Frontend, Behaviour]) -> Mapping[Frontend, Behaviour]:
        """Those of the frontends that may be demanded of the rules by now."""
        if self.settled is None:
            return expected
        return {frontend: item for frontend, item in expected.items() if frontend in self.settled}


class PlaneReading(Struct, frozen=True, kw_only=True):
    """A node's data plane as it is, the structural faults seen on the way, and what could not be read."""

    data_plane: DataPlane
    conditions: tuple[Condition, ...] = ()
    gaps: tuple[Gap, ...] = ()
    filter_seen: bool = True
    """False if only nat was recorded: refused, dropped and untouched packets then look alike."""


class Plane(Struct, frozen=True, kw_only=True):
    """A data plane.

    `signs` returns what in the evidence shows that this plane's rules are there (empty: nothing). `read` None means
    that kdiag recognises the plane and does not read it yet. `follow` walks the packets of some clients to one frontend
    and returns every end, for a trace; `read` does the same for all frontends. `probes` are the commands whose output
    it needs.
    """

    mode: ProxyMode
    probes: tuple[str, ...]
    signs: Callable[[NodeEvidence], tuple[str, ...]]
    read: Callable[[NodeEvidence, ReadingOrder], PlaneReading] | None = None
    follow: Callable[[NodeEvidence, NodeNetwork, Frontend, Sequence[ClientSet]], list[Leaf]] | None = None


def sends_on(behaviour: Behaviour) -> bool:
    """True if some clients ought to reach an endpoint."""
    return any(Disposition.BACKEND in outcome.dispositions for case in behaviour.cases for outcome in case.outcomes)
