"""The network alone: how long it takes, how much it computes, and what the steadiness behind it costs.

Each public function but `count` is a trial.
"""

import time
from collections.abc import Callable

import numpy as np
import torch
import typer
from torch import Tensor, nn

from benchmarks.trial import CpuMeter, Result, peak_rss_mb
from model.generator import CHROMA_STRIDE, STRIDE, Generator
from stream.config import RuntimeName, Settings
from stream.engine import Engine
from stream.frame import Frame
from stream.geometry import Geometry
from stream.runtime import (
    Array,
    Painted,
    Runtime,
    Style,
    find_release,
    golden_frames,
    golden_style,
    open_runtime,
)

_WARM_UP, _FEWEST = 2, 5
_FILM = (480, 854)
_STEADY_FRAMES = 48


def measure(*, runtime: RuntimeName, rows: int, columns: int, styled: bool, seconds: float) -> Result:
    """Milliseconds of a frame at a working size, in batches as the engine hands them over and alone."""
    size = (rows, columns)
    settings = Settings(runtime=runtime)
    network = open_runtime(settings, size, styled=styled).runtime
    pictures = np.resize(golden_frames(size), (settings.batch, 1, *size))
    code_size = find_release(settings.weights).config.code_size
    style = golden_style(pictures, code_size) if styled else None
    batches = _time(network, pictures, style, seconds)
    single = _time(network, pictures[:1], golden_style(pictures[:1], code_size) if styled else None, seconds)
    ms = float(np.median(batches["wall_ms"]))
    steady_ms = _steady_ms(settings, size)
    return {
        "name": network.name,
        "batch": settings.batch,
        "batches": len(batches["wall_ms"]),
        "ms": round(ms, 2),
        "ms_p95": round(float(np.quantile(batches["wall_ms"], 0.95)), 2),
        "cpu_ms": round(float(np.median(batches["cpu_ms"])), 2),
        "single_ms": round(float(np.median(single["wall_ms"])), 2),
        "steady_ms": round(steady_ms, 2),
        "steady_share": round(steady_ms / ms, 3),
        "peak_rss_mb": peak_rss_mb(),
    }


def _time(network: Runtime, pictures: Array, style: Style | None, seconds: float) -> dict[str, list[float]]:
    """Wall and CPU milliseconds a picture, for every batch measured."""
    for _ in range(_WARM_UP):
        network.start(pictures, style)()
    wall_ms: list[float] = []
    cpu_ms: list[float] = []
    end = time.perf_counter() + seconds
    while len(wall_ms) < _FEWEST or time.perf_counter() < end:
        wall, cpu = time.perf_counter(), time.process_time()
        network.start(pictures, style)()
        wall_ms.append(1000 * (time.perf_counter() - wall) / len(pictures))
        cpu_ms.append(1000 * (time.process_time() - cpu) / len(pictures))
    return {"wall_ms": wall_ms, "cpu_ms": cpu_ms}


class _Canned:
    """A runtime that has its answer ready."""

    name = "canned"

    def __init__(self, size: tuple[int, int]) -> None:
        shape = (2, size[0] // CHROMA_STRIDE, size[1] // CHROMA_STRIDE)
        self._chroma = np.random.default_rng(1).normal(0, 0.05, shape).astype(np.float32)

    def start(self, luma: Array, style: Style | None = None) -> Callable[[], Painted]:
        """The same chroma for every picture."""
        chroma = np.broadcast_to(self._chroma, (len(luma), *self._chroma.shape)).copy()
        return lambda: Painted(chroma, None)


def _steady_ms(settings: Settings, size: tuple[int, int]) -> float:
    """Wall milliseconds of the smoothing a frame, through the engine."""
    meter = CpuMeter()
    random = np.random.default_rng(2)
    frame = Frame(planes=(random.integers(16, 236, _FILM, np.uint8),))
    engine = Engine(_Canned(size), Geometry(content=size, padded=size), settings=settings, meter=meter)
    for _ in engine.run([frame] * _STEADY_FRAMES):
        pass
    return 1000 * meter.seconds["steady"] / _STEADY_FRAMES


def parse_size(text: str) -> tuple[int, int]:
    """Rows and columns of "256x448"."""
    parts = text.strip().split("x")
    if len(parts) != 2 or not all(part.isdigit() and int(part) and int(part) % STRIDE == 0 for part in parts):
        raise typer.BadParameter(f"{text!r}; rows x columns, multiples of {STRIDE}, are allowed: 256x448")
    return int(parts[0]), int(parts[1])


def count(size: tuple[int, int], *, styled: bool = False, batch: int = 1) -> dict[str, float]:
    """What one frame asks of any runtime: GMAC, and millions of values that its layers read and write.

    Each convolution is taken to read its input once and to write its output once, and its weights once a batch, with
    norm and activation folded in: the least that layer after layer can do.
    """
    with torch.device("meta"):
        generator = Generator(find_release(Settings.weights).config).eval()
        macs: list[int] = []
        values: list[float] = []

        def note(layer: nn.Module, given: tuple[Tensor, ...], result: Tensor) -> None:
            weight = layer.get_parameter("weight")
            macs.append(result.numel() * weight[0].numel())
            values.append(given[0].numel() + weight.numel() / batch + result.numel())

        for layer in generator.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                layer.register_forward_hook(note)
        with torch.no_grad():
            luma, code = torch.zeros(1, 1, *size), torch.zeros(1, generator.config.code_size)
            if styled:
                generator(luma, torch.zeros(1, 2, *size), luma, code)
            else:
                generator.natural(luma)
    return {"gmac": round(sum(macs) / 1e9, 3), "million_values": round(sum(values) / 1e6, 2)}
