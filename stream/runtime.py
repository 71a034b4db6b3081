"""What runs the network: one protocol, chosen in one place, with the reason said."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Protocol, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt
import torch

from model import weights
from model.generator import STRIDE, Generator
from model.weights import Release, WeightsError
from stream.config import Settings
from stream.errors import EngineError, UsageError

Array: TypeAlias = npt.NDArray[np.float32]

# In eight-bit levels of chroma; DESIGN 8. Beyond, an engine is refused: FP16 NaN and black frames are the field's
# commonest bug.
GOLDEN_MEAN, GOLDEN_P999 = 0.5, 2.0


class Runtime(Protocol):
    """The network on some device, at one size. The one method starts it on a batch."""

    name: str
    """For people: which engine, on what, how exact."""

    def start(self, luma: Array) -> Callable[[], Array]:
        """Starts on luma `[B, 1, H, W]` 0..1; the function returned waits for chroma `[B, 2, H/2, W/2]` -0.5..0.5."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What was opened, and why."""

    runtime: Runtime
    reason: str


class TorchRuntime:
    """The reference: eager fp32, on any device, the truth that the others are tested against."""

    def __init__(self, generator: Generator, device: torch.device) -> None:
        self.generator = generator.to(device)
        self.device = device
        self.name = f"torch {torch.__version__}, {device}, fp32"

    def start(self, luma: Array) -> Callable[[], Array]:
        """Runs at once; there is nothing to wait for."""
        with torch.inference_mode():
            chroma = self.generator.natural(torch.from_numpy(luma).to(self.device)).float().cpu().numpy()
        return lambda: chroma


def open_runtime(settings: Settings, size: tuple[int, int]) -> Choice:
    """The runtime that `settings` asks for, ready for working pictures of `size` (rows, columns; multiples of 32).

    The only place that chooses. Raises EngineError if the asked one can't be had: never another one silently.
    """
    if any(side <= 0 or side % STRIDE for side in size):
        raise ValueError(f"{size = }; multiples of {STRIDE} are needed")
    release = find_release(settings.weights)
    if settings.runtime == "torch":
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        return Choice(runtime=TorchRuntime(load_generator(release), device), reason="asked for")
    from stream.runtime_openvino import OpenVinoRuntime

    runtime = OpenVinoRuntime(release, size, threads=settings.threads)
    # Torch and OpenCV are left with small work between the network's: teams of threads that wait for each other on
    # busy cores made a smoothing of 2 ms last 30.
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    reason = "asked for" if settings.runtime == "openvino" else "the default on a CPU"
    return Choice(runtime=runtime, reason=reason)


def find_release(name: str) -> Release:
    """The release of this name; UsageError listing the others."""
    table = weights.releases()
    if name not in table:
        raise UsageError(f"no weights named {name!r}; there are {', '.join(table) or 'none'}")
    return table[name]


def load_generator(release: Release) -> Generator:
    """The release's network; EngineError where its file is missing or changed."""
    try:
        return weights.load(release)
    except WeightsError as error:
        raise EngineError(str(error)) from error


def golden_frames(size: tuple[int, int]) -> Array:
    """Four made-up working pictures `[4, 1, H, W]`: soft shapes, edges, grain and black; the same every time."""
    random = np.random.default_rng(7)
    rows, columns = size
    y, x = np.mgrid[0 : 1 : rows * 1j, 0 : 1 : columns * 1j].astype(np.float32)
    waves = [0.5 + 0.2 * np.sin(9 * x + 5 * y + k) + 0.2 * np.cos(7 * y * y - 4 * x * k) for k in range(2)]
    edges = ((x * 7).astype(int) + (y * 5).astype(int)) % 3 / 2.5
    scene = np.where(y + 0.1 * np.sin(6 * x) < 0.4, 0.8 - 0.3 * y, 0.25 + 0.2 * random.random(size))
    dark = 0.03 * random.random(size)
    return np.stack([0.7 * waves[0] + 0.3 * waves[1], edges, scene, dark])[:, None].clip(0, 1).astype(np.float32)


def difference(chroma: Array, reference: Array) -> tuple[float, float]:
    """Mean and 99.9th percentile of |chroma - reference| in eight-bit levels of limited range; inf with any NaN."""
    if not np.isfinite(chroma).all():
        return float("inf"), float("inf")
    levels = 224 * np.abs(chroma - reference)
    return float(levels.mean()), float(np.quantile(levels, 0.999))


def check_engine(runtime: Runtime, generator: Generator, size: tuple[int, int]) -> tuple[float, float]:
    """Compares a new engine with the torch reference on golden frames; EngineError unless it agrees."""
    frames = golden_frames(size)
    reference = TorchRuntime(generator, torch.device("cpu")).start(frames)()
    mean, p999 = difference(runtime.start(frames)(), reference)
    if mean > GOLDEN_MEAN or p999 > GOLDEN_P999:
        raise EngineError(
            f"differs from the reference by {mean:.2f} levels in the mean and {p999:.2f} at 99.9 %; "
            f"{GOLDEN_MEAN} and {GOLDEN_P999} are allowed"
        )
    return mean, p999


def cache_folder() -> Path:
    """Where converted engines are kept: $XDG_CACHE_HOME/kinochrome, readable by its owner alone."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    folder = Path(base) / "kinochrome"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise EngineError(
            f"{folder}: converted engines can't be kept there ({error.strerror}); name another folder with "
            "XDG_CACHE_HOME, or use --runtime torch"
        ) from error
    return folder


def version() -> str:
    """Kinochrome's own version."""
    return metadata.version("kinochrome")
