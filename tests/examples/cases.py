"""For every code a cluster in which it is true."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from kdiag.gather.snapshot_reader import demo_snapshot
from kdiag.model.snapshot import Snapshot
from tests.corpus_fixtures import cluster, fault, variant, variant_api
from tests.examples.edits import BASE, api, appending, probe, replacing, without
from tests.test_corpus_rules import MUTATIONS
from tests.test_foreign_software import with_cilium, without_kube_proxy

DUAL = "dual-v1.36.2-iptables-nft"
KUBELET = "root         160       1  1 00:56 ?        00:00:02 /usr/bin/kubelet --config=/var/lib/kubelet/config.yaml"
MANIFEST = """\
apiVersion: v1
kind: Service
metadata:
  name: shop
spec:
  type: NodePort
  externalTrafficPolicy: local
  selector: {app: web}
  ports:
  - port: 80
"""


@dataclass(frozen=True, kw_only=True)
class Example:
    """`told` says in a sentence what was done to a sound cluster (or that nothing was). `options` narrow the answer down,
    `files` are what the command line names beside the snapshot."""

    told: str
    snapshot: Callable[[], Snapshot]
    options: tuple[str, ...] = ()
    files: tuple[tuple[str, str], ...] = ()


def _mutation(name: str) -> Callable[[], Snapshot]:
    return lambda: variant(cluster(BASE), node="node01", probe="iptables-save", edit=MUTATIONS[name].edit)


def _fault(name: str) -> Callable[[], Snapshot]:
    return lambda: fault(name)


def _set(*path: str | int, to: Any) -> Callable[[dict[str, Any]], None]:
    """A change of one field; an absent parent is made."""

    def change(item: dict[str, Any]) -> None:
        within: Any = item
        for step in path[:-1]:
            within = within.setdefault(step, {}) if isinstance(within, dict) else within[step]
        within[path[-1]] = to

    return change


def _bridge(text: str) -> str:
    flags = '["BROADCAST","MULTICAST","UP","LOWER_UP"]'
    address = '{"family":"inet","local":"10.100.0.1","prefixlen":16,"scope":"global"}'
    return f'[{{"ifname":"docker0","flags":{flags},"addr_info":[{address}]}},{text[1:]}'


def _without_ipv6(text: str) -> str:
    links = json.loads(text)
    for link in links:
        link["addr_info"] = [
            item for item in link["addr_info"] if item["family"] == "inet" or item["scope"] != "global"
        ]
    return json.dumps(links)


def _replaced(listed: dict[str, Any], old: str, new: str) -> dict[str, Any]:
    changed: dict[str, Any] = json.loads(json.dumps(listed).replace(old, new))
    return changed


def _without_pod_cidr(item: dict[str, Any]) -> None:
    item["metadata"]["creationTimestamp"] = "2026-11-22T18:04:11Z"
    del item["spec"]["podCIDR"], item["spec"]["podCIDRs"]


def _left_address(text: str) -> str:
    links = json.loads(text)
    (dummy,) = (link for link in links if link["ifname"] == "kube-ipvs0")
    dummy["addr_info"].append({**dummy["addr_info"][0], "local": "10.96.200.200"})
    return json.dumps(links)


def _nearly_full() -> Snapshot:
    small = "10.96.100.0/26"

    def fill(listed: dict[str, Any]) -> None:
        model = next(item for item in listed["items"] if item["metadata"]["name"] == "three-eps")
        for last in range(47, 63):
            another = copy.deepcopy(model)
            another["metadata"]["name"] = f"shop-{last}"
            another["spec"]["clusterIP"] = f"10.96.100.{last}"
            another["spec"]["clusterIPs"] = [f"10.96.100.{last}"]
            listed["items"].append(another)

    bent = variant_api(cluster(BASE), "services", fill)
    for kind in ("servicecidrs", "pods", "kube-system-configmaps"):
        bent = variant_api(bent, kind, lambda listed: listed.update(_replaced(listed, "10.96.0.0/12", small)))
    return probe("controlplane", "ps-ef", replacing("10.96.0.0/12", small), base=bent)


def _wrong_named_port() -> Snapshot:
    bent = api("services", "named-target", _set("spec", "ports", 0, "targetPort", to="http"))

    def empty(item: dict[str, Any]) -> None:
        item["endpoints"], item["ports"] = [], []

    return api("endpointslices-v1", "named-target", empty, base=bent)


def _renamed_port() -> Snapshot:
    return api("services", "custom-slices", _set("spec", "ports", 0, "name", to="web"))


def _contradiction() -> Snapshot:
    def again(listed: dict[str, Any]) -> None:
        model = next(item for item in listed["items"] if item["metadata"]["name"] == "custom-slices-0")
        another = copy.deepcopy(model)
        another["metadata"]["name"] = "custom-slices-3"
        another["endpoints"][0]["conditions"] = {"ready": False}
        listed["items"].append(another)

    return variant_api(cluster(BASE), "endpointslices-v1", again)


def _without_node_names(item: dict[str, Any]) -> None:
    for endpoint in item["endpoints"]:
        endpoint.pop("nodeName", None)


def _first_two(item: dict[str, Any]) -> None:
    del item["endpoints"][2:]


def _captured_api_server(item: dict[str, Any]) -> None:
    item["spec"]["externalIPs"] = ["192.168.56.10"]
    item["spec"]["ports"][0]["port"] = 6443


def _other_mode(item: dict[str, Any]) -> None:
    config = item["data"]["config.conf"]
    assert "mode: iptables" in config or 'mode: "iptables"' in config or "mode:" in config, config
    lines = ['mode: "nftables"' if line.startswith("mode:") else line for line in config.splitlines()]
    item["data"]["config.conf"] = "\n".join(lines) + "\n"


def _forgetful(text: str) -> str:
    settings = json.loads(text)
    settings["kubeproxy.config.k8s.io"]["iptables"]["masqueradeAll"] = True
    return json.dumps(settings)


EXAMPLES: dict[str, Example] = {
    "KD101": Example(
        told="Docker was installed on node01, and its bridge was given a range that lies in that of Services.",
        snapshot=lambda: probe("node01", "ip-addr", _bridge),
    ),
    "KD102": Example(
        told="A Service kept the cluster IP of a range that the cluster had once.",
        snapshot=lambda: api(
            "services", "three-eps", lambda item: item["spec"].update(clusterIP="10.32.0.9", clusterIPs=["10.32.0.9"])
        ),
    ),
    "KD103": Example(
        told="A pod got its address from a second CNI configuration.",
        snapshot=lambda: api("pods", "three-1", _set("status", "podIPs", to=[{"ip": "10.88.0.7"}])),
    ),
    "KD104": Example(
        told="The controller manager had no range left for node02.",
        snapshot=lambda: api("nodes", "node02", _without_pod_cidr),
    ),
    "KD105": Example(
        told="node02 was given the podCIDR of node01.",
        snapshot=lambda: api(
            "nodes", "node02", lambda item: item["spec"].update(podCIDR="10.244.1.0/24", podCIDRs=["10.244.1.0/24"])
        ),
    ),
    "KD106": Example(
        told="A pod was given the address of another one.",
        snapshot=lambda: api("pods", "three-1", _set("status", "podIPs", to=[{"ip": "10.244.1.10"}])),
    ),
    "KD107": Example(
        told="kube-proxy's ConfigMap holds the range of Services as clusterCIDR.",
        snapshot=lambda: api(
            "kube-system-configmaps",
            "kube-proxy",
            lambda item: item["data"].update(
                {"config.conf": item["data"]["config.conf"].replace("10.244.0.0/16", "10.96.0.0/12")}
            ),
        ),
    ),
    "KD108": Example(
        told="The API server was started with another Service range than the controller manager.",
        snapshot=lambda: probe(
            "controlplane",
            "ps-ef",
            replacing("--service-cluster-ip-range=10.96.0.0/12 --tls", "--service-cluster-ip-range=10.32.0.0/24 --tls"),
        ),
    ),
    "KD109": Example(
        told="A cluster whose Service range has 62 addresses has 57 Services in it.", snapshot=_nearly_full
    ),
    "KD110": Example(
        told="The kubelet of node01 tells pods another DNS address than that of Service kube-dns.",
        snapshot=lambda: probe("node01", "ps-ef", appending(f"{KUBELET} --cluster-dns=10.96.0.53")),
    ),
    "KD111": Example(
        told="A Service took the API server's address and port for an external IP.",
        snapshot=lambda: api("services", "external-ips", _captured_api_server),
    ),
    "KD112": Example(
        told="A Service kept a node port from before the API server's range was changed.",
        snapshot=lambda: api("services", "nodeport-wide", _set("spec", "ports", 0, "nodePort", to=20080)),
    ),
    "KD201": Example(
        told="The rule for one cluster IP was deleted on node01.", snapshot=_mutation("dispatch rule lost")
    ),
    "KD202": Example(
        told="node01 has a rule for a Service that is gone.",
        snapshot=_mutation("dispatch rule of a Service that is gone"),
    ),
    "KD203": Example(told="The rule for one endpoint was deleted on node01.", snapshot=_mutation("endpoint rule lost")),
    "KD204": Example(
        told="On node01 one of three endpoints is an address that no pod has.",
        snapshot=_mutation("DNAT to an address that no pod has"),
    ),
    "KD205": Example(told="The DNAT rule of an endpoint was changed by hand.", snapshot=_fault("s-wrong-port")),
    "KD206": Example(told="The probability of a rule was changed.", snapshot=_mutation("probability changed")),
    "KD207": Example(
        told="A REJECT rule is left from a time when the Service had no endpoints.",
        snapshot=_mutation("REJECT left from a time without endpoints"),
    ),
    "KD208": Example(
        told="The REJECT rule of a Service without endpoints was deleted.", snapshot=_mutation("REJECT lost")
    ),
    "KD209": Example(
        told="Somebody's DNAT rule for a cluster IP stands before kube-proxy's.",
        snapshot=_fault("i-foreign-dnat-hijack"),
    ),
    "KD210": Example(
        told="The jump from PREROUTING was deleted on node01.", snapshot=_fault("e-prerouting-jump-missing")
    ),
    "KD211": Example(
        told="The tables were emptied on node01 while kube-proxy was stopped.", snapshot=_fault("g-empty-tables")
    ),
    "KD212": Example(told="Chain KUBE-SERVICES was flushed on node01.", snapshot=_fault("b-kube-services-flushed")),
    "KD213": Example(told="The MASQUERADE rule was deleted on node01.", snapshot=_fault("f-masquerade-missing")),
    "KD214": Example(
        told="The mark for masquerading was deleted for one Service on node01.",
        snapshot=_mutation("masquerade of one Service lost"),
    ),
    "KD215": Example(
        told="kube-proxy on node02 runs with the cluster CIDR of another cluster.",
        snapshot=_fault("k-other-cluster-cidr"),
    ),
    "KD216": Example(
        told="On node01 one Service is masqueraded for pods, too.",
        snapshot=_mutation("masquerade of one Service for everybody"),
    ),
    "KD217": Example(
        told="On node02 kube-proxy's image changed from the legacy backend to nft, and the old rules stayed.",
        snapshot=_fault("h-split-brain"),
    ),
    "KD218": Example(
        told="The DNAT rule of a Service's only endpoint was deleted.", snapshot=_fault("c-sep-dnat-deleted")
    ),
    "KD219": Example(told="The rules of session affinity were deleted on node01.", snapshot=_mutation("affinity lost")),
    "KD220": Example(
        told="A rule of the firewall chain of a load balancer was deleted on node01.",
        snapshot=_mutation("source ranges not enforced"),
    ),
    "KD221": Example(told="The policy of FORWARD was set to DROP on node01.", snapshot=_mutation("policy of FORWARD")),
    "KD222": Example(
        told="The jump to KUBE-NODEPORTS was deleted on node01.", snapshot=_fault("n-nodeports-jump-missing")
    ),
    "KD223": Example(
        told="kube-proxy on node02 stopped, and Services changed after it.", snapshot=_fault("a-stale-node")
    ),
    "KD224": Example(
        told="Cilium replaced kube-proxy, and kube-proxy's rules were not removed.",
        snapshot=lambda: without_kube_proxy(with_cilium(cluster(BASE), "true")),
        options=("--node", "node01"),
    ),
    "KD225": Example(
        told="node02 went back from IPVS to iptables mode, and what IPVS mode had written stayed.",
        snapshot=_fault("mode-switch-leftovers"),
        options=("--node", "node02"),
    ),
    "KD226": Example(
        told="kube-ipvs0 holds the address of a Service that was deleted.",
        snapshot=lambda: probe("node01", "ip-addr", _left_address, base=cluster("v1.36.2-ipvs-nft")),
        options=("--node", "node01"),
    ),
    "KD301": Example(
        told="The recorded cluster as it is: no pod has the label that Service no-eps selects.",
        snapshot=lambda: cluster(BASE),
        options=("default/no-eps",),
    ),
    "KD302": Example(
        told="The recorded cluster as it is: the pods of Service not-ready are not ready.",
        snapshot=lambda: cluster(BASE),
        options=("default/not-ready",),
    ),
    "KD303": Example(
        told="A Service names target port http, and its pods call the port web.", snapshot=_wrong_named_port
    ),
    "KD304": Example(
        told="The EndpointSlice lacks one of the three pods.",
        snapshot=lambda: api("endpointslices-v1", "three-eps", _first_two),
    ),
    "KD305": Example(
        told="A Service was given a selector, and the slices of its hand-made Endpoints stayed.",
        snapshot=lambda: api("services", "manual-eps", _set("spec", "selector", to={"app": "web"})),
    ),
    "KD306": Example(
        told="An Endpoints object was cut at 1,000 addresses.",
        snapshot=lambda: api(
            "endpoints",
            "three-eps",
            _set("metadata", "annotations", "endpoints.kubernetes.io/over-capacity", to="truncated"),
        ),
    ),
    "KD307": Example(
        told="The endpoints of a Service with externalTrafficPolicy Local name no node.",
        snapshot=lambda: api("endpointslices-v1", "np-local", _without_node_names),
    ),
    "KD308": Example(
        told="A recorded dual-stack cluster as it is: a Service wants both families, and its pod has one.",
        snapshot=lambda: cluster(DUAL),
        options=("default/only4-dual", "--node", "node01"),
    ),
    "KD309": Example(
        told="Two slices of a program's own making say opposite things of one endpoint.", snapshot=_contradiction
    ),
    "KD310": Example(told="A Service's port was renamed, and its hand-made slices were not.", snapshot=_renamed_port),
    "KD320": Example(
        told="A manifest that was not applied yet has a word in lower case:\n\n"
        + "".join(f"    {line}\n" for line in MANIFEST.splitlines()).rstrip(),
        snapshot=lambda: cluster(BASE),
        options=("-f", "shop.yaml"),
        files=(("shop.yaml", MANIFEST),),
    ),
    "KD401": Example(told="kube-proxy was stopped on node02.", snapshot=_fault("a-stale-node")),
    "KD402": Example(
        told="`kdiag preflight --demo`: kube-proxy on node02 waits for a child that never ends.", snapshot=demo_snapshot
    ),
    "KD403": Example(
        told="kube-proxy's ConfigMap was set to nftables mode, and no kube-proxy was restarted.",
        snapshot=lambda: api("kube-system-configmaps", "kube-proxy", _other_mode),
        options=("--node", "node01"),
    ),
    "KD404": Example(
        told="kube-proxy on node02 still runs with masqueradeAll, as nobody else does.",
        snapshot=lambda: probe("node02", "configz", _forgetful),
    ),
    "KD406": Example(
        told="A hardening script turned forwarding off on node01.",
        snapshot=lambda: probe("node01", "sysctl-route_localnet", replacing("ip_forward = 1", "ip_forward = 0")),
    ),
    "KD407": Example(
        told="The bridge's packets do not pass iptables on node01.",
        snapshot=lambda: probe("node01", "sysctl-route_localnet", appending("net.bridge.bridge-nf-call-iptables = 0")),
    ),
    "KD408": Example(
        told="A program on node01 listens on the node port of a Service.",
        snapshot=lambda: probe(
            "node01",
            "ss-ltnH",
            appending('tcp LISTEN 0      511      0.0.0.0:31595 0.0.0.0:* users:(("nginx",pid=812,fd=6))'),
        ),
    ),
    "KD409": Example(
        told="The kernel of node01 lacks a module that kube-proxy's rules need.",
        snapshot=lambda: probe(
            "node01",
            "kube-proxy",
            lambda text: (
                f"{text.rstrip()}\n"
                + "".join(
                    f'E1123 01:0{minute}:31.000000      27 proxier.go:1558] "Failed to execute iptables-restore" '
                    'err="exit status 2: Warning: Extension statistic revision 0 not supported, missing kernel module?" '
                    'ipFamily="IPv4"\n'
                    for minute in range(1, 5)
                )
            ),
        ),
    ),
    "KD410": Example(
        told="A firewall script deleted the rule that guards the loopback network of node01.",
        snapshot=lambda: probe("node01", "iptables-save", without("block incoming localnet connections")),
    ),
    "KD411": Example(
        told="The connection table of node01 is full.",
        snapshot=lambda: probe(
            "node01",
            "sysctl-route_localnet",
            appending("net.netfilter.nf_conntrack_count = 131072\nnet.netfilter.nf_conntrack_max = 131072"),
        ),
    ),
    "KD412": Example(
        told="IPv6 was turned off on node01 of a dual-stack cluster.",
        snapshot=lambda: probe("node01", "ip-addr", _without_ipv6, base=cluster(DUAL)),
    ),
}
