"""Do the shipped graphs become TensorRT engines, whole? Checked on a machine without a GPU.

    make gpu-convert            # in an environment of its own: torch with CUDA, TensorRT-RTX
    python -m benchmarks.convert --graphs natural --size 256x448

Each graph is exported, lowered, partitioned (parts left to torch are graph breaks) and really built by TensorRT-RTX's
builder, which needs no GPU; nothing is run. torch.cuda's questions about the device are answered in this process as a
card of TensorRT-RTX's support matrix would (sm_89). The last line on stdout is JSON.
"""

import json
import logging
import platform
import time
from collections import Counter
from importlib import import_module, metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any

import torch
import typer
from rich.console import Console

from benchmarks import results
from benchmarks.trial import Result
from model import graphs
from model.graphs import GRAPHS, GraphName
from stream import runtime_tensorrt
from stream.errors import EngineError
from stream.runtime import find_release, load_generator
from train.evaluate import provenance

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
console = Console(stderr=True, highlight=False)
SIZE = "256x448"
BATCH = 4
_MEMORY = 24 << 30
_CAPABILITY = (8, 9)
_PACKAGES = ("kinochrome", "torch", "torch-tensorrt-rtx", "tensorrt-rtx-cu13")
DEFINITIONS = {
    "operators, supported": "after export and lowering: how many there are, and how many have a converter",
    "trt_parts, torch_parts": "of the partitioned graph; a graph without a break is one part, and none left to torch",
    "engine_mb, build_s": "what TensorRT-RTX's builder made of the whole graph; wall seconds, export included",
}


@app.command()
def main(
    wanted: Annotated[str, typer.Option("--graphs", help="With commas.")] = ",".join(GRAPHS),
    size: Annotated[str, typer.Option(help="Working size, rows x columns, multiples of 32.")] = SIZE,
    batch: Annotated[int, typer.Option(min=1, max=32, help="Of the network's graphs; the smoothing's is 1.")] = BATCH,
    out: Annotated[
        Path | None, typer.Option(help="Where to write the result; a full run goes to results/convert.json.")
    ] = None,
) -> None:
    """Exports, partitions and builds every graph; exit code 1 where one breaks."""
    names = [name for name in GRAPHS if name in wanted.split(",")]
    rows, columns = (int(part) for part in size.split("x"))
    builder = pretend()
    found = [_row(builder, name, (rows, columns), batch) for name in names]
    versions = {package: metadata.version(package) for package in _PACKAGES} | {"python": platform.python_version()}
    question = {"question": "do the shipped graphs become TensorRT engines without a graph break?"}
    result: Result = (
        question | provenance() | {"versions": versions, "pretended": f"sm_{_CAPABILITY[0]}{_CAPABILITY[1]}"}
    )
    result |= {"rows": found, "definitions": DEFINITIONS}
    if out or (tuple(names), size, batch) == (GRAPHS, SIZE, BATCH):
        results.save(result, out or results.FOLDER / "convert.json")
    typer.echo(json.dumps(result))
    raise typer.Exit(int(any(row["torch_parts"] or "reason" in row for row in found)))


def pretend() -> Any:  # noqa: ANN401  (a module without types)
    """torch_tensorrt, imported on a machine without a GPU: torch's questions about one get made-up answers."""
    facts = SimpleNamespace(
        major=_CAPABILITY[0], minor=_CAPABILITY[1], name="none", total_memory=_MEMORY, multi_processor_count=128
    )
    answers: dict[str, object] = {
        "get_device_capability": _CAPABILITY,
        "current_device": 0,
        "get_device_properties": facts,
        "get_device_name": facts.name,
        "mem_get_info": (_MEMORY, _MEMORY),
        "set_device": None,
        "synchronize": None,
        "empty_cache": None,
    }
    for name, answer in answers.items():
        setattr(torch.cuda, name, lambda *_, _answer=answer, **__: _answer)
    flavour = runtime_tensorrt.find_flavour()
    if flavour is None:
        raise SystemExit(f"{runtime_tensorrt.what_is_missing()}; make gpu-convert installs it beside the project's own")
    builder = runtime_tensorrt.load_builder(flavour)
    logging.disable(logging.WARNING)
    # Loading an engine needs a GPU; its bytes are all that is wanted here.
    interpreter = import_module("torch_tensorrt.dynamo.conversion._TRTInterpreter")
    interpreter.trt.Runtime = _Bytes
    for name in ("_compiler", "conversion._conversion", "conversion._TRTInterpreter", "utils"):
        module: Any = import_module(f"torch_tensorrt.dynamo.{name}")
        if hasattr(module, "to_torch_device"):
            module.to_torch_device = lambda _: torch.device("cpu")
    return builder


class _Bytes:
    """In place of TensorRT's run-time: an "engine" is its bytes."""

    def __init__(self, *_: object) -> None:
        self.content = b""

    def deserialize_cuda_engine(self, content: object) -> "_Bytes":
        if content is None:
            raise EngineError("TensorRT's builder gave nothing")
        self.content = bytes(content)  # type: ignore[call-overload]
        return self

    def serialize(self) -> bytes:
        return self.content


def _row(builder: Any, name: GraphName, size: tuple[int, int], batch: int) -> Result:  # noqa: ANN401
    generator = load_generator(find_release("kinochrome"))
    batch = 1 if name.startswith("steady") else batch
    module = graphs.make(name, generator)
    example = graphs.examples(name, size, batch, generator.config.code_size)
    row: Result = {"graph": name, "size": f"{size[0]}x{size[1]}", "batch": batch}
    console.print(f"{name}: partitioning")
    row |= _partition(name, module, example)
    console.print(f"{name}: {row['supported']} of {row['operators']} operators; building")
    started = time.perf_counter()
    try:
        row["engine_mb"] = round(len(runtime_tensorrt.build(builder, name, module, example)) / 1e6, 1)
    except EngineError as error:
        row["reason"] = str(error)
    return row | {"build_s": round(time.perf_counter() - started, 1)}


def _partition(name: GraphName, module: torch.nn.Module, example: tuple[torch.Tensor, ...]) -> Result:
    """Into how many parts Torch-TensorRT cuts the graph, and how many of them stay torch's."""
    dynamo = import_module("torch_tensorrt.dynamo")
    lowering = import_module("torch_tensorrt.dynamo.lowering")
    registry = import_module("torch_tensorrt.dynamo.conversion._ConverterRegistry")
    settings = dynamo.CompilationSettings(min_block_size=1)
    with torch.no_grad():
        program = lowering.pre_export_lowering(graphs.export(name, module, example), settings)
        program = program.run_decompositions(lowering.get_decompositions(False, False))
        lowered = lowering.post_lowering(program.module(), settings)
        registry.DYNAMO_CONVERTERS.set_compilation_settings(settings)
        supported, total = dynamo.partitioning.get_graph_converter_support(lowered, set())
        parts, support = dynamo.partitioning.fast_partition(
            lowered,
            min_block_size=1,
            torch_executed_ops=set(),
            require_full_compilation=False,
            skip_fusion=supported == total,
        )
    kinds = Counter("trt" if "_run_on_acc" in child else "torch" for child, _ in parts.named_children())
    return {
        "operators": total,
        "supported": supported,
        "unsupported": {str(operator): count for operator, count in support.unsupported_operators.items()},
        "trt_parts": kinds["trt"],
        "torch_parts": kinds["torch"],
    }


if __name__ == "__main__":
    app()
