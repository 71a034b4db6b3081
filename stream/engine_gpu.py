"""The engine where the planes lie on a GPU: luma goes there once, chroma comes back once, all between stays.

One batch is uploaded and in the network while the one before is smoothed and the one before that is downloaded; the
host waits only for what it needs to find cuts.
"""

from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, TypeVar, cast

import numpy.typing as npt
import torch
from torch import Tensor

from model import temporal
from stream import resample
from stream.config import Settings
from stream.engine import Engine, fields_of, own_colours
from stream.errors import EngineError, ResourceError
from stream.ferry import Ferry
from stream.frame import Frame
from stream.geometry import Geometry
from stream.looks import Look
from stream.metrics import Meter
from stream.resample import Kind
from stream.runtime import Runtime
from stream.runtime_gpu import GpuRuntime, ran_out
from stream.seams import Start, moved
from stream.shots import Picture, Seam
from stream.steady import Online

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, eq=False)
class Seen(Picture):
    """A picture whose planes and tensors are on the device."""

    fields: tuple[Tensor, ...]
    """Y' codes `[H, W]` of the frame, or of its two fields."""
    small: Tensor
    """float32 `[F, 1, h, w]` 0..1: what the network saw."""


class GpuEngine(Engine):
    """As `Engine`, with a runtime of stream/runtime_gpu.py; batches are the runtime's."""

    def __init__(
        self,
        runtime: GpuRuntime,
        geometry: Geometry,
        *,
        subsampling: tuple[int, int] = (1, 1),
        settings: Settings | None = None,
        look: Look | None = None,
        meter: Meter | None = None,
    ) -> None:
        super().__init__(runtime, geometry, subsampling=subsampling, settings=settings, look=look, meter=meter)
        self.notices = runtime.notices
        self._there, self._back = Ferry(runtime.device), Ferry(runtime.device)
        self._alike = False
        """What is made must not depend on how much memory there is."""

    @property
    def gpu(self) -> GpuRuntime:
        """The runtime, which live replaces when it needs styles."""
        return cast(GpuRuntime, self.runtime)

    @property
    def batch(self) -> int:
        """The runtime's, which is chosen from the memory."""
        return self.gpu.batch

    def one(self, frame: Frame, online: Online) -> Frame:
        """As `Engine.one`."""
        if self._untouched:
            return own_colours(frame, self.subsampling)
        with _naming_loss(self.gpu):
            (picture,) = [picture for wait in self._see([frame]) for picture in wait()]
            held = online.hold(picture, steady=self.settings.steady, meter=self.meter)
            (coloured,) = [made for wait in self._finish([held], self.settings.saturation) for made in wait()]
        return coloured

    def run(self, frames: Iterable[Frame], *, one_shot: bool = False) -> Iterator[Frame]:
        """As `Engine.run`."""
        try:
            yield from super().run(frames, one_shot=one_shot)
        finally:
            self._forget()

    def run_segments(self, frames: Iterable[Frame], start: Start) -> Iterator[tuple[Frame, Seam | None]]:
        """As `Engine.run_segments`; what is carried lies on the host before and after.

        Out of memory is an error unless `start.mixed`: other kernels, which may round otherwise, make smaller batches,
        and a film that goes on after a kill must be the one that nothing interrupted, whatever else was in the memory.
        """
        self._alike = not start.mixed
        try:
            with _naming_loss(self.gpu):
                carry = None if start.carry is None else moved(start.carry, self.gpu.device)
                for frame, seam in super().run_segments(frames, replace(start, carry=carry)):
                    yield frame, None if seam is None else moved(seam, torch.device("cpu"))
        finally:
            self._alike = False
            self._forget()

    def _forget(self) -> None:
        """Nobody waits for what is still on its way: whoever asked went away, or something failed."""
        for ferry in (self._there, self._back):
            ferry.forget()

    def _halve(self, error: RuntimeError) -> None:
        """Half the batch where memory ran out; any other error goes on its way."""
        if not ran_out(error):
            raise error
        if self._alike and self.batch > 1:
            raise ResourceError(
                f"not enough GPU memory for batches of {self.batch} frames, in which all segments of a film are made; "
                "close other programs, and the same command goes on; --allow-mixed takes smaller batches, and colours "
                "may differ by a level"
            ) from error
        self.gpu.halve(error)

    def _predict(self, frames: Iterable[Frame]) -> Iterator[Picture]:
        with _naming_loss(self.gpu):
            yield from _one_ahead(frames, self._see, lambda: self.batch)

    def _coloured(self, pictures: Iterator[Picture], saturation: float) -> Iterator[Frame]:
        with _naming_loss(self.gpu):
            yield from _one_ahead(pictures, lambda batch: self._finish(batch, saturation), lambda: self.batch)

    def _see(self, batch: Sequence[Frame]) -> list[Callable[[], list[Picture]]]:
        """Starts on a batch; each function waits for what the host must know of some of its pictures."""
        if not batch:
            return []
        try:
            return [self._start(batch)]
        except RuntimeError as error:
            self._halve(error)
        half = max(1, len(batch) // 2)
        # The other half begins when this one is done with: its memory is needed, and the ferry's room.
        return [*self._see(batch[:half]), lambda: [made for wait in self._see(batch[half:]) for made in wait()]]

    def _start(self, batch: Sequence[Frame]) -> Callable[[], list[Picture]]:
        with self.meter.stage("prepare"), torch.inference_mode():
            keep = self._code is not None and self.settings.source_colours
            planes = [_split(frame, keep=keep) for frame in batch]
            lying = iter(self._there.up([plane for fields in planes for field in fields for plane in field]))
            fields = [[tuple(next(lying) for _ in field) for field in frame] for frame in planes]
            kinds = [Kind.of(frame, self.geometry, self.subsampling, self.settings.saturation) for frame in batch]
            lumas = [(kind, field[:1]) for kind, frame in zip(kinds, fields, strict=True) for field in frame]
            luma = torch.stack([made for (made,) in _each(lumas, _working_luma, self.batch)])
            style = None
            if self._code is not None:
                style = self.gpu.code(self._code), self._own_chroma(kinds, fields, luma) if keep else None
            chroma, painted = self.gpu.paint(luma, style)
            guide = temporal.guide(luma)
            bad = (~torch.isfinite(chroma)).sum()
            bad = (bad if painted is None else bad + (~torch.isfinite(painted)).sum()).float()
            wait = self._there.down([guide, bad[None]])
        look, detail = self._looks_seen, self._detail

        def finish() -> list[Picture]:
            with self.meter.stage("network"):
                sketch, wrong = wait()
            if wrong[0]:
                raise EngineError(f"{self.gpu.name}: gave colours that are no numbers; try --runtime torch")
            found: list[Picture] = []
            at = 0
            for frame, own in zip(batch, fields, strict=True):
                part = slice(at, at + len(own))
                at = part.stop
                found.append(
                    Seen(
                        frame=frame,
                        guide=guide[part],
                        chroma=chroma[part],
                        styled_luma=None if painted is None else painted[part],
                        sketch=torch.from_numpy(sketch[part]),
                        look=look,
                        detail=detail if painted is not None else 1.0,
                        fields=tuple(field[0] for field in own),
                        small=luma[part],
                    )
                )
            return found

        return finish

    def _own_chroma(
        self, kinds: Sequence[Kind], fields: Sequence[Sequence[tuple[Tensor, ...]]], luma: Tensor
    ) -> Tensor:
        """Working chroma of the sources' own; none where a source is grey."""
        coloured = all(len(field) == 3 for frame in fields for field in frame)
        if not coloured:
            return luma.new_zeros(len(luma), 2, *luma.shape[2:])
        chromas = [(kind, field[1:]) for kind, frame in zip(kinds, fields, strict=True) for field in frame]
        return torch.stack([made for (made,) in _each(chromas, _working_chroma, self.batch)])

    def _finish(self, pictures: Sequence[Picture], saturation: float) -> list[Callable[[], list[Frame]]]:
        """Starts on the planes of some pictures; each function waits for the frames of some of them."""
        if not pictures:
            return []
        try:
            return [self._plane(pictures, saturation)]
        except RuntimeError as error:
            self._halve(error)
        half = max(1, len(pictures) // 2)
        # The other half begins when this one is done with: its memory is needed, and the ferry's room.
        return [
            *self._finish(pictures[:half], saturation),
            lambda: [made for wait in self._finish(pictures[half:], saturation) for made in wait()],
        ]

    def _plane(self, pictures: Sequence[Picture], saturation: float) -> Callable[[], list[Frame]]:
        with self.meter.stage("chroma"), torch.inference_mode():
            ready = [picture for picture in pictures if isinstance(picture, Seen)]
            items = [item for picture in ready for item in self._items(picture, saturation)]
            made = iter(_each(items, _planes, self.batch))
            outgoing = [self._outgoing(picture, [next(made) for _ in picture.fields]) for picture in ready]
            wait = self._back.down([plane for planes in outgoing for plane in planes])

        def finish() -> list[Frame]:
            with self.meter.stage("chroma"):
                arrived = iter(wait())
            return [self._compose(picture, arrived) for picture in ready]

        return finish

    def _items(self, picture: Seen, saturation: float) -> list[tuple[Hashable, tuple[Tensor, ...]]]:
        """For each field what its planes are made of."""
        kind = Kind.of(picture.frame, self.geometry, self.subsampling, saturation)
        if picture.styled_luma is None:
            return [((kind, 1.0), given) for given in zip(picture.fields, picture.chroma, strict=True)]
        every = zip(picture.fields, picture.chroma, picture.styled_luma, picture.small, strict=True)
        return [((kind, picture.detail), given) for given in every]

    def _outgoing(self, picture: Seen, made: Sequence[tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
        """The planes of a frame that leave the device: Cb and Cr, and the luma where it was painted; fields woven."""
        planes = made[0] if len(made) == 1 else _weave(picture.frame, made, self.subsampling)
        return planes if picture.styled_luma is not None else planes[1:]

    def _compose(self, picture: Seen, arrived: Iterator[npt.NDArray[Any]]) -> Frame:
        planes = [next(arrived) for _ in range(3 if picture.styled_luma is not None else 2)]
        if picture.styled_luma is None:
            return picture.frame.with_chroma(planes[0], planes[1], self.subsampling)
        return picture.frame.painted(planes[0], planes[1], planes[2], self.subsampling)


def _split(frame: Frame, *, keep: bool) -> list[tuple[npt.NDArray[Any], ...]]:
    """The planes that go to the device: the luma, or that of both fields, with chroma where it is kept."""
    return [field.planes if keep else field.planes[:1] for field in fields_of(frame)]


def _each(
    items: Sequence[tuple[Hashable, tuple[Tensor, ...]]], work: Callable[..., tuple[Tensor, ...]], size: int
) -> list[tuple[Tensor, ...]]:
    """What `work` makes of every item's tensors, in order; those with one key and of one shape `size` at a time.

    Always `size` of them, the last one repeated: a GPU's kernels are chosen by the shape, and the frames around a seam
    would else round otherwise in another company.
    """
    groups: dict[Hashable, list[int]] = {}
    for index, (key, tensors) in enumerate(items):
        groups.setdefault((key, tuple(tensor.shape for tensor in tensors)), []).append(index)
    made: list[tuple[Tensor, ...]] = [()] * len(items)
    for members in (group[at : at + size] for group in groups.values() for at in range(0, len(group), size)):
        filled = members + members[-1:] * (size - len(members))
        stacked = [torch.stack(tensors) for tensors in zip(*(items[index][1] for index in filled), strict=True)]
        results = (result[: len(members)] for result in work(items[members[0]][0], *stacked))
        for index, parts in zip(members, zip(*results, strict=True), strict=True):
            made[index] = parts
    return made


def _working_luma(kind: Kind, plane: Tensor) -> tuple[Tensor, ...]:
    return (resample.working_luma(plane, kind),)


def _working_chroma(kind: Kind, cb: Tensor, cr: Tensor) -> tuple[Tensor, ...]:
    return (resample.working_chroma((cb, cr), kind),)


def _planes(key: tuple[Kind, float], plane: Tensor, chroma: Tensor, *painted: Tensor) -> tuple[Tensor, ...]:
    """Y', Cb and Cr codes; painted: what the network made of the luma, and what it saw."""
    kind, detail = key
    if painted:
        plane = resample.repaint(plane, painted[0], painted[1], detail, kind)
    return plane, *resample.chroma_planes(chroma, plane, kind)


def _weave(frame: Frame, fields: Sequence[tuple[Tensor, ...]], subsampling: tuple[int, int]) -> tuple[Tensor, ...]:
    """Planes `[H, W]` of a whole frame, whose lines alternate between the fields; as `engine._weave`."""
    chroma_height = -(-frame.height >> subsampling[1])
    woven = []
    for height, top, bottom in zip((frame.height, chroma_height, chroma_height), *fields, strict=True):
        plane = top.new_empty(height, top.shape[1])
        for parity, field in enumerate((top, bottom)):
            count = len(range(parity, height, 2))
            # Heights that 4:2:0 can't halve twice leave a field a line short; its last line then serves twice.
            rows = torch.arange(count, device=field.device).clamp(max=len(field) - 1)
            plane[parity::2] = field[rows]
        woven.append(plane)
    return tuple(woven)


def _one_ahead(
    items: Iterable[Any], start: Callable[[Sequence[Any]], list[Callable[[], list[T]]]], size: Callable[[], int]
) -> Iterator[T]:
    """What comes of the items, batch by batch; a batch is always begun before the one before is waited for."""
    source = iter(items)
    begun: deque[Callable[[], list[T]]] = deque()
    while True:
        batch = list(islice(source, size()))
        before = len(begun)
        if batch:
            begun.extend(start(batch))
        for _ in range(before if batch else len(begun)):
            yield from begun.popleft()()
        if not batch:
            return


def engine_for(
    runtime: Runtime,
    geometry: Geometry,
    *,
    subsampling: tuple[int, int] = (1, 1),
    settings: Settings | None = None,
    look: Look | None = None,
    meter: Meter | None = None,
) -> Engine:
    """The engine for a runtime: where its planes lie."""
    make = GpuEngine if isinstance(runtime, GpuRuntime) else Engine
    return make(runtime, geometry, subsampling=subsampling, settings=settings, look=look, meter=meter)  # type: ignore[arg-type]


@contextmanager
def _naming_loss(runtime: GpuRuntime) -> Iterator[None]:
    """A GPU that fails or falls off the bus is an EngineError, memory that smaller batches don't spare a ResourceError;
    what was coloured before it stays.
    """
    try:
        yield
    except RuntimeError as error:
        if ran_out(error):
            raise ResourceError(
                f"{runtime.name}: not enough GPU memory; close other programs, or try a smaller --short-side"
            ) from error
        if not isinstance(error, torch.AcceleratorError):
            raise
        reason = str(error).strip().splitlines()[0]
        raise EngineError(
            f"{runtime.name}: the GPU was lost ({reason}); kinochrome doctor tells whether it is back, "
            "--runtime openvino does without it"
        ) from error
