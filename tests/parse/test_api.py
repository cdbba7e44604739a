"""API lists become the model; what cannot be read is named and costs nothing else."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from ipaddress import ip_address, ip_network
from typing import Any, ClassVar

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdiag.checks.service_endpoints import TOLERATE_UNREADY
from kdiag.expect.frontends import IGNORED_LABELS
from kdiag.expect.selection import HINT_ANNOTATIONS
from kdiag.model.addresses import Family, Protocol
from kdiag.model.cluster import (
    ClusterState,
    Container,
    ContainerPort,
    LoadBalancerIngress,
    Node,
    Pod,
    Service,
    ServicePort,
    TrafficPolicy,
)
from kdiag.model.endpoints import Endpoint, EndpointSlice, LazyEndpoints, SlicePort
from kdiag.model.objects import ObjectKey
from kdiag.model.report import Gap, GapKind
from kdiag.model.snapshot import Recording
from kdiag.parse import api_fields, api_raw, api_slices
from kdiag.parse.api import parse_cluster
from tests.corpus_fixtures import HEALTHY_IPTABLES, OTHER_MODES, cluster, fault

LIST_KINDS = {
    "services": "ServiceList",
    "endpointslices-v1": "EndpointSliceList",
    "endpointslices-v1beta1": "EndpointSliceList",
    "endpoints": "EndpointsList",
    "nodes": "NodeList",
    "pods": "PodList",
    "configmaps": "ConfigMapList",
    "kube-system-configmaps": "ConfigMapList",
    "kube-system-daemonsets": "DaemonSetList",
    "servicecidrs": "ServiceCIDRList",
}
FORBIDDEN = {"kind": "Status", "status": "Failure", "reason": "Forbidden", "code": 403, "message": "no", "metadata": {}}
NOT_FOUND = {"kind": "Status", "status": "Failure", "reason": "NotFound", "code": 404, "metadata": {}}


def recording(kind: str, content: object, **facts: Any) -> Recording:
    raw = content if isinstance(content, bytes) else json.dumps(content).encode()
    return Recording(source=f"cluster/{kind}.json", content=raw, **facts)


def listed(kind: str, *items: object, **metadata: object) -> Recording:
    return recording(kind, {"kind": LIST_KINDS[kind], "apiVersion": "v1", "metadata": metadata, "items": list(items)})


def api(**changes: Recording | None) -> dict[str, Recording]:
    """The least API without gaps; keys have `_` for `-`, None takes a kind away."""
    base: dict[str, Recording | None] = {
        kind: listed(kind) for kind in ("services", "endpointslices-v1", "nodes", "pods")
    }
    base.update({kind.replace("_", "-"): item for kind, item in changes.items()})
    return {kind: item for kind, item in base.items() if item is not None}


def meta(name: str = "web", namespace: str = "default", **fields: object) -> dict[str, object]:
    return {"name": name, "namespace": namespace, **fields}


def read(**changes: Recording | None) -> ClusterState:
    state, gaps = parse_cluster(api(**changes))
    assert gaps == ()
    return state


def gaps_of(**changes: Recording | None) -> list[tuple[str, str]]:
    _, gaps = parse_cluster(api(**changes))
    assert all(gap.kind is GapKind.FAILED and gap.node is None for gap in gaps)
    return [(gap.subject, gap.reason) for gap in gaps]


def service(spec: dict[str, object], **more: object) -> Service:
    (found,) = read(services=listed("services", {"metadata": meta(), "spec": spec, **more})).services
    return found


def endpoint_slice(kind: str = "endpointslices-v1", **fields: object) -> EndpointSlice:
    item = {"metadata": meta("web-abc"), "addressType": "IPv4", **fields}
    changes: dict[str, Recording | None] = {"endpointslices-v1": None, kind: listed(kind, item)}
    (found,) = read(**changes).slices
    return found


class TestService:
    def test_all_fields(self) -> None:
        found = service(
            {
                "type": "LoadBalancer",
                "clusterIP": "10.96.0.1",
                "clusterIPs": ["10.96.0.1", "fd00::1"],
                "ipFamilies": ["IPv4", "IPv6"],
                "ipFamilyPolicy": "RequireDualStack",
                "ports": [
                    {"name": "http", "port": 80, "protocol": "TCP", "targetPort": "web", "nodePort": 30080},
                    {"name": "dns", "port": 53, "protocol": "UDP", "targetPort": 5353},
                    {"name": "sctp", "port": 7, "protocol": "SCTP"},
                ],
                "externalIPs": ["192.0.2.1"],
                "loadBalancerSourceRanges": [" 198.51.100.0/24", "2001:db8::/32 "],
                "selector": {"app": "web"},
                "sessionAffinity": "ClientIP",
                "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 60}},
                "internalTrafficPolicy": "Local",
                "externalTrafficPolicy": "Local",
                "healthCheckNodePort": 31000,
                "publishNotReadyAddresses": True,
                "trafficDistribution": "PreferClose",
                "loadBalancerClass": "example.com/lb",
                "allocateLoadBalancerNodePorts": True,
            },
            status={"loadBalancer": {"ingress": [{"ip": "192.0.2.9", "ipMode": "VIP"}, {"hostname": "lb.example"}]}},
        )
        assert found == Service(
            meta=found.meta,
            type="LoadBalancer",
            cluster_ips=(ip_address("10.96.0.1"), ip_address("fd00::1")),
            ip_families=(Family.IPV4, Family.IPV6),
            ip_family_policy="RequireDualStack",
            ports=(
                ServicePort(name="http", protocol=Protocol.TCP, port=80, target_port="web", node_port=30080),
                ServicePort(name="dns", protocol=Protocol.UDP, port=53, target_port=5353),
                ServicePort(name="sctp", protocol=Protocol.SCTP, port=7),
            ),
            external_ips=(ip_address("192.0.2.1"),),
            ingress=(
                LoadBalancerIngress(ip=ip_address("192.0.2.9"), ip_mode="VIP"),
                LoadBalancerIngress(hostname="lb.example"),
            ),
            source_ranges=(ip_network("198.51.100.0/24"), ip_network("2001:db8::/32")),
            selector={"app": "web"},
            affinity_s=60,
            internal_policy=TrafficPolicy.LOCAL,
            external_policy=TrafficPolicy.LOCAL,
            health_check_node_port=31000,
            publish_not_ready=True,
            traffic_distribution="PreferClose",
            load_balancer_class="example.com/lb",
        )
        assert found.key == ObjectKey(namespace="default", name="web")

    def test_nothing_but_what_must_be(self) -> None:
        found = service({"ports": [{"port": 80, "targetPort": 0, "nodePort": 0}], "healthCheckNodePort": 0})
        assert found == Service(meta=found.meta, ports=(ServicePort(name="", protocol=Protocol.TCP, port=80),))

    @pytest.mark.parametrize(
        ("field", "value", "kept"),
        [
            ("healthCheckNodePort", 31000, {"health_check_node_port": 31000}),
            ("publishNotReadyAddresses", True, {"publish_not_ready": True}),
            ("publishNotReadyAddresses", False, {}),
            ("trafficDistribution", "PreferClose", {"traffic_distribution": "PreferClose"}),
            ("trafficDistribution", "", {"traffic_distribution": ""}),
            ("loadBalancerClass", "example.com/lb", {"load_balancer_class": "example.com/lb"}),
        ],
    )
    def test_what_few_have(self, field: str, value: object, kept: dict[str, Any]) -> None:
        found = service({field: value})
        assert found == Service(meta=found.meta, **kept)

    def test_null_is_absent(self) -> None:
        nulls = dict.fromkeys(
            "type clusterIP clusterIPs ipFamilies ports externalIPs loadBalancerSourceRanges selector sessionAffinity "
            "sessionAffinityConfig internalTrafficPolicy externalTrafficPolicy publishNotReadyAddresses".split()
        )
        found = service(dict(nulls), status={"loadBalancer": {"ingress": None}})
        assert found == Service(meta=found.meta)
        assert service(dict(nulls), status=None) == found

    @pytest.mark.parametrize(
        ("spec", "cluster_ips", "families"),
        [
            ({"clusterIP": "10.96.0.1"}, ["10.96.0.1"], [Family.IPV4]),
            ({"clusterIP": "fd00::1"}, ["fd00::1"], [Family.IPV6]),
            ({"clusterIP": "fd00::1", "ipFamily": "IPv6"}, ["fd00::1"], [Family.IPV6]),
            ({"clusterIP": ""}, [], []),
            ({"type": "ExternalName", "externalName": "example.com"}, [], []),
            ({"clusterIP": "10.96.0.1", "clusterIPs": []}, ["10.96.0.1"], [Family.IPV4]),
            ({"clusterIPs": ["fd00::1", "10.96.0.1"]}, ["fd00::1", "10.96.0.1"], [Family.IPV6, Family.IPV4]),
        ],
    )
    def test_families_of_an_old_api_come_from_the_addresses(
        self, spec: dict[str, object], cluster_ips: list[str], families: list[Family]
    ) -> None:
        found = service(spec)
        assert not found.headless
        assert [str(address) for address in found.cluster_ips] == cluster_ips
        assert list(found.ip_families) == families

    @pytest.mark.parametrize("spec", [{"clusterIP": "None"}, {"clusterIP": "None", "clusterIPs": ["None"]}])
    def test_headless(self, spec: dict[str, object]) -> None:
        found = service({**spec, "ipFamilies": ["IPv6"]})
        assert (found.headless, found.cluster_ips, found.ip_families) == (True, (), (Family.IPV6,))

    @pytest.mark.parametrize(
        ("spec", "affinity_s"),
        [
            ({"sessionAffinity": "ClientIP"}, 10800),
            ({"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {}}}, 10800),
            ({"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": None}}, 10800),
            ({"sessionAffinity": "None", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 5}}}, None),
        ],
    )
    def test_affinity(self, spec: dict[str, object], affinity_s: int | None) -> None:
        assert service(spec).affinity_s == affinity_s

    def test_the_annotation_for_cloud_load_balancers_restricts_nothing_on_a_node(self) -> None:
        annotations = {"service.beta.kubernetes.io/load-balancer-source-ranges": "10.0.0.0/8"}
        item = {"metadata": meta(annotations=annotations), "spec": {}}
        (found,) = read(services=listed("services", item)).services
        assert found.source_ranges == ()

    def test_labels_and_annotations_that_somebody_looks_at_are_kept(self) -> None:
        labels = dict.fromkeys(("k8s-app", *IGNORED_LABELS), "x")
        annotations = dict.fromkeys((TOLERATE_UNREADY, *HINT_ANNOTATIONS), "true")
        item = {"metadata": meta(labels={**labels, "app": "web"}, annotations={**annotations, "a": "b"}), "spec": {}}
        (found,) = read(services=listed("services", item)).services
        assert found.meta.labels == labels
        assert found.meta.annotations == annotations

    def test_ports_are_one_object_where_they_are_the_same(self) -> None:
        one, other = service({"ports": [{"port": 80}]}), service({"ports": [{"port": 80, "protocol": "UDP"}]})
        assert one.ports is service({"ports": [{"port": 80}]}).ports
        assert one.ports != other.ports

    def test_addresses_are_read_as_kubernetes_reads_them(self) -> None:
        found = service(
            {
                "clusterIP": "010.096.000.001",
                "externalIPs": ["::ffff:192.0.2.1"],
                "loadBalancerSourceRanges": ["010.0.0.0/8"],
            }
        )
        assert found.cluster_ips == (ip_address("10.96.0.1"),)
        assert found.external_ips == (ip_address("192.0.2.1"),)
        assert found.source_ranges == (ip_network("10.0.0.0/8"),)

    def test_metadata(self) -> None:
        item = {
            "metadata": meta(
                uid="u",
                labels={"a": "b"},
                creationTimestamp="2026-11-23T01:00:00+01:00",
                deletionTimestamp="2026-11-23T00:00:00",
                managedFields=[{"fieldsV1": {"f:x": {}}}],
            ),
        }
        (found,) = read(configmaps=listed("configmaps", item)).config_maps
        assert found.meta.uid == "u"
        assert found.meta.labels == {"a": "b"}
        assert found.meta.created_at == found.meta.deleted_at == datetime(2026, 11, 23, tzinfo=UTC)
        assert found.meta.deleted_at is not None
        assert found.meta.deleted_at.tzinfo is UTC


class TestEndpointSlice:
    @pytest.mark.parametrize("label", ["service.kubernetes.io/service-proxy-name", "service.kubernetes.io/headless"])
    def test_labels_tell_kube_proxy_to_leave_a_slice_alone_whatever_they_are_set_to(self, label: str) -> None:
        for value in ("", "mine"):
            assert endpoint_slice(metadata=meta("web-abc", labels={label: value, "app": "web"})).left_alone
        assert not endpoint_slice(metadata=meta("web-abc", labels={"app": "web"})).left_alone
        assert not endpoint_slice(metadata=meta("web-abc")).left_alone

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("2026-11-23T01:02:03Z", datetime(2026, 11, 23, 1, 2, 3, tzinfo=UTC)),
            ("2026-11-23T01:02:03.123456789Z", datetime(2026, 11, 23, 1, 2, 3, 123456, tzinfo=UTC)),
            ("2026-11-23T02:02:03+01:00", datetime(2026, 11, 23, 1, 2, 3, tzinfo=UTC)),
            ("", None),
            ("lately", None),
        ],
    )
    def test_when_the_change_was_that_its_controller_followed(self, text: str, expected: datetime | None) -> None:
        annotations = {"endpoints.kubernetes.io/last-change-trigger-time": text, "other": "x"}
        assert endpoint_slice(metadata=meta("web-abc", annotations=annotations)).changed_at == expected
        assert endpoint_slice(metadata=meta("web-abc", annotations={"other": "x"})).changed_at is None

    def test_v1(self) -> None:
        found = endpoint_slice(
            metadata=meta(
                "web-abc",
                labels={"kubernetes.io/service-name": "web", "endpointslice.kubernetes.io/managed-by": "controller"},
            ),
            endpoints=[
                {
                    "addresses": ["10.244.1.3", "10.244.1.4"],
                    "conditions": {"ready": True, "serving": True, "terminating": False},
                    "nodeName": "n1",
                    "zone": "z1",
                    "hints": {"forZones": [{"name": "z1"}], "forNodes": [{"name": "n1"}]},
                    "targetRef": {"kind": "Pod", "namespace": "default", "name": "web-0"},
                    "deprecatedTopology": {"kubernetes.io/hostname": "other"},
                },
                {"addresses": []},
                {"addresses": None},
                {"addresses": ["10.244.1.5"], "hints": {}, "targetRef": {"kind": "Node"}},
            ],
            ports=[{"name": "http", "port": 80, "protocol": "UDP"}, {"name": None, "port": None}],
        )
        assert found == EndpointSlice(
            meta=found.meta,
            service=ObjectKey(namespace="default", name="web"),
            address_type="IPv4",
            endpoints=(
                Endpoint(
                    address=ip_address("10.244.1.3"),
                    address_text="10.244.1.3",
                    ready=True,
                    serving=True,
                    terminating=False,
                    node_name="n1",
                    zone="z1",
                    zone_hints=("z1",),
                    node_hints=("n1",),
                    target_kind="Pod",
                    target=ObjectKey(namespace="default", name="web-0"),
                ),
                Endpoint(address=ip_address("10.244.1.5"), address_text="10.244.1.5", target_kind="Node"),
            ),
            ports=(
                SlicePort(name="http", protocol=Protocol.UDP, port=80),
                SlicePort(name="", protocol=Protocol.TCP, port=None),
            ),
            managed_by="controller",
        )

    @pytest.mark.parametrize("zone_label", ["topology.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/zone"])
    def test_v1beta1_has_the_node_in_its_topology(self, zone_label: str) -> None:
        topology = {"kubernetes.io/hostname": "n1", zone_label: "z1"}
        endpoints = [{"addresses": ["10.0.0.1"], "topology": topology}]
        (found,) = endpoint_slice("endpointslices-v1beta1", endpoints=endpoints).endpoints
        assert (found.node_name, found.zone) == ("n1", "z1")
        assert (found.ready, found.serving, found.terminating) == (None, None, None)

    def test_v1_goes_before_v1beta1(self) -> None:
        def item(name: str) -> dict[str, object]:
            return {"metadata": meta(name), "addressType": "IPv4"}

        old = listed("endpointslices-v1beta1", item("old"))
        state = read(endpointslices_v1=listed("endpointslices-v1", item("new")), endpointslices_v1beta1=old)
        assert [found.meta.key.name for found in state.slices] == ["new"]
        assert state.sources["endpointslices"] == "cluster/endpointslices-v1.json"
        state = read(endpointslices_v1=recording("endpointslices-v1", NOT_FOUND), endpointslices_v1beta1=old)
        assert [found.meta.key.name for found in state.slices] == ["old"]
        assert state.sources["endpointslices"] == "cluster/endpointslices-v1beta1.json"

    def test_address_text_stays_as_it_was(self) -> None:
        (found,) = endpoint_slice(addressType="IPv6", endpoints=[{"addresses": ["fd00:10:244:0::2"]}]).endpoints
        assert found.address == ip_address("fd00:10:244::2")
        assert found.address_text == "fd00:10:244:0::2"

    def test_host_names_are_no_endpoints(self) -> None:
        found = endpoint_slice(addressType="FQDN", endpoints=[{"addresses": ["example.com"]}])
        assert (found.endpoints, found.family, found.service) == ((), None, None)

    def test_null_is_absent(self) -> None:
        found = endpoint_slice(endpoints=None, ports=None)
        assert (found.endpoints, found.ports) == ((), ())


class TestOtherKinds:
    def test_endpoints(self) -> None:
        subsets = [
            {
                "addresses": [{"ip": "10.0.0.1"}, {"ip": "10.0.0.2"}],
                "notReadyAddresses": [{"ip": "10.0.0.3"}],
                "ports": [{"name": "http", "port": 80, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}],
            },
            {"addresses": [{"ip": "10.0.0.4"}], "ports": None},
            {"addresses": None},
        ]
        items = [{"metadata": meta(), "subsets": subsets}, {"metadata": meta("none"), "subsets": None}]
        found, nothing = read(endpoints=listed("endpoints", *items)).endpoints
        assert [(str(entry[0]), *entry[1:]) for entry in found.addresses] == [
            ("10.0.0.1", "http", Protocol.TCP, 80),
            ("10.0.0.1", "", Protocol.UDP, 53),
            ("10.0.0.2", "http", Protocol.TCP, 80),
            ("10.0.0.2", "", Protocol.UDP, 53),
        ]
        assert [str(entry[0]) for entry in found.not_ready_addresses] == ["10.0.0.3", "10.0.0.3"]
        assert nothing.addresses == ()

    def test_node(self) -> None:
        item = {
            "metadata": {"name": "n1", "labels": {"topology.kubernetes.io/zone": "z"}},
            "spec": {
                "podCIDR": "10.244.1.0/24",
                "podCIDRs": ["10.244.1.0/24", "fd00:10:244:1::/64"],
                "providerID": "aws:///x",
                "taints": [{"key": "a", "effect": "NoSchedule"}, {"key": "b", "value": "c", "effect": "NoExecute"}],
            },
            "status": {
                "addresses": [{"type": "InternalIP", "address": "192.0.2.1"}],
                "capacity": {"pods": "110", "cpu": 4},
                "conditions": [{"type": "Other", "status": "True"}, {"type": "Ready", "status": "Unknown"}],
                "nodeInfo": {"kubeletVersion": "v1.30.0", "operatingSystem": "windows"},
            },
        }
        (found,) = read(nodes=listed("nodes", item)).nodes
        assert found == Node(
            meta=found.meta,
            pod_cidrs=(ip_network("10.244.1.0/24"), ip_network("fd00:10:244:1::/64")),
            addresses=(("InternalIP", "192.0.2.1"),),
            ready=False,
            kubelet_version="v1.30.0",
            os="windows",
            provider_id="aws:///x",
            pod_capacity=110,
            taints=("a:NoSchedule", "b=c:NoExecute"),
        )
        assert (found.name, found.zone, str(found.meta.key)) == ("n1", "z", "n1")

    def test_a_node_that_says_little(self) -> None:
        labels = {"kubernetes.io/os": "windows"}
        items = [
            {"metadata": {"name": "a"}, "spec": {"podCIDR": "10.0.0.0/24"}, "status": {"capacity": {"pods": "1k"}}},
            {"metadata": {"name": "b", "labels": labels}},
        ]
        first, second = read(nodes=listed("nodes", *items)).nodes
        assert first == Node(meta=first.meta, pod_cidrs=(ip_network("10.0.0.0/24"),))
        assert second == Node(meta=second.meta, os="windows")

    def test_pod(self) -> None:
        item = {
            "metadata": meta("web-0"),
            "spec": {
                "nodeName": "n1",
                "hostNetwork": True,
                "containers": [
                    {
                        "name": "web",
                        "image": "web:1",
                        "command": ["web"],
                        "args": ["--x"],
                        "ports": [
                            {"name": "http", "containerPort": 80, "hostPort": 8080},
                            {"containerPort": 53, "protocol": "UDP", "hostPort": 0},
                        ],
                    }
                ],
                "initContainers": [{"name": "init"}, {"name": "sidecar", "restartPolicy": "Always"}],
            },
            "status": {
                "phase": "Running",
                "podIP": "10.244.1.3",
                "podIPs": [{"ip": "10.244.1.3"}, {"ip": "fd00::3"}],
                "conditions": [{"type": "Ready", "status": "True"}],
            },
        }
        (found,) = read(pods=listed("pods", item)).pods
        assert found == Pod(
            meta=found.meta,
            node_name="n1",
            host_network=True,
            phase="Running",
            ips=(ip_address("10.244.1.3"), ip_address("fd00::3")),
            ready=True,
            containers=(
                Container(
                    name="web",
                    image="web:1",
                    command=("web", "--x"),
                    ports=(
                        ContainerPort(name="http", protocol=Protocol.TCP, port=80, host_port=8080),
                        ContainerPort(name="", protocol=Protocol.UDP, port=53),
                    ),
                ),
                Container(name="sidecar"),
            ),
        )

    def test_a_pod_that_waits_to_be_bound(self) -> None:
        items = [
            {"metadata": meta(), "spec": {"nodeName": "", "containers": None}, "status": {"phase": "Pending"}},
            {"metadata": meta(), "spec": {}, "status": {"podIP": "10.0.0.1", "podIPs": None}},
            {"metadata": meta(), "spec": {}},
        ]
        waiting, old, bare = read(pods=listed("pods", *items)).pods
        assert waiting == Pod(meta=waiting.meta, phase="Pending")
        assert old.ips == (ip_address("10.0.0.1"),)
        assert bare == Pod(meta=bare.meta)

    def test_config_maps_of_several_lists(self) -> None:
        def item(namespace: str, name: str) -> dict[str, object]:
            return {"metadata": meta(name, namespace), "data": {"k": name}}

        state = read(
            kube_system_configmaps=listed("kube-system-configmaps", item("kube-system", "kube-proxy")),
            configmaps=listed("configmaps", item("kube-system", "kube-proxy"), item("kube-flannel", "cni")),
        )
        assert [(str(found.meta.key), found.data) for found in state.config_maps] == [
            ("kube-system/kube-proxy", {"k": "kube-proxy"}),
            ("kube-flannel/cni", {"k": "cni"}),
        ]
        assert "configmaps" in state.seen

    def test_daemon_sets(self) -> None:
        template = {"spec": {"containers": [{"name": "kube-proxy", "image": "kube-proxy:v1.30.0"}]}}
        items = [
            {"metadata": meta("kube-proxy", "kube-system"), "spec": {"template": template}},
            {"metadata": meta("bare", "kube-system"), "spec": {"template": {"spec": None}}},
            {"metadata": meta("empty", "kube-system")},
        ]
        state = read(kube_system_daemonsets=listed("kube-system-daemonsets", *items))
        assert [found.containers for found in state.daemon_sets] == [
            (Container(name="kube-proxy", image="kube-proxy:v1.30.0"),),
            (),
            (),
        ]

    def test_service_cidrs(self) -> None:
        items = [
            {"metadata": {"name": "kubernetes"}, "spec": {"cidrs": ["10.96.0.0/12", "fd00::/108"]}},
            {"metadata": {"name": "x"}},
        ]
        state = read(servicecidrs=listed("servicecidrs", *items))
        assert [found.cidrs for found in state.service_cidrs] == [
            (ip_network("10.96.0.0/12"), ip_network("fd00::/108")),
            (),
        ]

    def test_version(self) -> None:
        state = read(version=recording("version", {"gitVersion": "v1.30.3+rke2r1", "major": "1"}))
        assert state.server_version == "v1.30.3+rke2r1"
        assert state.sources["version"] == "cluster/version.json"
        assert read().server_version is None
        assert gaps_of(version=recording("version", FORBIDDEN)) == [
            ("version", "the API server did not tell its version")
        ]
        assert gaps_of(version=recording("version", b"<html>"))[0][1].startswith("not valid JSON")


class TestLists:
    def test_seen_and_sources(self) -> None:
        state = read(servicecidrs=recording("servicecidrs", NOT_FOUND), nonsense=recording("nonsense", b"?"))
        assert state.seen == {"services", "endpointslices", "nodes", "pods"}
        assert state.sources["pods"] == "cluster/pods.json"
        assert "servicecidrs" not in state.sources

    @pytest.mark.parametrize("line_end", ["", "\n"])
    def test_a_list_tells_its_version(self, line_end: str) -> None:
        item = '{"metadata":{"name":"web"},"spec":{}}'
        body = f'{{"kind":"ServiceList","metadata":{{"resourceVersion":"900"}},"items":[{line_end}{item}{line_end}]}}\n'
        assert read(services=recording("services", body.encode())).versions == {"services": "900"}

    def test_null_items_are_an_empty_list(self) -> None:
        bodies: list[dict[str, object]] = [
            {"kind": "ServiceList", "items": None},
            {"kind": "ServiceList"},
            {"items": []},
        ]
        for body in bodies:
            assert "services" in read(services=recording("services", body)).seen

    def test_a_list_as_kubectl_makes_it(self) -> None:
        body = {"apiVersion": "v1", "kind": "List", "items": [{"kind": "Service", "metadata": meta(), "spec": {}}]}
        assert len(read(services=recording("services", body)).services) == 1

    def test_a_byte_order_mark_is_passed_over(self) -> None:
        content = b"\xef\xbb\xbf" + listed("services").content
        assert "services" in read(services=recording("services", content)).seen

    @pytest.mark.parametrize("kind", ["services", "nodes", "pods"])
    def test_a_kind_that_must_be_there(self, kind: str) -> None:
        assert gaps_of(**{kind: None}) == [(kind, f"the snapshot has no list of {kind}")]
        assert gaps_of(**{kind: recording(kind, NOT_FOUND)}) == [(kind, f"the snapshot has no list of {kind}")]

    def test_endpoints_must_be_there_in_one_form_or_the_other(self) -> None:
        assert gaps_of(endpointslices_v1=None) == [
            ("endpointslices", "the snapshot has neither EndpointSlices nor Endpoints")
        ]
        assert gaps_of(endpointslices_v1=None, endpoints=listed("endpoints")) == []

    @pytest.mark.parametrize(
        ("kind", "permission"),
        [
            ("services", "services --all-namespaces"),
            ("endpointslices-v1", "endpointslices.discovery.k8s.io --all-namespaces"),
            ("kube-system-configmaps", "configmaps -n kube-system"),
            ("servicecidrs-v1beta1", "servicecidrs.networking.k8s.io --all-namespaces"),
        ],
    )
    def test_forbidden(self, kind: str, permission: str) -> None:
        reason = f"cannot list {kind}: forbidden; the permission to list it is missing (kubectl auth can-i list {permission})"
        assert gaps_of(**{kind: recording(kind, FORBIDDEN, http_status=403)}) == [(kind, reason)]

    def test_other_refusals(self) -> None:
        def reason(**status: object) -> str:
            ((_, found),) = gaps_of(pods=recording("pods", {"kind": "Status", **status}))
            return found

        assert "unauthorized" in reason(code=401, reason="Unauthorized")
        assert reason(code=504, message="the request timed out") == "cannot list pods: the request timed out"
        assert reason(reason="Expired") == "cannot list pods: Expired"
        assert reason() == "cannot list pods: the API server refused"

    def test_text_that_is_no_json(self) -> None:
        page = recording("pods", b"<html>", http_status=502, stderr="bad gateway\nmore")
        ((subject, reason),) = gaps_of(pods=page)
        assert subject == "pods"
        assert reason.startswith("not valid JSON or cut short: ")
        assert reason.endswith("(HTTP status 502; bad gateway)")
        assert gaps_of(pods=recording("pods", b" \n", http_status=200)) == [("pods", "empty")]
        assert gaps_of(servicecidrs=recording("servicecidrs", b"404 page not found", http_status=404)) == []

    @pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
    def test_a_list_cut_short_is_no_short_list(self, share: float) -> None:
        whole = cluster("v1.30.3-iptables-nft").api["services"].content
        state, gaps = parse_cluster(api(services=recording("services", whole[: int(len(whole) * share)])))
        assert state.services == ()
        assert "services" not in state.seen
        assert [gap.subject for gap in gaps] == ["services"]
        assert "cut short" in gaps[0].reason

    def test_a_list_with_more_pages_is_not_the_whole(self) -> None:
        page = listed("services", {"metadata": meta(), "spec": {}}, **{"continue": "abc"})
        state, gaps = parse_cluster(api(services=page))
        assert len(state.services) == 1
        assert "services" not in state.seen
        assert gaps == (Gap(subject="services", reason="the list ends after 1 objects and the server had more"),)
        assert "services" in read(services=listed("services", **{"continue": ""})).seen

    @pytest.mark.parametrize(
        ("body", "what"),
        [
            ({"kind": "PodList", "items": []}, "PodList"),
            ({"kind": "Service", "metadata": meta(), "spec": {}}, "Service"),
            ({}, "something else"),
        ],
    )
    def test_another_kind(self, body: object, what: str) -> None:
        assert gaps_of(services=recording("services", body)) == [("services", f"not a list of services but {what}")]

    @pytest.mark.parametrize("body", [[], 1, {"items": {}}, {"items": 1}, {"kind": 5}])
    def test_another_shape(self, body: object) -> None:
        ((subject, reason),) = gaps_of(services=recording("services", body))
        assert subject == "services"
        assert "not valid" in reason


class TestOddObjects:
    GOOD: ClassVar[dict[str, object]] = {"metadata": meta("good"), "spec": {"clusterIP": "10.96.0.1"}}

    @pytest.mark.parametrize(
        ("item", "subject"),
        [
            ({"metadata": meta("odd"), "spec": {"ports": [{"port": "80"}]}}, "services default/odd"),
            ({"metadata": meta("odd"), "spec": {"ports": [{"port": 80, "protocol": "QUIC"}]}}, "services default/odd"),
            ({"metadata": meta("odd"), "spec": {"ipFamilies": ["IPv5"]}}, "services default/odd"),
            ({"metadata": meta("odd", creationTimestamp="never"), "spec": {}}, "services default/odd"),
            (
                {"metadata": meta("odd", creationTimestamp="0001-01-01T00:00:00+23:00"), "spec": {}},
                "services default/odd",
            ),
            ({"metadata": meta("odd")}, "services default/odd"),
            ({"metadata": meta("o\x1b[2J")}, "services item 1"),
            ({"metadata": {}, "spec": {}}, "services item 1"),
            ({"metadata": 1}, "services item 1"),
            ("text", "services item 1"),
            (None, "services item 1"),
        ],
    )
    def test_one_costs_one_gap_and_not_the_list(self, item: object, subject: str) -> None:
        state, gaps = parse_cluster(api(services=listed("services", self.GOOD, item, self.GOOD)))
        assert [found.key.name for found in state.services] == ["good", "good"]
        assert "services" in state.seen
        (gap,) = gaps
        assert gap.subject == subject
        assert gap.reason.startswith("not read: ")

    def test_an_address_that_is_none_costs_only_itself(self) -> None:
        endpoints = [{"addresses": [text]} for text in ("10.0.0.1", "10.0.0.256", "x", "y", "z", "10.0.0.2")]
        item = {"metadata": meta("odd"), "addressType": "IPv4", "endpoints": endpoints}
        state, gaps = parse_cluster(api(endpointslices_v1=listed("endpointslices-v1", item)))
        assert [found.address_text for found in state.slices[0].endpoints] == ["10.0.0.1", "10.0.0.2"]
        (gap,) = gaps
        assert gap.subject == "endpointslices-v1 default/odd"
        assert gap.reason == (
            "left out: endpoint address '10.0.0.256' is not an IP address; endpoint address 'x' is not an IP address; "
            "endpoint address 'y' is not an IP address and 1 more"
        )

    @pytest.mark.parametrize(
        ("spec", "what"),
        [
            ({"clusterIP": "10.96.0.x"}, "cluster IP '10.96.0.x'"),
            ({"externalIPs": ["?"]}, "external IP '?'"),
            ({"loadBalancerSourceRanges": ["10.0.0.0/33"]}, "source range '10.0.0.0/33'"),
        ],
    )
    def test_the_same_in_a_service(self, spec: dict[str, object], what: str) -> None:
        item = {"metadata": meta("odd"), "spec": spec}
        state, gaps = parse_cluster(api(services=listed("services", item)))
        assert len(state.services) == 1
        assert what in gaps[0].reason

    def test_the_same_in_endpoints(self) -> None:
        subset = {"addresses": [{"ip": "?"}, {"ip": "10.0.0.1"}], "ports": [{"port": 80}]}
        item = {"metadata": meta("odd"), "subsets": [subset]}
        state, gaps = parse_cluster(api(endpoints=listed("endpoints", item)))
        assert [str(entry[0]) for entry in state.endpoints[0].addresses] == ["10.0.0.1"]
        assert gaps == (
            Gap(subject="endpoints default/odd", reason="left out: endpoint address '?' is not an IP address"),
        )

    def test_text_that_is_not_utf_8(self) -> None:
        content = json.dumps({"kind": "ServiceList", "items": [self.GOOD, {"metadata": meta("bad"), "spec": {}}]})
        state, gaps = parse_cluster(api(services=recording("services", content.encode().replace(b"bad", b"b\xffd"))))
        assert [gap.subject for gap in gaps] in (["services"], ["services item 1"])
        assert len(state.services) <= 1

    @given(st.data())
    def test_no_edit_of_a_recording_makes_it_fail(self, data: st.DataObject) -> None:
        kind = data.draw(st.sampled_from(["services", "nodes", "kube-system-daemonsets"]))
        content = bytearray(cluster("v1.36.2-iptables-nft").api[kind].content)
        for _ in range(data.draw(st.integers(1, 5))):
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
        state, gaps = parse_cluster(api(**{kind: recording(kind, bytes(content))}))
        assert isinstance(state, ClusterState)
        assert all(gap.subject.isprintable() for gap in gaps)

    JSON: ClassVar[st.SearchStrategy[object]] = st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from("metadata spec status items kind name ports x".split()), inner, max_size=4
            )
        ),
        max_leaves=12,
    )

    @given(JSON)
    def test_no_json_makes_it_fail(self, value: object) -> None:
        for kind in LIST_KINDS:
            parse_cluster({kind: recording(kind, value)})
            parse_cluster({kind: recording(kind, {"kind": "List", "items": [value]})})


class TestCorpus:
    @pytest.mark.parametrize("name", [*HEALTHY_IPTABLES, *OTHER_MODES])
    def test_every_object_of_a_real_cluster_is_read(self, name: str) -> None:
        snapshot = cluster(name)
        state, gaps = parse_cluster(snapshot.api)
        assert gaps == ()
        assert state.server_version is not None
        assert {"services", "endpointslices", "endpoints", "nodes", "pods", "configmaps", "daemonsets"} <= state.seen
        for kind, objects in (
            ("services", state.services),
            ("endpoints", state.endpoints),
            ("nodes", state.nodes),
            ("pods", state.pods),
        ):
            assert len(objects) == len(json.loads(snapshot.api[kind].content)["items"])

    def test_what_an_old_cluster_says(self) -> None:
        state, _ = parse_cluster(cluster("v1.20.2-iptables-nft").api)
        assert state.server_version == "v1.20.2"
        assert state.sources["endpointslices"] == "cluster/endpointslices-v1beta1.json"
        assert "servicecidrs" not in state.seen
        local = state.service_by_key[ObjectKey(namespace="default", name="local-cluster")]
        assert local.cluster_ips == (ip_address("10.101.67.139"),)
        (found,) = state.slices_by_service[local.key]
        assert [(str(item.address), item.node_name, item.zone) for item in found.endpoints] == [
            ("10.244.1.3", "node01", "zone-a")
        ]

    def test_what_a_dual_cluster_says(self) -> None:
        state, _ = parse_cluster(cluster("dual-v1.36.2-iptables-nft").api)
        dual = state.service_by_key[ObjectKey(namespace="default", name="v6-first")]
        assert dual.ip_families == (Family.IPV6, Family.IPV4)
        assert {found.family for found in state.slices_by_service[dual.key]} == {Family.IPV4, Family.IPV6}
        assert state.pods_by_address[ip_address("fd00:10:244::2")][0].meta.key.name == "coredns-a"
        assert [str(cidr) for item in state.service_cidrs for cidr in item.cidrs] == [
            "10.96.0.0/12",
            "fd00:10:96::/112",
        ]

    def test_a_fault_lies_over_its_base(self) -> None:
        state, gaps = parse_cluster(fault("a-stale-node").api)
        assert gaps == ()
        assert ObjectKey(namespace="default", name="new-svc") in state.service_by_key
        assert ObjectKey(namespace="default", name="web-admin") not in state.service_by_key

    def test_it_takes_milliseconds(self) -> None:
        snapshot = cluster("dual-v1.36.2-iptables-nft")
        parse_cluster(snapshot.api)
        begin = time.process_time()
        parse_cluster(snapshot.api)
        assert time.process_time() - begin < 0.2


ODD_ADDRESSES = (
    *("", "1", "1.2.3", "1.2.3.4.5", "01.2.3.4", "|.1.2.3", "1.2.3.4.|.5.6.7.8", "1.2.3.256", " 1.2.3.4"),
    *("1.2.3.4\n5.6.7.8", "1.2.3.4\n", "1,2.3.4", "1,2.3.4.5", "1.2..3", "-0.1.2.3", "1e1.2.3.4", f"1.2.3.{1 << 70}"),
    *("1.2.3.\u0664", "[1.2.3.4]"),
)


@given(
    st.lists(
        st.lists(st.integers(0, 255), min_size=4, max_size=4).map(lambda octets: ".".join(map(str, octets)))
        | st.sampled_from(ODD_ADDRESSES),
        max_size=5,
    )
)
def test_addresses_of_a_slice_are_read_together_as_they_are_one_by_one(texts: list[str]) -> None:
    encoded = json.dumps([{"addresses": [text]} for text in texts]).encode()
    wire = api_raw.EndpointSlice(
        metadata=api_raw.SliceMeta(name="web"), address_type="IPv4", endpoints=msgspec.Raw(encoded)
    )
    told: list[str] = []
    complaints: list[str] = []
    found = api_slices.endpoint_slice(wire, told.append)
    one_by_one = [api_fields.address(text, "endpoint address", complaints.append) for text in texts]
    assert list(found.numbers().get(Family.IPV4, ())) == [int(item) for item in one_by_one if item is not None]
    assert told == complaints
    # All of them are read together where they are written as usual.
    assert isinstance(found.endpoints, LazyEndpoints) == all(
        str(item) == text for item, text in zip(one_by_one, texts, strict=True)
    )


ENDPOINTS = st.one_of(
    st.builds(lambda octet: {"addresses": [f"10.0.0.{octet}"], "nodeName": f"node-{octet}"}, st.integers(0, 255)),
    st.builds(lambda text: {"addresses": [text]}, st.sampled_from((*ODD_ADDRESSES, "fd00::1", "::ffff:10.0.0.1"))),
    st.sampled_from(
        [
            {},
            {"addresses": []},
            {"addresses": ["10.0.0.9"], "conditions": {"ready": False}},
            {"addresses": ["1.2.3.4"] * 2},
        ]
    ),
)


@given(
    st.lists(
        st.tuples(st.sampled_from(["IPv4", "IPv4", "IPv6", "FQDN"]), st.lists(ENDPOINTS, max_size=3)),
        min_size=1,
        max_size=8,
    )
)
def test_slices_on_a_line_each_are_read_as_slices_otherwise_are(slices: list[tuple[str, list[dict[str, Any]]]]) -> None:
    items = [
        {"metadata": meta(f"web-{number}"), "addressType": kind, "endpoints": endpoints}
        for number, (kind, endpoints) in enumerate(slices)
    ]
    lines = ",\n".join(json.dumps(item, separators=(",", ":")) for item in items)
    on_lines = recording("endpointslices-v1", f'{{"kind":"EndpointSliceList","items":[\n{lines}\n]}}\n'.encode())
    state, gaps = parse_cluster(api(endpointslices_v1=on_lines))
    otherwise, same = parse_cluster(api(endpointslices_v1=listed("endpointslices-v1", *items)))
    assert gaps == same
    assert [item.endpoints for item in state.slices] == [item.endpoints for item in otherwise.slices]
    assert [item.numbers() for item in state.slices] == [item.numbers() for item in otherwise.slices]


@pytest.mark.parametrize(("end", "is_whole"), [("\n]}\n", True), (",\n\n]}\n", False), ("\n\n]}\n", True)])
def test_a_list_does_not_end_with_a_comma(end: str, is_whole: bool) -> None:
    content = f'{{"kind":"ServiceList","items":[\n{{"metadata":{{"name":"web"}},"spec":{{}}}}{end}'.encode()
    state, gaps = parse_cluster({"services": Recording(source="cluster/services.json", content=content)})
    assert ("services" in state.seen) is is_whole
    assert any("not valid JSON" in gap.reason for gap in gaps) is not is_whole
