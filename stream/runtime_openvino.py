"""OpenVINO: the network on any CPU, converted on first use, checked against the reference, and kept in a cache.

In bf16 the trunk's early layers stay in fp32: in bf16 they alone shift chroma by some nine eight-bit levels at 99.9 %,
because ImageNet's colour-opponent filters all but cancel on grey pictures, and what is left is amplified. With them in
fp32 it is one to two and a half, by the size of the picture, and where the check refuses that, the whole trunk is left
in fp32: a third of a level, for two fifths more time. All is one graph, in which these layers are marked: as two
graphs, each in its precision, the same took a quarter more time, because the features between them changed layout
twice.
"""

import os
import warnings
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Literal, NamedTuple

import numpy as np
import openvino
import torch
from openvino.properties import hint, inference_num_threads, num_streams
from torch import Tensor, nn

from model.blocks import EARLY_STAGES, LITE0_MEAN, LITE0_SPREAD
from model.generator import Generator
from model.weights import Release
from stream import cache
from stream.errors import EngineError, ResourceError
from stream.opening import preparing, silent
from stream.runtime import Array, Painted, Style, check_engine, inputs, load_generator, version

GRAPH = "graph.xml"
_PRECISE = "precise_0"
"""OpenVINO's mark on an operation that must not be computed in less than the precision it has (its name in rt_info)."""


class Form(NamedTuple):
    """In what the network is computed."""

    precision: openvino.Type
    exact: Literal["early", "trunk"]
    """What stays in fp32 whatever the rest is: the trunk's early layers, or all of it."""

    def __str__(self) -> str:
        return f"{self.precision.to_string()}{', fp32 trunk' if self.exact == 'trunk' else ''}"


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
        tell: Callable[[str], None] = silent,
    ) -> None:
        """one_by_one: batches are of one picture, which shall be ready soon. tell: called before a conversion."""
        self._tell = tell
        core = openvino.Core()
        cores = threads or len(os.sched_getaffinity(0))
        self._streams = 1 if one_by_one else cores
        self._pool = ThreadPoolExecutor(cores, thread_name_prefix="kinochrome-network")
        self._lanes: dict[bool, SimpleQueue[_Lane]] = {}
        self.notices: list[str] = []
        """What became of kept engines that could not be used, a line each."""
        refused = ""
        for form in forms(core):
            self.name = f"OpenVINO {_version()}, CPU, {form}, {self._streams} streams{refused}"
            reason = ""
            for fused in (False, True) if styled else (False,):
                reason = reason or self._open(core, release, size, form, cores, styled=fused)
            if not reason:
                return
            refused += f" ({form} refused: {reason})"
        raise EngineError(f"{self.name}: no precision agrees with the reference; --runtime torch is exact")

    def _open(
        self,
        core: openvino.Core,
        release: Release,
        size: tuple[int, int],
        form: Form,
        cores: int,
        *,
        styled: bool,
    ) -> str:
        """Opens a graph in a form; why it must not be used, "" if it may."""
        with cache.locked(_key(release, size, form, styled=styled)) as slot:
            meta = slot.read()
            generator = None if meta is not None else load_generator(release)
            if slot.complaint:
                self.notices.append(slot.complaint)
            if generator is not None:
                self._tell(preparing(size, "10 to 60 s, this once; it is kept for the next time", styled=styled))
                slot.write(partial(_convert, generator, size, form, styled=styled))
            self._lanes[styled] = _open_lanes(core, slot.folder, form.precision, (self._streams, cores))
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
    """A request, with the memory that it works in."""

    def __init__(self, graph: openvino.CompiledModel) -> None:
        self._request = graph.create_infer_request()
        # Once here, in the thread that opens the runtime: OpenVINO's bindings (2026.4) set up their types at the first
        # use under a lock that takes the interpreter's with it, and two threads at once then wait for each other.
        luma, *beside = (np.zeros(tuple(port.shape), np.float32) for port in graph.inputs)
        self.run(luma, *beside[1:])

    def run(self, luma: Array, *beside: Array) -> Painted:
        """What comes of luma `[1, 1, H, W]`, and chroma, known and code beside it in the fused graph."""
        # Scaled here: inside the graph OpenVINO (2026.4) would do this in bf16, whatever it is marked with.
        more = (luma, *beside) if beside else ()
        x = (luma * 255 - LITE0_MEAN) / LITE0_SPREAD
        self._request.infer(dict(enumerate((x, *more))))
        made = [np.array(tensor.data, np.float32) for tensor in self._request.output_tensors]
        return Painted(made[0], made[1] if beside else None)


def forms(core: openvino.Core) -> list[Form]:
    """What the network may run in, best first: bf16 only where the CPU computes in it (DESIGN 8)."""
    full = Form(openvino.Type.f32, "early")
    if "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        return [full]
    return [Form(openvino.Type.bf16, "early"), Form(openvino.Type.bf16, "trunk"), full]


def _open_lanes(
    core: openvino.Core, folder: Path, precision: openvino.Type, crew: tuple[int, int]
) -> "SimpleQueue[_Lane]":
    graph = _compile(core, folder / GRAPH, precision, crew)
    lanes: SimpleQueue[_Lane] = SimpleQueue()
    for _ in range(crew[0]):
        lanes.put(_Lane(graph))
    return lanes


class _Graph(nn.Module):
    """Scaled luma to chroma in the natural look; or with luma, known colours and a code beside it to chroma and luma.

    Then the features of the trunk, to tell where its parts end.
    """

    def __init__(self, generator: Generator) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, x: Tensor, *beside: Tensor) -> tuple[Tensor, ...]:
        """As a module's own call, which is what can be traced."""
        trunk = self.generator.trunk
        early = trunk.early_from(trunk.begin_from(x))
        taps = [*early, *trunk.late(early[-1])]
        if beside:
            luma, chroma, known, code = beside
            return (*self.generator.fused_from(taps, luma, chroma, known, code), *taps)
        return (self.generator.natural_from(taps), *taps)


def _version() -> str:
    return str(openvino.__version__.split("-")[0])


def _key(release: Release, size: tuple[int, int], form: Form, *, styled: bool) -> cache.Key:
    graph = "fused" if styled else "natural"
    versions = (f"kinochrome {version()}", cache.code(__file__), f"openvino {_version()}")
    facts = (*versions, graph, f"{size[0]}x{size[1]}", form.precision.to_string(), form.exact)
    return cache.Key(weights_sha256=release.sha256, facts=facts)


def _convert(generator: Generator, size: tuple[int, int], form: Form, folder: Path, *, styled: bool) -> None:
    """Writes the graph into the folder."""
    luma = torch.zeros(1, 1, *size)
    example: tuple[Tensor, ...] = (luma,)
    if styled:
        example = (luma, luma, torch.zeros(1, 2, *size), luma, torch.ones(1, generator.config.code_size))
    with warnings.catch_warnings(), torch.inference_mode():
        # torch.export is the newer way, and takes minutes for the same graph where tracing takes seconds (2.13).
        warnings.filterwarnings("ignore", "`torch.jit", DeprecationWarning)
        # Instance norm asks whether the picture is large enough; the size of a traced graph is fixed.
        warnings.filterwarnings("ignore", category=torch.jit._trace.TracerWarning)
        # Traced here, without torch's own check, which runs and traces all twice more; ours follows (check_engine).
        traced = torch.jit.trace(_Graph(generator).eval(), example, check_trace=False)  # type: ignore[no-untyped-call]
        model = openvino.convert_model(traced, example_input=example, input=[list(t.shape) for t in example])
    taps = model.results[1 + styled :]
    exact = taps if form.exact == "trunk" else taps[:EARLY_STAGES]
    _mark_precise([result.input_value(0).get_node() for result in exact])
    for result in taps:
        model.remove_result(result)
    try:
        openvino.save_model(model, folder / GRAPH, compress_to_fp16=False)
    except RuntimeError as error:
        raise ResourceError(
            f"{folder.parent}: the converted engine can't be written, the disk may be full; make room, or name "
            "another folder with XDG_CACHE_HOME"
        ) from error


def _mark_precise(last: list[openvino.Node]) -> None:
    """These operations and all that they are made of are computed in fp32 whatever the rest is."""
    seen: set[str] = set()
    while last:
        node = last.pop()
        if node.get_name() not in seen:
            seen.add(node.get_name())
            node.get_rt_info()[_PRECISE] = ""
            last += [port.get_source_output().get_node() for port in node.inputs()]


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
