"""Where Services send packets: EndpointSlices, and Endpoints objects, with what is in them.

Built by `kdiag.parse.api`, like the objects of `kdiag.model.cluster`.
"""

from __future__ import annotations

import typing
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import overload

from msgspec import Struct

from kdiag.model.addresses import Address, Family, Protocol, family_of
from kdiag.model.objects import Metadata, ObjectKey


class Endpoint(Struct, frozen=True, kw_only=True, gc=False):
    """One endpoint of a slice. Only the first address is used, as kube-proxy does.

    `address` is parsed, `address_text` as the API had it. Conditions are None where the API left them out.
    `node_name` comes from nodeName, else from topology["kubernetes.io/hostname"] (v1beta1).
    """

    address: Address
    address_text: str
    ready: bool | None = None
    serving: bool | None = None
    terminating: bool | None = None
    node_name: str | None = None
    zone: str | None = None
    zone_hints: tuple[str, ...] = ()
    node_hints: tuple[str, ...] = ()
    target_kind: str | None = None
    target: ObjectKey | None = None


class ReadyEndpoints(Struct, frozen=True, gc=False):
    """Endpoints of which nothing is said but that they are ready and where: all of one family.

    `numbers` are the addresses as numbers, of IPv4 in an array of four bytes each; `text` has them as the API had them, one a
    line.
    """

    numbers: Sequence[int]
    text: str


class EndpointSource(typing.Protocol):
    """What makes of a slice's endpoints what is asked for, each time anew."""

    def endpoints(self) -> tuple[Endpoint, ...]:
        """All of them."""
        ...

    def are_sound(self) -> bool:
        """False if they cannot be decoded: then there are none."""
        ...

    def ready(self) -> ReadyEndpoints | None:
        """What they are if they are ready and no more, None if there is more to one."""
        ...

    def nodes(self) -> tuple[str | None, ...]:
        """If they are ready and no more: the nodes that they are on, None where the API told none."""
        ...


class LazyEndpoints(Sequence[Endpoint]):
    """Endpoints of which each becomes an object only when somebody looks at it: hardly any of 250,000 is.

    `ready` are they if they are ready and no more and that is known already.
    """

    __slots__ = ("_made", "_ready", "_source")

    def __init__(self, source: EndpointSource, ready: ReadyEndpoints | None = None) -> None:
        self._source = source
        self._ready = ready
        self._made: tuple[Endpoint, ...] | None = None

    @property
    def ready(self) -> ReadyEndpoints | None:
        """What they are if they are ready and no more, None if there is more to one."""
        if self._ready is None and self._made is None:
            self._ready = self._source.ready()
            if self._ready is None:
                self._all()
        return self._ready

    @property
    def are_sound(self) -> bool:
        """False if they turn out to make no sense, which shows only when they are read: then there are none."""
        return self._source.are_sound()

    @property
    def nodes(self) -> tuple[str | None, ...]:
        """The nodes that they are on, None where the API told none."""
        if self._made is None and self.ready is not None:
            return self._source.nodes()
        return tuple([item.node_name for item in self._all()])

    def _all(self) -> tuple[Endpoint, ...]:
        if self._made is None:
            self._made = self._source.endpoints()
        return self._made

    @overload
    def __getitem__(self, index: int) -> Endpoint: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[Endpoint, ...]: ...

    def __getitem__(self, index: int | slice) -> Endpoint | tuple[Endpoint, ...]:
        return self._all()[index]

    def __len__(self) -> int:
        ready = self.ready
        return len(ready.numbers if ready is not None else self._all())

    def __iter__(self) -> Iterator[Endpoint]:
        return iter(self._all())

    def __eq__(self, other: object) -> bool:
        return self._all() == (other._all() if isinstance(other, LazyEndpoints) else other)

    def __hash__(self) -> int:
        return hash(self._all())


class SlicePort(Struct, frozen=True, kw_only=True):
    """One port of a slice. `port` None means all ports, which kube-proxy skips."""

    name: str
    protocol: Protocol
    port: int | None = None


class EndpointSlice(Struct, frozen=True, kw_only=True, gc=False):
    """An EndpointSlice. `service` comes from the label kubernetes.io/service-name; None without it.

    Its labels and annotations are not kept but for what they say: `left_alone` is True if a label tells kube-proxy to leave it
    alone, `changed_at` is when the change happened that its controller followed last.
    """

    meta: Metadata
    service: ObjectKey | None
    address_type: str
    endpoints: Sequence[Endpoint] = ()
    ports: tuple[SlicePort, ...] = ()
    managed_by: str | None = None
    left_alone: bool = False
    changed_at: datetime | None = None

    @property
    def ready(self) -> ReadyEndpoints | None:
        """Its endpoints, if all are of its family and nothing is said of them but that they are ready and where."""
        ready = self.endpoints.ready if isinstance(self.endpoints, LazyEndpoints) else None
        if ready is not None:
            return ready
        family = self.family
        if family is None:
            return None
        for item in self.endpoints:
            unlike = item.ready is False or item.serving is False or item.terminating
            if unlike or item.zone_hints or item.node_hints or family_of(item.address) is not family:
                return None
        texts = [item.address_text for item in self.endpoints]
        if any("\n" in text for text in texts):
            return None
        return ReadyEndpoints(tuple([int(item.address) for item in self.endpoints]), "\n".join(texts))

    @property
    def nodes(self) -> tuple[str | None, ...]:
        """For each of its endpoints the node that it is on, None where the API told none."""
        if isinstance(self.endpoints, LazyEndpoints):
            return self.endpoints.nodes
        return tuple([item.node_name for item in self.endpoints])

    def holds(self, address: Address) -> bool:
        """True if an endpoint has this address."""
        return int(address) in self.numbers().get(family_of(address), ())

    def numbers(self) -> Mapping[Family, Sequence[int]]:
        """The addresses of its endpoints as numbers, by family."""
        ready = self.endpoints.ready if isinstance(self.endpoints, LazyEndpoints) else None
        if ready is not None and self.family is not None:
            return {self.family: ready.numbers}
        found: dict[Family, list[int]] = {}
        for endpoint in self.endpoints:
            found.setdefault(family_of(endpoint.address), []).append(int(endpoint.address))
        return found

    @property
    def family(self) -> Family | None:
        """The family of its addresses; None for FQDN."""
        return _FAMILIES.get(self.address_type)


_FAMILIES = {str(family): family for family in Family}


class LegacyEndpoints(Struct, frozen=True, kw_only=True):
    """A core/v1 Endpoints object, read for what only it can show (truncation, mirroring) and for old proxies."""

    meta: Metadata
    addresses: tuple[tuple[Address, str, Protocol, int], ...] = ()
    """Ready addresses: address, port name, protocol, port."""
    not_ready_addresses: tuple[tuple[Address, str, Protocol, int], ...] = ()
