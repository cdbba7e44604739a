"""Every way to damage what IPVS mode and userspace mode have beside rules: virtual servers, sets, addresses, listeners."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

from tests.proof.edits import OTHER_PROTOCOL, Edit, other_address, replaced

DEVICE = "kube-ipvs0"
_SOCKET = re.compile(r"(?P<flag>-[tu]|--sctp-service) (?P<address>\[[0-9a-f:]+\]|[0-9.]+):(?P<port>\d+)")
_REAL = re.compile(r" -r (?P<address>\[[0-9a-f:]+\]|[0-9.]+):(?P<port>\d+)")
OTHER_FLAG = {"-t": "-u", "-u": "-t", "--sctp-service": "-t"}


def _edit(kind: str, lines: list[str], index: int, make: Callable[[], str]) -> Edit:
    return Edit(kind=kind, place=f"line {index + 1}", label=lines[index], make=make)


def ipvsadm_edits(text: str) -> Iterator[Edit]:
    """Every damage of `ipvsadm-save -n`."""
    lines = text.splitlines()
    if any(lines):
        yield Edit(kind="all virtual servers deleted", place="", label="", make=lambda: "")
    for index, line in enumerate(lines):
        found = _SOCKET.search(line)
        if found is None:
            continue
        own = [at for at, item in enumerate(lines) if f"{found[0]} " in f"{item} "]
        if line.startswith("-A "):
            yield from _server_edits(lines, index, found, own)
        elif line.startswith("-a "):
            yield from _real_edits(lines, index)


def _server_edits(lines: list[str], index: int, found: re.Match[str], own: list[int]) -> Iterator[Edit]:
    line = lines[index]

    def renamed(new: str) -> Callable[[], str]:
        return lambda: (
            "\n".join(item.replace(found[0], new, 1) if at in own else item for at, item in enumerate(lines)) + "\n"
        )

    address = found["address"].strip("[]")
    other = found["address"].replace(address, other_address(address))
    yield _edit("virtual server deleted", lines, index, _without(lines, set(own)))
    if len(own) > 1:
        yield _edit("virtual server emptied", lines, index, _without(lines, set(own[1:])))
    yield _edit("virtual server address", lines, index, renamed(f"{found['flag']} {other}:{found['port']}"))
    yield _edit(
        "virtual server port", lines, index, renamed(f"{found['flag']} {found['address']}:{int(found['port']) + 1}")
    )
    yield _edit(
        "virtual server protocol",
        lines,
        index,
        renamed(f"{OTHER_FLAG[found['flag']]} {found['address']}:{found['port']}"),
    )
    yield _edit("scheduler", lines, index, replaced(lines, index, index + 1, line.replace("-s rr", "-s lc")))
    if persistent := re.search(r" -p (\d+)", line):
        yield _edit(
            "persistence lost", lines, index, replaced(lines, index, index + 1, line.replace(persistent[0], ""))
        )
        longer = line.replace(persistent[0], " -p 17")
        yield _edit("affinity time", lines, index, replaced(lines, index, index + 1, longer))
    else:
        yield _edit("persistence", lines, index, replaced(lines, index, index + 1, f"{line} -p 60"))


def _real_edits(lines: list[str], index: int) -> Iterator[Edit]:
    line, real = lines[index], _REAL.search(lines[index])
    assert real is not None
    address = real["address"].strip("[]")

    def to(new: str) -> Callable[[], str]:
        return replaced(lines, index, index + 1, line.replace(real[0], new, 1))

    yield _edit("real server deleted", lines, index, replaced(lines, index, index + 1))
    other = real["address"].replace(address, other_address(address))
    yield _edit("real server address", lines, index, to(f" -r {other}:{real['port']}"))
    yield _edit("real server port", lines, index, to(f" -r {real['address']}:{int(real['port']) + 1}"))
    yield _edit("weight 0", lines, index, replaced(lines, index, index + 1, line.replace("-w 1", "-w 0")))
    yield _edit("weight", lines, index, replaced(lines, index, index + 1, line.replace("-w 1", "-w 8")))
    if index + 1 < len(lines) and lines[index + 1].startswith("-a "):
        yield _edit("real servers swapped", lines, index, replaced(lines, index, index + 2, lines[index + 1], line))


def _without(lines: list[str], gone: set[int]) -> Callable[[], str]:
    return lambda: "\n".join(item for at, item in enumerate(lines) if at not in gone) + "\n"


def ipset_edits(text: str) -> Iterator[Edit]:
    """Every damage of `ipset save`."""
    lines = text.splitlines()
    for index, line in enumerate(lines):
        words = line.split()
        if line.startswith("create "):
            own = {at for at, item in enumerate(lines) if item.startswith(f"add {words[1]} ")}
            if own:
                yield _edit("set emptied", lines, index, _without(lines, own))
        elif line.startswith("add "):
            yield _edit("member deleted", lines, index, replaced(lines, index, index + 1))
            for kind, member in _other_members(words[2]):
                changed = " ".join((*words[:2], member, *words[3:]))
                yield _edit(kind, lines, index, replaced(lines, index, index + 1, changed))


def _other_members(member: str) -> Iterator[tuple[str, str]]:
    parts = member.split(",")
    for at, part in enumerate(parts):
        protocol, colon, number = part.partition(":")
        if protocol in OTHER_PROTOCOL and colon:
            yield "member port", ",".join((*parts[:at], f"{protocol}:{int(number) + 1}", *parts[at + 1 :]))
            yield "member protocol", ",".join((*parts[:at], f"{OTHER_PROTOCOL[protocol]}:{number}", *parts[at + 1 :]))
        elif part.isdigit():
            yield "member port", ",".join((*parts[:at], str(int(part) + 1), *parts[at + 1 :]))
        else:
            address, slash, length = part.partition("/")
            yield (
                "member address",
                ",".join((*parts[:at], f"{other_address(address)}{slash}{length}", *parts[at + 1 :])),
            )


def device_edits(text: str) -> Iterator[Edit]:
    """Every damage of the addresses on kube-ipvs0, in `ip -j addr`."""
    links: list[dict[str, Any]] = json.loads(text)
    for at, link in enumerate(links):
        if link.get("ifname") != DEVICE:
            continue
        held: list[dict[str, Any]] = link["addr_info"]

        def holding(new: list[dict[str, Any]], at: int = at, link: dict[str, Any] = link) -> Callable[[], str]:
            return lambda: json.dumps([*links[:at], {**link, "addr_info": new}, *links[at + 1 :]])

        def without_device(at: int = at) -> str:
            return json.dumps([*links[:at], *links[at + 1 :]])

        yield Edit(kind="all addresses gone", place=DEVICE, label="", make=holding([]))
        yield Edit(kind="device gone", place=DEVICE, label="", make=without_device)
        for index, item in enumerate(held):
            label, rest = str(item["local"]), [*held[:index], *held[index + 1 :]]
            other = {**item, "local": other_address(label)}
            yield Edit(kind="address gone", place=DEVICE, label=label, make=holding(rest))
            yield Edit(kind="address changed", place=DEVICE, label=label, make=holding([*rest, other]))
            yield Edit(kind="address added", place=DEVICE, label=str(other["local"]), make=holding([*held, other]))


def listener_edits(text: str) -> Iterator[Edit]:
    """Each listening socket gone, in `ss -ltnuH`."""
    lines = text.splitlines()
    for index in range(len(lines)):
        yield _edit("listener gone", lines, index, replaced(lines, index, index + 1))
