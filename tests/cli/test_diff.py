"""`kdiag diff` and `kdiag watch`."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema

from kdiag.render.diff_document import DIFF_DOCUMENTS
from kdiag.render.json import schema_text
from tests.cli.conftest import Kdiag
from tests.live.fixtures import DoubleFactory, NodesFactory


def test_snapshots_and_reports(kdiag: Kdiag, healthy: Path, faulty: Path, tmp_path: Path) -> None:
    worse = kdiag("diff", str(healthy), str(faulty), "-o", "json", "-o", f"markdown={tmp_path / 'diff.md'}")
    document = json.loads(worse.out)
    assert (worse.code, worse.err) == (1, "")
    jsonschema.Draft202012Validator(json.loads(schema_text(*DIFF_DOCUMENTS[0]))).validate(document)
    assert document["data_plane"]["nodes_compared"] == 3
    assert (tmp_path / "diff.md").read_text().startswith("### kdiag diff: ")
    for name, path in (("before", healthy), ("after", faulty)):
        kdiag("preflight", "--snapshot", str(path), "-o", f"json={tmp_path / name}.json")
    again = kdiag("diff", f"{tmp_path}/before.json", f"{tmp_path}/after.json", "-o", "json")
    reports = json.loads(again.out)
    assert again.code == 1
    assert reports["data_plane"] is None
    assert [item["code"] for item in reports["new"]] == [item["code"] for item in document["new"]]
    back = kdiag("diff", f"{tmp_path}/after.json", f"{tmp_path}/after.json")
    assert back.code == 0
    assert "0 new, 0 gone" in back.out


def test_what_is_no_report(kdiag: Kdiag, tmp_path: Path) -> None:
    for text, words in (("{}", "not a report of kdiag"), ("nonsense", "")):
        (tmp_path / "a.json").write_text(text)
        outcome = kdiag("diff", f"{tmp_path}/a.json", f"{tmp_path}/a.json")
        assert (outcome.code, outcome.out) == (2, "")
        assert words in outcome.err


def test_watch(kdiag: Kdiag, double: DoubleFactory, nodes: NodesFactory, tmp_path: Path) -> None:
    server = double()
    nodes()
    options = ("--kubeconfig", str(server.kubeconfig(tmp_path / "kubeconfig")), "--settle", "0", "--interval", "0")
    outcome = kdiag("watch", "--count", "2", "-o", "json", "--select", "KD301", *options)
    events = [json.loads(line) for line in outcome.out.splitlines()]
    assert (outcome.code, outcome.err) == (0, "")
    assert events[-1]["event"] == "summary"
    assert {item["run"] for item in events[:-1]} == {1}
    assert "finding-new" in {item["event"] for item in events}
    text = kdiag("watch", "--count", "1", "--no-nodes", "--select", "KD301", "--fail-on", "warning", *options)
    assert text.code == 1
    assert "+ WARNING KD301" in text.out
    assert "1 run, 0 failed" in text.out
