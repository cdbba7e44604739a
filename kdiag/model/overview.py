"""The cluster beside its findings: what a page needs to show that a Service works, and not only where it does not."""

from __future__ import annotations

import enum

from msgspec import Struct

from kdiag.model.addresses import Network
from kdiag.model.trace import TraceEndpoint, TraceWalk


class RangeKind(enum.StrEnum):
    """What a range of addresses is for."""

    SERVICE = "Service range"
    POD = "pod range"
    CNI_POOL = "CNI pool"
    NODE_POD = "node's pod range"
    NODE_NETWORK = "node network"
    HOST_NETWORK = "other network of a node"
    RESERVED = "reserved range"


class AddressRange(Struct, frozen=True, kw_only=True):
    """A range, and how much of it is in use.

    `label` names its holder where the kind alone does not (`node01`, `docker0 on node01`, `eth0 on 3 nodes`). `used` of
    `usable` addresses are taken by `used_by` (`Services`, `pods`, `nodes`); all three are None where the snapshot does
    not tell, or nothing of the cluster uses the range.
    """

    kind: RangeKind
    network: Network
    label: str = ""
    stated_by: tuple[str, ...] = ()
    used: int | None = None
    usable: int | None = None
    used_by: str | None = None


class AddressRanges(Struct, frozen=True, kw_only=True):
    """All ranges of a cluster by family and address. `pods_in_node_network`: the CNI means them to share addresses."""

    ranges: tuple[AddressRange, ...] = ()
    pods_in_node_network: bool = False


class NodeOverview(Struct, frozen=True, kw_only=True):
    """One node that the API or the snapshot knows. `judged`: its rules were read and compared."""

    node: str
    judged: bool
    mode: str | None = None
    version: str | None = None


class ServiceOverview(Struct, frozen=True, kw_only=True):
    """One Service of the API.

    `addresses` are in words (`cluster IP 10.96.0.10:53/UDP`). Of many endpoints the first are listed, `endpoint_count`
    counts all. `note` says why a Service has no address of its own (`headless`), empty where it has one.
    """

    service: str
    type: str
    addresses: tuple[str, ...] = ()
    endpoints: tuple[TraceEndpoint, ...] = ()
    endpoint_count: int = 0
    note: str = ""


class Unjudged(Struct, frozen=True, kw_only=True):
    """Services on which there is no verdict for one node, although the node was judged, and why."""

    node: str
    reason: str
    services: tuple[str, ...]


class CheckNote(Struct, frozen=True, kw_only=True):
    """What a check that found something is about; `explanation` is Markdown."""

    code: str
    slug: str
    title: str
    explanation: str


class ServiceTrace(Struct, frozen=True, kw_only=True):
    """The worst frontend of a Service, followed through the rules of one node."""

    service: str
    walk: TraceWalk


class Overview(Struct, frozen=True, kw_only=True):
    """What stands beside the findings. A Service works on a node if the node was judged, nothing is `unjudged` there and
    no finding says otherwise.

    `checks_left_out` are codes that --select and --ignore left out. `traces_left_out` counts Services whose way is wrong
    and was not traced, because that many pictures help nobody.
    """

    nodes: tuple[NodeOverview, ...] = ()
    services: tuple[ServiceOverview, ...] = ()
    unjudged: tuple[Unjudged, ...] = ()
    ranges: AddressRanges = AddressRanges()
    checks: tuple[CheckNote, ...] = ()
    checks_left_out: tuple[str, ...] = ()
    traces: tuple[ServiceTrace, ...] = ()
    traces_left_out: int = 0
