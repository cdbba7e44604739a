"""Fields that objects of several kinds have, from their wire form to the model.

A part that makes no sense (an address that is none) is left out and told to `complain`; what makes no sense as a whole
raises ValueError.
"""

from __future__ import annotations

import re
import sys
from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address
from sys import intern
from types import MappingProxyType

import msgspec

from kdiag.model.addresses import Address, Network, Protocol, parse_address, parse_network
from kdiag.model.objects import Metadata, ObjectKey
from kdiag.parse import api_raw as raw

Complain = Callable[[str], None]
"""Takes one sentence on a part of an object that was left out."""

_PROTOCOLS = {protocol.value: protocol for protocol in Protocol}
_OCTETS = {str(number): number for number in range(256)}
_LENGTHS = {str(number): number for number in range(33)}
_NUMBERS = msgspec.json.Decoder(list[int])
_COMMAS = bytes.maketrans(b".\n", b",,")
_NONE: Mapping[str, str] = MappingProxyType({})
_LEADING_ZEROS = re.compile(r"(?<![0-9])0+(?=[0-9])")


def metadata(item: raw.ObjectMeta) -> Metadata:
    """What all objects have. Raises ValueError without a name."""
    return bare_metadata(item, item.labels or _NONE, item.annotations or _NONE)


def bare_metadata(
    item: raw.BareMeta, labels: Mapping[str, str] = _NONE, annotations: Mapping[str, str] = _NONE
) -> Metadata:
    """The same with these labels and annotations."""
    if not item.name:
        raise ValueError("it has no name")
    created = item.creation_timestamp
    return Metadata(
        key=ObjectKey(namespace=intern(item.namespace or ""), name=item.name),
        labels=labels,
        annotations=annotations,
        created_at=created if created is None or created.tzinfo is UTC else _utc(created),
        updated_at=_latest(item.managed_fields) if item.managed_fields else None,
        deleted_at=_utc(item.deletion_timestamp) if item.deletion_timestamp else None,
        uid=item.uid or "",
        resource_version=item.resource_version or "",
    )


def _latest(changes: list[raw.ManagedFields]) -> datetime | None:
    """When an object was changed last: times of one form (`2026-01-02T03:04:05Z`) sort as text."""
    text = changes[0].time if len(changes) == 1 else max([item.time for item in changes if item.time], default=None)
    return moment(text) if text else None


@lru_cache(4096)
def moment(text: str) -> datetime | None:
    """A time as the API writes it; None if it is none. Thousands of objects are changed in one second."""
    try:
        return _utc(datetime.fromisoformat(text))
    except ValueError:
        return None


def _utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def protocol(text: str | None) -> Protocol:
    """The protocol of a port, TCP if none is said. Raises ValueError for one that Kubernetes does not know."""
    found = _PROTOCOLS.get(text or "TCP")
    if found is None:
        raise ValueError(f"protocol {text!r} is unknown")
    return found


def addresses(texts: Iterable[str], what: str, complain: Complain, *, none: Sequence[str] = ()) -> tuple[Address, ...]:
    """Those that are addresses; what stands for none is passed over."""
    out = []
    for text in texts:
        if text not in none and (found := address(text, what, complain)) is not None:
            out.append(found)
    return tuple(out)


def usual_address(text: str) -> Address | None:
    """An IPv4 address that is written as usual; None if it is not."""
    try:
        head, _, last = text.rpartition(".")
        return IPv4Address(_HEADS[head] | _OCTETS[last])
    except (KeyError, ValueError):
        return None


def address(text: str, what: str, complain: Complain) -> Address | None:
    """An address; None, and a complaint, if it is none."""
    found = usual_address(text) or sloppy_address(text)
    if found is None:
        complain(f"{what} {text!r} is not an IP address")
    return found


class _Heads(dict[str, int]):
    """The first three octets of addresses as numbers; many addresses have the same. Raises KeyError or ValueError for others."""

    def __missing__(self, head: str) -> int:
        first, second, third = head.split(".")
        number = self[head] = _OCTETS[first] << 24 | _OCTETS[second] << 16 | _OCTETS[third] << 8
        return number


_HEADS = _Heads()


def ipv4_numbers(lines: str, count: int) -> array[int] | None:
    """So many IPv4 addresses, one a line, as numbers; None unless all are written as usual.

    With commas between them their octets are a list of numbers as JSON has it (no leading zeros): reading that takes half as long as
    looking at each address.
    """
    text = lines.encode()
    if text.translate(None, b"0123456789") != (b"...\n" * count)[:-1]:
        return None
    try:
        found = array("I", bytes(_NUMBERS.decode(b"[%b]" % text.translate(_COMMAS))))
    except (msgspec.DecodeError, ValueError):
        return None
    if sys.byteorder == "little":
        found.byteswap()
    return found


@lru_cache(maxsize=65536)
def sloppy_address(text: str) -> Address | None:
    """An address as Kubernetes understands it (ParseIPSloppy in k8s.io/utils/net); None if it is none.

    Octets may have leading zeros and are decimal all the same; IPv4 written as IPv6 (`::ffff:10.0.0.1`) is IPv4.
    """
    found = parse_address(text) or parse_address(_LEADING_ZEROS.sub("", text))
    if isinstance(found, IPv6Address) and found.ipv4_mapped is not None:
        return found.ipv4_mapped
    return found


def networks(texts: Iterable[str], what: str, complain: Complain) -> tuple[Network, ...]:
    """CIDR blocks, sloppy like addresses."""
    out: list[Network] = []
    for text in texts:
        network = _usual_network(text) or parse_network(text) or parse_network(_LEADING_ZEROS.sub("", text))
        if network is None:
            complain(f"{what} {text!r} is not a CIDR block")
        else:
            out.append(network)
    return tuple(out)


def _usual_network(text: str) -> IPv4Network | None:
    """An IPv4 block that is written as usual and has no host bits: made in half the time."""
    try:
        head, _, end = text.rpartition(".")
        last, _, length = end.partition("/")
        return IPv4Network((_HEADS[head] | _OCTETS[last], _LENGTHS[length]))
    except (KeyError, ValueError):
        return None
