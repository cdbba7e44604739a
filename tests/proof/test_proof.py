"""A short slice of the proof's first two figures: `make proof` runs the long form."""

from __future__ import annotations

import pytest

from kdiag.model.addresses import Family, Protocol
from kdiag.model.dataplane import Position
from kdiag.parse.nft_json import parse_nft_json
from kdiag.walk.nft_rules import NftSpace
from tests.proof import kernel, mutations
from tests.proof.__main__ import PAGE, ROOT, headline, page
from tests.proof.equivalents import SILENCES, WORDS
from tests.proof.figure import Figure
from tests.proof.lab import why_not
from tests.proof.nft_edits import nft_edits
from tests.proof.packets import Packet
from tests.proof.recorded import recorded, sites
from tests.proof.referee import judge, walker_for


def test_packets_end_where_the_walk_says() -> None:
    if why_not() is not None:
        pytest.skip(str(why_not()))
    figure = kernel.run(6.0, 7)
    if figure.not_here is not None:
        pytest.skip(figure.not_here)
    assert figure.complaints == ()
    assert figure.wrong == 0
    assert figure.tried > 1000


def test_a_client_that_a_set_remembers_is_sent_again_as_a_new_one() -> None:
    # A rule that led remembered clients to their endpoint was made to return. The first packets fill the sets.
    if why_not() is not None:
        pytest.skip(str(why_not()))
    item = next(item for item in recorded() if item.backend == "native")
    edit = next(
        edit
        for edit in nft_edits(item.text)
        if edit.kind == "verdict return" and "default/sticky/tcp/" in edit.place and "goto" in edit.label
    )
    # A client is remembered at the rule's endpoint or at the other one, by chance: many clients.
    clients = [(place, source) for place in Position for source in sites()[Family.IPV4].clients(place)]
    packets = [
        Packet(position=place, source=source, destination="10.96.100.5", protocol=Protocol.TCP, port=80)
        for place, source in clients
    ]
    assert len(packets) > 3
    with kernel.ground(sites()) as on:
        dump = on.lab.load_nft_json(edit.make())
        walker = walker_for(NftSpace(parse_nft_json(dump, source="lab"), Family.IPV4), on.networks[Family.IPV4])
        try:
            verdict = judge(on.wire, walker, packets * 6, "sticky")
        finally:
            on.lab.load_nft("")
    assert verdict.complaints == ()


def test_mutants_of_several_recordings_by_several_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KDIAG_MUTATIONS", "2")
    monkeypatch.setattr(mutations, "RECORDINGS", ("v1.20.2-ipvs-nft", "v1.20.2-userspace-nft", "v1.36.2-nftables-nft"))
    figure = mutations.run(0.0, 7)
    assert figure.complaints == ()
    assert figure.tried == 6
    assert figure.holds
    assert figure.details[0].startswith("v1.20.2-ipvs-nft: 2 of ")


def test_a_figure_holds_only_if_enough_was_tried_and_nothing_was_wrong() -> None:
    assert Figure("things", 10, 0, wanted=10).holds
    assert not Figure("things", 9, 0, wanted=10).holds
    assert not Figure("things", 10, 1).holds
    assert not Figure("things", 10, 0, not_here="no root").holds
    assert headline("Fuzz", Figure("things", 1000, 0)) == "Fuzz: 1,000 things, 0 wrong"


def test_the_page_shows_figures_and_what_is_wrong() -> None:
    text = page([("Fuzz", "No crash.", Figure("things", 10, 1, ("a fact",), ("it broke\nhere",)))], 1, 10.0)
    assert "**Fuzz: 10 things, 1 wrong.**" in text
    assert "* a fact" in text
    assert "* `it broke`" in text
    assert "\n\n\n" not in text


def test_the_page_is_whole_and_linked() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert [line[:5] for line in text.splitlines() if line.startswith("## ")][:5] == [f"## {n}." for n in range(1, 6)]
    assert "Wrong:" not in text
    assert "could not be run" not in text
    assert all(f"{item.name} (" in text for item in (*SILENCES, *WORDS))
    assert (ROOT / "tests/proof/found.md").read_text(encoding="utf-8").rstrip() in text
    for name in ("README.md", "docs/README.md"):
        assert "trust.md" in (ROOT / name).read_text(encoding="utf-8")
