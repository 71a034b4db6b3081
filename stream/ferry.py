"""Between host and device: one upload and one download a batch, beside the computing, through pinned buffers in turn.

    luma, cb, cr = ferry.up([frame.luma, *frame.planes[1:]])    # usable in what is computed from now on
    wait = ferry.down([cb, cr])                                 # leaves when they are computed
    cb, cr = wait()

A `Line` is what does work in order beside others: a CUDA stream, or a thread where the device is the CPU, so that the
same schedule runs, and is tested, without a GPU.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

SLOTS = 3
"""Buffers each way: one is filled, one travels, one is read. So many downloads may be on their way."""
_ALIGN = 256  # every array begins at a multiple of this, which suits any type and the copy engines


class Mark(Protocol):
    """A place in a line's work."""

    def wait(self) -> None:
        """Blocks the host until the work up to here is done; raises what went wrong in it."""


class Line(Protocol):
    """Work done in order, beside the host's."""

    def run(self, work: Callable[[], None], *, after: Mark | None = None) -> Mark:
        """Adds work, which begins when everything before it, and `after`, is done."""

    def mark(self) -> Mark:
        """What the device has been told to compute so far."""

    def hold(self, mark: Mark) -> None:
        """What is computed from now on begins when the mark is reached."""

    def stop(self) -> None:
        """Ends the line; what it was told is done first."""


class CudaMark:
    """An event."""

    def __init__(self, stream: torch.cuda.Stream) -> None:
        self.event = torch.cuda.Event()  # type: ignore[no-untyped-call]
        self.event.record(stream)

    def wait(self) -> None:
        """Blocks the host."""
        self.event.synchronize()


class CudaLine:
    """A stream beside the one that computes."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def run(self, work: Callable[[], None], *, after: Mark | None = None) -> CudaMark:
        """The work's copies go onto the stream; the host goes on at once."""
        if isinstance(after, CudaMark):
            self._stream.wait_event(after.event)
        with torch.cuda.stream(self._stream):
            work()
        return CudaMark(self._stream)

    def mark(self) -> CudaMark:
        """After the kernels that were started so far."""
        return CudaMark(torch.cuda.current_stream(self._device))

    def hold(self, mark: Mark) -> None:
        """The computing stream waits, the host does not."""
        if isinstance(mark, CudaMark):
            torch.cuda.current_stream(self._device).wait_event(mark.event)

    def stop(self) -> None:
        """Nothing to end: streams belong to the process."""


class ThreadMark:
    """A job of a thread."""

    def __init__(self, future: "Future[None] | None" = None) -> None:
        self._future = future

    def wait(self) -> None:
        """Blocks the host."""
        if self._future is not None:
            self._future.result()


class ThreadLine:
    """A thread that copies while the host's computes."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="kinochrome-ferry")

    def run(self, work: Callable[[], None], *, after: Mark | None = None) -> ThreadMark:
        """The thread does the work; the host goes on at once."""

        def in_turn() -> None:
            if after is not None:
                after.wait()
            work()

        return ThreadMark(self._pool.submit(in_turn))

    def mark(self) -> ThreadMark:
        """The host computes itself, so all of it is done."""
        return ThreadMark()

    def hold(self, mark: Mark) -> None:
        """The host computes itself, so it waits."""
        mark.wait()

    def stop(self) -> None:
        """Ends the thread."""
        self._pool.shutdown()


def line(device: torch.device) -> Line:
    """A line for copies to or from the device."""
    return CudaLine(device) if device.type == "cuda" else ThreadLine()


class _Slot:
    """A buffer of the host and what last used it."""

    def __init__(self, *, pinned: bool) -> None:
        self._pinned = pinned
        self.bytes = torch.empty(0, dtype=torch.uint8)
        self.mark: Mark = ThreadMark()

    def room(self, size: int) -> Tensor:
        """The first `size` bytes, once nothing uses them any more."""
        self.mark.wait()
        if len(self.bytes) < size:
            with torch.inference_mode(False):  # the line's thread writes into it, which knows of no such mode
                self.bytes = torch.empty(size, dtype=torch.uint8, pin_memory=self._pinned)
        return self.bytes[:size]


class Ferry:
    """Arrays to a device and back. Each way has a line and SLOTS buffers of its own; used by one thread."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._there, self._back = line(device), line(device)
        pinned = device.type == "cuda"
        self._departures = [_Slot(pinned=pinned) for _ in range(SLOTS)]
        self._landings = [_Slot(pinned=pinned) for _ in range(SLOTS)]
        self._arrivals = list(self._landings)  # those that hold nothing
        self._uploads = 0

    def up(self, arrays: Sequence[npt.NDArray[Any]]) -> list[Tensor]:
        """The arrays on the device, in one copy; uint16 as int16 of the same bits. Waits for nothing but a buffer."""
        slot = self._departures[self._uploads % SLOTS]
        self._uploads += 1
        places = _places([array.nbytes for array in arrays])
        packed = slot.room(places[-1])
        host = packed.numpy()
        for array, start in zip(arrays, places, strict=False):
            target = host[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
            target[...] = array
        computing = torch.cuda.current_stream(self.device) if self.device.type == "cuda" else None
        arrived: list[Tensor] = []

        def travel() -> None:
            # Memory of the line's own: that of the computing stream could be in use until its last kernel, and the
            # upload would wait for all of them.
            there = torch.empty(places[-1], dtype=torch.uint8, device=self.device)
            there.copy_(packed, non_blocking=True)
            if computing is not None:
                there.record_stream(computing)
            arrived.append(there)

        slot.mark = self._there.run(travel)
        self._there.hold(slot.mark)
        (there,) = arrived
        return [
            _view(there[start : start + array.nbytes], array.dtype, array.shape)
            for array, start in zip(arrays, places, strict=False)
        ]

    def down(self, tensors: Sequence[Tensor]) -> Callable[[], list[npt.NDArray[Any]]]:
        """Starts one copy of what is being computed to the host; the function returned waits and gives arrays.

        int16 comes as uint16. At most SLOTS may be on their way; each function is called once.
        """
        if not self._arrivals:
            raise RuntimeError(f"{SLOTS} downloads are on their way and none was taken")
        slot = self._arrivals[0]
        flat = [tensor.contiguous().view(-1).view(torch.uint8) for tensor in tensors]
        sizes = [len(part) for part in flat]
        places = _places(sizes)
        packed = torch.empty(places[-1], dtype=torch.uint8, device=self.device)
        for part, start in zip(flat, places, strict=False):
            packed[start : start + len(part)] = part
        host = slot.room(places[-1])

        def travel() -> None:
            host.copy_(packed, non_blocking=True)
            if packed.is_cuda:  # its memory must not be given away while it travels
                packed.record_stream(torch.cuda.current_stream(self.device))

        slot.mark = self._back.run(travel, after=self._back.mark())
        self._arrivals.pop(0)  # taken only now: whoever runs out of memory above tries again with less
        kinds = [(_numpy_kind(tensor.dtype), tuple(tensor.shape)) for tensor in tensors]

        def wait() -> list[npt.NDArray[Any]]:
            slot.mark.wait()
            found = [
                host[start : start + size].numpy().view(kind).reshape(shape).copy()
                for size, start, (kind, shape) in zip(sizes, places, kinds, strict=False)
            ]
            self._arrivals.append(slot)
            return found

        return wait

    def forget(self) -> None:
        """Nobody waits any more for what is on its way."""
        self._arrivals = list(self._landings)

    def stop(self) -> None:
        """Ends both lines."""
        self._there.stop()
        self._back.stop()


def _places(sizes: Sequence[int]) -> list[int]:
    """Where each array begins, and the end of the last."""
    places = [0]
    for size in sizes:
        places.append(places[-1] + -(-size // _ALIGN) * _ALIGN)
    return places


def _view(flat: Tensor, kind: "np.dtype[Any]", shape: tuple[int, ...]) -> Tensor:
    kinds = {"uint8": torch.uint8, "uint16": torch.int16, "float32": torch.float32}
    return flat.view(kinds[kind.name]).view(shape)


def _numpy_kind(kind: torch.dtype) -> "np.dtype[Any]":
    return np.dtype({torch.uint8: np.uint8, torch.int16: np.uint16, torch.float32: np.float32}[kind])
