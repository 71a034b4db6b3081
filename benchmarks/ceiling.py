"""What the machine can do at best: multiply-adds a second through a runtime, and bytes a second through its caches.

Both are measured on all cores at once, as the network uses them. Each function is a trial.
"""

import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import openvino
import torch
from openvino import opset13
from openvino.properties import hint, inference_num_threads, num_streams

from benchmarks.trial import Result, cores
from stream.config import RuntimeName
from stream.runtime_openvino import forms

_SIDE, _CHANNELS = 32, 256
_LAYER_GMAC = 9 * _SIDE**2 * _CHANNELS**2 / 1e9
# One layer alone reaches half of what twelve do: the rest is the conversion of its input (Xeon with AMX, bf16).
_LAYERS = 12
_MATRIX = 1536
_COPY_BYTES = 8 << 20  # beyond a core's own cache, within the shared one: the size of the network's largest layers


def measure(*, runtime: RuntimeName, seconds: float) -> Result:
    """The best of some dense operations that suit a CPU, in GMAC/s, and the copying speed in GB/s."""
    find = _openvino_gmac_s if runtime == "openvino" else _torch_gmac_s
    speeds = find(cores(), seconds)
    best = max(speeds, key=lambda what: speeds[what])
    precision = forms(openvino.Core())[0].precision.to_string() if runtime == "openvino" else "fp32"
    return {
        "runtime": runtime,
        "precision": precision,
        "gmac_s": round(speeds[best], 1),
        "one_core_gmac_s": round(find(1, seconds)[best], 1),
        "measured_on": best,
        "copy_gb_s": round(_copy_gb_s(seconds), 1),
    }


def _openvino_gmac_s(threads: int, seconds: float) -> dict[str, float]:
    """A stack of 3x3 convolutions, with the streams and the precision that the engine takes."""
    core = openvino.Core()
    options = {
        hint.performance_mode: hint.PerformanceMode.THROUGHPUT,
        num_streams: threads,
        inference_num_threads: threads,
        hint.inference_precision: forms(core)[0].precision,
    }
    queue = openvino.AsyncInferQueue(core.compile_model(_convolutions(), "CPU", options), threads)
    picture = np.full((1, _CHANNELS, _SIDE, _SIDE), 0.5, np.float32)
    pictures = 4 * threads

    def burst() -> None:
        for _ in range(pictures):
            queue.start_async({0: picture})
        queue.wait_all()

    gmac = pictures * _LAYERS * _LAYER_GMAC
    return {f"{_LAYERS} 3x3 convolutions, {_CHANNELS} channels": gmac / _fastest_s(burst, seconds)}


def _convolutions() -> openvino.Model:
    random = np.random.default_rng(3)
    given = x = opset13.parameter([1, _CHANNELS, _SIDE, _SIDE], np.float32)
    for _ in range(_LAYERS):
        weights = random.normal(0, 0.02, (_CHANNELS, _CHANNELS, 3, 3)).astype(np.float32)
        x = opset13.relu(opset13.convolution(x, opset13.constant(weights), [1, 1], [1, 1], [1, 1], [1, 1]))
    return openvino.Model([opset13.reduce_mean(x, opset13.constant([2, 3]), True)], [given])


def _torch_gmac_s(threads: int, seconds: float) -> dict[str, float]:
    """A large matrix product and a 3x3 convolution in fp32."""
    torch.set_num_threads(threads)
    matrix = torch.rand(_MATRIX, _MATRIX)
    picture, weights = torch.rand(4, _CHANNELS, _SIDE, _SIDE), torch.rand(_CHANNELS, _CHANNELS, 3, 3)
    with torch.inference_mode():
        product_s = _fastest_s(lambda: matrix @ matrix, seconds)
        convolution_s = _fastest_s(lambda: torch.conv2d(picture, weights, padding=1), seconds)
    return {
        f"matrix product, {_MATRIX}x{_MATRIX}": _MATRIX**3 / 1e9 / product_s,
        f"3x3 convolution, {_CHANNELS} channels": 4 * _LAYER_GMAC / convolution_s,
    }


def _copy_gb_s(seconds: float) -> float:
    """Bytes read plus bytes written a second when every core copies an array of its own."""
    pairs = [(np.ones(_COPY_BYTES, np.uint8), np.empty(_COPY_BYTES, np.uint8)) for _ in range(cores())]

    def copy(pair: tuple[Any, Any]) -> None:
        for _ in range(8):
            np.copyto(pair[1], pair[0])

    with ThreadPoolExecutor(cores()) as pool:
        return 8 * 2 * len(pairs) * _COPY_BYTES / 1e9 / _fastest_s(lambda: list(pool.map(copy, pairs)), seconds)


def _fastest_s(work: Callable[[], object], seconds: float) -> float:
    """Seconds of the quickest of many calls: a ceiling is what can be reached, not what is usual."""
    work()
    fastest_s, end = math.inf, time.perf_counter() + seconds
    while fastest_s == math.inf or time.perf_counter() < end:
        start = time.perf_counter()
        work()
        fastest_s = min(fastest_s, time.perf_counter() - start)
    return fastest_s
