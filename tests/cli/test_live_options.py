"""The options of live clusters: that they arrive where they should, and that their words are those of the registries."""

from __future__ import annotations

import getpass
from pathlib import Path

import pytest

from kdiag.cli import live
from kdiag.cli.app import built_command
from kdiag.cli.command import Command
from kdiag.cli.live import LIVE, AddressKind, LiveOptions, SudoUse, TransportName, order_of
from kdiag.errors import UsageError
from kdiag.gather.addressing import AddressType
from kdiag.gather.collect import Order
from kdiag.gather.script import Sudo
from kdiag.gather.transports import TRANSPORTS
from kdiag.pipeline.live import DEFAULT_RETRIES

LIVE_COMMANDS = (
    "preflight",
    "check-cidrs",
    "check-rules",
    "check-endpoints",
    "check-nodes",
    "trace",
    "flags",
    "collect",
    "doctor",
)


def test_words_are_those_of_the_registries() -> None:
    assert [item.value for item in TransportName] == [entry.slug for entry in TRANSPORTS]
    assert [item.value for item in AddressKind] == [item.value for item in AddressType]


def test_defaults_are_those_of_the_order() -> None:
    assert order_of(LiveOptions()) == Order()
    assert LiveOptions().retries == DEFAULT_RETRIES


def test_an_option_that_there_is_not() -> None:
    with pytest.raises(TypeError, match="no such option: ssh_usr"):
        LiveOptions(ssh_usr="joe")  # type: ignore[call-arg]


@pytest.mark.parametrize("command", LIVE_COMMANDS)
def test_every_command_has_them_under_their_headings(command: str) -> None:
    parameters = {item.name: item for item in built_command(command).params}
    for name in LiveOptions.defaults():
        assert getattr(parameters[name], "rich_help_panel", "") in (live.CLUSTER_PANEL, live.NODE_PANEL)
    assert getattr(parameters["color"], "rich_help_panel", "") is None


def test_everything_arrives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(getpass, "getpass", lambda prompt: "hush")
    order = order_of(
        LiveOptions(
            settle=7.0,
            transport=TransportName.LOCAL,
            inventory=Path("i.yaml"),
            address_type=AddressKind.HOSTNAME,
            ssh_user="joe",
            ssh_port=2222,
            ssh_key=Path("key"),
            ssh_password_prompt=True,
            jump="bastion",
            accept_new_host_keys=True,
            sudo=SudoUse.NEVER,
            parallel=3,
            node_timeout=4.0,
            deadline=5.0,
        ),
        nodes=["a", "b", "a"],
        from_files=["a=x=y"],
    )
    assert order.nodes == ("a", "b")
    assert order.from_files == {"a": Path("x=y")}
    assert (order.transport, order.inventory, order.address_type) == ("local", Path("i.yaml"), AddressType.HOSTNAME)
    assert (order.sudo, order.parallel, order.timeout_s, order.deadline_s, order.settle_s) == (
        Sudo.NEVER,
        3,
        4.0,
        5.0,
        7.0,
    )
    ssh = order.ssh
    assert (ssh.user, ssh.port_number, ssh.key_file, ssh.jump, ssh.accept_new_host_keys) == (
        "joe",
        2222,
        "key",
        "bastion",
        True,
    )
    assert ssh.password is not None
    assert ssh.password() == "hush"
    assert "hush" not in repr(order)


def test_no_password_is_asked_for_without_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    def asked(prompt: str) -> str:
        raise AssertionError("nobody is to be asked")

    monkeypatch.setattr(getpass, "getpass", asked)
    assert order_of(LiveOptions(ssh_password_prompt=True), without_nodes=True).ssh.password is None
    assert order_of(LiveOptions()).ssh.password is None


def test_nobody_there_to_be_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(prompt: str) -> str:
        raise EOFError

    monkeypatch.setattr(getpass, "getpass", gone)
    with pytest.raises(UsageError, match="no terminal to ask at"):
        order_of(LiveOptions(ssh_password_prompt=True))


def test_what_was_given() -> None:
    assert LiveOptions(settle=1.0).given() == ()
    assert LiveOptions(ssh_user="joe", deadline=3.0).given() == ("--ssh-user", "--deadline")


def test_they_come_as_one_value() -> None:
    def function(*, live: LiveOptions, color: str = "auto") -> int:
        return live.retries + len(color)

    command = Command(slug="x", summary="", details="", function=function, groups=LIVE)
    assert command.run({"retries": 5, "color": "abc"}) == 8
    assert command.run({}) == LiveOptions().retries + 4
