"""What the commands on a node said about the node itself.

Built by `kdiag.parse.host`. None means that the snapshot does not hold the probe; an empty tuple that the command
printed nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from msgspec import Struct, field

from kdiag.model.addresses import Address, Family, Network


class InterfaceAddress(Struct, frozen=True, kw_only=True):
    """One address on an interface, from `ip -j addr`. `up` is the UP flag, `running` is LOWER_UP."""

    interface: str
    address: Address
    prefix_length: int
    scope: str = "global"
    up: bool = True
    running: bool = True


class Interface(Struct, frozen=True, kw_only=True):
    """One interface. `kind` is linkinfo.info_kind (`bridge`, `veth`, `dummy`, …) where `ip -d` was asked, else None."""

    name: str
    up: bool = True
    running: bool = True
    kind: str | None = None
    master: str | None = None


class Route(Struct, frozen=True, kw_only=True):
    """One route of the main table. `type` is unicast, blackhole, …; the default route is /0."""

    network: Network
    interface: str | None = None
    gateway: Address | None = None
    preferred_source: Address | None = None
    protocol: str | None = None
    scope: str | None = None
    metric: int = 0
    type: str = "unicast"


class ListeningSocket(Struct, frozen=True, kw_only=True):
    """A listening (TCP) or bound (UDP) socket, from `ss -ltnu`. `address` None is the wildcard.

    `wildcard_families` are the families a wildcard socket serves (`*` serves both).
    """

    protocol: str
    address: Address | None
    port: int
    wildcard_families: tuple[Family, ...] = ()
    process: str | None = None


class Process(Struct, frozen=True, kw_only=True):
    """A process: its id and its command line, split into words."""

    pid: int
    argv: tuple[str, ...]
    source: str
    line: int = 0


class HealthAnswer(Struct, frozen=True, kw_only=True):
    """What kube-proxy's /healthz answered: the raw text, and how long before `currentTime` it last synced, in seconds.

    `healthy` is None where the answer does not say. `answered_at` is its `currentTime`, by the node's clock.
    """

    source: str
    text: str
    answered: bool
    healthy: bool | None = None
    behind_s: float | None = None
    answered_at: datetime | None = None


class ProxyLog(Struct, frozen=True, kw_only=True):
    """What kube-proxy's log tells. `proxier` is the last one announced (`iptables`, `ipvs`, `nftables`, `userspace`).

    `failures` are (line number, text) of sync failures after the last start; `last_success_line` is the line of the
    last successful sync that the log mentions (only at verbosity 2 or more), 0 if none.
    """

    source: str
    proxier: str | None = None
    version: str | None = None
    verbosity: int | None = None
    failures: tuple[tuple[int, str], ...] = ()
    last_success_line: int = 0
    starts: int = 0
    single_family: Family | None = None
    """Set when the log says that only one family is served."""
    notes: tuple[tuple[int, str], ...] = ()
    """Other telling lines: (line number, text)."""


class HostFacts(Struct, frozen=True, kw_only=True):
    """Everything parsed about one node but its rules."""

    addresses: tuple[InterfaceAddress, ...] | None = None
    interfaces: tuple[Interface, ...] | None = None
    routes: tuple[Route, ...] | None = None
    sockets: tuple[ListeningSocket, ...] | None = None
    processes: tuple[Process, ...] | None = None
    sysctls: Mapping[str, str] = field(default_factory=dict)
    """sysctl name (dots) to value, from every sysctl probe."""
    proxy_mode_answer: str | None = None
    """/proxyMode: None without the probe, empty if nothing answered."""
    health: HealthAnswer | None = None
    log: ProxyLog | None = None
    iptables_version: str | None = None
    sources: Mapping[str, str] = field(default_factory=dict)
    """Probe to the path it was read from, for evidence: addresses, routes, sockets, processes, sysctls, proxy_mode, …"""
