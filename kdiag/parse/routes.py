"""Routes of a node's main table, from `ip -j route` or `ip route`, for either family."""

from __future__ import annotations

import json
from typing import Any

from kdiag.errors import ParseError
from kdiag.model.addresses import Family, Network, family_of, parse_address, parse_network
from kdiag.model.host import Route
from kdiag.model.snapshot import Recording

_TYPES = frozenset(
    {"unicast", "local", "broadcast", "multicast", "throw", "unreachable", "prohibit", "blackhole", "nat", "anycast"}
)
_DEFAULTS: dict[Family, str] = {Family.IPV4: "0.0.0.0/0", Family.IPV6: "::/0"}


def parse_routes(recording: Recording, family: Family) -> tuple[Route, ...]:
    """Routes in printed order; `family` says which default route is meant.

    A route with several next hops becomes one route for each. An empty listing is a host without routes. Raises
    ParseError for text that holds lines and not one route.
    """
    text = recording.text()
    entries = _json_entries(text) if text.lstrip().startswith(("[", "{")) else _text_entries(text)
    routes: list[Route] = []
    for entry in entries:
        routes.extend(_routes(entry, family))
    if entries and not routes:
        raise ParseError("no line is a route", hint="record `ip -j route`")
    return tuple(routes)


def _json_entries(text: str) -> list[dict[str, Any]]:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ParseError("the list of routes is not JSON, or was cut off") from error
    return [entry for entry in content if isinstance(entry, dict) and entry] if isinstance(content, list) else []


def _text_entries(text: str) -> list[dict[str, Any]]:
    """Lines of `ip route` as the objects that `ip -j route` prints."""
    entries: list[dict[str, Any]] = []
    for line in text.split("\n"):
        words = line.split()
        if not words:
            continue
        if words[0] == "nexthop" and entries:
            entries[-1].setdefault("nexthops", []).append(_pairs(words[1:]))
            continue
        kind = words.pop(0) if words[0] in _TYPES and len(words) > 1 else "unicast"
        entries.append({"type": kind, "dst": words[0], **_pairs(words[1:])})
    return entries


def _pairs(words: list[str]) -> dict[str, Any]:
    names = {
        "via": "gateway",
        "dev": "dev",
        "proto": "protocol",
        "scope": "scope",
        "src": "prefsrc",
        "metric": "metric",
    }
    out: dict[str, Any] = {}
    for index, word in enumerate(words[:-1]):
        if word in names and names[word] not in out:
            # `via inet6 fe80::1`: the gateway of another family has its family in front.
            behind = index + (2 if word == "via" and words[index + 1] in ("inet", "inet6") else 1)
            out[names[word]] = words[behind] if behind < len(words) else ""
    return out


def _routes(entry: dict[str, Any], family: Family) -> list[Route]:
    network = _network(str(entry.get("dst", "")), family)
    if network is None or family_of(network) is not family:
        return []
    hops = entry.get("nexthops")
    found = [hop for hop in hops if isinstance(hop, dict)] if isinstance(hops, list) else []
    return [_route(entry, hop, network) for hop in found or [entry]]


def _network(text: str, family: Family) -> Network | None:
    return parse_network(_DEFAULTS[family]) if text in ("default", "all") else parse_network(text)


def _route(entry: dict[str, Any], hop: dict[str, Any], network: Network) -> Route:
    via = hop.get("via", entry.get("via"))
    gateway = hop.get("gateway") or (via.get("host") if isinstance(via, dict) else None)
    metric = str(entry.get("metric", 0))
    return Route(
        network=network,
        interface=_text(hop.get("dev")) or _text(entry.get("dev")),
        gateway=parse_address(str(gateway)) if gateway else None,
        preferred_source=parse_address(str(entry.get("prefsrc", ""))),
        protocol=_text(entry.get("protocol")),
        scope=_text(entry.get("scope")),
        metric=int(metric) if metric.isascii() and metric.isdigit() and len(metric) < 20 else 0,
        type=_text(entry.get("type")) or "unicast",
    )


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
