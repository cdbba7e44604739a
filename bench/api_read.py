"""One reading of the API in a process of its own: `python -m bench.api_read WHO URL`, WHO is `official` or `kdiag`.

`official` lists with the model classes of the Kubernetes client, in pages of 500. `kdiag` is what a live run does: requests
through the client's connection, pages kept as they came, and the objects that kdiag judges made of them. Both print how many
Services, slices, endpoints and nodes they have in the end, and hold them until then.
"""

from __future__ import annotations

import atexit
import gc
import json
import sys
from typing import Any

PAGE_OBJECTS = 500


def official(url: str) -> dict[str, int]:
    from kubernetes import client

    configuration = client.Configuration()
    configuration.host = url
    with client.ApiClient(configuration) as api:
        core, discovery = client.CoreV1Api(api), client.DiscoveryV1Api(api)

        def read(list_page: Any) -> list[Any]:
            items: list[Any] = []
            token = None
            while True:
                page = list_page(limit=PAGE_OBJECTS, _continue=token)
                items += page.items
                token = page.metadata._continue
                if not token:
                    return items

        services = read(core.list_service_for_all_namespaces)
        slices = read(discovery.list_endpoint_slice_for_all_namespaces)
        nodes = read(core.list_node)
    return {
        "services": len(services),
        "slices": len(slices),
        "endpoints": sum(len(item.endpoints or ()) for item in slices),
        "nodes": len(nodes),
    }


def kdiag(url: str) -> dict[str, int]:
    # As `kdiag` does when it starts.
    gc.disable()
    atexit.register(gc.freeze)

    from kubernetes import client

    from kdiag.gather.api import list_kind
    from kdiag.gather.api_connection import ApiConnection
    from kdiag.gather.api_kinds import MOVING
    from kdiag.parse.api import parse_cluster

    configuration = client.Configuration()
    configuration.host = url
    connection = ApiConnection(configuration, cluster="bench")
    wanted = ("services", "endpointslices-v1", "nodes")
    kinds = [kind for choice in MOVING for kind in choice if kind.recording in wanted]
    recordings = {kind.recording: list_kind(connection, kind, "cluster") for kind in kinds}
    state, gaps = parse_cluster(recordings)
    assert {gap.subject for gap in gaps} <= {"pods"}, gaps
    return {
        "services": len(state.services),
        "slices": len(state.slices),
        "endpoints": sum(len(item.endpoints) for item in state.slices),
        "nodes": len(state.nodes),
    }


if __name__ == "__main__":
    print(json.dumps({"official": official, "kdiag": kdiag}[sys.argv[1]](sys.argv[2])))
