"""kube-proxy's log: which proxier it started, and whether its syncs fail.

Texts were compared with kube-proxy 1.16 to 1.36. The log may be klog text, klog text behind a container runtime's
prefix, or JSON (`--logging-format=json`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from kdiag.model.addresses import Family
from kdiag.model.host import ProxyLog
from kdiag.model.snapshot import Recording

_MAX_TEXT = 400
_MAX_FAILURES = 50
_MAX_NOTES = 50

_FAILURE = re.compile(
    r"[Ss]ync failed|Failed to execute ip6?tables-restore|Failed to ensure (?:that|chain)|Failed to execute ipset"
)
"""A sync that did not reach the kernel. `Sync failed` is the last word of iptables and IPVS proxiers, `nftables sync
failed` that of the nftables one."""
_SUCCESS = re.compile(r"[Ss]yncProxyRules complete")
"""Printed at verbosity 2 from 1.21 on at the end of *every* sync, also of a failed one (kube-proxy defers the call)."""
_VERSION = re.compile(r'(?:"?Version info"?.*?version"?[=:]\s*"?|\bVersion: )(v?\d+\.\d+[^"\s,}]*)')
_PROXIER = re.compile(r"\bUsing (iptables|ipvs|nftables|userspace) Proxier\b")
_STARTING = re.compile(
    r"Successfully retrieved (?:node IP|NodeIP)|Using iptables proxy\b|FLAG: --|in (?:dual|single)-stack"
)
_RUNNING = re.compile(r"Starting .*config controller")
_VERBOSITY = re.compile(r'FLAG: --v="?(\d+)')
_DUAL = re.compile(r"in dual-stack mode|creating dualStackProxier")
_SINGLE = re.compile(r'in single-stack (?:mode.*ipFamily"?[=:]"?(IPv[46])|(IPv[46]))|assume (IPv[46]) operation')
_NO_SUPPORT = re.compile(
    r'(?:No ip6?tables support for (?:family.*ipFamily"?[=:]"?)?|this ipFamily is not supported.*ipFamily"?[=:]"?)(IPv[46])'
)
_NOTE = re.compile(
    r"Unknown proxy mode|Can't use|[Ff]alling back|unable to distinguish|no-op detect-local|but no cluster CIDR"
    r"|No ip6?tables support|xtables lock|Failed to retrieve node|now deprecated|not supported|\bpanic\b"
    r"|Failed to (?:watch|list)|[Uu]nauthorized|[Ff]orbidden"
)
_FAMILY = re.compile(r'ipFamily"?[=:]\s*"?(IPv[46])')
_INTERESTING = re.compile(
    "|".join(
        pattern.pattern
        for pattern in (
            _FAILURE,
            _SUCCESS,
            re.compile(r"Version info|\bVersion: v?\d"),
            _PROXIER,
            _STARTING,
            _RUNNING,
            _DUAL,
            re.compile(r"in single-stack|assume IPv[46] operation"),
            _NOTE,
        )
    )
)


def parse_proxy_log(recording: Recording) -> ProxyLog:
    """What the log tells about the last run of kube-proxy that it shows.

    A failure counts until the log shows a later success of the same family, which it does only at verbosity 2 or
    more. In a dual-stack log whose lines do not name the family (before 1.29) two successes in a row are wanted: one
    of them may be the other family's.
    """
    reader = _Reader()
    for number, line in _interesting_lines(recording.text()):
        reader.read(number, line)
    return reader.result(recording.source)


class _Reader:
    """The state of reading one log from top to bottom."""

    def __init__(self) -> None:
        self.starts = 0
        self.starting = False
        self.version_seen = False
        self.proxier: str | None = None
        self.version: str | None = None
        self.verbosity: int | None = None
        self.single: Family | None = None
        self.dual = False
        self.failures: list[tuple[int, str, str | None]] = []
        self.pending: set[str | None] = set()
        self.successes_in_a_row = 0
        self.last_success_line = 0
        self.notes: list[tuple[int, str]] = []

    def read(self, number: int, line: str) -> None:
        """Take one line into account."""
        self._read_start(line)
        self._read_family(line)
        family = _group(_FAMILY, line)
        if _RUNNING.search(line):
            self._run()
        if _FAILURE.search(line):
            self._run()
            self.pending.add(family)
            self.successes_in_a_row = 0
            self.failures.append((number, _clean(line), family))
        elif _SUCCESS.search(line):
            self._run()
            self._finish_sync(number, family)
        elif _NOTE.search(line):
            self.notes.append((number, _clean(line)))

    def result(self, source: str) -> ProxyLog:
        """What has been read."""
        return ProxyLog(
            source=source,
            proxier=self.proxier,
            version=self.version,
            verbosity=self.verbosity,
            failures=tuple((number, text) for number, text, _ in self.failures[-_MAX_FAILURES:]),
            last_success_line=self.last_success_line,
            starts=self.starts,
            single_family=self.single,
            notes=tuple(self.notes[-_MAX_NOTES:]),
        )

    def _read_start(self, line: str) -> None:
        version = _group(_VERSION, line)
        proxier = _group(_PROXIER, line)
        if version is None and proxier is None and not _STARTING.search(line):
            return
        if not self.starting or (version is not None and self.version_seen):
            self._begin()
        self.version_seen = self.version_seen or version is not None
        self.version = version or self.version
        self.proxier = proxier or self.proxier
        verbosity = _group(_VERBOSITY, line)
        if verbosity is not None:
            self.verbosity = int(verbosity[:9])

    def _begin(self) -> None:
        self.starts += 1
        self.starting = True
        self.version_seen = False
        self.single = None
        self.dual = False
        self.failures.clear()
        self.pending.clear()
        self.notes.clear()
        self.successes_in_a_row = 0
        self.last_success_line = 0

    def _run(self) -> None:
        self.starting = False

    def _read_family(self, line: str) -> None:
        if _DUAL.search(line):
            self.single = None
            self.dual = True
            return
        missing = _group(_NO_SUPPORT, line)
        if missing is not None:
            self.single = Family.IPV6 if missing == Family.IPV4 else Family.IPV4
            return
        single = _group(_SINGLE, line)
        if single is not None:
            self.single = Family(single)

    def _finish_sync(self, number: int, family: str | None) -> None:
        """A sync is over: it failed if a failure was seen since the last end of a sync of this family."""
        if family in self.pending or None in self.pending:
            self.pending -= {family, None}
            self.failures = [(line, text, known or family) for line, text, known in self.failures]
            return
        self.successes_in_a_row += 1
        self.last_success_line = number
        if family is None and self.dual and self.successes_in_a_row < 2:
            return
        self.failures = [item for item in self.failures if family is not None and item[2] not in (family, None)]


def _interesting_lines(text: str) -> Iterator[tuple[int, str]]:
    """Numbered lines with any known text; quotes that JSON escaped are plain again.

    Lines end at a line feed only: logs hold other control characters, which are no ends of lines.
    """
    number = 1
    position = 0
    for match in _INTERESTING.finditer(text):
        if match.start() < position:
            continue
        start = text.rfind("\n", position, match.start()) + 1 or position
        end = text.find("\n", match.start())
        end = len(text) if end < 0 else end
        number += text.count("\n", position, start)
        yield number, text[start:end].replace('\\"', '"')
        position = end


def _group(pattern: re.Pattern[str], line: str) -> str | None:
    match = pattern.search(line)
    if match is None:
        return None
    return next((group for group in match.groups() if group), None)


def _clean(line: str) -> str:
    """The line, printable and of a bearable length."""
    printable = "".join(character if character.isprintable() else " " for character in line).strip()
    return printable if len(printable) <= _MAX_TEXT else printable[: _MAX_TEXT - 1] + "…"
