"""Two films side by side: which frames belong together, whether their times were kept, and how their luma differs."""

import math
from collections.abc import Iterator
from fractions import Fraction

import numpy as np

from stream.film import Info
from stream.frame import Frame, Plane
from stream.plan import SEQUENCE
from stream.planes import reduction

LOSSY_PSNR_DB = 20.0
"""Below this the pictures aren't the original's, however lossy the codec."""
_LOSSLESS = ("ffv1", "huffyuv", "ffvhuff", "utvideo", "rawvideo", "v210", "png", "tiff")


class Differences:
    """How luma differs over all pairs of frames."""

    def __init__(self) -> None:
        self._frames = 0
        self._differing = 0
        self._largest = 0
        self._squares = 0.0
        self._samples = 0
        self._depths: tuple[int, int] = (8, 8)
        self._restated = False
        self._sizes: set[tuple[int, ...]] = set()

    def note(self, before: Frame, after: Frame) -> None:
        """Compares the luma of one pair."""
        self._frames += 1
        self._samples += before.luma.size
        self._depths = before.depth, after.depth
        if before.luma.shape != after.luma.shape:
            self._sizes.add(after.luma.shape)
            self._differing += 1
            return
        expected = before.luma
        if after.tags.full_range and (not before.tags.full_range or after.depth > before.depth):
            self._restated = True
            expected = _full_range(before, after.depth)
        elif after.depth != before.depth:
            full_range = before.tags.full_range
            expected = reduction(before.depth, after.depth, full_range=full_range, chroma=False)[before.luma]
        if np.array_equal(expected, after.luma):
            return
        difference = np.abs(np.subtract(expected, after.luma, dtype=np.int32))
        self._differing += 1
        self._largest = max(self._largest, int(difference.max()))
        self._squares += float(np.square(difference, dtype=np.float64).sum())

    def judge(self, codec: str, remedy: str, *, lossy: bool, tolerance: int = 0) -> tuple[bool, str]:
        """Whether luma counts as kept, and why. `tolerance` in levels is what RGB's rounding may cost."""
        before, after = self._depths
        if self._sizes:
            return False, f"the pictures have another size in {self._differing} of {self._frames} frames"
        exact = not self._differing and before == after and not self._restated
        if exact:
            return True, f"bit for bit the original's in all {self._frames} frames ({before} bits)"
        if (before == after or self._restated) and self._largest <= tolerance:
            return True, f"within {self._largest} level of {(1 << after) - 1} in all frames, which is RGB's rounding"
        words = [f"not bit for bit: {self._differing} of {self._frames} frames differ"]
        if self._differing:
            words.append(f"by at most {self._largest} of {(1 << after) - 1} levels, PSNR {self._psnr_db():.1f} dB")
        if before != after:
            words.append(f"{before} bits became {after}")
        if codec not in _LOSSLESS:
            words.append(f"coded with {codec}, which is lossy; {remedy} keeps luma")
        return lossy and self._psnr_db() >= LOSSY_PSNR_DB, ", ".join(words)

    def _psnr_db(self) -> float:
        peak = (1 << self._depths[1]) - 1
        return 10 * math.log10(peak**2 * self._samples / self._squares) if self._squares else math.inf


def _full_range(frame: Frame, depth: int) -> Plane:
    """The luma as R'G'B' of `depth` bits would have it where R = G = B."""
    low, high, _ = frame.levels
    top = (1 << depth) - 1
    values = (frame.luma.astype(np.float32) - np.float32(low)) * np.float32(top / (high - low))
    return np.asarray(np.rint(values).clip(0, top).astype(np.uint8 if depth == 8 else np.uint16))


class Pairing:
    """Walks through both films at once, by time: a frame that one of them lacks costs no more than itself."""

    def __init__(self, before: Info, after: Info) -> None:
        self._tick = after.time_base
        frame = 1 / before.frame_rate if before.frame_rate else Fraction(0)
        self._near = max(frame / 2, self._tick * 3 / 2)
        self._moves = after.container in ("mpegts", SEQUENCE)
        self.shift = Fraction(0)
        self.frames = 0
        self.missing = 0
        self.extra = 0
        self._largest = Fraction(0)
        self._late = 0
        self._last: tuple[Fraction, Fraction] | None = None

    def pairs(self, before: Iterator[Frame], after: Iterator[Frame]) -> Iterator[tuple[Frame, Frame]]:
        """Frames of the same time."""
        first, second = next(before, None), next(after, None)
        if self._moves and first is not None and second is not None:
            self.shift = time_of(second) - time_of(first)
        while first is not None and second is not None:
            apart = time_of(second) - self.shift - time_of(first)
            if apart > self._near:
                self.missing += 1
                first = next(before, None)
            elif apart < -self._near:
                self.extra += 1
                second = next(after, None)
            else:
                self.frames += 1
                self._compare(time_of(first), time_of(second) - self.shift)
                yield first, second
                first, second = next(before, None), next(after, None)
        self.missing += (first is not None) + sum(1 for _ in before)
        self.extra += (second is not None) + sum(1 for _ in after)

    def _compare(self, before: Fraction, after: Fraction) -> None:
        """Half a tick is rounding. More is right only where the frame before has taken the tick that is due."""
        apart = abs(after - before)
        self._largest = max(self._largest, apart)
        taken = self._last is not None and after - self._last[1] == self._tick and before <= after
        if apart > self._tick / 2 and not (taken and apart <= self._tick * 3 / 2 and not self._exact(before)):
            self._late += 1
        self._last = (before, after)

    def _exact(self, time: Fraction) -> bool:
        """Whether the result's clock can hold this time as it is."""
        return (time / self._tick).denominator == 1

    def count_detail(self) -> str:
        """Frames in both, and what one of them lacks."""
        if not self.missing and not self.extra:
            return f"{self.frames} in both"
        return (
            f"{self.frames + self.missing} in the original, {self.frames + self.extra} in the result: "
            f"{self.missing} missing, {self.extra} extra"
        )

    def judge_times(self) -> tuple[bool, str]:
        """Whether every frame has its time, as exactly as the result's clock can hold it."""
        detail = f"largest difference {float(self._largest * 1000):.3f} ms, the clock ticks every "
        detail += f"{float(self._tick * 1000):.3f} ms"
        if self.shift:
            detail += f"; everything comes {float(self.shift * 1000):.1f} ms later, as the container needs"
        if self._late:
            detail += f"; {self._late} frames have another time than their own"
        return not self._late, detail


def time_of(frame: Frame) -> Fraction:
    """Seconds; a frame without a time counts as the beginning."""
    return (frame.pts or 0) * frame.time_base
