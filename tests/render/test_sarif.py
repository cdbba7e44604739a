from __future__ import annotations

import json
import re
from typing import Any

import jsonschema
import pytest
from msgspec.structs import replace

from kdiag.model.report import Evidence, Report
from kdiag.render.sarif import SARIF
from kdiag.render.style import Style
from tests.render.hostile import ACCEPTED, POISONED
from tests.render.samples import FLUSHED, HEALTHY, REPORT, STALE
from tests.schemas import published_schema

VALIDATOR = jsonschema.Draft4Validator(published_schema("sarif-2.1.0"))


def run_of(report: Report) -> Any:
    text = SARIF.report(report, Style(colour=True))
    assert text.isascii()
    log = json.loads(text)
    VALIDATOR.validate(log)
    (run,) = log["runs"]
    return run


@pytest.mark.parametrize("report", [REPORT, HEALTHY, POISONED, ACCEPTED])
def test_it_is_what_the_schema_says(report: Report) -> None:
    run = run_of(report)
    rules = run["tool"]["driver"]["rules"]
    assert [rule["id"] for rule in rules] == sorted({finding.code for finding in report.findings})
    assert len(run["results"]) == len(report.findings)
    for result in run["results"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
        # GitHub refuses results without a file.
        location = result["locations"][0]["physicalLocation"]["artifactLocation"]
        assert re.fullmatch(r"(?:[A-Za-z0-9._~/-]|%[0-9A-F]{2})+", location["uri"])
        assert location["uriBaseId"] in run["originalUriBaseIds"]
    assert SARIF.report(report, Style()) == SARIF.report(report, Style(width=60))


def test_the_schema_would_notice() -> None:
    log = json.loads(SARIF.report(REPORT, Style()))
    log["runs"][0]["results"][0]["level"] = "fatal"
    with pytest.raises(jsonschema.ValidationError):
        VALIDATOR.validate(log)


def test_a_result() -> None:
    result = run_of(REPORT)["results"][0]
    assert (result["ruleId"], result["level"]) == ("KD204", "error")
    text = result["message"]["text"]
    assert text.startswith("node02 default/local-cluster 80/TCP\nnode02 sends connections to 10.244.1.9:80")
    assert "Expected: 10.244.1.3:80\nActual: 10.244.1.9:80\nHint: Look" in text
    physical = result["locations"][0]["physicalLocation"]
    assert physical["artifactLocation"]["uri"] == "nodes/node02/iptables-save.txt"
    assert physical["region"]["startLine"] == 412
    related = result["relatedLocations"]
    assert [item["physicalLocation"] for item in related] == [
        {"artifactLocation": {"uri": "cluster/endpointslices-v1.json", "uriBaseId": "SNAPSHOT"}}
    ]
    assert result["properties"]["frontend"] == "10.101.67.139:80/TCP"
    assert "suppressions" not in result


def test_levels_and_places() -> None:
    results = run_of(REPORT)["results"]
    assert [result["level"] for result in results] == ["error", "warning", "error"]
    flushed = results[2]["locations"][0]
    assert flushed["physicalLocation"]["artifactLocation"]["uri"] == "manifest.json"
    names = [item["fullyQualifiedName"] for item in flushed["logicalLocations"]]
    assert names == ["node01", *(f"node01 default/web-{number:02}" for number in range(14))]
    assert "relatedLocations" not in results[2]


def test_gaps_are_notifications_and_failed_ones_spoil_the_run() -> None:
    (invocation,) = run_of(REPORT)["invocations"]
    assert invocation["executionSuccessful"] is False
    told = [(item["descriptor"]["id"], item["level"]) for item in invocation["toolExecutionNotifications"]]
    assert told == [("failed", "error"), ("not-applicable", "note"), ("not-asked", "note")]
    first = invocation["toolExecutionNotifications"][0]
    assert first["message"]["text"] == "iptables-save on node03, node04: connection refused; start sshd"
    assert [item["fullyQualifiedName"] for item in first["locations"][0]["logicalLocations"]] == ["node03", "node04"]
    known = {item["id"] for item in run_of(REPORT)["tool"]["driver"]["notifications"]}
    assert {slug for slug, _ in told} <= known
    (healthy,) = run_of(HEALTHY)["invocations"]
    assert healthy == {"executionSuccessful": True, "toolExecutionNotifications": []}


def test_accepted_is_suppressed_and_expired_is_not() -> None:
    run = run_of(ACCEPTED)
    accepted, _, expired = run["results"]
    assert accepted["suppressions"] == [
        {
            "kind": "external",
            "status": "accepted",
            "justification": "accepted by team-net until 2027-01-31: known since March",
        }
    ]
    assert "suppressions" not in expired
    assert "its acceptance by team-net ended on 2026-01-31" in expired["message"]["text"]
    assert run["invocations"][0]["toolExecutionNotifications"][-1]["message"]["text"] == (
        "no longer needed: KD301 default/old (line 7)"
    )


def fingerprint(report: Report) -> list[str]:
    return [result["partialFingerprints"]["primaryLocationLineHash"] for result in run_of(report)["results"]]


def test_fingerprints_are_of_the_place_not_of_the_words() -> None:
    moved = replace(STALE, message="other words", severity=FLUSHED.severity, evidence=(Evidence(source="x", line=9),))
    assert fingerprint(replace(HEALTHY, findings=(moved,))) == fingerprint(replace(HEALTHY, findings=(STALE,)))
    elsewhere = replace(STALE, node="node03")
    assert fingerprint(replace(HEALTHY, findings=(elsewhere,))) != fingerprint(replace(HEALTHY, findings=(STALE,)))
    first, second = fingerprint(replace(HEALTHY, findings=(STALE, STALE)))
    assert first.removesuffix(":1") == second.removesuffix(":2")
    assert first != second


def messages(value: Any) -> list[str]:
    """The text of every message object, wherever it is. Snippets are shown as they are."""
    if isinstance(value, dict):
        own = [value["text"]] if isinstance(value.get("text"), str) and set(value) == {"text"} else []
        return own + [text for key, item in value.items() if key != "snippet" for text in messages(item)]
    return [text for item in value for text in messages(item)] if isinstance(value, list) else []


def test_nothing_breaks_out() -> None:
    run = run_of(POISONED)
    assert len(messages(run["results"])) >= 5
    for message in messages(run):
        assert "](http" not in message  # would be a link
    text = SARIF.report(POISONED, Style())
    for raw in ("\\u001b", "\\u202e", "\\ud800", "\\u0000"):
        assert not re.search(r"(?<!\\)" + re.escape(raw), text)
    last = run["results"][0]["relatedLocations"][-1]["physicalLocation"]["artifactLocation"]
    assert last["uri"] == "a%20b/%C3%A4%3Ac.txt"
