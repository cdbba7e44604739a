"""What differences are called in messages: the nodes, the Services, their addresses and the clients concerned."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from msgspec.structs import replace

from kdiag.checks.group_finding import Bundle, port_of, service_of
from kdiag.compare.judge import ALL, SOME
from kdiag.model.addresses import AddressSet, Family, SocketAddress
from kdiag.model.cluster import ClusterState
from kdiag.model.dataplane import Fate, Frontend, FrontendKind, Position
from kdiag.model.difference import Difference, Symptom
from kdiag.model.objects import ObjectKey
from kdiag.model.view import View

NODES_LIMIT = 5
BACKENDS_LIMIT = 4
LINES_LIMIT = 20

SPARED = {
    Position.POD: "pods on the node",
    Position.NODE: "the node itself",
    Position.EXTERNAL: "clients outside the node",
}


def listed(items: Iterable[str], limit: int = 1000) -> str:
    """`a`, `a and b`, `a, b and c`, `a, b and 7 more`."""
    texts = list(dict.fromkeys(items))
    if len(texts) > limit:
        texts = [*texts[:limit], f"{len(texts) - limit} more"]
    return " and ".join([*([", ".join(texts[:-1])] if len(texts) > 1 else []), *texts[-1:]])


def count(number: int, singular: str) -> str:
    """`1 Service`, `2 Services`."""
    return f"{number} {singular}" if number == 1 else f"{number} {singular}s"


def on_nodes(bundle: Bundle) -> str:
    """`On node01`, `On node01 and node02`."""
    return f"On {listed(bundle.nodes, NODES_LIMIT)}"


def families(items: Sequence[Family]) -> str:
    """`IPv4`, `IPv4 and IPv6`."""
    return listed(str(item) for item in items)


def subject(bundle: Bundle) -> str:
    """`default/web 80/TCP`, `default/dns 53/TCP and 53/UDP`, `12 Services`."""
    if len(bundle.subjects) != 1:
        return count(len(bundle.subjects), "Service")
    ports = listed(sorted({port_of(item) for item in bundle.differences}), BACKENDS_LIMIT)
    owned = any(service_of(item) for item in bundle.differences)
    return f"{bundle.subjects[0]} {ports}" if owned else bundle.subjects[0]


def address_words(frontend: Frontend) -> str:
    """`ClusterIP 10.96.0.10:53/UDP`, `NodePort 30053/UDP`: the latter is one at all addresses of the node."""
    if frontend.kind is FrontendKind.NODE_PORT:
        return f"{frontend.kind} {frontend.port}/{frontend.protocol}"
    return f"{frontend.kind} {frontend.label}"


def through(bundle: Bundle) -> str:
    """`ClusterIP 10.96.100.7:80/TCP and 2 more addresses`."""
    first, *others = bundle.frontends
    more = f" and {len(others)} more address{'' if len(others) == 1 else 'es'}" if others else ""
    return address_words(first) + more


def clients(view: View, bundle: Bundle) -> str:
    """`all pods on the node and all clients outside the node; the node itself is not affected`."""
    words = []
    for position in (Position.POD, Position.NODE, Position.EXTERNAL):
        mine = [item for item in bundle.differences if _at(item) is position]
        texts = {item.who for item in mine}
        if not mine:
            continue
        if ALL[position] in texts or (len(texts) > 1 and _covers(view, mine)):
            words.append(ALL[position])
        elif len(texts) == 1 and "" not in texts:
            words += texts
        else:
            words += [f"{SOME[position]} {addresses.describe()}" for addresses in _by_family(mine)]
    spared = _spared(view, bundle)
    if not spared:
        return listed(words)
    verb = "is" if spared == (Position.NODE,) else "are"
    return f"{listed(words)}; {listed(SPARED[position] for position in spared)} {verb} not affected"


def _covers(view: View, differences: Iterable[Difference]) -> bool:
    """True if the differences together concern all clients of their position, for at least one address."""
    hit: dict[tuple[str, Frontend], AddressSet] = {}
    for item in differences:
        where = (item.node, item.frontend)
        hit[where] = hit[where] | item.clients.addresses if where in hit else item.clients.addresses
    for (node_name, frontend), addresses in hit.items():
        actual = view.node_by_name[node_name].actual
        behaviour = actual.behaviours.get(frontend) if actual is not None else None
        if behaviour is not None and not any(case.clients.addresses - addresses for case in behaviour.cases):
            return True
    return False


def _by_family(differences: Iterable[Difference]) -> tuple[AddressSet, ...]:
    """The clients of all differences together."""
    found: dict[Family, AddressSet] = {}
    for item in differences:
        addresses = item.clients.addresses
        found[addresses.family] = found.get(addresses.family, AddressSet.nothing(addresses.family)) | addresses
    return tuple(found[family] for family in Family if family in found)


def _at(difference: Difference) -> Position:
    return difference.frontend.position


def _spared(view: View, bundle: Bundle) -> tuple[Position, ...]:
    """Positions from which the same addresses were judged, and nothing was found wrong or left undecided."""
    judged: set[Position] = set()
    for name in bundle.nodes:
        node = view.node_by_name[name]
        if node.comparison is None or node.actual is None:
            return ()
        undecided = {port for unclear in node.comparison.unclear for port in unclear.service_ports}
        for item in bundle.differences:
            if item.node != name:
                continue
            if item.service_port in undecided:
                return ()
            judged.update(
                position
                for position in Position
                if position not in judged and replace(item.frontend, position=position) in node.actual.behaviours
            )
    hit = {_at(item) for item in bundle.differences}
    return tuple(position for position in Position if position in judged and position not in hit)


def share_text(differences: Iterable[Difference], counts: Callable[[Difference, Fate], bool]) -> str:
    """How many of the new connections, at worst, end in a fate that counts: `every new connection`, `about 33 % of …`."""
    worst = 0.0
    for item in differences:
        if item.actual_outcome is not None:
            worst = max(worst, sum(share for fate, share in item.actual_outcome.shares if counts(item, fate)))
    if worst > 0.995 or worst <= 0.0:
        return "every new connection"
    return f"about {max(round(worst * 100), 1)} % of the new connections"


def backends_of(differences: Iterable[Difference], *symptoms: Symptom) -> tuple[SocketAddress, ...]:
    """The endpoints that differences with these symptoms concern, ascending."""
    found = {backend for item in differences if item.symptom in symptoms for backend in item.backends}
    return tuple(sorted(found, key=lambda item: (item.address.version, int(item.address), item.port)))


def owner_of(state: ClusterState, backend: SocketAddress, service: str | None) -> str:
    """Whose address a backend has: `no pod has it`, `pod default/web-1, which is not ready`; empty if that is not known."""
    node = state.node_by_address.get(backend.address)
    if node is not None:
        return f"an address of node {node.name}"
    if "pods" not in state.seen:
        return ""
    pods = state.pods_by_address.get(backend.address, ())
    if not pods:
        return "no pod has it"
    pod = min(pods, key=lambda pod: (pod.meta.deleted_at is not None, not pod.ready, pod.key))
    if pod.meta.deleted_at is not None:
        return f"pod {pod.key}, which is being deleted"
    if not pod.ready:
        return f"pod {pod.key}, which is not ready"
    if service is not None and _lists(state, service, backend):
        return f"pod {pod.key}"
    listing = sorted(str(key) for key in state.services_listing(backend.address))
    if not listing:
        return f"pod {pod.key}"
    return f"pod {pod.key}, an endpoint of {listed(listing, 2)}"


def _lists(state: ClusterState, service: str, backend: SocketAddress) -> bool:
    """True if the Service has the address in one of its slices, ready or not, or in its Endpoints."""
    namespace, _, plain = service.partition("/")
    key = ObjectKey(namespace=namespace, name=plain)
    slices = state.slices_by_service.get(key, ())
    if any(item.holds(backend.address) for item in slices):
        return True
    listed_by = state.endpoints_by_service.get(key)
    return listed_by is not None and any(entry[0] == backend.address for entry in listed_by.addresses)


def with_owners(state: ClusterState, backends: Sequence[SocketAddress], service: str | None) -> str:
    """`10.244.1.3:80 (no pod has it) and 10.244.1.4:80 (pod default/web-1, which is not ready)`."""
    texts = []
    for backend in backends[:BACKENDS_LIMIT]:
        owner = owner_of(state, backend, service)
        texts.append(f"{backend} ({owner})" if owner else str(backend))
    if len(backends) > BACKENDS_LIMIT:
        texts.append(f"{len(backends) - BACKENDS_LIMIT} more")
    return listed(texts)


def service_names(differences: Iterable[Difference]) -> tuple[str, ...]:
    """The Services that differences concern, sorted; an address that belongs to none stands for itself."""
    return tuple(sorted({service_of(item) or item.frontend.label for item in differences}))


def lines_by_service(view: View, bundle: Bundle) -> str:
    """One line for each Service that says what is out of date there, at most LINES_LIMIT of them."""
    found: dict[str, list[Difference]] = {}
    for item in bundle.differences:
        found.setdefault(service_of(item) or item.frontend.label, []).append(item)
    lines = [f"- {_service_line(view.cluster, found[key])}" for key in sorted(found)[:LINES_LIMIT]]
    if len(found) > LINES_LIMIT:
        lines.append(f"- and {count(len(found) - LINES_LIMIT, 'more Service')}")
    return "\n".join(lines)


def _service_line(state: ClusterState, differences: list[Difference]) -> str:
    bundle_ports = listed(dict.fromkeys(port_of(item) for item in differences), BACKENDS_LIMIT)
    owner = differences[0].service_port
    service = service_of(differences[0])
    told = []
    for symptom, words in _SYMPTOM_WORDS:
        those = [item for item in differences if item.symptom is symptom]
        if not those:
            continue
        addresses = listed(
            (_short(item.frontend) for item in sorted(those, key=lambda item: item.frontend.kind)), BACKENDS_LIMIT
        )
        backends = backends_of(those, symptom)
        told.append(
            words.format(
                addresses=addresses,
                are="are" if len({_short(item.frontend) for item in those}) > 1 else "is",
                backends=listed((str(backend) for backend in backends), BACKENDS_LIMIT),
                owned=with_owners(state, backends, service) if "{owned}" in words else "",
                gone=(
                    "no Service has the address"
                    if owner is None
                    else "given up by the Service"
                    if owner.service in state.service_by_key
                    else "deleted"
                ),
            )
        )
    label = f"{service} {bundle_ports}" if service else differences[0].frontend.label
    return f"{label}: {', '.join(told)}"


def _short(frontend: Frontend) -> str:
    if frontend.kind is FrontendKind.NODE_PORT:
        return f"NodePort {frontend.port}"
    return str(SocketAddress(frontend.address, frontend.port))


_SYMPTOM_WORDS = (
    (Symptom.NOT_PROGRAMMED, "{addresses} {are} not programmed"),
    (Symptom.NO_SUCH_SERVICE, "{gone}, still programmed at {addresses}"),
    (Symptom.STALE_ENDPOINT, "sends to {owned}"),
    (Symptom.WRONG_PORT, "sends to the wrong port {backends}"),
    (Symptom.MISSING_ENDPOINT, "lacks {backends}"),
    (Symptom.UNBALANCED, "gives too much to {backends}"),
    (Symptom.REFUSED, "refuses connections to {addresses} although endpoints exist"),
    (Symptom.NOT_REFUSED, "does not refuse connections to {addresses} although no endpoint is usable"),
    (Symptom.MASQUERADE_MISSING, "keeps source addresses that have to be rewritten"),
    (Symptom.MASQUERADE_NEEDLESS, "rewrites source addresses without need"),
    (Symptom.AFFINITY, "has another session affinity"),
)
"""What is said of a Service, in this order."""
