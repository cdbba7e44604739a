"""Settings from files and the environment, as commands take them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kdiag.cli.app import built_command
from kdiag.gather.settings_file import KEYS
from tests.cli.conftest import Kdiag

JUDGING = {"preflight", "check-cidrs", "check-rules", "check-endpoints", "check-nodes"}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def settings(text: str) -> None:
    Path("kdiag.toml").write_text(text)


def test_every_key_is_an_option_of_the_commands_that_judge() -> None:
    for slug in JUDGING:
        assert set(KEYS) <= {parameter.name for parameter in built_command(slug).params}


def test_precedence(kdiag: Kdiag, monkeypatch: pytest.MonkeyPatch) -> None:
    """The demo has warnings and no errors among its address ranges."""
    command = ("check-cidrs", "--demo")
    assert kdiag(*command).code == 0
    Path("pyproject.toml").write_text('[tool.kdiag]\nfail_on = "warning"\n')
    assert kdiag(*command).code == 1
    settings('fail_on = "error"\n')
    assert kdiag(*command).code == 0
    monkeypatch.setenv("KDIAG_FAIL_ON", "warning")
    assert kdiag(*command).code == 1
    assert kdiag(*command, "--fail-on", "error").code == 0
    monkeypatch.delenv("KDIAG_FAIL_ON")
    settings('fail_on = "warning"\n')
    assert kdiag(*command).code == 1
    assert kdiag(*command, "--no-config").code == 0
    Path("other.toml").write_text('fail_on = "error"\n')
    assert kdiag(*command, "--config", "other.toml").code == 0


def test_lists_and_outputs(kdiag: Kdiag) -> None:
    settings('output = ["text", "json=k.json"]\nignore = ["KD1"]\nreserved = ["10.244.0.0/20"]\nsettle = 12.5\n')
    outcome = kdiag("preflight", "--demo")
    assert outcome.out.startswith("Cluster demo")
    document = json.loads(Path("k.json").read_text())
    assert {finding["code"][:3] for finding in document["findings"]} & {"KD1", "KD2"} == {"KD2"}
    assert kdiag("preflight", "--demo", "-o", "yaml").out.startswith("schema:")
    assert kdiag("trace", "svc/web", "--demo").out
    assert kdiag("flags", "--demo", "-o", "json").code == 0


def test_settings_of_a_live_cluster_do_not_disturb_a_recorded_one(kdiag: Kdiag) -> None:
    settings('context = "prod"\nssh_user = "ubuntu"\nparallel = 4\n')
    assert kdiag("check-cidrs", "--demo").code == 0
    outcome = kdiag("check-cidrs", "--demo", "--jump", "x")
    assert outcome.err.startswith("error: --jump is for a live cluster, and --demo names a recorded one\n")


@pytest.mark.usefixtures("bare_environment")
def test_settings_reach_a_live_cluster(kdiag: Kdiag, here: Path) -> None:
    (here / "named.toml").write_text('kubeconfig = "admin.conf"\n')
    outcome = kdiag("check-cidrs", "--config", "named.toml")
    assert outcome.code == 2
    assert "admin.conf" in outcome.err


def test_a_baseline_beside_the_settings(kdiag: Kdiag, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / ".git").mkdir()
    (here / "sub").mkdir()
    kdiag("check-cidrs", "--demo", "--write-baseline", "b.toml")
    text = Path("b.toml").read_text()
    for key, value in (("reason", '"r"'), ("owner", '"o"'), ("expires", "9999-12-31")):
        text = text.replace(f'{key} = ""', f"{key} = {value}")
    Path("b.toml").write_text(text)
    settings('baseline = "b.toml"\nfail_on = "warning"\n')
    monkeypatch.chdir(here / "sub")
    outcome = kdiag("check-cidrs", "--demo")
    assert (outcome.code, outcome.err) == (0, "")
    assert "accepted; judged" in outcome.out


@pytest.mark.parametrize(
    ("text", "error", "hint"),
    [
        ('failon = "error"\n', "kdiag.toml:1: there is no setting 'failon'", "did you mean fail_on?"),
        ('fail_on = "fatal"\n', "kdiag.toml:1: fail_on: 'fatal' is not one of 'error', 'warning', 'info'", None),
        ("retries = 200\n", "kdiag.toml:1: retries: 200 is not in the range 0<=x<=99", None),
        ('output = "xml"\n', "kdiag.toml:1: output: 'xml' is not one of 'text', ", None),
        ("=\n", "kdiag.toml:1: not TOML: invalid statement, column 1", None),
    ],
)
def test_mistakes_name_the_line(kdiag: Kdiag, text: str, error: str, hint: str | None) -> None:
    settings(text)
    outcome = kdiag("check-cidrs", "--demo")
    assert (outcome.code, outcome.out) == (2, "")
    lines = outcome.err.splitlines()
    assert lines[0].startswith(f"error: {error}")
    if hint is not None:
        assert lines[1] == f"hint: {hint}"
    assert kdiag("check-cidrs", "--help").code == 0  # help works beside a broken file
    assert kdiag("explain").code == 0
    assert kdiag("check-cidrs", "--demo", "--no-config").code == 0


def test_mistakes_in_the_environment(kdiag: Kdiag, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KDIAG_RETRIES", "many")
    outcome = kdiag("check-cidrs", "--demo")
    assert outcome.err.splitlines()[0] == "error: KDIAG_RETRIES: retries: 'many' is not a valid integer range"
    monkeypatch.delenv("KDIAG_RETRIES")
    monkeypatch.setenv("KDIAG_FAILON", "error")
    outcome = kdiag("check-cidrs", "--demo")
    assert outcome.err == "error: there is no variable KDIAG_FAILON\nhint: did you mean KDIAG_FAIL_ON?\n"


def test_wrong_usage(kdiag: Kdiag) -> None:
    outcome = kdiag("check-cidrs", "--demo", "--config", "a", "--no-config")
    assert outcome.err == "error: --config and --no-config exclude each other\n"
    outcome = kdiag("check-cidrs", "--demo", "--config", "a.toml")
    assert outcome.err == "error: cannot read the settings file a.toml: No such file or directory\n"
