"""The API side against a server: pages, expiry, refusals, bad days, and what deploy/rbac.yaml permits."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from kdiag.errors import ClusterError
from kdiag.gather import api, api_connection
from kdiag.gather.api import Reading, read_all, read_moving, server_minor
from kdiag.gather.api_connection import ApiConnection, connect
from kdiag.gather.api_kinds import ALL_CONFIG_MAPS, ALL_KINDS
from kdiag.gather.api_pages import with_time_of_change
from kdiag.model.cluster import ClusterState
from kdiag.model.snapshot import Recording
from kdiag.parse.api import parse_cluster
from tests.corpus_fixtures import cluster
from tests.live.api_double import TOKEN, ApiDouble, rbac_grants
from tests.live.certificates import Authority
from tests.live.fixtures import DoubleFactory

PODS = "/api/v1/pods"
SLICES = "/apis/discovery.k8s.io/v1/endpointslices"
SLICES_BETA = "/apis/discovery.k8s.io/v1beta1/endpointslices"


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_connection, "_PAUSE_S", 0.01)


def connected(server: ApiDouble, tmp_path: Path) -> ApiConnection:
    return connect(server.kubeconfig(tmp_path / "kubeconfig"))


def state_of(reading: Reading) -> ClusterState:
    state, gaps = parse_cluster(reading.recordings)
    assert gaps == ()
    return state


@pytest.mark.parametrize("page_objects", [500, 7, 1])
@pytest.mark.parametrize("name", ["v1.20.2-iptables-nft", "v1.36.2-iptables-nft"])
def test_reading_equals_the_recording(double: DoubleFactory, tmp_path: Path, name: str, page_objects: int) -> None:
    with_pages = double(name, page_objects=page_objects)
    reading = read_all(connected(with_pages, tmp_path))
    assert reading.gaps == ()
    found = state_of(reading)
    recorded, _ = parse_cluster(cluster(name).api)
    for field in ("services", "slices", "endpoints", "nodes", "pods", "daemon_sets", "service_cidrs", "server_version"):
        assert getattr(found, field) == getattr(recorded, field), field
    assert recorded.seen - found.seen == set()
    assert {item.meta.key.name for item in found.config_maps} >= {"kube-proxy", "kubeadm-config"}
    assert with_pages.methods == {"GET"}
    assert all(agent.startswith("kdiag/") for agent in with_pages.agents)


def test_recordings_are_named_as_a_snapshot_has_them(double: DoubleFactory, tmp_path: Path) -> None:
    reading = read_all(connected(double(), tmp_path))
    assert set(reading.recordings) == {
        "version",
        "services",
        "endpointslices-v1",
        "endpoints",
        "nodes",
        "pods",
        "kube-system-daemonsets",
        "servicecidrs-v1",
        "kube-system-configmaps",
    }
    assert {item.source for item in reading.recordings.values()} == {
        f"cluster/{kind}.json" for kind in reading.recordings
    }
    assert {item.http_status for item in reading.recordings.values()} == {200}


def test_of_managed_fields_only_the_time_is_kept_and_all_else_is(double: DoubleFactory, tmp_path: Path) -> None:
    server = double()
    assert any("managedFields" in item["metadata"] for item in server.items("/api/v1/services"))
    recording = read_all(connected(server, tmp_path)).recordings["services"]
    assert b"fieldsV1" not in recording.content
    assert b'"managedFields":[{"time":' in recording.content
    listed = json.loads(recording.content)
    for found, served in zip(listed["items"], server.items("/api/v1/services"), strict=True):
        changes = served["metadata"].pop("managedFields")
        assert found["metadata"].pop("managedFields") == [{"time": max(change["time"] for change in changes)}]
        assert found == served
    assert listed["kind"] == "ServiceList"
    assert "continue" not in listed["metadata"]
    # One object a line, so that two recordings can be compared by people.
    assert len(recording.content.splitlines()) == len(listed["items"]) + 2


def test_only_wanted_config_maps_are_read(double: DoubleFactory, tmp_path: Path) -> None:
    server = double()
    server.items("/api/v1/namespaces/kube-system/configmaps").append(
        {"metadata": {"name": "somebody-elses", "namespace": "kube-system"}, "data": {"password": "x"}}
    )
    content = read_all(connected(server, tmp_path)).recordings["kube-system-configmaps"].content
    assert b"somebody-elses" not in content
    assert b"kubeadm-config" in content


def test_old_server_is_asked_for_old_kinds(double: DoubleFactory, tmp_path: Path) -> None:
    server = double("v1.20.2-iptables-nft")
    reading = read_all(connected(server, tmp_path))
    assert "endpointslices-v1beta1" in reading.recordings
    assert "endpointslices-v1" not in reading.recordings
    assert not any(kind.startswith("servicecidrs") for kind in reading.recordings)
    assert reading.gaps == ()
    assert any("kubelet-config-1.20" in path for path in server.requests)


class TestPages:
    def test_a_token_that_expires_restarts_the_list(self, double: DoubleFactory, tmp_path: Path) -> None:
        server = double(page_objects=5)
        server.trouble.expire[PODS] = 1
        added: dict[str, Any] = json.loads(json.dumps(server.items(PODS)[0]))
        added["metadata"]["name"] = "came-later"

        def change(path: str, times: int) -> None:
            if path == PODS and times == 2:
                server.items(PODS).insert(0, added)

        server.on_read = change
        found = state_of(read_all(connected(server, tmp_path)))
        keys = [pod.key for pod in found.pods]
        assert len(keys) == len(set(keys)) == len(server.items(PODS))
        assert "came-later" in {key.name for key in keys}
        assert server.reads[PODS] == 2

    def test_at_last_the_list_is_asked_for_in_one_piece(self, double: DoubleFactory, tmp_path: Path) -> None:
        server = double(page_objects=5)
        server.trouble.expire[PODS] = 1000
        found = state_of(read_all(connected(server, tmp_path)))
        assert len(found.pods) == len(server.items(PODS))
        assert server.reads[PODS] == 3
        assert server.requests[-1] != PODS
        assert PODS in server.requests

    def test_a_list_that_is_refused_again_and_again(self, double: DoubleFactory, tmp_path: Path) -> None:
        server = double()
        server.trouble.statuses[PODS] = [410] * 10
        _, gaps = parse_cluster(read_all(connected(server, tmp_path)).recordings)
        assert [gap.subject for gap in gaps] == ["pods"]

    def test_a_list_without_end_says_that_it_is_no_whole(
        self, double: DoubleFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(api, "_MOST_PAGES", 2)
        state, gaps = parse_cluster(read_all(connected(double(page_objects=3), tmp_path)).recordings)
        assert "pods" not in state.seen
        assert any("the list ends after 6 objects and the server had more" in gap.reason for gap in gaps)


class TestRbac:
    @pytest.mark.parametrize("name", ["v1.20.2-iptables-nft", "v1.36.2-iptables-nft"])
    def test_enough(self, double: DoubleFactory, tmp_path: Path, name: str) -> None:
        server = double(name, grants=rbac_grants())
        connection = connected(server, tmp_path)
        before = read_all(connection)
        after = read_moving(connection, before, "cluster-after")
        assert server.authorizer is not None
        assert server.authorizer.refused == []
        assert before.gaps == ()
        assert parse_cluster({**before.recordings, **after.recordings})[1] == ()

    def test_not_too_much(self, double: DoubleFactory, tmp_path: Path) -> None:
        used = set()
        for minor in (*range(16, 25), 36):
            server = double("v1.36.2-iptables-nft", grants=rbac_grants())
            server.version["gitVersion"] = f"v1.{minor}.0"
            if minor < 21:
                server.lists[SLICES_BETA] = server.lists.pop(SLICES)
            read_all(connected(server, tmp_path))
            assert server.authorizer is not None
            used |= server.authorizer.used
        assert used == set(rbac_grants())

    def test_the_manifest_and_the_list_of_kinds_say_the_same(self) -> None:
        lists = {(grant.group, grant.resource) for grant in rbac_grants() if grant.verb == "list"}
        assert lists == {(kind.group, kind.plural) for kind in ALL_KINDS}
        maps = {grant.object_name for grant in rbac_grants() if grant.verb == "get"}
        assert maps == {item.name for item in ALL_CONFIG_MAPS}
        assert {grant.verb for grant in rbac_grants()} == {"get", "list"}

    @pytest.mark.parametrize(
        ("resource", "subject", "permission"),
        [
            ("services", "services", "kubectl auth can-i list services --all-namespaces"),
            (
                "endpointslices",
                "endpointslices-v1",
                "kubectl auth can-i list endpointslices.discovery.k8s.io --all-namespaces",
            ),
            ("pods", "pods", "kubectl auth can-i list pods --all-namespaces"),
            ("nodes", "nodes", "kubectl auth can-i list nodes --all-namespaces"),
            (
                "daemonsets",
                "kube-system-daemonsets",
                "kubectl auth can-i list daemonsets.apps -n kube-system",
            ),
            (
                "servicecidrs",
                "servicecidrs-v1",
                "kubectl auth can-i list servicecidrs.networking.k8s.io --all-namespaces",
            ),
        ],
    )
    def test_a_refused_kind_is_a_gap_that_names_the_permission(
        self, double: DoubleFactory, tmp_path: Path, resource: str, subject: str, permission: str
    ) -> None:
        grants = tuple(grant for grant in rbac_grants() if grant.resource != resource)
        reading = read_all(connected(double(grants=grants), tmp_path))
        state, gaps = parse_cluster(reading.recordings)
        ((gap_subject, reason),) = [(gap.subject, gap.reason) for gap in gaps]
        assert gap_subject == subject
        assert permission in reason
        assert resource not in state.seen

    def test_refused_config_maps_are_one_gap(self, double: DoubleFactory, tmp_path: Path) -> None:
        grants = tuple(grant for grant in rbac_grants() if grant.object_name not in ("kube-proxy", "kubelet-config"))
        reading = read_all(connected(double(grants=grants), tmp_path))
        (gap,) = reading.gaps
        assert gap.subject == "configmaps"
        assert "kube-system/kube-proxy, kube-system/kubelet-config" in gap.reason
        assert "kubectl auth can-i get configmaps/kube-proxy -n kube-system" in gap.reason
        assert b"kubeadm-config" in reading.recordings["kube-system-configmaps"].content

    def test_a_refused_kind_that_the_server_does_not_have_is_no_loss(
        self, double: DoubleFactory, tmp_path: Path
    ) -> None:
        grants = tuple(grant for grant in rbac_grants() if grant.resource not in ("servicecidrs", "ippools"))
        reading = read_all(connected(double("v1.20.2-iptables-nft", grants=grants), tmp_path))
        assert reading.gaps == ()
        assert parse_cluster(reading.recordings)[1] == ()
        assert not {"servicecidrs-v1", "ippools"} & set(reading.recordings)

    def test_refused_pools_of_calico(self, double: DoubleFactory, tmp_path: Path) -> None:
        grants = tuple(grant for grant in rbac_grants() if grant.resource != "ippools")
        server = double(grants=grants)
        server.lists["/apis/crd.projectcalico.org/v1/ippools"] = {"kind": "IPPoolList", "items": []}
        (gap,) = read_all(connected(server, tmp_path)).gaps
        assert gap.subject == "ippools"
        assert "kubectl auth can-i list ippools.crd.projectcalico.org --all-namespaces" in gap.reason

    def test_a_server_that_does_not_describe_itself_is_taken_to_have_the_kind(
        self, double: DoubleFactory, tmp_path: Path
    ) -> None:
        grants = tuple(grant for grant in rbac_grants() if grant.resource not in ("ippools", "servicecidrs"))
        server = double(grants=grants)
        server.trouble.bodies["/apis/crd.projectcalico.org/v1"] = (200, b"what?")
        server.trouble.bodies["/apis/networking.k8s.io/v1"] = (403, b"{}")
        reading = read_all(connected(server, tmp_path))
        assert [gap.subject for gap in reading.gaps] == ["ippools"]
        assert reading.recordings["servicecidrs-v1"].http_status == 403


class TestBadDays:
    def test_refused_and_then_gone(
        self, double: DoubleFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A server that falls silent where it should describe itself, and where ConfigMaps are."""
        monkeypatch.setattr(api_connection, "SILENCE_S", 0.2)
        grants = tuple(grant for grant in rbac_grants() if grant.resource != "ippools")
        server = double(grants=grants)
        server.trouble.delay_s["/apis/crd.projectcalico.org/v1"] = 30
        server.trouble.delay_s["/api/v1/namespaces/kube-system/configmaps/kube-proxy"] = 30
        gaps = read_all(connected(server, tmp_path)).gaps
        assert [gap.subject for gap in gaps] == ["ConfigMap kube-system/kube-proxy", "ippools"]
        assert "was silent" in gaps[0].reason

    @pytest.mark.parametrize(
        ("status", "reason"),
        [(500, "the API server answered with HTTP status 500"), (None, "was silent for")],
    )
    def test_pools_of_calico(
        self,
        double: DoubleFactory,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        status: int | None,
        reason: str,
    ) -> None:
        monkeypatch.setattr(api_connection, "SILENCE_S", 0.2)
        path = "/apis/crd.projectcalico.org/v1/ippools"
        server = double()
        if status is None:
            server.trouble.delay_s[path] = 30
        else:
            server.trouble.statuses[path] = [status] * 9
        (gap,) = read_all(connected(server, tmp_path)).gaps
        assert gap.subject == "ippools"
        assert reason in gap.reason

    @pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
    def test_what_passes_is_tried_again(self, double: DoubleFactory, tmp_path: Path, status: int) -> None:
        server = double()
        server.trouble.statuses[PODS] = [status, status]
        assert state_of(read_all(connected(server, tmp_path))).pods

    def test_what_does_not_pass_is_recorded(self, double: DoubleFactory, tmp_path: Path) -> None:
        server = double()
        server.trouble.statuses[PODS] = [503] * 9
        reading = read_all(connected(server, tmp_path))
        assert reading.recordings["pods"].http_status == 503
        state, gaps = parse_cluster(reading.recordings)
        assert [(gap.subject, gap.reason) for gap in gaps] == [("pods", "cannot list pods: a bad day")]
        assert "pods" not in state.seen

    def test_retry_after_is_obeyed(self, double: DoubleFactory, tmp_path: Path) -> None:
        server = double()
        server.trouble.statuses[PODS] = [429]
        server.trouble.retry_after = "1"
        started = time.monotonic()
        read_all(connected(server, tmp_path))
        assert time.monotonic() - started >= 1

    def test_pauses_end_when_kdiag_is_interrupted(self, double: DoubleFactory, tmp_path: Path) -> None:
        server = double()
        server.trouble.statuses[PODS] = [429] * 9
        server.trouble.retry_after = "10"
        stop = threading.Event()
        connection = connect(server.kubeconfig(tmp_path / "kubeconfig"), stop=stop)
        threading.Timer(0.3, stop.set).start()
        started = time.monotonic()
        recording = read_all(connection).recordings["pods"]
        assert time.monotonic() - started < 5
        assert recording.stderr.endswith("kdiag was interrupted")

    def test_an_answer_that_breaks_off_is_asked_for_again(self, double: DoubleFactory, tmp_path: Path) -> None:
        server = double()
        server.trouble.cut[PODS] = 2
        assert state_of(read_all(connected(server, tmp_path))).pods

    def test_an_answer_that_always_breaks_off_is_a_gap(self, double: DoubleFactory, tmp_path: Path) -> None:
        server = double()
        server.trouble.cut[PODS] = 99
        reading = read_all(connected(server, tmp_path))
        assert reading.recordings["pods"].content == b""
        _, gaps = parse_cluster(reading.recordings)
        ((subject, reason),) = [(gap.subject, gap.reason) for gap in gaps]
        assert subject == "pods"
        assert "the connection to the API server" in reason
        assert "broke" in reason

    def test_a_server_that_falls_silent(
        self, double: DoubleFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(api_connection, "SILENCE_S", 0.2)
        server = double()
        server.trouble.delay_s[PODS] = 30
        _, gaps = parse_cluster(read_all(connected(server, tmp_path)).recordings)
        ((subject, reason),) = [(gap.subject, gap.reason) for gap in gaps]
        assert subject == "pods"
        assert "was silent for" in reason

    def test_a_slow_server_is_waited_for(self, double: DoubleFactory, tmp_path: Path) -> None:
        server = double()
        server.trouble.delay_s[PODS] = 0.5
        assert state_of(read_all(connected(server, tmp_path))).pods

    def test_an_answer_without_end(
        self, double: DoubleFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(api_connection, "ANSWER_S", -1.0)
        with pytest.raises(ClusterError, match="had not finished an answer"):
            read_all(connected(double(), tmp_path))

    def test_an_answer_that_is_too_large(
        self, double: DoubleFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(api_connection, "MAX_ANSWER_BYTES", 10_000)
        server = double()
        reading = read_all(connected(server, tmp_path))
        assert "sent more than" in reading.recordings["pods"].stderr

    def test_what_is_no_list_is_recorded_as_it_came(self, double: DoubleFactory, tmp_path: Path) -> None:
        server = double()
        server.trouble.bodies[PODS] = (200, b"<html>")
        reading = read_all(connected(server, tmp_path))
        assert reading.recordings["pods"].content == b"<html>"
        assert [gap.subject for gap in parse_cluster(reading.recordings)[1]] == ["pods"]

    def test_config_maps_with_bad_days(self, double: DoubleFactory, tmp_path: Path) -> None:
        server = double()
        base = "/api/v1/namespaces/kube-system/configmaps"
        server.trouble.bodies[f"{base}/kube-proxy"] = (200, b"[]")
        server.trouble.statuses[f"{base}/kubeadm-config"] = [500] * 9
        server.trouble.bodies[f"{base}/kubelet-config"] = (200, b"{")
        gaps = read_all(connected(server, tmp_path)).gaps
        assert [gap.subject for gap in gaps] == [
            "ConfigMap kube-system/kube-proxy",
            "ConfigMap kube-system/kubeadm-config",
            "ConfigMap kube-system/kubelet-config",
        ]
        assert gaps[1].reason == "the API server answered with HTTP status 500"

    def test_credentials_that_are_not_accepted(self, double: DoubleFactory, tmp_path: Path) -> None:
        server = double()
        server.tokens = {"another"}
        with pytest.raises(ClusterError, match="does not accept the credentials") as caught:
            read_all(connected(server, tmp_path))
        assert caught.value.hint

    def test_credentials_that_expire_on_the_way(self, double: DoubleFactory, tmp_path: Path) -> None:
        server = double()

        def expire(path: str, times: int) -> None:
            if path == PODS:
                server.tokens = {"another"}

        server.on_read = expire
        with pytest.raises(ClusterError, match="does not accept the credentials"):
            read_all(connected(server, tmp_path))


class TestAfter:
    def test_what_moves_is_read_again(self, double: DoubleFactory, tmp_path: Path) -> None:
        server = double()
        connection = connected(server, tmp_path)
        before = read_all(connection)
        server.items(PODS).pop()
        after = read_moving(connection, before, "cluster-after")
        assert set(after.recordings) == {"services", "endpointslices-v1", "nodes", "pods"}
        assert after.recordings["pods"].source == "cluster-after/pods.json"
        assert len(state_of(before).pods) == len(server.items(PODS)) + 1

    def test_endpoints_too_where_an_old_proxy_may_read_them(self, double: DoubleFactory, tmp_path: Path) -> None:
        connection = connected(double("v1.20.2-iptables-nft"), tmp_path)
        after = read_moving(connection, read_all(connection), "cluster-after")
        assert set(after.recordings) == {"services", "endpointslices-v1beta1", "endpoints", "nodes", "pods"}

    def test_a_list_that_cannot_be_had_again_is_not_taken_from_before(
        self, double: DoubleFactory, tmp_path: Path
    ) -> None:
        server = double()
        connection = connected(server, tmp_path)
        before = read_all(connection)
        server.trouble.statuses["/api/v1/services"] = [500] * 9
        after = read_moving(connection, before, "cluster-after")
        state, _ = parse_cluster({**before.recordings, **after.recordings})
        assert "services" not in state.seen

    def test_a_server_that_is_gone_afterwards(
        self, double: DoubleFactory, tmp_path: Path, authority: Authority
    ) -> None:
        server = ApiDouble(cluster("v1.36.2-iptables-nft"), authority=authority)
        with server:
            connection = connected(server, tmp_path)
            before = read_all(connection)
            connection.close()
        after = read_moving(connection, before, "cluster-after")
        assert all(not item.content for item in after.recordings.values())
        assert "cannot connect to the API server" in after.recordings["services"].stderr


@pytest.mark.parametrize(
    ("item", "left"),
    [
        (b'{"metadata": {"name": "a", "managedFields": [{}]}, "x": 1.50}', b'{"metadata":{"name": "a"},"x":1.50}'),
        (b'{"metadata": {"name": "a"},\n "managedFields": []}', b'{"metadata": {"name": "a"},  "managedFields": []}'),
        (b'{"managedFields": [], "metadata": 3}', b'{"managedFields": [], "metadata": 3}'),
        (b'["managedFields"]', b'["managedFields"]'),
    ],
)
def test_only_managed_fields_are_taken_out(item: bytes, left: bytes) -> None:
    assert with_time_of_change(item).replace(b'": ', b'":') == left.replace(b'": ', b'":')


def test_nothing_secret_is_recorded(double: DoubleFactory, tmp_path: Path) -> None:
    reading = read_all(connected(double(), tmp_path))
    for recording in reading.recordings.values():
        assert TOKEN.encode() not in recording.content
        assert TOKEN not in recording.stderr


@pytest.mark.parametrize(
    ("content", "minor"),
    [
        (b'{"gitVersion": "v1.30.3+k3s1"}', 30),
        (b'{"gitVersion":"1.16.0-eks"}', 16),
        (b'{"gitVersion": "v2.0.0"}', None),
        (b"<html>", None),
    ],
)
def test_minor_release_of_the_server(content: bytes, minor: int | None) -> None:
    assert server_minor(Recording(source="cluster/version.json", content=content)) == minor


def test_minor_release_without_an_answer() -> None:
    assert server_minor(None) is None
