"""The words of one iptables rule, as `iptables-save` and `iptables -S` write them.

Grammar: after the chain come built-in options (`-s -d -i -o -p -f -m -j -g`), each with one value, and extension
options (`--dport 80`), each with the words up to the next option. A `!` negates the option after it; iptables before
1.4.3 wrote it behind the option (`-s ! 10.0.0.0/8`), and both are read. A word in double quotes is always a value.
"""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache
from sys import intern

from kdiag.errors import ParseError
from kdiag.model.addresses import Family, Network, family_of, parse_network
from kdiag.model.rules import NameMatch, NetworkMatch, Option, Rule
from kdiag.parse.iptables_options import FREE_TEXT_OPTIONS, module_of, protocol_name

_WORD = re.compile(r'"((?:[^"\\]|\\.)*)"|([^\s"]+)', re.DOTALL)
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_RULE_COUNTERS = re.compile(r" -c \d+ \d+(?= |$)")
_UNSUPPORTED = "[unsupported revision]"
"""What iptables prints behind a match or target whose kernel revision it is too old to decode."""

_BUILT_IN = {
    "-m": "m", "--match": "m",
    "-j": "j", "--jump": "j",
    "-g": "g", "--goto": "g",
    "-s": "s", "--source": "s", "--src": "s",
    "-d": "d", "--destination": "d", "--dst": "d",
    "-p": "p", "--protocol": "p",
    "-i": "i", "--in-interface": "i",
    "-o": "o", "--out-interface": "o",
}  # fmt: skip
FRAGMENT = Option(module="", name="fragment")
"""How `-f` is kept: it belongs to no module."""


def split_words(text: str) -> list[str]:
    """Cut a rule into words; a word that was quoted keeps its opening quote, so that it is known as a value.

    Raises ParseError if a quote is left open.
    """
    if '"' not in text:
        return text.split()
    head, _, rest = text.partition('"')
    quoted, _, tail = rest.partition('"')
    if "\\" not in quoted and '"' not in tail and len(quoted) < len(rest):
        words = head.split()
        words.append('"' + quoted)
        words += tail.split()
        return words
    words = []
    end = 0
    for found in _WORD.finditer(text):
        if text[end : found.start()].strip():
            raise ParseError("a quote is left open")
        end = found.end()
        plain = found[2]
        words.append('"' + _ESCAPE.sub(r"\1", found[1]) if plain is None else plain)
    if text[end:].strip():
        raise ParseError("a quote is left open")
    return words


MAX_MODULES = 64
"""More matches than any sane rule has. What is behind them is unknown: each would be looked up among all the others."""


def parse_rule(text: str, words: list[str], *, six: bool, table: str, chain: str, line: int) -> Rule:
    """The rule that `words` (those behind the chain's name, from `split_words`) spell. Raises nothing.

    `six` is True for IPv6. What cannot be placed goes to `Rule.unknown`; an option that is not known is kept as an Option of the module that
    was named last.
    """
    protocol: NameMatch | None = None
    source: NetworkMatch | None = None
    destination: NetworkMatch | None = None
    in_interface: NameMatch | None = None
    out_interface: NameMatch | None = None
    modules: tuple[str, ...] = ()
    matches: list[Option] = []
    target: str | None = None
    goto = False
    in_target = False
    target_options: list[Option] = []
    comment: str | None = None
    unknown: list[str] = []

    if _UNSUPPORTED in text and "[unsupported" in words:
        words = [word for word in words if word not in ("[unsupported", "revision]")]
        unknown.append(_UNSUPPORTED)
    if " !" in text:
        words = _negations_in_front(words)
    index, count = 0, len(words)
    negated = False
    while index < count:
        word = words[index]
        index += 1
        kind = _BUILT_IN.get(word)
        if kind is not None:
            # A built-in option with its one value.
            if index < count:
                value = words[index]
                index += 1
                if value[0] == '"':
                    value = value[1:]
            else:
                value = ""
            if not value:
                pass
            elif kind == "m":
                if not negated and len(modules) < MAX_MODULES:
                    modules = _with_module(modules, value)
                    in_target = False
                    continue
            elif kind == "j" or kind == "g":
                if target is None and not negated:
                    target = intern(value)
                    goto = kind == "g"
                    in_target = True
                    continue
            elif kind == "d":
                if destination is None:
                    destination = network_match(value, negated, six)
                    if destination is not None:
                        negated = False
                        continue
            elif kind == "p":
                if protocol is None:
                    protocol = _protocol_match(value, negated)
                    if protocol is not None or not negated:
                        negated = False
                        continue
            elif kind == "s":
                if source is None:
                    source = network_match(value, negated, six)
                    if source is not None:
                        negated = False
                        continue
            elif kind == "i":
                if in_interface is None:
                    in_interface = name_match(value, negated)
                    negated = False
                    continue
            elif out_interface is None:
                out_interface = name_match(value, negated)
                negated = False
                continue
            if negated:
                unknown.append("!")
                negated = False
            unknown += (word, value) if value else (word,)
        elif word[:2] == "--" and len(word) > 2:
            # An option of a match or a target, with its values.
            name = word[2:]
            start = index
            if name in FREE_TEXT_OPTIONS:
                index += 1
            while index < count:
                value = words[index]
                if value == "!" or (value[0] == "-" and not value[1:2].isdigit()):
                    break
                index += 1
            values = tuple([value[1:] if value[0] == '"' else value for value in words[start:index]])
            if name == "comment" and values and not negated:
                said = " ".join(values)
                comment = said if comment is None else f"{comment}; {said}"
                continue
            owner = None if in_target else module_of(name, modules, protocol.name if protocol else None, target)
            if owner is None:
                target_options.append(option_of(target or "", name, values, negated))
            else:
                matches.append(option_of(owner, name, values, negated))
            negated = False
        elif word == "!":
            if negated:
                unknown.append("!")
            negated = True
        elif word == "-f" or word == "--fragment":
            matches.append(option_of(FRAGMENT.module, FRAGMENT.name, (), negated))
            negated = False
        elif word == "-c":
            index += 2
        else:
            if negated:
                unknown.append("!")
                negated = False
            unknown.append(word[1:] if word[0] == '"' else word)
    if negated:
        unknown.append("!")
    return build_rule(
        table,
        chain,
        line,
        text,
        protocol,
        source,
        destination,
        in_interface,
        out_interface,
        modules,
        tuple(matches),
        target,
        goto,
        tuple(target_options),
        comment,
        tuple(unknown),
    )


def build_rule(
    table: str,
    chain: str,
    line: int,
    text: str,
    protocol: NameMatch | None,
    source: NetworkMatch | None,
    destination: NetworkMatch | None,
    in_interface: NameMatch | None,
    out_interface: NameMatch | None,
    modules: tuple[str, ...],
    matches: tuple[Option, ...],
    target: str | None,
    goto: bool,
    target_options: tuple[Option, ...],
    comment: str | None,
    unknown: tuple[str, ...],
) -> Rule:
    """A Rule of these fields, in the order in which the class has them."""
    return Rule(
        table=table,
        chain=chain,
        line=line,
        text=text,
        protocol=protocol,
        source=source,
        destination=destination,
        in_interface=in_interface,
        out_interface=out_interface,
        modules=modules,
        matches=matches,
        target=target,
        goto=goto,
        target_options=target_options,
        comment=comment,
        unknown=unknown,
    )


def _negations_in_front(words: list[str]) -> list[str]:
    """The words with each old-style `!` moved from behind its option to the place in front of it."""
    out: list[str] = []
    for position, word in enumerate(words):
        option = out[-1] if out else ""
        follows_option = len(option) > 1 and option[0] == "-" and not option[1].isdigit() and out[-2:-1] != ["!"]
        if follows_option and option[2:] not in FREE_TEXT_OPTIONS:
            if word == "!" and words[position + 1 : position + 2] and words[position + 1][0] not in "-!":
                out.insert(len(out) - 1, "!")
                continue
            if len(word) > 1 and word[0] == "!":
                out.insert(len(out) - 1, "!")
                word = word[1:]
        out.append(word)
    return out


def without_rule_counters(text: str) -> str:
    """The rule's text without the `-c packets bytes` that `iptables -S -v` prints (never inside quotes)."""
    if " -c " not in text:
        return text
    return '"'.join(
        part if position % 2 else _RULE_COUNTERS.sub("", part) for position, part in enumerate(text.split('"'))
    )


@lru_cache(maxsize=65536)
def option_of(module: str, name: str, values: tuple[str, ...], negated: bool) -> Option:
    """An Option; equal ones are one object."""
    return Option(module=module, name=name, values=values, negated=negated)


@lru_cache(maxsize=1024)
def _protocol_match(value: str, negated: bool) -> NameMatch | None:
    spelled = protocol_name(value)
    return NameMatch(name=spelled, negated=negated) if spelled is not None else None


@lru_cache(maxsize=1024)
def name_match(name: str, negated: bool) -> NameMatch:
    """A NameMatch; equal ones are one object."""
    return NameMatch(name=name, negated=negated)


@lru_cache(maxsize=1024)
def _with_module(modules: tuple[str, ...], module: str) -> tuple[str, ...]:
    return (*modules, module)


@lru_cache(maxsize=65536)
def network_match(value: str, negated: bool, six: bool) -> NetworkMatch | None:
    """The addresses that `-s` or `-d` spells (a comma list, `six` for IPv6); None if one of them is none."""
    family = Family.IPV6 if six else Family.IPV4
    networks = [rule_network(part, family) for part in value.split(",")]
    known = tuple(network for network in networks if network is not None)
    return NetworkMatch(networks=known, negated=negated) if len(known) == len(networks) else None


def rule_network(text: str, family: Family) -> Network | None:
    """The network that an iptables address with an optional mask spells, or None.

    A mask may be written out (`10.0.0.0/255.0.0.0`). iptables also has masks with holes (`/0.0.0.255`): these are no
    networks. An address of the other family is none either.
    """
    address, slash, mask = text.partition("/")
    if slash and not mask.isdigit():
        length = mask_length(mask)
        if length is None:
            return None
        text = f"{address}/{length}"
    network = parse_network(text)
    return network if network is not None and family_of(network) is family else None


def mask_length(mask: str) -> int | None:
    """Ones at the head of a written-out mask; None if it is no mask or has holes."""
    try:
        parsed = ipaddress.ip_address(mask)
    except ValueError:
        return None
    bits = parsed.max_prefixlen
    zeros = ((1 << bits) - 1) ^ int(parsed)
    return bits - zeros.bit_length() if zeros & (zeros + 1) == 0 else None
