"""The node script's output taken apart: what each command printed, and what could not be had."""

from __future__ import annotations

import importlib
import json
import re
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Protocol

from kdiag.errors import KdiagError
from kdiag.gather.dump_classes import Conversation
from kdiag.gather.script import PART_LIMIT
from kdiag.gather.transports.interface import FailureKind, NodeFailure
from kdiag.model.report import Gap
from kdiag.model.snapshot import Recording

INFLATED_LIMIT = 2 * 1024 * 1024 * 1024
"""Bytes that one node's output may have when it is not compressed."""

ABOUT = "kdiag-node"
"""The probe that says what the node can do: see `parse_about`."""

_STREAM = re.compile(rb"^kdiag:([0-9a-f]{32}):stream:(plain|gzip|zstd)(\r?\n)", re.MULTILINE)
_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*\.[a-z]+")
_STEP = re.compile(r"^kdiag: (\S+)$", re.MULTILINE)
_BLOCK = 16 * 1024
"""Bytes that are decompressed at once: few, because a hostile node can make a thousand and more of each."""
_BANNER_LIMIT = 1024 * 1024
"""Bytes that may stand in front of the output: a login banner, what a profile prints."""
_ZSTD_MODULES = ("compression.zstd", "zstandard") if sys.version_info >= (3, 14) else ("zstandard",)
"""The standard library's from Python 3.14 on, else the package. Looking for what cannot be there costs, for every node."""

_SLOW = re.compile(r"ip6?tables(?:-nft)?-save\.(?:own|txt)")
_SLOW_HINT = (
    "where iptables works through nftables, printing rules takes four times as long for twice as many chains: minutes "
    "from about 50,000 chains on"
)
_NEEDS_ROOT = re.compile(
    r"iptables(?:-nft|-legacy)?-save|ip6tables(?:-nft|-legacy)?-save|nft-.*|ipset-save|ipvsadm-.*|proc-net-.*"
)
_OWN_GAP = re.compile(r"nft-.*|ipset-save|ipvsadm-.*|proc-net-.*")
"""Dumps of which nothing further on says that their command failed."""
_EMPTY_IS_NOTHING = frozenset({"ps-ef", "argv", "ss-ltnuH", "kube-proxy-config", "kube-proxy"})
"""Probes that are as good as absent if their command failed and printed nothing."""
_SUDO = re.compile(r"^sudo:|^Sorry, (?:user|try)|may not run sudo|not in the sudoers file", re.MULTILINE)
_DENIED = re.compile(r"[Pp]ermission denied|not permitted|must be root|be run as root|superuser")


class _MalformedError(Exception):
    """Output that cannot be read on; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What one command printed. `file` is its name inside the snapshot."""

    file: str
    content: bytes
    exit_status: int | None
    stderr: str

    @property
    def probe(self) -> str:
        """The file's name without its ending."""
        return self.file.rpartition(".")[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeStream:
    """The frames of one output.

    `notes` are (file, text) of what was not asked. `rules_complete` is True if all dumps of rules are there, `complete`
    if everything is. `running` is the part that had begun when the output ended, None if none had.
    """

    parts: tuple[Part, ...]
    notes: tuple[tuple[str, str], ...] = ()
    rules_complete: bool = False
    complete: bool = False
    running: str | None = None


def encodings() -> tuple[str, ...]:
    """The compressions that can be read here, best first."""
    return ("zstd", "gzip") if _zstd() is not None else ("gzip",)


def parse_output(
    data: bytes,
    *,
    node: str,
    nonce: str | None = None,
    failure: KdiagError | None = None,
    stderr: str = "",
    conversation: Conversation | None = None,
) -> tuple[dict[str, Recording], tuple[Gap, ...]]:
    """The recordings of one node by probe, and what could not be had.

    `nonce` is that of the script; None believes the output's own, as for output that was saved by hand. `failure` is why
    the output ends early, if that is known, and `stderr` what the script said meanwhile. Output that ends before all
    dumps of rules are there is not used at all: rules that stand in the dump that is missing would seem to be missing
    themselves. It is one gap then, and so it is if the output ends later, but with what had come until then.
    `conversation` is what was said to the node meanwhile: dumps that it did not send come from there.
    """
    try:
        stream = read_stream(data, nonce=nonce)
    except _MalformedError as error:
        return {}, (_failure_gap(node, failure or KdiagError(str(error))),)
    if conversation is not None:
        stream = replace(stream, parts=tuple(conversation.dumps(stream.parts)))
    recordings, gaps = _recordings(stream, node)
    if stream.complete:
        return recordings, gaps
    steps = _STEP.findall(stderr)
    where = stream.running or (steps[-1] if steps else None)
    during = f" while it read {where.rpartition('.')[0]}" if where is not None and _FILE.fullmatch(where) else ""
    if failure is None:
        failure = KdiagError("the output ends before its end mark", hint="was the connection cut, or the file?")
    if where is not None and _SLOW.fullmatch(where) and isinstance(failure, NodeFailure):
        if failure.kind is FailureKind.HUNG:
            failure = NodeFailure(failure.kind, failure.message, hint=f"{failure.hint}; {_SLOW_HINT}")
    gap = _failure_gap(node, failure, during=during)
    return (recordings, (gap, *gaps)) if stream.rules_complete else ({}, (gap,))


def parse_about(recording: Recording) -> dict[str, str]:
    """What the node can do: `uid`, `user`, `sudo` (`allowed`, `refused`, `missing`, `not needed`, `not asked`), and for
    each program that may be of use its path, empty if it is not there."""
    pairs = (line.partition("=") for line in recording.text().splitlines())
    return {key: value for key, equals, value in pairs if equals}


def read_stream(data: bytes, *, nonce: str | None = None) -> NodeStream:
    """The frames in `data`, whatever stands in front of them; raises _MalformedError if there are none."""
    for match in _STREAM.finditer(data, 0, _BANNER_LIMIT):
        if nonce is None or match[1] == nonce.encode():
            break
    else:
        raise _MalformedError(_what_was_printed(data))
    inflated = _inflate(data, match.end(), match[2].decode(), b"kdiag:" + match[1] + b":")
    if match[3] == b"\r\n":  # saved from a terminal
        inflated = inflated.replace(b"\r\n", b"\n")
    return _frames(inflated, b"kdiag:" + match[1] + b":")


def _frames(data: bytes, token: bytes) -> NodeStream:
    parts: list[Part] = []
    notes: list[tuple[str, str]] = []
    begun: tuple[str, int] | None = None
    ended: tuple[bytes, int | None, int] | None = None
    rules_complete = complete = False
    for start, end in _marks(data, token):
        word, _, rest = data[start + len(token) : end].decode("utf-8", "replace").partition(":")
        match word:
            case "begin" if _FILE.fullmatch(rest):
                begun, ended = (rest, end + 1), None
            case "end" if begun is not None:
                content = data[begun[1] : max(begun[1], start - 1)]
                ended = (content, int(rest) if rest.isascii() and rest.isdigit() else None, end + 1)
            case "done" if begun is not None and ended is not None:
                stderr = data[ended[2] : max(ended[2], start - 1)].decode("utf-8", "replace")
                parts.append(Part(file=begun[0], content=ended[0], exit_status=ended[1], stderr=stderr))
                begun = ended = None
            case "note":
                file, _, text = rest.partition(":")
                if _FILE.fullmatch(file):
                    notes.append((file, text))
            case "rules":
                rules_complete = True
            case "stop":
                complete = True
    return NodeStream(
        parts=tuple(parts),
        notes=tuple(notes),
        rules_complete=rules_complete,
        complete=complete,
        running=begun[0] if begun is not None else None,
    )


def _marks(data: bytes, token: bytes) -> Iterator[tuple[int, int]]:
    """Where each mark begins and where its line ends."""
    position = 0
    while (start := data.find(token, position)) >= 0:
        end = data.find(b"\n", start)
        if end < 0:
            return
        if start == 0 or data[start - 1] == 0x0A:
            yield start, end
        position = end


def _recordings(stream: NodeStream, node: str) -> tuple[dict[str, Recording], tuple[Gap, ...]]:
    gaps: list[Gap] = []
    found: dict[str, Recording] = {}
    refused: list[Part] = []
    for part in stream.parts:
        probe, source = part.probe, f"nodes/{node}/{part.file}"
        if len(part.content) >= PART_LIMIT:
            reason = f"it is longer than {PART_LIMIT // 1024 // 1024} MiB and was cut off there"
            gaps.append(Gap(node=node, subject=source, reason=reason))
        elif part.exit_status and _NEEDS_ROOT.fullmatch(probe) and _is_refusal(part.stderr):
            refused.append(part)
        elif part.exit_status and _OWN_GAP.fullmatch(probe):
            reason = f"its command ended with status {part.exit_status}: {_first_line(part.stderr) or 'no message'}"
            gaps.append(Gap(node=node, subject=source, reason=reason))
        elif part.exit_status and probe in _EMPTY_IS_NOTHING and not part.content.strip():
            continue
        elif part.file == "argv.hex":
            content = _argument_vectors(part.content)
            found[probe] = Recording(source=f"nodes/{node}/argv.json", content=content, exit_status=part.exit_status)
        else:
            found[probe] = Recording(
                source=source, content=part.content, exit_status=part.exit_status, stderr=part.stderr
            )
    about = parse_about(found[ABOUT]) if ABOUT in found else {}
    for file, text in stream.notes:
        kind, _, detail = text.partition(":")
        probe = file.rpartition(".")[0]
        if kind == "empty":
            found[probe] = Recording(source=f"nodes/{node}/{file}", content=b"", exit_status=0, stderr=detail)
        elif kind == "missing":
            gaps += _missing(node, probe, found)
    if refused:
        gaps.append(_refusal(node, refused, about))
    return dict(sorted(found.items())), tuple(sorted(gaps, key=lambda gap: (gap.subject, gap.reason)))


def _missing(node: str, probe: str, found: Mapping[str, Recording]) -> list[Gap]:
    """The gap for a program that a node lacks, if it matters.

    That ip6tables is missing matters only where Services have IPv6 addresses, which is for others to say.
    """
    match probe:
        case "iptables-save":
            rules = found.get("nft-j-list-ruleset") or found.get("nft-list-ruleset")
            if rules is not None and not rules.exit_status:
                return []  # kube-proxy has nftables tables of its own there
            hint = "install the distribution's package iptables on the node; nothing else has to be set up"
        case "iptables-legacy-save" | "ip6tables-legacy-save":
            hint = "the kernel has legacy tables, and only this program can show them: install iptables-legacy"
        case "ip-addr":
            return [Gap(node=node, subject="ip", reason="there is no ip command on the node; install iproute2")]
        case _:
            return []
    return [Gap(node=node, subject=probe, reason=f"there is no {probe} on the node; {hint}")]


def _refusal(node: str, refused: list[Part], about: Mapping[str, str]) -> Gap:
    """One gap for all commands that root alone may run."""
    user = about.get("user") or "the user"
    commands = sorted({_program(part.probe) for part in refused})
    said = _first_line(refused[0].stderr)
    if _SUDO.search(refused[0].stderr):
        paths = ", ".join(about.get(command) or f"/usr/sbin/{command}" for command in commands)
        return Gap(
            node=node,
            subject="sudo",
            reason=(
                f"{user} may not run {', '.join(commands)} with sudo and without a password ({said}); "
                f"allow it in sudoers: {user} ALL=(root) NOPASSWD: {paths}"
            ),
        )
    return Gap(
        node=node,
        subject="sudo",
        reason=(
            f"{user} is not root and may not run {', '.join(commands)} ({said}); "
            + (
                "there is no sudo on the node: log in as root"
                if about.get("sudo") == "missing"
                else "let kdiag use sudo"
            )
        ),
    )


def _program(probe: str) -> str:
    if probe.startswith("nft-"):
        return "nft"
    return {"ipset-save": "ipset", "ipvsadm-save-n": "ipvsadm", "proc-net-ip_vs": "cat"}.get(probe, probe)


def _is_refusal(stderr: str) -> bool:
    return _SUDO.search(stderr) is not None or _DENIED.search(stderr) is not None


def _failure_gap(node: str, failure: KdiagError, *, during: str = "") -> Gap:
    hint = f"; {failure.hint}" if failure.hint else ""
    return Gap(node=node, subject="node", reason=f"{failure.message}{during}{hint}")


def _first_line(text: str) -> str:
    line = next((line.strip() for line in text.splitlines() if line.strip()), "")
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in line)[:200]


def _what_was_printed(data: bytes) -> str:
    line = _first_line(data[:4096].decode("utf-8", "replace"))
    if not line:
        return "the script printed nothing"
    return f"the script did not run, or its output is not there; the first line is {line!r}"


def _argument_vectors(content: bytes) -> bytes:
    """Lines of a pid and a command line in hexadecimal as JSON: pid to argument vector, by pid."""
    vectors: dict[int, list[str]] = {}
    for line in content.decode("ascii", "replace").splitlines():
        pid, _, digits = line.partition(" ")
        try:
            words = bytes.fromhex(digits).removesuffix(b"\0").split(b"\0")
            vectors[int(pid)] = [word.decode("utf-8", "replace") for word in words]
        except ValueError:
            continue
    return json.dumps(
        {str(pid): argv for pid, argv in sorted(vectors.items()) if argv != [""]}, ensure_ascii=False
    ).encode()


class _Inflater(Protocol):
    """What zlib's and both Zstandard modules' decompressors have in common."""

    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, /) -> bytes: ...


def _inflate(data: bytes, start: int, encoding: str, token: bytes) -> bytes:
    """What follows `start`, decompressed as far as it goes: a stream that was cut gives what had come.

    There may be several compressed streams one after the other, and plain text between two marks in between. A damaged
    stream just ends, and then has no end mark.
    """
    if encoding == "plain":
        return data[start:]
    make, magic, errors = _gzip_inflater() if encoding == "gzip" else _zstd_inflater()
    pieces: list[bytes] = []
    size = 0
    offset = start
    plain, packed = b"\n" + token + b"plain\n", token + b"packed\n"
    while data.startswith((magic, plain), offset):
        if data.startswith(plain, offset):
            end = data.find(packed, offset)
            following = end + len(packed) if end >= 0 else len(data)
            pieces.append(data[offset:following])
            size += following - offset
            offset = following
            continue
        inflater = make()
        while offset < len(data) and not inflater.eof:
            block = data[offset : offset + _BLOCK]
            try:
                piece = inflater.decompress(block)
            except errors:
                return b"".join(pieces)
            offset += len(block) - (len(inflater.unused_data) if inflater.eof else 0)
            pieces.append(piece)
            size += len(piece)
            if size > INFLATED_LIMIT:
                limit = f"{INFLATED_LIMIT // 1024 // 1024} MiB"
                raise _MalformedError(f"its output has more than {limit} when it is decompressed")
    return b"".join(pieces)


def _gzip_inflater() -> tuple[Callable[[], _Inflater], bytes, tuple[type[Exception], ...]]:
    return lambda: zlib.decompressobj(wbits=31), b"\x1f\x8b", (zlib.error,)


def _zstd_inflater() -> tuple[Callable[[], _Inflater], bytes, tuple[type[Exception], ...]]:
    module = _zstd()
    if module is None:
        raise _MalformedError(
            "its output is compressed with Zstandard, which needs Python 3.14 or the Python package zstandard"
        )

    # The package's is made once for all streams, Python's own is one for each.
    several = getattr(module.ZstdDecompressor(), "decompressobj", None)
    return several or module.ZstdDecompressor, b"\x28\xb5\x2f\xfd", (module.ZstdError,)


def _zstd() -> ModuleType | None:
    for module_name in _ZSTD_MODULES:
        try:
            return importlib.import_module(module_name)
        except ImportError:
            continue
    return None
