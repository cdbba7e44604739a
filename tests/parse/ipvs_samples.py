"""One IPVS table in the three forms in which it is printed, and a comparison that the forms' order does not disturb."""

from __future__ import annotations

from kdiag.model.addresses import Address, Protocol
from kdiag.model.ipvs import IpvsTable, VirtualServer

SAVE = """\
-A -t 10.96.100.6:80 -s rr -p 10800
-a -t 10.96.100.6:80 -r 10.244.1.10:80 -m -w 1
-a -t 10.96.100.6:80 -r 10.244.2.11:8080 -m -w 0
-A -t [fd00:10:96::2]:443 -s wrr -p 600
-a -t [fd00:10:96::2]:443 -r [fd00:10:244:1::a]:6443 -m -w 3
-A -u 10.96.0.10:53 -s rr
-a -u 10.96.0.10:53 -r 10.244.1.2:53 -m -w 1
-A --sctp-service 10.96.100.4:3868 -s rr
-a --sctp-service 10.96.100.4:3868 -r 10.244.1.5:3868 -m -w 1
-A -t 192.168.56.11:30010 -s rr
-A -t 198.51.100.9:25 -s sh -p 360 -M 255.255.255.0 -o
-a -t 198.51.100.9:25 -r 198.51.100.20:25 -g -w 1
-a -t 198.51.100.9:25 -r 198.51.100.21:25 -i -w 1
-A -f 43 -s wlc
-a -f 43 -r 10.244.1.3:0 -m -w 1
"""

LIST = """\
IP Virtual Server version 1.2.1 (size=4096)
Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port           Forward Weight ActiveConn InActConn
TCP  10.96.100.6:80 rr persistent 10800
  -> 10.244.1.10:80               Masq    1      4          17
  -> 10.244.2.11:8080             Masq    0      1          0
TCP  192.168.56.11:30010 rr
TCP  198.51.100.9:25 sh persistent 360 mask 255.255.255.0 ops
  -> 198.51.100.20:25             Route   1      0          0
  -> 198.51.100.21:25             Tunnel  1      0          0
TCP  [fd00:10:96::2]:443 wrr persistent 600
  -> [fd00:10:244:1::a]:6443      Masq    3      0          0
UDP  10.96.0.10:53 rr
  -> 10.244.1.2:53                Masq    1      0          0
SCTP 10.96.100.4:3868 rr
  -> 10.244.1.5:3868              Masq    1      0          0
FWM  43 wlc
  -> 10.244.1.3:0                 Masq    1      0          0
"""

PROC = """\
IP Virtual Server version 1.2.1 (size=4096)
Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port Forward Weight ActiveConn InActConn
TCP  C0A8380B:753A rr
FWM  0000002B wlc
  -> 0AF40103:0000      Masq    1      0          0
UDP  0A60000A:0035 rr
  -> 0AF40102:0035      Masq    1      0          0
TCP  [fd00:0010:0096:0000:0000:0000:0000:0002]:01BB wrr persistent 150000 80000000
  -> [fd00:0010:0244:0001:0000:0000:0000:000a]:192B      Masq    3      0          0
SCTP  0A606404:0F1C rr
  -> 0AF40105:0F1C      Masq    1      0          0
TCP  C6336409:0019 sh ops persistent 90000 FFFFFF00
  -> C6336414:0019      Route   1      0          0
  -> C6336415:0019      Tunnel  1      0          0
TCP  0A606406:0050 rr  persistent 2700000 FFFFFFFF
  -> 0AF4020B:1F90      Masq    0      1          0
  -> 0AF4010A:0050      Masq    1      4          17
"""

Key = tuple[Protocol | None, Address | None, int, int | None]


def key(server: VirtualServer) -> Key:
    """What tells one virtual server from another."""
    return server.protocol, server.address, server.port, server.fwmark


def content(table: IpvsTable) -> dict[Key, object]:
    """A table without what differs between the forms: order, lines, and how long clients stick."""
    found: dict[Key, object] = {
        key(server): (
            server.family,
            server.scheduler,
            server.mask,
            server.flags,
            frozenset((real.socket, real.forwarding, real.weight) for real in server.real_servers),
        )
        for server in table.servers
    }
    assert len(found) == len(table.servers)
    return found
