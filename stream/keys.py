"""CURVE keys as files: a secret one for its owner alone (0600), a public one to hand out. ZeroMQ's own text format."""

import os
import re
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from stream.errors import InputError, OutputError, UsageError

_KEY = re.compile(r'^\s*(public|secret)-key\s*=\s*"([^"\n]{40})"\s*$', re.MULTILINE)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_MAX_BYTES = 4096
_Z85 = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"


@dataclass(frozen=True, kw_only=True, repr=False)
class Pair:
    """A key pair in Z85, 40 characters each; `secret` is empty where only the public half is known."""

    public: str
    secret: str = ""


@dataclass(frozen=True, kw_only=True)
class Security:
    """How a socket is protected; nothing at all is enough for ipc and loopback."""

    own: Path | None = None
    """Our secret key file."""
    peers: Path | None = None
    """Who binds: a folder with the public keys of those who may connect. Who connects: the public key of the other."""
    insecure: bool = False
    """The user said that anybody may connect."""

    @property
    def trusted(self) -> bool:
        """Whether an address outside this machine is allowed."""
        return self.insecure or self.own is not None

    def pair(self) -> Pair | None:
        """Our keys, None without; UsageError where one half of what is needed is missing."""
        if self.own is None:
            if self.peers is not None:
                raise UsageError(
                    f"{self.peers}: keys of others need keys of your own (--keys, made by kinochrome keys)"
                )
            return None
        pair = read_key(self.own)
        if not pair.secret:
            raise UsageError(f"{self.own}: holds no secret key; give the file NAME.key_secret")
        return pair

    def allowed(self) -> frozenset[str]:
        """The public keys of those who may connect."""
        if self.peers is None or not self.peers.is_dir():
            raise UsageError(
                f"--allow {self.peers}: name a folder with the public keys (*.key) of those who may connect"
            )
        found = frozenset(read_key(path).public for path in sorted(self.peers.glob("*.key")))
        if not found:
            raise UsageError(f"{self.peers}: has no *.key in it, so nobody could connect")
        return found

    def server(self) -> str:
        """The public key of the one we connect to."""
        if self.peers is None:
            raise UsageError("keys of your own need the publisher's public key too (--server NAME.key)")
        return read_key(self.peers).public


def read_key(path: Path) -> Pair:
    """The pair in a key file."""
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            text = file.read(_MAX_BYTES).decode("utf-8", "replace")
    except OSError as error:
        raise InputError(f"{path}: can't be read ({error.strerror})") from error
    found = dict(_KEY.findall(text))
    if "public" not in found or not all(map(_is_key, found.values())):
        raise InputError(f"{path}: is no key file; kinochrome keys makes one")
    if "secret" in found and mode & 0o077:
        raise InputError(f"{path}: a secret key that others may read (mode {mode:04o}); chmod 600 {path}")
    return Pair(public=found["public"], secret=found.get("secret", ""))


def _is_key(text: str) -> bool:
    try:
        decode_key(text)
    except (ValueError, OverflowError):  # a character that Z85 has not, five that are more than 32 bits
        return False
    return True


def decode_key(text: str) -> bytes:
    """The 32 bytes of a key written in Z85 (ZeroMQ RFC 32)."""
    raw = bytearray()
    for start in range(0, len(text), 5):
        value = 0
        for character in text[start : start + 5]:
            value = value * 85 + _Z85.index(character)
        raw += value.to_bytes(4, "big")
    return bytes(raw)


def write_keys(name: str, folder: Path, make: Callable[[], Pair]) -> tuple[Path, Path]:
    """Makes NAME.key and NAME.key_secret in `folder`; never replaces one. Returns their paths."""
    if not _NAME.fullmatch(name):
        raise UsageError(f"key name {name!r}; letters, digits, - and _ are allowed")
    public, secret = folder / f"{name}.key", folder / f"{name}.key_secret"
    for path in (public, secret):  # before anything is made: a secret key alone would be in the way of the next try
        if os.path.lexists(path):
            raise _taken(path)
    pair = make()
    head = "# Kinochrome, CURVE key for ZeroMQ (ZPL)\n"
    line = f'curve\n    public-key = "{pair.public}"\n'
    _write(secret, f'{head}# SECRET: for its owner alone.\n{line}    secret-key = "{pair.secret}"\n', 0o600)
    try:
        _write(public, f"{head}# Public: hand it out.\n{line}", 0o644)
    except OutputError:
        secret.unlink(missing_ok=True)
        raise
    return public, secret


def _write(path: Path, text: str, mode: int) -> None:
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    except FileExistsError as error:
        raise _taken(path) from error
    except OSError as error:
        raise OutputError(f"{path}: can't be written ({error.strerror})") from error
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:  # a full disk; half a key is none
        path.unlink(missing_ok=True)
        raise OutputError(f"{path}: can't be written ({error.strerror})") from error


def _taken(path: Path) -> OutputError:
    return OutputError(f"{path}: exists already; choose another name, or remove it")
