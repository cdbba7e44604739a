"""Where the expected and the actual data plane of a node part, and why."""

from __future__ import annotations

import enum

from msgspec import Struct

from kdiag.model.addresses import AddressSet, Family, SocketAddress
from kdiag.model.dataplane import (
    ClientSet,
    Frontend,
    FrontendKind,
    Outcome,
    Position,
    RuleRef,
    ServicePortKey,
)


class Symptom(enum.StrEnum):
    """What is wrong for the packets of one case."""

    NOT_PROGRAMMED = "not programmed"
    NO_SUCH_SERVICE = "no such Service"
    MISSING_ENDPOINT = "endpoint missing"
    STALE_ENDPOINT = "stale endpoint"
    WRONG_PORT = "wrong port"
    UNBALANCED = "not balanced"
    REFUSED = "refused although endpoints exist"
    NOT_REFUSED = "not refused although no endpoint is usable"
    MASQUERADE_MISSING = "masquerade missing"
    MASQUERADE_NEEDLESS = "masquerade needless"
    AFFINITY = "session affinity differs"


class CauseKind(enum.StrEnum):
    """What brought a group of differences about. One check in `kdiag.checks` reports each."""

    NEVER_WROTE = "kube-proxy never wrote here"
    FLUSHED = "a chain of kube-proxy was flushed"
    BASE_JUMP = "a jump from a built-in chain is missing"
    NODE_PORT_DISPATCH = "the jump to the NodePort chain is missing"
    TWO_BACKENDS = "two iptables backends hold Service rules"
    STALE_NODE = "the node stopped following the API"
    FOREIGN_RULE = "a rule of somebody else takes the traffic"
    FORWARD_POLICY = "the policy of a filter chain drops the traffic"
    MASQUERADE_RULE = "the masquerade rule or mark is missing"
    LOCAL_DETECTION = "local pods are told from others by the wrong range"
    BROKEN_CHAIN = "the Service's chain leads nowhere"
    MISSING_FRONTEND = "the address is not programmed"
    STALE_FRONTEND = "the address is programmed and no Service has it"
    MISSING_ENDPOINT = "an endpoint is missing"
    STALE_ENDPOINT = "an endpoint is stale"
    WRONG_PORT = "an endpoint is reached at the wrong port"
    UNBALANCED = "the endpoints do not get equal shares"
    REFUSED = "the traffic is refused although endpoints exist"
    NOT_REFUSED = "the traffic is not refused although no endpoint is usable"
    MASQUERADE_MISSING = "masquerade is missing for one Service"
    MASQUERADE_NEEDLESS = "masquerade is needless for one Service"
    AFFINITY = "session affinity differs"
    LEFTOVERS = "another mode of kube-proxy left rules behind"
    SOURCE_RANGES = "the load balancer's source ranges are not those of the Service"


IN_THE_WAY = "packets still meet it"
OUT_OF_THE_WAY = "no packet of a Service is decided there"
"""What LEFTOVERS do, as `Condition.actual`."""


class Difference(Struct, frozen=True, kw_only=True):
    """One case of one frontend where no actual outcome is a legal one.

    `backends` are the endpoints concerned (missing, stale, at the wrong port); `rules` the lines that make the
    difference, most telling first; `expected` and `actual` short phrases.
    """

    node: str
    frontend: Frontend
    service_port: ServicePortKey | None
    port_label: str | None
    """`80/TCP`: the Service's own port, also for NodePorts."""
    clients: ClientSet
    symptom: Symptom
    expected: str
    actual: str
    actual_outcome: Outcome | None = None
    backends: tuple[SocketAddress, ...] = ()
    rules: tuple[RuleRef, ...] = ()
    decided_by: RuleRef | None = None
    """The rule of somebody else, or the policy of a built-in chain, that decided the packets' way."""
    in_service_chain: bool = False
    """True if the packets reached a chain of the Service before it went wrong."""
    who: str = ""
    """The clients in words: `all pods on the node`, `clients from 10.244.1.77`, …"""


class Condition(Struct, frozen=True, kw_only=True):
    """A structural fault that a plane sees in the rules themselves, before any packet is followed.

    It explains the differences of `family` whose frontend kind, client position and symptom are among the named ones
    (None: any). A condition with `stands_alone` is reported even if it explains none.
    """

    cause: CauseKind
    family: Family
    detail: str
    expected: str = ""
    actual: str = ""
    rules: tuple[RuleRef, ...] = ()
    positions: frozenset[Position] | None = None
    kinds: frozenset[FrontendKind] | None = None
    symptoms: frozenset[Symptom] | None = None
    clients: AddressSet | None = None
    """Only differences all of whose clients are among these addresses."""
    tables: frozenset[str] | None = None
    """Only differences that a rule in one of these tables shows."""
    frontends: frozenset[Frontend] | None = None
    """Only differences of these frontends."""
    stands_alone: bool = True

    def explains(self, difference: Difference) -> bool:
        """True if the difference is what the condition would bring about."""
        frontend = difference.frontend
        return (
            frontend.family is self.family
            and (self.frontends is None or frontend in self.frontends)
            and (self.positions is None or frontend.position in self.positions)
            and (self.kinds is None or frontend.kind in self.kinds)
            and (self.symptoms is None or difference.symptom in self.symptoms)
            and (self.clients is None or not difference.clients.addresses - self.clients)
            and (self.tables is None or any(rule.table in self.tables for rule in difference.rules))
        )


class DifferenceGroup(Struct, frozen=True, kw_only=True):
    """Differences of one node that have one cause.

    `rules` are the lines at fault; `detail` one sentence that names them; `expected` and `actual` short phrases on
    the cause itself. `differences` may be empty where the cause is plain but nothing was found to suffer.
    """

    cause: CauseKind
    node: str
    family: Family
    detail: str
    expected: str = ""
    actual: str = ""
    rules: tuple[RuleRef, ...] = ()
    differences: tuple[Difference, ...] = ()


class Unclear(Struct, frozen=True, kw_only=True):
    """Service ports of a node on which no verdict is possible, because of rules that were not understood.

    `unsettled` is True where the API changed while it was read, so that the ports are judged another time: then `rules`
    are those of addresses that a Service may have had for a moment between the two readings.
    """

    node: str
    reason: str
    service_ports: tuple[ServicePortKey, ...]
    rules: tuple[RuleRef, ...] = ()
    unsettled: bool = False


class Comparison(Struct, frozen=True, kw_only=True):
    """Everything that `compare` says of one node: ordered and without repetition."""

    node: str
    groups: tuple[DifferenceGroup, ...] = ()
    unclear: tuple[Unclear, ...] = ()
    passing: tuple[Difference, ...] = ()
    """Addresses that no reading of the API has, and that a Service made and deleted between two readings may have had."""
    judged: int = 0
    """Frontends compared."""
