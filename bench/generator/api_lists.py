"""What the API says of a cluster, in the shape of Kubernetes 1.36."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from hashlib import sha256
from typing import Any

from bench.generator.cluster import CLUSTER_CIDR, SERVICE_CIDR, Cluster, Endpoint, Node, Service

VERSION = "v1.36.2"
_MADE = "2026-11-01T08:00:00Z"
"""When everything was made: long before the nodes are read."""

Json = dict[str, Any]

_SERVICE_FIELDS: Json = {
    "f:spec": {
        "f:internalTrafficPolicy": {},
        "f:ports": {
            ".": {},
            'k:{"port":80,"protocol":"TCP"}': {".": {}, "f:port": {}, "f:protocol": {}, "f:targetPort": {}},
        },
        "f:selector": {},
        "f:sessionAffinity": {},
        "f:type": {},
    }
}
_SLICE_FIELDS: Json = {
    "f:addressType": {},
    "f:endpoints": {},
    "f:metadata": {
        "f:annotations": {".": {}, "f:endpoints.kubernetes.io/last-change-trigger-time": {}},
        "f:generateName": {},
        "f:labels": {
            ".": {},
            "f:endpointslice.kubernetes.io/managed-by": {},
            "f:kubernetes.io/service-name": {},
        },
        "f:ownerReferences": {".": {}},
    },
    "f:ports": {},
}
_NODE_FIELDS: Json = {
    "f:status": {
        "f:addresses": {".": {}, 'k:{"type":"Hostname"}': {".": {}, "f:address": {}, "f:type": {}}},
        "f:allocatable": {".": {}, "f:cpu": {}, "f:memory": {}, "f:pods": {}},
        "f:conditions": {".": {}, 'k:{"type":"Ready"}': {".": {}, "f:lastHeartbeatTime": {}, "f:status": {}}},
        "f:images": {},
        "f:nodeInfo": {"f:kubeletVersion": {}, "f:osImage": {}},
    }
}


def list_bytes(kind: str, api_version: str, items: Iterable[Json], *, compact: bool = True) -> bytes:
    """A list document with one object a line, as kdiag keeps it."""
    encoder = json.JSONEncoder(separators=(",", ":") if compact else None)
    head = encoder.encode({"kind": kind, "apiVersion": api_version, "metadata": {"resourceVersion": "99000001"}})
    body = ",\n".join(encoder.encode(item) for item in items)
    return f'{head[:-1]},"items":[\n{body}\n]}}\n'.encode()


def services(cluster: Cluster, *, fields: bool = False) -> Iterator[Json]:
    """Objects of the list of Services; with `fields` as the server has them, with metadata.managedFields in full."""
    for service in cluster.services:
        ports = []
        for port in service.ports:
            entry: Json = {"name": port.name} if port.name else {}
            entry |= {"protocol": port.protocol, "port": port.port, "targetPort": port.target}
            if port.node_port:
                entry["nodePort"] = port.node_port
            ports.append(entry)
        spec: Json = {"ports": ports}
        if service.selects:
            spec["selector"] = {"app": service.name}
        spec |= {"clusterIP": service.cluster_ip, "clusterIPs": [service.cluster_ip], "type": service.type}
        spec["sessionAffinity"] = "ClientIP" if service.affinity else "None"
        if service.affinity:
            spec["sessionAffinityConfig"] = {"clientIP": {"timeoutSeconds": 10800}}
        if service.type != "ClusterIP":
            spec["externalTrafficPolicy"] = "Local" if service.local else "Cluster"
        if service.health_port:
            spec["healthCheckNodePort"] = service.health_port
        if service.type == "LoadBalancer":
            spec["allocateLoadBalancerNodePorts"] = True
        spec |= {"ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack", "internalTrafficPolicy": "Cluster"}
        status: Json = {"loadBalancer": {}}
        if service.load_balancer_ip:
            status = {"loadBalancer": {"ingress": [{"ip": service.load_balancer_ip, "ipMode": "VIP"}]}}
        metadata = _metadata(
            service.name, service.namespace, {"app": service.name}, _SERVICE_FIELDS if fields else None
        )
        yield {"metadata": metadata, "spec": spec, "status": status}


def endpoint_slices(cluster: Cluster, *, fields: bool = False) -> Iterator[Json]:
    """Objects of the list of EndpointSlices, of discovery.k8s.io/v1."""
    for service in cluster.services:
        for at in range(0, max(len(service.endpoints), 1), cluster.options.per_slice):
            part = service.endpoints[at : at + cluster.options.per_slice]
            yield _slice(cluster, service, at, part, fields=fields)


def nodes(cluster: Cluster, *, fields: bool = False) -> Iterator[Json]:
    """Objects of the list of Nodes, each with as many images as the options say."""
    images = [
        {
            "names": [
                f"registry.example/project/image-{number:03}@sha256:{sha256(bytes([number])).hexdigest()}",
                f"registry.example/project/image-{number:03}:1.{number}",
            ],
            "sizeBytes": 10_000_000 + number,
        }
        for number in range(cluster.options.images)
    ]
    for node in cluster.nodes:
        yield _node(node, images, fields=fields)


def namespaces(cluster: Cluster) -> Iterator[Json]:
    """Objects of the list of Namespaces."""
    for name in sorted({service.namespace for service in cluster.services}):
        yield {
            "metadata": {**_metadata(name, None, {"kubernetes.io/metadata.name": name}, None)},
            "spec": {"finalizers": ["kubernetes"]},
            "status": {"phase": "Active"},
        }


def service_cidrs() -> Iterator[Json]:
    """Objects of the list of ServiceCIDRs."""
    condition = {"type": "Ready", "status": "True", "lastTransitionTime": _MADE, "reason": "", "message": ""}
    yield {
        "metadata": _metadata("kubernetes", None, {}, None),
        "spec": {"cidrs": [SERVICE_CIDR]},
        "status": {"conditions": [condition]},
    }


def config_maps(cluster: Cluster) -> Iterator[Json]:
    """kube-proxy's and kubeadm's ConfigMaps."""
    mode = cluster.options.mode
    node_ports = "\n- primary" if mode == "nftables" else " null"
    proxy = (
        "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nbindAddress: 0.0.0.0\n"
        f"clusterCIDR: {CLUSTER_CIDR}\nmode: {mode}\niptables:\n  masqueradeAll: false\n  masqueradeBit: null\n"
        f"ipvs:\n  scheduler: ''\nnodePortAddresses:{node_ports}\n"
    )
    kubeadm = (
        "apiVersion: kubeadm.k8s.io/v1beta3\nkind: ClusterConfiguration\nclusterName: kubernetes\n"
        f"kubernetesVersion: {VERSION}\nnetworking:\n  dnsDomain: cluster.local\n  podSubnet: {CLUSTER_CIDR}\n"
        f"  serviceSubnet: {SERVICE_CIDR}\n"
    )
    for name, key, text in (
        ("kube-proxy", "config.conf", proxy),
        ("kubeadm-config", "ClusterConfiguration", kubeadm),
    ):
        yield {"metadata": _metadata(name, "kube-system", {}, None), "data": {key: text}}


def daemon_sets(cluster: Cluster) -> Iterator[Json]:
    """kube-proxy's DaemonSet."""
    labels = {"k8s-app": "kube-proxy"}
    command = [
        "/usr/local/bin/kube-proxy",
        "--config=/var/lib/kube-proxy/config.conf",
        "--hostname-override=$(NODE_NAME)",
    ]
    container = {"name": "kube-proxy", "image": f"kube-proxy:{VERSION}", "command": command}
    count = len(cluster.nodes)
    yield {
        "metadata": _metadata("kube-proxy", "kube-system", labels, None),
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"hostNetwork": True, "containers": [container]},
            },
        },
        "status": {"desiredNumberScheduled": count, "currentNumberScheduled": count, "numberReady": count},
    }


def _slice(cluster: Cluster, service: Service, at: int, part: tuple[Endpoint, ...], *, fields: bool) -> Json:
    name = f"{service.name}-{_uid(service.key, str(at))[:5]}"
    endpoints = []
    for endpoint in part:
        entry: Json = {
            "addresses": [endpoint.address],
            "conditions": {"ready": True, "serving": True, "terminating": False},
        }
        if endpoint.pod:
            entry["targetRef"] = {
                "kind": "Pod",
                "namespace": service.namespace,
                "name": endpoint.pod,
                "uid": _uid("pod", endpoint.pod),
            }
            node = cluster.nodes[endpoint.node]
            entry |= {"nodeName": node.name, "zone": node.zone}
        endpoints.append(entry)
    labels = {
        "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
        "kubernetes.io/service-name": service.name,
    }
    if not service.selects:
        name, labels = service.name, {"kubernetes.io/service-name": service.name}
    metadata = _metadata(name, service.namespace, labels, _SLICE_FIELDS if fields else None)
    if service.selects:
        metadata["generateName"] = f"{service.name}-"
        metadata["annotations"] = {"endpoints.kubernetes.io/last-change-trigger-time": _MADE}
        owner = {
            "apiVersion": "v1",
            "kind": "Service",
            "name": service.name,
            "uid": _uid(service.namespace, service.name),
        }
        metadata["ownerReferences"] = [{**owner, "controller": True, "blockOwnerDeletion": True}]
    return {
        "metadata": metadata,
        "addressType": "IPv4",
        "endpoints": endpoints,
        "ports": [{"name": port.name, "protocol": port.protocol, "port": port.target} for port in service.ports],
    }


def _node(node: Node, images: list[Json], *, fields: bool) -> Json:
    labels = {
        "kubernetes.io/arch": "amd64",
        "kubernetes.io/hostname": node.name,
        "kubernetes.io/os": "linux",
        "topology.kubernetes.io/zone": node.zone,
    }
    size = {"cpu": "16", "ephemeral-storage": "100Gi", "memory": "64Gi", "pods": "110"}
    ready = {
        "type": "Ready",
        "status": "True",
        "lastHeartbeatTime": _MADE,
        "lastTransitionTime": _MADE,
        "reason": "KubeletReady",
        "message": "kubelet is posting ready status",
    }
    status: Json = {
        "capacity": size,
        "allocatable": size,
        "conditions": [ready],
        "addresses": [
            {"type": "InternalIP", "address": node.address},
            {"type": "Hostname", "address": node.name},
        ],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}},
        "nodeInfo": {
            "machineID": _uid("machine", node.name),
            "systemUUID": _uid("system", node.name),
            "bootID": _uid("boot", node.name),
            "kernelVersion": "6.1.0-18-amd64",
            "osImage": "Debian GNU/Linux 12 (bookworm)",
            "containerRuntimeVersion": "containerd://1.7.13",
            "kubeletVersion": VERSION,
            "kubeProxyVersion": "",
            "operatingSystem": "linux",
            "architecture": "amd64",
        },
    }
    if images:
        status["images"] = images
    return {
        "metadata": _metadata(node.name, None, labels, _NODE_FIELDS if fields else None),
        "spec": {"podCIDR": node.pod_cidr, "podCIDRs": [node.pod_cidr]},
        "status": status,
    }


def _metadata(name: str, namespace: str | None, labels: dict[str, str], fields: Json | None) -> Json:
    metadata: Json = {"name": name}
    if namespace is not None:
        metadata["namespace"] = namespace
    metadata |= {"uid": _uid(namespace or "", name), "resourceVersion": "1000", "creationTimestamp": _MADE}
    if labels:
        metadata["labels"] = labels
    change: Json = {"time": _MADE}
    if fields is not None:
        change = {
            "manager": "kube-controller-manager",
            "operation": "Update",
            "apiVersion": "v1",
            "time": _MADE,
            "fieldsType": "FieldsV1",
            "fieldsV1": fields,
        }
    metadata["managedFields"] = [change]
    return metadata


def _uid(*parts: str) -> str:
    digits = sha256("/".join(parts).encode()).hexdigest()
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:32]}"
