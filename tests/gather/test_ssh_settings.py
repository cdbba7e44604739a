from __future__ import annotations

from pathlib import Path

import pytest

from kdiag.errors import UsageError
from kdiag.gather.ssh_settings import SshConfig, SshSettings, split_destination


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("LOGNAME", "me")
    (tmp_path / ".ssh").mkdir()
    return tmp_path


def configured(home: Path, text: str, settings: SshSettings | None = None) -> SshConfig:
    (home / ".ssh" / "config").write_text(text)
    return SshConfig(settings or SshSettings())


def test_defaults_are_those_of_openssh(home: Path) -> None:
    login = SshConfig(SshSettings()).login("10.0.0.1")
    assert (login.host, login.port_number, login.user, login.key_name) == ("10.0.0.1", 22, "me", "10.0.0.1")
    assert [file.name for file in login.key_files] == ["id_ed25519", "id_ecdsa", "id_rsa"]
    assert login.named_keys == 0
    assert login.use_agent
    assert login.jumps == ()
    assert login.proxy_command is None
    assert login.known_hosts[0] == home / ".ssh" / "known_hosts"
    assert Path("/etc/ssh/ssh_known_hosts") in login.known_hosts


def test_configuration_file(home: Path) -> None:
    text = """\
Host 10.0.0.*
  User ubuntu
  Port 2222
  IdentityFile ~/.ssh/nodes
  ProxyJump admin@bastion:2200, second
  UserKnownHostsFile ~/.ssh/nodes_known
  GlobalKnownHostsFile none
  ConnectTimeout 3
Host alias
  HostName 192.0.2.7
  HostKeyAlias node7
  ProxyCommand nc -x proxy %h %p
  IdentitiesOnly yes
  ProxyJump none
Host quiet
  IdentityAgent none
  ProxyCommand none
"""
    config = configured(home, text)
    login = config.login("10.0.0.9")
    assert (login.user, login.port_number, login.key_name) == ("ubuntu", 2222, "[10.0.0.9]:2222")
    assert login.key_files == (home / ".ssh" / "nodes",)
    assert login.named_keys == 1
    assert login.jumps == ("admin@bastion:2200", "second")
    assert login.known_hosts == (home / ".ssh" / "nodes_known",)
    assert login.connect_timeout_s == 3
    alias = config.login("alias")
    assert (alias.asked_host, alias.host, alias.key_name) == ("alias", "192.0.2.7", "node7")
    assert alias.proxy_command == "nc -x proxy 192.0.2.7 22"
    assert (alias.use_agent, alias.identities_only) == (True, True)
    assert not login.identities_only
    assert not config.login("quiet").use_agent
    assert config.login("quiet").proxy_command is None


def test_what_is_nearer_wins(home: Path) -> None:
    settings = SshSettings(user="ops", port_number=2200, key_file="~/key", jump="hop", known_hosts=(Path("/k"),))
    config = configured(home, "Host *\n  User ubuntu\n  Port 1\n  ProxyJump other\n  ProxyCommand x %p %r\n", settings)
    login = config.login("h")
    assert (login.user, login.port_number, login.jumps, login.proxy_command) == ("ops", 2200, ("hop",), None)
    assert login.key_files == (home / "key",)
    assert login.known_hosts == (Path("/k"),)
    nearer = config.login("h", user="root", port_number=22, key_file="/mine")
    assert (nearer.user, nearer.port_number, nearer.key_files) == ("root", 22, (Path("/mine"),))
    jump = config.login("hop", through_options=False)
    assert (jump.user, jump.port_number, jump.jumps) == ("ubuntu", 1, ("other",))
    without_jump = configured(home, "Host *\n  ProxyCommand x %p %r\n", SshSettings(user="ops", port_number=5))
    assert without_jump.login("h").proxy_command == "x 5 ops"


def test_included_files(home: Path) -> None:
    (home / ".ssh" / "conf.d").mkdir()
    (home / ".ssh" / "conf.d" / "one").write_text("Host a\n  User one\n")
    (home / ".ssh" / "conf.d" / "two").write_text("Include two\nHost b\n  User two\n")
    config = configured(home, "Include conf.d/*\nInclude 'unbalanced\nHost *\n  User rest\n")
    assert [config.login(host).user for host in "abc"] == ["one", "two", "rest"]


def test_other_configuration_file(home: Path) -> None:
    other = home / "other"
    other.write_text("Host *\n  User other\n")
    assert configured(home, "Host *\n  User mine\n", SshSettings(config_file=other)).login("h").user == "other"
    with pytest.raises(UsageError, match="there is no SSH configuration file"):
        SshConfig(SshSettings(config_file=home / "none"))


@pytest.mark.parametrize("text", ["Match host\n  User x\n", "Match 'host\n", "Host *\n  Port many\n", "nonsense\n"])
def test_configuration_that_cannot_be_followed(home: Path, text: str) -> None:
    with pytest.raises(UsageError) as caught:
        configured(home, text).login("h")
    assert caught.value.hint


def test_match_exec_is_never_run_and_is_told_where_it_matters(home: Path) -> None:
    config = configured(
        home,
        f"""\
Match originalhost 10.0.0.1 exec "touch {home}/ran"
  User sneaky
Match !exec "touch {home}/ran"
  ForwardAgent yes
Match tagged office host 10.0.0.2
  Port 2222
Match host 10.0.0.3 exec 'false'
  Port many
Match EXEC "touch {home}/ran"
  HostName elsewhere
Match user me host 10.0.0.*
  IdentityFile /known
""",
    )
    first, second, third = (config.login(f"10.0.0.{number}") for number in (1, 2, 3))
    assert not (home / "ran").exists()
    assert [(login.user, login.port_number) for login in (first, second, third)] == [("me", 22)] * 3
    assert first.key_files == (Path("/known"),)
    file = home / ".ssh" / "config"

    def places(remarks: tuple[str, ...]) -> list[str]:
        return [text.partition(" is left out: ")[0] for text in remarks]

    everywhere = f"{file}:9: 'Match EXEC \"touch {home}/ran\"'"
    assert places(first.remarks) == [
        f"{file}:1: 'Match originalhost 10.0.0.1 exec \"touch {home}/ran\"'",
        everywhere,
    ]
    assert places(second.remarks) == [f"{file}:5: 'Match tagged office host 10.0.0.2'", everywhere]
    assert places(third.remarks) == [f"{file}:7: \"Match host 10.0.0.3 exec 'false'\"", everywhere]
    assert "kdiag runs no command of an SSH configuration" in first.remarks[0]
    assert configured(home, "Match all\n  User x\nMatch canonical exec true\n  User y\n").login("h").remarks == ()


def test_left_out_block_in_an_included_file(home: Path) -> None:
    (home / ".ssh" / "more").write_text("Host *\n  User one\n\nMatch exec true\n  ProxyJump hop\n")
    login = configured(home, "Include more\n").login("h")
    assert (login.user, login.jumps) == ("one", ())
    assert login.remarks[0].startswith(f"{home}/.ssh/more:4: 'Match exec true' is left out")


def test_password_stays_out_of_the_settings_text() -> None:
    assert "password" not in repr(SshSettings(password=lambda: "correct horse"))


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("h", (None, "h", None)),
        ("u@h:22", ("u", "h", 22)),
        ("a@b@h", ("a@b", "h", None)),
        ("fd00::1", (None, "fd00::1", None)),
        ("u@[fd00::1]:2222", ("u", "fd00::1", 2222)),
        ("[fd00::1]", (None, "fd00::1", None)),
    ],
)
def test_destinations(text: str, parts: tuple[str | None, str, int | None]) -> None:
    assert split_destination(text) == parts


@pytest.mark.parametrize("text", ["", "@h", "h:", "h h", "h:0", "h:70000", "h:x", "[h"])
def test_destinations_that_are_none(text: str) -> None:
    with pytest.raises(UsageError):
        split_destination(text)
