"""What all Kubernetes objects have."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from msgspec import Struct, field


class ObjectKey(Struct, frozen=True, kw_only=True, order=True, gc=False):
    """Namespace and name. Cluster-scoped objects have an empty namespace.

    Not tracked by the garbage collector, like `Endpoint`, because there are very many.
    """

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


class Metadata(Struct, frozen=True, kw_only=True, gc=False):
    """The part of an object's metadata that is used."""

    key: ObjectKey
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    created_at: datetime | None = None
    updated_at: datetime | None = None
    """The latest time in metadata.managedFields."""
    deleted_at: datetime | None = None
    """metadata.deletionTimestamp: when the object will go, set means it is going."""
    uid: str = ""
    resource_version: str = ""
    """metadata.resourceVersion: another one means that the object was written meanwhile. Not a number (API conventions)."""
