"""What became of a batch of films, film by film."""

from dataclasses import asdict, dataclass, field
from typing import Any, Literal, TypeAlias, get_args

from stream.errors import EXIT_DAMAGED, EXIT_DONE

Status: TypeAlias = Literal["done", "damaged", "skipped", "failed"]
STATUSES: tuple[Status, ...] = get_args(Status)


@dataclass(kw_only=True)
class Row:
    """What became of one film."""

    source: str
    target: str
    status: Status
    message: str = ""
    """Of a failure, or why it was left out."""
    seconds: float = 0.0
    report: dict[str, Any] = field(default_factory=dict)
    """metrics.Report of the film."""

    @property
    def reason(self) -> str:
        """The message, where the film is named already."""
        return self.message.removeprefix(f"{self.source}: ")

    def line(self) -> str:
        """For people."""
        frames = (
            f"{self.report['frames_out']} frames, {self.seconds:.0f} s" if self.status in ("done", "damaged") else ""
        )
        notices = "; ".join(self.report.get("notices", ()))
        told = "; ".join(part for part in (frames, self.reason, notices) if part)
        return f"{self.status} {self.source}: {told}"


@dataclass(kw_only=True)
class Summary:
    """All of a batch."""

    seconds: float = 0.0
    _rows: dict[str, Row] = field(default_factory=dict)

    def note(self, row: Row) -> None:
        """Adds a film; one that came again takes the place of what became of it before."""
        self._rows.pop(row.source, None)
        self._rows[row.source] = row

    @property
    def rows(self) -> list[Row]:
        """Of all films, in the order in which they were done."""
        return list(self._rows.values())

    @property
    def exit_code(self) -> int:
        """5 if any film failed or lost something."""
        return EXIT_DAMAGED if any(row.status in ("damaged", "failed") for row in self.rows) else EXIT_DONE

    def counts(self) -> dict[str, int]:
        """Films by what became of them, and frames that were made."""
        counts = {status: sum(row.status == status for row in self.rows) for status in STATUSES}
        made = sum(row.report.get("frames_out", 0) for row in self.rows if row.status != "skipped")
        return {"films": len(self.rows)} | counts | {"frames": made}

    def as_dict(self) -> dict[str, object]:
        """For --json, and the report."""
        return {"counts": self.counts(), "seconds": round(self.seconds, 1), "rows": [asdict(row) for row in self.rows]}

    def lines(self) -> list[str]:
        """For people: what went wrong, then the counts."""
        counts = self.counts()
        words = ", ".join(f"{counts[status]} {status}" for status in STATUSES if counts[status])
        return [row.line() for row in self.rows if row.status in ("damaged", "failed")] + [
            f"{counts['films']} films: {words or 'none'}; {counts['frames']} frames in {self.seconds:.0f} s"
        ]
