"""Manifests, and what the API server refuses of them."""

from __future__ import annotations

import pytest

from kdiag.errors import UsageError
from kdiag.model.objects import ObjectKey
from kdiag.model.plan import Place, Plan
from kdiag.parse.manifests import parse_manifests


def plan(*texts: str, namespace: str = "default") -> Plan:
    return parse_manifests([(f"{index}.yaml", text) for index, text in enumerate(texts)], namespace=namespace)


def service(spec: str, name: str = "web") -> str:
    return f"apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{{spec}}}\n"


def reasons(spec: str, name: str = "web") -> list[str]:
    return [item.reason for item in plan(service(spec, name)).refusals]


def test_kinds() -> None:
    found = plan(
        service("selector: {app: web}, ports: [{port: 80, targetPort: http}]"),
        """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: prod}
spec:
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: c, ports: [{name: http, containerPort: 8080}]}]}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: idle}
spec: {replicas: 0, template: {metadata: {labels: {app: web}}}}
---
apiVersion: v1
kind: Pod
metadata: {name: alone, labels: {app: web}}
spec: {containers: []}
---
apiVersion: networking.k8s.io/v1
kind: ServiceCIDR
metadata: {name: more}
spec: {cidrs: [10.97.0.0/16]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
endpoints: [{addresses: [192.0.2.7]}]
ports: [{port: 80}]
---
apiVersion: v1
kind: Endpoints
metadata: {name: old}
subsets: [{addresses: [{ip: 192.0.2.8}], ports: [{port: 80}]}]
---
apiVersion: v1
kind: Secret
metadata: {name: hidden}
---
apiVersion: serving.knative.dev/v1
kind: Service
metadata: {name: web}
""",
        namespace="test",
    )
    assert [str(item.key) for item in found.services] == ["test/web"]
    assert [str(item.key) for item in found.pods] == ["prod/web (Deployment)", "test/alone"]
    assert [str(item.cidrs[0]) for item in found.service_cidrs] == ["10.97.0.0/16"]
    assert found.slices[0].service == ObjectKey(namespace="test", name="web")
    assert [str(entry[0]) for entry in found.endpoints[0].addresses] == ["192.0.2.8"]
    assert found.ignored == {"Secret": 1, "Service": 1}
    assert found.refusals == ()


def test_lists_name_the_line_of_each_entry() -> None:
    found = plan("apiVersion: v1\nkind: ServiceList\nitems:\n- metadata: {name: a}\n  spec: {ports: [{port: 1}]}\n")
    assert found.places == {("Service", ObjectKey(namespace="default", name="a")): Place(source="0.yaml", line=4)}


def test_twice_is_told_at_the_second_place() -> None:
    found = plan(service("ports: [{port: 80}]"), service("ports: [{port: 81}]"))
    assert len(found.services) == 1
    assert [(str(item.place), item.reason.split(":")[0]) for item in found.refusals] == [
        ("1.yaml:1", "it stands at 0.yaml")
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: [", r"^0\.yaml:\d: not YAML"),
        ("- 1", "0.yaml:1: not a Kubernetes object but a list"),
        ("just text", "0.yaml:1: not a Kubernetes object but the str 'just text'"),
        ("\nkind: Service", "0.yaml:2: not a Kubernetes object: apiVersion is missing"),
        ("apiVersion: v1", "0.yaml:1: not a Kubernetes object: kind is missing"),
        ("apiVersion: v1\nkind: Service\nmetadata: {}", "0.yaml:1: this Service has no metadata.name"),
        ("apiVersion: v1\nkind: List\nitems: [1]", "0.yaml:3: not a Kubernetes object but the int '1'"),
    ],
)
def test_errors_name_file_and_line(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words.replace("(", r"\(")):
        plan(text)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("ports: [{port: 80}], externalTrafficPolicy: Local", "reached from outside"),
        ("ports: [{port: 80}], type: NodePort, externalTrafficPolicy: local", "'local' and must be Cluster or Local"),
        ("ports: [{port: 80}], type: Nodeport", "spec.type is 'Nodeport'"),
        (
            "ports: [{port: 80}], sessionAffinityConfig: {clientIP: {timeoutSeconds: 5}}",
            "is for sessionAffinity ClientIP",
        ),
        (
            "ports: [{port: 80}], sessionAffinity: ClientIP, sessionAffinityConfig: {clientIP: {timeoutSeconds: 0}}",
            "timeoutSeconds is 0",
        ),
        ("ports: [{port: 80}], healthCheckNodePort: 30000", "healthCheckNodePort is for"),
        ("ports: [{port: 80}], ipFamilies: [IPv4, IPv4]", "names a family twice"),
        ("ports: [{port: 80}], ipFamilies: [ipv4]", "spec.ipFamilies is 'ipv4'"),
        ("ports: [{port: 80}], clusterIP: 10.96.0.300", "'10.96.0.300' is not an IP address"),
        ("ports: [{port: 80}], clusterIP: 10.96.0.1, clusterIPs: [10.96.0.2]", "spec.clusterIPs begins with"),
        ("ports: [{port: 80}], clusterIP: None, type: NodePort", "type NodePort needs one"),
        ("clusterIP: 10.96.0.1, type: ExternalName", "may not be set for type ExternalName"),
        ("ports: [{port: 80}], externalIPs: [127.0.0.1]", "loopback"),
        ("ports: [{port: 80}], externalIPs: [a.example]", "not an IP address"),
        ("selector: {a: b}", "spec.ports is empty"),
        ("ports: [{port: 80}, {port: 81, name: b}]", "each needs a name"),
        ("ports: [{port: 80, name: a}, {port: 81, name: a}]", "another port has the same name"),
        ("ports: [{port: 80, name: a}, {port: 80, name: b}]", "another port is 80/TCP too"),
        ("ports: [{port: 80, name: HTTP}]", "the name is not a label"),
        ("ports: [{port: 0}]", "0 is no port number"),
        ("ports: [{port: 80, protocol: tcp}]", "'tcp' and must be TCP or UDP or SCTP"),
        ("ports: [{port: 80, targetPort: '8080'}]", "'8080' is no port name"),
        ("ports: [{port: 80, targetPort: 70000}]", "targetPort 70000"),
        ("ports: [{port: 80, nodePort: 30080}]", "nodePort is for types"),
        ("type: NodePort, ports: [{port: 80, nodePort: 70000}]", "nodePort 70000 is no port number"),
        (
            "type: NodePort, ports: [{port: 80, name: a, nodePort: 30080}, {port: 81, name: b, nodePort: 30080}]",
            "another port has node port 30080/TCP too",
        ),
        ("ports: eighty", "Expected"),
        ("ports: [{port: 80}], clusterIPs: [10.0.0.1, 'fd00::1', 10.0.0.2]", "3 entries"),
    ],
)
def test_what_the_api_server_refuses(spec: str, words: str) -> None:
    found = reasons(spec)
    assert len(found) == 1, found
    assert words in found[0]


@pytest.mark.parametrize("kind", ["Service", "EndpointSlice"])
@pytest.mark.parametrize("field", ["labels", "annotations"])
def test_labels_and_annotations_are_text_whoever_looks_at_them(kind: str, field: str) -> None:
    version = "v1" if kind == "Service" else "discovery.k8s.io/v1"
    text = (
        f"{{apiVersion: {version}, kind: {kind}, metadata: {{name: web, {field}: {{release: 1}}}}, addressType: IPv4}}"
    )
    found = plan(text).refusals
    assert [item.reason for item in found if f"$.metadata.{field}" in item.reason]


def test_a_name_that_is_no_label() -> None:
    assert "metadata.name 'Web'" in reasons("ports: [{port: 80}]", "Web")[0]


@pytest.mark.parametrize(
    "spec",
    [
        "ports: [{port: 80}]",
        "type: LoadBalancer, externalTrafficPolicy: Local, healthCheckNodePort: 30000, ports: [{port: 80, nodePort: 30001}]",
        "clusterIP: None, selector: {a: b}",
        "type: ExternalName, externalName: example.org",
        "ports: [{port: 53, name: dns}, {port: 53, protocol: UDP, name: dns-udp}]",
        "ports: [{port: 80, targetPort: web-1}], externalIPs: [192.0.2.1], externalTrafficPolicy: Local",
    ],
)
def test_what_it_takes(spec: str) -> None:
    assert reasons(spec) == []
