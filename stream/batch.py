"""A shelf of films: found, coloured one after the other, whatever happens to any of them, and reported on.

batch = Batch(Settings(), Job(), Path("colour"))
batch.work(find_tasks(Path("reels"), Path("colour"), patterns=()))
print(batch.summary.lines())
"""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

from stream import jpeg, media, stills
from stream.batch_page import write_page
from stream.colorize import Job, colorize
from stream.config import Settings
from stream.errors import EXIT_DONE, InputError, Interrupted, KinochromeError
from stream.frame import Frame
from stream.metrics import Report
from stream.part import finish_part, sidecar_of
from stream.shelf import Task
from stream.summary import Row, Summary

Colour: TypeAlias = Callable[[Path, Path, Callable[[int, int | None], None]], Report]
"""Makes a target of a source; its progress is called with the frames done and those expected."""

PICTURE_SIDE: Final = 320
"""Longest side of the report's pictures, in pixels."""
_PAGE_EVERY_S: Final = 60.0  # all pictures are in it: too large to be written after every film


def run(
    tasks: Sequence[Task],
    colour: Colour,
    *,
    done_with: dict[str, Any],
    overwrite: bool = False,
    progress: Callable[[float, str], None] | None = None,
) -> Iterator[Row]:
    """Makes what isn't made yet; yields what became of each film, and goes on after every failure.

    done_with: the settings; a result that was made with others is a failure, unless it may be overwritten.
    progress: called with the share of the bytes that is done, 0..1, and the film's name.
    Only an interruption ends it.
    """
    sizes = [_size(task.source) for task in tasks]
    whole, before = max(1, sum(sizes)), 0
    for task, size in zip(tasks, sizes, strict=True):
        told = _Share(progress, task.source.name, before / whole, size / whole)
        told(0, None)
        row = _left_out(task, done_with, overwrite=overwrite)
        yield _try(task, colour, told) if row is None else row
        before += size


@dataclass(frozen=True)
class _Share:
    """Turns the progress of a film into that of the whole batch."""

    tell: Callable[[float, str], None] | None
    name: str
    before: float
    own: float

    def __call__(self, done: int, expected: int | None) -> None:
        if self.tell is not None:
            self.tell(self.before + self.own * min(1.0, done / expected if expected else 0.0), self.name)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _left_out(task: Task, done_with: dict[str, Any], *, overwrite: bool) -> Row | None:
    """The row of a film that is not to be tried."""
    row = Row(source=str(task.source), target=str(task.target), status="failed", message=task.trouble or "")
    if task.trouble is not None:
        return row
    if not task.target.exists():
        return None
    sidecar = _read_sidecar(task.target)
    newer = task.source.exists() and task.source.stat().st_mtime > task.target.stat().st_mtime
    if sidecar.get("settings") == json.loads(json.dumps(done_with)) and not newer:
        row.status, row.message, row.report = "skipped", "done before", sidecar["report"]
        return row
    if overwrite:
        return None
    why = "is newer than" if newer else "was to be made with other settings than"
    row.message = f"the film {why} {task.target}; -y makes it again"
    return row


def _read_sidecar(target: Path) -> dict[str, Any]:
    try:
        content = json.loads(sidecar_of(target).read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _try(task: Task, colour: Colour, tell: Callable[[int, int | None], None]) -> Row:
    row = Row(source=str(task.source), target=str(task.target), status="failed")
    started = time.monotonic()
    try:
        task.target.parent.mkdir(parents=True, exist_ok=True)
        report = colour(task.source, task.target, tell)
        row.report = report.as_dict()
        row.status = "done" if report.exit_code == EXIT_DONE else "damaged"
        row.message = "; ".join(report.lines()[1:]) if row.status == "damaged" else ""
    except Interrupted:
        raise
    except KinochromeError as error:
        row.message = str(error)
    except Exception as error:  # noqa: BLE001  (one film must not cost the others; the report and the exit code say so)
        row.message = f"{type(error).__name__}: {error}"
    row.seconds = round(time.monotonic() - started, 2)
    return row


def before_and_after(source: Path, target: Path) -> tuple[bytes, bytes] | None:
    """JPEGs of the same moment in the middle of a film and of its result; None where either can't be read."""
    with suppress(KinochromeError, StopIteration):
        if stills.is_still(source):
            pair = next(stills.read_pictures(source, luma="bt601")), next(stills.read_pictures(target, luma="bt601"))
        else:
            middle_s = (media.probe(target).duration_s or 0.0) / 2
            after = _at(target, middle_s)
            pair = _at(source, after.time_s or 0.0), after
        first, second = (jpeg.encode_picture(frame, longest=PICTURE_SIDE, quality=80)[0] for frame in pair)
        return first, second
    return None


def _at(path: Path, time_s: float) -> Frame:
    """The first frame from `time_s` on; the last one where there is none."""
    frame = None
    for frame in media.read_frames(path, luma="bt601", since_s=time_s):
        if (frame.time_s or 0.0) >= time_s - 1e-3:
            break
    if frame is None:
        raise InputError(f"{path}: has no picture")
    return frame


def save_summary(summary: Summary, out: Path) -> None:
    """Writes batch.json whole."""
    path = out / "batch.json"
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(summary.as_dict(), indent=1) + "\n")
    finish_part(part, path)


class Batch:
    """Works off tasks, and keeps batch.json and batch.html in the folder of the results up to date."""

    def __init__(
        self,
        settings: Settings,
        job: Job,
        out: Path,
        *,
        tell: Callable[[str], None] = lambda line: None,
        progress: Callable[[float, str], None] = lambda share, name: None,
    ) -> None:
        self.summary = Summary()
        self._settings, self._job, self._out = settings, job, out
        self._tell, self._progress = tell, progress
        self._pictures: dict[str, tuple[bytes, bytes]] = {}
        self._started = time.monotonic()
        self._drawn_s = self._started

    def work(self, tasks: Sequence[Task]) -> None:
        """One after the other; the report is written whatever ends it."""
        if not tasks and self.summary.rows:
            return
        done_with = asdict(self._settings)
        try:
            for row in run(
                tasks, self._colour, done_with=done_with, overwrite=self._job.overwrite, progress=self._progress
            ):
                self._note(row)
        finally:
            self._save(page=True)

    def _colour(self, source: Path, target: Path, progress: Callable[[int, int | None], None]) -> Report:
        return colorize(source, target, settings=self._settings, job=self._job, progress=progress, tell=self._tell)

    def _note(self, row: Row) -> None:
        # A film that came again takes the place of what became of it before.
        self.summary.rows = [old for old in self.summary.rows if old.source != row.source] + [row]
        if row.status != "failed" and (pair := before_and_after(Path(row.source), Path(row.target))):
            self._pictures[row.target] = pair
        self._tell(row.line())
        try:
            self._save(page=time.monotonic() - self._drawn_s > _PAGE_EVERY_S)
        except (OSError, KinochromeError) as error:  # a full disk must not end the batch: films may go elsewhere
            self._tell(f"the report can't be written now ({error})")

    def _save(self, *, page: bool) -> None:
        self.summary.seconds = time.monotonic() - self._started
        save_summary(self.summary, self._out)
        if page:
            write_page(self.summary, self._pictures, self._out / "batch.html")
            self._drawn_s = time.monotonic()
