"""API lists → ClusterState.

A list is decoded in two steps, its frame first and then each object by itself: one odd object costs one gap and not
the run, and a list that was cut short is told from a short list.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from kdiag.model.cluster import ClusterState
from kdiag.model.endpoints import EndpointSlice
from kdiag.model.objects import ObjectKey
from kdiag.model.report import Gap
from kdiag.model.snapshot import Recording, Stored
from kdiag.parse import api_objects, api_raw, api_slices
from kdiag.parse.api_fields import Complain
from kdiag.parse.api_lines import Line, Lines, lines_of

_Wire = TypeVar("_Wire", bound=api_raw.Raw)
_Model = TypeVar("_Model")

_MALFORMED = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class _Kind(Struct, Generic[_Wire, _Model], frozen=True, kw_only=True):
    """How one kind is read. `plural` is its name in `ClusterState.seen`, `list_kind` the kind of its lists. `at_once` decodes
    and converts encoded objects of a text where that is quicker than one after the other, and may say other things of an odd one.
    """

    plural: str
    list_kind: str
    decoder: msgspec.json.Decoder[_Wire]
    convert: Callable[[_Wire, Complain], _Model]
    at_once: Callable[[bytes | Stored, Iterable[Line], Complain], list[_Model]] | None = None

    def made_of(self, whole: bytes | Stored, lines: Iterable[Line], complain: Complain) -> list[_Model]:
        """The objects of encoded ones."""
        if self.at_once is not None:
            return self.at_once(whole, lines, complain)
        return [self.convert(self.decoder.decode(line), complain) for _, _, line in lines]


_SERVICES = _Kind(
    plural="services",
    list_kind="ServiceList",
    decoder=msgspec.json.Decoder(api_raw.Service),
    convert=api_objects.service,
)
_SLICES = _Kind(
    plural="endpointslices",
    list_kind="EndpointSliceList",
    decoder=msgspec.json.Decoder(api_raw.EndpointSlice),
    convert=api_slices.endpoint_slice,
    at_once=api_slices.encoded_slices,
)
_SPARED_SLICES = replace(_SLICES, at_once=api_slices.spared_slices)
_ENDPOINTS = _Kind(
    plural="endpoints",
    list_kind="EndpointsList",
    decoder=msgspec.json.Decoder(api_raw.Endpoints),
    convert=api_slices.legacy_endpoints,
)
_NODES = _Kind(
    plural="nodes",
    list_kind="NodeList",
    decoder=msgspec.json.Decoder(api_raw.Node),
    convert=api_objects.node,
)
_PODS = _Kind(
    plural="pods",
    list_kind="PodList",
    decoder=msgspec.json.Decoder(api_raw.Pod),
    convert=api_objects.pod,
)
_CONFIG_MAPS = _Kind(
    plural="configmaps",
    list_kind="ConfigMapList",
    decoder=msgspec.json.Decoder(api_raw.ConfigMap),
    convert=api_objects.config_map,
)
_DAEMON_SETS = _Kind(
    plural="daemonsets",
    list_kind="DaemonSetList",
    decoder=msgspec.json.Decoder(api_raw.DaemonSet),
    convert=api_objects.daemon_set,
)
_SERVICE_CIDRS = _Kind(
    plural="servicecidrs",
    list_kind="ServiceCIDRList",
    decoder=msgspec.json.Decoder(api_raw.ServiceCidr),
    convert=api_objects.service_cidr,
)

_LIST = msgspec.json.Decoder(api_raw.ObjectList)
_STATUS = msgspec.json.Decoder(api_raw.Status)
_NAMED = msgspec.json.Decoder(api_raw.NamedObject)
_VERSION = msgspec.json.Decoder(api_raw.VersionInfo)

_LARGE_BYTES = 1 << 20
"""What of smaller lists did not change is not looked for: it would take as long."""

_REQUIRED = ("services", "nodes", "pods")
_SLICE_VERSIONS = ("endpointslices-v1", "endpointslices", "endpointslices-v1beta1")
_CIDR_VERSIONS = ("servicecidrs-v1", "servicecidrs", "servicecidrs-v1beta1")

_GROUPS = (
    ("endpointslices", ".discovery.k8s.io"),
    ("servicecidrs", ".networking.k8s.io"),
    ("daemonsets", ".apps"),
    ("configmaps", ""),
)
"""Kinds whose recordings are not named as the API server wants to be asked for them."""


Known = dict[str, dict[bytes, Any]]
"""What was made of encoded objects of large lists: by recording, and by their SHA-256."""


def parse_cluster(
    api: Mapping[str, Recording], *, few_endpoints: bool = False, known: Known | None = None
) -> tuple[ClusterState, tuple[Gap, ...]]:
    """The cluster as one reading of the API shows it, and what of it could not be read.

    Of several versions of a kind the best that the server has is taken (`endpointslices-v1` before
    `endpointslices-v1beta1`). `<namespace>-configmaps` and `<namespace>-daemonsets` add to `configmaps` and
    `daemonsets`. A kind that the server does not have (404) is no gap; one that it refused, that is damaged or that
    has more pages is, and so is a snapshot without services, nodes, pods, or without any endpoints. A list with more
    pages is read but not `seen`. Kinds that kdiag does not know are ignored. With `few_endpoints` those of a slice are read
    when somebody asks for them; then an address that is none is left out without a word. Of several readings that are given the
    same `known`, and read few endpoints or do not, each object of a large list that did not change between them is one.
    """
    with _without_cycles():
        return _parse(_Reader(api, known), _SPARED_SLICES if few_endpoints else _SLICES)


@contextmanager
def _without_cycles() -> Iterator[None]:
    """Keeps Python from looking for cycles, which objects of the API do not make, again and again among all of them."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _parse(
    reader: _Reader, slices_kind: _Kind[api_raw.EndpointSlice, EndpointSlice]
) -> tuple[ClusterState, tuple[Gap, ...]]:
    services = reader.first(("services",), _SERVICES)
    slices = reader.first(_SLICE_VERSIONS, slices_kind)
    endpoints = reader.first(("endpoints",), _ENDPOINTS)
    nodes = reader.first(("nodes",), _NODES)
    pods = reader.first(("pods",), _PODS)
    config_maps = reader.all(_CONFIG_MAPS)
    daemon_sets = reader.all(_DAEMON_SETS)
    service_cidrs = reader.first(_CIDR_VERSIONS, _SERVICE_CIDRS)
    version = reader.version()
    reader.require()
    state = ClusterState(
        server_version=version,
        services=tuple(services),
        slices=tuple(slices),
        endpoints=tuple(endpoints),
        nodes=tuple(nodes),
        pods=tuple(pods),
        config_maps=tuple({item.meta.key: item for item in config_maps}.values()),
        daemon_sets=tuple({item.meta.key: item for item in daemon_sets}.values()),
        service_cidrs=tuple(service_cidrs),
        seen=frozenset(reader.seen),
        unread={plural: frozenset(keys) for plural, keys in sorted(reader.unread.items())},
        sources=dict(sorted(reader.sources.items())),
        versions=dict(sorted(reader.versions.items())),
    )
    return state, tuple(sorted(set(reader.gaps), key=lambda gap: (gap.subject, gap.reason)))


class _Reader:
    """Reads recordings one kind after the other and notes gaps."""

    def __init__(self, api: Mapping[str, Recording], known: Known | None) -> None:
        self.api = api
        self.known = known
        self.gaps: list[Gap] = []
        self.seen: set[str] = set()
        self.unread: dict[str, set[ObjectKey]] = {}
        self.sources: dict[str, str] = {}
        self.versions: dict[str, str] = {}

    def first(self, names: Iterable[str], kind: _Kind[_Wire, _Model]) -> list[_Model]:
        """The objects of the first recording of `names` that the server had."""
        for recording_name in names:
            objects = self._objects(recording_name, kind) if recording_name in self.api else None
            if objects is not None:
                return objects
        return []

    def all(self, kind: _Kind[_Wire, _Model]) -> list[_Model]:
        """The objects of all recordings of a kind: `configmaps`, `kube-system-configmaps`, …"""
        out: list[_Model] = []
        for recording_name in sorted(self.api):
            if recording_name == kind.plural or recording_name.endswith(f"-{kind.plural}"):
                out.extend(self._objects(recording_name, kind) or ())
        return out

    def version(self) -> str | None:
        """The server's version, as `v1.30.3`."""
        recording = self.api.get("version")
        if recording is None:
            return None
        try:
            found = _VERSION.decode(recording.content.removeprefix(_BYTE_ORDER_MARK)).git_version
        except _MALFORMED as error:
            self._gap("version", f"not valid JSON: {error}")
            return None
        if not found:
            self._gap("version", "the API server did not tell its version")
            return None
        self.sources["version"] = recording.source
        return found

    def require(self) -> None:
        """Notes the kinds that kdiag cannot do without and that no recording has."""
        told = {gap.subject for gap in self.gaps}
        for plural in _REQUIRED:
            if plural not in self.seen and plural not in told:
                self._gap(plural, f"the snapshot has no list of {plural}")
        if not self.seen & {"endpointslices", "endpoints"} and not told & {*_SLICE_VERSIONS, "endpoints"}:
            self._gap("endpointslices", "the snapshot has neither EndpointSlices nor Endpoints")

    def _objects(self, recording_name: str, kind: _Kind[_Wire, _Model]) -> list[_Model] | None:
        """The objects of one recording; None if it holds no list of them."""
        recording = self.api[recording_name]
        lines = lines_of(recording.in_parts)
        if lines is not None:
            objects = self._plain_objects(recording_name, recording, lines, kind)
            if objects is not None:
                return objects
        frame = self._frame(recording_name, recording)
        if frame is None:
            return None
        if frame.kind not in (None, "List", kind.list_kind) or (frame.items is msgspec.UNSET and frame.kind is None):
            found = frame.kind or "something else"
            self._gap(recording_name, f"not a list of {kind.plural} but {found}{_circumstances(recording)}")
            return None
        items = frame.items if isinstance(frame.items, list) else []
        if frame.metadata is not None and frame.metadata.continue_:
            self._gap(recording_name, f"the list ends after {len(items)} objects and the server had more")
        else:
            self.seen.add(kind.plural)
        self._note(kind.plural, recording, frame)
        out: list[_Model] = []
        for index, item in enumerate(items):
            left_out: list[str] = []
            try:
                out.append(kind.convert(kind.decoder.decode(item), left_out.append))
            except (*_MALFORMED, ValueError, OverflowError) as error:
                self._odd(recording_name, kind.plural, item, index, f"not read: {error}")
            else:
                if left_out:
                    more = f" and {len(left_out) - 3} more" if len(left_out) > 3 else ""
                    self._odd(recording_name, kind.plural, item, index, f"left out: {'; '.join(left_out[:3])}{more}")
        return out

    def _plain_objects(
        self, recording_name: str, recording: Recording, lines: Lines, kind: _Kind[_Wire, _Model]
    ) -> list[_Model] | None:
        """The objects of a whole list with nothing odd in it, which stands there one object a line; else None.

        The same as what follows from `_frame`, in a third of the time: an object is gone through once, and not first to
        find its end.
        """
        left_out: list[str] = []
        try:
            frame = _LIST.decode(lines.head)
            if frame.kind != kind.list_kind or (frame.metadata is not None and frame.metadata.continue_):
                return None
            if self.known is None or lines.size_bytes < _LARGE_BYTES:
                out = kind.made_of(lines.whole, lines, left_out.append)
            else:
                out = _new_and_known(kind, lines, left_out, self.known.setdefault(recording_name, {}))
        except (*_MALFORMED, ValueError, OverflowError):
            return None
        if left_out:
            return None
        self.seen.add(kind.plural)
        self._note(kind.plural, recording, frame)
        return out

    def _note(self, plural: str, recording: Recording, frame: api_raw.ObjectList) -> None:
        """Where a list was read, and its version."""
        self.sources.setdefault(plural, recording.source)
        if frame.metadata is not None and frame.metadata.resource_version:
            self.versions.setdefault(plural, frame.metadata.resource_version)

    def _frame(self, recording_name: str, recording: Recording) -> api_raw.ObjectList | None:
        """The list with its objects still encoded; None if there is none, and a gap unless the server lacks the kind."""
        content = recording.content.removeprefix(_BYTE_ORDER_MARK)
        try:
            frame = _LIST.decode(content)
        except _MALFORMED as error:
            if recording.http_status != 404:  # an aggregated API may answer in plain text
                what = f"not valid JSON or cut short: {error}" if content.strip() else "empty"
                self._gap(recording_name, what + _circumstances(recording))
            return None
        if frame.kind == "Status":
            self._refused(recording_name, _STATUS.decode(content))
            return None
        return frame

    def _refused(self, recording_name: str, status: api_raw.Status) -> None:
        if status.code == 404 or status.reason == "NotFound":
            return
        if status.code == 403:
            ask = f"kubectl auth can-i {_permission(recording_name)}"
            reason = f"cannot list {recording_name}: forbidden; the permission to list it is missing ({ask})"
        elif status.code == 401:
            reason = f"cannot list {recording_name}: unauthorized; the API server does not know who asks"
        else:
            reason = f"cannot list {recording_name}: {status.message or status.reason or 'the API server refused'}"
        self._gap(recording_name, reason)

    def _odd(self, recording_name: str, plural: str, item: msgspec.Raw, index: int, reason: str) -> None:
        """A gap that names one object, by its number (from 0) if it has no name."""
        key = ObjectKey(namespace="", name="")
        try:
            meta = _NAMED.decode(item).metadata
            key = ObjectKey(namespace=meta.namespace or "", name=meta.name)
            subject = str(key)
        except _MALFORMED:
            subject = ""
        self.unread.setdefault(plural, set()).add(key)
        if not subject.isprintable():  # no API server has such names: do not show them to a terminal
            subject = ""
        self._gap(f"{recording_name} {subject or f'item {index}'}", reason)

    def _gap(self, subject: str, reason: str) -> None:
        self.gaps.append(Gap(subject=subject, reason=reason))


def _new_and_known(
    kind: _Kind[_Wire, _Model], lines: Lines, left_out: list[str], known: dict[bytes, _Model]
) -> list[_Model]:
    """The objects of a list; those that are known are not made again."""
    from hashlib import sha256

    found: list[_Model | None] = []
    digests: list[bytes] = []

    def new() -> Iterator[Line]:
        for line in lines:
            digest = sha256(line[2]).digest()
            item = known.get(digest)
            found.append(item)
            if item is None:
                digests.append(digest)
                yield line

    made = kind.made_of(lines.whole, new(), left_out.append)
    if not left_out:
        known.update(zip(digests, made, strict=True))
    following = iter(made)
    return [next(following) if item is None else item for item in found]


def _permission(recording_name: str) -> str:
    """What to ask `kubectl auth can-i` about a refused list: `list endpointslices.discovery.k8s.io --all-namespaces`."""
    for plural, group in _GROUPS:
        if recording_name.startswith(plural):
            return f"list {plural}{group} --all-namespaces"
        if recording_name.endswith(f"-{plural}"):
            return f"list {plural}{group} -n {recording_name.removesuffix(f'-{plural}')}"
    return f"list {recording_name} --all-namespaces"


def _circumstances(recording: Recording) -> str:
    """What else is known of an answer that is no JSON, in brackets."""
    known = [f"HTTP status {recording.http_status}"] if recording.http_status not in (None, 200) else []
    known += recording.stderr.split("\n")[:1] if recording.stderr else []
    return f" ({'; '.join(known)})" if known else ""
