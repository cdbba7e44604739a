"""Takes out of recorded text what must not leave a cluster: private keys, tokens, passwords, kubeconfigs.

kdiag never asks for Secrets. But ConfigMaps, environment variables and command lines sometimes hold what belongs into
one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from kdiag.model.snapshot import Recording

_BLOT = b"REDACTED"

_KEY_BODY = rb"[A-Za-z0-9+/=\s\\:,-]"
_PRIVATE_KEY = re.compile(
    rb"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY-----"
    rb"(?:" + _KEY_BODY + rb"*?-----END [A-Z0-9 ]{0,40}PRIVATE KEY-----|" + _KEY_BODY + rb"*)"
)
_JSON_WEB_TOKEN = re.compile(rb"\beyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]*")
_BEARER = re.compile(rb"(?i)(\bbearer\s+)(?!REDACTED)[\w.~+/-]{8,}=*")
_KUBECONFIG = re.compile(rb'("[^"\\]*kubeconfig[^"\\]*"\s*:\s*")([^"\\]*(?:\\.[^"\\]*)*)(?=")')
_NAMED_VALUE = re.compile(
    rb'(?i)("name"\s*:\s*"[^"\\]*(?:password|passwd|passphrase|token|secret|credential|api_?key|access_?key'
    rb'|private_?key)[^"\\]*"\s*,\s*"value"\s*:\s*")([^"\\]+(?:\\.[^"\\]*)*)(?=")'
)
# A colon counts only with a space or a quote after it: `token:https` in a rule is a Service's name and port.
_FIELD = re.compile(
    rb"(?i)((?:client-key-data|token|password|passwd|passphrase|client-secret)"
    rb"(?:\s?=\s?|:\s+|(?:\\*\"):\s*)(?:\\*\"|')?)"
    rb"(?!REDACTED|true\b|false\b|null\b)[^\s\"'\\,/{}\[\]][^\s\"'\\,{}\[\]]{5,}"
)


def redact(content: bytes) -> bytes:
    """`content` with every private key, token, password and kubeconfig replaced; the number of lines stays.

    Works on plain text, JSON and JSON inside of JSON strings; what is redacted already is left as it is. A value is
    known by what it looks like (PEM, JSON web token) or by the name that stands beside it.
    """
    lower = content.lower()  # searching for a word is far faster than a pattern that cannot match
    if b"private key-----" in lower:
        content = _PRIVATE_KEY.sub(_blot_lines, content)
    if b"eyJ" in content:
        content = _JSON_WEB_TOKEN.sub(_BLOT, content)
    if b"bearer" in lower:
        content = _BEARER.sub(rb"\1" + _BLOT, content)
    if b"kubeconfig" in lower:
        content = _KUBECONFIG.sub(_blot_text, content)
    if b'"value"' in lower:
        content = _NAMED_VALUE.sub(rb"\1" + _BLOT, content)
    if any(word in lower for word in (b"token", b"passw", b"passphrase", b"client-")):
        content = _FIELD.sub(rb"\1" + _BLOT, content)
    return content


def redact_nodes(nodes: Mapping[str, Mapping[str, Recording]]) -> dict[str, dict[str, Recording]]:
    """The recordings of nodes redacted, sorted. What several nodes have alike is gone through once, and stays alike."""
    known: dict[bytes, bytes] = {}
    return {node: redact_recordings(probes, known) for node, probes in sorted(nodes.items())}


def redact_recordings(
    recordings: Mapping[str, Recording], known: dict[bytes, bytes] | None = None
) -> dict[str, Recording]:
    """Recordings with their contents and error texts redacted, sorted by name; those that had nothing are not copied.

    `known` maps contents to what they were redacted to, and is added to.
    """
    out: dict[str, Recording] = {}
    for name, recording in sorted(recordings.items()):
        original = recording.content
        content = None if known is None else known.get(original)
        if content is None:
            content = redact(original)
            if known is not None:
                known[original] = content
        stderr = redact(recording.stderr.encode(errors="replace")).decode() if recording.stderr else ""
        changed = content != original or stderr != recording.stderr
        out[name] = recording.replaced(content=content, stderr=stderr) if changed else recording
    return out


def _blot_lines(match: re.Match[bytes]) -> bytes:
    return _BLOT + b"\n" * match.group().count(b"\n")


def _blot_text(match: re.Match[bytes]) -> bytes:
    """A file's text (it has line ends) is blotted out, a file's path is kept."""
    return match[1] + _BLOT if b"\\n" in match[2] else match[0]
