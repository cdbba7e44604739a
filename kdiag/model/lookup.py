"""Looking something up by the name that a user typed, with a helpful error when it is not there."""

from __future__ import annotations

from collections.abc import Iterable

from kdiag.errors import TargetError
from kdiag.model.cluster import ClusterState, Pod, Service
from kdiag.model.objects import ObjectKey


def near_names(wanted: str, known: Iterable[str], *, limit: int = 3) -> tuple[str, ...]:
    """The known names that `wanted` was probably meant to be, best first; at most `limit`, often none.

    Case does not count. Names that begin with `wanted` come first. Ties are settled by the alphabet, so that the answer
    does not depend on the order of `known`.
    """
    from difflib import get_close_matches  # only a slip needs it

    folded = {candidate.lower(): candidate for candidate in sorted(set(known), reverse=True)}
    asked = wanted.lower()
    begun = [candidate for candidate in sorted(folded) if len(asked) > 2 and candidate.startswith(asked)]
    close = get_close_matches(asked, sorted(folded), n=limit, cutoff=0.6)
    return tuple(folded[match] for match in dict.fromkeys([*begun, *([] if begun else close)]))[:limit]


def did_you_mean(wanted: str, known: Iterable[str]) -> str:
    """`did you mean web or web2?`, or an empty text when nothing is near."""
    near = near_names(wanted, known)
    return f"did you mean {_listed(near)}?" if near else ""


def find_service(cluster: ClusterState, wanted: ObjectKey) -> Service:
    """The Service that `wanted` names; an empty namespace in it means that any namespace will do.

    Raises TargetError if there is none, or, without a namespace, more than one.
    """
    if wanted.namespace:
        found = cluster.service_by_key.get(wanted)
        if found is not None:
            return found
        raise _service_missing(cluster, wanted)
    matches = sorted(service.key for service in cluster.services if service.key.name == wanted.name)
    if not matches:
        raise _service_missing(cluster, wanted)
    if len(matches) > 1:
        raise TargetError(
            f"the Service name {wanted.name} is not unique",
            hint=f"name one of {_listed(tuple(str(key) for key in matches))}",
        )
    return cluster.service_by_key[matches[0]]


def find_node(cluster: ClusterState, wanted: str, *, also: Iterable[str] = ()) -> str:
    """`wanted` itself if it is a node of the cluster or one of `also` (recorded nodes that the API does not list).

    Raises TargetError if it is neither.
    """
    known = {*cluster.node_by_name, *also}
    if wanted in known:
        return wanted
    hint = did_you_mean(wanted, known) or _known_hint("node", "nodes", known)
    raise TargetError(f"there is no node {wanted}", hint=hint)


def find_pod(cluster: ClusterState, wanted: ObjectKey) -> Pod:
    """The pod that `wanted` names; an empty namespace in it means that any namespace will do.

    Raises TargetError if there is none, or, without a namespace, more than one.
    """
    matches = [
        pod
        for pod in cluster.pods
        if pod.key.name == wanted.name and (not wanted.namespace or pod.key.namespace == wanted.namespace)
    ]
    if len(matches) == 1:
        return matches[0]
    if matches:
        keys = tuple(sorted(str(pod.key) for pod in matches))
        raise TargetError(f"the pod name {wanted.name} is not unique", hint=f"name one of pod/{' or pod/'.join(keys)}")
    if not cluster.pods:
        raise TargetError(f"there is no pod {wanted}", hint="the snapshot holds no pods")
    hint = _elsewhere(wanted, [pod.key for pod in cluster.pods])
    raise TargetError(f"there is no pod {wanted}", hint=hint)


def _service_missing(cluster: ClusterState, wanted: ObjectKey) -> TargetError:
    if not cluster.services:
        hint = "the snapshot holds no Services"
    else:
        hint = _elsewhere(wanted, [service.key for service in cluster.services])
    return TargetError(f"there is no Service {wanted}", hint=hint)


def _elsewhere(wanted: ObjectKey, keys: list[ObjectKey]) -> str:
    """The same name in other namespaces first, then near names: a forgotten `-n` is the commonest slip."""
    same = tuple(sorted(str(key) for key in keys if key.name == wanted.name))
    if same:
        return f"did you mean {_listed(same[:3])}?"
    if wanted.namespace:
        here = [key.name for key in keys if key.namespace == wanted.namespace]
        near = near_names(wanted.name, here)
        if near:
            return f"did you mean {_listed(tuple(f'{wanted.namespace}/{name}' for name in near))}?"
        return did_you_mean(str(wanted), (str(key) for key in keys))
    return did_you_mean(wanted.name, (key.name for key in keys))


def _known_hint(singular: str, plural: str, known: Iterable[str]) -> str:
    """Names everything there is, when that is little enough to be of help."""
    listed = tuple(sorted(known))
    if not listed:
        return f"the snapshot holds no {plural}"
    if len(listed) > 8:
        return f"the snapshot holds {len(listed)} {plural}"
    return f"the {singular if len(listed) == 1 else plural} {'is' if len(listed) == 1 else 'are'} {_listed(listed)}"


def _listed(names: tuple[str, ...]) -> str:
    """`a`, `a or b`, `a, b or c`."""
    if len(names) == 1:
        return names[0]
    return f"{', '.join(names[:-1])} or {names[-1]}"
