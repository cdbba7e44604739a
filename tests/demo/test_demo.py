"""The embedded demo cluster: it is what build_demo.py makes, holds nothing private, and shows its four faults and no others."""

from __future__ import annotations

import gzip
import re
import tarfile
from functools import cache
from pathlib import Path

import pytest

from kdiag import pipeline
from kdiag.cli.main import run
from kdiag.gather.snapshot_reader import demo_snapshot
from kdiag.model.report import Finding, Report, Severity
from kdiag.parse.chain_names import endpoint_hash, service_port_hash
from kdiag.parse.target import parse_trace_target
from kdiag.render.style import Style
from kdiag.render.text_report import report_text
from tests.corpus_fixtures import cluster
from tests.demo.build_demo import ARCHIVE, HIJACK, NODES, PROBES, RECORDING, TAKEN_AT, build
from tests.demo.rule_text import parse_dump, print_dump

README = ARCHIVE.parent / "README.md"
SIZE_LIMIT_BYTES = 120_000

PRIVATE = re.compile(
    rb"PRIVATE KEY|BEGIN CERTIFICATE|kind: Config\b|tokenFile|client-key-data|\"kind\": \"Secret|REDACTED|eyJ[\w-]{8,}\."
)
MACHINE_PATH = re.compile(rb"(?<![\w/])/(?:work|opt|home|root|tmp|mnt)/")


@cache
def _report() -> Report:
    return pipeline.diagnose(demo_snapshot(), pipeline.Scope())


def _finding(code: str) -> Finding:
    (found,) = (finding for finding in _report().findings if finding.code == code)
    return found


def _dump(node: str, probe: str = "iptables-save") -> str:
    return demo_snapshot().nodes[node][probe].text()


# The archive


def test_archive_is_fresh(tmp_path: Path) -> None:
    """`python -m tests.demo.build_demo` makes it. Inflated, as other versions of zlib pack otherwise."""
    build(tmp_path / "cluster.tar.gz")
    assert gzip.decompress((tmp_path / "cluster.tar.gz").read_bytes()) == gzip.decompress(ARCHIVE.read_bytes())


def test_same_bytes_every_time(tmp_path: Path) -> None:
    build(tmp_path / "a.tar.gz")
    build(tmp_path / "b.tar.gz")
    assert (tmp_path / "a.tar.gz").read_bytes() == (tmp_path / "b.tar.gz").read_bytes()


def test_archive_is_small() -> None:
    assert ARCHIVE.stat().st_size < SIZE_LIMIT_BYTES


def test_archive_holds_nothing_private() -> None:
    with tarfile.open(ARCHIVE) as archive:
        members = archive.getmembers()
        assert len(members) > 40
        for member in members:
            assert (member.uid, member.gid, member.uname, member.gname, member.mtime) == (0, 0, "", "", 0)
            file = archive.extractfile(member)
            assert file is not None, f"{member.name} is no file"
            content = file.read()
            assert not PRIVATE.search(content), member.name
            assert not MACHINE_PATH.search(content), member.name


def test_snapshot_is_whole() -> None:
    snapshot = demo_snapshot()
    assert (snapshot.name, snapshot.taken_at, snapshot.gaps) == ("demo", TAKEN_AT, ())
    assert tuple(snapshot.nodes) == NODES
    for node in NODES:
        assert tuple(snapshot.nodes[node]) == tuple(sorted(PROBES))


# The rules


@pytest.mark.parametrize("node", NODES)
@pytest.mark.parametrize("program", ["iptables-save", "ip6tables-save"])
def test_dumps_are_printed_as_iptables_prints_them(node: str, program: str) -> None:
    """Taken apart and put together again, the recorded dump is the same but for the times in its remarks."""

    def plain(text: str) -> list[str]:
        return [line.partition(" on Mon ")[0] for line in text.splitlines()]

    recorded = cluster(RECORDING).nodes[node][program].text()
    printed = print_dump(parse_dump(recorded), program=f"{program} v1.8.9 (nf_tables)", at=TAKEN_AT)
    assert plain(printed) == plain(recorded)
    assert "on Mon Nov 23 01:43:10 2026" in printed


@pytest.mark.parametrize("node", NODES)
def test_every_jump_leads_to_a_chain(node: str) -> None:
    standard = {"ACCEPT", "DROP", "REJECT", "RETURN", "MARK", "DNAT", "MASQUERADE"}
    for table in parse_dump(_dump(node)).values():
        rules = [rule for listed in table.rules.values() for rule in listed]
        targets = {rule.partition(" -j ")[2].split(" ")[0] for rule in rules if " -j " in rule}
        assert targets <= standard | set(table.declarations)
        used = {chain for chain in table.declarations if chain.startswith(("KUBE-SVC-", "KUBE-SEP-", "KUBE-EXT-"))}
        assert used <= targets


@pytest.mark.parametrize("node", ["controlplane", "node01"])
def test_new_rules_have_the_names_that_kube_proxy_gives(node: str) -> None:
    lines = _dump(node).splitlines()
    for service, address in (
        ("default/local-cluster", "10.244.2.77:80"),
        ("default/nodeport-wide", "10.244.2.77:80"),
        ("default/new-svc", "10.244.1.78:80"),
    ):
        service_chain = f"KUBE-SVC-{service_port_hash(service, '', 'TCP')}"
        endpoint_chain = f"KUBE-SEP-{endpoint_hash(service, '', 'TCP', address)}"
        bare = address.removesuffix(":80")
        expected = [
            f'-A {service_chain} -m comment --comment "{service} -> {address}" -j {endpoint_chain}',
            f'-A {endpoint_chain} -s {bare}/32 -m comment --comment "{service}" -j KUBE-MARK-MASQ',
            f'-A {endpoint_chain} -p tcp -m comment --comment "{service}" -m tcp -j DNAT --to-destination {address}',
        ]
        assert set(expected) <= set(lines)
    assert "web-admin" not in _dump(node)
    assert "10.244.1.3:" not in _dump(node)


def test_only_node02_is_behind() -> None:
    text = _dump("node02")
    assert "10.244.1.3:80" in text
    assert "default/web-admin" in text
    assert "new-svc" not in text
    assert "10.244.2.77" not in text


def test_foreign_rule_stands_before_kube_proxys() -> None:
    holders = [node for node in NODES if HIJACK in _dump(node)]
    assert holders == ["node01"]
    first, second, *_ = (line for line in _dump("node01").splitlines() if line.startswith("-A PREROUTING"))
    assert first == f"-A PREROUTING {HIJACK}"
    assert second.endswith("-j KUBE-SERVICES")


# What kdiag says of it


def test_findings_are_the_four_faults_and_what_follows() -> None:
    found = {
        (finding.code, finding.severity, finding.node, finding.service)
        for finding in _report().findings
        if finding.severity is not Severity.INFO
    }
    assert found == {
        ("KD101", Severity.WARNING, "node01", None),
        ("KD209", Severity.ERROR, "node01", "default/web"),
        ("KD223", Severity.ERROR, "node02", None),
        ("KD301", Severity.WARNING, None, "default/checkout"),
        ("KD402", Severity.ERROR, "node02", None),
    }
    assert _report().gaps == ()
    assert (_report().nodes_judged, _report().services_judged) == (3, 13)


def test_overlap_names_the_bridge() -> None:
    assert [item.text for item in _finding("KD101").evidence if item.source.startswith("nodes/node01/")] == [
        "docker0 has 10.244.64.1/18"
    ]


def test_hijack_names_the_rule() -> None:
    finding = _finding("KD209")
    lines = _dump("node01").splitlines()
    assert [(item.source, item.text) for item in finding.evidence] == [
        ("nodes/node01/iptables-save.txt", f"-A PREROUTING {HIJACK}")
    ]
    line = finding.evidence[0].line
    assert line is not None
    assert lines[line - 1] == f"-A PREROUTING {HIJACK}"


def test_stale_node_lists_what_changed() -> None:
    assert [(item.node, item.service) for item in _finding("KD223").affected] == [
        ("node02", "default/local-cluster"),
        ("node02", "default/new-svc"),
        ("node02", "default/nodeport-wide"),
        ("node02", "default/web-admin"),
    ]


def test_trace_of_local_cluster() -> None:
    found = pipeline.trace(demo_snapshot(), parse_trace_target("svc/local-cluster"), pipeline.Scope())
    verdicts = {node: {verdict.ok for verdict in found.verdicts if verdict.node == node} for node in NODES}
    assert verdicts == {"controlplane": {True}, "node01": {True}, "node02": {False}}
    assert found.walk is not None
    assert found.walk.node == "node02"


def test_trace_of_local_cluster_as_text(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["trace", "svc/local-cluster", "--demo"]) == 1
    out = " ".join(capsys.readouterr().out.split())
    assert "arrives at 10.244.1.3:80 (no pod has this address)" in out
    assert "BROKEN on node02 (1 of 3 nodes)" in out


def test_trace_of_a_healthy_service(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("three-eps", "sticky", "np-local", "lb-open", "lb-ranges", "node-exporter", "kubernetes"):
        assert run(["trace", f"svc/{name}", "--demo"]) == 0, name
        assert "BROKEN" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("command", "code", "word"),
    [
        ("preflight", 1, "3 errors, 2 warnings"),
        ("preflight --select KD1 --fail-on warning", 1, "KD101"),
        ("check-cidrs", 0, "KD101"),
        ("check-rules", 1, "KD209"),
        ("check-endpoints", 0, "KD301"),
        ("check-nodes", 1, "KD402"),
        ("flags", 0, "10.96.0.0/12"),
        ("trace svc/web --from pod/client", 1, "10.244.2.99:8080"),
    ],
)
def test_every_command_reads_the_demo(capsys: pytest.CaptureFixture[str], command: str, code: int, word: str) -> None:
    assert run([*command.split(), "--demo"]) == code
    captured = capsys.readouterr()
    assert word in captured.out
    assert captured.err == ""


# The story


def test_readme_tells_of_every_finding_and_object() -> None:
    text = README.read_text(encoding="utf-8")
    for finding in _report().findings:
        assert finding.code in text
    for word in ("10.244.1.3", "10.244.2.77", "default/new-svc", "default/web-admin", "docker0", "check-out", HIJACK):
        assert word in text


def test_the_readme_shows_what_the_demo_prints() -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    printed = report_text(pipeline.diagnose(demo_snapshot(), pipeline.Scope()), Style())
    assert printed in readme
