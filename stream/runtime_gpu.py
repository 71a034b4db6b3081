"""The network on a GPU: programs of fixed shapes, run on whole batches of tensors that never leave the device.

What makes the programs is a `Maker`: torch's CUDA graphs here, TensorRT in stream/runtime_tensorrt.py. Nothing in this
module needs a GPU: on a CPU the same classes run the same graphs eagerly, and the tests do.
"""

from collections.abc import Callable
from typing import Protocol, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional

from model import graphs
from model.generator import Generator
from model.graphs import GraphName
from stream.captured import Captured
from stream.errors import EngineError, ResourceError
from stream.opening import Opening, preparing
from stream.runtime import Array, Painted, Style, check_engine

Program: TypeAlias = Callable[..., tuple[Tensor, ...]]
"""A graph at one size and batch: float32 tensors as in model/graphs.py in and out, on the device."""
LARGEST_BATCH = 32
_FEWEST = 1
# Activations of the fused graph in FP16 at 256x448 with what cuDNN and TensorRT want beside them, rounded up.
_BYTES_A_PIXEL = 4000
_FRAMES_HELD = 64
"""Frames whose planes are on the device at most: two batches and what the smoothing looks ahead."""
_SHARE = 0.5


class Maker(Protocol):
    """Makes programs, and says what they are."""

    name: str
    """For people: which engine, on what, how exact."""
    notices: list[str]
    """What a person should know about how they were made."""

    def make(self, graph: GraphName, batch: int) -> Program:
        """The program of a graph, ready to run."""


class GpuRuntime:
    """The network at one size on one device. Batches of any length are cut and filled up to the programs' own."""

    def __init__(
        self, maker: Maker, device: torch.device, batch: int, wanted: tuple[GraphName, ...] = ("natural",)
    ) -> None:
        self.device = indexed(device)
        self.batch = batch
        self.notices = maker.notices
        self._maker = maker
        self._graphs = wanted
        self._programs: dict[GraphName, Program] = {}
        self._code: tuple[bytes, Tensor] | None = None
        while not self._programs:
            try:
                self._programs = self._make()
            except RuntimeError as error:
                if not ran_out(error):
                    raise
                self.halve(error)

    @property
    def name(self) -> str:
        """For people."""
        return f"{self._maker.name}, batch {self.batch}"

    def _make(self) -> dict[GraphName, Program]:
        return {graph: self._maker.make(graph, self.batch) for graph in self._graphs}

    def halve(self, error: RuntimeError) -> None:
        """Half the batch from now on, said in the notices; ResourceError where it is one already."""
        self._programs = {}
        if self.batch == _FEWEST:
            raise ResourceError(
                "not enough GPU memory for a single frame; close other programs, or try a smaller --short-side"
            ) from error
        self.batch //= 2
        self.notices.append(f"the GPU ran out of memory; batches of {self.batch} frames from there on")
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def paint(self, luma: Tensor, style: tuple[Tensor, Tensor | None] | None = None) -> tuple[Tensor, Tensor | None]:
        """Chroma `[B, 2, H/2, W/2]` and, for a style, luma `[B, 1, H, W]`, of luma `[B, 1, H, W]`, all float32.

        style: a code `[S]`, and the pictures' own chroma `[B, 2, H, W]` if that is to be kept. Waits for nothing.
        """
        graph: GraphName = "natural" if style is None else "fused"
        if graph not in self._graphs:
            raise EngineError("this engine was opened for natural colour alone; open it with styled=True")
        if not self._programs:
            self._programs = self._make()
        beside = () if style is None else _hints(luma, *style)
        pieces = zip(*(each.split(self.batch) for each in (luma, *beside)), strict=True)
        parts = [self._run(graph, *given) for given in pieces]
        made = [torch.cat(part) if len(part) > 1 else part[0] for part in zip(*parts, strict=True)]
        return made[0], made[1] if style is not None else None

    def _run(self, graph: GraphName, *given: Tensor) -> tuple[Tensor, ...]:
        count = len(given[0])
        if count < self.batch:
            given = tuple(functional.pad(each, (0, 0) * (each.dim() - 1) + (0, self.batch - count)) for each in given)
        return tuple(each[:count] for each in self._programs[graph](*given))

    def code(self, code: Array) -> Tensor:
        """The code on the device; it is sent once."""
        if self._code is None or self._code[0] != code.tobytes():
            self._code = code.tobytes(), torch.from_numpy(code).to(self.device)
        return self._code[1]

    def start(self, luma: Array, style: Style | None = None) -> Callable[[], Painted]:
        """As every runtime: from host to host."""
        with torch.inference_mode():
            seen = torch.from_numpy(luma).to(self.device)
            given = None
            if style is not None:
                own = None if style.chroma is None else torch.from_numpy(style.chroma).to(self.device)
                given = self.code(style.code), own
            chroma, painted = self.paint(seen, given)
        return lambda: Painted(chroma.cpu().numpy(), None if painted is None else painted.cpu().numpy())


def _hints(luma: Tensor, code: Tensor, chroma: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """The fused graph's chroma, known and codes beside a batch of luma; as `runtime.inputs`."""
    known = torch.zeros_like(luma) if chroma is None else torch.ones_like(luma)
    own = luma.new_zeros(len(luma), 2, *luma.shape[2:]) if chroma is None else chroma
    return own, known, code.expand(len(luma), -1)


class TorchMaker:
    """torch itself: the graphs of model/graphs.py recorded as CUDA graphs, eager on a CPU."""

    def __init__(
        self,
        generator: Generator,
        size: tuple[int, int],
        device: torch.device,
        *,
        compiled: bool = False,
        opening: Opening | None = None,
    ) -> None:
        self.notices: list[str] = []
        self._opening = opening or Opening()
        self.compiled = compiled
        self._generator = generator
        self._size = size
        self._device = device = indexed(device)
        how = "torch.compile and CUDA graphs" if compiled else "CUDA graphs" if device.type == "cuda" else "eager"
        self.name = f"torch {torch.__version__}, {describe(device)}, FP16, {how}"

    def make(self, graph: GraphName, batch: int) -> Program:
        """The program, recorded."""
        self._opening.check()
        module = graphs.make(graph, self._generator).to(self._device)
        module = module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        take_exact_kernels()
        run = torch.compile(module, fullgraph=True, dynamic=False) if self.compiled else module

        def call(*given: Tensor) -> tuple[Tensor, ...]:
            made = run(*given)
            return made if isinstance(made, tuple) else (made,)

        program = Captured(call, self._device)
        example = graphs.examples(graph, self._size, batch, self._generator.config.code_size)
        with torch.inference_mode():
            program(*(each.to(self._device) for each in example))
        return program


class Ready:
    """A maker of the one program that there is."""

    def __init__(self, name: str, program: Program) -> None:
        self.name = name
        self.notices: list[str] = []
        self._program = program

    def make(self, graph: GraphName, batch: int) -> Program:
        """The program, whatever is asked for."""
        return self._program


class Checked:
    """A maker whose programs are compared with the reference before anybody uses them, those of a halved batch too."""

    def __init__(
        self, maker: Maker, generator: Generator, size: tuple[int, int], device: torch.device, *, opening: Opening
    ) -> None:
        self.name, self.notices = maker.name, maker.notices
        self._maker = maker
        self._generator, self._size = generator, size
        self._device, self._opening = device, opening

    def make(self, graph: GraphName, batch: int) -> Program:
        """The program; EngineError where it differs."""
        program = self._maker.make(graph, batch)
        runtime = GpuRuntime(Ready(self.name, program), self._device, batch, (graph,))
        check(runtime, self._generator, self._size, graph, opening=self._opening)
        return program


def indexed(device: torch.device) -> torch.device:
    """The device with its number, without which CUDA doesn't let a thread choose it (torch.cuda.set_device)."""
    if device.type != "cuda" or device.index is not None:
        return device
    return torch.device("cuda", torch.cuda.current_device())


def ran_out(error: RuntimeError) -> bool:
    """Whether it says that the device's memory did not suffice.

    torch has a class for its own allocator alone; the driver's word comes as AcceleratorError, which a lost GPU is as
    well, that of cuBLAS and cuDNN (..._STATUS_ALLOC_FAILED) as RuntimeError.
    """
    told = str(error)
    return isinstance(error, torch.OutOfMemoryError) or "out of memory" in told.lower() or "ALLOC_FAILED" in told


def take_exact_kernels() -> None:
    """Has torch's convolutions and products computed as they are written, and alike in every process."""
    # Only the network's first layers are float32, and TF32 would take from them what FP16 does.
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    # Whoever goes on with a film takes the same kernels, so they must not be chosen by a stopwatch.
    torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = False, True


def describe(device: torch.device) -> str:
    """The device for people: its name and its compute capability."""
    if device.type != "cuda":
        return device.type.upper()
    major, minor = torch.cuda.get_device_capability(device)
    return f"{torch.cuda.get_device_name(device)} sm_{major}{minor}"


def choose_batch(total_bytes: int, working: tuple[int, int], frame: tuple[int, int] = (2160, 3840)) -> int:
    """How many frames at once: the largest power of two, LARGEST_BATCH at most, that half of the memory has room for.

    total_bytes: of the device, not what is free now, so that an engine built today is found tomorrow.
    """
    room = _SHARE * total_bytes - _FRAMES_HELD * 2 * frame[0] * frame[1]
    fits = int(room // (_BYTES_A_PIXEL * working[0] * working[1]))
    batch = LARGEST_BATCH
    while batch > max(fits, _FEWEST):
        batch //= 2
    return batch


def check(
    runtime: GpuRuntime,
    generator: Generator,
    size: tuple[int, int],
    graph: GraphName,
    *,
    opening: Opening | None = None,
) -> dict[str, float]:
    """How near a graph is to the reference on golden frames, in eight-bit levels; EngineError where it is not."""
    styled = graph == "fused"
    mean, p999 = check_engine(runtime, generator, size, styled=styled, batch=runtime.batch, opening=opening)
    return {"mean_levels": round(mean, 4), "p999_levels": round(p999, 4)}


def open_torch(
    generator: Generator,
    size: tuple[int, int],
    batch: int,
    *,
    opening: Opening,
    styled: bool,
    device: torch.device | None = None,
) -> GpuRuntime:
    """torch on the GPU, recorded as CUDA graphs, checked against the reference."""
    device = device or torch.device("cuda", torch.cuda.current_device())
    wanted: tuple[GraphName, ...] = ("natural", "fused") if styled else ("natural",)
    opening.tell(preparing(size, "some seconds, as every time with torch on a GPU", styled=styled))
    maker = TorchMaker(generator, size, device, opening=opening)
    return GpuRuntime(Checked(maker, generator, size, device, opening=opening), device, batch, wanted)
