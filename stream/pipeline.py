"""Three threads and two bounded queues: decode -> engine (the caller's thread) -> encode.

Memory is constant in the film's length. Threads die loudly: an end marker is sent whatever happens, and the worker's
error is raised again in the caller's thread.
"""

import queue
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Final, Generic, Protocol, TypeVar

from stream.frame import Frame
from stream.metrics import Meter

T = TypeVar("T")
DEPTH = 12
"""Frames a queue holds: the codecs work in bursts while the network's batch runs (measured: no gain beyond)."""
_PATIENCE_S = 0.1  # how often a thread that waits for room looks whether it is still wanted


class _End:
    """Marks the end of a queue; `error` is what ended the thread, if anything did."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error


class Ahead(Generic[T]):
    """Iterates over a source that runs ahead in a thread of its own, by `depth` items at most."""

    def __init__(self, source: Iterable[T], depth: int = DEPTH) -> None:
        self._source = source
        self._queue: queue.Queue[T | _End] = queue.Queue(depth)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._work, name="kinochrome-decode", daemon=True)
        self._thread.start()

    def _work(self) -> None:
        end = _End()
        try:
            for item in self._source:
                if not self._put(item):
                    return
        except BaseException as error:  # noqa: BLE001  (raised again in the caller's thread)
            end = _End(error)
        finally:
            self._put(end)

    def _put(self, item: T | _End) -> bool:
        while not self._stopped.is_set():
            try:
                self._queue.put(item, timeout=_PATIENCE_S)
            except queue.Full:
                continue
            return True
        return False

    def __iter__(self) -> Iterator[T]:
        while True:
            item = self._queue.get()
            if isinstance(item, _End):
                if item.error is not None:
                    raise item.error
                return
            yield item

    def stop(self) -> None:
        """Ends the thread; what it had read is forgotten."""
        self._stopped.set()
        self._thread.join()


class Behind(Generic[T]):
    """Hands items to `work` in a thread of its own, which may lag behind by `depth` items at most."""

    def __init__(self, work: Callable[[T], None], depth: int = DEPTH) -> None:
        self._work = work
        self._queue: queue.Queue[T | _End] = queue.Queue(depth)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="kinochrome-encode", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            while not isinstance(item := self._queue.get(), _End):
                self._work(item)
        except BaseException as error:  # noqa: BLE001  (raised again in the caller's thread)
            self._error = error

    def put(self, item: T) -> None:
        """Queues an item; raises the thread's error if it has died."""
        while self._thread.is_alive():
            try:
                self._queue.put(item, timeout=_PATIENCE_S)
            except queue.Full:
                continue
            return
        self._raise()

    def finish(self) -> None:
        """Waits until everything queued is done; raises the thread's error if it died."""
        end: Final = _End()
        sent, interrupt = False, None
        while self._thread.is_alive():
            try:
                if not sent:
                    self._queue.put(end, timeout=_PATIENCE_S)
                    sent = True
                self._thread.join()
            except queue.Full:
                continue
            except KeyboardInterrupt as error:  # the file must not be closed while the thread still writes
                interrupt = error
        if interrupt is not None:
            raise interrupt
        self._raise()

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error


class Colours(Protocol):
    """What gives frames their colours: an `Engine`, or a `Grading` that has one for each shot."""

    @property
    def notices(self) -> list[str]:
        """What a person should know about how the frames were made."""

    def run(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        """The frames in their order, coloured."""


def run(
    frames: Iterable[Frame], engine: Colours, write: Callable[[Frame], None], *, meter: Meter
) -> Generator[Frame, None, None]:
    """Colours `frames` and hands them to `write`, in order; yields each as it is handed on, for who counts.

    What was coloured before an error or a signal is still written.
    """
    yield from pump(frames, engine.run, write, meter=meter)


def pump(
    frames: Iterable[Frame],
    paint: Callable[[Iterable[Frame]], Iterable[T]],
    write: Callable[[T], None],
    *,
    meter: Meter,
) -> Generator[T, None, None]:
    """`run` for anything that is made of frames, one by one."""

    def timed_write(item: T) -> None:
        with meter.stage("encode"):
            write(item)

    source = Ahead(_timed(frames, meter))
    sink = Behind(timed_write)
    try:
        for item in paint(source):
            meter.note_frame()
            sink.put(item)
            yield item
    finally:
        source.stop()
        sink.finish()


def _timed(frames: Iterable[Frame], meter: Meter) -> Iterator[Frame]:
    """The same frames; the time their source takes counts as "decode"."""
    source = iter(frames)
    while True:
        with meter.stage("decode"):
            frame = next(source, None)
        if frame is None:
            return
        yield frame
