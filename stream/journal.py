"""What became of each film of a batch, in a line as soon as it is known: batch.jsonl, beside the results.

    journal = Journal(Path("colour/batch.jsonl"))
    journal.note(row, Path("colour/reel.mkv"), pair)

A line is on the disk before the next film begins, and none is written again for the others' sake: the thousandth film
costs what the first did. A film's two pictures lie in its line, so that a later run needn't decode what is done.
"""

import base64
import json
import os
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeAlias

from stream.part import finish_part
from stream.summary import Row

Pair: TypeAlias = tuple[bytes, bytes]
"""JPEGs before and after."""


class Journal:
    """Appends lines; knows those of earlier runs."""

    def __init__(self, path: Path) -> None:
        """Of what earlier runs wrote, the last line on each film is kept, and half a line that a kill left isn't."""
        self._path = path
        self._known: dict[str, dict[str, Any]] = {}
        lines, whole = 0, True
        with suppress(FileNotFoundError), path.open("rb") as file:
            for line in file:
                lines, whole = lines + 1, line.endswith(b"\n")
                with suppress(ValueError, KeyError, TypeError):
                    content = json.loads(line)
                    self._known[content["row"]["source"]] = content
        if lines != len(self._known) or not whole:
            part = path.with_name(path.name + ".part")
            part.write_bytes(b"".join(map(_line, self._known.values())))
            finish_part(part, path)

    def pictures(self, row: Row, result: Path) -> Pair | None:
        """Those of an earlier run; None where there are none of this very result. Told once, to save memory."""
        known = self._known.pop(row.source, None)
        if known is None or known["pictures"] is None:
            return None
        if (known["row"]["target"], known["result"]) != (row.target, _stamp(result)):
            return None
        before, after = (base64.b64decode(text) for text in known["pictures"])
        return before, after

    def note(self, row: Row, result: Path, pair: Pair | None) -> None:
        """Puts a film's line on the disk; what found no room is taken back."""
        pictures = None if pair is None else [base64.b64encode(data).decode() for data in pair]
        content = {"row": asdict(row), "result": _stamp(result), "pictures": pictures}
        end = self._path.stat().st_size if self._path.exists() else 0
        try:
            with self._path.open("ab") as file:
                file.write(_line(content))
                file.flush()
                os.fsync(file.fileno())
        except OSError:
            with suppress(OSError):
                os.truncate(self._path, end)
            raise


def _line(content: dict[str, Any]) -> bytes:
    return json.dumps(content).encode() + b"\n"


def _stamp(result: Path) -> list[int] | None:
    """By what a result is known to be the same; that of numbered pictures is their folder's."""
    with suppress(OSError):
        found = result.stat()
        return [found.st_size, found.st_mtime_ns]
    return None
