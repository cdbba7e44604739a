"""Sets and maps in which kube-proxy has an element for each address of a Service, taken apart into these."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

import msgspec
from msgspec import Struct

from kdiag.model.addresses import AddressSet, Family, family_of, parse_address
from kdiag.parse.service_words import Key

ADDRESS_MAPS = ("service-ips", "no-endpoint-services", "firewall-ips")
PORT_MAPS = ("service-nodeports", "no-endpoint-nodeports")
CLUSTER_IPS = "cluster-ips"
HAIRPINS = "hairpin-connections"
TAKEN_APART = frozenset({*ADDRESS_MAPS, *PORT_MAPS, CLUSTER_IPS, HAIRPINS})

_ADDRESS = rb"[0-9a-f.:]+"
_SOCKET = rb'"(%b)", "(tcp|udp|sctp)", (\d+)' % _ADDRESS
_VERDICT = rb'\{"(goto|jump|drop|accept|return)": (?:null|\{"target": "([^"\\]+)"\})\}'
_MAPPED = rb'\[(?:\{"elem": \{"val": )?\{"concat": \[%b\]\}(?:, "comment": "[^"\\]*"\}\})?, %b\]'
_ELEMENT = {
    **dict.fromkeys(ADDRESS_MAPS, re.compile(_MAPPED % (_SOCKET, _VERDICT))),
    **dict.fromkeys(PORT_MAPS, re.compile(_MAPPED % (rb'()"(tcp|udp|sctp)", (\d+)', _VERDICT))),
    CLUSTER_IPS: re.compile(rb'"(%b)"()()' % _ADDRESS),
    HAIRPINS: re.compile(rb'\{"concat": \["(%b)", "\1", "(tcp|udp|sctp)", (\d+)\]\}' % _ADDRESS),
}
_DOTTED = re.compile(rb"(?:0|[1-9]\d{0,2})(?:\.(?:0|[1-9]\d{0,2})){3}")
_OF_SERVICE = re.compile(rb"(?:service|local|external|firewall)-[A-Z2-7]{8}-")
_TYPE = re.compile(rb'\[?"[a-z0-9_]+"(?:, "[a-z0-9_]+")*\]?')

_elements = msgspec.json.Decoder(list[msgspec.Raw])
_fields = msgspec.json.Decoder(dict[str, dict[str, msgspec.Raw]])


class MapElement(NamedTuple):
    """An element of a map: what is left of it without the key and comments. `links` are the Services' chains that it
    names, in `text` each is `\\3`."""

    map: str
    text: bytes
    links: tuple[bytes, ...]

    @property
    def form(self) -> tuple[object, ...]:
        """All of it but the names."""
        return (self.map, self.text)


class OpenSet(Struct):
    """A set or map that is taken apart: where it stands in the list of objects, and its elements.

    Beside each stands what it is looked up by (address, protocol and port; of a set of addresses the address alone), or
    None if it is not of the usual form. `mapped` is what a map has for a key.
    """

    index: int
    kind: str
    name: str
    elements: list[tuple[Key | None, msgspec.Raw]]
    mapped: list[tuple[Key, MapElement]]

    def with_elements(self, raw: msgspec.Raw, elements: list[msgspec.Raw]) -> bytes:
        """The object, as it was printed in `raw`, with these elements."""
        fields: dict[str, object] = dict(_fields.decode(raw)[self.kind])
        if "elem" in fields:
            fields["elem"] = elements
        return msgspec.json.encode({self.kind: fields})


def open_set(index: int, kind: str, name: str, key_type: msgspec.Raw, elements: msgspec.Raw) -> OpenSet | None:
    """Take a set or map (`kind`) apart; None if it is not such a one as kube-proxy makes.

    `elements` is the list of them as JSON, empty if there is none.
    """
    if not _TYPE.fullmatch(key_type) or (kind == "map") is not (name in ADDRESS_MAPS or name in PORT_MAPS):
        return None
    try:
        raws = _elements.decode(elements) if bytes(elements) else []
    except msgspec.DecodeError:
        return None
    made = OpenSet(index, kind, name, [], [])
    pattern = _ELEMENT[name]
    known: dict[bytes, bytes] = {}
    for raw in raws:
        found = pattern.fullmatch(raw)
        if found is None:
            made.elements.append((None, raw))
            continue
        key = (found[1], found[2], found[3])
        made.elements.append((key, raw))
        if kind == "map":
            verdict, target = found[4], found[5]
            if target is not None and _OF_SERVICE.match(target):
                text = known.setdefault(verdict, verdict + b" \3")
                made.mapped.append((key, MapElement(name, text, (target,))))
            else:
                made.mapped.append((key, MapElement(name, verdict + b" " + (target or b""), ())))
    return made


def dispatch_of(sets: Iterable[OpenSet]) -> dict[Key, tuple[MapElement, ...]]:
    """What all maps have for a key."""
    found: dict[Key, tuple[MapElement, ...]] = {}
    for item in sets:
        for key, element in item.mapped:
            found[key] = (*found.get(key, ()), element)
    return found


def marked_by(sets: Iterable[OpenSet], family: Family) -> dict[bytes, frozenset[bytes]]:
    """The endpoints, by protocol, of which a packet from themselves to themselves is named."""
    found: dict[bytes, set[bytes]] = {}
    form = b"[%b]:%b" if family is Family.IPV6 else b"%b:%b"
    for item in sets:
        if item.name == HAIRPINS:
            for key, _ in item.elements:
                if key is not None:
                    found.setdefault(key[1], set()).add(form % (key[0], key[2]))
    return {protocol: frozenset(places) for protocol, places in found.items()}


def addresses_of(sets: Iterable[OpenSet], family: Family) -> tuple[AddressSet, ...]:
    """The sets of single addresses."""
    return tuple(
        AddressSet.of_numbers(
            family,
            [value for key, _ in item.elements if key is not None and (value := _number(key[0], family)) is not None],
        )
        for item in sets
        if item.name == CLUSTER_IPS
    )


def _number(text: bytes, family: Family) -> int | None:
    """An address of a family as a number."""
    if family is Family.IPV4 and _DOTTED.fullmatch(text):
        first, second, third, last = map(int, text.split(b"."))
        if max(first, second, third, last) < 256:
            return first << 24 | second << 16 | third << 8 | last
    address = parse_address(text.decode())
    return None if address is None or family_of(address) is not family else int(address)
