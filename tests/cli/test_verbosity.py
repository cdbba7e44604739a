from __future__ import annotations

from pathlib import Path

from kdiag.cli import log
from tests.cli.conftest import Kdiag
from tests.live.api_double import TOKEN
from tests.live.fixtures import DoubleFactory


def test_log_goes_to_stderr_and_changes_nothing_else(kdiag: Kdiag) -> None:
    quiet, more, most = (kdiag("preflight", "--demo", *words) for words in ([], ["-v"], ["-vv"]))
    assert quiet.err == ""
    assert quiet.out == more.out == most.out
    assert quiet.code == more.code == most.code == 1
    assert "read the demo cluster: 0." in more.err
    assert "KD223" not in more.err
    assert "KD223 stale-node: 0." in most.err
    assert not log.is_on()


def test_live_run_tells_what_is_read_and_no_secret(kdiag: Kdiag, double: DoubleFactory, tmp_path: Path) -> None:
    config = double().kubeconfig(tmp_path / "config")
    outcome = kdiag("check-endpoints", "-vv", "--retries", "0", "--settle", "0", "--kubeconfig", str(config))
    assert "gathering done" in outcome.err
    assert TOKEN not in outcome.err
    assert "Bearer" not in outcome.err
