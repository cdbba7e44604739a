"""Decides as Kubernetes' RBAC authorizer does whether deploy/rbac.yaml permits a request."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

MANIFEST = Path(__file__).parents[2] / "deploy" / "rbac.yaml"


@dataclass(frozen=True)
class Request:
    """What is asked for. `namespace` is empty for all namespaces, `object_name` for a list."""

    verb: str
    group: str
    resource: str
    namespace: str = ""
    object_name: str = ""


@dataclass(frozen=True)
class Grant:
    """One verb on one resource, perhaps one object, perhaps in one namespace."""

    verb: str
    group: str
    resource: str
    namespace: str | None
    object_name: str | None

    def permits(self, request: Request) -> bool:
        return (
            (self.verb, self.group, self.resource) == (request.verb, request.group, request.resource)
            and self.namespace in (None, request.namespace)
            and self.object_name in (None, request.object_name)
        )


def granted(service_account: tuple[str, str], path: Path = MANIFEST) -> tuple[Grant, ...]:
    """What the manifest grants to a service account (namespace, name), bindings included."""
    objects: list[dict[str, Any]] = [item for item in yaml.safe_load_all(path.read_text()) if item]
    roles = {
        (item["kind"], item["metadata"].get("namespace"), item["metadata"]["name"]): item["rules"]
        for item in objects
        if item["kind"] in ("ClusterRole", "Role")
    }
    found: list[Grant] = []
    for binding in objects:
        if binding["kind"] not in ("ClusterRoleBinding", "RoleBinding"):
            continue
        if not any(
            (subject["kind"], subject.get("namespace"), subject["name"]) == ("ServiceAccount", *service_account)
            for subject in binding["subjects"]
        ):
            continue
        namespace = binding["metadata"].get("namespace")
        role = binding["roleRef"]
        rules = roles[role["kind"], namespace if role["kind"] == "Role" else None, role["name"]]
        for rule in rules:
            found += _grants(rule, namespace if binding["kind"] == "RoleBinding" else None)
    return tuple(found)


def _grants(rule: dict[str, Any], namespace: str | None) -> Iterator[Grant]:
    for group in rule["apiGroups"]:
        for resource in rule["resources"]:
            for verb in rule["verbs"]:
                for object_name in rule.get("resourceNames") or [None]:
                    yield Grant(verb, group, resource, namespace, object_name)


@dataclass
class Authorizer:
    """Permits what is granted, and remembers what was used and what was refused."""

    grants: tuple[Grant, ...]
    used: set[Grant] = field(default_factory=set)
    refused: list[Request] = field(default_factory=list)

    def permits(self, request: Request) -> bool:
        matching = [grant for grant in self.grants if grant.permits(request)]
        self.used.update(matching)
        if not matching:
            self.refused.append(request)
        return bool(matching)
