"""A model of a cluster that changes, of proxies that follow it, and of a kdiag that reads both while it does.

Time is simulated, in seconds. The API is a history of states; a proxy is a sequence of syncs, each of which wrote the
state of a moment into the node's rules.
"""

from __future__ import annotations

import bisect
import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random

from msgspec.structs import replace

from kdiag.model.snapshot import Recording, Round, Snapshot
from kdiag.parse.chain_names import endpoint_hash, service_port_hash
from kdiag.pipeline.live import unsettled_nodes
from tests.corpus_fixtures import cluster

BASE = "v1.36.2-iptables-nft"
NODES = ("controlplane", "node01", "node02")
EPOCH = datetime(2026, 11, 23, 6, 0, tzinfo=UTC)
LAG_S = 2.5
"""kdiag's pause between the API and the nodes (`kdiag.gather.collect.NORMAL_LAG_S`)."""


@dataclass(frozen=True, slots=True)
class App:
    """A Service of one port, and its endpoints (pod addresses). `stamp_s` is when it last changed."""

    name: str
    cluster_ip: str
    node_port: int
    endpoints: tuple[str, ...]
    made_s: float = 0.0
    spec_s: float = 0.0
    stamp_s: float = 0.0
    lost: bool = False
    """True if the last change took endpoints away: the controller notes no trigger time then."""


State = Mapping[str, App]


@dataclass(slots=True)
class Api:
    """Every state that there was, with when it began."""

    times: list[float] = field(default_factory=lambda: [-1e9])
    states: list[State] = field(default_factory=lambda: [{}])

    def at(self, moment_s: float) -> State:
        return self.states[bisect.bisect_right(self.times, moment_s) - 1]

    def between(self, start_s: float, end_s: float) -> list[State]:
        """The states that began after the one moment and up to the other."""
        return self.states[bisect.bisect_right(self.times, start_s) : bisect.bisect_right(self.times, end_s)]

    def write(self, moment_s: float, state: State) -> None:
        self.times.append(moment_s)
        self.states.append(state)

    def version(self, moment_s: float, *, leases: bool) -> str:
        """The resource version of a list: it counts what was written to the store, which leases are, too."""
        return str(1000 + bisect.bisect_right(self.times, moment_s) + (int(moment_s) if leases else 0))


def churn(random: Random, *, apps: int, rate: float, end_s: float) -> Api:
    """An API with `rate` changes a second, from 0 on, to some of the Services: others are left in peace."""
    api = Api()
    state: dict[str, App] = {}
    address = iter(f"10.244.{1 + number % 2}.{2 + number // 2 % 250}" for number in range(10**6))
    fresh = iter(range(10**6))
    gone: list[App] = []

    def made(moment_s: float) -> App:
        number = next(fresh)
        return App(
            # Now and then one is made again under its name, with another address.
            name=gone.pop().name if gone and random.random() < 0.2 else f"app-{number}",
            cluster_ip=f"10.96.{1 + number // 200 % 200}.{1 + number % 200}",
            node_port=30100 + number % 2000 if number % 3 == 0 else 0,
            endpoints=tuple(next(address) for _ in range(random.choice((0, 1, 1, 2, 3, 5)))),
            made_s=moment_s,
            spec_s=moment_s,
            stamp_s=moment_s,
        )

    for _ in range(apps):
        app = made(-1000.0)
        state[app.name] = app
    api.write(-1000.0, dict(state))
    restless = [name for name in state if random.random() < random.choice((0.2, 0.6, 1.0))]
    undo: list[tuple[float, str, str]] = []  # when, which Service, which endpoint (none: the whole Service)

    def delete(name: str) -> None:
        gone.append(state.pop(name))
        if name in restless:
            restless.remove(name)

    moment = 0.0
    while rate > 0:
        moment += random.expovariate(rate)
        while undo and undo[0][0] < moment:
            when, name, endpoint = undo.pop(0)
            if name in state and not endpoint:
                delete(name)
                api.write(when, dict(state))
            elif name in state and endpoint in state[name].endpoints:
                left = tuple(item for item in state[name].endpoints if item != endpoint)
                state[name] = dataclasses.replace(state[name], endpoints=left, stamp_s=when, lost=True)
                api.write(when, dict(state))
        if moment > end_s:
            break
        what = random.random()
        if what < 0.06 or not restless:
            app = made(moment)
            state[app.name] = app
            restless.append(app.name)
            if random.random() < 0.4:  # short-lived
                bisect.insort(undo, (moment + random.choice((0.5, 4.0, 12.0)) * random.uniform(0.1, 1), app.name, ""))
        else:
            name = random.choice(restless)
            app = state[name]
            if what < 0.1:
                delete(name)
            elif what < 0.16:
                state[name] = dataclasses.replace(
                    app, node_port=0 if app.node_port else 33000 + next(fresh) % 900, spec_s=moment
                )
            elif what < 0.55 and app.endpoints:
                lost = random.choice(app.endpoints)
                left = tuple(item for item in app.endpoints if item != lost)
                state[name] = dataclasses.replace(app, endpoints=left, stamp_s=moment, lost=True)
            elif len(app.endpoints) < 9:
                new = next(address)
                state[name] = dataclasses.replace(app, endpoints=(*app.endpoints, new), stamp_s=moment, lost=False)
                if what > 0.85:  # short-lived
                    bisect.insort(undo, (moment + random.uniform(0.05, 4.0), name, new))
        api.write(moment, dict(state))
    return api


@dataclass(slots=True)
class Proxy:
    """One node's kube-proxy: what its rules show at any time.

    A sync writes what the proxy's watches had delivered when it began, when it ends; the filter table may be read
    before and the nat table after that. `partial` syncs leave chains behind that nothing refers to any more.
    """

    ends: list[float] = field(default_factory=list)
    wrote: list[State] = field(default_factory=list)
    partial: bool = True

    def at(self, moment_s: float) -> tuple[State, State]:
        """What the rules show, and what they showed one sync before."""
        place = bisect.bisect_right(self.ends, moment_s) - 1
        return self.wrote[place], self.wrote[max(0, place - 1)]


def follow(random: Random, api: Api, *, end_s: float, period_s: float = 1.0, frozen_s: float | None = None) -> Proxy:
    """A proxy that keeps up: from a change to its rules it takes at most 2.4 s. From `frozen_s` on it does nothing."""
    proxy = Proxy(partial=random.random() < 0.7)
    latency = random.uniform(0.01, 0.3)
    duration = random.uniform(0.02, 0.6)
    proxy.ends.append(-500.0)
    proxy.wrote.append(api.at(-500.0))
    moment = -random.random() * period_s
    while moment < end_s:
        # Watch, wait for the period, write: and now and then a restart, which takes as long as a slow sync.
        took = min(random.uniform(0.3, 1.0) * duration + (random.random() < 0.02) * 0.4, 1.0)
        if frozen_s is not None and moment + took > frozen_s:
            break
        proxy.ends.append(moment + took)
        proxy.wrote.append(api.at(moment - latency))
        moment += max(period_s, took) if random.random() < 0.9 else max(period_s, took) + 0.05
    return proxy


# What the API prints


def _time(moment_s: float) -> str:
    return (EPOCH + timedelta(seconds=math.floor(moment_s))).strftime("%Y-%m-%dT%H:%M:%SZ")


def lists(state: State, slices_state: State, versions: tuple[str, str], *, stamps: bool) -> dict[str, Recording]:
    """The lists of Services and EndpointSlices, read one after the other, with their resource versions."""
    services = []
    for app in state.values():
        port: dict[str, object] = {"protocol": "TCP", "port": 80, "targetPort": 8080}
        if app.node_port:
            port["nodePort"] = app.node_port
        meta: dict[str, object] = {
            "name": app.name,
            "namespace": "default",
            "resourceVersion": _version(app.spec_s),
            "creationTimestamp": _time(app.made_s),
        }
        if stamps:
            meta["managedFields"] = [{"manager": "x", "operation": "Update", "time": _time(app.spec_s)}]
        services.append(
            {
                "metadata": meta,
                "spec": {
                    "type": "NodePort" if app.node_port else "ClusterIP",
                    "ports": [port],
                    "clusterIP": app.cluster_ip,
                    "clusterIPs": [app.cluster_ip],
                    "ipFamilies": ["IPv4"],
                    "sessionAffinity": "None",
                    "internalTrafficPolicy": "Cluster",
                },
            }
        )
    slices = []
    for app in slices_state.values():
        meta = {
            "name": f"{app.name}-x",
            "namespace": "default",
            "labels": {"kubernetes.io/service-name": app.name},
            "resourceVersion": _version(app.stamp_s),
            "creationTimestamp": _time(app.made_s),
        }
        if stamps:
            meta["managedFields"] = [{"manager": "x", "operation": "Update", "time": _time(app.stamp_s)}]
        if not app.lost:
            meta["annotations"] = {"endpoints.kubernetes.io/last-change-trigger-time": _time(app.stamp_s)}
        slices.append(
            {
                "metadata": meta,
                "addressType": "IPv4",
                "endpoints": [
                    {
                        "addresses": [item],
                        "conditions": {"ready": True, "serving": True, "terminating": False},
                        "nodeName": f"node0{item.split('.')[2]}",
                    }
                    for item in app.endpoints
                ],
                "ports": [{"name": "", "protocol": "TCP", "port": 8080}],
            }
        )
    return {
        "services": _listed("services", services, versions[0]),
        "endpointslices-v1": _listed("endpointslices-v1", slices, versions[1]),
    }


def _version(moment_s: float) -> str:
    """The resource version of an object: no two writes fall on the same microsecond."""
    return str(10**10 + round(moment_s * 1e6))


def _listed(kind: str, items: Sequence[object], version: str) -> Recording:
    first = f'{{"metadata": {{"resourceVersion": "{version}"}}, "items":\n'
    return Recording(source=f"cluster/{kind}.json", content=(first + json.dumps(items) + "}").encode(), http_status=200)


# What the node prints

_FILTER = """\
*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:KUBE-EXTERNAL-SERVICES - [0:0]
:KUBE-FORWARD - [0:0]
:KUBE-NODEPORTS - [0:0]
:KUBE-PROXY-CANARY - [0:0]
:KUBE-PROXY-FIREWALL - [0:0]
:KUBE-SERVICES - [0:0]
-A INPUT -m conntrack --ctstate NEW -m comment --comment "kubernetes load balancer firewall" -j KUBE-PROXY-FIREWALL
-A FORWARD -m conntrack --ctstate NEW -m comment --comment "kubernetes load balancer firewall" -j KUBE-PROXY-FIREWALL
-A OUTPUT -m conntrack --ctstate NEW -m comment --comment "kubernetes load balancer firewall" -j KUBE-PROXY-FIREWALL
-A INPUT -m conntrack --ctstate NEW -m comment --comment "kubernetes externally-visible service portals" -j KUBE-EXTERNAL-SERVICES
-A FORWARD -m comment --comment "kubernetes forwarding rules" -j KUBE-FORWARD
-A FORWARD -m conntrack --ctstate NEW -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A FORWARD -m conntrack --ctstate NEW -m comment --comment "kubernetes externally-visible service portals" -j KUBE-EXTERNAL-SERVICES
-A OUTPUT -m conntrack --ctstate NEW -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A KUBE-FORWARD -m mark --mark 0x4000/0x4000 -j ACCEPT
-A KUBE-FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
"""
_NAT = """\
*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:KUBE-MARK-MASQ - [0:0]
:KUBE-NODEPORTS - [0:0]
:KUBE-POSTROUTING - [0:0]
:KUBE-PROXY-CANARY - [0:0]
:KUBE-SERVICES - [0:0]
"""
_NAT_RULES = """\
-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A OUTPUT -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A POSTROUTING -m comment --comment "kubernetes postrouting rules" -j KUBE-POSTROUTING
-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000
-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
-A KUBE-POSTROUTING -j MARK --set-xmark 0x4000/0x0
-A KUBE-POSTROUTING -m comment --comment "kubernetes service traffic requiring SNAT" -j MASQUERADE --random-fully
"""
_LAST = '-A KUBE-SERVICES -m comment --comment "kubernetes service nodeports" -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS\n'


def rules(filter_state: State, nat_state: State, older: State | None) -> str:
    """`iptables-save` of a node; `older` is what a partial sync left chains of."""
    out = ["# Generated by iptables-save v1.8.9 (nf_tables) on Mon Nov 23 06:00:00 2026\n", _FILTER]
    for app in filter_state.values():
        if not app.endpoints:
            refused = f'-m comment --comment "default/{app.name} has no endpoints"'
            out.append(
                f"-A KUBE-SERVICES -d {app.cluster_ip}/32 -p tcp {refused} -m tcp --dport 80 -j REJECT --reject-with icmp-port-unreachable\n"
            )
            if app.node_port:
                out.append(
                    f"-A KUBE-EXTERNAL-SERVICES -p tcp {refused} -m addrtype --dst-type LOCAL -m tcp --dport {app.node_port} -j REJECT --reject-with icmp-port-unreachable\n"
                )
    out += ["COMMIT\n", _NAT]
    chains: dict[str, list[str]] = {}
    portals: list[str] = []
    for app in (*(older or {}).values(), *nat_state.values()):
        if app.endpoints:
            _chains(app, chains)
    for app in nat_state.values():
        if not app.endpoints:
            continue
        key = service_port_hash(f"default/{app.name}", "", "tcp")
        portals.append(
            f'-A KUBE-SERVICES -d {app.cluster_ip}/32 -p tcp -m comment --comment "default/{app.name} cluster IP" -m tcp --dport 80 -j KUBE-SVC-{key}\n'
        )
        if app.node_port:
            portals.append(
                f'-A KUBE-NODEPORTS -p tcp -m comment --comment "default/{app.name}" -m tcp --dport {app.node_port} -j KUBE-EXT-{key}\n'
            )
    out += [f":{chain} - [0:0]\n" for chain in chains]
    out += [_NAT_RULES, *portals, _LAST]
    out += [line for lines in chains.values() for line in lines]
    out.append("COMMIT\n")
    return "".join(out)


def _chains(app: App, chains: dict[str, list[str]]) -> None:
    key = service_port_hash(f"default/{app.name}", "", "tcp")
    comment = f'-m comment --comment "default/{app.name}"'
    lines = [
        f"-A KUBE-SVC-{key} ! -s 10.244.0.0/16 -d {app.cluster_ip}/32 -p tcp {comment} -m tcp --dport 80 -j KUBE-MARK-MASQ\n"
    ]
    for number, item in enumerate(app.endpoints):
        end = f"KUBE-SEP-{endpoint_hash(f'default/{app.name}', '', 'tcp', f'{item}:8080')}"
        left = len(app.endpoints) - number
        chance = f"-m statistic --mode random --probability {1 / left:.11f} " if left > 1 else ""
        lines.append(f"-A KUBE-SVC-{key} {comment} {chance}-j {end}\n")
        chains[end] = [
            f"-A {end} -s {item}/32 {comment} -j KUBE-MARK-MASQ\n",
            f"-A {end} -p tcp {comment} -m tcp -j DNAT --to-destination {item}:8080\n",
        ]
    chains[f"KUBE-SVC-{key}"] = lines
    chains[f"KUBE-EXT-{key}"] = [
        f"-A KUBE-EXT-{key} {comment} -j KUBE-MARK-MASQ\n",
        f"-A KUBE-EXT-{key} -j KUBE-SVC-{key}\n",
    ]


# What kdiag gathers of it


@dataclass(frozen=True, slots=True, kw_only=True)
class Gathered:
    """A snapshot, and what was read when: the API before and after each dump, and when the dumps began."""

    snapshot: Snapshot
    readings: tuple[tuple[float, float, float], ...]


def gather(
    random: Random,
    api: Api,
    proxies: Mapping[str, Proxy],
    *,
    begin_s: float,
    settle_s: float,
    retries: int,
    stamps: bool,
    leases: bool,
) -> Gathered:
    """Read the API, the nodes and the API again, as `kdiag.pipeline.live` does, retries included."""
    base = cluster(BASE)
    pause = min(settle_s, LAG_S)
    fixed = {
        kind: base.api[kind] for kind in ("nodes", "version", "servicecidrs", "kube-system-configmaps", "namespaces") if kind in base.api
    }  # fmt: skip

    def read(moment_s: float) -> dict[str, Recording]:
        later_s = moment_s + random.uniform(0, 0.2)
        versions = (api.version(moment_s, leases=leases), api.version(later_s, leases=leases))
        return lists(api.at(moment_s), api.at(later_s), versions, stamps=stamps)

    def dump(node: str, moment_s: float) -> dict[str, Recording]:
        start = moment_s + random.uniform(0.0, 1.0)
        nat, older = proxies[node].at(start + random.uniform(0.0, 0.05))
        text = rules(proxies[node].at(start)[0], nat, older if proxies[node].partial else None)
        probes = {
            probe: item
            for probe, item in base.nodes[node].items()
            if probe in ("ip-addr", "ip-route", "iptables-version", "configz", "proxyMode", "argv")
        }
        probes["iptables-save"] = Recording(
            source=f"nodes/{node}/iptables-save.txt", content=text.encode(), exit_status=0
        )
        return probes

    first = read(begin_s)
    dumped = begin_s + 0.3 + pause
    nodes = {node: dump(node, dumped) for node in NODES}
    after_s = dumped + 1.1 + pause
    snapshot = Snapshot(
        name="churn",
        taken_at=EPOCH + timedelta(seconds=math.floor(dumped)),
        api={**fixed, **first},
        api_after=read(after_s),
        nodes=nodes,
    )
    readings = [(begin_s, dumped, after_s)]
    for _ in range(retries):
        again = unsettled_nodes(snapshot, settle_s)
        if not again:
            break
        before_s = after_s
        dumped = after_s + 0.3 + settle_s
        after_s = dumped + 1.1 + pause
        snapshot = replace(
            snapshot,
            again=(
                *snapshot.again,
                Round(
                    taken_at=EPOCH + timedelta(seconds=math.floor(dumped)),
                    nodes={node: dump(node, dumped) for node in again},
                    api_after=read(after_s),
                ),
            ),
        )
        readings.append((before_s, dumped, after_s))
    return Gathered(snapshot=snapshot, readings=tuple(readings))
