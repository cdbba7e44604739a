"""What rules do to the packets that they match: one vocabulary for every plane."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from msgspec import Struct

from kdiag.model.addresses import AddressSet
from kdiag.model.dataplane import Met
from kdiag.walk.flow import Flow

if TYPE_CHECKING:
    from kdiag.walk.program import CompiledRule


class Accept(Struct, frozen=True):
    """Leaves the base chain; the next base chain goes on with the packet."""


class Return(Struct, frozen=True):
    """Goes back to the chain that led here; in a base chain the policy decides."""


class Drop(Struct, frozen=True):
    """Throws the packet away."""


class Reject(Struct, frozen=True):
    """Refuses the packet with an answer."""


class Jump(Struct, frozen=True):
    """Enters a chain of the same table; with `goto` it does not come back to this one."""

    chain: str
    goto: bool = False


class Change(Struct, frozen=True):
    """Changes marks of the flow in place; the function returns False if it does not know how."""

    apply: Callable[[Flow], bool]


class Remember(Struct, frozen=True):
    """Writes the client into an affinity list."""

    list_name: str


class Translate(Struct, frozen=True):
    """Gives the packet a new destination.

    The function gets the flow and the first address of the interface that it came in by (None: not known), and returns
    address and port, or None if that is not one place.
    """

    place: Callable[[Flow, int | None], tuple[int, int] | None]


class Schedule(Struct, frozen=True):
    """A virtual server gives the packet to this real server; untracked where `net.ipv4.vs.conntrack` is off. The client
    sticks to it for `affinity_s` seconds (None: it does not)."""

    destination: int
    port: int
    tracked: bool
    affinity_s: int | None


class Rewrite(Struct, frozen=True):
    """Gives the packet a new source out of these addresses; `by_proxy` if kube-proxy's own rule does it."""

    sources: AddressSet
    by_proxy: bool


class Untrack(Struct, frozen=True):
    """Keeps the packet from connection tracking, and so from nat."""


class Unclear(Struct, frozen=True):
    """May take the packet, or let it go on."""


class Continue(Struct, frozen=True):
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


class Way(Struct, frozen=True):
    """One of several things that a rule may do: for these clients (None: all), with this share (0 to 1).

    Unless `certain`, the packets may as well go on to the next rule; it then is the only way.
    """

    met: Met
    actions: tuple[Action, ...]
    sources: AddressSet | None = None
    share: float = 1.0
    certain: bool = True
