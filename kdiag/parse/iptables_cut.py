"""A large `iptables-save` dump cut into what kube-proxy writes for each Service, and the rest.

Nothing is read twice and nothing is dropped: every line of the dump belongs to a chain of one Service, to the chain of
one endpoint, to the address of a Service in a dispatch chain, or to the rest. What does not look as it ought to is left
to `kdiag.parse.iptables_save`, which reads any dump.

Holds for what iptables prints since chains are printed by name (seen from 1.8.9 in both backends): chains of one kind
stand together. A dump of another order is not cut.
"""

from __future__ import annotations

import re

from kdiag.parse.crossings import Crossings, crossings
from kdiag.parse.dispatch_regions import Dispatch, read_dispatch
from kdiag.parse.dump_tables import complement, has_returns, tables_of
from kdiag.parse.endpoint_forms import EndpointForms
from kdiag.parse.iptables_forms import ChainForms
from kdiag.parse.iptables_parts import CutDump
from kdiag.parse.iptables_regions import (
    Chains,
    add_endpoint_chains,
    add_service_chains,
    find_regions,
    is_pure,
    largest_regions,
    read_declarations,
)
from kdiag.parse.line_numbers import LineNumbers, LineNumbersAfter
from kdiag.parse.service_words import ENDPOINT_KIND, Key

_ODD_LINE = re.compile(rb"(?m)^(?!-A |[:*#]|COMMIT$|$)")


def cut_dump(
    content: bytes, *, in_part: bool = False, like: CutDump | None = None, alone: bool = False
) -> CutDump | None:
    """Cut up a complete dump of `iptables-save`; None if it is not of the form that can be.

    `in_part` leaves the chains of Services and endpoints unread until somebody asks for one: for a few Services. What is
    the same in `like`, the dump of another node that was cut up as a whole and not `alone`, is not read again; of a dump
    that is cut in part, nothing is looked for there.
    """
    if in_part:
        like = None
    if not content.endswith(b"\n"):
        return None
    most = largest_regions(content)
    tables = tables_of(content, most)
    if tables is None or b"nat" not in tables:
        return None
    regions = find_regions(content, tables)
    if regions is None or not set(most) <= set(regions.rules.values()):
        return None
    dispatch = read_dispatch(content, regions.dispatched, like.placed if like is not None else None)
    taken = [*regions.declared.values(), *regions.rules.values(), *dispatch.taken]
    where = regions.rules.get(ENDPOINT_KIND)
    found = Chains(ChainForms(like.forms if like is not None else None), keep_names=not alone)
    lines: LineNumbers | LineNumbersAfter = LineNumbers(content, found.counted)
    if in_part:
        if where is not None and not is_pure(
            content, b"-A " + ENDPOINT_KIND, where, lines.at(where[1]) - lines.at(where[0])
        ):
            return None
    elif not add_endpoint_chains(found, content, regions, like):
        return None
    if not add_service_chains(found, content, regions.rules, like):
        return None
    if not read_declarations(found, content, regions.declared, like):
        return None
    read = {alike.new: [come for _, come in alike.pairs] for alike in found.alike.values()}
    if any(has_returns(content, read.get(span, [span])) for span in most):
        return None
    if like is not None and found.alike:
        lines = LineNumbersAfter(content, like.content, like.lines, [*found.alike.values()])
    cut = CutDump(
        content=content,
        lines=lines,
        rest=complement(taken, len(content)),
        dispatch=dispatch.lines,
        placed=dispatch,
        chains=found.spans,
        endpoints=found.endpoints,
        declared=regions.declared,
        regions=regions.rules,
        alone=alone,
        like=like,
        changed=frozenset(found.changed),
        forms=found.forms,
        refusing=_refusing(dispatch, like),
        leading=found.leading,
        _texts=found.texts,
        _come=found.places,
        _alike={alike.new: alike for alike in found.alike.values()},
    )
    rest = cut.rest_text()
    # A table ends once: what stands behind its end and before the next belongs to none. And whatever else stands there, such as
    # rules with counters (`[5:300] -A …`), is not looked for in what packets may meet.
    if rest.count(b"\nCOMMIT\n") != len(tables) or _ODD_LINE.search(rest):
        return None
    cut.crossings = _crossings(cut, found.come)
    if alone and cut.endpoints is not None:
        # Where each endpoint's chain sends packets to is in the texts: memory is better spent on what follows.
        cut.endpoints = cut.endpoints.examples()
    return cut if cut.forms.whole else None


def _refusing(dispatch: Dispatch, like: CutDump | None) -> frozenset[Key]:
    """The keys with rules in the filter table."""
    taken_over = like.refusing - dispatch.changed if like is not None and dispatch.like is not None else frozenset()
    return taken_over | dispatch.read_in(b"filter")


def _crossings(cut: CutDump, come: EndpointForms | None) -> Crossings:
    """Where packets to one Service may meet rules for another. What is the same in the other dump is not looked at again."""
    like = cut.like
    if like is None or come is None:
        return crossings(cut.dispatch, cut.refusing, cut.endpoints, by_address=False)
    return like.crossings.joined(
        crossings(cut.placed.around_changes(), cut.refusing, come, by_address=False),
        crossings({}, cut.refusing - like.refusing, like.endpoints, by_address=False),
    )
