"""Whether kdiag can do its work here: each permission and each node tried, without reading what is behind them."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from kdiag.errors import ClusterError
from kdiag.gather.addressing import node_addresses, read_inventory
from kdiag.gather.api import is_known
from kdiag.gather.api_connection import Answer, ApiConnection, connect
from kdiag.gather.api_kinds import ALL_KINDS, ListedKind, NamedConfigMap, config_maps
from kdiag.gather.collect import Order, Silent, Watch
from kdiag.gather.fanout import gather_nodes
from kdiag.gather.framing import ABOUT, parse_about
from kdiag.gather.printable import printable
from kdiag.gather.script import SUDO_COMMANDS, sudoers_entries
from kdiag.gather.transports import NodeAddress, transport_of
from kdiag.model.lookup import find_node
from kdiag.model.report import Gap, GapKind
from kdiag.model.snapshot import Recording
from kdiag.parse.api import parse_cluster

RBAC_REMEDY = "kubectl apply -f deploy/rbac.yaml, and use its service account kdiag"

_RULE_PROGRAMS = ("iptables-save", "nft")
_USEFUL_PROGRAMS = ("ss", "ps", "curl", "gzip")
"""Programs that a node should have, and can do without: what they tell is then missing."""
_STAND_INS = {"curl": ("wget",), "gzip": ("zstd",)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Ability:
    """One thing that kdiag needs. `ok` None means that it does not apply; `remedy` is empty where nothing is to be done."""

    subject: str
    ok: bool | None
    detail: str
    remedy: str = ""


def examine(
    order: Order,
    *,
    kubeconfig: Path | None = None,
    context: str | None = None,
    watch: Watch | None = None,
) -> tuple[Ability, ...]:
    """What works and what does not: the API first, then the nodes by name.

    Without the API the nodes of an inventory are tried all the same.
    """
    stop = threading.Event()
    watch = watch or Silent()
    inventory = None if order.inventory is None else read_inventory(order.inventory)
    abilities: list[Ability] = []
    nodes: Recording | None = None
    try:
        try:
            connection = connect(kubeconfig, context, stop=stop)
            watch.phase("asking the API")
            abilities.append(_api(connection))
            if abilities[-1].ok:
                found, nodes = _permissions(connection)
                abilities += found
            connection.close()
        except ClusterError as error:
            abilities.append(Ability(subject="API server", ok=False, detail=error.message, remedy=error.hint))
        addresses, gaps = _addresses(order, nodes, inventory)
        abilities += _nodes(order, addresses, gaps, watch, stop)
    finally:
        watch.close()
    return tuple(abilities)


def _api(connection: ApiConnection) -> Ability:
    answer = connection.get("/version")
    if answer.status == 401:
        return Ability(
            subject="API server",
            ok=False,
            detail=f"{connection.server} does not accept the credentials",
            remedy="log in again; kubectl auth whoami shows who you are",
        )
    match = re.search(rb'"gitVersion"\s*:\s*"([^"]{1,40})"', answer.body)
    version = f", Kubernetes {printable(match[1].decode(errors='replace'))}" if match else ""
    return Ability(
        subject="API server",
        ok=answer.status == 200,
        detail=f"{connection.server}{version}" if answer.status == 200 else f"HTTP status {answer.status}",
    )


def _permissions(connection: ApiConnection) -> tuple[list[Ability], Recording | None]:
    """Each kind tried with one object, and the list of nodes, which is needed anyway."""
    abilities: list[Ability] = []
    nodes: Recording | None = None
    settled: set[str] = set()
    for kind in ALL_KINDS:
        if kind.plural in settled:  # another version of it was found
            continue
        is_nodes = kind.plural == "nodes"
        answer = connection.get(kind.path, {} if is_nodes else {"limit": "1"})
        if kind.optional and (answer.status == 404 or (answer.status == 403 and not is_known(connection, kind))):
            continue
        settled.add(kind.plural)
        abilities.append(_permission(kind, answer))
        if is_nodes and answer.status == 200:
            nodes = Recording(source="cluster/nodes.json", content=answer.body, http_status=200)
    abilities.append(_config_map_permission(connection))
    return abilities, nodes


def _permission(kind: ListedKind | NamedConfigMap, answer: Answer) -> Ability:
    subject = kind.permission.removesuffix(" --all-namespaces")
    if answer.status in (200, 404):
        return Ability(subject=subject, ok=True, detail="permitted")
    if answer.status == 403:
        return Ability(subject=subject, ok=False, detail="forbidden", remedy=RBAC_REMEDY)
    return Ability(subject=subject, ok=False, detail=f"HTTP status {answer.status}", remedy="look at the API server")


def _config_map_permission(connection: ApiConnection) -> Ability:
    """One line for all ConfigMaps: the first that is refused, else the first."""
    answers = [(item, connection.get(item.path)) for item in config_maps(None)]
    worst = next(((item, answer) for item, answer in answers if answer.status not in (200, 404)), answers[0])
    return _permission(*worst)


def _addresses(
    order: Order, nodes: Recording | None, inventory: Mapping[str, NodeAddress] | None
) -> tuple[tuple[NodeAddress, ...], tuple[Gap, ...]]:
    if order.without_nodes:
        return (), ()
    cluster, _ = parse_cluster({"nodes": nodes} if nodes is not None else {})
    known = sorted({*cluster.node_by_name, *(inventory or {})})
    wanted = {find_node(cluster, node, also=known) for node in order.nodes} or set(known)
    if nodes is None:
        return tuple(item for node, item in sorted((inventory or {}).items()) if node in wanted), ()
    return node_addresses(
        [node for node in cluster.nodes if node.name in wanted], address_type=order.address_type, inventory=inventory
    )


def _nodes(
    order: Order, addresses: Sequence[NodeAddress], gaps: Iterable[Gap], watch: Watch, stop: threading.Event
) -> list[Ability]:
    recordings: dict[str, dict[str, Recording]] = {}
    found: tuple[Gap, ...] = ()
    if addresses:
        watch.phase("asking the nodes")
        watch.nodes_expected(len(addresses))
        transport = transport_of(order.transport, order.ssh)
        try:
            recordings, found = gather_nodes(
                addresses,
                transport,
                parallel=order.parallel,
                timeout_s=order.timeout_s,
                deadline_s=order.deadline_s,
                progress=watch,
                sudo=order.sudo,
                cancelled=stop,
                check_only=True,
            )
        finally:
            transport.close()
    by_node: dict[str, list[Ability]] = {}
    for gap in (*gaps, *found):
        by_node.setdefault(gap.node or "", []).append(_of_gap(gap))
    for node, probes in recordings.items():
        if ABOUT in probes:
            by_node.setdefault(node, []).append(_of_node(node, parse_about(probes[ABOUT])))
    return [ability for _, items in sorted(by_node.items()) for ability in items]


def _of_gap(gap: Gap) -> Ability:
    detail, _, remedy = gap.reason.partition("; ")
    return Ability(
        subject=gap.subject if gap.node is None else f"node {gap.node}",
        ok=False if gap.kind is GapKind.FAILED else None,
        detail=printable(detail),
        remedy=printable(remedy),
    )


def _of_node(node: str, about: Mapping[str, str]) -> Ability:
    """What a node said of itself: a stranger's text."""
    about = {key: printable(value) for key, value in about.items()}
    subject = f"node {node}"
    user = about.get("user") or "the user"
    login = f"logged in as {user}"
    if not any(about.get(name) for name in _RULE_PROGRAMS):
        return Ability(
            subject=subject,
            ok=False,
            detail=f"{login}; neither iptables-save nor nft is there",
            remedy="install iptables",
        )
    refused = about.get("sudo-refused", "").split()
    is_root = about.get("sudo") == "allowed" or (
        about.get("uid") == "0" and about.get("sudo") not in ("refused", "missing")
    )
    if refused or not is_root:
        return _without_root(subject, user, about, refused)
    if not about.get("ip"):
        return Ability(subject=subject, ok=False, detail=f"{login}; there is no ip command", remedy="install iproute2")
    missing = [
        name
        for name in _USEFUL_PROGRAMS
        if not about.get(name) and not any(about.get(other) for other in _STAND_INS.get(name, ()))
    ]
    root = "root" if about.get("sudo") != "allowed" else f"{user}, root by sudo"
    return Ability(
        subject=subject,
        ok=True,
        detail=f"logged in as {root}" + (f"; without {', '.join(missing)} it tells less" if missing else ""),
    )


def _without_root(subject: str, user: str, about: Mapping[str, str], refused: Sequence[str]) -> Ability:
    """What is missing for a user who may not run all that needs root; `refused` are the programs if some are allowed."""
    known = {name: about[name] for name in SUDO_COMMANDS if about.get(name)}
    login = "log in as root, or let kdiag use sudo"
    match about.get("sudo"):
        case "missing" if about.get("uid") == "0":
            detail, remedy = "there is no sudo, and --sudo is always", "leave --sudo at auto: root needs none"
        case "missing":
            detail, remedy = f"{user} is not root, and there is no sudo", login
        case "not asked":
            detail, remedy = f"{user} is not root, and --sudo is never", login
        case _:
            wanted = {name: known.get(name, name) for name in refused} or known
            lacking = ", ".join(list(wanted.values())[: len(refused) or 1])
            may_not = f"may not run {lacking} with sudo and without a password"
            detail = f"{user} {may_not if about.get('sudo') in ('allowed', 'refused') else 'is not root'}"
            remedy = f"in sudoers: {user} ALL=(root) NOPASSWD: {sudoers_entries(wanted)}"
    return Ability(subject=subject, ok=False, detail=detail, remedy=remedy)
