"""The API's side of a snapshot: lists read in pages as raw bytes, before and after the nodes.

What the server answers is recorded as it is, refusals too: what they mean is for the parser to say, which says the same
of a live cluster and of its recording.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

from kdiag.errors import ClusterError, ParseError
from kdiag.gather.api_connection import Answer, ApiConnection
from kdiag.gather.api_kinds import (
    IP_POOLS,
    MOVING,
    MOVING_ENDPOINTS,
    PAGE_OBJECTS,
    STILL,
    Choice,
    ListedKind,
    NamedConfigMap,
    config_maps,
    endpoints_move,
)
from kdiag.gather.api_pages import JoinedPages, list_document, with_time_of_change
from kdiag.gather.snapshot_layout import CLUSTER
from kdiag.model.report import Gap
from kdiag.model.snapshot import Recording

_RESTARTS = 2
"""How often a list is begun again whose continue token has expired. The last time it is asked for in one piece, as
client-go's pager does: a token lasts five minutes at most, and less while etcd is compacted."""

_MOST_PAGES = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """The API at one time: recordings by kind, and what is missing that no recording tells of."""

    recordings: dict[str, Recording]
    gaps: tuple[Gap, ...] = ()


def read_all(connection: ApiConnection) -> Reading:
    """Everything that kdiag looks at.

    Raises ClusterError if the server cannot be reached or does not know who asks: nothing would be left to say.
    """
    version = _version(connection)
    recordings = {"version": version}
    minor = server_minor(version)
    for choice in (*MOVING, MOVING_ENDPOINTS, *STILL):
        found = _first_known(connection, choice)
        if found is not None:
            recordings[found[0].recording] = found[1]
    maps, gaps = _config_maps(connection, config_maps(minor))
    recordings.update(maps)
    pools = recordings.get("ippools")
    if pools is not None and pools.http_status != 200:
        # Nobody reads a list of pools that is none, so nobody would miss it.
        gaps.append(Gap(subject="ippools", reason=_refusal(pools, IP_POOLS.permission)))
    return Reading(recordings=recordings, gaps=tuple(gaps))


def read_moving(connection: ApiConnection, before: Reading, directory: str) -> Reading:
    """The kinds that change while nodes are read, for `directory` of the snapshot.

    A list that cannot be had this time is recorded as a failure: the earlier one must not be taken for it.
    """
    choices: tuple[Choice, ...] = MOVING
    if endpoints_move(server_minor(before.recordings.get("version"))):
        choices = (*MOVING, MOVING_ENDPOINTS)
    recordings: dict[str, Recording] = {}
    for choice in choices:
        known = next((kind for kind in choice if kind.recording in before.recordings), None)
        if known is not None:
            recordings[known.recording] = _read(connection, known, directory)
    return Reading(recordings=recordings)


def server_minor(version: Recording | None) -> int | None:
    """The minor release that the body of /version tells; None if it tells none."""
    match = re.search(rb'"gitVersion"\s*:\s*"v?1\.(\d+)', version.content) if version is not None else None
    return int(match[1]) if match else None


def list_kind(connection: ApiConnection, kind: ListedKind, directory: str) -> Recording:
    """One list, all its pages in one document. Raises ClusterError if the server does not answer.

    A list that grows under the reader is begun again when its token has expired (410), at last in one piece. An answer
    that is no list is recorded as it came.
    """
    for attempt in range(_RESTARTS + 1):
        query = {"limit": str(PAGE_OBJECTS)} if attempt < _RESTARTS else {}
        pages = JoinedPages()
        token = ""
        for _ in range(_MOST_PAGES):
            answer = connection.get(kind.path, {**query, **({"continue": token} if token else {})})
            if answer.status == 410:
                break
            if answer.status != 200:
                return _recording(directory, kind.recording, answer)
            try:
                following = pages.add(answer.body)
            except ParseError:
                return _recording(directory, kind.recording, answer)
            if not following:
                return _recording(directory, kind.recording, Answer(status=200, body=pages.document()))
            token = following
        else:
            return _recording(directory, kind.recording, Answer(status=200, body=pages.document(continue_token=token)))
    return _recording(directory, kind.recording, answer)


def is_known(connection: ApiConnection, kind: ListedKind) -> bool:
    """True unless the server's own description of the group says that it has no such kind.

    A server asks for permission before it looks whether there is such a kind, so that a refusal (403) says nothing
    about that. Everybody who can log in may read the description (ClusterRole system:discovery).
    """
    answer = connection.get(kind.group_path)
    if answer.status == 404:
        return False
    try:
        listed = json.loads(answer.body)["resources"] if answer.status == 200 else None
        return listed is None or any(entry["name"] == kind.plural for entry in listed)
    except (ValueError, TypeError, KeyError, RecursionError):
        return True


def _version(connection: ApiConnection) -> Recording:
    answer = connection.get("/version")
    if answer.status == 401:
        raise _unauthorized(connection)
    return _recording(CLUSTER, "version", answer)


def _first_known(connection: ApiConnection, choice: Choice) -> tuple[ListedKind, Recording] | None:
    """The first of several versions of a kind that the server has; None if it has none of them."""
    for kind in choice:
        recording = _read(connection, kind, CLUSTER)
        if recording.http_status == 401:
            raise _unauthorized(connection)
        if kind.optional and recording.http_status == 404:
            continue
        if kind.optional and recording.http_status == 403 and not _try_known(connection, kind):
            continue
        return kind, recording
    return None


def _try_known(connection: ApiConnection, kind: ListedKind) -> bool:
    try:
        return is_known(connection, kind)
    except ClusterError:
        return True


def _read(connection: ApiConnection, kind: ListedKind, directory: str) -> Recording:
    """A list, or a recording that tells why there is none."""
    try:
        return list_kind(connection, kind, directory)
    except ClusterError as error:
        return Recording(source=_source(directory, kind.recording), content=b"", stderr=error.message)


def _config_maps(connection: ApiConnection, wanted: Sequence[NamedConfigMap]) -> tuple[dict[str, Recording], list[Gap]]:
    """The ConfigMaps that are there, one list for each namespace, and a gap that names those that were refused."""
    items: dict[str, list[bytes]] = {}
    refused: list[NamedConfigMap] = []
    gaps: list[Gap] = []
    for config_map in wanted:
        try:
            answer = connection.get(config_map.path)
        except ClusterError as error:
            gaps.append(Gap(subject=f"ConfigMap {config_map.namespace}/{config_map.name}", reason=error.message))
            continue
        if answer.status == 200 and _is_object(answer.body):
            items.setdefault(config_map.namespace, []).append(with_time_of_change(answer.body.strip()))
        elif answer.status == 403:
            refused.append(config_map)
        elif answer.status != 404:
            gaps.append(
                Gap(
                    subject=f"ConfigMap {config_map.namespace}/{config_map.name}",
                    reason=f"the API server answered with HTTP status {answer.status}",
                )
            )
    if refused:
        names = ", ".join(f"{item.namespace}/{item.name}" for item in refused)
        gaps.append(
            Gap(
                subject="configmaps",
                reason=f"cannot get {names}: forbidden; see kubectl auth can-i {refused[0].permission}",
            )
        )
    recordings = {}
    for namespace, found in sorted(items.items()):
        document = list_document(found, kind="ConfigMapList", api_version="v1")
        name = f"{namespace}-configmaps"
        recordings[name] = _recording(CLUSTER, name, Answer(status=200, body=document))
    return recordings, gaps


def _is_object(body: bytes) -> bool:
    try:
        return isinstance(json.loads(body), dict)
    except (ValueError, RecursionError):
        return False


def _refusal(recording: Recording, permission: str) -> str:
    if recording.http_status == 403:
        return f"cannot list them: forbidden; see kubectl auth can-i {permission}"
    if recording.http_status is None:
        return f"cannot list them: {recording.stderr}"
    return f"cannot list them: the API server answered with HTTP status {recording.http_status}"


def _unauthorized(connection: ApiConnection) -> ClusterError:
    return ClusterError(
        f"the API server {connection.server} does not accept the credentials (401 Unauthorized)",
        hint="they may have expired: log in again; kubectl auth whoami shows who you are",
    )


def _recording(directory: str, name: str, answer: Answer) -> Recording:
    return Recording(source=_source(directory, name), content=answer.body, http_status=answer.status)


def _source(directory: str, name: str) -> str:
    return f"{directory}/{name}.json"
