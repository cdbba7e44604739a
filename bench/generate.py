"""Makes a cluster up and writes it as a snapshot: rules of every node, and what the API says.

    .venv/bin/python -m bench.generate --services 1000 --endpoints 10 --nodes 2 --plant 7 --out DIR

kdiag finds nothing in it but what was planted, which DIR/planted.json names.
"""

from __future__ import annotations

import argparse
from dataclasses import fields
from pathlib import Path

from bench.generator.cluster import Options, make_cluster
from bench.generator.snapshot import write_snapshot

_HELP = {
    "services": "Services, beside kubernetes and kube-dns",
    "endpoints": "endpoints of each Service",
    "nodes": "nodes that are recorded",
    "cluster_nodes": "nodes in the API (default: as many as the pods need)",
    "mode": "kube-proxy's mode",
    "seed": "the same seed makes the same cluster",
    "diff": "share of the lines that differ on each node after the first: endpoints that are gone",
    "plant": "wrong Services, spread over the recorded nodes",
    "namespaces": "namespaces of the Services",
    "udp": "share of Services with protocol UDP",
    "affinity": "share of Services with affinity ClientIP",
    "node_port": "share of Services with a node port",
    "load_balancer": "share of these that are of type LoadBalancer",
    "local": "share of these with externalTrafficPolicy Local",
    "comments": "comments in the chains for each endpoint: auto as kube-proxy, which drops them above 1,000 endpoints",
    "per_slice": "endpoints in an EndpointSlice",
    "images": "images in the status of each node",
}
_CHOICES = {"mode": ("iptables", "nftables", "ipvs"), "comments": ("auto", "on", "off")}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    for option in fields(Options):
        parser.add_argument(
            f"--{option.name.replace('_', '-')}",
            type=type(option.default),
            default=option.default,
            choices=_CHOICES.get(option.name),
            help=_HELP[option.name],
        )
    parser.add_argument("--out", type=Path, required=True, help="directory of the snapshot")
    given = vars(parser.parse_args())
    out = given.pop("out")
    try:
        cluster = make_cluster(Options(**given))
    except (ValueError, StopIteration) as error:
        parser.error(str(error) or "there are not so many node ports")
    write_snapshot(cluster, out)
    print(f"{out}: {len(cluster.services)} Services, {len(cluster.states)} of {len(cluster.nodes)} nodes recorded")


if __name__ == "__main__":
    main()
