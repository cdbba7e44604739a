"""Dumps that many nodes have alike: told by digests, fetched once, put together for each node.

In a cluster the chains for Services and endpoints are the same on every node: nearly all of a dump. The node script sends
digests of these (`ordered`, of KUBE-SVC, KUBE-SEP and KUBE-EXT, in which order counts, and `unordered`, of the sorted rules
that lead to them) beside everything else as text, and asks whether the dump is wanted. It is, unless a dump with the same
digests is known, in which the order of the rules that lead there makes no difference. The node's dump is then put together of
its own text and the known chains; where that cannot be done, the dump is wanted.

What is the node's own and what is not is decided line by line, here as in the script (`apart` in node_script.sh).
"""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol, TypeVar

_SERVICES, _NODE_PORTS = b"KUBE-SERVICES", b"KUBE-NODEPORTS"
_LOCAL = (b" --src-type LOCAL ", b" -j KUBE-SVL-")
_COUNTERS = re.compile(rb" \[[0-9]+:[0-9]+\]$")
_DIGEST = re.compile(rb"\n(ordered|unordered)=([0-9a-f]{64})(?=\n|$)")
_TO_SERVICE = re.compile(
    rb'-A KUBE-SERVICES -d ([0-9.]+/32|[0-9a-f:]+/128) -p (\w+) -m comment --comment (?:"[^"\\]*"|[^"\\ ]+) '
    rb"-m \2 --dport ([0-9]+) -j (\S+)"
)
_TO_NODE_PORT = re.compile(
    rb'-A KUBE-NODEPORTS (?:-d 127\.0\.0\.0/8 )?-p (\w+) -m comment --comment (?:"[^"\\]*"|[^"\\ ]+) '
    rb"-m \1 --dport ([0-9]+) (?:-m nfacct --nfacct-name +\S+ )?-j (\S+)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Apart:
    """A dump taken apart. Lines of `declared` and `rules` are the chains that nodes have alike, sorted by chain;
    `leading` are the rules of KUBE-SERVICES (without the last one) and of KUBE-NODEPORTS, by chain. `own` is the rest.

    `shareable` is False where other nodes' dumps cannot be put together of it.
    """

    own: bytes
    declared: bytes
    rules: bytes
    leading: dict[bytes, bytes]
    ordered: str
    unordered: str
    shareable: bool


def take_apart(dump: bytes) -> Apart:
    """What the script does with a dump, and the digests that it tells."""
    ordered: list[bytes] = []
    leading: list[bytes] = []
    own: list[bytes] = []
    external: list[bytes] = []
    chain, last, in_nat = b"", b"", False

    def external_ends() -> None:
        nonlocal chain
        (own if any(mark in line for line in external for mark in _LOCAL) else ordered).extend(external)
        external.clear()
        chain = b""

    for line in dump.removesuffix(b"\n").split(b"\n"):
        if in_nat:
            if line.startswith((b"-A KUBE-SEP-", b"-A KUBE-SVC-", b":KUBE-SEP-", b":KUBE-SVC-")):
                if external:
                    external_ends()
                ordered.append(line)
                continue
            if line.startswith(b"-A KUBE-EXT-"):
                if line.split(b" ", 2)[1] != chain:
                    external_ends()
                    chain = line.split(b" ", 2)[1]
                external.append(line)
                continue
        if external:
            external_ends()
        if in_nat and line.startswith(b"-A KUBE-SERVICES "):
            if last:
                leading.append(last)
            last = line
            continue
        if last:
            own.append(last)
            last = b""
        if in_nat and line.startswith(b"-A KUBE-NODEPORTS "):
            leading.append(line)
        elif in_nat and line.startswith(b":KUBE-EXT-"):
            ordered.append(line)
        elif not line.startswith(b"#"):
            if line.startswith(b"*"):
                in_nat = line == b"*nat"
            own.append(_COUNTERS.sub(b" [0:0]", line) if line.startswith(b":") else line)
    external_ends()
    if last:
        own.append(last)
    declared = [line for line in ordered if line.startswith(b":")]
    rules = [line for line in ordered if not line.startswith(b":")]
    return Apart(
        own=_text(own),
        declared=_text(declared),
        rules=_text(rules),
        leading={
            name: _text(line for line in leading if line.startswith(b"-A " + name + b" "))
            for name in (_SERVICES, _NODE_PORTS)
        },
        ordered=hashlib.sha256(_text(ordered)).hexdigest(),
        unordered=hashlib.sha256(_text(sorted(leading))).hexdigest(),
        shareable=_sorted(declared) and _sorted(rules) and ordered == declared + rules and _order_is_free(leading),
    )


def put_together(own: bytes, like: Apart) -> bytes | None:
    """The dump of a node that has `own`, and all else like another; None if that cannot be done.

    Chains are in the order of their names, as iptables-save prints them; dates are left out and counters are 0.
    """
    if not like.shareable or not own.endswith(b"\n"):
        return None
    tables = own.split(b"*nat\n")
    if len(tables) != 2 or b"COMMIT\n" not in tables[1]:
        return None
    before, behind = tables
    nat, _, after = behind.partition(b"COMMIT\n")
    lines = nat.splitlines()
    base = [line for line in lines if line.startswith(b":") and line.split(b" ")[1:2] != [b"-"]]
    declared = sorted(line for line in lines if line.startswith(b":") and line not in base)
    built_in = {line[1:].split(b" ", 1)[0] for line in base}
    blocks: dict[bytes, list[bytes]] = {name: [] for name in (_SERVICES, _NODE_PORTS)}
    first: list[bytes] = []
    for line in lines:
        if line.startswith(b"-A "):
            name = line.split(b" ", 2)[1]
            (first if name in built_in else blocks.setdefault(name, [])).append(line)
        elif not line.startswith(b":"):
            return None
    names = {line[1:].split(b" ", 1)[0] for line in declared}
    pieces = [before, b"*nat\n", _text(base)]
    pieces += _merged(like.declared, b":", [(line[1:].split(b" ", 1)[0], line + b"\n") for line in declared])
    pieces.append(_text(first))
    inserted = []
    for name in sorted(blocks):
        if _place(like.rules, b"-A ", name) != _place(like.rules, b"-A ", name + b" "):
            return None  # some of its rules are the node's own and some are not: their order is not known
        text = like.leading.get(name, b"") + _text(blocks[name])
        if text and name not in names and _place(like.declared, b":", name) == _place(like.declared, b":", name + b" "):
            return None  # rules of a chain that is not there
        inserted.append((name, text))
    pieces += _merged(like.rules, b"-A ", inserted)
    return b"".join([*pieces, b"COMMIT\n", after])


def _merged(text: bytes, prefix: bytes, pieces: Sequence[tuple[bytes, bytes]]) -> list[bytes]:
    """Sorted lines, with pieces of other chains at their places."""
    out: list[bytes] = []
    position = 0
    for name, piece in pieces:
        place = _place(text, prefix, name)
        out += [text[position:place], piece]
        position = place
    return [*out, text[position:]]


def _place(text: bytes, prefix: bytes, name: bytes) -> int:
    """Where the first line stands whose chain is not before `name`."""
    low, high = 0, len(text)
    while low < high:
        middle = text.rfind(b"\n", low, (low + high) // 2) + 1 or low
        end = text.index(b"\n", middle) + 1
        chain = text[middle + len(prefix) : end].split(b" ", 1)[0]
        if chain < name:
            low = end
        else:
            high = middle
    return low


def _text(lines: Iterable[bytes]) -> bytes:
    listed = list(lines)
    return b"\n".join(listed) + b"\n" if listed else b""


def _sorted(lines: list[bytes]) -> bool:
    """True if the chains, and with them all rules of one, stand in the order of their names."""
    before = b""
    for line in lines:
        chain = line.lstrip(b"-A:").lstrip(b" ").split(b" ", 1)[0]
        if chain < before:
            return False
        before = chain
    return True


def _order_is_free(leading: list[bytes]) -> bool:
    """True if no packet fits two of these rules, unless both lead to the same chain."""
    targets: dict[tuple[bytes, ...], bytes] = {}
    for line in leading:
        match = _TO_SERVICE.fullmatch(line) or _TO_NODE_PORT.fullmatch(line)
        if match is None:
            return False
        *key, target = match.groups()
        if targets.setdefault((line.split(b" ", 2)[1], *key), target) != target:
            return False
    return True


# Between a node and those before it


class _Part(Protocol):
    @property
    def file(self) -> str: ...
    @property
    def content(self) -> bytes: ...
    @property
    def exit_status(self) -> int | None: ...
    @property
    def stderr(self) -> str: ...


P = TypeVar("P", bound=_Part)


@dataclass(slots=True)
class _Known:
    apart: Apart
    dump: bytes


@dataclass(slots=True)
class DumpClasses:
    """The dumps that are known, for all nodes of a run; used by several threads."""

    _known: dict[tuple[str, str, str], _Known] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def find(self, file: str, ordered: str, unordered: str) -> _Known | None:
        """The dump that is known with these digests."""
        with self._lock:
            return self._known.get((file, ordered, unordered))

    def add(self, file: str, dump: bytes, ordered: str, unordered: str) -> bytes:
        """Notes a dump that a node sent with these digests. Returns it, or the same bytes that were known before."""
        known = self.find(file, ordered, unordered)
        if known is not None and known.dump == dump:
            return known.dump
        if known is None:
            apart = take_apart(dump)
            # A node whose tools come to other digests than these here is one of a kind.
            if apart.shareable and (apart.ordered, apart.unordered) == (ordered, unordered):
                with self._lock:
                    self._known.setdefault((file, ordered, unordered), _Known(apart, dump))
        return dump


class Conversation:
    """What is said to one node: hears its output as it comes, and answers its questions."""

    def __init__(self, classes: DumpClasses, nonce: str) -> None:
        self._classes = classes
        self._mark = b"kdiag:" + nonce.encode() + b":"
        self._heard = bytearray()
        self._searched = 0
        self._agreed: dict[str, bytes] = {}

    def hear(self, block: bytes) -> bytes:
        """Takes some more output; returns what to say to it, mostly nothing."""
        self._heard += block
        question = b"\n" + self._mark + b"ask:"
        start = self._heard.find(question, self._searched)
        end = self._heard.find(b"\n", start + 1) if start >= 0 else -1
        if end < 0:
            if b"\n" + self._mark + b"begin:" not in self._heard:
                del self._heard[: -len(question) - 40]  # a dump that is wanted, or something else that asks nothing
                start = -1
            self._searched = max(0, len(self._heard) - len(question)) if start < 0 else start
            return b""
        file = self._heard[start + len(question) : end].decode("utf-8", "replace")
        begin = self._heard.rfind(b"\n" + self._mark + b"begin:", 0, start)
        said = bytes(self._heard[begin + 1 : start]) if begin >= 0 else b""
        del self._heard[: end + 1]
        self._searched = 0
        return b"done\n" if self._is_known(file, said) else b"send\n"

    def _is_known(self, file: str, said: bytes) -> bool:
        content, _, rest = said.partition(b"\n")[2].partition(b"\n" + self._mark + b"end:")
        own, ordered, unordered = _digests(content)
        if not rest.startswith(b"0\n") or not ordered:
            return False
        known = self._classes.find(file, ordered, unordered)
        if known is None:
            return False
        dump = known.dump if own == known.apart.own else put_together(own, known.apart)
        if dump is None:
            return False
        self._agreed[file] = dump
        return True

    def dumps(self, parts: Sequence[P]) -> list[P]:
        """The parts with whole dumps in them: as sent, or put together."""
        sent = {part.file: part for part in parts}
        out: list[P] = []
        for part in parts:
            if part.file.endswith(_OWN):
                file = part.file.removesuffix(_OWN) + ".txt"
                if file not in sent and file in self._agreed:
                    out.append(_with(part, file, self._agreed[file]))
                continue
            own = sent.get(part.file.removesuffix(".txt") + _OWN)
            if own is None:
                out.append(part)
                continue
            _, ordered, unordered = _digests(own.content)
            dump = part.content
            if own.exit_status == 0 and ordered:
                dump = self._classes.add(part.file, dump, ordered, unordered)
            out.append(_with(own, part.file, dump))
        return out


_OWN = ".own"


def _digests(content: bytes) -> tuple[bytes, str, str]:
    """What is the node's own, and the two digests behind it; empty where they are not both there."""
    found = {match[1]: match for match in _DIGEST.finditer(content, max(0, len(content) - 200))}
    if len(found) != 2:
        return content, "", ""
    own = content[: min(match.start() for match in found.values()) + 1]
    return own, found[b"ordered"][2].decode(), found[b"unordered"][2].decode()


def _with(part: P, file: str, content: bytes) -> P:
    return replace(part, file=file, content=content)  # type: ignore[type-var]
