"""nftables rules and what they do, in words as nft prints them."""

from __future__ import annotations

from kdiag.model import nft
from kdiag.model.dataplane import Effect

TRANSLATIONS = {"dnat": Effect.TRANSLATE, "redirect": Effect.TRANSLATE, "snat": Effect.REWRITE}


def verdict_words(verdict: nft.Verdict) -> tuple[Effect, str, str | None]:
    """The effect of a verdict, the words for it, and the chain that it leads to."""
    match verdict.kind:
        case "accept":
            return Effect.ACCEPT, "accept", None
        case "drop":
            return Effect.DROP, "drop", None
        case "return":
            return Effect.RETURN, "return", None
        case "continue":
            return Effect.NOTHING, "continue", None
        case "jump" | "goto":
            return Effect.JUMP, f"{verdict.kind} {verdict.chain}", verdict.chain
        case kind:
            return Effect.OTHER, kind, None


def rule_text(rule: nft.NftRule) -> str:
    """The rule as printed, with its handle."""
    return rule.text if rule.handle is None else f"{rule.text} # handle {rule.handle}"


def table_name(table: nft.SetReference | nft.MapLiteral) -> str:
    """What a look-up is made in."""
    return f"map {table.name}" if isinstance(table, nft.SetReference) else "map"


def key_text(key: nft.Expression) -> str:
    """A key as nft prints it."""
    match key:
        case nft.Value(value=value):
            return str(value)
        case nft.Concat(parts=parts):
            return " . ".join(key_text(part) for part in parts)
        case nft.Prefix(address=address, length=length):
            return f"{address}/{length}"
        case nft.Span(low=low, high=high):
            return f"{key_text(low)}-{key_text(high)}"
        case nft.Wildcard():
            return "*"
        case _:
            return "?"


def socket_words(address: nft.Expression | None, port: nft.Expression | None) -> str:
    """Address and port as written together."""
    if isinstance(address, nft.Concat) and len(address.parts) == 2:
        address, port = address.parts
    host = "" if address is None else key_text(address)
    if ":" in host:
        host = f"[{host}]"
    return host if port is None else f"{host}:{key_text(port)}"


def place_words(statement: nft.Translate) -> str:
    """Where a translation leads to."""
    if isinstance(statement.address, nft.MapLookup):
        return table_name(statement.address.table)
    return socket_words(statement.address, statement.port)


def rule_words(rule: nft.NftRule) -> tuple[Effect, str, str | None]:
    """What a rule does when all that it asks holds: its effect, the words for it, and the chain that it leads to."""
    for statement in reversed(rule.statements):
        match statement:
            case nft.Verdict():
                return verdict_words(statement)
            case nft.VerdictMap(table=table):
                return Effect.JUMP, f"look-up in {table_name(table)}", None
            case nft.Translate(kind="masquerade"):
                return Effect.REWRITE, "masquerade", None
            case nft.Translate(kind=kind):
                return TRANSLATIONS.get(kind, Effect.OTHER), f"{kind} to {place_words(statement)}", None
            case nft.Reject():
                return Effect.REJECT, "reject", None
            case nft.Untrack():
                return Effect.UNTRACK, "notrack", None
            case nft.Assign():
                return Effect.MARK, "set mark", None
            case nft.SetChange(operation=operation, name=name):
                return Effect.NOTHING, f"{operation} @{name}: the client is remembered", None
            case nft.UnknownStatement():
                return Effect.OTHER, "what kdiag does not know", None
            case _:
                continue
    return Effect.NOTHING, "no verdict", None
