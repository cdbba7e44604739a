"""kube-proxy's configuration in all its spellings: /configz, configuration file, command line."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from kdiag.errors import ParseError
from kdiag.model.addresses import Network, parse_network
from kdiag.model.proxy import DetectLocalMode, ProxyConfig, ProxyMode
from kdiag.parse.flags import ComponentCommand, parse_command
from kdiag.parse.plain_yaml import read_plain

_CONFIGZ_KEY = "kubeproxy.config.k8s.io"
_DURATION = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h)")
_UNITS_S = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_TRUE = frozenset({"1", "t", "true", "yes", "on"})
_FALSE = frozenset({"0", "f", "false", "no", "off"})


# Every node of a cluster has the same one.
@lru_cache(maxsize=256)
def parse_config_yaml(text: str, source: str) -> ProxyConfig | None:
    """A KubeProxyConfiguration file (`config.conf`); None if it is empty and so says nothing.

    Raises ParseError if it is not YAML or not a mapping.
    """
    if not text.strip():
        return None
    plain = read_plain(text)
    documents = [plain] if plain is not None else _documents(text, source)
    if not documents:
        return None
    for document in documents:
        if isinstance(document, dict) and document.get("kind", "KubeProxyConfiguration") == "KubeProxyConfiguration":
            return _from_mapping(document, source)
    raise ParseError(f"{source} holds no KubeProxyConfiguration")


def _documents(text: str, source: str) -> list[Any]:
    import yaml  # it takes long

    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        return [document for document in yaml.load_all(text, Loader=loader) if document is not None]
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ParseError(f"{source} is not YAML", hint="it ought to be a KubeProxyConfiguration") from error


def parse_configz(text: str, source: str) -> ProxyConfig | None:
    """The answer of kube-proxy's /configz; None if it is empty and so says nothing.

    Up to about 1.31 the keys are the names of Go fields (`ClusterCIDR`, `IPTables`), later those of the configuration
    file (`clusterCIDR`, `iptables`). In between some fields stood elsewhere (`Linux.MasqueradeAll`,
    `DetectLocal.ClusterCIDRs`, `SyncPeriod`). Raises ParseError if it is not JSON or not kube-proxy's.
    """
    if not text.strip():
        return None
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ParseError(f"{source} is not JSON", hint="it ought to be the answer of kube-proxy's /configz") from error
    settings = content.get(_CONFIGZ_KEY) if isinstance(content, dict) else None
    if not isinstance(settings, dict):
        raise ParseError(f"{source} has no {_CONFIGZ_KEY}", hint="it ought to be the answer of kube-proxy's /configz")
    return _from_mapping(settings, source)


def parse_proxy_argv(argv: Sequence[str], source: str) -> ProxyConfig | None:
    """What the command line of kube-proxy, or of a k3s or RKE2 process with one inside, says; None for another program.

    With `--config` kube-proxy ignores all flags but a few, of which `--hostname-override` is the one that matters here
    (kube-proxy's own help text).
    """
    command = parse_command(argv)
    if command is None or not (command.component == "kube-proxy" or command.all_in_one):
        return None
    return config_of_command(command, source)


def config_of_command(command: ComponentCommand, source: str) -> ProxyConfig:
    """The configuration in a kube-proxy command; for k3s and RKE2 in their `--kube-proxy-arg`s and `--cluster-cidr`."""
    own = command.embedded("kube-proxy") if command.all_in_one else command
    override = own.flag("hostname-override")
    if override is not None and "$(" in override:
        override = None  # a variable of the pod that only the kubelet knows
    if reads_file(own):
        return ProxyConfig(source=source, hostname_override=override or None)
    cluster_cidr = own.flag("cluster-cidr")
    if cluster_cidr is None and command.all_in_one:
        cluster_cidr = command.flag("cluster-cidr")
    mode_text = own.flag("proxy-mode")
    mode = _mode(mode_text)
    prefix = "nftables-" if mode is ProxyMode.NFTABLES else "iptables-"
    timing = "ipvs-" if mode is ProxyMode.IPVS else prefix
    addresses = own.flag("nodeport-addresses")
    return ProxyConfig(
        source=source,
        mode=mode,
        mode_text=mode_text,
        cluster_cidrs=_networks(cluster_cidr),
        detect_local_mode=_detect_local(own.flag("detect-local-mode")),
        bridge_interface=own.flag("pod-bridge-interface") or None,
        interface_name_prefix=own.flag("pod-interface-name-prefix") or None,
        masquerade_all=_boolean(own.flag("masquerade-all")),
        masquerade_bit=_integer(own.flag(f"{prefix}masquerade-bit", "iptables-masquerade-bit")),
        node_port_addresses=None if addresses is None else _words(addresses),
        localhost_node_ports=_boolean(own.flag("iptables-localhost-nodeports")),
        feature_gates=_gates(",".join(own.values("feature-gates"))),
        min_sync_period_s=_duration(own.flag(f"{timing}min-sync-period")),
        sync_period_s=_duration(own.flag(f"{timing}sync-period")),
        hostname_override=override or None,
    )


def reads_file(command: ComponentCommand) -> bool:
    """True if a kube-proxy command takes its settings from a configuration file."""
    return bool(command.flag("config"))


def _from_mapping(settings: Mapping[Any, Any], source: str) -> ProxyConfig:
    """A configuration from its mapping, whatever the case of the keys."""
    fields = _lower(settings)
    mode_text = _string(fields, "mode")
    mode = _mode(mode_text)
    iptables, linux, detect = (_block(fields, key) for key in ("iptables", "linux", "detectlocal"))
    own = _block(fields, "nftables") if mode is ProxyMode.NFTABLES else iptables
    timing = _block(fields, "ipvs") if mode is ProxyMode.IPVS else own
    cluster_cidr = fields.get("clustercidr", detect.get("clustercidrs"))
    return ProxyConfig(
        source=source,
        mode=mode,
        mode_text=mode_text,
        cluster_cidrs=_networks(cluster_cidr),
        detect_local_mode=_detect_local(_string(fields, "detectlocalmode")),
        bridge_interface=_string(detect, "bridgeinterface") or None,
        interface_name_prefix=_string(detect, "interfacenameprefix") or None,
        masquerade_all=_boolean(own.get("masqueradeall", linux.get("masqueradeall"))),
        masquerade_bit=_integer(own.get("masqueradebit")),
        node_port_addresses=_node_port_addresses(fields, mode),
        localhost_node_ports=_boolean(iptables.get("localhostnodeports")),
        feature_gates=_gates(settings.get("featureGates", settings.get("FeatureGates"))),
        min_sync_period_s=_duration(timing.get("minsyncperiod", fields.get("minsyncperiod"))),
        sync_period_s=_duration(timing.get("syncperiod", fields.get("syncperiod"))),
        hostname_override=_string(fields, "hostnameoverride") or None,
    )


def _lower(settings: Mapping[Any, Any]) -> dict[str, Any]:
    return {str(key).lower(): value for key, value in settings.items()}


def _block(fields: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = fields.get(key)
    return _lower(value) if isinstance(value, dict) else {}


def _string(fields: Mapping[str, Any], key: str) -> str | None:
    """The text of a field; a field that is there and null says the same as an empty one."""
    if key not in fields:
        return None
    value = fields[key]
    return "" if value is None else str(value)


def _mode(text: str | None) -> ProxyMode | None:
    # Version 1.16 and later compare the mode without regard to case on Linux only for a few names; all are lower case.
    try:
        return ProxyMode((text or "").strip().lower())
    except ValueError:
        return None


def _detect_local(text: str | None) -> DetectLocalMode | None:
    """An empty mode is ClusterCIDR: the default since the field exists (1.18)."""
    if text is None:
        return None
    if not text.strip():
        return DetectLocalMode.CLUSTER_CIDR
    return next((mode for mode in DetectLocalMode if mode.lower() == text.strip().lower()), None)


def _networks(value: Any) -> tuple[Network, ...] | None:
    """Networks of a comma-separated text or a list; None if absent, empty if it says that there are none."""
    if value is None:
        return None
    words = _words(",".join(str(item) for item in value) if isinstance(value, list) else str(value))
    return tuple(network for network in map(parse_network, words) if network is not None)


def _node_port_addresses(fields: Mapping[str, Any], mode: ProxyMode | None) -> tuple[str, ...] | None:
    """In nftables mode an empty list says nothing: the default is then `primary` since 1.31, all addresses before."""
    if "nodeportaddresses" not in fields:
        return None
    value = fields["nodeportaddresses"]
    words = tuple(str(item).strip() for item in value) if isinstance(value, list) else _words(str(value or ""))
    return None if not words and mode is ProxyMode.NFTABLES else words


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


def _boolean(value: Any) -> bool | None:
    if isinstance(value, bool):
        return value
    word = str(value).strip().lower()
    return True if word in _TRUE else False if word in _FALSE else None


def _integer(value: Any) -> int | None:
    word = str(value).strip()
    return int(word) if word.isascii() and word.isdigit() and len(word) < 10 else None


def _duration(value: Any) -> float | None:
    """Seconds of a Go duration (`1h0m0s`, `250ms`). Zero says nothing: kube-proxy then takes its default."""
    text = str(value).strip()
    parts = _DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        return None
    seconds = sum(float(number) * _UNITS_S[unit] for number, unit in parts)
    return seconds or None


def _gates(value: Any) -> dict[str, bool]:
    """Feature gates of a mapping or of `A=true,B=false`, in the order of their names."""
    pairs: dict[str, Any] = {}
    if isinstance(value, dict):
        pairs = {str(key): setting for key, setting in value.items()}
    elif isinstance(value, str):
        for item in _words(value):
            key, equals, setting = item.partition("=")
            pairs[key.strip()] = setting if equals else None
    read = {key: _boolean(setting) for key, setting in sorted(pairs.items())}
    return {key: setting for key, setting in read.items() if setting is not None}
