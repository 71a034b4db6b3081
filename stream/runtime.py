"""What runs the network: one protocol, chosen in one place, with the reason said."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from typing import Final, NamedTuple, Protocol, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt
import torch

from model import weights
from model.generator import STRIDE, Generator
from model.style import PALETTE
from model.weights import Release, WeightsError
from stream.config import Settings
from stream.errors import EngineError, UsageError
from stream.opening import Opening, silent

Array: TypeAlias = npt.NDArray[np.float32]

_ALL_THREADS: Final = torch.get_num_threads()
"""As many as torch takes by itself; read before anything else sets it (`leave_small_work`)."""

# In eight-bit levels; DESIGN 8. Beyond, an engine is refused: FP16 NaN and black frames are the field's commonest bug.
GOLDEN_MEAN, GOLDEN_P999 = 0.5, 2.0
# A painted picture has no original to be true to, and its strokes amplify every rounding; what must not pass is a look
# that is visibly another one.
PAINTED_MEAN, PAINTED_P999 = 1.5, 16.0
PAINTED_GRAIN: Final = 0.04
"""Deviation of the grain, of 0..1, on the golden frames of painted looks. Without any, rounding alone decides where a
stroke falls on a faultless gradient: with bold weights bf16 differs there by 37 levels at 99.9 %, on twelve photographs
in the looks of real paintings by 5 at most, and under this grain by 4."""


class Painted(NamedTuple):
    """What the network makes of a batch."""

    chroma: Array
    """float `[B, 2, H/2, W/2]` -0.5..0.5."""
    luma: Array | None
    """float `[B, 1, H, W]` 0..1, repainted; None in the natural look, where the luma stays the film's."""


class Style(NamedTuple):
    """What the fused graph needs beside the luma."""

    code: Array
    """float `[S]`: a look's, times the strength."""
    chroma: Array | None
    """float `[B, 2, H, W]` -0.5..0.5: the colours that the pictures have; None where they are to be predicted."""


class Runtime(Protocol):
    """The network on some device, at one size. The one method starts it on a batch."""

    @property
    def name(self) -> str:
        """For people: which engine, on what, how exact."""

    def start(self, luma: Array, style: Style | None = None) -> Callable[[], Painted]:
        """Starts on luma `[B, 1, H, W]` 0..1, the natural graph, or the fused one for a style; the function returned
        waits for what comes out.
        """


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What was opened, and why."""

    runtime: Runtime
    reason: str
    notices: tuple[str, ...] = ()
    """What else a person should know: kept engines that could not be used, say."""


class TorchRuntime:
    """The reference: eager fp32, on any device, the truth that the others are tested against."""

    def __init__(self, generator: Generator, device: torch.device, *, threads: int = 0) -> None:
        """threads: of a CPU, where 0 takes all cores. With another number sums round otherwise, so the name says it."""
        self.generator = generator.to(device)
        self.device = device
        self._threads = (threads or _ALL_THREADS) if device.type == "cpu" else None
        counted = f", {self._threads} threads" if self._threads else ""
        self.name = f"torch {torch.__version__}, {device}, fp32{counted}"

    def start(self, luma: Array, style: Style | None = None) -> Callable[[], Painted]:
        """Runs at once; there is nothing to wait for."""
        if self._threads:
            torch.set_num_threads(self._threads)  # torch keeps a number for each thread that calls it
        with torch.inference_mode():
            seen = torch.from_numpy(luma).to(self.device)
            if style is None:
                painted = Painted(self.generator.natural(seen).float().cpu().numpy(), None)
            else:
                made = self.generator(seen, *(torch.from_numpy(part).to(self.device) for part in inputs(luma, style)))
                painted = Painted(*(part.float().cpu().numpy() for part in made))
        return lambda: painted


def inputs(luma: Array, style: Style) -> tuple[Array, Array, Array]:
    """The fused graph's chroma `[B, 2, H, W]`, known `[B, 1, H, W]` and code `[B, S]` beside a batch of luma."""
    batch, _, rows, columns = luma.shape
    chroma = np.zeros((batch, 2, rows, columns), np.float32) if style.chroma is None else style.chroma
    known = np.full(luma.shape, style.chroma is not None, np.float32)
    return chroma, known, np.repeat(style.code[None], batch, 0)


def on_gpu(settings: Settings) -> bool:
    """Whether `open_runtime` will open a GPU's runtime, or nothing."""
    return settings.runtime == "tensorrt" or (settings.runtime != "openvino" and torch.cuda.is_available())


def open_runtime(
    settings: Settings,
    size: tuple[int, int],
    *,
    styled: bool = False,
    tell: Callable[[str], None] | None = None,
    check: Callable[[], None] = lambda: None,
) -> Choice:
    """The runtime that `settings` asks for, ready for working pictures of `size` (rows, columns; multiples of 32).

    styled: it shall run the fused graph as well. tell: called with a line before what takes a minute; check: asked
    meanwhile on a GPU, and may raise. The only place that chooses. Raises EngineError if the asked one can't be had:
    never another one silently.
    """
    if any(side <= 0 or side % STRIDE for side in size):
        raise ValueError(f"{size = }; multiples of {STRIDE} are needed")
    if on_gpu(settings):
        return _open_on_gpu(settings, size, Opening(tell=tell or silent, check=check), styled=styled)
    if settings.runtime == "torch":
        return Choice(runtime=open_reference(settings), reason="asked for")
    release = find_release(settings.weights)
    from stream.runtime_openvino import OpenVinoRuntime

    runtime = OpenVinoRuntime(
        release, size, threads=settings.threads, styled=styled, one_by_one=settings.batch == 1, tell=tell or silent
    )
    leave_small_work()
    reason = "asked for" if settings.runtime == "openvino" else "the default on a CPU"
    return Choice(runtime=runtime, reason=reason, notices=tuple(runtime.notices))


def open_beside(
    settings: Settings,
    size: tuple[int, int],
    *,
    styled: bool = False,
    tell: Callable[[str], None] | None = None,
    check: Callable[[], None] = lambda: None,
) -> Choice:
    """As `open_runtime`, while this thread goes on asking `check`, which may raise: the first time takes a minute."""
    if on_gpu(settings):  # what CUDA records belongs to the thread that will play it; the rest is done beside
        return open_runtime(settings, size, styled=styled, tell=tell, check=check)
    choice = Opening(check=check).beside(lambda: open_runtime(settings, size, styled=styled, tell=tell))
    if not isinstance(choice.runtime, TorchRuntime):
        leave_small_work()
    return choice


def open_reference(settings: Settings) -> TorchRuntime:
    """The reference, for pictures of any size, on a GPU where torch finds one."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return TorchRuntime(load_generator(find_release(settings.weights)), device, threads=settings.threads)


def _open_on_gpu(settings: Settings, size: tuple[int, int], opening: Opening, *, styled: bool) -> Choice:
    """TensorRT, or torch where that was asked for, or where TensorRT isn't installed and none was asked for."""
    from stream import runtime_tensorrt
    from stream.runtime_gpu import choose_batch, open_torch

    missing = runtime_tensorrt.what_is_missing()
    if settings.runtime == "tensorrt" and missing:
        raise EngineError(f"--runtime tensorrt: {missing}")
    if not torch.cuda.is_available():
        raise EngineError("--runtime tensorrt: torch finds no CUDA GPU; kinochrome doctor says why")
    release = find_release(settings.weights)
    generator = load_generator(release)
    total = torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory
    # Live is causal: every frame is wanted at once, so nothing waits for a batch to fill.
    batch = choose_batch(total, size) if settings.lag else 1
    if settings.runtime == "torch" or missing:
        opened = open_torch(generator, size, batch, opening=opening, styled=styled)
        reason = "asked for" if settings.runtime == "torch" else f"torch on this GPU, because {missing}"
    else:
        maker = runtime_tensorrt.TensorRtMaker(release, generator, size, opening=opening)
        opened = runtime_tensorrt.open_tensorrt(maker, batch, styled=styled)
        reason = "asked for" if settings.runtime == "tensorrt" else "the default on a CUDA GPU"
    leave_small_work()
    return Choice(runtime=opened, reason=reason, notices=tuple(opened.notices))


def leave_small_work() -> None:
    """Torch, in the thread that calls this, and OpenCV have small work left beside the network on a CPU: teams of
    threads that wait for each other on busy cores made a smoothing of 2 ms last 30.
    """
    torch.set_num_threads(1)
    cv2.setNumThreads(1)


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


def golden_frames(size: tuple[int, int], *, grain: float = 0.0) -> Array:
    """Four made-up working pictures `[4, 1, H, W]`: soft shapes, edges, grain and black; the same every time.

    grain: its deviation on top of all of them.
    """
    random = np.random.default_rng(7)
    rows, columns = size
    y, x = np.mgrid[0 : 1 : rows * 1j, 0 : 1 : columns * 1j].astype(np.float32)
    waves = [0.5 + 0.2 * np.sin(9 * x + 5 * y + k) + 0.2 * np.cos(7 * y * y - 4 * x * k) for k in range(2)]
    edges = ((x * 7).astype(int) + (y * 5).astype(int)) % 3 / 2.5
    scene = np.where(y + 0.1 * np.sin(6 * x) < 0.4, 0.8 - 0.3 * y, 0.25 + 0.2 * random.random(size))
    dark = 0.03 * random.random(size)
    frames = np.stack([0.7 * waves[0] + 0.3 * waves[1], edges, scene, dark])[:, None]
    return (frames + grain * random.standard_normal(frames.shape)).clip(0, 1).astype(np.float32)


def difference(chroma: Array, reference: Array) -> tuple[float, float]:
    """Mean and 99.9th percentile of |chroma - reference| in eight-bit levels of limited range; inf with any NaN."""
    if not np.isfinite(chroma).all():
        return float("inf"), float("inf")
    levels = 224 * np.abs(chroma - reference)
    return float(levels.mean()), float(np.quantile(levels, 0.999))


def check_engine(
    runtime: Runtime,
    generator: Generator,
    size: tuple[int, int],
    *,
    styled: bool = False,
    batch: int = 1,
    opening: Opening | None = None,
) -> tuple[float, float]:
    """Compares a graph of a new engine with the torch reference on golden frames; EngineError unless it agrees.

    batch: the engine's own, in which the frames are repeated, so that every place in it is looked at. opening: in whose
    sight the reference is computed, which takes seconds; in this thread without.
    """
    mean, p999 = compare_engine(runtime, generator, size, styled=styled, batch=batch, opening=opening)
    most = (PAINTED_MEAN, PAINTED_P999) if styled else (GOLDEN_MEAN, GOLDEN_P999)
    if mean > most[0] or p999 > most[1]:
        raise EngineError(
            f"differs from the reference by {mean:.2f} levels in the mean and {p999:.2f} at 99.9 %; "
            f"{most[0]} and {most[1]} are allowed"
        )
    return mean, p999


def compare_engine(
    runtime: Runtime,
    generator: Generator,
    size: tuple[int, int],
    *,
    styled: bool = False,
    batch: int = 1,
    opening: Opening | None = None,
) -> tuple[float, float]:
    """What `check_engine` finds, whatever it is: mean and 99.9th percentile, in eight-bit levels."""
    frames = golden_frames(size, grain=PAINTED_GRAIN if styled else 0.0)
    reference = TorchRuntime(generator, torch.device("cpu"))
    style = golden_style(frames, generator.config.code_size) if styled else None
    count = max(batch, len(frames))
    repeated = frames[np.arange(count) % len(frames)]
    made = runtime.start(repeated, golden_style(repeated, generator.config.code_size) if styled else None)()
    compute = reference.start if opening is None else lambda *given: opening.beside(lambda: reference.start(*given))
    wanted = compute(frames, style)()
    found = []
    for start in range(0, count, len(frames)):  # the worst place in the batch, not the mean of all
        part = slice(start, min(start + len(frames), count))
        kept = part.stop - part.start
        found.append(difference(made.chroma[part], wanted.chroma[:kept]))
        if made.luma is not None and wanted.luma is not None:
            found.append(difference(made.luma[part], wanted.luma[:kept]))
    return max(mean for mean, _ in found), max(p999 for _, p999 in found)


def golden_style(frames: Array, code_size: int) -> Style:
    """A made-up look at nine tenths of its strength, and soft colours for the golden frames."""
    random = np.random.default_rng(8)
    code = random.standard_normal(code_size).astype(np.float32)
    code /= np.sqrt(np.square(code[PALETTE:]).mean())
    code[:PALETTE] = (0.45, 0.02, -0.03, 0.2, 0.05, 0.06)
    return Style(code=np.float32(0.9) * code, chroma=np.float32(0.2) * np.concatenate((frames - 0.5, 0.5 - frames), 1))


def version() -> str:
    """Kinochrome's own version; "unknown" where it runs from a folder and was never installed."""
    try:
        return metadata.version("kinochrome")
    except metadata.PackageNotFoundError:
        return "unknown"
