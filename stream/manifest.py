"""What a job that can go on writes down: what it was begun with, and what is finished."""

import json
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Place:
    """A seam, and how to find it in the film."""

    number: int
    """Of the segment's first frame, from 0."""
    carried: bool = False
    """It goes on with a shot; the state of that lies in a file."""
    lead: tuple[tuple[int, int], ...] = ()
    """(pts, CRC-32 of the luma) of some frames before the first one, and of that; by them it is found again."""

    @property
    def first(self) -> int:
        """Number of the first frame that must be read."""
        return self.number - max(0, len(self.lead) - 1)


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A finished segment."""

    start: int
    end: int
    """Number of the first frame behind it."""
    sha256: str
    """Of its file."""
    bytes: int
    counts: dict[str, int | float | bool]
    """What the reader's tally grew by."""
    next: Place | None
    """Where the next segment begins; None at the end of the film."""
    remarks: tuple[str, ...] = ()
    """What the reader's tally has to tell of it."""


@dataclass(frozen=True, kw_only=True)
class Listed:
    """A shot of a list, as its segments are made."""

    first: int
    end: int | None
    """Number of the first frame behind it; None at the end of the film."""
    digest: str
    """What is wanted of it (`Shot.digest`)."""
    runtime: str = field(default="", compare=False)
    """Its name, which must stay the same while the shot does, unless mixing is allowed; "" where it is left grey."""


@dataclass(kw_only=True)
class Manifest:
    """All that is known of a job."""

    source: dict[str, Any]
    """What `describe_source` says of it."""
    made_with: dict[str, Any]
    """Version, weights, settings and output: the same, or the segments don't fit together."""
    engine: dict[str, str]
    """Runtime with its precision, and the GPU or the processor's family: the same, unless mixing is allowed."""
    encoder_threads: int
    entries: dict[int, Entry] = field(default_factory=dict)
    """By the number of their first frame."""
    shots: tuple[Listed, ...] = ()
    """Those of the film's list; none without one."""
    notices: list[str] = field(default_factory=list)
    finished: dict[str, Any] | None = None
    """The report, from just before the film gets its name."""

    def as_json(self) -> str:
        """The file's text."""
        content = asdict(self) | {"entries": [asdict(entry) for _, entry in sorted(self.entries.items())]}
        return json.dumps(content, indent=1) + "\n"

    @classmethod
    def of_json(cls, text: str) -> "Manifest":
        """The reverse."""
        content = json.loads(text)
        entries = [
            Entry(**entry | {"next": _place(entry["next"]), "remarks": tuple(entry.get("remarks", ()))})
            for entry in content.pop("entries")
        ]
        shots = tuple(Listed(**shot) for shot in content.pop("shots", ()))
        return cls(**content, shots=shots, entries={entry.start: entry for entry in entries})


def _place(content: dict[str, Any] | None) -> Place | None:
    if content is None:
        return None
    return Place(**content | {"lead": tuple((pts, crc) for pts, crc in content["lead"])})
