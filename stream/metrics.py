"""What a run measured and what became of the frames: the end report."""

import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field

from stream.errors import EXIT_DAMAGED, EXIT_DONE


class Meter:
    """Seconds spent working, by stage. Each stage belongs to one thread, so no lock is needed."""

    def __init__(self) -> None:
        self.started = time.monotonic()
        self.first_frame_s: float | None = None
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Counts the time inside towards the stage."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start

    def note_frame(self) -> None:
        """A frame is finished; the first one ends the start-up."""
        if self.first_frame_s is None:
            self.first_frame_s = time.monotonic() - self.started


@dataclass(kw_only=True)
class Report:
    """The end report of a film or a picture."""

    source: str
    result: str
    frames_in: int = 0
    frames_out: int = 0
    frames_damaged: int = 0
    """Pictures that the decoder patched up."""
    frames_lost: int = 0
    """Pictures that could not be kept."""
    frames_dropped: int = 0
    """Live only: frames left out rather than lag. Files never drop."""
    frames_carried: int = 0
    """Frames on which the network did not run; their colours were carried from their neighbours."""
    packets_damaged: int = 0
    packets_lost: int = 0
    """Packets of other streams that the output refused."""
    truncated: bool = False
    """The film ends before its header says."""
    missing_s: float = 0.0
    frames_before: int = 0
    """Frames that an earlier run of the same job had finished."""
    seconds: float = 0.0
    """Wall time from the first to the last frame, start-up not counted."""
    startup_s: float = 0.0
    """Until the first frame was finished."""
    fps: float = 0.0
    stages: dict[str, float] = field(default_factory=dict)
    """Milliseconds of work a frame, by stage; `network` is the time the engine waited for it."""
    limit: str = ""
    """The thread that was busy longest: decode, engine or encode."""
    peak_rss_mb: float = 0.0
    runtime: str = ""
    working_size: tuple[int, int] | None = None
    """Rows and columns that the network saw."""
    notices: list[str] = field(default_factory=list)
    version: str = ""
    weights_sha256: str = ""

    @property
    def exit_code(self) -> int:
        """0, or 5 where anything was damaged or lost."""
        frames = self.frames_damaged + self.frames_lost + self.frames_dropped + abs(self.frames_in - self.frames_out)
        lost = frames or self.packets_damaged or self.packets_lost or self.truncated
        return EXIT_DAMAGED if lost else EXIT_DONE

    def measure(self, meter: Meter) -> None:
        """Takes over what the meter counted."""
        self.startup_s = round(meter.first_frame_s or 0.0, 3)
        self.seconds = round(time.monotonic() - meter.started - self.startup_s, 3)
        made = self.frames_out - self.frames_before
        frames = max(1, made)
        # The first frame belongs to the start-up.
        self.fps = round((made - 1) / self.seconds, 2) if made > 1 and self.seconds else 0.0
        self.stages = {name: round(1000 * seconds / frames, 3) for name, seconds in meter.seconds.items()}
        self.limit = limiting_thread(meter.seconds)
        self.peak_rss_mb = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)

    def as_dict(self) -> dict[str, object]:
        """For `--json`."""
        return asdict(self)

    def lines(self) -> list[str]:
        """For people, most important first."""
        pace = f", {self.fps:g} fps, limited by {self.limit}" if self.fps else ""
        lines = [f"{self.result}: {self.frames_out} of {self.frames_in} frames{pace}"]
        counts = {
            "damaged pictures, patched up by the decoder": self.frames_damaged,
            "pictures lost": self.frames_lost,
            "frames dropped": self.frames_dropped,
            "frames were done before, and kept": self.frames_before,
            "frames whose colours were carried": self.frames_carried,
            "damaged packets, skipped": self.packets_damaged,
            "packets of other streams that the output refused": self.packets_lost,
        }
        lines += [f"{count} {name}" for name, count in counts.items() if count]
        if self.truncated:
            lines.append(f"the film ends {self.missing_s:.1f} s before its header says")
        return lines + self.notices


THREADS = {"decode": ("decode",), "engine": ("prepare", "network", "steady", "chroma"), "encode": ("encode",)}


def limiting_thread(seconds: dict[str, float]) -> str:
    """Which of the three threads worked longest; empty before any has worked."""
    busy = {thread: sum(seconds.get(stage, 0.0) for stage in stages) for thread, stages in THREADS.items()}
    return max(busy, key=lambda thread: busy[thread]) if any(busy.values()) else ""
