"""What kdiag asks the API server for: deploy/rbac.yaml permits just this, and a test keeps the two together."""

from __future__ import annotations

from dataclasses import dataclass

PAGE_OBJECTS = 500
"""Objects in a page, as kubectl asks for them."""

CONFIG_MAP_NAMESPACE = "kube-system"


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedKind:
    """A kind that is listed. `recording` is its name in a snapshot, `plural` its name in the API.

    `namespace` is set where one namespace is enough. `group` and `version` are those of the API, `group` is empty for
    the core. An `optional` kind may be unknown to the server, which is then no loss.
    """

    recording: str
    plural: str
    group: str = ""
    version: str = "v1"
    namespace: str | None = None
    optional: bool = False

    @property
    def group_path(self) -> str:
        """Where the server describes the kinds of the group: `/apis/discovery.k8s.io/v1`."""
        return f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"

    @property
    def path(self) -> str:
        """Where the list is: `/apis/discovery.k8s.io/v1/endpointslices`."""
        within = f"/namespaces/{self.namespace}" if self.namespace else ""
        return f"{self.group_path}{within}/{self.plural}"

    @property
    def permission(self) -> str:
        """What `kubectl auth can-i` is asked: `list endpointslices.discovery.k8s.io --all-namespaces`."""
        resource = f"{self.plural}.{self.group}" if self.group else self.plural
        where = f" -n {self.namespace}" if self.namespace else " --all-namespaces"
        return f"list {resource}{where}"


Choice = tuple[ListedKind, ...]
"""Versions of one kind, best first: the first that the server knows is read."""

_SERVICES: Choice = (ListedKind(recording="services", plural="services"),)
_SLICES: Choice = (
    ListedKind(recording="endpointslices-v1", plural="endpointslices", group="discovery.k8s.io", optional=True),
    ListedKind(
        recording="endpointslices-v1beta1",
        plural="endpointslices",
        group="discovery.k8s.io",
        version="v1beta1",
        optional=True,
    ),
)
"""discovery.k8s.io/v1 since Kubernetes 1.21, v1beta1 from 1.17 to 1.24; 1.16 has neither that kdiag reads."""

_ENDPOINTS: Choice = (ListedKind(recording="endpoints", plural="endpoints"),)
_NODES: Choice = (ListedKind(recording="nodes", plural="nodes"),)
_PODS: Choice = (ListedKind(recording="pods", plural="pods"),)
_DAEMON_SETS: Choice = (
    ListedKind(recording="kube-system-daemonsets", plural="daemonsets", group="apps", namespace="kube-system"),
)
_SERVICE_CIDRS: Choice = (
    ListedKind(recording="servicecidrs-v1", plural="servicecidrs", group="networking.k8s.io", optional=True),
    ListedKind(
        recording="servicecidrs-v1beta1",
        plural="servicecidrs",
        group="networking.k8s.io",
        version="v1beta1",
        optional=True,
    ),
)
"""networking.k8s.io/v1 since Kubernetes 1.33, v1beta1 since 1.31."""

IP_POOLS = ListedKind(recording="ippools", plural="ippools", group="crd.projectcalico.org", optional=True)
"""Calico's pools, where Calico keeps them in the API."""

MOVING: tuple[Choice, ...] = (_SERVICES, _SLICES, _NODES, _PODS)
"""What changes while nodes are read, and is read again afterwards."""

MOVING_ENDPOINTS: Choice = _ENDPOINTS
"""Read again only where a proxy may read Endpoints objects: see `endpoints_move`."""

STILL: tuple[Choice, ...] = (_DAEMON_SETS, _SERVICE_CIDRS, (IP_POOLS,))
"""What is read once."""

ALL_KINDS: tuple[ListedKind, ...] = tuple(kind for choice in (*MOVING, MOVING_ENDPOINTS, *STILL) for kind in choice)


def endpoints_move(server_minor: int | None) -> bool:
    """True if the cluster may have a proxy that reads Endpoints and not EndpointSlices: kube-proxy up to 1.18.

    A proxy may be three minor releases older than the API server (version skew policy), so a server up to 1.21.
    """
    return server_minor is None or server_minor <= 21


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedConfigMap:
    """A ConfigMap that is read by its name; others are not looked at."""

    name: str
    namespace: str = CONFIG_MAP_NAMESPACE

    @property
    def path(self) -> str:
        """Where it is."""
        return f"/api/v1/namespaces/{self.namespace}/configmaps/{self.name}"

    @property
    def permission(self) -> str:
        """What `kubectl auth can-i` is asked."""
        return f"get configmaps/{self.name} -n {self.namespace}"


_CONFIG_MAPS = (
    NamedConfigMap(name="kube-proxy"),
    NamedConfigMap(name="kube-proxy-config"),
    NamedConfigMap(name="kubeadm-config"),
    NamedConfigMap(name="kubelet-config"),
    NamedConfigMap(name="kube-flannel-cfg"),
    NamedConfigMap(name="kube-flannel-cfg", namespace="kube-flannel"),
    NamedConfigMap(name="canal-config"),
    NamedConfigMap(name="cilium-config"),
    NamedConfigMap(name="antrea-config"),
)
"""kube-proxy's (kubeadm's name and that of EKS), kubeadm's and the kubelets', and those of CNIs. flannel lives in a
namespace of its own since 0.20."""

VERSIONED_KUBELET_CONFIGS = range(16, 24)
"""Minor releases whose kubeadm calls the kubelets' ConfigMap `kubelet-config-1.N` (`kubelet-config` since 1.24)."""


def config_maps(server_minor: int | None) -> tuple[NamedConfigMap, ...]:
    """The ConfigMaps to ask a server of this minor release for (None: not known)."""
    if server_minor not in VERSIONED_KUBELET_CONFIGS:
        return _CONFIG_MAPS
    return (*_CONFIG_MAPS, NamedConfigMap(name=f"kubelet-config-1.{server_minor}"))


ALL_CONFIG_MAPS: tuple[NamedConfigMap, ...] = (
    *_CONFIG_MAPS,
    *(NamedConfigMap(name=f"kubelet-config-1.{minor}") for minor in VERSIONED_KUBELET_CONFIGS),
)
