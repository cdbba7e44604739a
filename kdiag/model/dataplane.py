"""What happens to a packet: the type that expectation and reality share.

A `DataPlane` maps a `Frontend` (an address that clients use, and where the client is) to a `Behaviour`. A behaviour
cuts the clients of that position into cases; in each case one of several `Outcome`s happens. The actual data plane has
several where a rule could not be understood, the expected one where more than one outcome is legal.

What is hashed very often is a Struct that keeps its hash, and its words hash as text: those of `dataclass` and `Enum` run
Python each time. To look a member up in its enumeration takes 0.13 µs in Python 3.11: those that are asked for at every
address or endpoint have a name of their own, here as in other modules.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping

from msgspec import Struct, field

from kdiag.model.addresses import Address, AddressSet, Family, Protocol, SocketAddress, family_of
from kdiag.model.objects import ObjectKey


class FrontendKind(enum.StrEnum):
    """Which field of a Service the address comes from."""

    CLUSTER_IP = "ClusterIP"
    EXTERNAL_IP = "ExternalIP"
    LOAD_BALANCER_IP = "LoadBalancerIP"
    NODE_PORT = "NodePort"
    __hash__ = str.__hash__


CLUSTER_IP, NODE_PORT = FrontendKind.CLUSTER_IP, FrontendKind.NODE_PORT


class Position(enum.StrEnum):
    """Where the client is, seen from the node: a pod on it, the node itself, or anywhere outside."""

    POD = "pod"
    NODE = "node"
    EXTERNAL = "external"
    __hash__ = str.__hash__


class ServicePortKey(Struct, frozen=True, kw_only=True, order=True, gc=False, cache_hash=True):
    """A Service port: `namespace/name`, port name (may be empty), protocol. kube-proxy's ServicePortName."""

    service: ObjectKey
    port_name: str
    protocol: Protocol

    def __str__(self) -> str:
        return f"{self.service}:{self.port_name}" if self.port_name else str(self.service)


class Frontend(Struct, frozen=True, kw_only=True, order=True, gc=False, cache_hash=True):
    """An address that clients use, and the position of the client."""

    address: Address
    protocol: Protocol
    port: int
    kind: FrontendKind
    position: Position

    @property
    def family(self) -> Family:
        """The address family."""
        return family_of(self.address)

    @property
    def label(self) -> str:
        """`10.96.0.10:53/UDP`, the form reports use."""
        return f"{SocketAddress(self.address, self.port)}/{self.protocol}"


class Disposition(enum.StrEnum):
    """How a packet ends."""

    BACKEND = "backend"
    """Translated to a backend and let through."""
    UNTRANSLATED = "untranslated"
    """Let through with its destination unchanged."""
    REJECTED = "rejected"
    """Refused with an answer."""
    DROPPED = "dropped"
    """Thrown away without an answer."""
    UNKNOWN = "unknown"
    """Taken by a target whose effect is not known."""
    __hash__ = str.__hash__


TO_BACKEND = Disposition.BACKEND


class Masquerade(enum.StrEnum):
    """Whether the source address is rewritten, and by whom."""

    NO = "no"
    PROXY = "proxy"
    """By kube-proxy's own rule."""
    OTHER = "other"
    """By somebody else's rule (a CNI's, Docker's)."""
    __hash__ = str.__hash__


class Fate(Struct, frozen=True, kw_only=True, order=True, gc=False, cache_hash=True):
    """One way a packet can end. `backend` is set only for BACKEND; `affinity_s` is the ClientIP time-out it gets.

    A packet that was translated and then dropped or rejected keeps its backend: the drop happened after.
    """

    disposition: Disposition
    backend: SocketAddress | None = None
    masquerade: Masquerade = Masquerade.NO
    affinity_s: int | None = None


class Outcome(Struct, frozen=True, kw_only=True):
    """A distribution over fates: the shares (0 to 1) add up to 1. Sorted by fate."""

    shares: tuple[tuple[Fate, float], ...]

    @property
    def backends(self) -> tuple[SocketAddress, ...]:
        """Where the translated and delivered share goes, ascending."""
        return tuple(
            sorted(
                {fate.backend for fate, _ in self.shares if fate.backend and fate.disposition is Disposition.BACKEND}
            )
        )

    @property
    def dispositions(self) -> frozenset[Disposition]:
        """Every way that some share ends."""
        return frozenset(fate.disposition for fate, _ in self.shares)


class RuleRef(Struct, frozen=True, kw_only=True):
    """A rule of a dump that a packet passed or that is at fault, for evidence.

    `source` is the dump's path inside the snapshot, `line` is 1-based. `action` says what the rule does (see
    `TraceStep`); `foreign` is True if it is not kube-proxy's. A rule that is met at two hooks is one rule.
    """

    source: str
    line: int
    text: str
    table: str = ""
    chain: str = ""
    action: str = ""
    foreign: bool = False


class Effect(enum.StrEnum):
    """What a rule does to the packets that it matches, in any plane's words."""

    NOTHING = "nothing"
    ACCEPT = "accept"
    RETURN = "return"
    DROP = "drop"
    REJECT = "reject"
    JUMP = "jump"
    MARK = "mark"
    TRANSLATE = "translate"
    """A new destination: DNAT, REDIRECT, a real server."""
    REWRITE = "rewrite"
    """A new source: MASQUERADE, SNAT."""
    UNTRACK = "untrack"
    OTHER = "other"
    """Something whose effect on the packet's way is not known."""


class Met(Struct, frozen=True):
    """What a packet meets on its way: a rule, an element of a map, a virtual server, or the policy of a base chain.

    `source` and `line` are where it stands in the snapshot, `text` as printed there. `action` says what it does in the
    plane's own words, `leads_to` the chain that it sends the packet to. `foreign` is True if neither kube-proxy nor
    kubelet writes it.
    """

    source: str
    line: int
    text: str
    table: str
    chain: str
    action: str
    effect: Effect
    leads_to: str | None = None
    foreign: bool = False
    is_policy: bool = False

    def ref(self) -> RuleRef:
        """As evidence."""
        return RuleRef(
            source=self.source,
            line=self.line,
            text=self.text,
            table=self.table,
            chain=self.chain,
            action=self.action,
            foreign=self.foreign,
        )


class Passed(Struct, frozen=True):
    """One step of a packet's way, linked to the step before it.

    Millions of these are made and few are read, so a step only points at what it passed. `kind` is what the base chain
    is for (`raw`, `mangle`, `nat`, `filter`, `security`, `ipvs`), `hook` empty where it is left open. `weight` is the share of the packets that is left after
    the step, `depth` counts the chains entered since the hook.
    """

    previous: Passed | None
    met: Met
    hook: str
    kind: str
    weight: float
    depth: int
    unclear: bool = False

    def __repr__(self) -> str:
        return f"Passed({self.met!r}, hook={self.hook!r}, kind={self.kind!r}, weight={self.weight!r})"

    def steps(self) -> tuple[Passed, ...]:
        """All steps up to this one, first step first."""
        out: list[Passed] = []
        step: Passed | None = self
        while step is not None:
            out.append(step)
            step = step.previous
        return tuple(reversed(out))

    def ref(self) -> RuleRef:
        """This step as evidence; a policy points at the line that declares the chain."""
        return self.met.ref()


class ClientSet(Struct, frozen=True, kw_only=True):
    """Clients of one position: their addresses and the interfaces that they come in by.

    `interfaces` None means that it is not known which.
    """

    addresses: AddressSet
    interfaces: frozenset[str] | None = None

    def __bool__(self) -> bool:
        return bool(self.addresses) and (self.interfaces is None or bool(self.interfaces))

    def __and__(self, other: ClientSet) -> ClientSet:
        if self.interfaces is None:
            interfaces = other.interfaces
        elif other.interfaces is None:
            interfaces = self.interfaces
        else:
            interfaces = self.interfaces & other.interfaces
        return ClientSet(addresses=self.addresses & other.addresses, interfaces=interfaces)


class Case(Struct, frozen=True, kw_only=True):
    """Some of the clients, and the outcomes that are possible (actual) or legal (expected) for them.

    `paths` maps each actual fate to the last step of the way that leads to it; it is empty for an expectation.
    `unclear` are the steps whose match could not be decided and on which the choice between several outcomes hangs.
    """

    clients: ClientSet
    outcomes: tuple[Outcome, ...]
    unclear: tuple[RuleRef, ...] = ()
    paths: Mapping[Fate, Passed] = field(default_factory=dict)


class Behaviour(Struct, frozen=True, kw_only=True):
    """What happens to the packets of all clients of a frontend; the cases are disjoint.

    `service_port` is the Service port it belongs to, None for what no Service owns.
    """

    cases: tuple[Case, ...]
    service_port: ServicePortKey | None = None


class DataPlane(Struct, frozen=True, kw_only=True):
    """Everything a node does with Service addresses."""

    node: str
    behaviours: Mapping[Frontend, Behaviour]
