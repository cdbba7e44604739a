"""What nodes have alike is fetched once, and no change of a rule can hide in it."""

from __future__ import annotations

import shutil
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.generator.cluster import Options, make_cluster
from bench.generator.iptables import IptablesNodes
from kdiag.gather.dump_classes import Apart, put_together, take_apart
from kdiag.gather.fanout import gather_nodes
from kdiag.gather.script import Sudo, node_script
from kdiag.gather.transports.interface import NodeAddress, Output
from kdiag.gather.transports.local import LocalTransport
from tests.corpus_fixtures import cluster

FREE = ("KUBE-SERVICES", "KUBE-NODEPORTS")
RECORDED = [
    ("v1.36.2-iptables-nft", "node01", "iptables-save"),
    ("v1.36.2-iptables-nft", "controlplane", "iptables-save"),
    ("v1.30.3-iptables-nft", "node01", "iptables-save"),
    ("v1.30.3-iptables-nft-masqall", "node02", "iptables-save"),
    ("v1.20.2-iptables-legacy", "node01", "iptables-save"),
    ("dual-v1.36.2-iptables-nft", "node01", "ip6tables-save"),
    ("v1.36.2-ipvs-nft", "node01", "iptables-save"),
]
OPTIONS = Options(services=80, endpoints=4, nodes=3, affinity=0.2, node_port=0.4, load_balancer=0.5, local=0.5)


def recorded(name: str, node: str, probe: str) -> bytes:
    return cluster(name).nodes[node][probe].content


@pytest.fixture(scope="module")
def made_up() -> list[bytes]:
    """Dumps of three nodes of one cluster, with Services whose traffic stays on a node."""
    made = make_cluster(OPTIONS)
    nodes = IptablesNodes(made)
    return [nodes.dump(state).encode() for state in made.states]


def by_chain(dump: bytes) -> dict[tuple[str, str], list[str]]:
    """Rules by table and chain, in their order but where that is free; without counters."""
    table, chains = "", {}
    for line in dump.decode().splitlines():
        if line.startswith("*"):
            table = line
        elif line.startswith(":"):
            chains[table, line.split()[0][1:]] = [line.rpartition(" ")[0]]
        elif line.startswith("-A "):
            chains[table, line.split()[1]].append(line)
    for name in FREE:
        rules = chains.get(("*nat", name), [])
        last = rules[-1:] if name == "KUBE-SERVICES" else []
        chains["*nat", name] = [*sorted(rules[: len(rules) - len(last)]), *last]
    return chains


def identity(apart: Apart) -> tuple[bytes, str, str]:
    """What a node tells of its dump."""
    return apart.own, apart.ordered, apart.unordered


# What is the same and what is not


@pytest.mark.parametrize("which", RECORDED, ids=str)
def test_a_dump_is_its_own_and_the_rest(which: tuple[str, str, str]) -> None:
    dump = recorded(*which)
    apart = take_apart(dump)
    if apart.shareable:
        whole = put_together(apart.own, apart)
        assert whole is not None
        assert by_chain(whole) == by_chain(dump)
        assert list(by_chain(whole)) == list(by_chain(dump))
        assert identity(take_apart(whole)) == identity(apart)
    else:
        # kube-proxy up to 1.23 marks in KUBE-SERVICES itself, so that the order of these rules counts.
        assert which[0].startswith("v1.20.2") or "ipvs" in which[0]


def test_nodes_of_one_cluster_are_put_together_of_each_other(made_up: list[bytes]) -> None:
    aparts = [take_apart(dump) for dump in made_up]
    assert len({(apart.ordered, apart.unordered) for apart in aparts}) == 1
    assert len({apart.own for apart in aparts}) == 3
    for mine, dump in zip(aparts, made_up, strict=True):
        assert b"KUBE-SVL-" in mine.own
        for other in aparts:
            whole = put_together(mine.own, other)
            assert whole is not None
            assert by_chain(whole) == by_chain(dump)
            assert list(by_chain(whole)) == list(by_chain(dump))


@pytest.mark.parametrize("which", RECORDED, ids=str)
@pytest.mark.parametrize("edit", ["delete", "repeat", "change", "swap"])
def test_every_change_of_a_rule_is_told(which: tuple[str, str, str], edit: str) -> None:
    lines = recorded(*which).splitlines(keepends=True)
    before = identity(take_apart(b"".join(lines)))
    tried = 0
    in_nat = False
    for index, line in enumerate(lines):
        in_nat = line == b"*nat\n" if line.startswith(b"*") else in_nat
        if line.startswith(b"#") or (edit == "swap" and not line.startswith(b"-A ")):
            continue
        changed = list(lines)
        if edit == "delete":
            del changed[index]
        elif edit == "repeat":
            changed.insert(index, line)
        elif edit == "change":
            words = line.split(b" ")
            words[len(words) // 2] += b"x"
            changed[index] = b" ".join(words)
        else:
            following = lines[index + 1]
            chain = line.split(b" ")[1]
            if following.split(b" ")[1:2] != [chain] or following == line:
                continue
            changed[index : index + 2] = [following, line]
            free = in_nat and chain.decode() in FREE
            last = index + 2 == len(lines) or lines[index + 2].split(b" ")[1:2] != [chain]
            if free and not (last and chain == b"KUBE-SERVICES"):
                assert identity(take_apart(b"".join(changed))) == before
                continue
        tried += 1
        assert identity(take_apart(b"".join(changed))) != before, line
    assert tried > 5


def test_dates_and_counters_and_the_order_of_dispatch_are_not_told(made_up: list[bytes]) -> None:
    dump = made_up[0]
    other = dump.replace(b"2026", b"2027").replace(b":PREROUTING ACCEPT [0:0]", b":PREROUTING ACCEPT [5:6]")
    lines = other.splitlines(keepends=True)
    first = next(index for index, line in enumerate(lines) if line.startswith(b"-A KUBE-SERVICES -d 172"))
    lines[first : first + 2] = reversed(lines[first : first + 2])
    assert identity(take_apart(b"".join(lines))) == identity(take_apart(dump))


@pytest.mark.parametrize(
    "rule",
    [
        b'-A KUBE-SERVICES -d 172.16.1.7/32 -p tcp -m comment --comment "x" -m tcp --dport 80 -j KUBE-SVC-OTHER',
        b'-A KUBE-SERVICES -d 172.16.0.0/16 -p tcp -m comment --comment "x" -m tcp --dport 99 -j KUBE-SVC-OTHER',
        b"-A KUBE-SERVICES -p tcp -j ACCEPT",
        b"-A KUBE-NODEPORTS -p tcp -j ACCEPT",
        b'-A KUBE-NODEPORTS -p tcp -m comment --comment "x" -m tcp --dport 30000 -j KUBE-EXT-OTHER',
    ],
)
def test_rules_that_overlap_are_not_shared(rule: bytes, made_up: list[bytes]) -> None:
    dump = made_up[0]
    assert take_apart(dump).shareable
    chain = b"-A " + rule.split(b" ")[1] + b" "
    others, nat, rules = dump.partition(b"*nat\n")
    assert not take_apart(others + nat + rules.replace(chain, rule + b"\n" + chain, 1)).shareable


def test_a_dump_that_is_not_sorted_is_not_shared(made_up: list[bytes]) -> None:
    lines = made_up[0].splitlines(keepends=True)
    moved = [line for line in lines if line.startswith(b"-A KUBE-SEP-")][-2:]
    rest = [line for line in lines if line not in moved]
    place = next(index for index, line in enumerate(rest) if line.startswith(b"-A KUBE-SEP-"))
    assert not take_apart(b"".join([*rest[:place], *moved, *rest[place:]])).shareable


@pytest.mark.parametrize(
    "edit",
    [
        lambda own: own.removesuffix(b"\n"),
        lambda own: own.replace(b"*nat\n", b""),
        lambda own: own + own,
        lambda own: own.replace(b"*nat\n", b"*nat\nwhat is this\n"),
        lambda own: own.replace(b":KUBE-SERVICES - [0:0]\n", b""),
        lambda own: own.replace(b"-A KUBE-MARK-MASQ", b"-A KUBE-NOWHERE"),
    ],
)
def test_what_cannot_be_put_together_is_not(edit: Callable[[bytes], bytes], made_up: list[bytes]) -> None:
    apart = take_apart(made_up[0])
    assert put_together(edit(apart.own), apart) is None


def test_a_chain_that_is_partly_the_node_s_own_is_not_put_together(made_up: list[bytes]) -> None:
    apart = take_apart(made_up[0])
    name = apart.rules.split(b" ")[1]
    own = apart.own.replace(b"-A KUBE-MARK-MASQ", b"-A " + name + b" -j ACCEPT\n-A KUBE-MARK-MASQ")
    assert put_together(own, apart) is None


# With the script itself

NEEDED = ("awk", "sha256sum", "sort", "tee")


def script_digests(dump: bytes) -> bytes:
    if not all(shutil.which(program) for program in NEEDED):
        pytest.skip(f"needs {', '.join(NEEDED)}")
    body = node_script().split("\nmain\n")[0]
    done = subprocess.run(["sh", "-c", f"{body}\ndigests"], input=dump, capture_output=True, check=True)
    return done.stdout


@pytest.mark.parametrize("which", RECORDED, ids=str)
def test_the_script_comes_to_the_same(which: tuple[str, str, str]) -> None:
    dump = recorded(*which)
    apart = take_apart(dump)
    printed = script_digests(dump)
    assert printed.startswith(apart.own)
    assert sorted(printed[len(apart.own) :].decode().splitlines()) == [
        f"ordered={apart.ordered}",
        f"unordered={apart.unordered}",
    ]


def test_the_script_comes_to_the_same_for_a_swap_in_a_chain(made_up: list[bytes]) -> None:
    lines = made_up[0].splitlines(keepends=True)
    place = next(index for index, line in enumerate(lines) if b"-A KUBE-SVC-" in line and b"probability" in line)
    lines[place : place + 2] = reversed(lines[place : place + 2])
    swapped = b"".join(lines)
    assert script_digests(swapped) != script_digests(made_up[0])
    assert take_apart(swapped).ordered in script_digests(swapped).decode()


class Node:
    """A transport whose nodes are this host with programs of their own in front of the others."""

    def __init__(self, programs: dict[str, Path]) -> None:
        self._programs = programs
        self.sent: dict[str, int] = {}
        self.answers: dict[str, list[bytes]] = {}

    def run(
        self,
        address: NodeAddress,
        script: str,
        *,
        timeout_s: float,
        max_bytes: int,
        on_bytes: Callable[[int], None],
        answer: Callable[[bytes], bytes] | None = None,
    ) -> Output:
        assert answer is not None
        said = self.answers.setdefault(address.node, [])

        def note(block: bytes) -> bytes:
            words = answer(block)
            said.extend([words] if words else [])
            return words

        transport = LocalTransport(("env", f"PATH={self._programs[address.node]}", "/bin/sh"))
        # The kernel of this host may have no tables of its own.
        script = script.replace("legacy_tables() {", "legacy_tables() { return 0;")
        script = script.replace('PATH="$PATH:', 'PATH="$PATH" OTHER="')
        output = transport.run(
            address, script, timeout_s=timeout_s, max_bytes=max_bytes, on_bytes=on_bytes, answer=note
        )
        self.sent[address.node] = len(output.stdout)
        return output

    def close(self) -> None:
        pass


def programs(directory: Path, dump: bytes, *, without: tuple[str, ...] = (), status: int = 0) -> Path:
    """A directory of programs, among them an iptables-save that prints `dump`."""
    directory.mkdir()
    for place in ("/usr/bin", "/bin"):
        for file in Path(place).iterdir():
            if file.name not in without and not (directory / file.name).exists() and "tables" not in file.name:
                (directory / file.name).symlink_to(file)
    (directory / "dump").write_bytes(dump)
    for name, body in {
        "ip6tables-save": "true",
        "iptables": 'echo "iptables v1.8.9 (legacy)"',
        "iptables-save": f'cat "{directory}/dump"; echo oops >&2; exit {status}',
        "ip6tables": 'echo "ip6tables v1.8.9 (legacy)"',
    }.items():
        (directory / name).write_text(f"#!/bin/sh\n{body}\n")
        (directory / name).chmod(0o755)
    return directory


def gather(transport: Node, nodes: list[str]) -> dict[str, bytes]:
    found, gaps = gather_nodes(
        [NodeAddress(node=node, host="here") for node in nodes],
        transport,
        parallel=1,
        timeout_s=60,
        deadline_s=None,
        progress=None,
        sudo=Sudo.NEVER,
        cancelled=threading.Event(),
        asks=True,
    )
    assert [gap for gap in gaps if "ip6tables" not in gap.subject] == []
    assert all(found[node]["iptables-save"].stderr == "oops\n" for node in nodes)
    return {node: found[node]["iptables-save"].content for node in nodes}


@pytest.fixture
def linux() -> None:
    if not Path("/dev/fd").exists() or not all(shutil.which(program) for program in NEEDED):
        pytest.skip("needs Linux with coreutils and awk")


@pytest.mark.usefixtures("linux")
def test_a_dump_that_is_known_is_not_sent(tmp_path: Path, made_up: list[bytes]) -> None:
    wrong = made_up[2].replace(b":8080\n", b":8081\n", 1)
    dumps = {"a": made_up[0], "b": made_up[1], "like-a": made_up[0], "wrong": wrong}
    transport = Node({node: programs(tmp_path / node, dump) for node, dump in dumps.items()})
    found = gather(transport, list(dumps))
    assert found["a"] == made_up[0]
    assert by_chain(found["b"]) == by_chain(made_up[1])
    assert found["like-a"] is found["a"]
    assert found["wrong"] == wrong
    assert [said[0] for said in transport.answers.values()] == [b"send\n", b"done\n", b"done\n", b"send\n"]
    assert transport.sent["b"] < transport.sent["a"]


@pytest.mark.usefixtures("linux")
@pytest.mark.parametrize("program", NEEDED)
def test_a_node_that_lacks_a_program_sends_its_dump(program: str, tmp_path: Path, made_up: list[bytes]) -> None:
    transport = Node(
        {node: programs(tmp_path / node, made_up[0], without=(program, "gawk", "mawk")) for node in ("a", "b")}
    )
    assert gather(transport, ["a", "b"]) == {"a": made_up[0], "b": made_up[0]}
    assert transport.answers == {"a": [], "b": []}


@pytest.mark.usefixtures("linux")
def test_a_dump_that_failed_is_never_taken_from_another(tmp_path: Path, made_up: list[bytes]) -> None:
    transport = Node(
        {
            "a": programs(tmp_path / "a", made_up[0]),
            "b": programs(tmp_path / "b", made_up[0], status=3),
        }
    )
    assert gather(transport, ["a", "b"]) == {"a": made_up[0], "b": made_up[0]}
    assert transport.answers["b"][0] == b"send\n"
