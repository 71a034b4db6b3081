"""Every stage of the pipeline alone: one after the other on the same frames, each with the machine to itself.

The engine's own code is timed, through its own `Meter` and `Runtime`. The function is a trial.
"""

from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

from benchmarks.trial import CpuMeter, Result
from stream import mux
from stream.config import Settings
from stream.engine import Engine
from stream.film import Info
from stream.frame import Frame
from stream.geometry import Geometry
from stream.media import probe, read_frames
from stream.runtime import Array, Painted, Runtime, Style, open_runtime

STAGES = ("decode", "prepare", "network", "steady", "chroma", "encode")
_MAX_BYTES = 512 << 20  # of decoded frames held at once


class Alone:
    """A runtime that is done before it returns, so that no other stage runs beside the network."""

    def __init__(self, runtime: Runtime) -> None:
        self.name = runtime.name
        self.meter = CpuMeter()
        self._runtime = runtime

    def start(self, luma: Array, style: Style | None = None) -> Callable[[], Painted]:
        """Runs the whole batch."""
        with self.meter.stage("network"):
            painted = self._runtime.start(luma, style)()
        return lambda: painted


def measure(*, source: str, target: str, short_side: int, frames: int) -> Result:
    """CPU and wall milliseconds of every stage a frame, over at most `frames` frames of the film's beginning."""
    info = probe(source)
    output = mux.plan_output(info, Path(target), overwrite=True)
    frames = max(1, min(frames, _MAX_BYTES // _frame_bytes(info)))
    meter = CpuMeter()
    decoded = sum(1 for _ in _decode(source, frames, meter))
    settings = Settings(short_side=short_side)
    geometry = Geometry.of(info.width, info.height, short_side=short_side, pixel_aspect=info.pixel_aspect)
    runtime = open_runtime(settings, geometry.padded).runtime
    held = list(islice(read_frames(source), frames))
    for _ in Engine(runtime, geometry, subsampling=output.subsampling).run(held[: settings.batch]):
        pass  # the first inference allocates
    alone = Alone(runtime)
    engine = Engine(alone, geometry, subsampling=output.subsampling, settings=settings, meter=meter)
    coloured = list(engine.run(held))
    with mux.Writer(output, info) as writer, meter.stage("encode"):
        for frame in coloured:
            writer.write(frame)
        writer.close()

    def per_frame(seconds: dict[str, float], network_s: float) -> dict[str, float]:
        counts = {"decode": max(1, decoded - 1)}
        seconds = seconds | {"network": network_s}
        return {stage: round(1000 * seconds.get(stage, 0.0) / counts.get(stage, len(held)), 3) for stage in STAGES}

    return {
        "frames": len(held),
        "cpu_ms": per_frame(meter.cpu_seconds, alone.meter.cpu_seconds["network"]),
        "wall_ms": per_frame(meter.seconds, alone.meter.seconds["network"]),
    }


def _frame_bytes(info: Info) -> int:
    return info.width * info.height * 3 * (1 if info.depth == 8 else 2)  # twice 4:2:0: as decoded and as coloured


def _decode(source: str, frames: int, meter: CpuMeter) -> Iterator[Frame]:
    """Frames that nobody keeps, as in the pipeline: the decoder uses its memory again. The first one isn't counted."""
    reader = islice(read_frames(source), frames)
    yield from islice(reader, 1)  # opens the file
    while True:
        with meter.stage("decode"):
            frame = next(reader, None)
        if frame is None:
            return
        yield frame
