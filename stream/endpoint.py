"""Where a ZeroMQ socket may be: the user's own ipc folder and loopback; anywhere else needs keys.

reel                         ipc in the user's runtime folder, for this user alone
ipc:///a/path  tcp://127.0.0.1:5555
push+ENDPOINT                the same for one lossless consumer (PUSH/PULL) instead of any number of watchers
"""

import ipaddress
import os
import re
import socket
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from stream.errors import OutputError, UsageError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_TCP = re.compile(r"tcp://(\[[0-9a-fA-F:.]+\]|[^:\[\]/]+):(\d{1,5}|\*)")
_MAX_PATH = 100  # of a Unix socket, 108 bytes with what ZeroMQ adds
_ANSWER_S = 1.0


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """An address that was found to be safe, or that the user vouched for."""

    address: str
    """What ZeroMQ binds or connects to."""
    kind: Literal["pub", "push"] = "pub"
    """Any number of watchers that may miss pictures, or a consumer that gets every one."""

    @property
    def path(self) -> Path | None:
        """The socket's file, where it has one."""
        return Path(self.address.removeprefix("ipc://")) if self.address.startswith("ipc://") else None

    @property
    def any_port(self) -> bool:
        """The system chooses the port: whoever binds has to say which one it was."""
        return self.address.endswith(":*")

    def check_free(self) -> None:
        """Raises OutputError where binding would take something away: ZeroMQ removes whatever has the socket's path."""
        if self.path is None:
            return
        try:
            facts = self.path.lstat()
        except OSError:  # nothing is there; where the folder is missing too, binding says so
            return
        if not stat.S_ISSOCK(facts.st_mode):
            raise OutputError(f"{self}: is there already and is no socket; choose another endpoint")
        if _is_served(self.path):
            raise OutputError(f"{self}: in use by a running program; choose another endpoint")

    def __str__(self) -> str:
        return ("push+" if self.kind == "push" else "") + self.address


def resolve(text: str, *, trusted: bool = False, connect: bool = False, private: bool = False) -> Endpoint:
    """The endpoint that `text` names.

    trusted: keys protect it, or the user said --insecure. Whoever only connects needs neither.
    private: this machine's other users must not reach it either, as they reach loopback.
    """
    kind: Literal["pub", "push"] = "push" if text.startswith("push+") else "pub"
    place = text.removeprefix("push+")
    if _NAME.fullmatch(place):
        place = f"ipc://{runtime_folder() / place}"
    if place.startswith("ipc://"):
        return Endpoint(address=_check_ipc(place), kind=kind)
    found = _TCP.fullmatch(place)
    if found is None or (found[2] != "*" and not 0 < int(found[2]) < 65536):
        raise UsageError(f"endpoint {text!r}; a NAME, ipc:///PATH or tcp://HOST:PORT is allowed (push+ before it)")
    if not (trusted or connect or is_loopback(found[1].strip("[]"))):
        raise UsageError(
            f"endpoint {text!r} can be reached from other machines; give it keys (--keys, made by kinochrome keys), "
            "or say --insecure"
        )
    if private and not (trusted or connect):
        raise UsageError(
            f"endpoint {text!r} can be reached by every user of this machine; give a NAME, or keys (--keys, made by "
            "kinochrome keys), or say --insecure"
        )
    return Endpoint(address=place, kind=kind)


def is_loopback(host: str) -> bool:
    """Whether the host can be reached from this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def runtime_folder() -> Path:
    """The user's own folder for sockets, mode 0700: $XDG_RUNTIME_DIR/kinochrome, else one in the temporary folder."""
    base = os.environ.get("XDG_RUNTIME_DIR")
    folder = Path(base) / "kinochrome" if base else Path(tempfile.gettempdir()) / f"kinochrome-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        facts = folder.lstat()
    except OSError as error:
        raise OutputError(
            f"{folder}: no folder for sockets there ({error.strerror}); set XDG_RUNTIME_DIR, or give ipc:///PATH"
        ) from error
    # In /tmp anybody could have made it before us.
    if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.getuid() or facts.st_mode & 0o077:
        raise OutputError(f"{folder}: must be a folder of yours with mode 0700; remove it, or set XDG_RUNTIME_DIR")
    return folder


def _is_served(path: Path) -> bool:
    """Whether a program listens there; one that was killed leaves its socket behind, and that one refuses."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as caller:
        caller.settimeout(_ANSWER_S)
        try:
            caller.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):  # or it has gone since
            return False
        except OSError:  # too busy to answer, somebody else's, or of another kind: not ours to take
            return True
    return True


def _check_ipc(place: str) -> str:
    path = place.removeprefix("ipc://")
    if not path.startswith("/") or len(path.encode()) > _MAX_PATH:
        # ipc://@name is Linux's abstract namespace: open to every user, without a mode.
        raise UsageError(f"endpoint {place!r}; ipc:// needs a full path of at most {_MAX_PATH} bytes")
    return place
