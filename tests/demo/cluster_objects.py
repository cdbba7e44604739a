"""The demo's API lists: those of a recording, thinned out and brought to the demo's story."""

from __future__ import annotations

import copy
import json
import uuid
from collections.abc import Iterable, Mapping
from typing import Any

from kdiag.model.snapshot import Recording

Item = dict[str, Any]

KINDS = (
    "services",
    "endpoints",
    "endpointslices-v1",
    "nodes",
    "pods",
    "kube-system-configmaps",
    "kube-system-daemonsets",
    "servicecidrs",
    "version",
)
"""The lists that the demo has."""

SLICES = "endpointslices-v1"


class ClusterObjects:
    """Decoded API lists that can be edited. `resource_version` grows with every edit, as in a cluster."""

    def __init__(self, recordings: Mapping[str, Recording]) -> None:
        self._recordings = {kind: recordings[kind] for kind in KINDS}
        self._lists: dict[str, Any] = {kind: json.loads(item.content) for kind, item in self._recordings.items()}
        self._resource_version = 1000

    def recordings(self) -> dict[str, Recording]:
        """The lists as the API would give them now."""
        for listed in self._lists.values():
            if "items" in listed:
                listed["metadata"]["resourceVersion"] = str(self._resource_version)
        return {
            kind: Recording(
                source=recording.source,
                content=json.dumps(self._lists[kind], indent=1).encode() + b"\n",
                http_status=recording.http_status,
            )
            for kind, recording in self._recordings.items()
        }

    def items(self, kind: str) -> list[Item]:
        """All objects of a kind."""
        listed: list[Item] = self._lists[kind]["items"]
        return listed

    def keep(self, kind: str, names: Iterable[str]) -> None:
        """Drop all objects of a kind but these (`namespace/name`; a name alone for cluster-scoped ones)."""
        wanted = set(names)
        kept = [item for item in self.items(kind) if _name(item) in wanted]
        assert {_name(item) for item in kept} == wanted, (kind, wanted)
        self._lists[kind]["items"] = kept

    def keep_services(self, names: Iterable[str]) -> None:
        """Drop all Services but these, with the endpoints of the others."""
        wanted = set(names)
        self.keep("services", wanted)
        self.keep("endpoints", wanted)
        self._lists[SLICES]["items"] = [item for item in self.items(SLICES) if _owner(item) in wanted]

    def get(self, kind: str, name: str) -> Item:
        """One object (`namespace/name`)."""
        (found,) = (item for item in self.items(kind) if _name(item) == name)
        return found

    def slice_of(self, service: str) -> Item:
        """The only EndpointSlice of a Service."""
        (found,) = (item for item in self.items(SLICES) if _owner(item) == service)
        return found

    def touch(self, item: Item, *, at: str | None = None) -> None:
        """Note that an object was changed; `at` makes it a new object of that time with an identity of its own."""
        self._resource_version += 7
        item["metadata"]["resourceVersion"] = str(self._resource_version)
        if at is not None:
            item["metadata"]["creationTimestamp"] = at
            item["metadata"]["uid"] = str(uuid.uuid5(uuid.NAMESPACE_URL, f"{_name(item)}/{self._resource_version}"))

    def add_pod(self, model: str, *, name: str, node: str, address: str, labels: Mapping[str, str], at: str) -> Item:
        """A running pod that is like another one but for what is named here."""
        item = copy.deepcopy(self.get("pods", model))
        host = self.get("nodes", node)
        item["metadata"].update(name=name)
        zone = host["metadata"]["labels"]["topology.kubernetes.io/zone"]
        item["metadata"]["labels"] = {**labels, "topology.kubernetes.io/zone": zone}
        container = item["spec"]["containers"][0]
        container["name"] = item["status"]["containerStatuses"][0]["name"] = labels["app"]
        item["spec"]["nodeName"] = node
        item["status"].update(
            podIP=address, podIPs=[{"ip": address}], hostIP=host["status"]["addresses"][0]["address"], startTime=at
        )
        for condition in item["status"]["conditions"]:
            condition["lastTransitionTime"] = at
        item["status"]["containerStatuses"][0]["state"] = {"running": {"startedAt": at}}
        self.touch(item, at=at)
        self._insert("pods", item)
        return item

    def add_service(self, model: str, *, name: str, address: str, selector: Mapping[str, str], at: str) -> Item:
        """A Service with Endpoints and an EndpointSlice that is like another one but for what is named here."""
        service = copy.deepcopy(self.get("services", model))
        service["metadata"]["name"] = name
        service["spec"].update(clusterIP=address, clusterIPs=[address], selector=dict(selector))
        self.touch(service, at=at)
        endpoints = copy.deepcopy(self.get("endpoints", model))
        endpoints["metadata"]["name"] = name
        self.touch(endpoints, at=at)
        part = copy.deepcopy(self.slice_of(model))
        part["metadata"].update(name=f"{name}-x7k2p", generateName=f"{name}-")
        part["metadata"]["labels"]["kubernetes.io/service-name"] = name
        part["metadata"]["ownerReferences"][0].update(name=name, uid=service["metadata"]["uid"])
        self.touch(part, at=at)
        for kind, item in (("services", service), ("endpoints", endpoints), (SLICES, part)):
            self._insert(kind, item)
        return service

    def set_endpoint(self, service: str, pod: Item, *, at: str) -> None:
        """Make a pod the only endpoint of a Service that has one endpoint."""
        target = {
            "kind": "Pod",
            "namespace": pod["metadata"]["namespace"],
            "name": pod["metadata"]["name"],
            "uid": pod["metadata"]["uid"],
        }
        node = pod["spec"]["nodeName"]
        endpoints, part = self.get("endpoints", service), self.slice_of(service)
        ((subset,), (endpoint,)) = endpoints["subsets"], part["endpoints"]
        subset["addresses"] = [{"ip": pod["status"]["podIP"], "nodeName": node, "targetRef": target}]
        zone = pod["metadata"]["labels"]["topology.kubernetes.io/zone"]
        endpoint.update(addresses=[pod["status"]["podIP"]], targetRef=target, nodeName=node, zone=zone)
        part["metadata"]["generation"] += 1
        for item in (endpoints, part):
            item["metadata"]["annotations"]["endpoints.kubernetes.io/last-change-trigger-time"] = at
            self.touch(item)

    def rename_service(self, old: str, new: str) -> Item:
        """Rename a Service with its endpoints."""
        namespace, _, old_name = old.partition("/")
        assert new.startswith(f"{namespace}/")
        new_name = new.partition("/")[2]
        service, endpoints, part = self.get("services", old), self.get("endpoints", old), self.slice_of(old)
        service["metadata"]["name"] = endpoints["metadata"]["name"] = new_name
        part["metadata"]["name"] = part["metadata"]["name"].replace(old_name, new_name, 1)
        part["metadata"]["generateName"] = f"{new_name}-"
        part["metadata"]["labels"]["kubernetes.io/service-name"] = new_name
        part["metadata"]["ownerReferences"][0]["name"] = new_name
        for kind in ("services", "endpoints", SLICES):
            self.items(kind).sort(key=_name)
        return service

    def drop_fields(self) -> None:
        """Drop what is long and says nothing of the network: field managers, volumes."""
        for listed in self._lists.values():
            for item in listed.get("items", ()):
                item["metadata"].pop("managedFields", None)
        for pod in self.items("pods"):
            pod["spec"].pop("volumes", None)
            for container in pod["spec"]["containers"]:
                container.pop("volumeMounts", None)

    def _insert(self, kind: str, item: Item) -> None:
        self.items(kind).append(item)
        self.items(kind).sort(key=_name)


def _name(item: Item) -> str:
    namespace = item["metadata"].get("namespace")
    return f"{namespace}/{item['metadata']['name']}" if namespace else str(item["metadata"]["name"])


def _owner(item: Item) -> str:
    return f"{item['metadata']['namespace']}/{item['metadata']['labels']['kubernetes.io/service-name']}"
