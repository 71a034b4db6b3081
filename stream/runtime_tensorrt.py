"""TensorRT: engines of fixed size and batch, built by Torch-TensorRT on first use, checked, and kept in the cache.

A graph of model/graphs.py is exported and converted whole, without a part left to torch, strongly typed: FP16 where the
graph says so, float32 elsewhere, never TF32. The engine's own bytes are kept, nothing that needs unpickling; they are
loaded by TensorRT alone and replayed as CUDA graphs. Both TensorRT (extra `cuda`) and TensorRT-RTX (extra `rtx`) do.
"""

import re
import sys
import tempfile
import warnings
from dataclasses import dataclass
from importlib import import_module, metadata, util
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from model import graphs
from model.generator import Generator
from model.graphs import GraphName
from model.weights import Release
from stream import cache
from stream.captured import Captured
from stream.errors import EngineError
from stream.runtime import version
from stream.runtime_gpu import GpuRuntime, Program, check, describe

Library: TypeAlias = Any
"""A module without types."""
FILE = "engine.trt"
_DRIVER = Path("/proc/driver/nvidia/version")


@dataclass(frozen=True, kw_only=True)
class Flavour:
    """One of the two TensorRTs that Torch-TensorRT comes with."""

    label: str
    package: str
    """What builds engines."""
    module: str
    """What loads and runs them."""
    extra: str
    """The extra of ours that installs both."""


FLAVOURS = (
    Flavour(label="TensorRT", package="torch-tensorrt", module="tensorrt", extra="cuda"),
    Flavour(label="TensorRT-RTX", package="torch-tensorrt-rtx", module="tensorrt_rtx", extra="rtx"),
)


def find_flavour() -> Flavour | None:
    """The TensorRT that is installed, both of its packages; None if neither is."""
    for flavour in FLAVOURS:
        try:
            metadata.version(flavour.package)
        except metadata.PackageNotFoundError:
            continue
        if util.find_spec(flavour.module) is not None:
            return flavour
    return None


def what_is_missing() -> str:
    """What to install before this runtime can be used, "" if nothing."""
    if find_flavour() is not None:
        return ""
    return (
        "TensorRT is not installed: pip install 'kinochrome[cuda]', or 'kinochrome[rtx]' for TensorRT-RTX "
        "(GeForce and RTX cards)"
    )


class EngineRefusedError(RuntimeError):
    """TensorRT doesn't take the bytes of an engine: another version's, another GPU's."""


class Loaded:
    """An engine ready to run, as a function of float32 tensors on the device."""

    def __init__(self, content: bytes, trt: Library) -> None:
        self._trt = trt
        self._runtime = trt.Runtime(trt.Logger(trt.Logger.ERROR))
        self._engine = self._runtime.deserialize_cuda_engine(content)
        if self._engine is None:
            raise EngineRefusedError("TensorRT refuses it: it is of another version or another GPU")
        self._context = self._engine.create_execution_context()
        if self._context is None:
            raise torch.OutOfMemoryError("TensorRT has no memory for an execution context")
        names = [self._engine.get_tensor_name(index) for index in range(self._engine.num_io_tensors)]
        given = trt.TensorIOMode.INPUT
        self._inputs = [name for name in names if self._engine.get_tensor_mode(name) == given]
        self._outputs = [name for name in names if self._engine.get_tensor_mode(name) != given]
        strange = [name for name in names if self._engine.get_tensor_dtype(name) != trt.float32]
        if strange:
            raise EngineRefusedError(f"its tensors {', '.join(strange)} are no float32")

    def __call__(self, *given: Tensor) -> tuple[Tensor, ...]:
        """Runs on the current stream; waits for nothing."""
        device = given[0].device
        for name, tensor in zip(self._inputs, given, strict=True):
            if tuple(tensor.shape) != tuple(self._engine.get_tensor_shape(name)):
                raise ValueError(f"{tuple(tensor.shape) = }; {tuple(self._engine.get_tensor_shape(name))} is needed")
            if not tensor.is_contiguous():
                raise ValueError(f"{name}: {tensor.stride() = }; an engine reads contiguous tensors alone")
            self._context.set_tensor_address(name, tensor.data_ptr())
        made = []
        for name in self._outputs:
            shape = tuple(self._engine.get_tensor_shape(name))
            made.append(torch.empty(shape, dtype=torch.float32, device=device))
            self._context.set_tensor_address(name, made[-1].data_ptr())
        if not self._context.execute_async_v3(torch.cuda.current_stream(device).cuda_stream):
            raise EngineError("TensorRT could not run the engine; --runtime torch does without it")
        return tuple(made)


def load_builder(flavour: Flavour) -> Library:
    """The module torch_tensorrt, which takes seconds to import."""
    if flavour.module == "tensorrt_rtx":
        # Torch-TensorRT 2.11 looks for TensorRT's plugins, and those of the RTX wheels (1.4.0.76) can't be imported.
        sys.modules.setdefault("tensorrt.plugin", None)  # type: ignore[arg-type]  # the way to say that there is none
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return import_module("torch_tensorrt")


def build(builder: Library, name: GraphName, module: nn.Module, example: tuple[Tensor, ...]) -> bytes:
    """The bytes of an engine for the graph, with the shapes of the example; EngineError if it can't be converted."""
    with tempfile.TemporaryDirectory(prefix="kinochrome-trt-") as work, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            content = builder.dynamo.convert_exported_program_to_serialized_trt_engine(
                graphs.export(name, module, example),
                arg_inputs=list(example),
                # TensorRT would round float32 to TF32's ten bits, which is what the graph's exact beginning is not for.
                disable_tf32=True,
                min_block_size=1,
                require_full_compilation=True,
                # The library's own is shared by all users of the machine, and a flipped bit in it aborts the process.
                timing_cache_path=str(Path(work) / "timing"),
            )
        except torch.OutOfMemoryError:
            raise
        except (RuntimeError, AssertionError, ValueError) as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise EngineError(f"TensorRT can't build the graph {name!r} ({reason}); --runtime torch does") from error
    return bytes(content)


class TensorRtMaker:
    """Programs from kept engines, built where there is none."""

    def __init__(self, release: Release, generator: Generator, size: tuple[int, int], device: torch.device) -> None:
        flavour = find_flavour()
        if flavour is None:
            raise EngineError(what_is_missing())
        self.notices: list[str] = []
        self._flavour = flavour
        self._trt = import_module(flavour.module)
        self._release, self._generator = release, generator
        self._size, self._device = size, device
        self.name = f"{flavour.label} {self._trt.__version__}, {describe(device)}, FP16, CUDA graphs"

    def key(self, graph: GraphName, batch: int) -> cache.Key:
        """All that an engine depends on."""
        facts = (
            f"kinochrome {version()}",
            describe(self._device),
            f"driver {driver()}",
            f"{self._flavour.module} {self._trt.__version__}",
            f"{self._flavour.package} {metadata.version(self._flavour.package)}",
            f"torch {torch.__version__}",
            f"cuda {torch.version.cuda}",
            graph,
            f"{self._size[0]}x{self._size[1]}",
            f"batch {batch}",
            "fp16",
        )
        return cache.Key(weights_sha256=self._release.sha256, facts=facts)

    def make(self, graph: GraphName, batch: int) -> Program:
        """The program; a new engine is checked against the reference before anybody uses it."""
        with cache.locked(self.key(graph, batch)) as slot:
            meta = slot.read()
            loaded = None
            if meta is not None:
                _refuse(str(meta.get("refused", "")), graph)
                try:
                    loaded = Loaded((slot.folder / FILE).read_bytes(), self._trt)
                except EngineRefusedError as error:
                    slot.reject(str(error))
            if slot.complaint:
                self.notices.append(slot.complaint)
            if loaded is not None:
                return self._record(loaded, graph, batch)
            content = self._build(graph, batch)
            slot.write(lambda folder: (folder / FILE).write_bytes(content))
            program = self._record(Loaded(content, self._trt), graph, batch)
            verdict = self._judge(program, graph, batch)
            slot.approve(verdict)
        _refuse(str(verdict["refused"]), graph)
        return program

    def _build(self, graph: GraphName, batch: int) -> bytes:
        example = graphs.examples(graph, self._size, batch, self._generator.config.code_size)
        module = graphs.make(graph, self._generator).to(self._device)
        return build(load_builder(self._flavour), graph, module, tuple(each.to(self._device) for each in example))

    def _record(self, loaded: Loaded, graph: GraphName, batch: int) -> Program:
        program = Captured(loaded, self._device)
        example = graphs.examples(graph, self._size, batch, self._generator.config.code_size)
        program(*(each.to(self._device) for each in example))
        return program

    def _judge(self, program: Program, graph: GraphName, batch: int) -> dict[str, object]:
        runtime = GpuRuntime(_Ready(self.name, program), self._device, batch, (graph,))
        try:
            return {"refused": "", **check(runtime, self._generator, self._size, graph)}
        except EngineError as error:
            return {"refused": str(error)}


class _Ready:
    """A maker of the one program that there is."""

    def __init__(self, name: str, program: Program) -> None:
        self.name = name
        self.notices: list[str] = []
        self._program = program

    def make(self, graph: GraphName, batch: int) -> Program:
        return self._program


def _refuse(verdict: str, graph: GraphName) -> None:
    if verdict:
        raise EngineError(f"the TensorRT engine of the graph {graph!r} {verdict}; --runtime torch does without it")


def driver() -> str:
    """The version of NVIDIA's driver, which engines are bound to; "unknown" where it doesn't say."""
    if not _DRIVER.is_file():
        return "unknown"
    found = re.search(r"\b\d{3}\.\d+(?:\.\d+)?\b", _DRIVER.read_text())
    return found[0] if found else "unknown"


def open_tensorrt(
    release: Release, generator: Generator, size: tuple[int, int], batch: int, *, styled: bool
) -> GpuRuntime:
    """TensorRT on this GPU, with engines from the cache or built now."""
    device = torch.device("cuda", torch.cuda.current_device())
    wanted: tuple[GraphName, ...] = ("natural", "fused") if styled else ("natural",)
    return GpuRuntime(TensorRtMaker(release, generator, size, device), device, batch, wanted)
