"""What must be fast stays fast: the import list of a fresh process is watched, because it does not depend on the machine."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bench.generator.cluster import Options, make_cluster
from bench.generator.snapshot import write_snapshot

HEAVY = (
    "kubernetes",
    "paramiko",
    "rich",
    "pydantic",
    "pydantic_core",
    "tabulate",
    "yaml",
    "msgspec",
    "asyncio",
    "requests",
    "tomllib",
)


SNAPSHOT_ONLY = (
    *(name for name in HEAVY if name != "msgspec"),
    "click",
    "dataclasses",
    "difflib",
    "gzip",
    "hashlib",
    "importlib.resources",
    "inspect",
    "logging",
    "shutil",
    "subprocess",
    "tarfile",
    "tempfile",
    "threading",
    "typer",
    "typing_extensions",
    "kdiag.gather.api",
    "kdiag.gather.collect",
    "kdiag.gather.ssh_settings",
    "kdiag.gather.transports",
    "kdiag.pipeline.likeness",
    "kdiag.pipeline.live",
    "kdiag.pipeline.overview",
    "kdiag.pipeline.plan",
    "kdiag.pipeline.tracing",
    "kdiag.pipeline.watch",
    "kdiag.parse.iptables_format",
    "kdiag.parse.toml_document",
    "kdiag.model.overview",
    "kdiag.model.trace",
    "kdiag.render.text_facts",
    "kdiag.render.text_map",
    "kdiag.render.text_trace",
)
"""What no run of one family on one recorded node in a directory, without a log and without rules that nobody expects, needs."""

OTHER_MODES = (
    "kdiag.expect.ipvs_ways",
    "kdiag.expect.userspace_ways",
    "kdiag.model.nft",
    "kdiag.model.ipvs",
    "kdiag.parse.ipset_save",
    "kdiag.parse.iptables_list",
    "kdiag.parse.ipvsadm",
    "kdiag.parse.nft_cut",
    "kdiag.parse.nft_json",
    "kdiag.parse.nft_rest",
    "kdiag.parse.nft_text",
    "kdiag.parse.proc_ip_vs",
    "kdiag.parse.proxy_log",
    "kdiag.planes.ipvs_conditions",
    "kdiag.planes.nft_conditions",
    "kdiag.walk.nft_rules",
    "kdiag.walk.virtual_servers",
)
"""What a node in iptables mode does not need."""


_LIST_MODULES = "import atexit, sys; atexit.register(lambda: print('imported:', *sys.modules, file=sys.stderr)); "
"""`python -X importtime` leaves out what importlib.import_module imports."""


def imported(
    *arguments: str,
    program: str = "from kdiag.__main__ import main; sys.exit(main())",
    exit_code: int = 0,
    **environment: str,
) -> tuple[str, set[str]]:
    """Standard output, and the modules that were imported."""
    done = subprocess.run(
        [sys.executable, "-c", _LIST_MODULES + program, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )
    assert done.returncode == exit_code, done.stderr
    return done.stdout, set(done.stderr.rpartition("imported: ")[2].split())


@pytest.mark.parametrize(
    "arguments",
    [
        ("--help",),
        *(
            (command, "--help")
            for command in ("preflight", "check-rules", "trace", "flags", "collect", "doctor", "explain")
        ),
    ],
)
@pytest.mark.parametrize(("columns", "from_page"), [("80", True), ("100", True), ("90", False)])
def test_help_is_light(arguments: tuple[str, ...], columns: str, from_page: bool) -> None:
    out, modules = imported(*arguments, COLUMNS=columns)
    assert out.startswith("Usage: kdiag")
    assert not modules & set(HEAVY)
    assert ("typer" not in modules) is from_page


def test_version_needs_no_command_line() -> None:
    out, modules = imported("--version")
    assert re.fullmatch(r"kdiag \d+\.\d+\.\d+\n", out)
    assert not modules & {*HEAVY, "typer", "click"}


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("kdiag che", "check-rules"),
        ("kdiag trace --sna", "--snapshot"),
        ("kdiag preflight --fail-on w", "warning"),
        ("kdiag preflight -o sa", "sarif"),
        ("kdiag doctor --transport l", "local"),
        ("kdiag explain KD2", "KD201"),
        ("kdiag trace --demo --node c", "controlplane"),
    ],
)
def test_completion_is_light(typed: str, expected: str) -> None:
    out, modules = imported(
        # What kdiag runs in a process of its own, whose standard error goes nowhere.
        program="from kdiag.cli.fast_completion import answer; answer('complete_bash')",
        COMP_WORDS=typed,
        COMP_CWORD=str(len(typed.split()) - 1),
    )
    assert expected in out.split()
    assert not modules & {*HEAVY, "typer", "click", "kdiag.checks", "kdiag.cli.app"}


def test_console_script_points_at_main() -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import kdiag.__main__, sys; sys.argv = ['kdiag', 'nonsense']; sys.exit(kdiag.__main__.main())",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: there is no command nonsense\n")


# Made-up clusters are recorded without pods, so that every run of them has a gap: exit code 3.


@pytest.fixture(scope="module")
def iptables_cluster(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("cluster")
    write_snapshot(make_cluster(Options(services=60, endpoints=3, nodes=1)), directory)
    return directory


def test_rules_of_one_mode_need_nothing_of_the_others(iptables_cluster: Path) -> None:
    out, modules = imported("check-rules", "--snapshot", str(iptables_cluster), "-o", "json", exit_code=3)
    assert '"frontends_judged": 0' not in out
    assert not modules & {*SNAPSHOT_ONLY, *OTHER_MODES}
    # Of the checks, the commands and the formats, only those that were asked for.
    assert "kdiag.checks.stale_endpoint" in modules
    assert not modules & {"kdiag.checks.range_overlap", "kdiag.cli.preflight", "kdiag.cli.trace", "kdiag.render.text"}


@pytest.mark.parametrize("arguments", [("preflight",), ("trace", "svc/kube-system/kube-dns"), ("flags",)])
def test_other_commands_need_no_more_of_the_libraries(iptables_cluster: Path, arguments: tuple[str, ...]) -> None:
    """But for what lays out a table."""
    _, for_tables = imported(program="import tabulate")
    _, modules = imported(
        *arguments, "--snapshot", str(iptables_cluster), exit_code=3 if arguments[0] == "preflight" else 0
    )
    assert "kdiag.render.text" in modules
    assert not (modules & {name for name in SNAPSHOT_ONLY if not name.startswith("kdiag.")}) - for_tables


def test_diff_and_explain_need_no_more_of_them_either(tmp_path: Path) -> None:
    report, _ = imported("preflight", "--demo", "-o", "json", exit_code=1)
    (tmp_path / "report.json").write_text(report)
    for arguments in (("diff", str(tmp_path / "report.json"), str(tmp_path / "report.json")), ("explain", "KD201")):
        _, modules = imported(*arguments)
        assert not modules & {name for name in SNAPSHOT_ONLY if not name.startswith("kdiag.")}


def test_what_judges_nodes_is_for_nodes_that_are_judged(iptables_cluster: Path) -> None:
    _, modules = imported("preflight", "--no-nodes", "--snapshot", str(iptables_cluster), "-o", "json", exit_code=3)
    assert "kdiag.pipeline.viewing" in modules
    assert not modules & {
        "kdiag.expect",
        "kdiag.parse.iptables_save",
        "kdiag.pipeline.examining",
        "kdiag.pipeline.nodes",
        "kdiag.planes",
        "kdiag.walk.walker",
    }


def test_the_library_for_yaml_is_for_what_is_not_plain(iptables_cluster: Path, tmp_path: Path) -> None:
    copied = tmp_path / "copied"
    shutil.copytree(iptables_cluster, copied)
    _, modules = imported("check-rules", "--snapshot", str(copied), "-o", "json", exit_code=3)
    assert "yaml" not in modules
    maps = copied / "cluster" / "kube-system-configmaps.json"
    maps.write_text(maps.read_text().replace("mode: iptables", "mode: iptables # as ever"))
    _, modules = imported("check-rules", "--snapshot", str(copied), "-o", "json", exit_code=3)
    assert "yaml" in modules


def test_other_modes_are_imported_where_they_are(tmp_path: Path) -> None:
    write_snapshot(make_cluster(Options(services=20, endpoints=3, nodes=1, mode="nftables")), tmp_path)
    _, modules = imported("check-rules", "--snapshot", str(tmp_path), "-o", "json", exit_code=3)
    assert "kdiag.walk.nft_rules" in modules
    assert not modules & {"kdiag.walk.virtual_servers", "kdiag.planes.ipvs_conditions", "kdiag.parse.iptables_list"}
    assert not modules & {name for name in SNAPSHOT_ONLY if not name.startswith("kdiag.")}


def test_when_it_ends_nothing_is_looked_through_for_circles() -> None:
    script = """
import atexit, gc, sys
atexit.register(lambda: print(gc.get_freeze_count() > 0))
sys.argv = ["kdiag", "--version"]
from kdiag.__main__ import main
main()
"""
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert told.splitlines()[-1] == "True"
