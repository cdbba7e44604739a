"""Manifests → Plan: the objects that decide where packets go, each with the place where it stands."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from kdiag.errors import ParseError, UsageError
from kdiag.model.cluster import Pod, Service, ServiceCidr
from kdiag.model.endpoints import EndpointSlice, LegacyEndpoints
from kdiag.model.objects import ObjectKey
from kdiag.model.plan import PLANNED_PHASE, Place, Plan, Refusal
from kdiag.parse import api_objects, api_slices
from kdiag.parse import api_raw as raw
from kdiag.parse.service_rules import service_refusals
from kdiag.parse.yaml_documents import Document, load_documents

WORKLOADS = frozenset({"Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "ReplicationController"})
"""Kinds with a pod template that runs for good."""

_CLUSTER_WIDE = frozenset({"ServiceCIDR", "Namespace"})
_GROUPS: Mapping[str, tuple[str, ...]] = {
    "Service": ("v1",),
    "Endpoints": ("v1",),
    "Pod": ("v1",),
    "ReplicationController": ("v1",),
    "Namespace": ("v1",),
    "EndpointSlice": ("discovery.k8s.io/",),
    "ServiceCIDR": ("networking.k8s.io/",),
    "Deployment": ("apps/", "extensions/"),
    "StatefulSet": ("apps/",),
    "DaemonSet": ("apps/", "extensions/"),
    "ReplicaSet": ("apps/", "extensions/"),
}
"""What the apiVersion of a kind begins with: a Service of serving.knative.dev is another thing."""

_NESTED_LISTS = 5


class _Template(raw.Raw):
    """spec.template of a workload, with the labels that its pods get."""

    metadata: raw.ObjectMeta | None = None
    spec: raw.PodSpec | None = None


class _Described(raw.Raw):
    """Any object, for all of its metadata."""

    metadata: raw.ObjectMeta


class _WorkloadSpec(raw.Raw):
    replicas: int | None = None
    template: _Template | None = None


class _Workload(raw.Raw):
    """Any object with a pod template."""

    metadata: raw.ObjectMeta
    spec: _WorkloadSpec | None = None


def parse_manifests(files: Iterable[tuple[str, str]], *, namespace: str = "default") -> Plan:
    """What the manifests hold together; `files` are names and texts, `namespace` is for objects that name none.

    An object that kdiag cannot decode, one that the API server would refuse and one that stands twice are refusals of
    the plan, and of the latter the first is kept. Raises UsageError, with file and line, for text that is no YAML and
    documents that are no Kubernetes objects.
    """
    reader = _Reader(namespace)
    for source, text in files:
        try:
            documents = load_documents(text)
        except ParseError as error:
            raise UsageError(f"{Place(source=source, line=error.line)}: {error.message}") from None
        for document in documents:
            reader.document(document, source)
    return reader.plan()


class _Reader:
    """Takes documents one after the other."""

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace
        self.services: list[Service] = []
        self.slices: list[EndpointSlice] = []
        self.endpoints: list[LegacyEndpoints] = []
        self.cidrs: list[ServiceCidr] = []
        self.pods: list[Pod] = []
        self.refusals: list[Refusal] = []
        self.places: dict[tuple[str, ObjectKey], Place] = {}
        self.ignored: Counter[str] = Counter()

    def plan(self) -> Plan:
        """What was read so far."""
        return Plan(
            services=tuple(sorted(self.services, key=lambda item: item.key)),
            slices=tuple(sorted(self.slices, key=lambda item: item.meta.key)),
            endpoints=tuple(sorted(self.endpoints, key=lambda item: item.meta.key)),
            service_cidrs=tuple(sorted(self.cidrs, key=lambda item: item.meta.key)),
            pods=tuple(sorted(self.pods, key=lambda item: item.key)),
            refusals=tuple(sorted(self.refusals, key=lambda item: (item.place, item.reason))),
            places=dict(sorted(self.places.items())),
            ignored=dict(sorted(self.ignored.items())),
        )

    def document(self, document: Document, source: str) -> None:
        """One document with everything in it."""
        for content, line in _objects(document, source):
            self.object(content, Place(source=source, line=line))

    def object(self, content: Mapping[str, Any], place: Place) -> None:
        """One object that is no list."""
        kind, version = content.get("kind"), content.get("apiVersion")
        if not isinstance(kind, str) or not isinstance(version, str):
            raise UsageError(
                f"{place}: not a Kubernetes object: {'kind' if not isinstance(kind, str) else 'apiVersion'} is missing",
                hint="manifests alone may be named; templates must be rendered first (helm template, kustomize build)",
            )
        if not version.startswith(_GROUPS.get(kind, ("\0",))):
            self.ignored[kind] += 1
            return
        metadata = content.get("metadata")
        name = metadata.get("name") if isinstance(metadata, dict) else None
        if not isinstance(metadata, dict) or not isinstance(name, str) or not name:
            raise UsageError(f"{place}: this {kind} has no metadata.name")
        namespace = "" if kind in _CLUSTER_WIDE else metadata.get("namespace") or self.namespace
        key = ObjectKey(namespace=str(namespace), name=name)
        known = self.places.get((kind, key))
        if known is not None:
            self._refuse(kind, key, place, f"it stands at {known} already: whichever is applied last would count")
            return
        self.places[kind, key] = place
        try:
            self._keep(kind, key, place, {**content, "metadata": {**metadata, "namespace": namespace}})
        except (msgspec.MsgspecError, ValueError, TypeError, OverflowError, RecursionError) as error:
            self._refuse(kind, key, place, str(error))

    def _refuse(self, kind: str, key: ObjectKey, place: Place, reason: str) -> None:
        self.refusals.append(Refusal(kind=kind, key=key, place=place, reason=reason.rstrip(".")))

    def _keep(self, kind: str, key: ObjectKey, place: Place, content: Mapping[str, Any]) -> None:
        encoded = msgspec.json.encode(content)
        # Of some kinds not all labels and annotations are read below, but what is wrong in any of them the API server refuses.
        msgspec.json.decode(encoded, type=_Described)
        left_out: list[str] = []
        if kind == "Service":
            item = msgspec.json.decode(encoded, type=raw.Service)
            reasons = tuple(service_refusals(item))
            for reason in reasons:
                self._refuse(kind, key, place, reason)
            try:
                self.services.append(api_objects.service(item, left_out.append))
            except ValueError:
                if not reasons:
                    raise
            # Of addresses the rules have told already.
            left_out = [] if reasons else left_out
        elif kind == "EndpointSlice":
            slice_item = msgspec.json.decode(encoded, type=raw.EndpointSlice)
            self.slices.append(api_slices.endpoint_slice(slice_item, left_out.append))
        elif kind == "Endpoints":
            legacy = msgspec.json.decode(encoded, type=raw.Endpoints)
            self.endpoints.append(api_slices.legacy_endpoints(legacy, left_out.append))
        elif kind == "ServiceCIDR":
            cidr = msgspec.json.decode(encoded, type=raw.ServiceCidr)
            self.cidrs.append(api_objects.service_cidr(cidr, left_out.append))
        elif kind == "Pod":
            pod = msgspec.json.decode(encoded, type=raw.Pod)
            self.pods.append(_planned(key, pod.metadata.labels, pod.spec))
        elif kind in WORKLOADS:
            spec = msgspec.json.decode(encoded, type=_Workload).spec
            # A workload that is scaled to zero has no pods, and so nothing that a selector could match.
            if spec is not None and spec.template is not None and spec.replicas != 0:
                labels = spec.template.metadata.labels if spec.template.metadata is not None else None
                named = ObjectKey(namespace=key.namespace, name=f"{key.name} ({kind})")
                self.pods.append(_planned(named, labels, spec.template.spec or raw.PodSpec()))
        for reason in left_out:
            self._refuse(kind, key, place, reason)


def _planned(key: ObjectKey, labels: dict[str, str] | None, spec: raw.PodSpec) -> Pod:
    """A pod that is not there yet, decoded as one that is."""
    meta = raw.ObjectMeta(name=key.name, namespace=key.namespace, labels=labels)
    status = raw.PodStatus(phase=PLANNED_PHASE, conditions=[raw.Condition(type="Ready", status="True")])
    return api_objects.pod(raw.Pod(metadata=meta, spec=spec, status=status), lambda _: None)


def _objects(document: Document, source: str, depth: int = 0) -> Iterator[tuple[Mapping[str, Any], int]]:
    """The object of a document with its line, or those of the list that it is."""
    content = document.content
    if not isinstance(content, dict):
        raise UsageError(
            f"{Place(source=source, line=document.line)}: not a Kubernetes object but {_described(content)}",
            hint="manifests alone may be named; templates must be rendered first (helm template, kustomize build)",
        )
    kind, items = content.get("kind"), content.get("items")
    if not (isinstance(kind, str) and kind.endswith("List") and isinstance(items, list)) or depth > _NESTED_LISTS:
        yield content, document.line
        return
    lines = document.item_lines or (document.line,) * len(items)
    for item, line in zip(items, lines, strict=True):
        # The entries of a ServiceList need not say what they are.
        filled = item
        if isinstance(item, dict) and kind != "List":
            filled = {"kind": kind.removesuffix("List"), "apiVersion": content.get("apiVersion"), **item}
        yield from _objects(Document(content=filled, line=line), source, depth + 1)


def _described(content: object) -> str:
    return "a list" if isinstance(content, list) else f"the {type(content).__name__} {str(content)[:40]!r}"
