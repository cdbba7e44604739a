"""What a node says about itself: addresses, routes, sockets, processes, sysctls, and its kube-proxy's own answers."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta, timezone
from functools import partial
from typing import TypeVar

from msgspec import Struct, field

from kdiag.errors import ParseError
from kdiag.model.addresses import Family
from kdiag.model.host import (
    HealthAnswer,
    HostFacts,
    Interface,
    InterfaceAddress,
    ListeningSocket,
    Process,
    ProxyLog,
    Route,
)
from kdiag.model.report import Gap
from kdiag.model.snapshot import Recording
from kdiag.parse.interfaces import parse_interfaces
from kdiag.parse.processes import merge_arguments, parse_processes
from kdiag.parse.routes import parse_routes
from kdiag.parse.sockets import parse_sockets

_Parsed = TypeVar("_Parsed")

_ADDRESS_PROBES = ("ip-addr",)
_SOCKET_PROBES = ("ss-ltnuH", "ss-ltnH", "ss", "sockets")
_PROCESS_PROBES = ("processes", "ps-ef", "ps-aux")
_ARGUMENT_PROBES = ("argv",)
_MODE_PROBES = ("proxyMode", "proxy-mode")
_HEALTH_PROBES = ("kube-proxy-healthz", "healthz")
_LOG_PROBES = ("kube-proxy", "kube-proxy-log", "kube-proxy.log")

_SYSCTL_LINE = re.compile(r"^\s*([A-Za-z0-9_][^\s=]*)\s*=\s*(.*?)\s*$")
_GO_TIME = re.compile(r"^(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(\.\d+)?\s*(Z|[+-]\d\d:?\d\d)")


class _Reading(Struct):
    """Probes of one node while they are read: where each fact came from, and what could not be read."""

    probes: Mapping[str, Recording]
    node: str | None
    sources: dict[str, str] = field(default_factory=dict)
    gaps: list[Gap] = field(default_factory=list)

    def first(self, names: Iterable[str]) -> Recording | None:
        """The first recorded one of these probes; one that printed nothing only if all of them did."""
        found = [self.probes[name] for name in names if name in self.probes]
        if len(found) == 1:
            return found[0]
        return next((recording for recording in found if recording.content.strip()), found[0] if found else None)

    def parse(self, fact: str, recording: Recording | None, parser: Callable[[Recording], _Parsed]) -> _Parsed | None:
        """What `parser` makes of the recording; None with a gap if it cannot, None if there is none."""
        if recording is None:
            return None
        try:
            parsed = parser(recording)
        except ParseError as error:
            self.gap(recording.source, error.message)
            return None
        self.sources[fact] = recording.source
        return parsed

    def gap(self, subject: str, reason: str) -> None:
        """Note that something could not be read."""
        self.gaps.append(Gap(node=self.node, subject=subject, reason=reason))


def parse_host(probes: Mapping[str, Recording], *, node: str | None = None) -> tuple[HostFacts, tuple[Gap, ...]]:
    """The facts in a node's probes, and a gap for every probe that is there and cannot be read.

    `probes` maps a probe (`ip-addr`, `ss-ltnH`, `kube-proxy`, …) to what it printed; probes of other kinds are passed
    over. `node` is put into the gaps.
    """
    if not probes:
        return HostFacts(), ()  # As of most nodes of a large cluster when few were asked.
    reading = _Reading(probes, node)
    addressing = reading.parse("addresses", reading.first(_ADDRESS_PROBES), parse_interfaces)
    interfaces: tuple[Interface, ...] | None = None
    addresses: tuple[InterfaceAddress, ...] | None = None
    if addressing is not None:
        interfaces, addresses = addressing
    facts = HostFacts(
        addresses=addresses,
        interfaces=interfaces,
        routes=_routes(reading),
        sockets=_sockets(reading),
        processes=_processes(reading),
        sysctls=_sysctls(reading),
        proxy_mode_answer=reading.parse("proxy_mode", reading.first(_MODE_PROBES), lambda item: item.text().strip()),
        health=reading.parse("health", reading.first(_HEALTH_PROBES), parse_health),
        log=_log(reading),
        iptables_version=_first_line(reading),
        sources=reading.sources,
    )
    return facts, tuple(reading.gaps)


def parse_health(recording: Recording) -> HealthAnswer:
    """What /healthz answered.

    Up to 1.27 the answer has lastUpdated and currentTime, in the format of Go's Time.String, later also nodeEligible,
    and in newer releases healthy and a status for each family, in RFC 3339. Other text is kept as it is. A proxy that
    is healthy gives the present as lastUpdated, so `behind_s` is never negative.
    """
    text = recording.text().strip()
    answer: object = None
    if text.startswith("{"):
        try:
            answer = json.loads(text)
        except (ValueError, RecursionError):
            answer = None
    healthy: bool | None = None
    behind_s: float | None = None
    current: datetime | None = None
    if isinstance(answer, dict):
        stated = answer.get("healthy")
        healthy = stated if isinstance(stated, bool) else None
        updated, current = parse_go_time(answer.get("lastUpdated")), parse_go_time(answer.get("currentTime"))
        if updated is not None and current is not None:
            behind_s = max(0.0, (current - updated).total_seconds())
    return HealthAnswer(
        source=recording.source,
        text=text,
        answered=bool(text),
        healthy=healthy,
        behind_s=behind_s,
        answered_at=current,
    )


def parse_go_time(value: object) -> datetime | None:
    """The time in RFC 3339 or in the format of Go's Time.String; None if it is neither. Nanoseconds are cut off."""
    match = _GO_TIME.match(value) if isinstance(value, str) else None
    if match is None:
        return None
    day, clock, fraction, zone = match.groups()
    offset = timedelta(0)
    if zone != "Z":
        sign = -1 if zone[0] == "-" else 1
        offset = sign * timedelta(hours=int(zone[1:3]), minutes=int(zone[-2:]))
    try:
        moment = datetime.fromisoformat(f"{day}T{clock}")
        return moment.replace(microsecond=int(f"{(fraction or '.0')[1:]:0<6.6}"), tzinfo=timezone(offset))
    except ValueError:
        return None


def parse_sysctls(text: str) -> dict[str, str]:
    """sysctl names (with dots) and values, from `sysctl -a` or a list of either spelling; other lines are no settings.

    In the spelling with slashes a dot belongs to an interface's name: `net/ipv4/conf/eth0.5/rp_filter` is
    `net.ipv4.conf.eth0/5.rp_filter`, as sysctl(8) itself writes it.
    """
    settings: dict[str, str] = {}
    for line in text.split("\n"):
        match = _SYSCTL_LINE.match(line)
        if match is None:
            continue
        name, value = match.groups()
        slash, dot = name.find("/"), name.find(".")
        if slash >= 0 and (dot < 0 or slash < dot):
            name = name.translate(str.maketrans("/.", "./"))
        settings[name] = value
    return settings


def _routes(reading: _Reading) -> tuple[Route, ...] | None:
    found: list[Route] | None = None
    for fact, names, family in (
        ("routes", ("ip-route",), Family.IPV4),
        ("routes_ipv6", ("ip6-route", "ip-6-route"), Family.IPV6),
    ):
        parsed = reading.parse(fact, reading.first(names), partial(parse_routes, family=family))
        if parsed is not None:
            found = [*(found or []), *parsed]
    return None if found is None else tuple(found)


def _sockets(reading: _Reading) -> tuple[ListeningSocket, ...] | None:
    recording = reading.first(_SOCKET_PROBES)
    if recording is None:
        return None
    sockets, unread = parse_sockets(recording)
    if unread and not sockets:
        reading.gap(recording.source, "no line is a socket as `ss -ltnu` prints them")
        return None
    if unread:
        reading.gap(recording.source, f"{len(unread)} of its lines are not sockets, the first is {unread[0][:80]!r}")
    reading.sources["sockets"] = recording.source
    return sockets


def _processes(reading: _Reading) -> tuple[Process, ...] | None:
    vectors = reading.parse("arguments", reading.first(_ARGUMENT_PROBES), parse_processes)
    listed = reading.parse("processes", reading.first(_PROCESS_PROBES), parse_processes)
    if listed is None:
        if vectors is not None:
            reading.sources["processes"] = reading.sources["arguments"]
        return vectors
    return merge_arguments(listed, vectors or ())


def _sysctls(reading: _Reading) -> dict[str, str]:
    settings: dict[str, str] = {}
    for name in sorted(reading.probes):
        if name.startswith("sysctl"):
            recording = reading.probes[name]
            found = parse_sysctls(recording.text())
            if not found and recording.content.strip():
                reading.gap(recording.source, "no line is a setting as sysctl prints them")
            if found:
                reading.sources.setdefault("sysctls", recording.source)
            settings.update(found)
    return settings


def _log(reading: _Reading) -> ProxyLog | None:
    recording = reading.first(_LOG_PROBES)
    if recording is None or not recording.content.strip():
        return None
    # Compiling what is looked for takes longer than reading anything else of a node.
    from kdiag.parse.proxy_log import parse_proxy_log

    return reading.parse("log", recording, parse_proxy_log)


def _first_line(reading: _Reading) -> str | None:
    recording = reading.first(("iptables-version",))
    if recording is None or not recording.content.strip():
        return None
    reading.sources["iptables_version"] = recording.source
    return recording.text().strip().split("\n", 1)[0].strip()
