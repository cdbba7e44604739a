"""Two looks at a cluster."""

from __future__ import annotations

from msgspec.structs import replace

from kdiag.model.change import ChangeKind
from kdiag.model.report import Gap, GapKind
from kdiag.parse.report_document import parse_report
from kdiag.pipeline.diff import compare_looks, compare_reports
from kdiag.pipeline.flow import Scope
from kdiag.render import format_named
from kdiag.render.diff import DIFF_RENDERERS
from kdiag.render.style import Style
from tests.corpus_fixtures import cluster, variant
from tests.render.samples import REPORT


def test_findings_are_matched_by_cause_and_place() -> None:
    first, *rest = REPORT.findings
    reworded = replace(first, message="other words", expected="x", actual="y", evidence=())
    moved = replace(first, node="node77")
    change = compare_reports(REPORT, replace(REPORT, findings=(reworded, moved, *rest)))
    assert change.new == (moved,)
    assert change.gone == ()
    assert change.unchanged == (reworded, *rest)
    back = compare_reports(replace(REPORT, findings=(first, first)), replace(REPORT, findings=(first,)))
    assert (len(back.gone), len(back.unchanged), back.new) == (1, 1, ())


def test_gaps_are_matched_without_their_reasons() -> None:
    old, new = Gap(subject="pods", reason="1 s"), Gap(subject="nodes", reason="2 s")
    change = compare_reports(replace(REPORT, gaps=(old,)), replace(REPORT, gaps=(replace(old, reason="3 s"), new)))
    assert (change.new_gaps, change.gone_gaps) == ((new,), ())
    kind = compare_reports(replace(REPORT, gaps=(old,)), replace(REPORT, gaps=(replace(old, kind=GapKind.NOT_ASKED),)))
    assert len(kind.new_gaps) == 1


def test_a_report_is_read_as_it_was_printed() -> None:
    text = format_named("json").report(REPORT, Style())
    found = parse_report(text.encode())
    assert format_named("json").report(replace(found, baseline=None), Style()) == format_named("json").report(
        replace(
            REPORT,
            findings=tuple(replace(item, acceptance=None) for item in REPORT.findings),
            baseline=None,
        ),
        Style(),
    )


def test_data_planes_node_by_node() -> None:
    before = cluster("v1.20.2-iptables-nft")

    def refused(text: str) -> str:
        lines = [line for line in text.splitlines(keepends=True) if "KUBE-SVC-JD5MR3NA4I4DYORP -m" not in line]
        return "".join(line for line in lines if "kube-system/kube-dns:metrics cluster IP" not in line)

    after = variant(before, node="node02", probe="iptables-save", edit=refused)
    change = compare_looks(before, after, Scope())
    assert change.plane is not None
    gone = [item for item in change.plane if item.kind is ChangeKind.GONE]
    assert [(item.service, item.port, item.nodes, item.frontends) for item in gone] == [
        ("kube-system/kube-dns", "9153/TCP", ("node02",), ("10.96.0.10:9153/TCP",))
    ]
    assert change.new
    back = compare_looks(after, before, Scope())
    assert [item.kind for item in back.plane or ()] == [ChangeKind.PROGRAMMED]
    assert len(back.gone) == len(change.new)
    for slug, tell in DIFF_RENDERERS.items():
        text = tell(change, Style())
        assert text.endswith("\n"), slug
        assert "10.96.0.10:9153" in text or slug == "markdown"
        assert tell(change, Style()) == text
