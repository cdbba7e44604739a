"""How `iptables -L` prints the options of targets, turned into those of `iptables-save`."""

from __future__ import annotations

import re
from collections.abc import Callable

from kdiag.parse.iptables_list_tail import Tail

_ALL_ONES = 0xFFFFFFFF
_NUMBER = re.compile(r"0x[0-9a-fA-F]+|\d+")
_LOG_FLAGS = (
    (1, "log-tcp-sequence"),
    (2, "log-tcp-options"),
    (4, "log-ip-options"),
    (8, "log-uid"),
    (32, "log-macdecode"),
)
_LOG_LEVELS = {
    "emerg": 0,
    "alert": 1,
    "crit": 2,
    "error": 3,
    "warning": 4,
    "warn": 4,
    "notice": 5,
    "info": 6,
    "debug": 7,
}
_LOG_DEFAULT_LEVEL = 4


def read_target(tail: Tail) -> bool:
    """Read one option of the target at the cursor; False, with the cursor where it was, if there is none."""
    reader = _READERS.get(tail.target or "")
    if reader is None:
        return False
    start = tail.index
    if reader(tail):
        return True
    tail.index = start
    return False


def _translate(option: str) -> Callable[[Tail], bool]:
    def read(tail: Tail) -> bool:
        word = tail.take()
        if word.startswith("to:") and len(word) > 3:
            tail.set_target_option(option, word[3:])
        elif word in ("random", "random-fully", "persistent"):
            tail.set_target_option(word)
        else:
            return False
        return True

    return read


def _ports(*label: str) -> Callable[[Tail], bool]:
    def read(tail: Tail) -> bool:
        if tail.take_if(*label) and tail.peek():
            tail.set_target_option("to-ports", tail.take())
            return True
        return tail.peek() in ("random", "random-fully") and _flag(tail)

    return read


def _flag(tail: Tail) -> bool:
    tail.set_target_option(tail.take())
    return True


def _reject(tail: Tail) -> bool:
    if not tail.take_if("reject-with") or not tail.peek():
        return False
    tail.set_target_option("reject-with", tail.take())
    return True


def _mark_value(operation: str, text: str) -> tuple[int, int] | None:
    """Value and mask of `--set-xmark` for what MARK and CONNMARK print; mark_tg_print of libxt_MARK.c, backwards."""
    value_text, slash, mask_text = text.partition("/")
    if not _NUMBER.fullmatch(value_text) or (slash and not _NUMBER.fullmatch(mask_text)):
        return None
    value = int(value_text, 0)
    match operation:
        case "and":
            return 0, value ^ _ALL_ONES
        case "or":
            return value, value
        case "xor":
            return value, 0
        case "set" | "xset":
            return value, int(mask_text, 0) if slash else _ALL_ONES
        case _:
            return None


def _mark(tail: Tail) -> bool:
    if tail.take() not in ("MARK", "CONNMARK"):
        return False
    operation = tail.take()
    if operation in ("save", "restore"):
        return _connection_mark(tail, operation)
    parsed = _mark_value(operation, tail.take())
    if parsed is None:
        return False
    tail.set_target_option("set-xmark", f"{parsed[0]:#x}/{parsed[1]:#x}")
    return True


def _connection_mark(tail: Tail, operation: str) -> bool:
    """`CONNMARK save`, `… save mask M`, `… save nfmask N ctmask ~M` (a `~` is printed before the second mask)."""
    masks = {"nfmask": f"{_ALL_ONES:#x}", "ctmask": f"{_ALL_ONES:#x}"}
    while tail.peek() in ("mask", "nfmask", "ctmask") and tail.peek(1):
        which, mask = tail.take(), tail.take().removeprefix("~")
        masks.update({"nfmask": mask, "ctmask": mask} if which == "mask" else {which: mask})
    tail.set_target_option(f"{operation}-mark")
    for which, mask in masks.items():
        tail.set_target_option(which, mask)
    return True


def _log(tail: Tail) -> bool:
    """`LOG flags 0 level 4 prefix "x"`; without -n the level is a name and each flag a word."""
    if not tail.take_if("LOG"):
        return False
    options: list[tuple[str, ...]] = []
    level = str(_LOG_DEFAULT_LEVEL)
    while word := tail.peek():
        if word == "flags" and tail.peek(1).isdigit():
            tail.index += 1
            bits = int(tail.take())
            options += [(option,) for bit, option in _LOG_FLAGS if bits & bit]
        elif word == "level" and tail.peek(1):
            tail.index += 1
            spelled = tail.take()
            level = str(_LOG_LEVELS.get(spelled, spelled))
        elif word == "prefix" and tail.peek(1)[:1] in ('"', "`"):
            tail.index += 1
            options.insert(0, ("log-prefix", _quoted(tail)))
        elif any(option == f"log-{word}" for _, option in _LOG_FLAGS):
            options.append((f"log-{tail.take()}",))
        else:
            break
    if level != str(_LOG_DEFAULT_LEVEL):
        options.insert(1 if options and options[0][0] == "log-prefix" else 0, ("log-level", level))
    for option, *values in options:
        tail.set_target_option(option, *values)
    return True


def _quoted(tail: Tail) -> str:
    """Text in quotes, of several words; iptables 1.4 opened with a grave accent."""
    words = [tail.take()]
    while not (words[-1][-1:] in ('"', "'") and "".join(words)[1:]) and tail.peek():
        words.append(tail.take())
    text = " ".join(words)
    return text[1:-1] if text[-1:] in ('"', "'") and len(text) > 1 else text[1:]


def _track(tail: Tail) -> bool:
    if not tail.take_if("CT"):
        return False
    if tail.take_if("notrack"):
        tail.set_target_option("notrack")
        return True
    if tail.peek() in ("zone", "helper", "ctevents", "timeout") and tail.peek(1):
        tail.set_target_option(tail.take(), tail.take())
        return True
    return False


def _set(tail: Tail) -> bool:
    if tail.peek() not in ("add-set", "del-set", "map-set") or not tail.peek(2):
        return False
    tail.set_target_option(tail.take(), tail.take(), tail.take())
    return True


def _transparent_proxy(tail: Tail) -> bool:
    """`TPROXY redirect 127.0.0.1:15001 mark 0x1/0xffffffff`."""
    if not tail.take_if("TPROXY", "redirect"):
        return False
    host, colon, number = tail.take().rpartition(":")
    if not colon:
        return False
    tail.set_target_option("on-port", number)
    tail.set_target_option("on-ip", host.strip("[]"))
    if tail.take_if("mark") and tail.peek():
        tail.set_target_option("tproxy-mark", tail.take())
    return True


def _segment_size(tail: Tail) -> bool:
    if tail.take_if("TCPMSS", "clamp", "to", "PMTU"):
        tail.set_target_option("clamp-mss-to-pmtu")
        return True
    if tail.take_if("TCPMSS", "set") and tail.peek():
        tail.set_target_option("set-mss", tail.take())
        return True
    return False


def _checksum(tail: Tail) -> bool:
    if not tail.take_if("CHECKSUM", "fill"):
        return False
    tail.set_target_option("checksum-fill")
    return True


def _queue(tail: Tail) -> bool:
    if not tail.take_if("NFQUEUE"):
        return False
    if tail.peek() not in ("num", "balance") or not tail.peek(1):
        return False
    tail.set_target_option("queue-num" if tail.take() == "num" else "queue-balance", tail.take())
    if tail.take_if("bypass"):
        tail.set_target_option("queue-bypass")
    return True


_READERS: dict[str, Callable[[Tail], bool]] = {
    "DNAT": _translate("to-destination"),
    "SNAT": _translate("to-source"),
    "NETMAP": _translate("to"),
    "MASQUERADE": _ports("masq", "ports:"),
    "REDIRECT": _ports("redir", "ports"),
    "REJECT": _reject,
    "MARK": _mark,
    "CONNMARK": _mark,
    "LOG": _log,
    "CT": _track,
    "SET": _set,
    "TPROXY": _transparent_proxy,
    "TCPMSS": _segment_size,
    "CHECKSUM": _checksum,
    "NFQUEUE": _queue,
}
