"""Where each node is reached: from the addresses in its Node object, or from an inventory file."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from kdiag.errors import UsageError
from kdiag.gather.no_login import no_login_reason
from kdiag.gather.ssh_settings import split_destination
from kdiag.gather.transports.interface import NodeAddress
from kdiag.model.cluster import Node
from kdiag.model.report import Gap, GapKind

_INVENTORY_HINT = "write a YAML mapping of node names to `[user@]host[:port]`, or to host, user, port and key"
_FIELDS = frozenset({"host", "user", "port", "key"})


class AddressType(enum.StrEnum):
    """Which of a Node's addresses to use, spelled as in `status.addresses`."""

    INTERNAL_IP = "InternalIP"
    EXTERNAL_IP = "ExternalIP"
    HOSTNAME = "Hostname"


def node_addresses(
    nodes: Iterable[Node],
    *,
    address_type: AddressType = AddressType.INTERNAL_IP,
    inventory: Mapping[str, NodeAddress] | None = None,
) -> tuple[tuple[NodeAddress, ...], tuple[Gap, ...]]:
    """An address for each node, by name, and a gap for each that has none.

    A node in the inventory is reached as that says. Nodes that cannot be logged in to are a gap of the kind
    not-applicable. What the inventory has and the cluster has not is no node and left out.
    """
    found: list[NodeAddress] = []
    gaps: list[Gap] = []
    for node in sorted(nodes, key=lambda item: item.name):
        reason = no_login_reason(node)
        if reason is not None:
            gaps.append(Gap(node=node.name, subject="node", reason=reason, kind=GapKind.NOT_APPLICABLE))
            continue
        if inventory is not None and node.name in inventory:
            found.append(inventory[node.name])
            continue
        host = next((text for kind, text in node.addresses if kind == address_type and text), None)
        if host is None:
            others = sorted({kind for kind, text in node.addresses if text and kind in list(AddressType)})
            hint = f"use --address-type {others[0]}" if others else "name it in an inventory file"
            gaps.append(
                Gap(node=node.name, subject="node", reason=f"its Node object has no {address_type.value}; {hint}")
            )
            continue
        found.append(NodeAddress(node=node.name, host=host))
    return tuple(found), tuple(gaps)


def read_inventory(path: Path) -> dict[str, NodeAddress]:
    """The nodes in an inventory file, by name. Raises UsageError if it cannot be read or says something else.

    YAML (and so JSON): `node01: 192.0.2.11`, `node01: admin@192.0.2.11:2222`, or a mapping with `host`, `user`, `port`
    and `key` (the path of a private key), of which only `host` is needed.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read the inventory {path}: {error.strerror or error}", hint=_INVENTORY_HINT) from None
    except (yaml.YAMLError, ValueError, RecursionError):
        raise UsageError(f"the inventory {path} is not YAML", hint=_INVENTORY_HINT) from None
    if not isinstance(content, dict) or not content:
        raise UsageError(f"the inventory {path} names no nodes", hint=_INVENTORY_HINT)
    return {str(node): _address(path, str(node), entry) for node, entry in content.items()}


def _address(path: Path, node: str, entry: Any) -> NodeAddress:
    wrong = UsageError(f"the inventory {path} does not say where {node} is", hint=_INVENTORY_HINT)
    if isinstance(entry, str):
        user, host, port_number = split_destination(entry)
        return NodeAddress(node=node, host=host, user=user, port_number=port_number)
    if not isinstance(entry, dict) or not isinstance(entry.get("host"), str) or not entry["host"]:
        raise wrong
    unknown = sorted(str(key) for key in entry if key not in _FIELDS)
    if unknown:
        raise UsageError(f"the inventory {path} says {unknown[0]} of {node}, which is unknown", hint=_INVENTORY_HINT)
    port_number = entry.get("port")
    if port_number is not None and (
        not isinstance(port_number, int) or isinstance(port_number, bool) or not 0 < port_number < 65536
    ):
        raise UsageError(f"the inventory {path} gives {node} a port that is none", hint=_INVENTORY_HINT)
    for key in ("user", "key"):
        if entry.get(key) is not None and not isinstance(entry[key], str):
            raise wrong
    return NodeAddress(
        node=node, host=entry["host"], user=entry.get("user"), port_number=port_number, key_file=entry.get("key")
    )
