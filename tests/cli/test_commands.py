"""The commands from end to end, on the demo and on recordings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from kdiag.render.json import DOCUMENTS, schema_text
from tests.cli.conftest import Kdiag

SCHEMAS: dict[str, Any] = {slug: json.loads(schema_text(slug, document)) for slug, document in DOCUMENTS}
JUDGING = ("preflight", "check-cidrs", "check-rules", "check-endpoints", "check-nodes")


def test_demo_shows_faults(kdiag: Kdiag) -> None:
    outcome = kdiag("preflight", "--demo")
    assert (outcome.code, outcome.err) == (1, "")
    lines = outcome.out.splitlines()
    assert lines[0].startswith("Cluster ")
    assert any(line.startswith("ERROR KD") for line in lines)
    assert "; judged " in lines[-1]


def test_same_snapshot_same_bytes(kdiag: Kdiag) -> None:
    for output in ("text", "json", "yaml"):
        assert kdiag("preflight", "--demo", "-o", output) == kdiag("preflight", "--demo", "-o", output)


@pytest.mark.parametrize("command", JUDGING)
def test_json_is_as_published(kdiag: Kdiag, command: str, faulty: Path) -> None:
    outcome = kdiag(command, "--snapshot", str(faulty), "-o", "json")
    assert outcome.err == ""
    document = json.loads(outcome.out)
    jsonschema.Draft202012Validator(SCHEMAS["report"]).validate(document)
    errors = document["summary"]["errors"]
    assert outcome.code == (1 if errors else 3 if document["summary"]["gaps_failed"] else 0)
    assert yaml.safe_load(kdiag(command, "--snapshot", str(faulty), "-o", "yaml").out) == document


@pytest.mark.parametrize(
    ("command", "family"),
    [("check-cidrs", "KD1"), ("check-rules", "KD2"), ("check-endpoints", "KD3"), ("check-nodes", "KD4")],
)
def test_a_command_reports_its_family_only(kdiag: Kdiag, command: str, family: str, faulty: Path) -> None:
    document = json.loads(kdiag(command, "--snapshot", str(faulty), "-o", "json").out)
    assert {finding["code"][:3] for finding in document["findings"]} <= {family}


def test_healthy_cluster(kdiag: Kdiag, healthy: Path) -> None:
    outcome = kdiag("check-rules", "--snapshot", str(healthy), "--fail-on", "info")
    assert (outcome.code, outcome.err) == (0, "")
    assert "0 errors, 0 warnings; judged 3 of 3 nodes" in outcome.out


def test_stale_node_is_found_on_that_node(kdiag: Kdiag, faulty: Path) -> None:
    outcome = kdiag("check-rules", "--snapshot", str(faulty))
    assert (outcome.code, outcome.err) == (1, "")
    assert "ERROR KD2" in outcome.out


def test_ignored_checks_do_not_count(kdiag: Kdiag, faulty: Path) -> None:
    codes = {
        finding["code"]
        for finding in json.loads(kdiag("preflight", "--snapshot", str(faulty), "-o", "json").out)["findings"]
    }
    assert codes
    document = json.loads(
        kdiag("preflight", "--snapshot", str(faulty), "-o", "json", "--ignore", ",".join(sorted(codes))).out
    )
    assert document["findings"] == []
    chosen = sorted(codes)[0]
    only = json.loads(kdiag("preflight", "--snapshot", str(faulty), "-o", "json", "--select", chosen).out)
    assert {finding["code"] for finding in only["findings"]} == {chosen}


def test_without_nodes_nothing_is_said_of_rules(kdiag: Kdiag, faulty: Path) -> None:
    document = json.loads(kdiag("preflight", "--snapshot", str(faulty), "--no-nodes", "-o", "json").out)
    assert document["summary"]["nodes_judged"] == 0
    assert document["summary"]["gaps_not_asked"] > 0
    assert not [finding for finding in document["findings"] if finding["code"].startswith("KD2")]


@pytest.mark.parametrize(
    ("arguments", "error", "hint"),
    [
        (["preflight", "default/local-clster"], "there is no Service default/local-clster", "local-cluster"),
        (["preflight", "--node", "node2"], "there is no node node2", "node02"),
        (["trace", "svc/local-clster"], "there is no Service default/local-clster", "local-cluster"),
        (["trace", "svc/local-cluster", "--node", "node2"], "there is no node node2", "node02"),
    ],
)
def test_unknown_names_are_errors_with_suggestions(
    kdiag: Kdiag, healthy: Path, arguments: list[str], error: str, hint: str
) -> None:
    outcome = kdiag(*arguments, "--snapshot", str(healthy))
    assert (outcome.code, outcome.out) == (2, "")
    lines = outcome.err.splitlines()
    assert lines[0] == f"error: {error}"
    assert hint in lines[1]


def test_no_such_snapshot(kdiag: Kdiag, tmp_path: Path) -> None:
    outcome = kdiag("preflight", "--snapshot", str(tmp_path / "nothing"))
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.startswith("error: ")
    assert "Traceback" not in outcome.err


@pytest.mark.parametrize("target", ["svc/local-cluster", "default/local-cluster", "10.101.67.139:80/TCP"])
def test_trace_of_a_service_that_works(kdiag: Kdiag, healthy: Path, target: str) -> None:
    outcome = kdiag("trace", target, "--snapshot", str(healthy), "--from", "pod/client", "--node", "node02")
    if outcome.code == 2:  # no pod of that name is recorded: any position will do
        outcome = kdiag("trace", target, "--snapshot", str(healthy), "--node", "node02")
    assert (outcome.code, outcome.err) == (0, "")
    assert "DNAT to 10.244.1.3:80" in outcome.out
    assert "jump KUBE-SVC-" in outcome.out
    assert "ok on " in outcome.out.splitlines()[-1]


def test_trace_as_json_is_as_published(kdiag: Kdiag, healthy: Path) -> None:
    outcome = kdiag("trace", "svc/local-cluster", "--snapshot", str(healthy), "-o", "json")
    assert (outcome.code, outcome.err) == (0, "")
    document = json.loads(outcome.out)
    jsonschema.Draft202012Validator(SCHEMAS["trace"]).validate(document)
    assert {verdict["verdict"] for verdict in document["verdicts"]} == {"ok"}
    assert {verdict["node"] for verdict in document["verdicts"]} == {"controlplane", "node01", "node02"}


def test_flags(kdiag: Kdiag, healthy: Path) -> None:
    outcome = kdiag("flags", "--snapshot", str(healthy))
    assert (outcome.code, outcome.err) == (0, "")
    assert "Service range" in outcome.out
    assert "10.96.0.0/12" in outcome.out
    document = json.loads(kdiag("flags", "--snapshot", str(healthy), "-o", "json").out)
    jsonschema.Draft202012Validator(SCHEMAS["flags"]).validate(document)
    ranges = {item["value"] for item in document["settings"] if item["kind"] == "service range"}
    assert ranges == {"10.96.0.0/12"}
