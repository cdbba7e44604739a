"""The options of every command that can look at a live cluster, declared once, and what they come to."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from kdiag.cli.declared import Option, OptionGroup
from kdiag.cli.options import DEFAULT_SETTLE_S
from kdiag.errors import UsageError

if TYPE_CHECKING:
    from kdiag.gather.collect import Order
    from kdiag.gather.ssh_settings import SshSettings
    from kdiag.model.snapshot import Snapshot

CLUSTER_PANEL = "Live cluster"
NODE_PANEL = "Nodes of a live cluster"

DEFAULT_RETRIES = 2
DEFAULT_PARALLEL = 32
DEFAULT_NODE_TIMEOUT_S = 60.0


class TransportName(enum.StrEnum):
    """The values of `--transport`: the slugs of `kdiag.gather.transports.TRANSPORTS`."""

    SSH = "ssh"
    LOCAL = "local"


class AddressKind(enum.StrEnum):
    """The values of `--address-type`: those of `kdiag.gather.addressing.AddressType`."""

    INTERNAL_IP = "InternalIP"
    EXTERNAL_IP = "ExternalIP"
    HOSTNAME = "Hostname"


class SudoUse(enum.StrEnum):
    """The values of `--sudo`: those of `kdiag.gather.script.Sudo`."""

    AUTO = "auto"
    ALWAYS = "always"
    NEVER = "never"


class LiveOptions(OptionGroup):
    """How to get at a live cluster. Each field is an option; its default stands for not given."""

    kubeconfig: Annotated[
        Path | None,
        Option(
            "--kubeconfig",
            metavar="FILE",
            help="How to reach the API. Default: $KUBECONFIG, ~/.kube/config, or the pod's service account.",
            show_default=False,
            rich_help_panel=CLUSTER_PANEL,
        ),
    ] = None
    context: Annotated[
        str | None,
        Option(
            "--context",
            metavar="NAME",
            help="Context of the kubeconfig. Default: its current one.",
            show_default=False,
            complete="contexts",
            rich_help_panel=CLUSTER_PANEL,
        ),
    ] = None
    settle: Annotated[
        float,
        Option(
            "--settle",
            metavar="SECONDS",
            min=0,
            help="How long a proxy may lag behind the API before it is a fault.",
            rich_help_panel=CLUSTER_PANEL,
        ),
    ] = DEFAULT_SETTLE_S
    retries: Annotated[
        int,
        Option(
            "--retries",
            metavar="NUMBER",
            min=0,
            max=99,
            help="How often nodes are read again whose Services changed meanwhile.",
            rich_help_panel=CLUSTER_PANEL,
        ),
    ] = DEFAULT_RETRIES
    transport: Annotated[
        TransportName,
        Option(
            "--transport",
            help="How commands are run on nodes. local runs them on this host, for a node that kdiag runs on.",
            rich_help_panel=NODE_PANEL,
        ),
    ] = TransportName.SSH
    inventory: Annotated[
        Path | None,
        Option(
            "--inventory",
            metavar="FILE",
            help="YAML file that says where nodes are: NODE: [USER@]HOST[:PORT].",
            show_default=False,
            rich_help_panel=NODE_PANEL,
        ),
    ] = None
    address_type: Annotated[
        AddressKind,
        Option(
            "--address-type",
            help="Which address of a Node object to log in at.",
            rich_help_panel=NODE_PANEL,
        ),
    ] = AddressKind.INTERNAL_IP
    ssh_user: Annotated[
        str | None,
        Option(
            "--ssh-user",
            metavar="NAME",
            help="Whom to log in as. Default: as ~/.ssh/config says, or your name here.",
            show_default=False,
            rich_help_panel=NODE_PANEL,
        ),
    ] = None
    ssh_port: Annotated[
        int | None,
        Option(
            "--ssh-port",
            metavar="NUMBER",
            min=1,
            max=65535,
            help="Port of the nodes' SSH servers. Default: as ~/.ssh/config says, or 22.",
            show_default=False,
            rich_help_panel=NODE_PANEL,
        ),
    ] = None
    ssh_key: Annotated[
        Path | None,
        Option(
            "--ssh-key",
            metavar="FILE",
            help="Private key to log in with. Default: the agent's, and those that ssh would try.",
            show_default=False,
            rich_help_panel=NODE_PANEL,
        ),
    ] = None
    ssh_password_prompt: Annotated[
        bool,
        Option(
            "--ssh-password-prompt",
            help="Ask once for a password, for nodes that accept no key, or for the passphrase of the key.",
            rich_help_panel=NODE_PANEL,
        ),
    ] = False
    jump: Annotated[
        str | None,
        Option(
            "--jump",
            metavar="[USER@]HOST[:PORT]",
            help="Go through this host. Default: as ProxyJump in ~/.ssh/config says.",
            show_default=False,
            rich_help_panel=NODE_PANEL,
        ),
    ] = None
    accept_new_host_keys: Annotated[
        bool,
        Option(
            "--accept-new-host-keys",
            help="Write host keys that are not known yet into known_hosts. Changed ones are never accepted.",
            rich_help_panel=NODE_PANEL,
        ),
    ] = False
    sudo: Annotated[
        SudoUse,
        Option(
            "--sudo",
            help="Run commands that need root with sudo -n: if the user is not root (auto), always, or never.",
            rich_help_panel=NODE_PANEL,
        ),
    ] = SudoUse.AUTO
    parallel: Annotated[
        int,
        Option(
            "--parallel",
            metavar="NUMBER",
            min=1,
            max=512,
            help="How many nodes are read at once.",
            rich_help_panel=NODE_PANEL,
        ),
    ] = DEFAULT_PARALLEL
    node_timeout: Annotated[
        float,
        Option(
            "--node-timeout",
            metavar="SECONDS",
            min=0.1,
            help="When a node is given up. It gets more time while its rules are coming.",
            rich_help_panel=NODE_PANEL,
        ),
    ] = DEFAULT_NODE_TIMEOUT_S
    deadline: Annotated[
        float | None,
        Option(
            "--deadline",
            metavar="SECONDS",
            min=0.1,
            help="When all nodes that are not read yet are given up. Default: never.",
            show_default=False,
            rich_help_panel=NODE_PANEL,
        ),
    ] = None

    def given(self) -> tuple[str, ...]:
        """The options that have no meaning for a recorded cluster and were given all the same."""
        return tuple(
            f"--{name.replace('_', '-')}"
            for name, default in self.defaults().items()
            if name != "settle" and getattr(self, name) != default and not _is_setting(name)
        )


def _is_setting(parameter: str) -> bool:
    """Whether a value comes from a file or the environment: settings may stand there without being of any use."""
    import click  # has read the command line if there are settings

    context = click.get_current_context(silent=True)
    return context is not None and context.get_parameter_source(parameter) is click.core.ParameterSource.DEFAULT_MAP


LIVE: Mapping[str, type[OptionGroup]] = {"live": LiveOptions}
"""The group of options of a command that looks at live clusters (see Command)."""


def gather(
    live: LiveOptions,
    *,
    nodes: Sequence[str] = (),
    without_nodes: bool = False,
    from_files: Sequence[str] = (),
) -> Snapshot:
    """The live cluster as it is now. Shows on a terminal how far it is."""
    from kdiag.cli.progress import watch_for
    from kdiag.pipeline.live import gather_live

    return gather_live(
        order_of(live, nodes=nodes, without_nodes=without_nodes, from_files=from_files),
        kubeconfig=live.kubeconfig,
        context=live.context,
        retries=live.retries,
        watch=watch_for(),
    )


def order_of(
    live: LiveOptions, *, nodes: Sequence[str] = (), without_nodes: bool = False, from_files: Sequence[str] = ()
) -> Order:
    """What to gather. Asks for the password, if there is to be one and a node to log in to."""
    from kdiag.gather.addressing import AddressType
    from kdiag.gather.collect import Order
    from kdiag.gather.script import Sudo

    return Order(
        nodes=tuple(dict.fromkeys(nodes)),
        without_nodes=without_nodes,
        from_files=_files_by_node(from_files),
        transport=live.transport.value,
        ssh=_ssh_settings(live, ask=not without_nodes),
        inventory=live.inventory,
        address_type=AddressType(live.address_type.value),
        sudo=Sudo(live.sudo.value),
        parallel=live.parallel,
        timeout_s=live.node_timeout,
        deadline_s=live.deadline,
        settle_s=live.settle,
    )


def _ssh_settings(live: LiveOptions, *, ask: bool) -> SshSettings:
    from kdiag.gather.ssh_settings import SshSettings

    return SshSettings(
        user=live.ssh_user,
        port_number=live.ssh_port,
        key_file=None if live.ssh_key is None else str(live.ssh_key),
        jump=live.jump,
        accept_new_host_keys=live.accept_new_host_keys,
        password=_asked_password() if ask and live.ssh_password_prompt else None,
    )


def _asked_password() -> Callable[[], str]:
    """Asks now: later the threads of many nodes would, under a progress bar."""
    import getpass

    try:
        password = getpass.getpass("SSH password of the nodes, or passphrase of the key: ")
    except (EOFError, OSError):
        raise UsageError(
            "--ssh-password-prompt: there is no terminal to ask at", hint="use a key or the agent"
        ) from None
    return lambda: password


def _files_by_node(texts: Sequence[str]) -> dict[str, Path]:
    out: dict[str, Path] = {}
    for text in texts:
        node, _, file = text.partition("=")
        if not node or not file:
            raise UsageError(f"--from-file {text}: not NODE=FILE", hint="--from-file node01=node01.out")
        if node in out:
            raise UsageError(f"--from-file names {node} twice")
        out[node] = Path(file)
    return out
