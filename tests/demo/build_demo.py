"""Makes kdiag/demo/cluster.tar.gz from the recorded cluster v1.36.2-iptables-nft. Its story is told in kdiag/demo/README.md.

Run `python -m tests.demo.build_demo` after a change here; tests/demo/test_demo.py fails while the archive is old.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import kdiag
from kdiag.gather.snapshot_writer import write_snapshot
from kdiag.model.snapshot import Recording, Snapshot
from kdiag.parse.chain_names import ChainRole, endpoint_hash, service_port_hash
from tests.corpus_fixtures import cluster
from tests.demo.cluster_objects import ClusterObjects
from tests.demo.rule_text import Table, keep_service_ports, parse_dump, print_dump

ARCHIVE = Path(kdiag.__file__).parent / "demo" / "cluster.tar.gz"
RECORDING = "v1.36.2-iptables-nft"

TAKEN_AT = datetime(2026, 11, 23, 1, 43, 10, tzinfo=UTC)
NEW_SERVICE_AT = "2026-11-23T01:14:20Z"
REPLACED_AT = "2026-11-23T01:21:07Z"
DELETED_AT = "2026-11-23T01:26:41Z"
CHECKOUT_AT = "2026-11-23T01:02:33Z"
CLIENT_AT = "2026-11-23T01:05:00Z"

SERVICES = (
    "default/kubernetes",
    "default/lb-open",
    "default/lb-ranges",
    "default/local-cluster",
    "default/no-eps",
    "default/node-exporter",
    "default/nodeport-wide",
    "default/np-local",
    "default/sticky",
    "default/three-eps",
    "default/web",
    "default/web-admin",
    "kube-system/kube-dns",
)
PODS = (
    "default/exporter-controlplane",
    "default/exporter-node01",
    "default/exporter-node02",
    "default/local-1",
    "default/local-2",
    "default/nginx",
    "default/three-0",
    "default/three-1",
    "default/three-2",
    "default/web-1",
    "default/webadmin-1",
    "kube-system/coredns-a",
    "kube-system/coredns-b",
    "kube-system/etcd-controlplane",
    "kube-system/kube-apiserver-controlplane",
    "kube-system/kube-controller-manager-controlplane",
    "kube-system/kube-proxy-controlplane",
    "kube-system/kube-proxy-node01",
    "kube-system/kube-proxy-node02",
)
NODES = ("controlplane", "node01", "node02")
STALE_NODE = "node02"
FOREIGN_NODE = "node01"
PROBES = (
    "argv",
    "configz",
    "ip-addr",
    "ip-route",
    "ip6tables-save",
    "iptables-save",
    "iptables-version",
    "kube-proxy",
    "kube-proxy-healthz",
    "proxyMode",
    "ps-ef",
    "ss-ltnH",
    "sysctl-route_localnet",
)

OLD_ENDPOINT, NEW_ENDPOINT = "10.244.1.3", "10.244.2.77"
NEW_SERVICE_ADDRESS, NEW_SERVICE_ENDPOINT = "10.96.100.90", "10.244.1.78"
DELETED_ENDPOINT = "10.244.2.60"
WEB_ADDRESS, WEB_ENDPOINT = "10.96.100.25", "10.244.1.60"
HIJACK = f"-d {WEB_ADDRESS}/32 -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.244.2.99:8080"
DOCKER_ADDRESS, DOCKER_RANGE, DOCKER_PREFIX = "10.244.64.1", "10.244.64.0/18", 18


def demo() -> Snapshot:
    """The demo cluster."""
    recorded = cluster(RECORDING)
    return Snapshot(
        name="demo",
        taken_at=TAKEN_AT,
        api=_api(recorded).recordings(),
        nodes={node: _probes(recorded, node, place) for place, node in enumerate(NODES)},
    )


def build(path: Path = ARCHIVE) -> None:
    """Write the archive."""
    path.parent.mkdir(exist_ok=True)
    write_snapshot(demo(), path)
    path.chmod(0o644)  # snapshots are written for their owner alone; this one is for everybody


# The API


def _api(recorded: Snapshot) -> ClusterObjects:
    objects = ClusterObjects(recorded.api)
    objects.drop_fields()
    objects.keep_services(SERVICES)
    objects.keep("pods", PODS)
    objects.keep("kube-system-configmaps", ("kube-system/kube-proxy", "kube-system/kubeadm-config"))
    del objects.get("kube-system-configmaps", "kube-system/kube-proxy")["data"]["kubeconfig.conf"]
    _make_nodes_ready(objects)

    # Service checkout selects a label that its pods do not have.
    checkout = objects.rename_service("default/no-eps", "default/checkout")
    checkout["spec"]["selector"] = {"app": "check-out", "tier": "backend"}
    labels = {"app": "checkout", "tier": "backend"}
    model = "default/three-0"
    objects.add_pod(model, name="checkout-1", node="node01", address="10.244.1.14", labels=labels, at=CHECKOUT_AT)
    objects.add_pod(model, name="checkout-2", node="node02", address="10.244.2.14", labels=labels, at=CHECKOUT_AT)
    client = objects.add_pod(
        model, name="client", node="node01", address="10.244.1.17", labels={"app": "client"}, at=CLIENT_AT
    )
    client["spec"]["containers"][0].update(image="busybox:1.36", command=["sleep", "infinity"])
    del client["spec"]["containers"][0]["ports"]

    # What node02 never heard of.
    backend = objects.add_pod(
        model,
        name="new-svc-1",
        node="node01",
        address=NEW_SERVICE_ENDPOINT,
        labels={"app": "new-svc"},
        at=NEW_SERVICE_AT,
    )
    objects.add_service(
        "default/web",
        name="new-svc",
        address=NEW_SERVICE_ADDRESS,
        selector={"app": "new-svc"},
        at=NEW_SERVICE_AT,
    )
    objects.set_endpoint("default/new-svc", backend, at=NEW_SERVICE_AT)
    replacement = objects.add_pod(
        "default/nginx", name="nginx-2", node="node02", address=NEW_ENDPOINT, labels={"app": "nginx"}, at=REPLACED_AT
    )
    for service in ("default/local-cluster", "default/nodeport-wide"):
        objects.set_endpoint(service, replacement, at=REPLACED_AT)
    gone = {"default/nginx", "default/webadmin-1"}
    objects.keep("pods", [_key(pod) for pod in objects.items("pods") if _key(pod) not in gone])
    objects.keep_services([_key(item) for item in objects.items("services") if _key(item) != "default/web-admin"])
    return objects


def _key(item: dict[str, dict[str, str]]) -> str:
    return f"{item['metadata']['namespace']}/{item['metadata']['name']}"


def _make_nodes_ready(objects: ClusterObjects) -> None:
    """Give nodes and DaemonSet the state that a kubelet and the controllers give them: the recording has neither."""
    for node in objects.items("nodes"):
        node["spec"].pop("taints", None)
        for condition in node["status"]["conditions"]:
            condition["lastHeartbeatTime"] = _rfc3339(TAKEN_AT - timedelta(seconds=41))
    taint = {"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"}
    objects.get("nodes", "controlplane")["spec"]["taints"] = [taint]
    counts = ("currentNumberScheduled", "desiredNumberScheduled", "numberReady", "updatedNumberScheduled")
    status = objects.get("kube-system-daemonsets", "kube-system/kube-proxy")["status"]
    status.update({count: len(NODES) for count in (*counts, "numberAvailable")})


# The nodes


def _probes(recorded: Snapshot, node: str, place: int) -> dict[str, Recording]:
    probes = {probe: recorded.nodes[node][probe] for probe in PROBES}
    read_at = TAKEN_AT - timedelta(seconds=4 - place)
    edits: dict[str, Callable[[str], str]] = {
        "iptables-save": lambda text: _rules(text, node, read_at),
        "ip6tables-save": lambda text: _print(parse_dump(text), "ip6tables-save", read_at),
        "kube-proxy-healthz": lambda text: _health(text, node, read_at),
        "ps-ef": lambda text: _processes(text, node, read_at),
        # The health check port of a Service that is not in the demo.
        "ss-ltnH": lambda text: "".join(line for line in text.splitlines(keepends=True) if ":32020 " not in line),
    }
    if node == FOREIGN_NODE:
        edits["ip-addr"] = _with_docker_address
        edits["ip-route"] = _with_docker_route
    for probe, edit in edits.items():
        probes[probe] = probes[probe].replaced(content=edit(probes[probe].text()).encode())
    return probes


def _rules(text: str, node: str, read_at: datetime) -> str:
    tables = parse_dump(text)
    _keep_services_of_the_demo(tables)
    for rules in tables["filter"].rules.values():
        rules[:] = [rule.replace("default/no-eps has", "default/checkout has") for rule in rules]
    if node != STALE_NODE:
        _follow_the_api(tables["nat"])
    if node == FOREIGN_NODE:
        _add_docker(tables)
        tables["nat"].insert_before("PREROUTING", "-j KUBE-SERVICES", [HIJACK])
    return _print(tables, "iptables-save", read_at)


def _keep_services_of_the_demo(tables: dict[str, Table]) -> None:
    ports = {
        "default/kubernetes": [("https", "TCP")],
        "default/node-exporter": [("metrics", "TCP")],
        "kube-system/kube-dns": [("dns", "UDP"), ("dns-tcp", "TCP"), ("metrics", "TCP")],
    }
    found = [(service, port, protocol) for service in SERVICES for port, protocol in ports.get(service, [("", "TCP")])]
    keep_service_ports(
        tables,
        names=[f"{service}:{port}" if port else service for service, port, _ in found],
        hashes=[service_port_hash(*item) for item in found],
    )


def _follow_the_api(nat: Table) -> None:
    """What kube-proxy of the other nodes wrote after node02's had stopped."""
    for service in ("default/local-cluster", "default/nodeport-wide"):
        nat.rename({_endpoint_chain(service, OLD_ENDPOINT): _endpoint_chain(service, NEW_ENDPOINT)})
    for rules in nat.rules.values():
        rules[:] = [rule.replace(f"{OLD_ENDPOINT}:80", f"{NEW_ENDPOINT}:80") for rule in rules]
        rules[:] = [rule.replace(f"{OLD_ENDPOINT}/32", f"{NEW_ENDPOINT}/32") for rule in rules]

    for rules in nat.rules.values():
        rules[:] = [rule for rule in rules if "default/web-admin" not in rule]
    nat.remove_chains((_service_chain("default/web-admin"), _endpoint_chain("default/web-admin", DELETED_ENDPOINT)))

    old_names = (_service_chain("default/web"), _endpoint_chain("default/web", WEB_ENDPOINT))
    new_names = (_service_chain("default/new-svc"), _endpoint_chain("default/new-svc", NEW_SERVICE_ENDPOINT))
    words = {
        **dict(zip(old_names, new_names, strict=True)),
        f"{WEB_ADDRESS}/": f"{NEW_SERVICE_ADDRESS}/",
        WEB_ENDPOINT: NEW_SERVICE_ENDPOINT,
        '"default/web': '"default/new-svc',
    }

    def reworded(rule: str) -> str:
        for old, new in words.items():
            rule = rule.replace(old, new)
        return rule.split(" ", 2)[2]

    for old, new in zip(old_names, new_names, strict=True):
        nat.add_chain(new, [reworded(rule) for rule in nat.rules[old]])
    (dispatch,) = (rule for rule in nat.rules["KUBE-SERVICES"] if '"default/web cluster IP"' in rule)
    nat.insert_before("KUBE-SERVICES", "-j KUBE-NODEPORTS", [reworded(dispatch)])


def _add_docker(tables: dict[str, Table]) -> None:
    """What Docker 24 enters for its bridge. None of it touches Service traffic."""
    nat, filters = tables["nat"], tables["filter"]
    nat.add_chain("DOCKER", ["-i docker0 -j RETURN"])
    nat.append("PREROUTING", "-m addrtype --dst-type LOCAL -j DOCKER")
    nat.append("OUTPUT", "! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j DOCKER")
    nat.append("POSTROUTING", f"-s {DOCKER_RANGE} ! -o docker0 -j MASQUERADE")
    filters.add_chain("DOCKER", [])
    filters.add_chain("DOCKER-USER", ["-j RETURN"])
    filters.add_chain("DOCKER-ISOLATION-STAGE-1", ["-i docker0 ! -o docker0 -j DOCKER-ISOLATION-STAGE-2", "-j RETURN"])
    filters.add_chain("DOCKER-ISOLATION-STAGE-2", ["-o docker0 -j DROP", "-j RETURN"])
    filters.append(
        "FORWARD",
        "-j DOCKER-USER",
        "-j DOCKER-ISOLATION-STAGE-1",
        "-o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
        "-o docker0 -j DOCKER",
        "-i docker0 ! -o docker0 -j ACCEPT",
        "-i docker0 -o docker0 -j ACCEPT",
    )


def _print(tables: dict[str, Table], program: str, read_at: datetime) -> str:
    return print_dump(tables, program=f"{program} v1.8.9 (nf_tables)", at=read_at)


def _service_chain(service: str) -> str:
    return ChainRole.SERVICE + service_port_hash(service, "", "TCP")


def _endpoint_chain(service: str, address: str) -> str:
    return ChainRole.ENDPOINT + endpoint_hash(service, "", "TCP", f"{address}:80")


def _health(text: str, node: str, read_at: datetime) -> str:
    """node02's last sync of IPv4 is the recorded one, a change waits since; the others wrote the last change at once.

    A proxy with a change that has waited for longer than two sync periods calls itself unhealthy and tells of the
    sync that lies back furthest; otherwise it tells of now (kube-proxy 1.36).
    """
    answer = json.loads(text)
    now = f"{_rfc3339(read_at)[:-1]}.214870331Z"
    status = answer["status"]
    answer["currentTime"] = now
    if node == STALE_NODE:
        status["IPv4"]["healthy"] = answer["healthy"] = False
        answer["lastUpdated"] = status["IPv4"]["lastUpdated"]
    else:
        status["IPv4"]["lastUpdated"] = f"{DELETED_AT[:-1]}.781402957Z"
        answer["lastUpdated"] = now
    return json.dumps(answer, separators=(",", ":"))


def _processes(text: str, node: str, read_at: datetime) -> str:
    """ps shows itself, and on node02 the child of kube-proxy that never came back."""
    listed = text.splitlines()
    assert listed[-1].endswith(" ps -ef"), listed[-1]
    proxy = next(line for line in listed if "/kube-proxy " in line).split()[1]
    if node == STALE_NODE:
        command = "iptables-restore -w 5 -W 100000 --noflush --counters"
        listed.insert(-1, f"root         188 {proxy:>7}  0 01:14 ?        00:00:00 {command}")
    listed[-1] = f"root         412       0  0 {read_at:%H:%M} ?        00:00:00 ps -ef"
    return "\n".join(listed) + "\n"


def _with_docker_address(text: str) -> str:
    links = json.loads(text)
    link = json.loads(json.dumps(next(item for item in links if item["ifname"] == "cni0")))
    inet = next(item for item in link["addr_info"] if item["family"] == "inet")
    inet.update(local=DOCKER_ADDRESS, prefixlen=DOCKER_PREFIX, broadcast="10.244.127.255", label="docker0")
    inet6 = next(item for item in link["addr_info"] if item["family"] == "inet6")
    inet6["local"] = "fe80::42:abff:fe1c:6d02"
    link.update(ifindex=4, ifname="docker0", operstate="UP", address="02:42:ab:1c:6d:02")
    return json.dumps([*links, link], separators=(",", ":")) + "\n"


def _with_docker_route(text: str) -> str:
    routes = json.loads(text)
    route = {"dst": DOCKER_RANGE, "dev": "docker0", "protocol": "kernel", "scope": "link", "prefsrc": DOCKER_ADDRESS}
    place = next(index for index, item in enumerate(routes) if item["dst"].startswith("192.168."))
    routes.insert(place, {**route, "flags": []})
    return json.dumps(routes, separators=(",", ":")) + "\n"


def _rfc3339(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


if __name__ == "__main__":
    build()
    sys.stdout.write(f"{ARCHIVE}: {ARCHIVE.stat().st_size} bytes\n")
