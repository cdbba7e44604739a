"""Where packets to one Service may meet rules for the address of another."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from msgspec import Struct

from kdiag.parse.endpoint_forms import EndpointForms
from kdiag.parse.service_words import Key


class Crossings(Struct, frozen=True):
    """The keys of rules that packets to another Service may meet, and the endpoints (protocol and place) at which that
    happens. There may be more in it."""

    met: frozenset[Key] = frozenset()
    refused: frozenset[tuple[bytes, bytes]] = frozenset()

    def joined(self, *others: Crossings) -> Crossings:
        """What is in any of them."""
        met, refused = [item.met for item in others], [item.refused for item in others]
        return Crossings(self.met.union(*met), self.refused.union(*refused))


def with_node_ports(keys: Iterable[Key], node_ports: Collection[tuple[bytes, bytes]]) -> set[Key]:
    """Those of some keys that have an address, and the protocol and port of a NodePort; and the keys of these NodePorts."""
    ports = {port for _, port in node_ports}  # asked first: few keys have one of these
    met = {key for key in keys if key[2] in ports and key[0] and key[1:] in node_ports}
    return met | {(b"", *key[1:]) for key in met}


def crossings(
    dispatch: Mapping[Key, object], refusing: Collection[Key], endpoints: EndpointForms | None, *, by_address: bool
) -> Crossings:
    """Two rules may ask for a packet to the node itself: one by address and port, one for a NodePort. And what was sent to
    an endpoint goes on to the filter table, where addresses without endpoints are refused: those with `refusing` keys, or
    whatever their port if an address alone may decide.
    """
    node_ports = {key[1:] for key in dispatch if not key[0]}
    met = with_node_ports(dispatch, node_ports)
    if not refusing or endpoints is None:
        return Crossings(frozenset(met))
    if endpoints.odd:
        # Where these send packets to is not read here.
        return Crossings(frozenset({*met, *refusing}))
    refused: set[tuple[bytes, bytes]] = set()
    spelled = {key: b"[%b]" % key[0] if b":" in key[0] else key[0] for key in refusing}
    for form, places in endpoints.found.items():
        protocol = form[1]
        mine = [key for key in refusing if key[1] == protocol]
        asked: set[bytes] = set()
        if by_address:
            keys: dict[bytes, list[Key]] = {}
            for key, address in spelled.items():
                keys.setdefault(address, []).append(key)
            known = keys.keys() & {_address(place) for place in places.values()}
            met.update(key for address in known for key in keys[address])
            asked |= {place for place in places.values() if _address(place) in known}
        else:
            by_place = {
                b"%b:%b" % (spelled[key], key[2]): key
                for key in mine
                if key[0] and endpoints.may_have_port(form, key[2])
            }
            asked |= set(by_place).intersection(places.values()) if by_place else set()
            met |= {by_place[place] for place in asked}
        by_port = {key[2]: key for key in mine if not key[0] and endpoints.may_have_port(form, key[2])}
        if by_port:
            found = {place for place in places.values() if place[place.rindex(b":") + 1 :] in by_port}
            met |= {by_port[place[place.rindex(b":") + 1 :]] for place in found}
            asked |= found
        refused |= {(protocol, place) for place in asked}
    return Crossings(frozenset(met), frozenset(refused))


def _address(place: bytes) -> bytes:
    return place[: place.rindex(b":")]
