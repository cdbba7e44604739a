"""Every way in which the API may ask for something else than the rules do: Services, slices, pods, nodes and settings."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from typing import Any

from tests.proof.edits import OTHER_PROTOCOL, Edit, other_address

Object = dict[str, Any]
Change = Callable[[Object], None]
# kube-proxy serves a Service that it has not seen before under these: nothing in the recordings has them.
NEW_ADDRESS = {4: "10.96.222.1", 6: "fd00:10:96::2221"}

DECISIVE = frozenset(
    {
        "Service removed",
        "Service added",
        "cluster IP changed",
        "made headless",
        "Service port changed",
        "Service protocol changed",
        "node port changed",
        "given to another proxy",
        "affinity changed",
        "external IP added",
        "external IP removed",
    }
)
"""What changes the fate of some packet on every node that serves the Service, whatever else is so."""


def api_edits(kind: str, text: str) -> Iterator[Edit]:
    """Every edit of one list of the API; `kind` is its name in a snapshot."""
    listed: Object = json.loads(text)
    makers: dict[str, Callable[[Object], Iterator[tuple[str, Change]]]] = {
        "services": _of_service,
        "endpointslices-v1": _of_slice,
        "endpointslices-v1beta1": _of_slice,
        "pods": _of_pod,
        "nodes": _of_node,
        "kube-system-configmaps": _of_config_map,
    }
    of_object = makers.get(kind)
    items: list[Object] = listed.get("items", [])
    if of_object is None or not items:
        return
    removed = {
        "services": "Service removed",
        "pods": "pod removed",
        "nodes": "node removed",
        "kube-system-configmaps": "ConfigMap removed",
    }.get(kind, "slice removed")
    for at, item in enumerate(items):
        name = _owner(item)
        yield _edit(removed, name, listed, at, None)
        for what, change in of_object(item):
            yield _edit(what, name, listed, at, change)


def _owner(item: Object) -> str:
    """`namespace/name`, for a slice of its Service."""
    meta = item["metadata"]
    name = meta.get("labels", {}).get("kubernetes.io/service-name") if "endpoints" in item else None
    return f"{meta.get('namespace', '')}/{name or meta['name']}"


def _edit(kind: str, name: str, listed: Object, at: int, change: Change | None) -> Edit:
    def make() -> str:
        items = list(listed["items"])
        if change is None:
            del items[at]
        elif kind == "Service added":
            added = copy.deepcopy(items[at])
            change(added)
            items.append(added)
        else:
            items[at] = copy.deepcopy(items[at])
            change(items[at])
        return json.dumps({**listed, "items": items})

    label = f"{name}-copy" if kind == "Service added" else name
    return Edit(kind=kind, place=f"{listed['items'][at]['metadata']['name']}", label=label, make=make)


def _set(*path: str | int, to: Any) -> Change:
    def change(item: Any) -> None:
        for step in path[:-1]:
            item = item[step]
        item[path[-1]] = to

    return change


def _drop(*path: str | int) -> Change:
    def change(item: Any) -> None:
        for step in path[:-1]:
            item = item[step]
        del item[path[-1]]

    return change


def _of_service(item: Object) -> Iterator[tuple[str, Change]]:
    spec: Object = item["spec"]
    address = spec.get("clusterIP")
    if not address or address == "None":
        return

    def labelled(service: Object) -> None:
        service["metadata"].setdefault("labels", {})["service.kubernetes.io/service-proxy-name"] = "other"

    def headless(service: Object) -> None:
        service["spec"].update(clusterIP="None", clusterIPs=["None"], type="ClusterIP")
        for port in service["spec"]["ports"]:
            port.pop("nodePort", None)

    def moved(service: Object) -> None:
        inner = service["spec"]
        inner["clusterIP"] = other_address(address)
        if inner.get("clusterIPs"):
            inner["clusterIPs"][0] = inner["clusterIP"]

    def added(service: Object) -> None:
        new = NEW_ADDRESS[6 if ":" in address else 4]
        service["metadata"].update(name=f"{service['metadata']['name']}-copy", uid="0")
        service["spec"].update(clusterIP=new, clusterIPs=[new], type="ClusterIP", ipFamilies=None, externalIPs=None)
        service["status"] = {"loadBalancer": {}}
        for port in service["spec"]["ports"]:
            port.pop("nodePort", None)

    yield "given to another proxy", labelled
    yield "made headless", headless
    yield "cluster IP changed", moved
    yield "Service added", added
    for at, port in enumerate(spec.get("ports", [])):
        yield "Service port changed", _set("spec", "ports", at, "port", to=port["port"] + 1)
        protocol = OTHER_PROTOCOL.get(port.get("protocol", "TCP").lower())
        if protocol:
            yield "Service protocol changed", _set("spec", "ports", at, "protocol", to=protocol.upper())
        if port.get("nodePort"):
            yield "node port changed", _set("spec", "ports", at, "nodePort", to=port["nodePort"] + 500)
            yield "node port removed", _drop("spec", "ports", at, "nodePort")
        if len(spec["ports"]) > 1:
            yield "Service port removed", _drop("spec", "ports", at)
    yield from _affinity_and_policy(spec)
    yield from _outer_addresses(item)


def _affinity_and_policy(spec: Object) -> Iterator[tuple[str, Change]]:
    if spec.get("sessionAffinity") == "ClientIP":
        yield "affinity changed", _set("spec", "sessionAffinity", to="None")
        yield "affinity time changed", _set("spec", "sessionAffinityConfig", to={"clientIP": {"timeoutSeconds": 17}})
    else:

        def sticky(service: Object) -> None:
            service["spec"]["sessionAffinity"] = "ClientIP"
            service["spec"]["sessionAffinityConfig"] = {"clientIP": {"timeoutSeconds": 600}}

        yield "affinity changed", sticky
    for policy in ("externalTrafficPolicy", "internalTrafficPolicy"):
        if policy in spec:
            other = "Local" if spec[policy] == "Cluster" else "Cluster"
            yield f"{policy} changed", _set("spec", policy, to=other)


def _outer_addresses(item: Object) -> Iterator[tuple[str, Change]]:
    spec: Object = item["spec"]
    held = spec.get("externalIPs") or []
    fresh = "203.0.113.222" if "." in spec["clusterIP"] else "2001:db8::222"
    yield "external IP added", _set("spec", "externalIPs", to=[*held, fresh])
    for at, address in enumerate(held):
        other = "" if (":" in address) == (":" in spec["clusterIP"]) else " of the other family"
        yield f"external IP{other} removed", _set("spec", "externalIPs", to=[*held[:at], *held[at + 1 :]])
    ingress = item.get("status", {}).get("loadBalancer", {}).get("ingress") or []
    for at, entry in enumerate(ingress):
        if entry.get("ip"):
            yield (
                "load-balancer IP changed",
                _set("status", "loadBalancer", "ingress", at, "ip", to=other_address(entry["ip"])),
            )
            yield "load-balancer IP removed", _drop("status", "loadBalancer", "ingress", at)
    if any(entry.get("ip") for entry in ingress):
        ranges = spec.get("loadBalancerSourceRanges")
        yield "source ranges changed", _set("spec", "loadBalancerSourceRanges", to=["198.51.100.0/24"])
        if ranges:
            yield "source ranges removed", _drop("spec", "loadBalancerSourceRanges")


def _of_slice(item: Object) -> Iterator[tuple[str, Change]]:
    endpoints: list[Object] = item.get("endpoints") or []
    for at, endpoint in enumerate(endpoints):
        conditions: Object = endpoint.get("conditions") or {}
        ready = conditions.get("ready", True)
        yield "endpoint removed", _drop("endpoints", at)
        yield "endpoint address", _set("endpoints", at, "addresses", 0, to=other_address(endpoint["addresses"][0]))
        other = {**conditions, "ready": not ready}
        yield "endpoint ready or not", _set("endpoints", at, "conditions", to=other)
        gone = {"ready": False, "serving": True, "terminating": True}
        yield "endpoint terminating", _set("endpoints", at, "conditions", to=gone)
        elsewhere = "node02" if endpoint.get("nodeName") != "node02" else "node01"
        yield "endpoint on another node", _set("endpoints", at, "nodeName", to=elsewhere)
    if endpoints:
        more = {**endpoints[0], "addresses": [other_address(endpoints[0]["addresses"][0])]}
        yield "endpoint added", _set("endpoints", to=[*endpoints, more])
    for at, port in enumerate(item.get("ports") or []):
        if port.get("port"):
            yield "endpoint port changed", _set("ports", at, "port", to=port["port"] + 1)
        yield "endpoint port renamed", _set("ports", at, "name", to=f"{port.get('name') or ''}x")


def _of_pod(item: Object) -> Iterator[tuple[str, Change]]:
    address = item.get("status", {}).get("podIP")
    if address and not item["spec"].get("hostNetwork"):

        def moved(pod: Object) -> None:
            pod["status"]["podIP"] = other_address(address)
            if pod["status"].get("podIPs"):
                pod["status"]["podIPs"][0] = {"ip": other_address(address)}

        yield "pod IP changed", moved
    yield "pod on another node", _set("spec", "nodeName", to="node02")


def _of_node(item: Object) -> Iterator[tuple[str, Change]]:
    for at, entry in enumerate(item.get("status", {}).get("addresses", [])):
        if entry["type"] == "InternalIP":
            yield "node IP changed", _set("status", "addresses", at, "address", to=other_address(entry["address"]))
    if item["spec"].get("podCIDR"):

        def moved(node: Object) -> None:
            node["spec"].update(podCIDR="10.244.9.0/24", podCIDRs=["10.244.9.0/24"])

        yield "pod CIDR changed", moved


def _of_config_map(item: Object) -> Iterator[tuple[str, Change]]:
    for key, text in (item.get("data") or {}).items():
        for what, old, new in (
            ("clusterCIDR changed", "10.244.0.0/16", "10.245.0.0/16"),
            ("service range changed", "10.96.0.0/12", "10.112.0.0/12"),
            ("masqueradeAll set", "masqueradeAll: false", "masqueradeAll: true"),
            ("proxy mode changed", 'mode: ""', 'mode: "ipvs"'),
        ):
            if old in text:
                yield f"ConfigMap: {what}", _set("data", key, to=text.replace(old, new))


def configz_edits(text: str) -> Iterator[Edit]:
    """Every edit of a kube-proxy's own configuration that tells what it ought to write."""
    document: Object = json.loads(text)
    ((top, config),) = document.items()

    def edit(kind: str, change: Change) -> Edit:
        def make() -> str:
            new = copy.deepcopy(config)
            change(new)
            return json.dumps({top: new})

        return Edit(kind=f"configz: {kind}", place=top, label="", make=make)

    iptables = config.get("iptables") or {}
    yield edit("masqueradeAll", _set("iptables", to={**iptables, "masqueradeAll": not iptables.get("masqueradeAll")}))
    yield edit("nodePortAddresses", _set("nodePortAddresses", to=["192.168.56.0/24"]))
    yield edit("detectLocalMode", _set("detectLocalMode", to="NodeCIDR"))
    yield edit("clusterCIDR", _set("clusterCIDR", to="10.245.0.0/16"))
