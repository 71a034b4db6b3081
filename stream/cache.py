"""Where built engines are kept: found by everything that they depend on, checked before use, replaced whole.

    with locked(key) as slot:
        found = slot.read()                     # None: there is none that may be used; slot.complaint says why
        if found is None:
            slot.write(build)                   # into a folder beside, moved there when complete
            slot.approve({"p999_levels": 0.4})  # only now does anybody else use it

`$XDG_CACHE_HOME/kinochrome/engines/WEIGHTS/FACTS/`: the engine's files, and meta.json with the facts and the sha256 of
every file. Nothing of it is ever unpickled, and no byte reaches a library before its checksum is compared: a damaged
engine or timing cache can abort a process.
"""

import fcntl
import hashlib
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeAlias

import model
from stream.errors import EngineError, ResourceError

META = "meta.json"
KEPT_MB = 4096
"""What all engines together may take before those unused for longest make room."""
_LOCK, _WORK = ".lock-", ".work-"
_STALE_WORK_S = 24 * 3600.0  # a conversion takes minutes; what a killed one left is not touched while it might live
State: TypeAlias = Literal["ok", "refused", "damaged", "unfinished"]


@dataclass(frozen=True, kw_only=True)
class Key:
    """What an engine depends on: where anything differs it is another engine."""

    weights_sha256: str
    facts: tuple[str, ...]
    """Runtime, versions, device, graph, size, batch and precision, in words."""

    @property
    def folder(self) -> Path:
        """Where it is kept."""
        words = (re.sub(r"[^A-Za-z0-9.]+", "_", fact).strip("_.") for fact in self.facts)
        return engines_folder() / self.weights_sha256[:16] / "-".join(words)


@cache
def code(runtime: str) -> str:
    """A fact for keys: what the network and a runtime, the file of its module, are programmed to do.

    Between two versions the code changes as well, and an engine of the code before would be taken for the new one's.
    """
    files = [*sorted(Path(model.__file__).parent.glob("*.py")), Path(runtime)]
    summed = hashlib.sha256()
    for path in files:
        summed.update(f"{path.name}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
    return f"code {summed.hexdigest()[:12]}"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One kept engine, as `kinochrome cache list` shows it."""

    folder: Path
    facts: tuple[str, ...]
    weights_sha256: str
    mb: float
    used: float
    """When it was last opened, in seconds since 1970."""
    state: State
    detail: str = ""
    """Why it is not ok."""

    def as_dict(self) -> dict[str, object]:
        """For `--json`."""
        used = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.used))
        told = {"folder": str(self.folder), "facts": list(self.facts), "weights_sha256": self.weights_sha256}
        return told | {"mb": round(self.mb, 1), "used": used, "state": self.state, "detail": self.detail}


def cache_folder() -> Path:
    """Where converted engines are kept: $XDG_CACHE_HOME/kinochrome, readable by its owner alone."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return _private(Path(base) / "kinochrome")


def engines_folder() -> Path:
    """The part of it that holds engines."""
    return _private(cache_folder() / "engines")


def _private(folder: Path) -> Path:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise EngineError(
            f"{folder}: converted engines can't be kept there ({error.strerror}); name another folder with "
            "XDG_CACHE_HOME, or use --runtime torch"
        ) from error
    return folder


class Slot:
    """The place of one engine, while it is locked."""

    def __init__(self, key: Key) -> None:
        self.key = key
        self.folder = key.folder
        self.complaint = ""
        """Why what was found here may not be used; "" where nothing was found."""

    def read(self) -> dict[str, Any] | None:
        """What was written down about the engine, if its files are those that were; and notes that it was used."""
        if not (self.folder / META).is_file():
            return None
        meta, self.complaint = inspect(self.folder)
        if not self.complaint and (meta["facts"], meta["weights_sha256"]) != (
            list(self.key.facts),
            self.key.weights_sha256,
        ):
            self.complaint = "was built for something else"
        if self.complaint:
            self.complaint = f"the kept engine {self.folder.name} {self.complaint}; it is built again"
            return None
        os.utime(self.folder / META)
        return meta

    def reject(self, reason: str) -> None:
        """The library itself would not take what `read` had found in order."""
        self.complaint = f"the kept engine {self.folder.name} can't be loaded ({reason}); it is built again"

    def write(self, make: Callable[[Path], object]) -> None:
        """Has the files made in an empty folder and puts it in place of what there was; nobody uses it yet."""
        work = Path(tempfile.mkdtemp(prefix=_WORK, dir=self.folder.parent))
        try:
            make(work)
            for path in work.iterdir():
                _sync(path)
            shutil.rmtree(self.folder, ignore_errors=True)
            work.replace(self.folder)
        except OSError as error:
            raise _full(self.folder.parent, error) from error
        finally:
            shutil.rmtree(work, ignore_errors=True)

    def approve(self, told: dict[str, Any]) -> None:
        """Writes down what the engine is and what was found out about it; the oldest engines make room."""
        meta = {
            "weights_sha256": self.key.weights_sha256,
            "facts": list(self.key.facts),
            "made": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            **told,
            "sha256": digests(self.folder),
        }
        part = self.folder / f"{META}.part"
        try:
            part.write_text(json.dumps(meta, indent=1) + "\n")
            _sync(part)
            part.replace(self.folder / META)
        except OSError as error:
            raise _full(self.folder.parent, error) from error
        prune(KEPT_MB, keep=self.folder)


def _full(folder: Path, error: OSError) -> ResourceError:
    return ResourceError(
        f"{folder}: the engine can't be written ({error.strerror}); make room, or name another folder with "
        "XDG_CACHE_HOME"
    )


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


@contextmanager
def locked(key: Key) -> Iterator[Slot]:
    """The slot of an engine; another program that wants the same one waits, and then finds it."""
    parent = _private(key.folder.parent)
    with _lock(parent / f"{_LOCK}{key.folder.name}", wait=True):
        yield Slot(key)


@contextmanager
def _lock(path: Path, *, wait: bool) -> Iterator[bool]:
    """Whether the lock was had; it ends with the process at the latest, however that ends."""
    try:
        file = path.open("w")
    except OSError as error:
        raise EngineError(f"{path}: can't be locked ({error.strerror}); see XDG_CACHE_HOME") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
            return
        yield True


def digests(folder: Path) -> dict[str, str]:
    """sha256 of every file of an engine, by name: a damaged one would give wrong colours without a word."""
    files = sorted(path for path in folder.iterdir() if not path.name.startswith(META))
    found = {}
    for path in files:
        with path.open("rb") as file:
            found[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


def inspect(folder: Path) -> tuple[dict[str, Any], str]:
    """What is written down about a kept engine, and what is wrong with it, "" if nothing is."""
    try:
        meta = json.loads((folder / META).read_text())
        facts, sha256, weights = meta["facts"], meta["sha256"], meta["weights_sha256"]
        if not (isinstance(facts, list) and isinstance(sha256, dict) and isinstance(weights, str) and sha256):
            raise ValueError("facts, sha256 or weights_sha256 is of another kind")
        found = digests(folder)
    except FileNotFoundError:
        return {}, "was never finished"
    except (OSError, ValueError, KeyError, TypeError) as error:
        return {}, f"can't be read ({type(error).__name__})"
    wrong = sorted(name for name in found.keys() | sha256.keys() if found.get(name) != sha256.get(name))
    return meta, f"is damaged ({', '.join(wrong)})" if wrong else ""


def entries(*, check: bool = True) -> list[Entry]:
    """All kept engines, the one last used first; check: compares every file with its checksum."""
    folders = [path for path in engines_folder().glob("*/*") if path.is_dir() and not path.name.startswith(_WORK)]
    return sorted((_entry(folder, check=check) for folder in folders), key=lambda entry: -entry.used)


def _entry(folder: Path, *, check: bool) -> Entry:
    meta, wrong = inspect(folder) if check else _claims(folder)
    state: State = "ok"
    if wrong:
        state = "unfinished" if wrong == "was never finished" else "damaged"
    elif meta.get("refused"):
        state, wrong = "refused", str(meta["refused"])
    size, used = 0, 0.0
    with suppress(OSError):  # another program may be removing it
        used = (folder / META if (folder / META).is_file() else folder).stat().st_mtime
        size = sum(path.stat().st_size for path in folder.iterdir())
    return Entry(
        folder=folder,
        facts=tuple(meta.get("facts", ())),
        weights_sha256=str(meta.get("weights_sha256", "")),
        mb=size / 1e6,
        used=used,
        state=state,
        detail=wrong,
    )


def _claims(folder: Path) -> tuple[dict[str, Any], str]:
    try:
        meta = json.loads((folder / META).read_text())
    except FileNotFoundError:
        return {}, "was never finished"
    except (OSError, ValueError) as error:
        return {}, f"can't be read ({type(error).__name__})"
    return (meta, "") if isinstance(meta, dict) else ({}, "can't be read (no object)")


def prune(most_mb: float, *, keep: Path | None = None, damaged: bool = False) -> list[Entry]:
    """Removes the engines unused for longest until the others take at most `most_mb`; what was removed.

    damaged: those that are no good as well, refused ones too, whatever the room; every file is read for that. keep:
    stays in any case. An engine that another program has locked stays.
    """
    kept, removed, total = [], [], 0.0
    for entry in entries(check=damaged):
        unusable = damaged and entry.state != "ok"
        if entry.folder == keep or not (unusable or total + entry.mb > most_mb):
            kept.append(entry)
            total += entry.mb
        elif _remove(entry.folder):
            removed.append(entry)
    _sweep()
    return removed


def _remove(folder: Path) -> bool:
    with _lock(folder.parent / f"{_LOCK}{folder.name}", wait=False) as had:
        if had:
            (folder / META).unlink(missing_ok=True)  # first: without it nobody takes what is left for an engine
            shutil.rmtree(folder, ignore_errors=True)
        return had and not folder.exists()


def _sweep() -> None:
    """Removes what killed conversions left."""
    for work in engines_folder().glob(f"*/{_WORK}*"):
        with suppress(OSError):
            if time.time() - work.stat().st_mtime > _STALE_WORK_S:
                shutil.rmtree(work, ignore_errors=True)
