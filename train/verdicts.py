"""What the check said of every picture, kept beside the runs: a resume need not open all of them again.

check = Check(Path("runs/pictures.json"))
photos = check.usable([Path("shared/data/photos")])
"""

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeAlias, cast

from train.data import Entry, Summary, Verdict, find_pictures, summarise, verdict

Known: TypeAlias = dict[str, dict[str, Any]]
"""By the path of a shard or picture: its size in bytes, its time in ns, and the verdicts on what is refused of it, by
the place in the file."""


class Check:
    """Opens pictures once, and says which of them may be learnt from."""

    def __init__(
        self,
        kept: Path | None = None,
        *,
        track: Callable[[Sequence[Entry]], Iterable[Entry]] = iter,
        tell: Callable[[str], None] = lambda line: None,
    ) -> None:
        """kept: the file of verdicts, None for none. track: draws progress; tell: called with what was refused."""
        self._kept, self._track, self._tell = kept, track, tell
        self._told: set[str] = set()

    def usable(self, sources: Sequence[Path], *, grey: bool = False) -> list[Entry]:
        """The pictures that aren't broken or tiny, nor, unless `grey` may be, without colour.

        Raises ValueError where none is left.
        """
        entries = find_pictures(sources)
        judged = list(zip(entries, self._verdicts(entries), strict=True))
        wanted = ("kept", "grey") if grey else ("kept",)
        usable = [entry for entry, found in judged if found in wanted]
        self._say(summarise(judged), len(usable), ", ".join(map(str, sources)), grey=grey)
        if not usable:
            raise ValueError(f"{sources = }: no picture there can be learnt from; `python -m train data` says why")
        return usable

    def _say(self, summary: Summary, usable: int, sources: str, *, grey: bool) -> None:
        if sources in self._told or usable == summary.pictures:
            return
        self._told.add(sources)
        refused = f"{summary.broken} broken, {summary.tiny} tiny" + ("" if grey else f", {summary.grey} near-grey")
        self._tell(f"{sources}: {usable} of {summary.pictures} pictures can be learnt from; refused: {refused}")

    def _verdicts(self, entries: Sequence[Entry]) -> list[Verdict]:
        known = self._read()
        stamps = {path: _stamp(path) for path in {entry.path for entry in entries}}
        fresh = [entry for entry in entries if not _same(known.get(_key(entry)), stamps[entry.path])]
        for entry in fresh:
            known[_key(entry)] = stamps[entry.path] | {"refused": {}}
        for entry in self._track(fresh) if fresh else ():
            found = verdict(entry)
            if found != "kept":
                known[_key(entry)]["refused"][str(entry.offset)] = found
        if fresh:
            self._write(known)
        return [cast(Verdict, known[_key(entry)]["refused"].get(str(entry.offset), "kept")) for entry in entries]

    def _read(self) -> Known:
        if self._kept is None or not self._kept.is_file():
            return {}
        try:
            found: Known = json.loads(self._kept.read_text())
        except ValueError:
            self._tell(f"{self._kept}: can't be read; the pictures are checked anew")
            return {}
        return found

    def _write(self, known: Known) -> None:
        if self._kept is None:
            return
        self._kept.parent.mkdir(parents=True, exist_ok=True)
        part = self._kept.with_name(self._kept.name + ".part")
        part.write_text(json.dumps(known, indent=0) + "\n")
        part.replace(self._kept)


def _key(entry: Entry) -> str:
    return str(entry.path.absolute())


def _stamp(path: Path) -> dict[str, Any]:
    about = path.stat()
    return {"size": about.st_size, "time_ns": about.st_mtime_ns}


def _same(row: dict[str, Any] | None, stamp: dict[str, Any]) -> bool:
    return row is not None and row | stamp == row
