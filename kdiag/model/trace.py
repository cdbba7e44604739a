"""The way of a packet through one node's rules, for people to read."""

from __future__ import annotations

from msgspec import Struct

from kdiag.model.addresses import Address, Protocol
from kdiag.model.dataplane import ClientSet, Fate, Frontend, Position, RuleRef, ServicePortKey
from kdiag.model.objects import ObjectKey


class ServiceTarget(Struct, frozen=True, kw_only=True):
    """A Service to trace. An empty namespace in `service` means that any namespace will do."""

    service: ObjectKey


class AddressTarget(Struct, frozen=True, kw_only=True):
    """An address to trace: a cluster IP, an external or load-balancer IP, or a node's address with a node port."""

    address: Address
    port_number: int
    protocol: Protocol


class NodePortTarget(Struct, frozen=True, kw_only=True):
    """A node port on a node that was given by name."""

    node: str
    node_port: int
    protocol: Protocol


TracePlace = ServiceTarget | AddressTarget | NodePortTarget


class TraceClient(Struct, frozen=True, kw_only=True):
    """Who sends the packet. `pod` is set for Position.POD, `node` for Position.NODE, neither for Position.EXTERNAL.

    An empty namespace in `pod` means that any namespace will do.
    """

    position: Position
    pod: ObjectKey | None = None
    node: str | None = None


class TraceTarget(Struct, frozen=True, kw_only=True):
    """What the user asked `kdiag trace` for; nothing of it has been looked up yet.

    `text` is the target as typed. `client` None means every position. `node` is the node whose rules are walked, None
    for all. `service_port` is a port's name or number out of the Service's ports, None for all of them.
    """

    text: str
    place: TracePlace
    client: TraceClient | None = None
    node: str | None = None
    service_port: str | int | None = None


class TraceStep(Struct, frozen=True, kw_only=True):
    """One rule passed, or one policy met.

    `hook` is the netfilter hook (`PREROUTING`), `table` and `chain` where the rule stands, `action` what it does in the
    words of netfilter (`jump KUBE-SERVICES`, `mark 0x4000/0x4000`, `DNAT to 10.244.1.3:80`, `MASQUERADE`,
    `REJECT with icmp-port-unreachable`, `policy ACCEPT`). `share` is the branch's share after the rule (0 to 1).
    `rule` is None for a policy. `depth` counts the chains entered since the hook.
    """

    hook: str
    table: str
    chain: str
    action: str
    share: float
    depth: int
    rule: RuleRef | None = None
    unclear: bool = False
    """True if it could not be told whether the rule matches."""


class TraceBranch(Struct, frozen=True, kw_only=True):
    """One fate of some of the clients, with every rule passed on the way.

    `share` is its probability for these clients. `endpoint` says whose address the backend is (`pod default/nginx on
    node01, ready`), empty without a backend. `legal` is False if the expectation does not allow this fate, None where
    no expectation exists or the branch is unclear. `source_address` is the source that the backend sees, in words.
    """

    clients: ClientSet
    fate: Fate
    share: float
    steps: tuple[TraceStep, ...]
    endpoint: str = ""
    source_address: str = ""
    legal: bool | None = None
    unclear: bool = False


class TraceVerdict(Struct, frozen=True, kw_only=True):
    """One line: does the frontend work from this position on this node? `ok` None means that it cannot be told."""

    node: str
    frontend: Frontend
    ok: bool | None
    expected: str
    actual: str


class TraceWalk(Struct, frozen=True, kw_only=True):
    """The walk that was chosen to be shown in full."""

    node: str
    frontend: Frontend
    expected: str
    branches: tuple[TraceBranch, ...]
    missing: tuple[str, ...] = ()
    """What ought to have happened and does not, e.g. endpoints that no branch reaches."""


class TraceEndpoint(Struct, frozen=True, kw_only=True):
    """One endpoint of the Service port as the API has it."""

    address: str
    pod: str | None
    node: str | None
    state: str
    """`ready`, `serving, terminating`, `not ready`, …"""


class Trace(Struct, frozen=True, kw_only=True):
    """Answer to `kdiag trace`. `title` names the target; `notes` say what could not be seen or was left out."""

    title: str
    service_port: ServicePortKey | None
    endpoints: tuple[TraceEndpoint, ...]
    verdicts: tuple[TraceVerdict, ...]
    walk: TraceWalk | None
    notes: tuple[str, ...] = ()

    @property
    def broken(self) -> bool:
        """True if any verdict is a plain no."""
        return any(verdict.ok is False for verdict in self.verdicts)
