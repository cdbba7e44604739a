"""A snapshot: raw text and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Protocol

from msgspec import Struct, field

from kdiag.model.report import Gap


class Stored(Protocol):
    """Text that lies somewhere else until it is asked for."""

    @property
    def size_bytes(self) -> int:
        """How long it is."""
        ...

    @property
    def has_parts(self) -> bool:
        """True if a part can be had without the rest."""
        ...

    def read(self) -> bytes:
        """All of it. Raises SnapshotError if it is not there any more, or not as it was."""
        ...

    def part(self, start: int, end: int) -> bytes:
        """The same of some bytes of it, where it has parts."""
        ...


class Part(Struct, frozen=True, gc=False):
    """Some bytes of a text, which are read when they are asked for."""

    whole: bytes | Stored
    start: int
    end: int

    def read(self) -> bytes | memoryview:
        """The bytes. Raises SnapshotError if what is stored cannot be read any more."""
        if isinstance(self.whole, bytes):
            return memoryview(self.whole)[self.start : self.end]
        return self.whole.part(self.start, self.end)


class Recording:
    """What one API request or one command printed; never changed once it is made.

    `source` is the path inside the snapshot, used in evidence. `exit_status` and `stderr` are None and empty
    where the snapshot does not say; `http_status` is that of an API request, None for a command or where unknown.
    """

    __slots__ = ("_content", "exit_status", "http_status", "source", "stderr")

    def __init__(
        self,
        *,
        source: str,
        content: bytes | Stored,
        exit_status: int | None = None,
        stderr: str = "",
        http_status: int | None = None,
    ) -> None:
        self.source = source
        self._content = content
        self.exit_status = exit_status
        self.stderr = stderr
        self.http_status = http_status

    @property
    def content(self) -> bytes:
        """All that was printed. What is stored is read each time, and not kept: keep it as long as it is needed.

        Raises SnapshotError if what is stored cannot be read any more.
        """
        return self._content if isinstance(self._content, bytes) else self._content.read()

    @property
    def size_bytes(self) -> int:
        """How long the content is; nothing is read for it."""
        return len(self._content) if isinstance(self._content, bytes) else self._content.size_bytes

    @property
    def in_parts(self) -> bytes | Stored:
        """What `Part` can read parts of, now and later: all of the content only where it has no parts or is in memory anyway.

        Raises SnapshotError if what is stored cannot be read any more.
        """
        return self._content if isinstance(self._content, bytes) or self._content.has_parts else self._content.read()

    def text(self) -> str:
        """The content as text; bytes that are not UTF-8 become U+FFFD."""
        return self.content.decode("utf-8", errors="replace")

    def replaced(
        self,
        *,
        source: str | None = None,
        content: bytes | None = None,
        stderr: str | None = None,
        http_status: int | None = None,
    ) -> Recording:
        """The same with something else in place of what is given."""
        return Recording(
            source=self.source if source is None else source,
            content=self._content if content is None else content,
            exit_status=self.exit_status,
            stderr=self.stderr if stderr is None else stderr,
            http_status=self.http_status if http_status is None else http_status,
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Recording):
            return NotImplemented
        return (
            (self.source, self.exit_status, self.stderr, self.http_status, self.size_bytes)
            == (other.source, other.exit_status, other.stderr, other.http_status, other.size_bytes)
        ) and (self._content is other._content or self.content == other.content)

    def __hash__(self) -> int:
        return hash((self.source, self.exit_status, self.stderr, self.http_status, self.size_bytes))

    def __repr__(self) -> str:
        facts = f"exit_status={self.exit_status}, stderr={self.stderr!r}, http_status={self.http_status}"
        return f"Recording(source={self.source!r}, content={self._content!r}, {facts})"


class Round(Struct, frozen=True, kw_only=True):
    """Some nodes read once more, because the API had changed while they were read.

    `nodes` are their probes. `api_after` is the API as it was read afterwards; what it was before them is the reading
    that came before this round. `taken_at` is when the nodes were read.
    """

    taken_at: datetime | None = None
    nodes: Mapping[str, Mapping[str, Recording]] = field(default_factory=dict)
    api_after: Mapping[str, Recording] = field(default_factory=dict)


class Snapshot(Struct, frozen=True, kw_only=True):
    """Everything that was gathered from a cluster.

    `api` maps a kind (`services`, `endpointslices-v1`, `pods`, … : the file name without its ending) to the list
    as the API gave it before the nodes were read, `api_after` to the list read afterwards (empty when the API was
    read once). `nodes` maps a node name to its probes, and those (`iptables-save`, `ip-addr`, `kube-proxy`: the
    file name without its last ending) to what they printed. `again` are later rounds, oldest first.
    """

    name: str
    taken_at: datetime | None = None
    api: Mapping[str, Recording] = field(default_factory=dict)
    api_after: Mapping[str, Recording] = field(default_factory=dict)
    nodes: Mapping[str, Mapping[str, Recording]] = field(default_factory=dict)
    again: tuple[Round, ...] = ()
    manifest: Mapping[str, object] = field(default_factory=dict)
    gaps: tuple[Gap, ...] = ()
