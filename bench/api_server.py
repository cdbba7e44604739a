"""An API server that knows Services, EndpointSlices and Nodes of a made-up cluster: pages with `continue`, nothing else.

Run as a process of its own, so that its CPU is nobody's: it prints its address, and ends when its standard input closes.
"""

from __future__ import annotations

import argparse
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from bench.generator import api_lists
from bench.generator.cluster import Cluster, Options, make_cluster

LISTS: dict[str, tuple[str, str, Callable[[Cluster], Iterator[dict[str, Any]]]]] = {
    "/api/v1/services": ("ServiceList", "v1", lambda cluster: api_lists.services(cluster, fields=True)),
    "/apis/discovery.k8s.io/v1/endpointslices": (
        "EndpointSliceList",
        "discovery.k8s.io/v1",
        lambda cluster: api_lists.endpoint_slices(cluster, fields=True),
    ),
    "/api/v1/nodes": ("NodeList", "v1", lambda cluster: api_lists.nodes(cluster, fields=True)),
}


def pages_of(cluster: Cluster, page_objects: int) -> dict[str, list[bytes]]:
    """The pages of each list, by path; each but the last tells the token of the next one: its number."""
    out: dict[str, list[bytes]] = {}
    for path, (kind, api_version, make) in LISTS.items():
        items = list(make(cluster))
        starts = range(0, len(items), page_objects)
        out[path] = [
            api_lists.list_bytes(kind, api_version, items[at : at + page_objects]).replace(
                b'"resourceVersion":"99000001"',
                b'"resourceVersion":"99000001"'
                + (b',"continue":"%d"' % (number + 1) if number + 1 < len(starts) else b""),
                1,
            )
            for number, at in enumerate(starts)
        ]
    return out


def serve(pages: dict[str, list[bytes]]) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            url = urlsplit(self.path)
            number = int(parse_qs(url.query).get("continue", ["0"])[0])
            found = pages.get(url.path)
            body = found[number] if found else b'{"kind":"Status","apiVersion":"v1","status":"Failure","code":404}'
            self.send_response(200 if found else 404)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    return ThreadingHTTPServer(("127.0.0.1", 0), Handler)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--services", type=int, default=10_000)
    parser.add_argument("--endpoints", type=int, default=25)
    parser.add_argument("--nodes", type=int, default=5_000)
    parser.add_argument("--images", type=int, default=50)
    given = parser.parse_args()
    # Ten endpoints in a slice make 25,000 slices of 250,000 endpoints: slices are never that full, as pods come and go.
    options = Options(
        services=given.services,
        endpoints=given.endpoints,
        cluster_nodes=given.nodes,
        images=given.images,
        per_slice=10,
    )
    pages = pages_of(make_cluster(options), 500)
    server = serve(pages)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(f"http://127.0.0.1:{server.server_address[1]}", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
