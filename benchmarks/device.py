"""What a GPU does with the network and with whole frames, under its own two ceilings. Each public function is a trial.

Everything runs on any device of torch's, so that the tests run it on a CPU; figures are worth something on a GPU alone.
"""

import gc
import math
import time
from collections.abc import Callable
from itertools import cycle
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.network import count
from benchmarks.trial import Result
from model import graphs, temporal
from model.generator import CHROMA_STRIDE, Generator
from model.graphs import GraphName
from stream import resample, runtime_tensorrt
from stream.config import Settings
from stream.engine_gpu import GpuEngine
from stream.errors import KinochromeError
from stream.frame import Frame
from stream.geometry import Geometry
from stream.looks import Look
from stream.metrics import Meter
from stream.opening import Opening
from stream.resample import Kind
from stream.runtime import (
    GOLDEN_MEAN,
    GOLDEN_P999,
    PAINTED_MEAN,
    PAINTED_P999,
    compare_engine,
    find_release,
    golden_frames,
    load_generator,
)
from stream.runtime_gpu import GpuRuntime, Maker, TorchMaker, describe, indexed, take_exact_kernels
from stream.shots import Picture
from stream.steady import Online

VARIANTS = ("eager fp32", "eager fp16", "cuda graphs", "torch.compile", "tensorrt")
"""Ways to run the network: the reference, FP16 as it is, recorded, compiled and recorded, TensorRT."""
LARGEST_CHECKED = 256
"""Short side up to which torch's rows are compared with the reference, which is computed on the CPU."""
_FEWEST, _WARM_UP = 10, 3
_MATRIX, _COPY_BYTES = 8192, 256 << 20


def ceilings(*, device: str, seconds: float) -> Result:
    """Copying on the device and over the bus in GB/s, and FP16 multiply-adds in GMAC/s: what nothing can be above."""
    where = indexed(torch.device(device))
    small = where.type == "cpu"
    size, side = (_COPY_BYTES // 64, _MATRIX // 16) if small else (_COPY_BYTES, _MATRIX)
    source = torch.ones(size, dtype=torch.uint8, device=where)
    target = torch.empty_like(source)
    host = torch.ones(size, dtype=torch.uint8, pin_memory=not small)
    matrix = torch.rand(side, side, device=where).to(torch.float32 if small else torch.float16)
    copy_s = _fastest_s(lambda: target.copy_(source), where, seconds)
    up_s = _fastest_s(lambda: target.copy_(host, non_blocking=True), where, seconds)
    down_s = _fastest_s(lambda: host.copy_(target, non_blocking=True), where, seconds)
    product_s = _fastest_s(lambda: matrix @ matrix, where, seconds)
    return {
        "device": describe(where),
        "copy_gb_s": round(2 * size / copy_s / 1e9, 1),
        "up_gb_s": round(size / up_s / 1e9, 1),
        "down_gb_s": round(size / down_s / 1e9, 1),
        "gmac_s": round(side**3 / product_s / 1e9, 1),
    }


def network(
    *, device: str, variant: str, graph: GraphName, sizes: list[tuple[int, int]], batches: list[int], seconds: float
) -> Result:
    """Latency and throughput of the network alone at working sizes and batches; what fails is a row with its reason."""
    rows = []
    for rows_columns in sizes:
        size = (rows_columns[0], rows_columns[1])
        for batch in batches:
            row: Result = {"variant": variant, "graph": graph, "size": f"{size[0]}x{size[1]}", "batch": batch}
            where = indexed(torch.device(device))
            _forget_peak(where)
            try:
                row |= _network_row(where, variant, graph, size, batch, seconds)
            except (KinochromeError, RuntimeError) as error:  # RuntimeError: all that torch raises where a GPU can't
                row["reason"] = (str(error).strip().splitlines() or [type(error).__name__])[0]
            rows.append(row | count(size, styled=graph == "fused", batch=row["batch"]))
    return {"rows": rows}


def _network_row(
    device: torch.device, variant: str, graph: GraphName, size: tuple[int, int], batch: int, seconds: float
) -> Result:
    generator = load_generator(find_release(Settings.weights))
    started = time.perf_counter()
    runtime = GpuRuntime(_maker(variant, generator, size, device), device, batch, (graph,))
    built_s = time.perf_counter() - started
    luma = torch.from_numpy(np.resize(golden_frames(size), (batch, 1, *size))).to(device)
    code = torch.ones(generator.config.code_size, device=device)
    style = None if graph == "natural" else (code, None)
    with torch.inference_mode():
        times = _times_ms(lambda: runtime.paint(luma, style), device, seconds)
        steady_s = _sustained_s(lambda: runtime.paint(luma, style), device, seconds)
    return {
        "name": runtime.name,
        "batch": runtime.batch,
        "ms": round(float(np.median(times)), 3),
        "ms_p95": round(float(np.quantile(times, 0.95)), 3),
        "fps": round(batch / steady_s, 1),
        "setup_s": round(built_s, 1),
        "peak_mb": _peak_mb(device),
        "notices": runtime.notices,
        **(_levels(runtime, generator, size, graph) if variant == "tensorrt" or size[0] <= LARGEST_CHECKED else {}),
    }


def _levels(runtime: GpuRuntime, generator: Generator, size: tuple[int, int], graph: GraphName) -> Result:
    """How far it is from the reference; refused: beyond what films are made with, which its timing does not change."""
    styled = graph == "fused"
    mean, p999 = compare_engine(runtime, generator, size, styled=styled, batch=runtime.batch)
    told: Result = {}
    if math.isfinite(mean):  # JSON has no word for what else there is
        told |= {"mean_levels": round(mean, 4), "p999_levels": round(p999, 4)}
    most = (PAINTED_MEAN, PAINTED_P999) if styled else (GOLDEN_MEAN, GOLDEN_P999)
    if mean > most[0] or p999 > most[1]:
        told["refused"] = f"{mean:.2f} levels in the mean and {p999:.2f} at 99.9 %, {most[0]} and {most[1]} are allowed"
    return told


class _Eager:
    """The graph called as it is, in FP16 or in float32."""

    def __init__(self, generator: Generator, device: torch.device, precision: torch.dtype) -> None:
        self.name = f"eager {str(precision).removeprefix('torch.')}"
        self.notices: list[str] = []
        self._generator, self._device, self._precision = generator, device, precision

    def make(self, graph: GraphName, batch: int) -> Callable[..., tuple[Tensor, ...]]:
        """The module, its result always a tuple, with the kernels and the layout that `TorchMaker` records."""
        take_exact_kernels()
        kind = graphs.Natural if graph == "natural" else graphs.Fused
        module = kind(self._generator, self._precision).to(self._device)
        module = module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

        def run(*given: Tensor) -> tuple[Tensor, ...]:
            made = module(*given)
            return made if isinstance(made, tuple) else (made,)

        return run


def _maker(variant: str, generator: Generator, size: tuple[int, int], device: torch.device) -> Maker:
    if variant.startswith("eager"):
        return _Eager(generator, device, torch.float32 if variant.endswith("32") else torch.float16)
    if variant == "tensorrt":
        return runtime_tensorrt.TensorRtMaker(
            find_release(Settings.weights), generator, size, opening=Opening(), device=device, lenient=True
        )
    return TorchMaker(generator, size, device, compiled=variant == "torch.compile")


def frames(
    *, device: str, variant: str, frame: tuple[int, int], short_side: int, batch: int, styled: bool, seconds: float
) -> Result:
    """Whole frames of (width, height): planes on the device, and from host to host, without and with steadiness.

    on_device_fps is what the engine makes of luma planes that lie there; host_fps has upload and download as well, and
    steady_fps the fixed-lag smoothing of files too.
    """
    where = indexed(torch.device(device))
    width, height = frame
    geometry = Geometry.of(width, height, short_side=short_side)
    generator = load_generator(find_release(Settings.weights))
    graph: GraphName = "fused" if styled else "natural"
    runtime = GpuRuntime(_maker(variant, generator, geometry.padded, where), where, batch, (graph,))
    scene = (16 + 219 * golden_frames((height // 4 * 4, width // 4 * 4))[0, 0]).astype(np.uint8)
    held = [Frame(planes=(np.ascontiguousarray(np.roll(scene, 4 * at, 1)),), pts=at) for at in range(2 * batch)]
    kind = Kind.of(held[0], geometry, (1, 1), 1.0)
    planes = torch.from_numpy(np.stack([each.luma for each in held[:batch]])).to(where)
    style = (torch.ones(generator.config.code_size, device=where), None) if styled else None

    def on_device() -> None:
        luma = resample.working_luma(planes, kind)
        chroma, painted = runtime.paint(luma, style)
        target = planes if painted is None else resample.repaint(planes, painted, luma, 0.5, kind)
        resample.chroma_planes(chroma, target, kind)

    with torch.inference_mode():
        device_s = _sustained_s(on_device, where, seconds) / batch
    codes = np.ones((1, generator.config.code_size), np.float32)
    look = Look(name="ones", title="ones", codes=codes) if styled else None
    host_s, steady_s = (
        _engine_s(GpuEngine(runtime, geometry, settings=Settings(steady=steady), look=look), held, seconds)
        for steady in (0.0, Settings.steady)
    )
    return {
        "variant": variant,
        "graph": graph,
        "frame": f"{width}x{height}",
        "size": f"{geometry.padded[0]}x{geometry.padded[1]}",
        "batch": runtime.batch,
        "on_device_fps": round(1 / device_s, 1),
        "host_fps": round(1 / host_s, 1),
        "steady_fps": round(1 / steady_s, 1),
        "mb_a_frame": round(width * height * (2.5 if styled else 1.5) / 1e6, 2),  # luma up; chroma, painted luma down
        "step_ms": round(_step_ms(runtime, geometry, where, seconds), 3),
        "peak_mb": _peak_mb(where),
        "notices": runtime.notices,
    }


def _engine_s(engine: GpuEngine, held: list[Frame], seconds: float) -> float:
    """Seconds a frame of the whole engine, host to host, once it runs evenly."""
    warm_up = 2 * len(held)
    start = 0.0
    for done, _ in enumerate(engine.run(cycle(held))):
        if done == warm_up:
            start = time.perf_counter()
        elif done > warm_up + _FEWEST and time.perf_counter() - start > seconds:
            return (time.perf_counter() - start) / (done - warm_up)
    raise AssertionError("the frames never end")


def _step_ms(runtime: GpuRuntime, geometry: Geometry, device: torch.device, seconds: float) -> float:
    """Milliseconds of one causal step of the smoothing, as live has it."""
    online = Online()
    guide = temporal.guide(torch.full((1, 1, *geometry.padded), 0.5, device=device))
    chroma = torch.zeros(1, 2, *(side // CHROMA_STRIDE for side in geometry.padded), device=device)
    picture = Picture(frame=Frame(planes=(np.zeros((2, 2), np.uint8),)), guide=guide, chroma=chroma)
    meter = Meter()
    online.smooth(picture, cut=True, steady=0.8, meter=meter)
    return 1000 * _sustained_s(lambda: online.smooth(picture, cut=False, steady=0.8, meter=meter), device, seconds / 2)


def profile(*, device: str, variant: str, out: str) -> Result:
    """Writes a trace of 64 frames of 1080p through the engine, for chrome://tracing or Perfetto."""
    where = indexed(torch.device(device))
    geometry = Geometry.of(1920, 1080, short_side=256)
    generator = load_generator(find_release(Settings.weights))
    runtime = GpuRuntime(_maker(variant, generator, geometry.padded, where), where, 16)
    frame = Frame(planes=(np.full((1080, 1920), 90, np.uint8),))
    engine = GpuEngine(runtime, geometry)
    for _ in engine.run([frame] * 32):
        pass  # recorded and allocated
    kinds = [torch.profiler.ProfilerActivity.CPU]
    if where.type == "cuda":
        kinds.append(torch.profiler.ProfilerActivity.CUDA)
    with torch.profiler.profile(activities=kinds) as trace:
        for _ in engine.run([frame] * 64):
            pass
    trace.export_chrome_trace(out)
    return {"trace": Path(out).name, "frames": 64}


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _forget_peak(device: torch.device) -> None:
    """What the row before took is given back, and no longer counts."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def _peak_mb(device: torch.device) -> float | None:
    return round(torch.cuda.max_memory_allocated(device) / 1e6, 1) if device.type == "cuda" else None


def _times_ms(work: Callable[[], object], device: torch.device, seconds: float) -> list[float]:
    """Milliseconds of single calls, each waited for."""
    for _ in range(_WARM_UP):
        work()
    found: list[float] = []
    end = time.perf_counter() + seconds
    while len(found) < _FEWEST or time.perf_counter() < end:
        _synchronize(device)
        start = time.perf_counter()
        work()
        _synchronize(device)
        found.append(1000 * (time.perf_counter() - start))
    return found


def _sustained_s(work: Callable[[], object], device: torch.device, seconds: float) -> float:
    """Seconds a call when they follow each other without waiting."""
    for _ in range(_WARM_UP):
        work()
    _synchronize(device)
    start, calls = time.perf_counter(), 0
    while calls < _FEWEST or time.perf_counter() - start < seconds:
        work()
        calls += 1
        if calls % 16 == 0:
            _synchronize(device)  # a queue of thousands would measure the clock and not the device
    _synchronize(device)
    return (time.perf_counter() - start) / calls


def _fastest_s(work: Callable[[], object], device: torch.device, seconds: float) -> float:
    """Seconds of the quickest of many calls: a ceiling is what can be reached, not what is usual."""
    return min(_times_ms(work, device, seconds), default=math.inf) / 1000
