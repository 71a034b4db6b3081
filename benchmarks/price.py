"""What the smoothing costs beside the network, in one run and by turns: a busy machine troubles both alike."""

import time
from collections.abc import Callable

import numpy as np
import torch

from benchmarks.trial import Result
from model import temporal
from stream import shots, steady
from stream.config import Settings
from stream.frame import Frame
from stream.metrics import Meter
from stream.runtime import golden_frames, open_runtime
from stream.shots import Picture

SIZE = (256, 448)
_FRAMES = 40


def measure(*, rounds: int) -> Result:
    """CPU ms a frame of network and smoothing by turns (medians), and on a GPU where there is one."""
    runtime = open_runtime(Settings(threads=1), SIZE).runtime
    batch = np.resize(golden_frames(SIZE), (4, 1, *SIZE))
    runtime.start(batch)()
    pictures = _pictures(torch.device("cpu"))

    def network() -> None:
        for _ in range(_FRAMES // 4):
            runtime.start(batch)()

    def hold(lag: int) -> Callable[[], None]:
        def run() -> None:
            for _ in steady.hold(iter(pictures), steady=Settings.steady, lag=lag, meter=Meter()):
                pass

        return run

    jobs = {"network": network, "causal": hold(0), "fixed lag": hold(Settings.lag)}
    times: dict[str, list[float]] = {name: [] for name in jobs}
    for _ in range(rounds):
        for name, job in jobs.items():
            start = time.process_time()
            job()
            times[name].append(1000 * (time.process_time() - start) / _FRAMES)
    ms = {name: float(np.median(values)) for name, values in times.items()}
    return {
        "size": f"{SIZE[0]}x{SIZE[1]}",
        "network": runtime.name,
        "cpu_ms": {name: round(value, 2) for name, value in ms.items()},
        "share_of_network": {name: round(ms[name] / ms["network"], 3) for name in ("causal", "fixed lag")},
        "cuda_ms": _cuda_ms(),
    }


def _pictures(device: torch.device) -> list[Picture]:
    """A scene that drifts under grain, so that nothing is skipped."""
    random = torch.Generator().manual_seed(1)
    scene = torch.from_numpy(golden_frames(SIZE)[2:3])
    frame = Frame(planes=(np.zeros((1, 1), np.uint8),))
    pictures = []
    for number in range(_FRAMES):
        luma = (scene.roll(number, 3) + 0.02 * torch.randn(scene.shape, generator=random)).clamp(0, 1)
        chroma = 0.1 * torch.randn(1, 2, SIZE[0] // 2, SIZE[1] // 2, generator=random)
        pictures.append(Picture(frame=frame, guide=temporal.guide(luma).to(device), chroma=chroma.to(device)))
    return pictures


def _cuda_ms() -> float | None:
    """Wall ms a frame of the causal smoothing on a GPU, eager; None without one."""
    if not torch.cuda.is_available():
        return None
    pictures = _pictures(torch.device("cuda"))
    marked = [shots.Marked(picture, "same") for picture in pictures]
    for _ in steady.hold_online(marked, steady=Settings.steady, meter=Meter()):
        pass
    torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in steady.hold_online(marked, steady=Settings.steady, meter=Meter()):
        pass
    torch.cuda.synchronize()
    return round(1000 * (time.perf_counter() - start) / _FRAMES, 3)
