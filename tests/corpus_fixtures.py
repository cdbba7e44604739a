"""Recordings of real clusters for tests, and ways to bend them. What they are is told in tests/corpus/README.md."""

from __future__ import annotations

import atexit
import json
import tarfile
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from msgspec import structs

from kdiag.gather.snapshot_reader import read_snapshot
from kdiag.model.snapshot import Recording, Snapshot

_CORPUS = Path(__file__).parent / "corpus"

HEALTHY_IPTABLES = (
    "v1.20.2-iptables-nft",
    "v1.20.2-iptables-legacy",
    "v1.30.3-iptables-nft",
    "v1.30.3-iptables-nft-masqall",
    "v1.36.2-iptables-nft",
    "dual-v1.36.2-iptables-nft",
)
"""Clusters in iptables mode where every Service works."""

HEALTHY_NFTABLES = ("v1.36.2-nftables-nft", "dual-v1.36.2-nftables-nft")
"""Clusters in nftables mode where every Service works."""

HEALTHY_IPVS = ("v1.20.2-ipvs-nft", "v1.30.3-ipvs-nft", "v1.36.2-ipvs-nft")
"""Clusters in IPVS mode where every Service works; nothing was recorded from node controlplane."""

OTHER_MODES = ("v1.20.2-userspace-nft", *HEALTHY_IPVS, *HEALTHY_NFTABLES)
"""Healthy clusters whose kube-proxy runs in another mode."""

STOCK_GATES = "v1.20.2-userspace-nft-stockgates"
"""A cluster whose kube-proxy seems healthy and never programs a Service."""

HEALTHY_OVERLAYS = ("kubelet-docker-flannel-rules",)
"""Overlays, read by `fault`, that add foreign rules and break nothing."""

FAULTS = (
    "a-stale-node",
    "b-kube-services-flushed",
    "c-sep-dnat-deleted",
    "e-prerouting-jump-missing",
    "f-masquerade-missing",
    "g-empty-tables",
    "h-split-brain",
    "i-foreign-dnat-hijack",
    "j-probability-starves",
    "k-other-cluster-cidr",
    "n-nodeports-jump-missing",
    "s-wrong-port",
)
"""Faults of v1.20.2-iptables-nft."""

FAULTS_DUAL = (
    "v6-clusterip-rule-missing",
    "v6-no-ip6tables-binary",
    "v6-prerouting-jump-missing",
    "v6-stale-family",
    "v6-tables-empty",
)
"""Faults of dual-v1.36.2-iptables-nft."""

FAULTS_NFTABLES = ("nft-v6-dnat-wrong",)
"""Faults of dual-v1.36.2-nftables-nft."""

FAULTS_IPVS = (
    "address-missing-kube-ipvs0",
    "all-virtual-servers-cleared",
    "extra-address-kube-ipvs0",
    "ipset-cluster-ip-flushed",
    "mode-switch-leftovers",
    "nothing-programmed",
    "proxy-dead-rules-right",
    "real-server-deleted",
    "real-server-wrong-port",
    "stale-real-server",
)
"""Faults of v1.36.2-ipvs-nft. The proxy of the faulty node is dead in all but `mode-switch-leftovers`."""

NO_FAULTS_IPVS = ("00-no-fault", "weight0-graceful-termination")
"""Recorded like FAULTS_IPVS, with nothing wrong in them."""

_ARCHIVES = ("dual-v1.36.2", "v1.20.2", "v1.30.3", "v1.36.2")
_OVERLAY_DIRECTORIES = ("faults", "faults-dual", "faults-ipvs", "extras")


@cache
def cluster(name: str) -> Snapshot:
    """A recorded cluster."""
    return read_snapshot(_directory(name))


@cache
def fault(name: str) -> Snapshot:
    """A recorded fault: its files laid over those of its base, which may be a fault itself."""
    directory = _overlay_directory(name)
    description = fault_description(name)
    base_name = str(description["base"])
    if "cluster" in description:
        # `../stale-real-server/cluster`: it goes on from where that fault ends.
        base_name = f"faults-ipvs/{description['cluster'].split('/')[1]}"
    base = fault(base_name.rpartition("/")[2]) if "/" in base_name else cluster(base_name)
    over = read_snapshot(directory)
    return structs.replace(
        base,
        name=name,
        api={**base.api, **over.api},
        nodes={
            node: {**base.nodes.get(node, {}), **over.nodes.get(node, {})}
            for node in sorted({*base.nodes, *over.nodes})
        },
        gaps=(*base.gaps, *over.gaps),
    )


@cache
def fault_description(name: str) -> dict[str, Any]:
    """A fault's own fault.json (extra.json for HEALTHY_OVERLAYS): `base`, `faulty_node`, `commands`, `expected`."""
    directory = _overlay_directory(name)
    (path,) = (path for path in (directory / "fault.json", directory / "extra.json") if path.exists())
    description: dict[str, Any] = json.loads(path.read_bytes())
    return description


@cache
def ground_truth(name: str) -> dict[str, Any]:
    """Where packets really went: `v1.20.2-iptables-nft` or `v1.20.2-split-brain-and-nodeport-sockets`."""
    truth: dict[str, Any] = json.loads((_CORPUS / "ground-truth" / f"{name}.json").read_bytes())
    return truth


def variant(snapshot: Snapshot, *, node: str, probe: str, edit: Callable[[str], str]) -> Snapshot:
    """A copy with one probe's text edited. The edit must change something, or the test would prove nothing."""
    recording = snapshot.nodes[node][probe]
    edited = edit(recording.text())
    assert edited != recording.text(), f"the edit of {recording.source} changed nothing"
    probes = {**snapshot.nodes[node], probe: _with_content(recording, edited.encode())}
    return structs.replace(snapshot, nodes={**snapshot.nodes, node: probes})


def variant_api(snapshot: Snapshot, kind: str, edit: Callable[[dict[str, Any]], None]) -> Snapshot:
    """A copy with one API list edited in place by `edit`, which gets the decoded list. It must change something."""
    recording = snapshot.api[kind]
    listed: dict[str, Any] = json.loads(recording.content)
    before = json.dumps(listed)
    edit(listed)
    assert json.dumps(listed) != before, f"the edit of {recording.source} changed nothing"
    return structs.replace(
        snapshot, api={**snapshot.api, kind: _with_content(recording, json.dumps(listed, indent=1).encode())}
    )


def _with_content(recording: Recording, content: bytes) -> Recording:
    return recording.replaced(content=content)


@cache
def _root() -> Path:
    """A directory for unpacked recordings that goes with the process."""
    temporary = tempfile.TemporaryDirectory(prefix="kdiag-corpus-")
    atexit.register(temporary.cleanup)
    return Path(temporary.name)


@cache
def _unpacked(archive_name: str) -> None:
    with tarfile.open(_CORPUS / f"{archive_name}.tar.xz") as archive:
        archive.extractall(_root(), filter="data")


def _directory(name: str) -> Path:
    (archive_name,) = (prefix for prefix in _ARCHIVES if name.startswith(prefix))
    _unpacked(archive_name)
    return _root() / name


def _overlay_directory(name: str) -> Path:
    if name in (*FAULTS_DUAL, *FAULTS_NFTABLES):
        _unpacked("dual-v1.36.2")
    else:
        _unpacked("v1.36.2" if name in (*FAULTS_IPVS, *NO_FAULTS_IPVS) else "v1.20.2")
    (directory,) = (_root() / parent / name for parent in _OVERLAY_DIRECTORIES if (_root() / parent / name).is_dir())
    return directory
