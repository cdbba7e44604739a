"""The names that are offered after TAB: Services, nodes, namespaces, contexts, and the codes of checks.

Looked up in the snapshot that the command line names before the cursor, else over the live API. `given` are the parameters
before the cursor, by the names that the commands know them by. What cannot be had is not offered, and nothing is raised.
How long it may take is decided where the process starts (`kdiag.cli.in_time`). Imports next to nothing, for it must be fast.
"""

from __future__ import annotations

TYPE_CHECKING = False  # as in kdiag.cli.fast_completion
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path
    from typing import Any

    Given = Mapping[str, Any]


def services(given: Given, incomplete: str) -> list[str]:
    """`NAMESPACE/NAME`, or names alone where -n or the namespace default says which namespace is meant."""
    return _found(lambda: _services(given, incomplete))


def targets(given: Given, incomplete: str) -> list[str]:
    """What `kdiag trace` follows packets to: `svc/NAME`, or as for Services."""
    return _found(lambda: _services(given, incomplete, with_kind=True))


def clients(given: Given, incomplete: str) -> list[str]:
    """`external`, `node/NAME`, and `pod/NAME` once that is begun: there may be very many."""

    def listed() -> list[str]:
        if incomplete.startswith("pod/"):
            namespace = given.get("namespace") or "default"
            return [f"pod/{pod}" for within, pod in _names(given, "pods", namespace) if within == namespace]
        return [f"node/{node}" for _, node in _names(given, "nodes")]

    offered = [word for word in ("external", "pod/") if word.startswith(incomplete) and word != incomplete]
    return [*offered, *(word for word in _found(listed) if word.startswith(incomplete))]


def nodes(given: Given, incomplete: str) -> list[str]:
    """Nodes that were not named yet."""
    named = given.get("node") or ()
    known = _found(lambda: [node for _, node in _names(given, "nodes")])
    return [node for node in known if node.startswith(incomplete) and (isinstance(named, str) or node not in named)]


def namespaces(given: Given, incomplete: str) -> list[str]:
    """Namespaces that have a Service."""
    known = _found(lambda: sorted({namespace for namespace, _ in _names(given, "services")}))
    return [namespace for namespace in known if namespace.startswith(incomplete)]


def contexts(given: Given, incomplete: str) -> list[str]:
    """Contexts of the kubeconfig."""

    def listed() -> list[str]:
        from kdiag.gather.names import context_names

        return context_names(_path(given, "kubeconfig"))

    return [context for context in _found(listed) if context.startswith(incomplete)]


def codes(incomplete: str, titles: Mapping[str, str]) -> list[tuple[str, str]]:
    """Codes of checks with their titles; after a comma, for the last code only."""
    before, comma, last = incomplete.rpartition(",")
    return [(before + comma + code, title) for code, title in titles.items() if code.startswith(last.upper())]


def _found(look_up: Callable[[], Sequence[str]]) -> list[str]:
    """What `look_up` finds, or nothing if it fails: a name that the terminal would not print is none."""
    try:
        return [word for word in look_up() if word.isprintable()]
    except Exception:
        # A snapshot that cannot be read or an API that does not answer: at a prompt there is no place for errors.
        return []


def _services(given: Given, incomplete: str, *, with_kind: bool = False) -> list[str]:
    namespace = given.get("namespace")
    if isinstance(namespace, str) and "/" not in namespace:
        names = [service for within, service in _names(given, "services", namespace) if within == namespace]
    else:
        known = _names(given, "services")
        names = [f"{within}/{service}" for within, service in known]
        names += [service for within, service in known if within == "default" or given.get("all_namespaces")]
    if incomplete.startswith("svc/") or (with_kind and "svc/".startswith(incomplete)):
        names = [*names, *(f"svc/{word}" for word in names if "/" not in word)]
    return [word for word in dict.fromkeys(names) if word.startswith(incomplete)]


def _names(given: Given, kind: str, namespace: str | None = None) -> list[tuple[str, str]]:
    from pathlib import Path

    from kdiag.gather.names import live_names, recorded_names

    recorded = _path(given, "snapshot")
    if given.get("demo"):
        import kdiag

        recorded = Path(kdiag.__file__).parent / "demo" / "cluster.tar.gz"
    if recorded is not None:
        return recorded_names(recorded, kind)
    context: Any = given.get("context")
    return live_names(kind, kubeconfig=_path(given, "kubeconfig"), context=context, namespace=namespace)


def _path(given: Given, parameter: str) -> Path | None:
    from pathlib import Path

    path = given.get(parameter)
    return None if path is None else Path(path).expanduser()
