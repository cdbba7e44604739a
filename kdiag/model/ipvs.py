"""The kernel's IPVS table as it was printed: virtual servers and their real servers, syntax without meaning.

One shape for `ipvsadm-save`, `ipvsadm -L` and /proc/net/ip_vs. Which Service a virtual server belongs to is decided in
`kdiag.planes`.
"""

from __future__ import annotations

import enum

from msgspec import Struct

from kdiag.model.addresses import Address, Family, Protocol, SocketAddress
from kdiag.model.rules import UnreadLine

TICK_RATES = (100, 250, 300, 1000)
"""The timer frequencies that a Linux kernel can be built with (CONFIG_HZ of kernel/Kconfig.hz), in ticks per second."""


class Forwarding(enum.StrEnum):
    """How packets get to a real server. kube-proxy uses MASQ alone (pkg/util/ipvs/ipvs_linux.go)."""

    MASQ = "masq"
    TUNNEL = "tunnel"
    ROUTE = "route"
    LOCAL = "local"
    """The address is the node's own: the packet is not sent anywhere."""


class RealServer(Struct, frozen=True, kw_only=True):
    """A backend of a virtual server.

    With `weight` 0 it gets no new connections, as while an endpoint terminates gracefully. `line` is the 1-based line
    of the dump, `text` that line.
    """

    address: Address
    port: int
    forwarding: Forwarding
    weight: int
    options: tuple[str, ...] = ()
    """What else was written, in order: thresholds and tunnel settings (`-x 100 -y 50 --tun-type gue`)."""
    line: int = 0
    text: str = ""

    @property
    def socket(self) -> SocketAddress:
        """Address and port."""
        return SocketAddress(self.address, self.port)


class VirtualServer(Struct, frozen=True, kw_only=True):
    """An address that the kernel takes connections to and spreads over real servers.

    `protocol` and `address` are None, and `port` is 0, for a virtual server that goes by firewall mark alone; `fwmark`
    is then the mark. `scheduler` is the name as printed (`rr`; kube-proxy's default `""` shows as `rr`).

    A client sticks to its real server for `persistence_s` seconds, None if it does not. /proc/net/ip_vs has that time in
    timer ticks, and nothing there says how many make a second: then `persistence_s` is None and `persistence_ticks` is
    the number; `possible_persistence_s` answers for both. `mask` is the prefix length by which clients are told apart
    (32 or 128: each address by itself). `flags` are the rest: `ops`, `pe=NAME`, and the scheduler's (`sh-port`, …).
    """

    protocol: Protocol | None
    address: Address | None
    port: int
    family: Family
    scheduler: str
    persistence_s: int | None = None
    persistence_ticks: int | None = None
    mask: int | None = None
    flags: tuple[str, ...] = ()
    fwmark: int | None = None
    real_servers: tuple[RealServer, ...] = ()
    line: int = 0
    text: str = ""

    @property
    def socket(self) -> SocketAddress | None:
        """Address and port; None for a firewall mark."""
        return None if self.address is None else SocketAddress(self.address, self.port)

    @property
    def possible_persistence_s(self) -> tuple[int, ...]:
        """The seconds that a client may stick for: none without persistence, one where they were printed.

        Of a number of ticks every known tick rate gives one, unless the seconds would not be whole.
        """
        if self.persistence_s is not None:
            return (self.persistence_s,)
        ticks = self.persistence_ticks
        if ticks is None:
            return ()
        return tuple(sorted(ticks // rate for rate in TICK_RATES if ticks % rate == 0)) or (ticks // TICK_RATES[-1],)


class IpvsTable(Struct, frozen=True, kw_only=True):
    """All virtual servers of one node, both families, in printed order.

    The order of virtual servers and of real servers means nothing and differs between the forms. `source` is the dump's
    path inside the snapshot. `unread` are the lines that were not understood. `complete` is False if the text ends in
    the middle of a line; the forms have no mark for their end, so a text that ends after a line looks whole.
    """

    source: str
    servers: tuple[VirtualServer, ...] = ()
    unread: tuple[UnreadLine, ...] = ()
    complete: bool = True
