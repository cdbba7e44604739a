"""What decides the way of some clients to a Service address, and the ways that there are."""

from __future__ import annotations

from msgspec import Struct

from kdiag.expect.endpoints import Candidates
from kdiag.expect.frontends import ServiceAddress
from kdiag.expect.selection import ProxyRules, Selection
from kdiag.model.addresses import AddressSet, Network
from kdiag.model.cluster import Service
from kdiag.model.dataplane import ClientSet, Disposition, Position


class LocalDetector(Struct, frozen=True, kw_only=True):
    """How a pod of the cluster is told from other clients: by address range, or by interface; neither is a no-op."""

    network: Network | None = None
    interface: str | None = None
    """An interface name, or a prefix followed by `+`."""

    @property
    def works(self) -> bool:
        """False for the no-op detector."""
        return self.network is not None or self.interface is not None

    def split(self, clients: ClientSet, position: Position) -> tuple[ClientSet, ClientSet, bool]:
        """The clients that count as pods, the others, and whether that is certain."""
        nobody = ClientSet(addresses=AddressSet.nothing(clients.addresses.family), interfaces=clients.interfaces)
        if self.network is not None:
            inside = AddressSet.of(clients.addresses.family, (self.network,))
            return (
                ClientSet(addresses=clients.addresses & inside, interfaces=clients.interfaces),
                ClientSet(addresses=clients.addresses - inside, interfaces=clients.interfaces),
                True,
            )
        if self.interface is None or position is Position.NODE:
            return nobody, clients, True
        if clients.interfaces is None:
            return clients, nobody, False
        prefix = self.interface.removesuffix("+")
        by_prefix = self.interface.endswith("+")
        mine = frozenset(
            item for item in clients.interfaces if (item.startswith(prefix) if by_prefix else item == prefix)
        )
        return (
            ClientSet(addresses=clients.addresses, interfaces=mine),
            ClientSet(addresses=clients.addresses, interfaces=clients.interfaces - mine),
            True,
        )


class Way(Struct, frozen=True, kw_only=True):
    """One legal way to treat some clients: to these endpoints, masqueraded or not, or to no endpoint at all.

    `to_proxy` sends them to the proxy process itself (userspace mode), which chooses an endpoint where nobody sees it.
    """

    endpoints: Candidates = ()
    masquerade: bool = False
    disposition: Disposition = Disposition.BACKEND
    to_proxy: bool = False


REJECT = Way(disposition=Disposition.REJECTED)
DROP = Way(disposition=Disposition.DROPPED)
PASS = Way(disposition=Disposition.UNTRANSLATED)


class Situation(Struct, frozen=True, kw_only=True):
    """Everything that decides the way of some clients, but for who they are."""

    service: Service
    target: ServiceAddress
    position: Position
    selection: Selection
    rules: ProxyRules
    detector: LocalDetector
    masquerade_all: bool
    target_is_local: bool
