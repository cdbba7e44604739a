"""What rules do to the packets that they match: one vocabulary for every plane."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kdiag.model.addresses import AddressSet
from kdiag.model.dataplane import Met
from kdiag.walk.flow import Flow

if TYPE_CHECKING:
    from kdiag.walk.program import CompiledRule


@dataclass(frozen=True, slots=True)
class Accept:
    """Leaves the base chain; the next base chain goes on with the packet."""


@dataclass(frozen=True, slots=True)
class Return:
    """Goes back to the chain that led here; in a base chain the policy decides."""


@dataclass(frozen=True, slots=True)
class Drop:
    """Throws the packet away."""


@dataclass(frozen=True, slots=True)
class Reject:
    """Refuses the packet with an answer."""


@dataclass(frozen=True, slots=True)
class Jump:
    """Enters a chain of the same table; with `goto` it does not come back to this one."""

    chain: str
    goto: bool = False


@dataclass(frozen=True, slots=True)
class Change:
    """Changes marks of the flow in place; the function returns False if it does not know how."""

    apply: Callable[[Flow], bool]


@dataclass(frozen=True, slots=True)
class Remember:
    """Writes the client into an affinity list."""

    list_name: str


@dataclass(frozen=True, slots=True)
class Translate:
    """Gives the packet a new destination.

    The function gets the flow and the first address of the interface that it came in by (None: not known), and returns
    address and port, or None if that is not one place.
    """

    place: Callable[[Flow, int | None], tuple[int, int] | None]


@dataclass(frozen=True, slots=True)
class Schedule:
    """A virtual server gives the packet to this real server; untracked where `net.ipv4.vs.conntrack` is off. The client
    sticks to it for `affinity_s` seconds (None: it does not)."""

    destination: int
    port: int
    tracked: bool
    affinity_s: int | None


@dataclass(frozen=True, slots=True)
class Rewrite:
    """Gives the packet a new source out of these addresses; `by_proxy` if kube-proxy's own rule does it."""

    sources: AddressSet
    by_proxy: bool


@dataclass(frozen=True, slots=True)
class Untrack:
    """Keeps the packet from connection tracking, and so from nat."""


@dataclass(frozen=True, slots=True)
class Unclear:
    """May take the packet, or let it go on."""


@dataclass(frozen=True, slots=True)
class Continue:
    """Goes on with the rest of the rule, which asks something of the packet as it is now (nftables)."""

    rest: CompiledRule


Action = (
    Accept
    | Return
    | Drop
    | Reject
    | Jump
    | Change
    | Remember
    | Translate
    | Schedule
    | Rewrite
    | Untrack
    | Unclear
    | Continue
)


@dataclass(frozen=True, slots=True)
class Way:
    """One of several things that a rule may do: for these clients (None: all), with this share (0 to 1).

    Unless `certain`, the packets may as well go on to the next rule; it then is the only way.
    """

    met: Met
    actions: tuple[Action, ...]
    sources: AddressSet | None = None
    share: float = 1.0
    certain: bool = True
