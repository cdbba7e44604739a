"""The plugin under a real kubectl, where there is one."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

KUBECTL = shutil.which("kubectl")
SCRIPTS = Path(sys.executable).parent

pytestmark = pytest.mark.skipif(KUBECTL is None, reason="there is no kubectl")


def kubectl(*arguments: str, path: Path = SCRIPTS) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PATH": f"{path}{os.pathsep}{os.environ['PATH']}", "KUBECONFIG": "/dev/null"}
    return subprocess.run(
        [KUBECTL or "", *arguments], env=environment, capture_output=True, text=True, check=False, timeout=60
    )


def minor_release() -> int:
    version = json.loads(kubectl("version", "--client", "-o", "json").stdout)["clientVersion"]
    return int(version["minor"].rstrip("+"))


def test_kubectl_finds_the_plugin() -> None:
    assert str(SCRIPTS / "kubectl-kdiag") in kubectl("plugin", "list").stdout.split()


def test_kubectl_runs_it_and_passes_on_options_and_exit_code() -> None:
    done = kubectl("kdiag", "-n", "default", "-o=json", "preflight", "--demo", "--select", "KD3", "checkout")
    assert done.returncode == 0
    assert [item["code"] for item in json.loads(done.stdout)["findings"]] == ["KD301"]
    assert kubectl("kdiag", "check-nodes", "--demo").returncode == 1
    done = kubectl("kdiag", "preflihgt")
    assert (done.returncode, done.stdout) == (2, "")
    assert "did you mean preflight" in done.stderr


def test_kubectl_completes_what_the_plugin_offers(tmp_path: Path) -> None:
    if minor_release() < 26:
        pytest.skip("kubectl asks plugins for completion from 1.26 on")
    # The script, but with time enough on the busiest machine.
    script = tmp_path / "kubectl_complete-kdiag"
    script.write_text(
        f"#!{sys.executable}\nimport sys\nfrom kdiag.cli import in_time, plugin\n"
        "in_time.DEADLINE_S = 60\nsys.exit(plugin.complete())\n"
    )
    script.chmod(0o755)
    (tmp_path / "kubectl-kdiag").symlink_to(SCRIPTS / "kubectl-kdiag")
    assert "preflight\tRun all checks." in kubectl("__complete", "kdiag", "pre", path=tmp_path).stdout.splitlines()
    found = kubectl("__complete", "kdiag", "preflight", "--demo", "-n", "", path=tmp_path).stdout.splitlines()
    assert found == ["default", "kube-system", ":4"]
