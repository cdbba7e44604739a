"""`ipset save` output: sets and their members."""

from __future__ import annotations

from kdiag.errors import ParseError
from kdiag.model.rules import IpSet, UnreadLine


def parse_ipset_save(text: str, source: str) -> tuple[dict[str, IpSet], tuple[UnreadLine, ...]]:
    """All sets by name, and the lines that were not understood.

    A member is kept as it was printed (`10.96.0.1,tcp:443`); `nomatch`, which makes it an exception, stays behind it, a
    time-out, counters and a comment do not. Empty text is no sets. Raises ParseError if no line is one of `ipset save`;
    `source` is the path that the message names.
    """
    types: dict[str, str] = {}
    members: dict[str, set[str]] = {}
    unread: list[UnreadLine] = []
    for number, raw in enumerate(text.removeprefix("\ufeff").split("\n"), start=1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        match line.split():
            case ["create" | "-N", set_name, set_type, *_]:
                types.setdefault(set_name, set_type)
                members.setdefault(set_name, set())
            case ["add" | "-A", set_name, member, *rest] if set_name in types:
                members[set_name].add(f"{member} nomatch" if _is_exception(rest) else member)
            case ["add" | "-A", set_name, _, *_]:
                unread.append(UnreadLine(line=number, text=line, reason=f"set {set_name} was not created before"))
            case ["COMMIT"]:
                pass
            case _:
                unread.append(UnreadLine(line=number, text=line, reason="not a line of ipset save"))
    if unread and not types:
        raise ParseError(
            f"{source} is not the output of ipset save",
            hint="It ought to be what `ipset save` prints, run as root.",
            line=unread[0].line,
        )
    sets = {
        set_name: IpSet(name=set_name, type=set_type, members=frozenset(members[set_name]))
        for set_name, set_type in types.items()
    }
    return sets, tuple(unread)


def _is_exception(words: list[str]) -> bool:
    """True if `nomatch` is among the words behind a member; a comment ends what is looked at."""
    before_comment = words[: words.index("comment")] if "comment" in words else words
    return "nomatch" in before_comment
