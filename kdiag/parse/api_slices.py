"""EndpointSlices, and Endpoints objects, from their wire form to the model.

As in `api_objects`, a part that makes no sense is left out and told to `complain`, and what makes no sense as a whole raises
ValueError. Of a slice whose endpoints are ready, and no more, their addresses are kept; the rest is read again when somebody
asks for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import compress, islice
from sys import intern

import msgspec
from msgspec import Struct

from kdiag.model.addresses import Address, Family, Protocol, family_of
from kdiag.model.endpoints import Endpoint, EndpointSlice, LazyEndpoints, LegacyEndpoints, ReadyEndpoints, SlicePort
from kdiag.model.objects import ObjectKey
from kdiag.model.snapshot import Part, Stored
from kdiag.parse import api_raw as raw
from kdiag.parse.api_fields import (
    Complain,
    address,
    bare_metadata,
    ipv4_numbers,
    metadata,
    moment,
    protocol,
    sloppy_address,
)
from kdiag.parse.api_lines import Line

_OUTLINE_DECODER = msgspec.json.Decoder(raw.EndpointSlice)
_SLICE_DECODER = msgspec.json.Decoder(raw.WholeEndpointSlice)
_ENDPOINTS_DECODER = msgspec.json.Decoder(list[raw.Endpoint] | None)
_NO_LABELS = raw.SliceLabels()
_LABEL_HOSTNAME = "kubernetes.io/hostname"
_LABEL_ZONE = "topology.kubernetes.io/zone"
_LABEL_OLD_ZONE = "failure-domain.beta.kubernetes.io/zone"
_IPV4 = Family.IPV4.value
_AT_ONCE = 128
"""Slices whose endpoints are in memory together."""
_MALFORMED = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def endpoint_slice(item: raw.EndpointSlice, complain: Complain) -> EndpointSlice:
    """An EndpointSlice of v1 or v1beta1. Those with host names (addressType FQDN) have no endpoints here."""
    source = _EncodedEndpoints(item.address_type, item.endpoints)
    items = source.decoded()
    return _slice(item, _endpoints_of(items, source, _ready(items, item.address_type), complain))


def encoded_slices(whole: bytes | Stored, lines: Iterable[Line], complain: Complain) -> list[EndpointSlice]:
    """The same of encoded slices. Each is gone through once, and not first to find its endpoints."""
    out: list[EndpointSlice] = []
    lines = iter(lines)
    while some := [*islice(lines, _AT_ONCE)]:
        items, texts, counts = _read(some)
        # Making numbers of many addresses at once takes half as long.
        numbers = ipv4_numbers("\n".join(compress(texts, counts)), sum(counts))
        first = 0
        for (start, end, line), item, text, count in zip(some, items, texts, counts, strict=True):
            source = _EncodedSlice(intern(item.address_type), whole, start, end)
            endpoints: Sequence[Endpoint]
            if numbers is not None and count:
                endpoints = LazyEndpoints(source, ReadyEndpoints(numbers[first : first + count], text))
                first += count
            else:
                found = (_SLICE_DECODER.decode(line) if count else item).endpoints or ()
                endpoints = _endpoints_of(found, source, _ready(found, item.address_type), complain)
            out.append(_slice(item, endpoints))
    return out


def spared_slices(whole: bytes | Stored, lines: Iterable[Line], complain: Complain) -> list[EndpointSlice]:
    """The same, but endpoints are not read before somebody asks for them: where few are looked at. Of addresses that make
    no sense nobody is told, and of endpoints that cannot be decoded only who asks whether they are sound."""
    out: list[EndpointSlice] = []
    for start, end, line in lines:
        item = _OUTLINE_DECODER.decode(line)
        if item.address_type == "FQDN":
            out += encoded_slices(whole, [(start, end, line)], complain)
        else:
            source = _EncodedSlice(intern(item.address_type), whole, start, end)
            out.append(_slice(item, LazyEndpoints(source)))
    return out


class _Source(Struct, frozen=True, gc=False):
    """What makes endpoints of a slice that is decoded once more for it. Nobody is told then of what makes no sense: that was
    done when it was read, or nobody wants to know. Endpoints that cannot be decoded are none."""

    address_type: str

    def decoded(self) -> Sequence[raw.Endpoint]:
        raise NotImplementedError

    def are_sound(self) -> bool:
        try:
            self.decoded()
        except _MALFORMED:
            return False
        return True

    def items(self) -> Sequence[raw.Endpoint]:
        try:
            return self.decoded()
        except _MALFORMED:
            return ()

    def endpoints(self) -> tuple[Endpoint, ...]:
        return tuple(_endpoints(self.items(), _say_nothing))

    def ready(self) -> ReadyEndpoints | None:
        return _ready(self.items(), self.address_type)

    def nodes(self) -> tuple[str | None, ...]:
        return tuple([item.node_name or None for item in self.items()])


class _EncodedSlice(_Source, frozen=True, gc=False):
    whole: bytes | Stored
    start: int
    end: int

    def decoded(self) -> Sequence[raw.Endpoint]:
        return _SLICE_DECODER.decode(Part(self.whole, self.start, self.end).read()).endpoints or ()


class _EncodedEndpoints(_Source, frozen=True, gc=False):
    encoded: msgspec.Raw

    def decoded(self) -> Sequence[raw.Endpoint]:
        return _ENDPOINTS_DECODER.decode(self.encoded) or ()


def _say_nothing(_: str) -> None:
    pass


def _slice(item: raw.EndpointSlice | raw.WholeEndpointSlice, endpoints: Sequence[Endpoint]) -> EndpointSlice:
    meta = bare_metadata(item.metadata)
    labels, annotations = item.metadata.labels or _NO_LABELS, item.metadata.annotations
    changed = annotations.changed if annotations is not None else None
    return EndpointSlice(
        meta=meta,
        service=ObjectKey(namespace=meta.key.namespace, name=labels.service) if labels.service else None,
        address_type=intern(item.address_type),
        endpoints=endpoints,
        ports=_ports(*item.ports) if item.ports else (),
        managed_by=intern(labels.managed_by) if labels.managed_by is not None else None,
        left_alone=labels.proxy is not None or labels.headless is not None,
        changed_at=moment(changed) if changed else None,
    )


@lru_cache(4096)
def _ports(*ports: raw.EndpointPort) -> tuple[SlicePort, ...]:
    """Thousands of slices have the same ports."""
    return tuple([SlicePort(name=item.name or "", protocol=protocol(item.protocol), port=item.port) for item in ports])


def _endpoints_of(
    items: Sequence[raw.Endpoint], source: _Source, ready: ReadyEndpoints | None, complain: Complain
) -> Sequence[Endpoint]:
    if ready is not None:
        return LazyEndpoints(source, ready)
    return tuple(_endpoints(items, complain)) if source.address_type != "FQDN" else ()


def _read(lines: Sequence[Line]) -> tuple[list[raw.WholeEndpointSlice], list[str], list[int]]:
    """Slices. Of those of IPv4 in which nothing is said of any endpoint but where it is: their addresses instead, one a line,
    and how many they are."""
    items, texts, counts = [], [], []
    for _, _, line in lines:
        item = _SLICE_DECODER.decode(line)
        listed = (item.address_type == _IPV4 and _first_addresses(item.endpoints or ())) or ()
        if listed:
            item.endpoints = None  # much the largest part: what is let go at once never leaves the processor's cache
        items.append(item)
        texts.append("\n".join(listed))
        counts.append(len(listed))
    return items, texts, counts


def _ready(items: Sequence[raw.Endpoint], address_type: str) -> ReadyEndpoints | None:
    """The endpoints of a slice, if nothing is said of any but where it is; None if there is more to one, or it is odd."""
    texts = _first_addresses(items)
    if texts is None:
        return None
    lines = "\n".join(texts)
    if address_type == _IPV4:
        numbers: Sequence[int] | None = ipv4_numbers(lines, len(texts))
        return ReadyEndpoints(numbers, lines) if numbers is not None else None
    found = [sloppy_address(text) for text in texts]
    if not all(item is not None and family_of(item) == address_type for item in found):
        return None
    if any("\n" in text for text in texts):
        return None
    return ReadyEndpoints(tuple([int(item) for item in found if item is not None]), lines)


def _first_addresses(items: Sequence[raw.Endpoint]) -> list[str] | None:
    """The first address of each endpoint, if nothing is said of any but where it is."""
    texts = []
    for item in items:
        conditions = item.conditions
        if conditions is not None and (
            conditions.ready is False or conditions.serving is False or conditions.terminating
        ):
            return None
        listed = item.addresses
        if not listed or item.hints is not None or item.topology is not None:
            return None
        texts.append(listed[0])
    return texts


def _endpoints(items: Iterable[raw.Endpoint], complain: Complain) -> Iterator[Endpoint]:
    nothing = raw.EndpointConditions()
    for item in items:
        if not item.addresses:
            continue  # kube-proxy skips an endpoint without address too (endpointslicecache.go)
        text = item.addresses[0]
        found = address(text, "endpoint address", complain)
        if found is None:
            continue
        conditions = item.conditions or nothing
        topology, reference, hints = item.topology or {}, item.target_ref, item.hints
        yield Endpoint(
            address=found,
            address_text=text,
            ready=conditions.ready,
            serving=conditions.serving,
            terminating=conditions.terminating,
            node_name=item.node_name or topology.get(_LABEL_HOSTNAME),
            zone=item.zone or topology.get(_LABEL_ZONE) or topology.get(_LABEL_OLD_ZONE),
            zone_hints=tuple(hint.name for hint in hints.for_zones or ()) if hints else (),
            node_hints=tuple(hint.name for hint in hints.for_nodes or ()) if hints else (),
            target_kind=reference.kind if reference else None,
            target=ObjectKey(namespace=reference.namespace or "", name=reference.name)
            if reference and reference.name
            else None,
        )


def legacy_endpoints(item: raw.Endpoints, complain: Complain) -> LegacyEndpoints:
    """A core/v1 Endpoints object; each address once for each port of its subset."""
    ready: list[tuple[Address, str, Protocol, int]] = []
    not_ready: list[tuple[Address, str, Protocol, int]] = []
    for subset in item.subsets or ():
        ports = [(p.name or "", protocol(p.protocol), p.port) for p in subset.ports or () if p.port is not None]
        for listed, out in ((subset.addresses, ready), (subset.not_ready_addresses, not_ready)):
            for entry in listed or ():
                found = address(entry.ip, "endpoint address", complain)
                if found is not None:
                    out.extend((found, *port) for port in ports)
    return LegacyEndpoints(meta=metadata(item.metadata), addresses=tuple(ready), not_ready_addresses=tuple(not_ready))
