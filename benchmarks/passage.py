"""A whole film from file to file, with and without the network. Each function is a trial: one process, one film."""

import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import cast

import stream.cli  # noqa: F401  (the program's command imports it: without it the start would look quicker than it is)
from benchmarks.trial import Result, cores
from stream import media, mux, pipeline
from stream.colorize import Job, colorize
from stream.config import Settings
from stream.engine import Engine
from stream.errors import Interrupted
from stream.frame import Frame
from stream.metrics import Meter, Report


class _FirstFrame:
    """CPU seconds that the process had used when the first frame was done."""

    def __init__(self) -> None:
        self.cpu_s: float | None = None

    def note(self, done: int, expected: int | None) -> None:
        """For `progress`."""
        if done and self.cpu_s is None:  # 0 is told before the engine is opened
            self.cpu_s = time.process_time()


def colour(*, source: str, target: str, short_side: int) -> Result:
    """Colours a film as `kinochrome colorize` does."""
    first = _FirstFrame()
    settings, job = Settings(short_side=short_side), Job(overwrite=True)
    report = colorize(source, target, settings=settings, job=job, progress=first.note)
    return _account(report, first)


def start(*, source: str, target: str, short_side: int, started_s: float) -> Result:
    """Colours a film up to its first frame; started_s is the monotonic clock when this process was asked for."""
    reached_s = 0.0

    def stop(done: int, expected: int | None) -> None:
        nonlocal reached_s
        if not done:  # told before the engine is opened
            return
        reached_s = reached_s or time.monotonic()
        raise Interrupted("enough", 2)

    try:
        colorize(source, target, settings=Settings(short_side=short_side), job=Job(overwrite=True), progress=stop)
    except Interrupted:
        return {"startup_s": round(reached_s - started_s, 2)}
    raise AssertionError(f"{source}: a film without frames is an InputError")


class _Bare:
    """An engine that gives every frame back, its chroma neutral."""

    def run(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        """The frames as they came; the Writer makes neutral chroma of none."""
        for frame in frames:
            yield replace(frame, planes=frame.planes[:1])


def transcode(*, source: str, target: str) -> Result:
    """The same film through the same threads, queues and Writer; its chroma is neutral and costs nothing."""
    first, meter = _FirstFrame(), Meter()
    info = media.probe(source)
    output = mux.plan_output(info, Path(target), overwrite=True)
    report = Report(source=source, result=target)
    engine = cast(Engine, _Bare())  # the pipeline asks no more of it than `run`
    with mux.Writer(output, info) as writer:
        for _ in pipeline.run(media.read_frames(source), engine, writer.write, meter=meter):
            first.note(1, None)
        report.frames_out = writer.frames
    report.measure(meter)
    return _account(report, first)


def _account(report: Report, first: _FirstFrame) -> Result:
    cpu_s = time.process_time() - (first.cpu_s or 0.0)
    return {
        "frames": report.frames_out,
        "fps": report.fps,
        "cpu_ms": round(1000 * cpu_s / max(1, report.frames_out - 1), 2),
        "busy": round(cpu_s / report.seconds / cores(), 3) if report.seconds else 0.0,
        "limit": report.limit,
        "carried": report.frames_carried,
        "peak_rss_mb": report.peak_rss_mb,
        "runtime": report.runtime,
        "working_size": report.working_size,
    }
