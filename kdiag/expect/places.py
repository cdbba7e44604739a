"""Where the endpoints of a Service port are: their addresses, as numbers and as the rules have them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import chain

from msgspec import Struct

from kdiag.expect.endpoints import Candidates
from kdiag.model.addresses import Family, SocketAddress, address_at
from kdiag.model.endpoints import EndpointSlice, ReadyEndpoints


class Places(Struct, frozen=True, gc=False):
    """Endpoints: their addresses as numbers (those of a slice where they are kept already, which may be an array), and beside
    each its port; `at` has both as text (`10.244.1.5:8080`), one a line, sorted."""

    addresses: Sequence[int]
    ports: Sequence[int]
    at: bytes

    @property
    def pairs(self) -> set[tuple[int, int]]:
        """Address and port of each."""
        return set(zip(self.addresses, self.ports, strict=True))

    @property
    def listed(self) -> list[bytes]:
        """What `at` has, one by one."""
        return self.at.split(b"\n") if self.at else []


NOWHERE = Places((), (), b"")


def places_in(slices: Sequence[tuple[EndpointSlice, int]], family: Family) -> Places | None:
    """The endpoints of slices with one port each; None if there is more to them."""
    found: list[Places] = []
    last: EndpointSlice | None = None
    for item, port in slices:
        ready = item.ready if item is not last else None
        listed = _listed(ready, port, family) if ready is not None else None
        if listed is None:
            return None
        if len(slices) == 1:  # As most Service ports have.
            return listed
        found.append(listed)
        last = item
    addresses = tuple(chain.from_iterable([item.addresses for item in found]))
    if len(set(addresses)) < len(addresses):
        return None
    ports = tuple(chain.from_iterable([item.ports for item in found]))
    return Places(addresses, ports, b"\n".join(sorted([line for item in found for line in item.listed])))


def _listed(ready: ReadyEndpoints, port: int, family: Family) -> Places | None:
    """The endpoints of a slice at a port; None if one is there twice."""
    addresses = ready.numbers
    count = len(addresses)
    if len(set(addresses)) < count:
        return None
    if not count:
        return NOWHERE
    start, between, end = _around(port, family)
    lines = (start + ready.text.replace("\n", between) + end).split("\n")
    lines.sort()
    return Places(addresses, _times(port, count), "\n".join(lines).encode())


@lru_cache(1024)
def _times(port: int, count: int) -> tuple[int, ...]:
    """A port so many times: thousands of Service ports have as many endpoints at the same one."""
    return (port,) * count


@lru_cache(64)
def _around(port: int, family: Family) -> tuple[str, str, str]:
    """What stands in front of addresses in a list of endpoints, between, and behind."""
    start, end = ("[", f"]:{port}") if family is Family.IPV6 else ("", f":{port}")
    return start, f"{end}\n{start}", end


def some_of(places: Places, indexes: list[int], family: Family) -> Places:
    """Those of the endpoints that stand at these indexes."""
    if not indexes:
        return NOWHERE
    addresses = tuple([places.addresses[index] for index in indexes])
    ports = tuple([places.ports[index] for index in indexes])
    lines = [SocketAddress(address_at(family, address), port) for address, port in zip(addresses, ports, strict=True)]
    return Places(addresses, ports, b"\n".join(sorted(str(line).encode() for line in lines)))


def places_of(candidates: Candidates) -> Places:
    """Where candidates are."""
    return Places(
        tuple(int(item.at.address) for item in candidates),
        tuple(item.at.port for item in candidates),
        b"\n".join(sorted(str(item.at).encode() for item in candidates)),
    )


def overlap(chosen: Places, near: Places) -> tuple[bool, bool, bool]:
    """Whether some endpoints are in both lists, in the first only, in the second only."""
    if not near.at:
        return False, bool(chosen.at), False
    one, other = set(chosen.listed), set(near.listed)
    return bool(one & other), bool(one - other), bool(other - one)
