"""The README's "First run on your cluster", word for word, by somebody who is root nowhere."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import kdiag
from tests.corpus_fixtures import cluster
from tests.lab.gathering import settled_state, without_counters
from tests.lab.nodes import USER, USER_ID, Lab, LabNode
from tests.lab.readme import readme_commands
from tests.live.api_double import ApiDouble, rbac_grants
from tests.live.certificates import Authority
from tests.live.fixtures import ApiServer

BASE = "v1.30.3-iptables-nft"


@dataclass(frozen=True)
class Person:
    """A user with a home directory: a kubeconfig, a key, known hosts, and kdiag in the PATH."""

    home: Path

    def types(self, line: str) -> subprocess.CompletedProcess[str]:
        """What a shell makes of a line."""
        environment = {
            "HOME": str(self.home),
            "USER": USER,
            "LOGNAME": USER,
            "PATH": f"{self.home}/bin:/usr/bin:/bin",
            "PYTHONPATH": str(self.home / "lib"),
            "LC_ALL": "C.UTF-8",
        }
        return subprocess.run(
            ["unshare", "--mount", "sh", "-c", AS_USER, "sh", line, str(USER_ID), *closed_python()],
            cwd=self.home,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )


# The line as a user. Where this Python lies below a directory that is closed to others, such as /root, the user sees a
# directory that holds nothing but this Python in its place.
AS_USER = r"""
set -e
line=$1 user=$2 closed=${3-}
shift 2
if [ -n "$closed" ]; then
  shift
  mount --bind "$closed" /mnt
  mount -t tmpfs -o mode=755 tmpfs "$closed"
  for directory; do
    mkdir -p "$directory"
    mount --bind "/mnt/${directory#"$closed/"}" "$directory"
  done
fi
exec setpriv --reuid "$user" --regid "$user" --clear-groups /bin/sh -c "$line"
"""


def closed_python() -> list[str]:
    """The directory that others may not enter and that this Python is in, and where it is in there."""
    for path in (Path(sys.base_prefix), Path(sys.prefix)):
        for directory in reversed(path.parents):
            if not directory.stat().st_mode & 0o001:
                inside = {item for item in (sys.base_prefix, sys.prefix) if Path(item).is_relative_to(directory)}
                return [str(directory), *sorted(inside)]
    return []


@pytest.fixture(params=["double", "real"])
def server(request: pytest.FixtureRequest, tmp_path: Path, recorded_nodes: list[LabNode]) -> Iterator[ApiServer]:
    """An API server, and on the nodes the rules that kube-proxy wrote for what it holds."""
    with contextlib.ExitStack() as stack:
        found: ApiServer
        if request.param == "real":
            found = request.getfixturevalue("real_api")
        else:
            found = stack.enter_context(ApiDouble(cluster(BASE), authority=Authority(tmp_path), grants=rbac_grants()))
            found.base = BASE
        for machine in recorded_nodes:
            rules = cluster(found.base).nodes[machine.node]["iptables-save"].text()
            machine.run("iptables-nft-restore", text=rules)
        yield found


@pytest.fixture
def person(lab: Lab, recorded_nodes: list[LabNode], server: ApiServer) -> Iterator[Person]:
    # pytest's own directories are closed to others.
    with tempfile.TemporaryDirectory(prefix="kdiag-first-run-") as directory:
        home = Path(directory)
        home.chmod(0o755)
        for name in ("bin", "lib", ".kube", ".ssh"):
            (home / name).mkdir()
        shutil.copytree(Path(kdiag.__file__).parent, home / "lib" / "kdiag")
        (home / "bin" / "kdiag").write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m kdiag "$@"\n')
        (home / "bin" / "kdiag").chmod(0o755)
        shutil.copy(lab.key, home / ".ssh" / "id_ed25519")
        (home / ".ssh" / "known_hosts").write_text(
            "".join(f"{machine.address} {machine.host_key()}\n" for machine in recorded_nodes)
        )
        server.kubeconfig(home / ".kube" / "config")
        for path in (home, *home.rglob("*")):
            os.chown(path, USER_ID, USER_ID)
        made = Person(home)
        version = made.types("kdiag --version")
        if version.returncode:
            pytest.skip(f"another user cannot run this Python: {version.stderr.strip()[-200:]}")
        yield made


def timeless(text: str) -> str:
    return re.sub(r"20\d\d-\d\d-\d\d[T ]\d\d:\d\d:\d\d( UTC|Z|\+00:00)", "TIME", text)


def test_word_for_word(person: Person, recorded_nodes: list[LabNode]) -> None:
    assert person.types("id -u").stdout.strip() == str(USER_ID)
    commands = readme_commands()
    assert [line.split()[1] for line in commands] == ["doctor", "preflight", "collect"]
    before = {machine.node: without_counters(machine.state()) for machine in recorded_nodes}
    doctor, preflight, collect = (person.types(line) for line in commands)

    assert (doctor.returncode, doctor.stderr) == (0, "")
    assert doctor.stdout.endswith("\nkdiag can do its work here\n")
    for machine in recorded_nodes:
        assert re.search(rf"^ok +node {machine.node} +logged in as {USER}, root by sudo$", doctor.stdout, re.MULTILINE)

    assert (collect.returncode, collect.stderr) == (0, "")
    assert collect.stdout.startswith("Wrote cluster.tar.gz: ")
    assert "Not in it" not in collect.stdout

    # No proxy runs on these nodes, and no pod: that is found. The rules are those of a healthy cluster.
    stored = person.types("kdiag preflight --snapshot cluster.tar.gz")
    assert timeless(preflight.stdout) == timeless(stored.stdout)
    assert (preflight.returncode, preflight.stderr) == (stored.returncode, "")
    rules = person.types("kdiag check-rules --fail-on info --snapshot cluster.tar.gz")
    assert (rules.returncode, rules.stderr) == (0, ""), rules.stdout
    assert "judged 3 of 3 nodes" in rules.stdout

    for machine in recorded_nodes:
        assert settled_state(machine, before[machine.node]) == before[machine.node]
