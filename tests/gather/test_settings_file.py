from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from kdiag.errors import KdiagError, UsageError
from kdiag.gather.settings_file import KEYS, read_settings


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository below a directory that has settings, too."""
    (tmp_path / "kdiag.toml").write_text('context = "outside"\n')
    root = tmp_path / "repository"
    (root / ".git").mkdir(parents=True)
    (root / "a" / "b").mkdir(parents=True)
    monkeypatch.chdir(root)
    return root


def values(
    directory: Path,
    *,
    config: Path | None = None,
    without_files: bool = False,
    environment: Mapping[str, str] | None = None,
) -> dict[str, object]:
    found = read_settings(
        config=config, without_files=without_files, environment=environment or {}, directory=directory
    )
    return {setting.key: setting.value for setting in found}


def test_nothing_anywhere(repository: Path) -> None:
    assert values(repository / "a" / "b") == {}


def test_every_kind_of_value(repository: Path) -> None:
    (repository / "kdiag.toml").write_text(
        'fail_on = "warning"\nignore = ["KD4", "KD301"]\nreserved = "10.0.0.0/8"\nsettle = 10\nnode_timeout = 2.5\n'
        'retries = 1\nbaseline = "ci/base.toml"\nssh_key = "~/key"\noutput = ["text", "sarif=out/x", "json=-"]\n'
    )
    assert values(repository / "a") == {
        "output": ("text", f"sarif={repository}/out/x", "json=-"),
        "fail_on": "warning",
        "ignore": ("KD4", "KD301"),
        "reserved": ("10.0.0.0/8",),
        "baseline": str(repository / "ci/base.toml"),
        "settle": 10,
        "retries": 1,
        "ssh_key": str(Path("~/key").expanduser()),
        "node_timeout": 2.5,
    }


def test_the_nearest_file_counts_and_none_beyond_the_repository(repository: Path) -> None:
    (repository / "kdiag.toml").write_text('context = "root"\n')
    assert values(repository / "a" / "b") == {"context": "root"}
    (repository / "a" / "kdiag.toml").write_text('fail_on = "info"\n')
    assert values(repository / "a" / "b") == {"fail_on": "info"}


def test_outside_of_a_repository_only_here(tmp_path: Path, repository: Path) -> None:
    below = tmp_path / "other"
    below.mkdir()
    assert values(below) == {}
    assert values(tmp_path) == {"context": "outside"}


def test_which_place_wins(repository: Path) -> None:
    (repository / "pyproject.toml").write_text(
        '[project]\nname = "x"\n[tool.kdiag]\ncontext = "project"\nfail_on = "info"\nsettle = 3\n'
    )
    assert values(repository) == {"context": "project", "fail_on": "info", "settle": 3}
    (repository / "kdiag.toml").write_text('context = "file"\nfail_on = "warning"\n')
    environment = {"KDIAG_CONTEXT": "environment", "KDIAG_JUMP": "", "HOME": "/"}
    assert values(repository, environment=environment) == {
        "context": "environment",
        "fail_on": "warning",
        "settle": 3,
    }
    assert values(repository, environment=environment, without_files=True) == {"context": "environment"}


def test_a_project_without_a_table_is_passed_over(repository: Path) -> None:
    (repository / "a" / "pyproject.toml").write_text('[project]\nkeywords = ["tool.kdiag"]\n')
    (repository / "pyproject.toml").write_text('[tool.kdiag]\ncontext = "root"\n')
    assert values(repository / "a") == {"context": "root"}


def test_a_named_file_is_the_only_one(repository: Path, tmp_path: Path) -> None:
    (repository / "kdiag.toml").write_text('context = "found"\nsettle = 1\n')
    named = tmp_path / "named.toml"
    named.write_text('kubeconfig = "admin.conf"\naccept_new_host_keys = true\noutput = "json=/tmp/x.json"\n')
    told = {
        "output": ("json=/tmp/x.json",),
        "kubeconfig": str(tmp_path / "admin.conf"),
        "accept_new_host_keys": True,
    }
    assert values(repository, config=named) == told
    assert values(repository, environment={"KDIAG_CONFIG": str(named)}) == told
    assert values(repository, environment={"KDIAG_CONFIG": str(named)}, without_files=True) == {}
    project = tmp_path / "pyproject.toml"
    project.write_text("[tool.kdiag]\nretries = 0\n")
    assert values(repository, config=project) == {"retries": 0}


def test_the_environment_in_lists_and_paths(repository: Path) -> None:
    assert values(
        repository,
        environment={"KDIAG_OUTPUT": "text, sarif=a.sarif", "KDIAG_IGNORE": "KD4", "KDIAG_KUBECONFIG": "~/x"},
    ) == {
        "output": ("text", "sarif=a.sarif"),
        "ignore": ("KD4",),
        "kubeconfig": str(Path("~/x").expanduser()),
    }


def test_variables_of_others_are_left_alone(repository: Path) -> None:
    links = {
        "KDIAG_SERVICE_HOST": "10.96.0.9",
        "KDIAG_SERVICE_PORT": "80",
        "KDIAG_SERVICE_PORT_HTTP": "80",
        "KDIAG_PORT": "tcp://10.96.0.9:80",
        "KDIAG_PORT_80_TCP": "x",
        "KDIAG_PORT_80_TCP_PROTO": "tcp",
        "KDIAG_SSH_SERVICE_HOST": "x",
        "KDIAG_WHATEVER_IT_IS": "x",
    }
    assert values(repository, environment=links) == {}


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("\nfail-on = 'x'\n", "kdiag.toml:2: there is no setting 'fail-on'", "did you mean fail_on?"),
        (
            "[ssh]\nuser = 'x'\n",
            "kdiag.toml:1: there is no setting 'ssh'",
            "did you mean ssh_key, ssh_port or ssh_user?",
        ),
        ("zzz = 1\n", "kdiag.toml:1: there is no setting 'zzz'", f"the settings are {', '.join(KEYS)}"),
        ("fail_on = 1\n", "kdiag.toml:1: fail_on is not a text", 'fail_on is a text, as in key = "…"'),
        ('context = ""\n', "kdiag.toml:1: context is not a text", None),
        ("ignore = [1]\n", "kdiag.toml:1: ignore is not a list of texts", None),
        ("retries = 1.5\n", "kdiag.toml:1: retries is not a whole number", "retries is a whole number"),
        ("retries = true\n", "kdiag.toml:1: retries is not a whole number", None),
        ("settle = true\n", "kdiag.toml:1: settle is not a number", None),
        ('settle = "3"\n', "kdiag.toml:1: settle is not a number", None),
        ("output = []\nbaseline = 3\n", "kdiag.toml:2: baseline is not the path of a file", None),
        (
            'kubeconfig = "x"\n',
            "kdiag.toml:1: kubeconfig does not count in a file that was found: a kubeconfig can run programs",
            "name the file with --config kdiag.toml, or set KDIAG_KUBECONFIG",
        ),
        (
            "accept_new_host_keys = true\n",
            "kdiag.toml:1: accept_new_host_keys does not count in a file that was found: it decides whom to trust",
            None,
        ),
        ("a = \n", "kdiag.toml:1: not TOML: invalid value, column 5", None),
    ],
)
def test_mistakes_in_a_file(repository: Path, text: str, message: str, hint: str | None) -> None:
    (repository / "kdiag.toml").write_text(text)
    with pytest.raises(KdiagError) as caught:
        values(Path.cwd())
    shown = caught.value.message.replace(f"{repository}/", "")
    assert shown == message
    if hint is not None:
        assert caught.value.hint.replace(f"{repository}/", "") == hint


def test_a_flag_must_be_true_or_false(tmp_path: Path) -> None:
    named = tmp_path / "named.toml"
    named.write_text('accept_new_host_keys = "yes"\n')
    with pytest.raises(UsageError, match="accept_new_host_keys is not true or false"):
        values(tmp_path, config=named)


@pytest.mark.parametrize("target", ["/etc/x", "../x", "a/../../x", "~/x", "link/x"])
def test_a_found_file_writes_beside_itself_only(repository: Path, tmp_path: Path, target: str) -> None:
    (repository / "link").symlink_to(tmp_path)
    (repository / "kdiag.toml").write_text(f'output = ["json={target}"]\n')
    with pytest.raises(UsageError, match="writes outside of"):
        values(repository)
    assert values(repository, config=repository / "kdiag.toml")


def test_other_mistakes(repository: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--config and --no-config exclude each other"):
        values(repository, config=Path("x"), without_files=True)
    with pytest.raises(UsageError, match="cannot read the settings file"):
        values(repository, config=Path("x"))
    (repository / "pyproject.toml").write_text("[tool]\nkdiag = 3\n")
    with pytest.raises(UsageError, match=r"has no table \[tool.kdiag\]"):
        values(repository, config=repository / "pyproject.toml")
    with pytest.raises(UsageError) as caught:
        values(repository, environment={"KDIAG_FAILON": "x"})
    assert (caught.value.message, caught.value.hint) == (
        "there is no variable KDIAG_FAILON",
        "did you mean KDIAG_FAIL_ON?",
    )
