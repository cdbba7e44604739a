from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import jsonschema
import pytest
import yaml
from msgspec.structs import replace

from kdiag.model.facts import Facts
from kdiag.model.report import Report
from kdiag.model.trace import Trace
from kdiag.render import all_formats, format_named
from kdiag.render.interface import Format, not_made
from kdiag.render.json import DOCUMENTS, json_text, schema_text
from kdiag.render.style import Style
from tests.render.samples import FACTS, GOOD_BRANCH, HEALTHY, PODS, REPORT, TRACE

STYLE = Style()
JSON, YAML = format_named("json"), format_named("yaml")
SCHEMAS = {slug: json.loads(schema_text(slug, document_type)) for slug, document_type in DOCUMENTS}

ANSWERS: list[tuple[str, Callable[[Format], str]]] = [
    ("report", lambda form: form.report(REPORT, STYLE)),
    ("report", lambda form: form.report(HEALTHY, STYLE)),
    ("trace", lambda form: form.trace(TRACE, STYLE)),
    ("trace", lambda form: form.trace(replace(TRACE, walk=None, service_port=None, verdicts=()), STYLE)),
    ("flags", lambda form: form.facts(FACTS, STYLE)),
    ("flags", lambda form: form.facts(Facts(), STYLE)),
]


@pytest.mark.parametrize(
    "value",
    [{}, [], [[], {}], {"é": "\u202e\x00😀", "n": [1.5, 10**30, -0.0, None, True]}, {"half": "\ud800"}, "\udcff"],
    ids="object list empty-ones any half-a-pair stray-byte".split(),
)
def test_json_is_indented_as_python_does(value: object) -> None:
    assert json_text(value) == json.dumps(value, indent=2) + "\n"


@pytest.mark.parametrize(("slug", "answer"), ANSWERS)
class TestEveryFormat:
    """The contract of all formats."""

    def test_same_bytes_and_a_newline_at_the_end(self, slug: str, answer: Callable[[Format], str]) -> None:
        field = {"flags": "facts"}.get(slug, slug)
        able = [form for form in all_formats() if getattr(form, field) is not not_made]
        assert [form.slug for form in able][:3] == ["text", "json", "yaml"]
        for form in able:
            assert answer(form) == answer(form)
            assert answer(form).endswith("\n")

    def test_json_is_what_the_schema_says(self, slug: str, answer: Callable[[Format], str]) -> None:
        document = json.loads(answer(JSON))
        jsonschema.Draft202012Validator(SCHEMAS[slug]).validate(document)
        assert document["schema"] == f"kdiag/{slug}/v1"

    def test_yaml_is_the_same_document(self, slug: str, answer: Callable[[Format], str]) -> None:
        assert yaml.safe_load(answer(YAML)) == json.loads(answer(JSON))

    def test_machines_get_ascii(self, slug: str, answer: Callable[[Format], str]) -> None:
        assert answer(JSON).isascii()
        assert answer(YAML).isascii()


def test_formats_are_found_by_name() -> None:
    assert [form.slug for form in all_formats()][:7] == ["text", "json", "yaml", "junit", "sarif", "github", "markdown"]
    assert len({form.slug for form in all_formats()}) == len(all_formats())
    assert format_named("json") is JSON
    with pytest.raises(KeyError):
        format_named("xml")


def report_json(report: Report) -> Any:
    return json.loads(JSON.report(report, STYLE))


def trace_json(trace: Trace) -> Any:
    return json.loads(JSON.trace(trace, STYLE))


def test_report_has_the_promised_fields() -> None:
    document = report_json(REPORT)
    assert list(document) == ["schema", "cluster", "summary", "findings", "gaps", "baseline"]
    assert document["cluster"] == {
        "name": "three-nodes",
        "server_version": "v1.30.3",
        "taken_at": "2026-11-23T06:05:04Z",
        "proxy_modes": {"node01": "iptables", "node02": "iptables", "node03": "ipvs"},
    }
    assert document["summary"] == {
        "kdiag_version": "0.1.0",
        "errors": 2,
        "warnings": 1,
        "infos": 0,
        "accepted": 0,
        "gaps_failed": 2,
        "gaps_not_applicable": 1,
        "gaps_not_asked": 1,
        "nodes_known": 3,
        "nodes_judged": 2,
        "services_judged": 14,
        "frontends_judged": 41,
    }
    finding = document["findings"][0]
    assert " ".join(finding) == (
        "code slug severity title node service port frontend expected actual message hint affected evidence acceptance"
    )
    assert finding["evidence"][1] == {"source": "cluster/endpointslices-v1.json", "line": 0, "text": ""}
    assert finding["affected"] == [{"node": "node02", "service": "default/local-cluster", "port": "80/TCP"}]
    assert document["findings"][2]["service"] is None
    assert document["gaps"][2] == {
        "node": None,
        "subject": "kube-scheduler",
        "reason": "the control plane is managed",
        "kind": "not-applicable",
    }


def test_findings_keep_the_order_of_the_report() -> None:
    assert [finding["code"] for finding in report_json(REPORT)["findings"]] == ["KD204", "KD207", "KD202"]


def test_modes_are_sorted() -> None:
    backwards = replace(REPORT, modes=dict(sorted(REPORT.modes.items(), reverse=True)))
    assert JSON.report(backwards, STYLE) == JSON.report(REPORT, STYLE)


def test_trace_tells_walk_and_verdicts() -> None:
    document = trace_json(TRACE)
    assert [verdict["verdict"] for verdict in document["verdicts"]] == ["ok", "broken", "unknown"]
    assert document["service"] == "default/local-cluster"
    assert document["port_name"] == ""
    branch = document["walk"]["branches"][0]
    assert branch["clients"] == ["10.244.2.0/24"]
    assert branch["interfaces"] is None
    assert branch["backend"] == "10.244.1.3:80"
    assert branch["affinity_s"] == 10800
    assert branch["steps"][0]["evidence"]["line"] == 12
    assert branch["steps"][-1]["evidence"] is None


def test_interfaces_are_sorted_and_shares_are_within_bounds() -> None:
    assert TRACE.walk is not None
    clients = replace(PODS, interfaces=frozenset({"eth0", "", "cni0"}))
    branch = replace(GOOD_BRANCH, clients=clients, share=1.0000000002, fate=replace(GOOD_BRANCH.fate, backend=None))
    document = trace_json(replace(TRACE, walk=replace(TRACE.walk, branches=(branch,))))
    told = document["walk"]["branches"][0]
    assert told["interfaces"] == ["", "cni0", "eth0"]
    assert told["share"] == 1.0
    assert told["backend"] is None


def test_flags_tell_where_each_setting_stands() -> None:
    document = json.loads(JSON.facts(FACTS, STYLE))
    assert document["settings"][1] == {
        "kind": "service range",
        "component": "kube-apiserver",
        "value": "10.96.0.0/12",
        "node": "controlplane",
        "flag": "--service-cluster-ip-range",
        "source": "nodes/controlplane/ps-ef.txt",
        "line": 7,
    }


def test_schema_refuses_a_document_without_a_field() -> None:
    document = report_json(REPORT)
    del document["findings"][0]["hint"]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(SCHEMAS["report"]).validate(document)


def test_control_characters_survive_as_escapes() -> None:
    evil = "\x1b[2J\u202e\ud800"
    assert "\\u001b[2J\\u202e\\ud800" in JSON.report(replace(REPORT, cluster=evil), STYLE)
    assert (
        yaml.safe_load(YAML.report(replace(REPORT, cluster="\x1b[2J\u202e"), STYLE))["cluster"]["name"]
        == "\x1b[2J\u202e"
    )


def test_a_format_that_is_not_made_for_an_answer_says_so() -> None:
    with pytest.raises(TypeError, match="not made for Trace"):
        format_named("junit").trace(TRACE, STYLE)


def test_yaml_of_half_a_surrogate_pair_can_be_read() -> None:
    hostile = replace(REPORT, cluster="a\ud800b", modes={"n\udfff": "\ud83d\ude00"})
    read = yaml.safe_load(YAML.report(hostile, STYLE))["cluster"]
    assert read["name"] == "a\ufffdb"
    assert read["proxy_modes"] == {"n\ufffd": "\U0001f600"}
