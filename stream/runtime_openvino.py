"""OpenVINO: the network on any CPU, converted on first use, checked against the reference, and kept in a cache.

The network runs as two graphs. The trunk's early layers stay in fp32 everywhere: in bf16 they alone shift chroma by six
eight-bit levels at 99.9 %, because ImageNet's colour-opponent filters all but cancel on grey pictures, and what is left
is amplified. With them in fp32 and the rest in bf16 it is 0.7 levels, for a sixth more time (measured on the release).
"""

import os
import warnings
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from queue import SimpleQueue

import numpy as np
import openvino
import torch
from openvino.properties import hint, inference_num_threads, num_streams
from torch import Tensor, nn

from model.generator import Generator
from model.weights import Release
from stream import cache
from stream.errors import EngineError, ResourceError
from stream.runtime import Array, Painted, Style, check_engine, inputs, load_generator, version

EARLY, NATURAL, FUSED = "early.xml", "natural.xml", "fused.xml"


class OpenVinoRuntime:
    """A lane for each core, and the pictures of a batch run beside each other; or, where they come one by one, all
    cores in one lane.

    In bf16 where the CPU computes in it and the check passes at this size, else in fp32; `name` says which, and why.
    """

    def __init__(
        self,
        release: Release,
        size: tuple[int, int],
        *,
        threads: int = 0,
        styled: bool = False,
        one_by_one: bool = False,
    ) -> None:
        """one_by_one: batches are of one picture, which shall be ready soon."""
        core = openvino.Core()
        cores = threads or len(os.sched_getaffinity(0))
        self._streams = 1 if one_by_one else cores
        self._pool = ThreadPoolExecutor(cores, thread_name_prefix="kinochrome-network")
        self._lanes: dict[bool, SimpleQueue[_Lane]] = {}
        self.notices: list[str] = []
        """What became of kept engines that could not be used, a line each."""
        refused = ""
        for precision in precisions(core):
            self.name = f"OpenVINO {_version()}, CPU, {precision.to_string()}, {self._streams} streams{refused}"
            reason = ""
            for late in (False, True) if styled else (False,):
                reason = reason or self._open(core, release, size, precision, cores, styled=late)
            if not reason:
                return
            refused = f" ({precision.to_string()} refused: {reason})"
        raise EngineError(f"{self.name}: no precision agrees with the reference; --runtime torch is exact")

    def _open(
        self,
        core: openvino.Core,
        release: Release,
        size: tuple[int, int],
        precision: openvino.Type,
        cores: int,
        *,
        styled: bool,
    ) -> str:
        """Opens a graph in a precision; why it must not be used, "" if it may."""
        with cache.locked(_key(release, size, precision, styled=styled)) as slot:
            meta = slot.read()
            generator = None if meta is not None else load_generator(release)
            if slot.complaint:
                self.notices.append(slot.complaint)
            if generator is not None:
                slot.write(partial(_convert, generator, size, styled=styled))
            self._lanes[styled] = _open_lanes(core, slot.folder, precision, (self._streams, cores), styled=styled)
            if generator is not None:
                meta = self._judge(generator, size, styled=styled)
                slot.approve(meta)
        return str((meta or {}).get("refused", ""))

    def _judge(self, generator: Generator, size: tuple[int, int], *, styled: bool) -> dict[str, object]:
        """Why the engine must not be used, "" if it may, and how near it is; written down, so it is checked once."""
        try:
            mean, p999 = check_engine(self, generator, size, styled=styled)
        except EngineError as error:
            return {"refused": str(error)}
        return {"refused": "", "mean_levels": round(mean, 4), "p999_levels": round(p999, 4)}

    def start(self, luma: Array, style: Style | None = None) -> Callable[[], Painted]:
        """Every picture of the batch starts as soon as a lane is free."""
        beside = () if style is None else inputs(luma, style)
        futures: list[Future[Painted]] = [
            self._pool.submit(self._run, luma[i : i + 1], *(part[i : i + 1] for part in beside))
            for i in range(len(luma))
        ]
        return lambda: _joined([future.result() for future in futures])

    def _run(self, luma: Array, *beside: Array) -> Painted:
        lanes = self._lanes.get(bool(beside))
        if lanes is None:
            raise EngineError("this engine was opened for natural colour alone; open it with styled=True")
        lane = lanes.get()
        try:
            return lane.run(luma, *beside)
        finally:
            lanes.put(lane)


def _joined(parts: list[Painted]) -> Painted:
    lumas = [part.luma for part in parts if part.luma is not None]
    return Painted(np.concatenate([part.chroma for part in parts]), np.concatenate(lumas) if lumas else None)


class _Lane:
    """A request to each graph; the second reads the features where the first leaves them."""

    def __init__(self, early: openvino.CompiledModel, late: openvino.CompiledModel) -> None:
        self._early, self._late = early.create_infer_request(), late.create_infer_request()
        self._shared = len(early.outputs)
        for index in range(self._shared):
            self._late.set_input_tensor(index, self._early.get_output_tensor(index))
        # Once here, in the thread that opens the runtime: OpenVINO's bindings (2026.4) set up their types at the first
        # use under a lock that takes the interpreter's with it, and two threads at once then wait for each other.
        beside = [np.zeros(tuple(port.shape), np.float32) for port in late.inputs[self._shared + 1 :]]
        self.run(np.zeros(tuple(self._early.get_input_tensor(0).shape), np.float32), *beside)

    def run(self, luma: Array, *beside: Array) -> Painted:
        """What comes of luma `[1, 1, H, W]`, and chroma, known and code beside it in the fused graph."""
        self._early.infer({0: luma})
        more = (luma, *beside) if beside else ()
        self._late.infer({self._shared + index: part for index, part in enumerate(more)})
        made = [
            np.array(self._late.get_output_tensor(i).data, np.float32) for i in range(len(self._late.model_outputs))
        ]
        return Painted(made[0], made[1] if beside else None)


def precisions(core: openvino.Core) -> list[openvino.Type]:
    """What the network's later part may run in, best first: bf16 only where the CPU computes in it (DESIGN 8)."""
    capabilities = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return [openvino.Type.bf16, openvino.Type.f32] if "BF16" in capabilities else [openvino.Type.f32]


def _open_lanes(
    core: openvino.Core, folder: Path, precision: openvino.Type, crew: tuple[int, int], *, styled: bool
) -> "SimpleQueue[_Lane]":
    early = _compile(core, folder / EARLY, openvino.Type.f32, crew)
    late = _compile(core, folder / (FUSED if styled else NATURAL), precision, crew)
    lanes: SimpleQueue[_Lane] = SimpleQueue()
    for _ in range(crew[0]):
        lanes.put(_Lane(early, late))
    return lanes


class _Early(nn.Module):
    """Luma to the features at strides 2, 4, 8."""

    def __init__(self, generator: Generator) -> None:
        super().__init__()
        self.trunk = generator.trunk

    def forward(self, luma: Tensor) -> tuple[Tensor, ...]:
        """As a module's own call, which is what can be traced."""
        return tuple(self.trunk.early(luma))


class _Natural(nn.Module):
    """These features to chroma in the natural look."""

    def __init__(self, generator: Generator) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, *early: Tensor) -> Tensor:
        """As a module's own call, which is what can be traced."""
        return self.generator.natural_from(list(early))


class _Fused(nn.Module):
    """These features, luma, known colours and a code to chroma and luma."""

    def __init__(self, generator: Generator) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, *seen: Tensor) -> tuple[Tensor, Tensor]:
        """As a module's own call, which is what can be traced."""
        *early, luma, chroma, known, code = seen
        return self.generator.fused_from(early, luma, chroma, known, code)


def _version() -> str:
    return str(openvino.__version__.split("-")[0])


def _key(release: Release, size: tuple[int, int], precision: openvino.Type, *, styled: bool) -> cache.Key:
    graph = "fused" if styled else "natural"
    versions = (f"kinochrome {version()}", f"openvino {_version()}")
    facts = (*versions, graph, f"{size[0]}x{size[1]}", precision.to_string())
    return cache.Key(weights_sha256=release.sha256, facts=facts)


def _convert(generator: Generator, size: tuple[int, int], folder: Path, *, styled: bool) -> None:
    """Writes the graphs into the folder."""
    with torch.inference_mode():
        luma = torch.zeros(1, 1, *size)
        features = tuple(generator.trunk.early(luma))
    _save(_Early(generator), (luma,), folder / EARLY)
    if styled:
        beside = (torch.zeros(1, 2, *size), luma, torch.ones(1, generator.config.code_size))
        _save(_Fused(generator), (*features, luma, *beside), folder / FUSED)
    else:
        _save(_Natural(generator), features, folder / NATURAL)


def _save(module: nn.Module, example: tuple[Tensor, ...], path: Path) -> None:
    with warnings.catch_warnings(), torch.inference_mode():
        # torch.export is the newer way, and takes minutes for the same graph where tracing takes seconds (2.13).
        warnings.filterwarnings("ignore", "`torch.jit", DeprecationWarning)
        # Instance norm asks whether the picture is large enough; the size of a traced graph is fixed.
        warnings.filterwarnings("ignore", category=torch.jit._trace.TracerWarning)
        model = openvino.convert_model(module.eval(), example_input=example, input=[list(t.shape) for t in example])
    try:
        openvino.save_model(model, path, compress_to_fp16=False)
    except RuntimeError as error:
        raise ResourceError(
            f"{path.parent.parent}: the converted engine can't be written, the disk may be full; make room, or name "
            "another folder with XDG_CACHE_HOME"
        ) from error


def _compile(
    core: openvino.Core, path: Path, precision: openvino.Type, crew: tuple[int, int]
) -> openvino.CompiledModel:
    streams, threads = crew
    options = {
        # Streams of one thread each never wait for each other and give way to the codecs: 16.1 ms a frame against
        # 19.2 with one stream of two threads (two cores, 256x480, bf16).
        hint.performance_mode: hint.PerformanceMode.THROUGHPUT,
        num_streams: streams,
        inference_num_threads: threads,
        hint.inference_precision: precision,
    }
    try:
        return core.compile_model(path, "CPU", options)
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise EngineError(
            f"{path.parent}: OpenVINO can't load this engine ({reason}); delete the folder and try again"
        ) from error
