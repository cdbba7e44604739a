from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import subprocess
from datetime import date
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from kdiag.model.overview import (
    AddressRange,
    AddressRanges,
    CheckNote,
    NodeOverview,
    Overview,
    RangeKind,
    ServiceOverview,
    ServiceTrace,
    Unjudged,
)
from kdiag.model.report import Acceptance, Affected, Evidence, Gap, Report
from kdiag.model.trace import TraceEndpoint
from kdiag.render.html import HTML
from kdiag.render.html.content import EVIDENCE_SHOWN, embedded, page_content
from kdiag.render.html.page import page_script
from kdiag.render.style import Style
from tests.browser.large import large_report
from tests.render.samples import FLUSHED, HEALTHY, REPORT, STALE, TRACE, network
from tests.render.test_address_map import DOCKER, PODS, SERVICES
from tests.render.traces import HOSTILE, named

assert TRACE.walk is not None
OVERVIEW = Overview(
    nodes=(NodeOverview(node="node01", judged=True, mode="iptables"), NodeOverview(node="node02", judged=True)),
    services=(
        ServiceOverview(
            service="default/local-cluster",
            type="ClusterIP",
            addresses=("cluster IP 10.101.67.139:80/TCP",),
            endpoints=(TraceEndpoint(address="10.244.1.3:80", pod="default/nginx", node="node01", state="ready"),),
            endpoint_count=3,
        ),
    ),
    unjudged=(Unjudged(node="node01", reason="a rule was not understood", services=("default/local-cluster",)),),
    ranges=AddressRanges(ranges=(SERVICES, PODS, DOCKER)),
    checks=(CheckNote(code="KD204", slug="stale-endpoint", title="Stale", explanation="Text."),),
    checks_left_out=("KD101",),
    traces=(ServiceTrace(service="default/local-cluster", walk=TRACE.walk),),
    traces_left_out=2,
)
FULL = replace(REPORT, overview=OVERVIEW)


class Page(HTMLParser):
    """The elements of a page, and what stands in its scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.inside: dict[str, list[str]] = {"script": [], "style": [], "title": []}
        self.open: str | None = None
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self.open = tag
        if tag in self.inside:
            self.inside[tag].append("")

    def handle_endtag(self, tag: str) -> None:
        self.open = None

    def handle_data(self, data: str) -> None:
        if self.open in self.inside:
            self.inside[self.open][-1] += data

    @property
    def content(self) -> Any:
        return json.loads(self.inside["script"][0])


def page_of(report: Report) -> Page:
    return Page(HTML.report(report, Style()))


def hostile(name: str) -> Report:
    """A report in which all text that others choose is `name`."""
    finding = replace(
        STALE,
        node=name,
        service=name,
        port=name,
        frontend=name,
        expected=name,
        actual=name,
        title=name,
        message=f"{name}\n- {name}",
        hint=name,
        affected=(Affected(node=name, service=name, port=name),),
        evidence=(Evidence(source=name, line=1, text=name),),
        acceptance=Acceptance(reason=name, owner=name, expires=date(2026, 1, 1)),
    )
    walk = named(name).walk
    assert walk is not None
    endpoint = TraceEndpoint(address=name, pod=name, node=name, state=name)
    overview = Overview(
        nodes=(NodeOverview(node=name, judged=True, mode=name, version=name),),
        services=(ServiceOverview(service=name, type=name, addresses=(name,), endpoints=(endpoint,), note=name),),
        unjudged=(Unjudged(node=name, reason=name, services=(name,)),),
        ranges=AddressRanges(
            ranges=(
                AddressRange(
                    kind=RangeKind.HOST_NETWORK, network=network("10.0.0.0/24"), label=name, stated_by=(name,)
                ),
            )
        ),
        checks=(CheckNote(code="KD204", slug=name, title=name, explanation=name),),
        traces=(ServiceTrace(service=name, walk=walk),),
    )
    gap = Gap(node=name, subject=name, reason=name)
    return replace(
        REPORT,
        cluster=name,
        server_version=name,
        findings=(finding,),
        gaps=(gap,),
        modes={name: name},
        overview=overview,
    )


def test_the_page_loads_nothing_and_its_policy_names_its_own_parts() -> None:
    page = page_of(FULL)
    policy = next(
        str(attributes["content"])
        for tag, attributes in page.elements
        if tag == "meta" and attributes.get("http-equiv") == "Content-Security-Policy"
    )
    allowed = dict(part.split(" ", 1) for part in policy.split("; "))
    digests = {
        kind: "'sha256-" + base64.b64encode(hashlib.sha256(page.inside[kind][-1].encode()).digest()).decode() + "'"
        for kind in ("script", "style")
    }
    assert allowed == {
        "default-src": "'none'",
        "script-src": digests["script"],
        "style-src": digests["style"],
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    for tag, attributes in page.elements:
        assert tag not in ("img", "iframe", "object", "embed", "base")
        assert not [key for key in attributes if key.startswith("on") or key in ("style", "src", "action", "srcset")]
        assert (attributes.get("href") or "#").startswith(("#", "data:,"))
    assert "@import" not in page.inside["style"][0]
    assert re.findall(r"url\((?!#)", page.inside["style"][0]) == []
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", HTML.report(FULL, Style()))


def test_the_script_writes_text_and_never_markup() -> None:
    for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "fetch(", "XMLHttpRequest"):
        assert word not in page_script()


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_add_no_element(name: str) -> None:
    harmless, evil = page_of(hostile("harmless")), page_of(hostile(name))
    plain = [tag for tag, _ in harmless.elements if tag not in ("text", "g", "path", "rect")]
    assert [tag for tag, _ in evil.elements if tag not in ("text", "g", "path", "rect")] == plain
    assert len(evil.inside["script"]) == 2
    assert evil.inside["script"][1] == harmless.inside["script"][1]
    for _, attributes in evil.elements:
        assert not [key for key in attributes if key.startswith("on")]


@pytest.mark.parametrize("name", HOSTILE)
def test_everything_embedded_is_there_to_be_seen(name: str) -> None:
    def texts(item: object) -> list[str]:
        if isinstance(item, dict):
            return [text for value in item.values() for text in texts(value)]
        if isinstance(item, list):
            return [text for value in item for text in texts(value)]
        return [item] if isinstance(item, str) else []

    found = texts(page_content(hostile(name)))
    assert found
    assert {ch for text in found for ch in text if not ch.isprintable()} <= {"\n"}


def test_embedded_json_cannot_end_its_element() -> None:
    text = embedded({"a": "</script><!--<script>&\u2028\u2029"})
    assert not set(text) & set("<>&\u2028\u2029")
    assert json.loads(text) == {"a": "</script><!--<script>&\u2028\u2029"}


def test_landmarks_labels_and_headings() -> None:
    page = page_of(FULL)
    tags = [tag for tag, _ in page.elements]
    for tag in ("header", "nav", "main", "footer", "h1", "dialog"):
        assert tags.count(tag) == 1
    assert dict(page.elements)["html"] == {"lang": "en"}
    ids = {str(attributes["id"]) for _, attributes in page.elements if attributes.get("id")}
    for tag, attributes in page.elements:
        for key in ("aria-labelledby", "aria-describedby"):
            wanted = set((attributes.get(key) or "").split()) - {"cell-title"}
            assert wanted <= ids
        if tag == "section":
            assert attributes.get("aria-labelledby")
        if tag == "button":
            assert attributes.get("type") in ("button", "reset")
    assert len(ids) == len([1 for _, attributes in page.elements if attributes.get("id")])


def test_places_are_numbers_of_nodes_services_and_ports() -> None:
    content = page_of(FULL).content
    stale = next(item for item in content["findings"] if item["code"] == "KD204")
    assert content["nodes"][:2] == ["node01", "node02"]
    assert [content["nodes"][stale["places"][0]], content["services"][stale["places"][1]]] == [
        "node02",
        "default/local-cluster",
    ]
    assert len(stale["places"]) == 3
    flushed = next(item for item in content["findings"] if item["code"] == FLUSHED.code)
    assert len(flushed["places"]) == 3 * (1 + len(FLUSHED.affected))
    assert flushed["places"][:3] == [content["nodes"].index("node01"), -1, -1]
    assert content["serviceFacts"][0]["endpointCount"] == 3
    assert content["unjudged"] == [{"node": 0, "reason": "a rule was not understood", "services": [0]}]
    assert content["checksLeftOut"] == ["KD101"]


def test_gaps_of_several_nodes_are_one() -> None:
    content = page_of(FULL).content
    assert content["gaps"][0] == {
        "kind": "failed",
        "subject": "iptables-save",
        "reason": "connection refused; start sshd",
        "nodes": ["node03", "node04"],
    }
    assert content["cluster"]["gaps"] == {"failed": 2, "not-applicable": 1, "not-asked": 1}


def test_acceptance_is_told() -> None:
    acceptance = Acceptance(reason="known", owner="network team", expires=date(2026, 12, 31))
    report = replace(FULL, findings=(replace(STALE, acceptance=acceptance),))
    content = page_of(report).content
    assert content["findings"][0]["acceptance"] == {
        "expired": False,
        "reason": "known",
        "owner": "network team",
        "expires": "2026-12-31",
    }
    assert (content["cluster"]["counts"]["error"], content["cluster"]["accepted"]) == (0, 1)


def test_much_evidence_is_bounded_and_counted() -> None:
    lines = tuple(Evidence(source="a", line=line, text="x") for line in range(1, EVIDENCE_SHOWN + 4))
    content = page_of(replace(FULL, findings=(replace(STALE, evidence=lines),))).content
    assert len(content["findings"][0]["evidence"]) == EVIDENCE_SHOWN
    assert content["findings"][0]["moreEvidence"] == 3


def test_a_report_without_an_overview_claims_nothing() -> None:
    content = page_of(HEALTHY).content
    assert content["withOverview"] is False
    assert (content["nodeFacts"], content["serviceFacts"], content["cluster"]["takenAt"]) == ([], [], "")
    assert page_of(HEALTHY).inside["title"][0] == "kdiag: one-node"


def test_pictures_stand_in_templates_by_the_name_of_their_service() -> None:
    templates = [attributes for tag, attributes in page_of(FULL).elements if tag == "template"]
    assert templates == [{"id": "picture-0", "data-service": "default/local-cluster"}]


def test_the_map_is_a_picture_and_a_table() -> None:
    text = HTML.report(FULL, Style())
    assert '<th scope="row" class="mono">10.244.64.0/18</th><td>docker0 on node01</td>' in text
    assert "OVERLAPS pod range 10.244.0.0/16" in text
    ranges = replace(HEALTHY, address_ranges=AddressRanges(ranges=(SERVICES,)))
    assert "Map of the address ranges" in HTML.report(ranges, Style())
    assert "Map of the address ranges</title>" not in HTML.report(HEALTHY, Style())


def test_same_bytes() -> None:
    assert HTML.report(FULL, Style()) == HTML.report(FULL, Style(width=60, colour=True))


def test_a_large_cluster_is_a_file_of_sane_size() -> None:
    page = HTML.report(large_report(), Style())
    assert len(page.encode()) < 3_000_000
    content = Page(page).content
    assert (len(content["nodes"]), len(content["services"])) == (1000, 2000)


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node")
def test_the_script_is_well_formed(tmp_path: Path) -> None:
    script = tmp_path / "page.js"
    script.write_text(page_script(), encoding="utf-8")
    done = subprocess.run(["node", "--check", script], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
