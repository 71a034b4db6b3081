"""OpenVINO: the network on any CPU, converted on first use, checked against the reference, and kept in a cache.

The network runs as two graphs. The trunk's early layers stay in fp32 everywhere: in bf16 they alone shift chroma by six
eight-bit levels at 99.9 %, because ImageNet's colour-opponent filters all but cancel on grey pictures, and what is left
is amplified. With them in fp32 and the rest in bf16 it is 0.7 levels, for a sixth more time (measured on the release).
"""

import hashlib
import json
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue

import numpy as np
import openvino
import torch
from openvino.properties import hint, inference_num_threads, num_streams
from torch import Tensor, nn

from model.generator import Generator
from model.weights import Release
from stream.errors import EngineError, ResourceError
from stream.runtime import Array, cache_folder, check_engine, load_generator, version

EARLY, LATE = "early.xml", "late.xml"


class OpenVinoRuntime:
    """A lane for each core; the pictures of a batch run beside each other.

    In bf16 where the CPU computes in it and the check passes at this size, else in fp32; `name` says which, and why.
    """

    def __init__(self, release: Release, size: tuple[int, int], *, threads: int = 0) -> None:
        core = openvino.Core()
        cores = threads or len(os.sched_getaffinity(0))
        self._pool = ThreadPoolExecutor(cores, thread_name_prefix="kinochrome-network")
        refused = ""
        for precision in precisions(core):
            self.name = f"OpenVINO {_version()}, CPU, {precision.to_string()}, {cores} streams{refused}"
            folder = _engine_folder(release, size, precision)
            verdict = _read_verdict(folder)
            generator = None if verdict is not None else load_generator(release)
            if generator is not None:
                _convert(generator, size, folder)
            self._lanes = _open_lanes(core, folder, precision, cores)
            if generator is not None:
                verdict = self._judge(generator, size, folder)
            if not verdict:
                return
            refused = f" ({precision.to_string()} refused: {verdict})"
        raise EngineError(f"{self.name}: no precision agrees with the reference; --runtime torch is exact")

    def _judge(self, generator: Generator, size: tuple[int, int], folder: Path) -> str:
        """Why the engine must not be used, "" if it may; written down, so that it is checked once."""
        try:
            mean, p999 = check_engine(self, generator, size)
            verdict, figures = "", {"mean_levels": round(mean, 4), "p999_levels": round(p999, 4)}
        except EngineError as error:
            verdict, figures = str(error), {}
        part = folder / "meta.json.part"
        part.write_text(json.dumps({"refused": verdict, **figures, "sha256": _digests(folder)}))
        part.replace(folder / "meta.json")
        return verdict

    def start(self, luma: Array) -> Callable[[], Array]:
        """Every picture of the batch starts as soon as a lane is free."""
        futures: list[Future[Array]] = [self._pool.submit(self._run, luma[i : i + 1]) for i in range(len(luma))]
        return lambda: np.concatenate([future.result() for future in futures])

    def _run(self, luma: Array) -> Array:
        lane = self._lanes.get()
        try:
            return lane.run(luma)
        finally:
            self._lanes.put(lane)


class _Lane:
    """A request to each graph; the second reads the features where the first leaves them."""

    def __init__(self, early: openvino.CompiledModel, late: openvino.CompiledModel) -> None:
        self._early, self._late = early.create_infer_request(), late.create_infer_request()
        for index in range(len(late.inputs)):
            self._late.set_input_tensor(index, self._early.get_output_tensor(index))
        # Once here, in the thread that opens the runtime: OpenVINO's bindings (2026.4) set up their types at the first
        # use under a lock that takes the interpreter's with it, and two threads at once then wait for each other.
        self.run(np.zeros(tuple(self._early.get_input_tensor(0).shape), np.float32))

    def run(self, luma: Array) -> Array:
        """Chroma `[1, 2, H/2, W/2]` of luma `[1, 1, H, W]`."""
        self._early.infer({0: luma})
        self._late.infer()
        return np.array(self._late.get_output_tensor(0).data, np.float32)


def precisions(core: openvino.Core) -> list[openvino.Type]:
    """What the network's later part may run in, best first: bf16 only where the CPU computes in it (DESIGN 8)."""
    capabilities = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return [openvino.Type.bf16, openvino.Type.f32] if "BF16" in capabilities else [openvino.Type.f32]


def _read_verdict(folder: Path) -> str | None:
    """What the check of a kept engine said; None if there is none, or its files are not those that were checked."""
    try:
        meta = json.loads((folder / "meta.json").read_text())
        return str(meta["refused"]) if meta["sha256"] == _digests(folder) else None
    except (FileNotFoundError, ValueError, KeyError):
        return None


def _digests(folder: Path) -> dict[str, str]:
    """sha256 of the graphs and their weights, by file: a damaged engine would give wrong colours without a word."""
    files = sorted(path for path in folder.iterdir() if path.suffix in (".xml", ".bin"))
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def _open_lanes(core: openvino.Core, folder: Path, precision: openvino.Type, cores: int) -> "SimpleQueue[_Lane]":
    early = _compile(core, folder / EARLY, openvino.Type.f32, cores)
    late = _compile(core, folder / LATE, precision, cores)
    lanes: SimpleQueue[_Lane] = SimpleQueue()
    for _ in range(cores):
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


class _Late(nn.Module):
    """These features to chroma in the natural look."""

    def __init__(self, generator: Generator) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, *early: Tensor) -> Tensor:
        """As a module's own call, which is what can be traced."""
        return self.generator.natural_from(list(early))


def _version() -> str:
    return str(openvino.__version__.split("-")[0])


def _engine_folder(release: Release, size: tuple[int, int], precision: openvino.Type) -> Path:
    name = f"{version()}-openvino-{_version()}-{size[0]}x{size[1]}-{precision.to_string()}"
    return cache_folder() / "openvino" / release.sha256[:16] / name


def _convert(generator: Generator, size: tuple[int, int], folder: Path) -> None:
    """Writes the graphs beside their final place and moves them there whole, so that two programs can't mix theirs."""
    folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=".convert-", dir=folder.parent))
    try:
        with torch.inference_mode():
            luma = torch.zeros(1, 1, *size)
            features = tuple(generator.trunk.early(luma))
        _save(_Early(generator), (luma,), work / EARLY)
        _save(_Late(generator), features, work / LATE)
        shutil.rmtree(folder, ignore_errors=True)
        work.replace(folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _save(module: nn.Module, example: tuple[Tensor, ...], path: Path) -> None:
    with warnings.catch_warnings(), torch.inference_mode():
        # torch.export is the newer way, and takes minutes for the same graph where tracing takes seconds (2.13).
        warnings.filterwarnings("ignore", "`torch.jit", DeprecationWarning)
        model = openvino.convert_model(module.eval(), example_input=example, input=[list(t.shape) for t in example])
    try:
        openvino.save_model(model, path, compress_to_fp16=False)
    except RuntimeError as error:
        raise ResourceError(
            f"{path.parent.parent}: the converted engine can't be written, the disk may be full; make room, or name "
            "another folder with XDG_CACHE_HOME"
        ) from error


def _compile(core: openvino.Core, path: Path, precision: openvino.Type, streams: int) -> openvino.CompiledModel:
    options = {
        # Streams of one thread each never wait for each other and give way to the codecs: 16.1 ms a frame against
        # 19.2 with one stream of two threads (two cores, 256x480, bf16).
        hint.performance_mode: hint.PerformanceMode.THROUGHPUT,
        num_streams: streams,
        inference_num_threads: streams,
        hint.inference_precision: precision,
    }
    try:
        return core.compile_model(path, "CPU", options)
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise EngineError(
            f"{path.parent}: OpenVINO can't load this engine ({reason}); delete the folder and try again"
        ) from error
