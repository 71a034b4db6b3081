"""Films in segments, resumed, planned, and on a cluster. Each function is a trial: one process, one film."""

import tempfile
import time
from pathlib import Path

from benchmarks.trial import Result
from stream.colorize import Job, colorize
from stream.config import Settings
from stream.errors import Interrupted
from stream.job import folder_of
from stream.media import probe, read_frames
from stream.plan import plan_output
from stream.reel import Film
from stream.scan import plan


def colour(*, source: str, segments: bool) -> Result:
    """Colours the film; CPU and wall time from the first frame to the finished file."""
    first: list[float] = []

    def note(done: int, expected: int | None) -> None:
        if done and not first:  # 0 is told before the engine is opened
            first.extend((time.process_time(), time.monotonic()))

    with tempfile.TemporaryDirectory() as folder:
        report = colorize(source, Path(folder) / "out.mkv", job=Job(segments=segments), progress=note)
        size = (Path(folder) / "out.mkv").stat().st_size
    cpu_s, wall_s = time.process_time() - first[0], time.monotonic() - first[1]
    return {
        "cpu_ms": round(1000 * cpu_s / report.frames_out, 2),
        "fps": round(report.frames_out / wall_s, 2),
        "bytes": size,
        "peak_rss_mb": report.peak_rss_mb,
    }


def resume(*, source: str) -> Result:
    """Stops a film two thirds in, and goes on: seconds until the first new frame, frames that are made again."""
    stop_at = sum(1 for _ in read_frames(source)) * 2 // 3
    with tempfile.TemporaryDirectory() as name:
        target, started = Path(name) / "out.mkv", time.monotonic()

        def stop(done: int, expected: int | None) -> None:
            if done == stop_at:
                raise Interrupted("enough", 2)

        try:
            colorize(source, target, job=Job(segments=True), progress=stop)
        except Interrupted:
            kept = Path(folder_of(target)).glob("*.segment")
        segments, told = len(list(kept)), list[tuple[int, float]]()

        def note(done: int, expected: int | None) -> None:
            told.append((done, time.monotonic() - started))

        started = time.monotonic()
        report = colorize(source, target, job=Job(segments=True), progress=note)
        return {
            "segments_kept": segments,
            "frames_made_again": stop_at - report.frames_before,
            "first_new_frame_s": round(next(at_s for done, at_s in told if done > report.frames_before), 2),
        }


def scan(*, source: str) -> Result:
    """What planning the segments costs, which a cluster's driver does on one core."""
    with tempfile.TemporaryDirectory() as folder:
        info = probe(source)
        film = Film(
            source=source, info=info, output=plan_output(info, Path(folder) / "out.mkv"), settings=Settings(), look=None
        )
        cpu_s, wall_s = time.process_time(), time.monotonic()
        segments = [planned.end - planned.place.number for planned in plan(film, lambda frames: frames)]
    frames = sum(segments)
    return {
        "segments": len(segments),
        "longest_frames": max(segments),
        "cpu_ms": round(1000 * (time.process_time() - cpu_s) / frames, 2),
        "fps": round(frames / (time.monotonic() - wall_s), 1),
    }


def on_cluster(*, source: str, workers: int) -> Result:
    """Colours the film on so many workers of one core each."""
    import ray

    from stream.cluster import open_cluster

    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, open_cluster("local", cores=1, processors=workers) as cluster:
        opened_s, first = time.monotonic() - began, list[float]()

        def note(done: int, expected: int | None) -> None:
            if done and not first:
                first.append(time.monotonic())

        started = time.monotonic()
        report = colorize(source, Path(folder) / "out.mkv", job=Job(cluster=cluster), progress=note)
        wall_s = time.monotonic() - started
    return {
        "workers": workers,
        "opened_s": round(opened_s, 2),
        "prepared_s": round(first[0] - started, 2),
        "fps": round(report.frames_out / wall_s, 2),
        "ray": ray.__version__,
    }


def long_film(*, source: str) -> Result:
    """Peak memory of a film in segments."""
    with tempfile.TemporaryDirectory() as folder:
        report = colorize(source, Path(folder) / "out.mkv", settings=Settings(short_side=32), job=Job(segments=True))
        return {"peak_rss_mb": report.peak_rss_mb}
