"""What `iptables -L` prints behind the addresses: matches and target options, each module in a notation of its own.

They become the options that `iptables-save` would print. The notations are those of the print functions in iptables
1.4 to 1.8 (extensions/libxt_*.c, libipt_*.c, libip6t_*.c). Words of a notation that is not here are left as unknown.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice

from kdiag.parse.iptables_list_matches import read_match
from kdiag.parse.iptables_list_tail import Tail
from kdiag.parse.iptables_list_targets import read_target

_COMMENT_START = re.compile(r"(?:^|(?<=\s))/\* ")
_COMMENT_END = re.compile(r" \*/(?=\s|$)")
_COMMENT = "/* "
_COMMENTS_MAX = 4
"""Comments of one rule that are told apart; iptables allows any number, one is usual."""
_READINGS_MAX = 16


def read_words(text: str, target: str | None) -> Tail:
    """Read the rest of a line, of a rule with this target.

    A comment may itself hold what looks like its end. Of the readings that this allows, one with the fewest words not
    understood is taken; if such readings differ in more than the comment, `unknown` has the word `/*`.
    """
    readings = [_read(words, target) for words in islice(_ways(text, _COMMENTS_MAX), _READINGS_MAX)]
    fewest = min(len(reading.unknown) for reading in readings)
    best = [reading for reading in readings if len(reading.unknown) == fewest]
    if not all(reading.same_rule(best[0]) for reading in best[1:]):
        best[0].unknown.append("/*")
    return best[0]


def _ways(text: str, comments: int) -> Iterator[list[str]]:
    """The text cut into words, in every way in which its comments may end. A comment is one word, `/* …`."""
    start = _COMMENT_START.search(text) if comments else None
    if start is None:
        yield text.split()
        return
    head = text[: start.start()].split()
    body = text[start.end() :]
    ended = False
    # The end of an empty comment overlaps its start.
    for end in _COMMENT_END.finditer(f" {body}"):
        ended = True
        comment = _COMMENT + body[: max(end.start() - 1, 0)]
        for rest in _ways(body[end.end() - 1 :], comments - 1):
            yield [*head, comment, *rest]
    if not ended:
        yield text.split()


def _read(words: list[str], target: str | None) -> Tail:
    tail = Tail(words=words, target=target)
    while tail.index < len(words):
        word = tail.peek()
        if word.startswith(_COMMENT):
            _add_comment(tail, tail.take()[len(_COMMENT) :])
        elif word == "[goto]":
            tail.index += 1
            tail.goto = True
        elif not read_target(tail) and not read_match(tail):
            tail.unknown.append(tail.take())
    return tail


def _add_comment(tail: Tail, comment: str) -> None:
    tail.modules.append("comment")
    tail.comment = comment if tail.comment is None else f"{tail.comment}; {comment}"
