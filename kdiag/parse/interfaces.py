"""Interfaces and addresses of a node, from `ip -j addr` or `ip addr`."""

from __future__ import annotations

import json
import re
from typing import Any

from kdiag.errors import ParseError
from kdiag.model.addresses import parse_address
from kdiag.model.host import Interface, InterfaceAddress
from kdiag.model.snapshot import Recording

# Compiled where they are needed: most nodes print JSON.
_HEADER = r"^\d+:\s+([^:@\s]+)(?:@\S+)?:\s+<([^>]*)>(.*)$"
_MASTER = r"\bmaster (\S+)"
_ADDRESS = r"^\s+inet6?\s+([0-9A-Fa-f.:]+)(?:\s+peer\s+\S+?)?(?:/(\d{1,3}))?\s(?:.*\s)?scope\s+(\S+)"

Addressing = tuple[tuple[Interface, ...], tuple[InterfaceAddress, ...]]


def parse_interfaces(recording: Recording) -> Addressing:
    """Interfaces and their addresses in printed order.

    Raises ParseError if there is no interface at all: every Linux host has `lo`.
    """
    text = recording.text()
    found = _from_json(text) if text.lstrip().startswith(("[", "{")) else _from_text(text)
    if not found[0]:
        raise ParseError("no interface is listed, not even lo", hint="record `ip -j addr`")
    return found


def _from_json(text: str) -> Addressing:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ParseError("the list of addresses is not JSON, or was cut off") from error
    interfaces: list[Interface] = []
    addresses: list[InterfaceAddress] = []
    for entry in content if isinstance(content, list) else [content]:
        # iproute2 before 5.0 prints an empty object for every interface that a filter left out.
        if not isinstance(entry, dict) or not isinstance(entry.get("ifname"), str):
            continue
        flags = entry.get("flags")
        interface = _interface(
            entry["ifname"],
            [flag for flag in flags if isinstance(flag, str)] if isinstance(flags, list) else [],
            kind=_link_kind(entry.get("linkinfo")),
            master=entry.get("master") if isinstance(entry.get("master"), str) else None,
        )
        interfaces.append(interface)
        listed = entry.get("addr_info")
        for item in listed if isinstance(listed, list) else []:
            address = _json_address(item, interface)
            if address is not None:
                addresses.append(address)
    return tuple(interfaces), tuple(addresses)


def _json_address(item: Any, interface: Interface) -> InterfaceAddress | None:
    if not isinstance(item, dict):
        return None
    address = parse_address(str(item.get("local", "")))
    if address is None:
        return None
    prefix = item.get("prefixlen")
    return InterfaceAddress(
        interface=interface.name,
        address=address,
        prefix_length=_prefix(prefix if isinstance(prefix, int) else None, address.max_prefixlen),
        scope=str(item.get("scope", "global")),
        up=interface.up,
        running=interface.running,
    )


def _link_kind(linkinfo: Any) -> str | None:
    kind = linkinfo.get("info_kind") if isinstance(linkinfo, dict) else None
    return kind if isinstance(kind, str) else None


def _from_text(text: str) -> Addressing:
    interfaces: list[Interface] = []
    addresses: list[InterfaceAddress] = []
    for line in text.split("\n"):
        header = re.match(_HEADER, line)
        if header is not None:
            master = re.search(_MASTER, header.group(3))
            flags = header.group(2).split(",")
            interfaces.append(_interface(header.group(1), flags, master=master.group(1) if master else None))
            continue
        match = re.match(_ADDRESS, line + " ")
        address = parse_address(match.group(1)) if match else None
        if match is None or address is None or not interfaces:
            continue
        addresses.append(
            InterfaceAddress(
                interface=interfaces[-1].name,
                address=address,
                prefix_length=_prefix(int(match.group(2)) if match.group(2) else None, address.max_prefixlen),
                scope=match.group(3),
                up=interfaces[-1].up,
                running=interfaces[-1].running,
            )
        )
    return tuple(interfaces), tuple(addresses)


def _interface(name: str, flags: list[str], *, kind: str | None = None, master: str | None = None) -> Interface:
    return Interface(name=name, up="UP" in flags, running="LOWER_UP" in flags, kind=kind, master=master)


def _prefix(length: int | None, longest: int) -> int:
    return longest if length is None else min(max(length, 0), longest)
