"""Pages of a list made into one list, object by object as bytes: what kdiag does not use is never built."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from kdiag.errors import ParseError

_Object = dict[str, msgspec.Raw]


class _Meta(msgspec.Struct, rename="camel"):
    """metadata of a page. `continue_` asks for the next one."""

    continue_: str | None = msgspec.field(name="continue", default=None)
    resource_version: str | None = None


class _Change(msgspec.Struct):
    """An entry of metadata.managedFields, as far as it is kept."""

    time: str | None = None


class _Changed(msgspec.Struct, rename="camel"):
    """metadata of an object, its managedFields still encoded."""

    managed_fields: msgspec.Raw = msgspec.Raw()


class _Item(msgspec.Struct):
    """An object, for its metadata alone."""

    metadata: _Changed = msgspec.field(default_factory=_Changed)


class _Page(msgspec.Struct, rename="camel"):
    """One page, its objects still encoded."""

    kind: str
    items: list[msgspec.Raw] | None
    api_version: str = "v1"
    metadata: _Meta = msgspec.field(default_factory=_Meta)


_PAGE = msgspec.json.Decoder(_Page)
_ITEM = msgspec.json.Decoder(_Item)
_OBJECT = msgspec.json.Decoder(_Object)
_CHANGES = msgspec.json.Decoder(list[_Change])
_ENCODER = msgspec.json.Encoder()
_MALFORMED = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_MANAGED_FIELDS = b'"managedFields"'


class JoinedPages:
    """The pages of one list, in the order in which they were added."""

    def __init__(self) -> None:
        self._kind = ""
        self._api_version = ""
        self._resource_version = ""
        self._items: list[bytes] = []

    def add(self, page: bytes) -> str:
        """Adds a page and returns the token that asks for the next one, empty after the last.

        Raises ParseError if the bytes are no page of a list.
        """
        try:
            found = _PAGE.decode(page)
        except _MALFORMED as error:
            raise ParseError(f"not a list: {error}") from error
        self._kind = self._kind or found.kind
        self._api_version = self._api_version or found.api_version
        self._resource_version = found.metadata.resource_version or self._resource_version
        self._items.extend(with_time_of_change(bytes(item)) for item in found.items or ())
        return found.metadata.continue_ or ""

    def document(self, *, continue_token: str = "") -> bytes:
        """One list document with one object a line; with a token it says of itself that it is not the whole."""
        return list_document(
            self._items,
            kind=self._kind,
            api_version=self._api_version,
            resource_version=self._resource_version,
            continue_token=continue_token,
        )


def list_document(
    items: Iterable[bytes], *, kind: str, api_version: str, resource_version: str = "", continue_token: str = ""
) -> bytes:
    """A Kubernetes list of encoded objects, one a line."""
    metadata = {"resourceVersion": resource_version, "continue": continue_token}
    head = _ENCODER.encode(
        {
            "kind": kind,
            "apiVersion": api_version,
            "metadata": {key: value for key, value in metadata.items() if value},
        }
    )
    return head[:-1] + b',"items":[\n' + b",\n".join(items) + b"\n]}\n"


def with_time_of_change(item: bytes) -> bytes:
    """An encoded object on one line; of metadata.managedFields only the latest time is kept.

    They say who wrote what, are often its larger half, and `kubectl get -o json` leaves them out, too (since 1.21). When
    an object changed last tells whether proxies can have followed. Everything else stays as the server wrote it; what is
    no object is returned as it is.
    """
    try:
        if _MANAGED_FIELDS in item:
            short = _shortened(item)
            if short is not None:
                return short
            found = _OBJECT.decode(item)
            metadata = _OBJECT.decode(found["metadata"])
            changes = metadata.pop("managedFields", None)
            if changes is not None:
                latest = max((change.time for change in _CHANGES.decode(changes) if change.time), default=None)
                if latest is not None:
                    metadata["managedFields"] = msgspec.Raw(_ENCODER.encode([{"time": latest}]))
                found["metadata"] = msgspec.Raw(_ENCODER.encode(metadata))
                item = _ENCODER.encode(found)
    except (*_MALFORMED, KeyError):
        return item
    # Line ends in JSON stand between tokens only; those within strings are escaped.
    return item.replace(b"\n", b" ") if b"\n" in item else item


def _shortened(item: bytes) -> bytes | None:
    """The object with the time of the latest change in place of all changes; None where that takes more than to put one
    piece of text in the place of another."""
    changes = bytes(_ITEM.decode(item).metadata.managed_fields)
    if not changes:
        return None
    latest = max((change.time for change in _CHANGES.decode(changes) if change.time), default=None)
    # Objects of the server begin with their metadata, and nothing before it looks like its changes.
    start = item.find(_MANAGED_FIELDS) + len(_MANAGED_FIELDS) + 1
    if latest is None or not item.startswith(changes, start) or b"\n" in item:
        return None
    return b"".join((item[:start], _ENCODER.encode([{"time": latest}]), item[start + len(changes) :]))
