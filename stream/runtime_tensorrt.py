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
from stream.opening import Opening, preparing
from stream.runtime import version
from stream.runtime_gpu import GpuRuntime, Program, Ready, check, describe, indexed, ran_out

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


def load_runner(flavour: Flavour) -> Library:
    """The module that loads and runs engines; EngineError where it or the libraries behind it can't be had."""
    return _load(flavour, flavour.module)


def load_builder(flavour: Flavour) -> Library:
    """The module torch_tensorrt, which takes seconds to import; EngineError as `load_runner`."""
    if flavour.module == "tensorrt_rtx":
        # Torch-TensorRT 2.11 looks for TensorRT's plugins, and those of the RTX wheels (1.4.0.76) can't be imported.
        sys.modules.setdefault("tensorrt.plugin", None)  # type: ignore[arg-type]  # the way to say that there is none
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _load(flavour, "torch_tensorrt")


def _load(flavour: Flavour, module: str) -> Library:
    try:
        return import_module(module)
    except (ImportError, OSError, RuntimeError) as error:  # OSError and RuntimeError: a library without its parts
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise EngineError(
            f"{flavour.label} is installed and can't be loaded ({reason}); pip install --force-reinstall "
            f"'kinochrome[{flavour.extra}]', or --runtime torch does without it"
        ) from error


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
        except (RuntimeError, AssertionError, ValueError) as error:
            if isinstance(error, RuntimeError) and ran_out(error):
                raise
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise EngineError(f"TensorRT can't build the graph {name!r} ({reason}); --runtime torch does") from error
    return bytes(content)


class TensorRtMaker:
    """Programs from kept engines, built where there is none."""

    def __init__(
        self,
        release: Release,
        generator: Generator,
        size: tuple[int, int],
        *,
        opening: Opening,
        device: torch.device | None = None,
        lenient: bool = False,
    ) -> None:
        """lenient: an engine that the check refuses is given out all the same, with a notice; for benchmarks."""
        flavour = find_flavour()
        if flavour is None:
            raise EngineError(what_is_missing())
        self.notices: list[str] = []
        self._flavour = flavour
        self._trt = load_runner(flavour)
        self._lenient = lenient
        self._release, self._generator = release, generator
        self._size, self._opening = size, opening
        self.device = indexed(device or torch.device("cuda"))
        self.name = f"{flavour.label} {self._trt.__version__}, {describe(self.device)}, FP16, CUDA graphs"

    def key(self, graph: GraphName, batch: int) -> cache.Key:
        """All that an engine depends on."""
        facts = (
            f"kinochrome {version()}",
            cache.code(__file__),
            describe(self.device),
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
        self._opening.check()
        with cache.locked(self.key(graph, batch)) as slot:
            meta = slot.read()
            loaded = None
            if meta is not None:
                self._refuse(str(meta.get("refused", "")), graph)
                try:
                    loaded = Loaded((slot.folder / FILE).read_bytes(), self._trt)
                except EngineRefusedError as error:
                    slot.reject(str(error))
            if slot.complaint:
                self.notices.append(slot.complaint)
            if loaded is not None:
                return self._record(loaded, graph, batch)
            how = "building a TensorRT engine takes minutes, this once; it is kept for the next time"
            self._opening.tell(preparing(self._size, how, styled=graph == "fused"))
            content = self._opening.beside(lambda: self._build(graph, batch))
            slot.write(lambda folder: (folder / FILE).write_bytes(content))
            program = self._record(self._load_new(content, graph), graph, batch)
            verdict = self._judge(program, graph, batch)
            slot.approve(verdict)
        self._refuse(str(verdict["refused"]), graph)
        return program

    def _load_new(self, content: bytes, graph: GraphName) -> Loaded:
        try:
            return Loaded(content, self._trt)
        except EngineRefusedError as error:  # it says no more where memory runs out
            raise EngineError(
                f"TensorRT can't load the engine of the graph {graph!r} that it has just built ({error}, or there is "
                "not enough GPU memory); close other programs and try again, or --runtime torch does without it"
            ) from error

    def _build(self, graph: GraphName, batch: int) -> bytes:
        if self.device.type == "cuda":
            torch.cuda.set_device(self.device)  # every thread has one of its own
        example = graphs.examples(graph, self._size, batch, self._generator.config.code_size)
        module = graphs.make(graph, self._generator).to(self.device)
        return build(load_builder(self._flavour), graph, module, tuple(each.to(self.device) for each in example))

    def _record(self, loaded: Loaded, graph: GraphName, batch: int) -> Program:
        program = Captured(loaded, self.device)
        example = graphs.examples(graph, self._size, batch, self._generator.config.code_size)
        program(*(each.to(self.device) for each in example))
        return program

    def _judge(self, program: Program, graph: GraphName, batch: int) -> dict[str, object]:
        runtime = GpuRuntime(Ready(self.name, program), self.device, batch, (graph,))
        try:
            return {"refused": "", **check(runtime, self._generator, self._size, graph, opening=self._opening)}
        except EngineError as error:
            return {"refused": str(error)}

    def _refuse(self, verdict: str, graph: GraphName) -> None:
        if not verdict:
            return
        told = f"the TensorRT engine of the graph {graph!r} {verdict}"
        if not self._lenient:
            raise EngineError(
                f"{told}; --runtime torch does without it, and after kinochrome cache prune --damaged it is built again"
            )
        self.notices.append(told)


def driver() -> str:
    """The version of NVIDIA's driver, which engines are bound to; "unknown" where it doesn't say."""
    if not _DRIVER.is_file():
        return "unknown"
    found = re.search(r"\b\d{3}\.\d+(?:\.\d+)?\b", _DRIVER.read_text())
    return found[0] if found else "unknown"


def open_tensorrt(maker: TensorRtMaker, batch: int, *, styled: bool) -> GpuRuntime:
    """TensorRT on this GPU, with engines from the cache or built now."""
    wanted: tuple[GraphName, ...] = ("natural", "fused") if styled else ("natural",)
    return GpuRuntime(maker, maker.device, batch, wanted)
