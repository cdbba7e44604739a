"""OpenSSH's known_hosts files: whose key is known, at which line, and new ones written."""

from __future__ import annotations

import base64
import binascii
import fnmatch
import hashlib
import hmac
import os
import threading
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownKey:
    """One line. `place` is `file:line`; `marker` is `@revoked`, `@cert-authority` or empty."""

    file: Path
    line: int
    key_type: str
    blob: bytes
    marker: str = ""

    @property
    def place(self) -> str:
        """Where it stands."""
        return f"{self.file}:{self.line}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pattern:
    text: str
    key: KnownKey


class KnownHosts:
    """The keys in some files, which are read once; a file that cannot be read has none. May be used from several threads.

    Patterns with wildcards, `!` and hashed names are understood, as sshd(8) describes them.
    """

    def __init__(self, files: tuple[Path, ...]) -> None:
        self.files = files
        self._lock = threading.Lock()
        self._plain: dict[str, list[KnownKey]] = {}
        self._hashed: list[_Pattern] = []
        self._wild: list[_Pattern] = []
        for file in files:
            self._read(file)

    def keys_of(self, host_names: tuple[str, ...]) -> tuple[KnownKey, ...]:
        """All lines for any of these names of one host (`10.0.0.1`, `[10.0.0.1]:2222`), in the order of the files."""
        with self._lock:
            found: dict[str, KnownKey] = {}
            for host_name in host_names:
                lower = host_name.lower()
                for key in self._plain.get(lower, ()):
                    found[key.place] = key
                for pattern in self._hashed:
                    if _hash_matches(pattern.text, lower):
                        found[pattern.key.place] = pattern.key
                for pattern in self._wild:
                    if _pattern_matches(pattern.text, lower):
                        found[pattern.key.place] = pattern.key
        order = {file: index for index, file in enumerate(self.files)}
        return tuple(sorted(found.values(), key=lambda key: (order[key.file], key.line)))

    def add(self, host_name: str, key_type: str, blob: bytes) -> None:
        """Write a new key to the first file, which is made if need be. Raises OSError."""
        file = self.files[0]
        with self._lock:
            file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            text = f"{host_name} {key_type} {base64.b64encode(blob).decode()}\n"
            descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
            with os.fdopen(descriptor, "rb+", buffering=0) as stream:
                existing = stream.read()
                if existing and not existing.endswith(b"\n"):
                    text = "\n" + text
                stream.write(text.encode())
            line = existing.count(b"\n") + (2 if text.startswith("\n") else 1)
            key = KnownKey(file=file, line=line, key_type=key_type, blob=blob)
            self._plain.setdefault(host_name.lower(), []).append(key)

    def _read(self, file: Path) -> None:
        try:
            text = file.read_text(encoding="utf-8", errors="replace")
        except OSError:
            return
        for number, line in enumerate(text.splitlines(), start=1):
            words = line.split()
            marker = words.pop(0) if words and words[0].startswith("@") else ""
            if len(words) < 3 or words[0].startswith("#"):
                continue
            try:
                blob = base64.b64decode(words[2], validate=True)
            except (binascii.Error, ValueError):
                continue
            key = KnownKey(file=file, line=number, key_type=words[1], blob=blob, marker=marker)
            names = words[0].lower()
            if words[0].startswith("|1|"):
                self._hashed.append(_Pattern(text=words[0], key=key))
            elif any(letter in names for letter in "*?!"):
                self._wild.append(_Pattern(text=names, key=key))
            else:
                for host_name in names.split(","):
                    self._plain.setdefault(host_name, []).append(key)


def fingerprint(blob: bytes) -> str:
    """A key as ssh-keygen -l shows it."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")


def _hash_matches(pattern: str, host_name: str) -> bool:
    try:
        _, _, salt, digest = pattern.split("|")
        computed = hmac.new(base64.b64decode(salt), host_name.encode(), hashlib.sha1).digest()
        return hmac.compare_digest(computed, base64.b64decode(digest))
    except ValueError:  # binascii.Error is one
        return False


def _pattern_matches(patterns: str, host_name: str) -> bool:
    """True if one pattern matches and no negated one does. Brackets are letters here, not sets of letters."""
    matched = False
    for pattern in patterns.split(","):
        bare = pattern.removeprefix("!")
        if fnmatch.fnmatchcase(host_name, bare.replace("[", "[[]")):
            if pattern.startswith("!"):
                return False
            matched = True
    return matched
