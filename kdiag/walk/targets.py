"""What the targets of iptables do to a packet.

Sources: iptables-extensions(8) of 1.8.9 and the kernel's net/netfilter/xt_*.c.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping

from kdiag.model.addresses import AddressSet, Family, parse_address
from kdiag.model.rules import Option, Rule
from kdiag.walk.flow import Flow
from kdiag.walk.meaning import read_mask, read_number

# Targets after which the packet goes on to the next rule, unchanged as far as its way is concerned.
GOES_ON = frozenset(
    "LOG NFLOG ULOG TRACE TCPMSS CLASSIFY DSCP TOS TTL HL CHECKSUM ECN IDLETIMER LED RATEEST SECMARK CONNSECMARK "
    "AUDIT TEE SET TCPOPTSTRIP".split()
)


LOOPBACK = {Family.IPV4: 0x7F000001, Family.IPV6: 1}


class Verdict(enum.Enum):
    """How the way of a packet ends before it is delivered."""

    DROP = "DROP"
    REJECT = "REJECT"
    UNKNOWN = "UNKNOWN"


def options_of(rule: Rule) -> Mapping[str, Option]:
    """The target's options by name."""
    return {option.name: option for option in rule.target_options}


def _value(options: Mapping[str, Option], *names: str) -> str | None:
    for name in names:
        if name in options and options[name].values:
            return options[name].values[0]
    return None


def marking(rule: Rule) -> Callable[[Flow], bool]:
    """What MARK or CONNMARK does: the function changes a flow; it returns False, and changes nothing, if the options were
    not understood."""
    options = options_of(rule)
    if "left-shift-mark" in options or "right-shift-mark" in options:
        return _not_understood
    of_packet = rule.target == "MARK"
    text = _value(options, "set-xmark", "set-mark", "or-mark", "and-mark", "xor-mark")
    if text is None and not of_packet and ("save-mark" in options or "restore-mark" in options):
        return _carrying(options)
    change = _change_of_mark(options, text)

    def apply(flow: Flow) -> bool:
        if of_packet:
            if change is not None:
                flow.mark = change(flow.mark) & 0xFFFFFFFF
        elif flow.untracked:
            # There is no connection to mark (connmark_tg of xt_connmark.c).
            return True
        elif change is not None:
            flow.connmark = change(flow.connmark) & 0xFFFFFFFF
        return change is not None

    return apply


def _not_understood(_: Flow) -> bool:
    return False


def _change_of_mark(options: Mapping[str, Option], text: str | None) -> Callable[[int], int] | None:
    """The new value for an old one, as `text` says; None if it says nothing."""
    parsed = read_mask(text) if text is not None else None
    if parsed is None:
        return None
    value, mask = parsed
    if "set-xmark" in options:
        return lambda current: (current & ~mask) ^ value
    if "set-mark" in options:
        return lambda current: (current & ~(mask | value)) | value
    if "or-mark" in options:
        return lambda current: current | value
    if "and-mark" in options:
        return lambda current: current & value
    return lambda current: current ^ value


def _carrying(options: Mapping[str, Option]) -> Callable[[Flow], bool]:
    """The mark of the packet written into that of the connection, or the other way round."""
    both = read_mask(f"0/{_value(options, 'mask')}") if "mask" in options else (0, 0xFFFFFFFF)
    near = read_number(_value(options, "nfmask") or "")
    far = read_number(_value(options, "ctmask") or "")
    default = both[1] if both else 0xFFFFFFFF
    nf_mask, ct_mask = (default if near is None else near), (default if far is None else far)
    saves = "save-mark" in options

    def apply(flow: Flow) -> bool:
        if flow.untracked:
            return True
        if saves:
            flow.connmark = (flow.connmark & ~ct_mask) ^ (flow.mark & nf_mask)
        else:
            flow.mark = (flow.mark & ~nf_mask) ^ (flow.connmark & ct_mask)
        return True

    return apply


Place = Callable[[Flow, int | None], tuple[int, int] | None]


def translation(rule: Rule, family: Family) -> Place:
    """Where DNAT or REDIRECT sends a flow: address (as an integer) and port; None if that is not one place.

    The function's second argument is the address that REDIRECT uses for packets that come from elsewhere: the first of the
    interface that they came in by (nf_nat_redirect.c), if it is known.
    """
    options = options_of(rule)
    if rule.target == "REDIRECT":
        ports = _value(options, "to-ports")
        number = _port_number(ports) if ports is not None else None

        def redirect(flow: Flow, primary: int | None) -> tuple[int, int] | None:
            wanted = flow.port if ports is None else number
            address = LOOPBACK[family] if flow.local_origin else primary
            return None if address is None or wanted is None else (address, wanted)

        return redirect
    text = _value(options, "to-destination")
    target = read_destination(text, family) if text is not None else None
    address_text, port = target if target is not None else (None, None)
    parsed = parse_address(address_text) if address_text is not None else None
    known = target is not None and (address_text is None or parsed is not None)
    address = int(parsed) if parsed is not None else None

    def place(flow: Flow, _: int | None) -> tuple[int, int] | None:
        if not known:
            return None
        return flow.destination if address is None else address, flow.port if port is None else port

    return place


def read_destination(text: str, family: Family) -> tuple[str | None, int | None] | None:
    """`10.0.0.1:80`, `10.0.0.1`, `:80`, `[fd00::1]:80` as address text and port; None for a range of either."""
    address_text, port_text = _without_ports(text, family)
    port = _port_number(port_text) if port_text else None
    if "-" in address_text or (port_text and port is None):
        return None
    return address_text or None, port


def _without_ports(text: str, family: Family) -> tuple[str, str]:
    """The address part and the port part of a new destination or source; each may be a range."""
    if text.startswith("["):
        address_text, _, port_text = text[1:].partition("]")
        return address_text, port_text.removeprefix(":")
    if family is Family.IPV6 and text.count(":") > 1:
        return text, ""
    address_text, _, port_text = text.partition(":")
    return address_text, port_text


def _port_number(text: str) -> int | None:
    """One port; None for a range. Port 0 is what old iptables prints for options that it cannot decode."""
    number = read_number(text)
    return number if number is not None and 0 < number < 65536 else None


def new_sources(rule: Rule, own: AddressSet) -> AddressSet:
    """The source addresses that MASQUERADE or SNAT may write; `own` are those of the node."""
    if rule.target == "MASQUERADE":
        # Over lo IPv6 may pick the loopback address, IPv4 does not (scope host).
        return own if own.family is Family.IPV4 else own | AddressSet.span(own.family, 1, 1)
    address_text, _ = _without_ports(_value(options_of(rule), "to-source") or "", own.family)
    address = parse_address(address_text)
    return AddressSet.everything(own.family) if address is None else AddressSet.of(own.family, (address,))


def describe(rule: Rule) -> str:
    """The target in netfilter's words, for a trace."""
    options = options_of(rule)
    match rule.target:
        case None:
            return "no target"
        case "DNAT":
            return f"DNAT to {_value(options, 'to-destination') or '?'}"
        case "REDIRECT":
            return f"REDIRECT to port {_value(options, 'to-ports') or 'the same'}"
        case "MARK" | "CONNMARK":
            return " ".join([rule.target.lower(), *(str(option).removeprefix("--") for option in rule.target_options)])
        case "REJECT":
            return f"REJECT with {_value(options, 'reject-with') or 'icmp-port-unreachable'}"
        case "SNAT":
            return f"SNAT to {_value(options, 'to-source') or '?'}"
        case "ACCEPT" | "DROP" | "RETURN" | "MASQUERADE":
            return rule.target
        case target:
            return f"goto {target}" if rule.goto else f"jump {target}"
