"""`iptables -L` output, in all its forms, as a Ruleset of the same words as `iptables-save`.

A line is columns (counters, target, protocol, options, interfaces, addresses) and behind them the matches and the
target's options in their own notations, which `kdiag.parse.iptables_list_words` reads. Which columns there are is told
by the line itself, so that lines cut out of a listing can be read too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from sys import intern

from kdiag.model.addresses import Family
from kdiag.model.rules import Backend, Chain, NameMatch, NetworkMatch, Option, Rule, Ruleset, Table, UnreadLine
from kdiag.parse.iptables_list_words import read_words
from kdiag.parse.iptables_options import protocol_name
from kdiag.parse.iptables_remarks import not_a_dump, read_remark
from kdiag.parse.iptables_rule import FRAGMENT, rule_network

_CHAIN = re.compile(r"Chain (\S+) \((?:policy ([A-Z]+)\b[^()]*|[^()]*)\)")
_COLUMNS = re.compile(r" *(?:num +)?(?:pkts +bytes +)?target +prot .*")
_WORD = re.compile(r"\S+")
_COUNTER = re.compile(r"\d+[KMGTP]?")
_PROTOCOL = re.compile(r"!?(?:\d+|[A-Za-z][\w.-]*)")
_FRAGMENT_COLUMN = ("--", "-f", "!f")
_COLUMNS_MAX = 10
"""number, packets, bytes, target, protocol, options, in, out, source, destination."""

_ANY = ("anywhere", "0.0.0.0/0", "::/0", "0.0.0.0", "::", "default")
_HOST_NAMES = {
    "localhost": {Family.IPV4: "127.0.0.1", Family.IPV6: "::1"},
    "ip6-localhost": {Family.IPV6: "::1"},
    "ip6-loopback": {Family.IPV6: "::1"},
    "loopback": {Family.IPV4: "127.0.0.0"},
    "link-local": {Family.IPV4: "169.254.0.0"},
}
"""The names that mean the same on every machine (RFC 6761; /etc/hosts and /etc/networks of Debian)."""


@dataclass(slots=True, kw_only=True)
class _Line:
    """The columns of a line, and where the rest begins. `counted` is True if there were packet counters."""

    target: str | None
    protocol: str
    fragment: str | None
    in_interface: str | None
    out_interface: str | None
    source: str
    destination: str
    start: int
    rest: int
    counted: bool


@dataclass(slots=True)
class _OpenChain:
    policy: str | None
    line: int
    rules: list[Rule] = field(default_factory=list)


@dataclass(slots=True)
class _Reader:
    family: Family
    table: str
    chains: dict[str, _OpenChain] = field(default_factory=dict)
    chain: str = ""
    skipping: bool = False
    unread: list[UnreadLine] = field(default_factory=list)
    backend: Backend | None = None
    recognised: bool = False
    hides_interfaces: bool = False

    def not_read(self, number: int, text: str, reason: str, *, table: str | None = None) -> None:
        self.unread.append(
            UnreadLine(line=number, text=text, reason=reason, table=table or self.table, chain=self.chain or None)
        )

    def read(self, number: int, text: str) -> None:
        """Read one line that is not empty."""
        if found := _CHAIN.fullmatch(text):
            self._begin(number, text, intern(found[1]), found[2])
        elif _COLUMNS.fullmatch(text):
            self.recognised = True
        elif columns := _split_columns(text):
            self.recognised = True
            if not self.skipping:
                holder = self.chains.setdefault(self.chain, _OpenChain(None, number))
                holder.rules.append(self._rule(number, text, columns))
        elif remark := read_remark(text):
            self.backend = self.backend or remark.backend
            if remark.hidden_table is not None:
                self.recognised = True
                reason = f"iptables cannot show table {remark.hidden_table}; nft can"
                self.not_read(number, text, reason, table=remark.hidden_table)
        elif not text.startswith("#"):
            self.not_read(number, text, "not a line of a rule listing")

    def _begin(self, number: int, text: str, chain: str, policy: str | None) -> None:
        self.recognised = True
        self.chain = chain
        self.skipping = chain in self.chains
        if self.skipping:
            self.not_read(number, text, f"chain {chain} is shown a second time; this copy is not read")
        else:
            self.chains[chain] = _OpenChain(policy, number)

    def _rule(self, number: int, text: str, columns: _Line) -> Rule:
        if not columns.counted:
            self.hides_interfaces = True
        unknown: list[str] = []
        words = read_words(text[columns.rest :], columns.target)
        spelled, negated = _negation(columns.protocol)
        name = protocol_name(spelled)
        if name is None and negated:
            unknown += ["!", "-p", spelled]
        fragment = columns.fragment
        matches = words.matches
        if fragment is not None and fragment != "--":
            matches = [Option(module=FRAGMENT.module, name=FRAGMENT.name, negated=fragment == "!f"), *matches]
        return Rule(
            table=self.table,
            chain=self.chain,
            line=number,
            text=text[columns.start :],
            protocol=None if name is None else NameMatch(name=name, negated=negated),
            source=self._network("-s", columns.source, unknown),
            destination=self._network("-d", columns.destination, unknown),
            in_interface=_interface(columns.in_interface),
            out_interface=_interface(columns.out_interface),
            modules=tuple(words.modules),
            matches=tuple(matches),
            target=intern(columns.target) if columns.target is not None else None,
            goto=words.goto,
            target_options=tuple(words.target_options),
            comment=words.comment,
            unknown=(*unknown, *words.unknown),
        )

    def _network(self, flag: str, text: str, unknown: list[str]) -> NetworkMatch | None:
        spelled, negated = _negation(text)
        if spelled in _ANY:
            if not negated:
                return None
            spelled = "0.0.0.0/0" if self.family is Family.IPV4 else "::/0"
        host, slash, mask = spelled.partition("/")
        host = _HOST_NAMES.get(host, {}).get(self.family, host)
        network = rule_network(host + slash + mask, self.family)
        if network is None:
            unknown += (["!"] if negated else []) + [flag, spelled]
            return None
        return NetworkMatch(networks=(network,), negated=negated)


def parse_iptables_list(
    text: str, *, family: Family, table: str, backend: Backend = Backend.UNKNOWN, source: str
) -> Ruleset:
    """Read what `iptables -t TABLE -L` printed, with any of `-n`, `-v`, `-x`, `--line-numbers`.

    A listing holds less than `iptables-save`: without `-v` the interfaces are missing (`Ruleset.hides_interfaces`), and
    without `-n` addresses and ports may have been turned into names. Well-known port names are turned back; a host name
    or a port name that is not known leaves its match in `Rule.unknown`. Options are those that `iptables-save` would
    print. Lines without a `Chain` header above them (cut out with grep) become the rules of a chain called "".

    Raises ParseError if no line is one of a listing; single lines that are not become UnreadLines.
    """
    reader = _Reader(family=family, table=table)
    for number, raw in enumerate(text.removeprefix("\ufeff").split("\n"), start=1):
        line = raw.rstrip()
        if line:
            reader.read(number, line)
    if reader.unread and not reader.recognised:
        raise not_a_dump(reader.unread[0], "iptables -L")
    chains = {
        name: Chain(name=name, policy=found.policy, rules=tuple(found.rules), line=found.line)
        for name, found in reader.chains.items()
    }
    return Ruleset(
        family=family,
        backend=reader.backend or backend,
        source=source,
        tables={table: Table(name=table, chains=chains)},
        covers=frozenset((table,)),
        unread=tuple(reader.unread),
        hides_interfaces=reader.hides_interfaces,
    )


def _split_columns(text: str) -> _Line | None:
    """Tell the columns of a line; None if it is no rule.

    The target's column is blank for a rule without target, and the options' column in ip6tables before 1.8.9.
    """
    found: list[re.Match[str]] = []
    for word in _WORD.finditer(text):
        found.append(word)
        if len(found) == _COLUMNS_MAX:
            break
    words = [word[0] for word in found]
    for index in range(1, min(len(words), 6)):
        if words[index] in _FRAGMENT_COLUMN and (line := _line(found, index - 1, index + 1, words[index])):
            return line
    for source in range(1, len(words) - 1):
        if _is_address(words[source]) and _is_address(words[source + 1]):
            # Without counters the protocol stands before the source, with them there are two interfaces in between.
            for index in (source - 1, source - 3):
                line = _line(found, index, index + 1, None) if index >= 0 else None
                if line is not None and line.source == words[source]:
                    return line
            return None
    return None


def _line(found: list[re.Match[str]], protocol: int, after: int, fragment: str | None) -> _Line | None:
    """The line whose protocol is word number `protocol`, with interfaces or addresses from word `after` on."""
    words = [word[0] for word in found]
    head = words[:protocol]
    target = head.pop() if head and not _COUNTER.fullmatch(head[-1]) else None
    counted = len(head) >= 2
    source = after + 2 if counted else after
    if (
        len(head) > 3
        or not all(_COUNTER.fullmatch(word) for word in head)
        or not _PROTOCOL.fullmatch(words[protocol])
        or len(words) < source + 2
    ):
        return None
    return _Line(
        target=target,
        protocol=words[protocol],
        fragment=fragment,
        in_interface=words[after] if counted else None,
        out_interface=words[after + 1] if counted else None,
        source=words[source],
        destination=words[source + 1],
        start=found[len(head)].start(),
        rest=found[source + 1].end(),
        counted=counted,
    )


def _is_address(word: str) -> bool:
    spelled, _ = _negation(word)
    return spelled in _ANY or any(rule_network(spelled, family) is not None for family in Family)


def _negation(word: str) -> tuple[str, bool]:
    return (word[1:], True) if word.startswith("!") and len(word) > 1 else (word, False)


def _interface(word: str | None) -> NameMatch | None:
    """An interface column: `*` with -n, `any` without, is any interface."""
    if word is None:
        return None
    spelled, negated = _negation(word)
    return None if spelled in ("*", "any") and not negated else NameMatch(name=spelled, negated=negated)
