"""Many nodes at once, over a transport that plays what nodes do."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable

import pytest

from kdiag.errors import UsageError
from kdiag.gather.fanout import gather_nodes
from kdiag.gather.script import Sudo
from kdiag.gather.transports.interface import FailureKind, NodeAddress, NodeFailure, Output
from kdiag.model.report import Gap, GapKind
from kdiag.model.snapshot import Recording


class Played:
    """A transport whose nodes do what their host says."""

    def __init__(self) -> None:
        self.running = 0
        self.most = 0
        self.scripts: list[str] = []
        self.lock = threading.Lock()

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
        with self.lock:
            self.running += 1
            self.most = max(self.most, self.running)
            self.scripts.append(script)
        try:
            return self._play(address.host, script, on_bytes)
        finally:
            with self.lock:
                self.running -= 1

    def close(self) -> None:
        pass

    def _play(self, host: str, script: str, on_bytes: Callable[[int], None]) -> Output:
        nonce = script.partition("nonce='")[2][:32]
        front = f"\nkdiag:{nonce}:stream:plain\n"
        dump = f"kdiag:{nonce}:begin:iptables-save.txt\n*nat\n\nkdiag:{nonce}:end:0\n\nkdiag:{nonce}:done\n"
        whole = f"{front}{dump}kdiag:{nonce}:rules\nkdiag:{nonce}:stop\n".encode()
        match host:
            case "well":
                time.sleep(0.05)
                on_bytes(len(whole))
                return Output(stdout=whole)
            case "remarked" | "remarked-cut":
                on_bytes(len(whole))
                stdout = whole if host == "remarked" else whole[:-10]
                return Output(stdout=stdout, remarks=("a block was left out", "and another"))
            case "cut":
                raise NodeFailure(FailureKind.CUT, "it was cut", hint="mend it", output=Output(stdout=whole[:120]))
            case "late-cut":
                raise NodeFailure(FailureKind.CUT, "it was cut", output=Output(stdout=whole[:-10]))
            case "refused":
                raise NodeFailure(FailureKind.REFUSED, "it refuses", hint="start it")
            case "misconfigured":
                raise UsageError("no such thing", hint="read the page")
            case "bug":
                raise RuntimeError("the password is swordfish")
            case "stubborn":
                time.sleep(30)
        while True:
            time.sleep(0.02)
            on_bytes(0)


class Told:
    """A progress that keeps what it is told."""

    def __init__(self) -> None:
        self.events: list[tuple[str, object]] = []

    def started(self, node: str) -> None:
        self.events.append(("started", node))

    def received(self, node: str, size_bytes: int) -> None:
        self.events.append(("received", node))

    def finished(self, node: str, *, failed: bool) -> None:
        self.events.append((f"finished {'badly' if failed else 'well'}", node))


def gather(
    *hosts: str,
    transport: Played | None = None,
    parallel: int = 4,
    deadline_s: float | None = None,
    progress: Told | None = None,
    cancelled: threading.Event | None = None,
    sudo: Sudo = Sudo.IF_NEEDED,
) -> tuple[dict[str, dict[str, Recording]], tuple[Gap, ...]]:
    return gather_nodes(
        [NodeAddress(node=f"n{number}-{host}", host=host) for number, host in enumerate(hosts)],
        transport or Played(),
        parallel=parallel,
        timeout_s=5,
        deadline_s=deadline_s,
        progress=progress,
        sudo=sudo,
        cancelled=cancelled or threading.Event(),
    )


def test_no_nodes() -> None:
    assert gather() == ({}, ())


def test_each_node_has_its_own_outcome() -> None:
    told = Told()
    recordings, gaps = gather(
        "well", "cut", "late-cut", "refused", "misconfigured", "bug", "well", parallel=3, progress=told
    )
    assert list(recordings) == ["n0-well", "n2-late-cut", "n6-well"]
    assert recordings["n0-well"]["iptables-save"].content == b"*nat\n"
    assert [(gap.node, gap.subject, gap.reason) for gap in gaps] == [
        ("n1-cut", "node", "it was cut while it read iptables-save; mend it"),
        ("n2-late-cut", "node", "it was cut"),
        ("n3-refused", "node", "it refuses; start it"),
        ("n4-misconfigured", "node", "no such thing; read the page"),
        ("n5-bug", "node", "reading it failed in an unforeseen way: RuntimeError; this is a bug in kdiag, report it"),
    ]
    assert ("received", "n0-well") in told.events
    assert ("finished well", "n2-late-cut") in told.events
    assert ("finished badly", "n5-bug") in told.events
    assert sum(event == "started" for event, _ in told.events) == 7


@pytest.mark.parametrize(("parallel", "most"), [(1, 1), (0, 1), (3, 3), (32, 6)])
def test_as_many_at_once_as_were_asked_for(parallel: int, most: int) -> None:
    transport = Played()
    recordings, gaps = gather(*["well"] * 6, transport=transport, parallel=parallel)
    assert len(recordings) == 6
    assert gaps == ()
    assert transport.most == most


def test_remark_on_several_nodes_is_one_gap() -> None:
    recordings, gaps = gather("remarked", "well", "remarked", "remarked-cut")
    assert len(recordings) == 4
    first, second, third = gaps
    assert (first.node, first.subject, first.reason) == (None, "the way to nodes", "a block was left out")
    assert first.kind is second.kind is GapKind.NOT_ASKED
    assert second.reason == "and another"
    assert third.node is not None
    assert third.kind is GapKind.FAILED


def test_every_node_has_its_own_nonce_and_the_settings() -> None:
    transport = Played()
    gather("well", "well", transport=transport, sudo=Sudo.NEVER)
    assert len({script.partition("nonce='")[2][:32] for script in transport.scripts}) == 2
    for script in transport.scripts:
        assert "use_sudo='never'\nwatch='yes'\nasks='no'\nonly='all'\n" in script
        assert "gzip'\n" in script


def test_deadline_ends_what_runs_and_what_waits() -> None:
    started = time.monotonic()
    recordings, gaps = gather("well", "slow", "slow", "slow", parallel=2, deadline_s=0.4)
    assert time.monotonic() - started < 3
    assert list(recordings) == ["n0-well"]
    assert {gap.reason.partition(";")[0] for gap in gaps} == {"it was not read before the total time was over"}
    assert len(gaps) == 3


def test_thread_that_does_not_come_back_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kdiag.gather.fanout._GRACE_S", 0.2)
    started = time.monotonic()
    recordings, gaps = gather("stubborn", "well", deadline_s=0.3)
    assert time.monotonic() - started < 5
    assert list(recordings) == ["n1-well"]
    assert gaps[0].node == "n0-stubborn"


def test_cancelled_before_it_began() -> None:
    cancelled = threading.Event()
    cancelled.set()
    transport = Played()
    recordings, gaps = gather("well", transport=transport, cancelled=cancelled)
    assert recordings == {}
    assert gaps[0].reason == "it was not read: the run was interrupted"
    assert transport.scripts == []


def test_control_c_keeps_what_is_there() -> None:
    cancelled = threading.Event()
    threading.Timer(0.5, signal.raise_signal, (signal.SIGINT,)).start()
    recordings, gaps = gather("well", "slow", cancelled=cancelled)
    assert cancelled.is_set()
    assert list(recordings) == ["n0-well"]
    assert gaps[0].reason == "it was not read: the run was interrupted"
