"""Which kube-proxy configuration is in force on a node, and which the cluster means: sources found and put in order."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from kdiag.errors import ParseError
from kdiag.model.cluster import ClusterState, Container, Node, Pod
from kdiag.model.host import HostFacts
from kdiag.model.proxy import ProxyConfig, Version, parse_version
from kdiag.model.report import Gap
from kdiag.model.snapshot import Recording
from kdiag.parse.flags import ComponentCommand, parse_command
from kdiag.parse.proxy_settings import config_of_command, parse_config_yaml, parse_configz, parse_proxy_argv, reads_file

__all__ = [
    "cluster_config_map",
    "cluster_proxy_config",
    "effective_config",
    "is_proxy_pod",
    "node_arguments",
    "parse_config_yaml",
    "parse_configz",
    "parse_proxy_argv",
    "proxy_command",
    "proxy_configs_of_node",
    "proxy_pod",
    "proxy_version",
]

_CONFIG_MAPS = (
    ("kube-proxy", ("config.conf", "config", "kube-proxy.conf")),
    ("kube-proxy-config", ("config", "config.conf")),
)
"""ConfigMaps in kube-system that hold the configuration: kubeadm's name and that of EKS, with their keys."""
_FILE_PROBES = ("kube-proxy-config", "kube-proxy-config.conf")
_NODE_ARGS = ("k3s.io/node-args", "rke2.io/node-args")
_PER_NODE_FIELDS = frozenset({"source", "hostname_override"})


def cluster_config_map(cluster: ClusterState) -> tuple[ProxyConfig | None, tuple[Gap, ...]]:
    """kube-proxy's ConfigMap; None if there is none or it says nothing. A ConfigMap that cannot be read is a gap."""
    maps = {item.meta.key.name: item for item in cluster.config_maps if item.meta.key.namespace == "kube-system"}
    gaps: list[Gap] = []
    for map_name, keys in _CONFIG_MAPS:
        text = (
            next((maps[map_name].data[key] for key in keys if key in maps[map_name].data), "")
            if map_name in maps
            else ""
        )
        source = f"ConfigMap kube-system/{map_name}"
        try:
            config = parse_config_yaml(text, source)
        except ParseError as error:
            gaps.append(Gap(subject=source, reason=error.message))
            continue
        if config is not None:
            return config, tuple(gaps)
    return None, tuple(gaps)


def proxy_configs_of_node(
    node_name: str, probes: Mapping[str, Recording], host: HostFacts, cluster: ClusterState
) -> tuple[tuple[ProxyConfig, ...], tuple[Gap, ...]]:
    """All readings of the configuration that one node's kube-proxy has, best first, and what could not be read.

    The order: its own /configz; its command line (of the process, else of its pod, else k3s' or RKE2's); the
    configuration file on the node; the ConfigMap. A kube-proxy that is seen to run without `--config` reads neither
    file nor ConfigMap, so these are then left out.
    """
    configs: list[ProxyConfig | None] = []
    gaps: list[Gap] = []

    def attempt(parser: Callable[[str, str], ProxyConfig | None], recording: Recording) -> None:
        try:
            configs.append(parser(recording.text(), recording.source))
        except ParseError as error:
            gaps.append(Gap(node=node_name, subject=recording.source, reason=error.message))

    if "configz" in probes:
        attempt(parse_configz, probes["configz"])
    command, source = proxy_command(node_name, host, cluster)
    if command is not None:
        configs.append(config_of_command(command, source))
    from_file = command is None or reads_file(command.embedded("kube-proxy") if command.all_in_one else command)
    if from_file:
        for probe in _FILE_PROBES:
            if probe in probes:
                attempt(parse_config_yaml, probes[probe])
        configs.append(cluster_config_map(cluster)[0])
    return tuple(config for config in configs if config is not None), tuple(gaps)


def proxy_command(node_name: str, host: HostFacts, cluster: ClusterState) -> tuple[ComponentCommand | None, str]:
    """The command line of the node's kube-proxy and where it stands; None if none is seen."""
    commands = [(parse_command(process.argv), process.source) for process in host.processes or ()]
    for command, source in commands:
        if command is not None and command.component == "kube-proxy":
            return command, source
    pod = proxy_pod(node_name, cluster)
    for container in pod.containers if pod is not None else ():
        command = parse_command(container.command)
        if pod is not None and command is not None and command.component == "kube-proxy":
            return command, f"pod {pod.key}"
    node = cluster.node_by_name.get(node_name)
    for command, source in [*node_arguments(node), *commands]:
        if command is not None and command.all_in_one:
            return _with_cluster_cidr(command, cluster), source
    return None, ""


def node_arguments(node: Node | None) -> tuple[tuple[ComponentCommand, str], ...]:
    """The command line in the annotation that k3s and RKE2 write on their Node, configuration file included."""
    out: list[tuple[ComponentCommand, str]] = []
    for annotation in _NODE_ARGS:
        text = node.meta.annotations.get(annotation) if node is not None else None
        if node is None or text is None:
            continue
        try:
            words = json.loads(text)
        except (ValueError, RecursionError):
            continue
        if isinstance(words, list):
            product = annotation.partition(".")[0]
            command = parse_command([product, *(str(word) for word in words)])
            if command is not None:
                out.append((command, f"annotation {annotation} of node {node.name}"))
    return tuple(out)


def _with_cluster_cidr(command: ComponentCommand, cluster: ClusterState) -> ComponentCommand:
    """An agent takes the cluster CIDR from its server, so it is read from the servers' arguments."""
    if command.flag("cluster-cidr") is not None:
        return command
    for node in sorted(cluster.nodes, key=lambda item: item.name):
        for other, _ in node_arguments(node):
            stated = other.flag("cluster-cidr")
            if stated is not None:
                return replace(command, flags=(*command.flags, ("cluster-cidr", stated)))
    return command


def proxy_pod(node_name: str, cluster: ClusterState) -> Pod | None:
    """The kube-proxy pod bound to a node: a running one before any other, then by name."""
    pods = [pod for pod in cluster.pods_by_node.get(node_name, ()) if is_proxy_pod(pod)]
    return min(pods, key=lambda pod: (pod.phase != "Running", pod.meta.deleted_at is not None, pod.key), default=None)


def is_proxy_pod(pod: Pod) -> bool:
    """True for a pod of kube-proxy, by its container or by the label that kubeadm, EKS and static pods give it."""
    return _proxy_container(pod.containers) is not None


def _proxy_container(containers: Sequence[Container]) -> Container | None:
    for container in containers:
        command = parse_command(container.command)
        if command is not None:
            if command.component == "kube-proxy":
                return container
        elif container.name == "kube-proxy":
            return container
    return None


def effective_config(configs: Sequence[ProxyConfig]) -> ProxyConfig | None:
    """One configuration out of several readings, best first: each field from the first that states it.

    The mode and its text come from one reading. Feature gates of all readings are joined, the better one winning. The
    source is that of the best reading. None without a reading.
    """
    if len(configs) < 2:
        return configs[0] if configs else None
    values: dict[str, Any] = {}
    for config in reversed(configs):
        for name in ProxyConfig.__struct_fields__:
            value = getattr(config, name)
            if name == "feature_gates":
                values[name] = {**values.get(name, {}), **value}
            elif name == "mode":
                if config.mode_text is not None or value is not None:
                    values[name] = value
            elif value is not None:
                values[name] = value
    return ProxyConfig(**values)


def cluster_proxy_config(
    cluster: ClusterState, node_configs: Mapping[str, ProxyConfig | None] | Iterable[ProxyConfig | None]
) -> ProxyConfig | None:
    """kube-proxy's configuration as the cluster states it: its ConfigMap, completed by what most nodes run with.

    `node_configs` are the effective configurations of the nodes. A field that the ConfigMap does not state is that of
    the majority of the nodes that state it (of equals, the first in the order of their text). What belongs to one node
    (hostname override) is left out. None if nothing says anything.
    """
    found = node_configs.values() if isinstance(node_configs, Mapping) else node_configs
    nodes = [config for config in found if config is not None]
    stated, _ = cluster_config_map(cluster)
    majority = _majority(nodes)
    parts = [replace(part, hostname_override=None) for part in (stated, majority) if part is not None]
    return effective_config(parts)


def _majority(configs: Sequence[ProxyConfig]) -> ProxyConfig | None:
    if not configs:
        return None
    values: dict[str, Any] = {"source": f"what most of {len(configs)} nodes run with"}
    # Of most nodes nothing is known but the ConfigMap, which is one object.
    times = Counter(map(id, configs))
    distinct = [(config, times[key]) for key, config in {id(config): config for config in configs}.items()]
    modes = [((config.mode, config.mode_text), nodes) for config, nodes in distinct if config.mode_text is not None]
    if modes:
        values["mode"], values["mode_text"] = _most_common(modes)
    for name in ProxyConfig.__struct_fields__:
        if name in _PER_NODE_FIELDS or name in ("mode", "mode_text"):
            continue
        if name == "feature_gates":
            chosen = _most_common([(tuple(sorted(config.feature_gates.items())), nodes) for config, nodes in distinct])
            values[name] = dict(chosen)
            continue
        said = [(value, nodes) for config, nodes in distinct if (value := getattr(config, name)) is not None]
        if said:
            values[name] = _most_common(said)
    return ProxyConfig(**values)


def _most_common(values: Iterable[tuple[Any, int]]) -> Any:
    """Of values, each with how many nodes have it, that of most nodes."""
    counts: Counter[Any] = Counter()
    for value, nodes in values:
        counts[value] += nodes
    return min(counts, key=lambda value: (-counts[value], repr(value)))


def proxy_version(node_name: str, host: HostFacts, cluster: ClusterState) -> tuple[Version | None, str]:
    """The minor release of a node's kube-proxy, and the name of what shows it; (None, "") if nothing does.

    Best first: the version line of its log, the image of its pod on the node, the image of the DaemonSet, and for k3s
    and RKE2 the kubelet's version (one binary holds both). nodeInfo.kubeProxyVersion is not looked at: the kubelet
    puts its own version there.
    """
    if host.log is not None:
        logged = parse_version(host.log.version)
        if logged is not None:
            return logged, host.log.source
    pod = proxy_pod(node_name, cluster)
    container = _proxy_container(pod.containers) if pod is not None else None
    version = _image_version(container)
    if pod is not None and container is not None and version is not None:
        return version, f"image {container.image} of pod {pod.key}"
    node = cluster.node_by_name.get(node_name)
    product = _all_in_one_product(node, host)
    if product is not None and node is not None and pod is None:
        kubelet = parse_version(node.kubelet_version)
        if kubelet is not None:
            return kubelet, f"kubelet {node.kubelet_version} of node {node_name} ({product} is one binary)"
    for daemon_set in sorted(cluster.daemon_sets, key=lambda item: item.meta.key):
        container = _proxy_container(daemon_set.containers)
        version = _image_version(container)
        if container is not None and version is not None and (node is None or node.os == "linux"):
            return version, f"image {container.image} of DaemonSet {daemon_set.meta.key}"
    return None, ""


def _image_version(container: Container | None) -> Version | None:
    """The version in an image's tag: `registry:5000/kube-proxy-amd64:v1.30.3-eksbuild.1@sha256:…`."""
    if container is None:
        return None
    last = container.image.partition("@")[0].rpartition("/")[2]
    return parse_version(last.partition(":")[2])


def _all_in_one_product(node: Node | None, host: HostFacts) -> str | None:
    """`k3s` or `rke2` if the kubelet's version or a process shows that the node runs it."""
    version = node.kubelet_version if node is not None else ""
    for product in ("k3s", "rke2"):
        if f"+{product}" in version:
            return product
    for process in host.processes or ():
        command = parse_command(process.argv)
        if command is not None and command.all_in_one:
            return command.component.partition(" ")[0]
    return None
