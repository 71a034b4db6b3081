"""What others may know: pages, sockets, metrics and streams get no folder of this machine, no password and no key."""

import re
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, urlsplit, urlunsplit

from stream.container import is_url

LONGEST: Final = 64
"""Characters of a picture's name as a look."""
_FOLDERS: Final = re.compile(r"(?<![\w:/.~])(?:~|\.{1,2})?/(?:[^\s/:'\"]+/)+")
_HIDDEN: Final = "..."


def public_name(source: str) -> str:
    """A source's: no folders of this machine, no password or key in an address."""
    if is_url(source):
        parts = _split(source)
        path = parts.path.rpartition("/")[2] if parts.scheme.endswith("ipc") else parts.path
        return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], path, "", ""))
    return source if source.startswith("camera ") else source.rsplit("/", 1)[-1]


def public_target(target: str) -> str:
    """A recording's: of an address the last part is left out too, for that is the key of an RTMP stream."""
    if not is_url(target):
        return Path(target).name
    parts = _split(target)
    path = parts.path.rstrip("/").rpartition("/")[0]
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], f"{path}/", "", ""))


def public_look(path: str) -> str:
    """A look's that was read off a picture: its file name, in printable ASCII."""
    return "".join(letter if " " <= letter <= "~" else "_" for letter in Path(path).name)[:LONGEST]


def scrub(text: str, target: str = "") -> str:
    """A message without folders, and without what is secret in `target`, a path or an address that it may name."""
    if is_url(target):
        parts = _split(target)
        text = text.replace(target, public_target(target))
        last = parts.path.rstrip("/").rpartition("/")[2]
        # Piece by piece as well: a path made of an address, or a library, writes it in another way.
        for secret in (parts.query, parts.fragment, parts.netloc.rpartition("@")[0], last):
            text = text.replace(secret, _HIDDEN) if secret else text
    elif target:
        for folder in {str(Path(target).parent), str(Path(target).resolve().parent)} - {"."}:
            text = text.replace(f"{folder}/", "").replace(folder, _HIDDEN)
    return _FOLDERS.sub("", text)


def _split(address: str) -> SplitResult:
    try:
        return urlsplit(address)
    except ValueError:  # brackets that don't match: nothing of it is sure to be harmless
        return SplitResult(address.split("://")[0], "", "", "", "")
