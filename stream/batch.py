"""A shelf of films: found, coloured one after the other, whatever happens to any of them, and reported on.

batch = Batch(Settings(), Job(), Path("colour"))
batch.work(find_tasks(Path("reels"), Path("colour"), patterns=()))
print(batch.summary.lines())
"""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from stream import jpeg, media, sequence, stills
from stream.batch_page import write_page
from stream.colorize import Job, colorize, recipe, tidy
from stream.config import Settings
from stream.errors import EXIT_DONE, InputError, Interrupted, KinochromeError
from stream.frame import Frame
from stream.job import folder_of
from stream.journal import Journal, Pair
from stream.part import check_name, finish_part, naming_failures, sidecar_of
from stream.proof import proof_of
from stream.sequence import find_sequence
from stream.shelf import Task
from stream.sidecar import is_same_source, name_sidecar, read_sidecar, say_difference
from stream.source import is_one_file, stamp
from stream.summary import Row, Summary

PICTURE_SIDE: Final = 320
"""Longest side of the report's pictures, in pixels."""
_DRAWN_EVERY_S: Final = 60.0
_DRAWN_SHARE: Final = 0.02
"""Of the time, at most, goes into drawing the report: all films are in it, and there may be thousands."""


@dataclass(frozen=True)
class _Share:
    """Turns the progress of a film into that of the whole batch."""

    tell: Callable[[float, str], None]
    name: str
    before: float
    own: float

    def __call__(self, done: int, expected: int | None) -> None:
        self.tell(self.before + self.own * min(1.0, done / expected if expected else 0.0), self.name)


def _size(path: Path) -> int:
    try:
        return int(stamp(path)["size"])
    except KinochromeError:
        return 0


def _is_taken(result: Path) -> bool:
    """Something lies there that isn't merely what an interrupted run left unfinished."""
    return any(path.exists() for path in (result, sidecar_of(result), proof_of(result)))


def before_and_after(source: Path, target: Path) -> Pair | None:
    """JPEGs of the same moment in the middle of a film and of its result; None where either can't be read."""
    with suppress(KinochromeError, StopIteration):
        if not is_one_file(source):
            pair = _scan_and_result(source, target)
        elif stills.is_still(source):
            pair = next(stills.read_pictures(source, luma="bt601")), next(stills.read_pictures(target, luma="bt601"))
        else:
            middle_s = (media.probe(target).duration_s or 0.0) / 2
            after = _at(target, middle_s)
            pair = _at(source, after.time_s or 0.0), after
        first, second = (jpeg.encode_picture(frame, longest=PICTURE_SIDE, quality=80)[0] for frame in pair)
        return first, second
    return None


def _scan_and_result(source: Path, target: Path) -> tuple[Frame, Frame]:
    """The picture in the middle of numbered ones, and what became of it."""
    scans, made = find_sequence(source), find_sequence(target)
    if scans is None:
        raise ValueError(f"{source} is no pattern")
    number = scans.numbers[len(scans.numbers) // 2]
    before = sequence.read_picture(scans.pattern.path(number))
    if made is not None:
        return before, sequence.read_picture(made.pattern.path(number))
    rate = media.probe(target).frame_rate or sequence.RATE
    return before, _at(target, float((number - scans.numbers[0]) / rate))


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
    """Works off tasks; in the folder of the results it notes each film in batch.jsonl as soon as it is done, and draws
    batch.json and batch.html of all now and then, and in the end.
    """

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
        self.unsaved: KinochromeError | None = None
        """Why the report couldn't be written the last time."""
        self._settings, self._job, self._out = settings, job, out
        self._tell, self._progress = tell, progress
        self._pictures: dict[str, Pair] = {}
        self._journal: Journal | None = None
        self._started = time.monotonic()
        self._due_s = self._started
        self._drawn = False

    def work(self, tasks: Sequence[Task], *, more: bool = False) -> None:
        """One after the other, whatever becomes of any; the report is drawn whatever ends it.

        more: other tasks will follow, and whoever brings them calls `draw` in the end. Only an interruption ends the
        work, or an error that is no film's fault.
        """
        sizes = [_size(task.source) for task in tasks]
        whole, before = max(1, sum(sizes)), 0
        try:
            for task, size in zip(tasks, sizes, strict=True):
                told = _Share(self._progress, task.source.name, before / whole, size / whole)
                told(0, None)
                self._note(self._try(task, told), task.result)
                before += size
            if not self._drawn and time.monotonic() >= self._due_s:
                self.draw()
        finally:
            if not more:
                self.draw()

    def _try(self, task: Task, tell: "_Share") -> Row:
        """Makes what isn't made yet; what became of it."""
        row = Row(source=str(task.source), target=str(task.target), status="failed", message=task.trouble or "")
        if task.trouble is not None:
            return row
        started = time.monotonic()
        try:
            check_name(task.target)
            name_sidecar(task.result)  # where a run was killed as soon as the film had got its name
            if task.result.exists() and self._is_done(task, row):
                return row
            folder = task.result.parent
            with naming_failures(folder):
                folder.mkdir(parents=True, exist_ok=True)
            overwrite = self._job.overwrite or task.again or not _is_taken(task.result)
            job = replace(self._job, overwrite=overwrite, fresh=self._job.fresh or task.again)
            report = colorize(
                task.source, task.target, settings=self._settings, job=job, progress=tell, tell=self._tell
            )
            row.report = report.as_dict()
            row.status = "done" if report.exit_code == EXIT_DONE else "damaged"
            row.message = "; ".join(report.lines()[1:]) if row.status == "damaged" else ""
        except Interrupted:
            raise
        except KinochromeError as error:
            row.message = str(error)
        except OSError as error:
            row.message = f"{error.filename or task.source}: {error.strerror or error}"
        except Exception as error:  # noqa: BLE001  (one film must not cost the others; the report and the exit code say so)
            row.message = f"{type(error).__name__}: {error}"
        row.seconds = round(time.monotonic() - started, 2)
        return row

    def _is_done(self, task: Task, row: Row) -> bool:
        """Whether a result that is there is to stay, as the row then says."""
        sidecar = read_sidecar(task.result)
        differs = say_difference(sidecar, recipe(task.source, task.target, self._settings, self._job))
        if not differs and not is_same_source(sidecar, task.source):
            if task.again:
                return False
            differs = "was made of another film, or of this one before it was changed"
        if not differs:
            tidy(task.result)
            row.status, row.message, row.report = "skipped", "done before", sidecar["report"]
        elif "shots" in sidecar and folder_of(task.result).is_dir():  # not even with --fresh: a person's work
            row.message = (
                f"{task.result}: {differs}, from a list of shots; remove {folder_of(task.result)} to replace it"
            )
        elif not self._job.overwrite:
            row.message = f"{task.result}: {differs}; -y makes it again"
        else:
            return False
        return True

    def _note(self, row: Row, result: Path) -> None:
        self.summary.note(row)
        self._drawn = False
        with self._excusing("batch.jsonl"):
            self._journal = self._journal or Journal(self._out / "batch.jsonl")
            pair = self._pair(row, result, self._journal)
            if pair is not None:
                self._pictures[row.target] = pair
            self._journal.note(row, result, pair)
        self._tell(row.line())
        if time.monotonic() >= self._due_s:
            self.draw()

    def _pair(self, row: Row, result: Path, journal: Journal) -> Pair | None:
        """A film before and after; decoded only if no earlier run did so."""
        if row.status == "failed":
            return None
        known = journal.pictures(row, result) if row.status == "skipped" else None
        return known or before_and_after(Path(row.source), Path(row.target))

    def draw(self) -> None:
        """Writes batch.json and batch.html whole."""
        started = time.monotonic()
        self.summary.seconds = started - self._started
        self.unsaved = None
        with self._excusing("batch.json"):
            save_summary(self.summary, self._out)
            write_page(self.summary, self._pictures, self._out / "batch.html")
        self._drawn = True
        took_s = time.monotonic() - started
        self._due_s = started + max(_DRAWN_EVERY_S, took_s / _DRAWN_SHARE)

    @contextmanager
    def _excusing(self, name: str) -> Iterator[None]:
        """A full disk must not end the batch, because films may go elsewhere."""
        try:
            with naming_failures(self._out / name, kept="the report is not written"):
                yield
        except KinochromeError as error:
            self.unsaved = error
            for left in (*self._out.glob("batch.*.part"), self._out / "batch.jsonl"):
                with suppress(OSError):
                    if left.suffix == ".part" or not left.stat().st_size:
                        left.unlink()
