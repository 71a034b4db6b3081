"""Where live pictures go: each sink in a lane of its own, so that a slow one slows nobody.

A sink is a context manager's worth of `write` and `close`; it may have `idle` for when nothing comes.
"""

import queue
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from typing import Any, BinaryIO, Final, Protocol, TypeAlias

from stream.endpoint import Endpoint
from stream.errors import KinochromeError, OutputError, UsageError
from stream.jpeg import to_bgr
from stream.keys import Security
from stream.newest import Shown
from stream.public import scrub
from stream.pubsub import Publisher
from stream.wire import public_look

DEPTH: Final = 4
_IDLE_S: Final = 0.25
_PATIENCE_S: Final = 0.1


class Sink(Protocol):
    """Takes pictures; everything but the making happens in its lane's thread."""

    def write(self, shown: Shown) -> bool | None:
        """Takes one picture; False: it could not be handed on in time and is dropped."""

    def idle(self) -> None:
        """Nothing came for a while."""

    def close(self) -> None:
        """Finishes."""


class Lane:
    """A sink's queue and thread. When the sink is slow the oldest picture is dropped and counted.

    patient: pictures wait instead, for sources that can wait too.
    target: where the sink writes, a path or an address; what is secret in it is kept out of `state`.
    """

    def __init__(
        self, name: str, make: Callable[[], Sink], *, patient: bool = False, depth: int = DEPTH, target: str = ""
    ) -> None:
        self.name = name
        self.written = 0
        self.dropped = 0
        self.error: BaseException | None = None
        """What the sink died of."""
        self._make = make
        self._patient = patient
        self._target = target
        self._ending = threading.Event()
        self._queue: queue.Queue[Shown | None] = queue.Queue(depth)
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"kinochrome-{name}", daemon=True)
        self._thread.start()

    def started(self) -> None:
        """Waits until the sink is open; raises what kept it from opening."""
        self._ready.wait()
        if self.error is not None and not self.written:
            raise self.error

    @property
    def state(self) -> str:
        """For people, of this machine and of others: "ok", or what went wrong."""
        if self.error is None:
            return "ok"
        # The message of a bug may hold anything; its kind says enough to others.
        text = f"a bug ({type(self.error).__name__})" if self.bug is not None else str(self.error)
        return scrub(text, self._target)

    @property
    def bug(self) -> BaseException | None:
        """The error if it is the program's own fault; to be raised again in the main thread."""
        return None if isinstance(self.error, (KinochromeError, OSError)) else self.error

    def put(self, shown: Shown, check: Callable[[], None] = lambda: None) -> None:
        """Hands a picture over; without patience this never waits. check: called while it waits; may raise."""
        while self._thread.is_alive() and not self._ending.is_set():
            check()
            try:
                self._queue.put(shown, timeout=_PATIENCE_S if self._patient else 0)
                return
            except queue.Full:
                if not self._patient:
                    self._drop_oldest()

    def _drop_oldest(self) -> None:
        try:
            self._queue.get_nowait()
            self.dropped += 1
        except queue.Empty:
            pass

    def _run(self) -> None:
        try:
            sink = self._make()
            self._ready.set()
            try:
                self._work(sink)
            except BaseException as error:  # noqa: BLE001  (kept; a bug is raised again in the main thread)
                self._keep(error)
            sink.close()
        except BaseException as error:  # noqa: BLE001  (kept, as above)
            self._keep(error)
        finally:
            self._ready.set()

    def _keep(self, error: BaseException) -> None:
        """The first error is the cause; what fails while the sink is closed follows from it."""
        self.error = self.error or error

    def _work(self, sink: Sink) -> None:
        while True:
            try:
                shown = self._queue.get(timeout=_IDLE_S)
            except queue.Empty:
                if self._ending.is_set():
                    return
                sink.idle()
                continue
            if shown is None:
                return
            if sink.write(shown) is False:
                self.dropped += 1
            else:
                self.written += 1

    def close(self, timeout_s: float = 30.0) -> None:
        """Lets the sink finish what is queued; one that doesn't within this time has failed."""
        self.end()
        self._thread.join(max(0.0, timeout_s))
        if self._thread.is_alive():
            self._keep(OutputError("it didn't finish in time; what was queued is lost"))

    def end(self) -> None:
        """Says that nothing follows, without waiting."""
        self._ending.set()
        with suppress(queue.Full):  # a thread with a full queue needs no waking
            self._queue.put_nowait(None)


class PublisherSink:
    """ZeroMQ; made in the lane's thread, because a socket belongs to one."""

    def __init__(self, endpoint: Endpoint, security: Security, *, patience_s: float = 0.0) -> None:
        self._publisher = Publisher(endpoint, security=security)
        self._patience_s = patience_s

    def write(self, shown: Shown) -> bool:
        """Publishes it where anybody listens; a patient one waits for the consumer, and goes on when none takes it."""
        self._publisher.look = public_look(shown.look)
        taken = self._publisher.send(shown.frame, capture_ns=shown.taken.capture_ns, timeout_s=self._patience_s)
        if not taken:
            self._publisher.skip()
        return taken

    def idle(self) -> None:
        """Heartbeats go on."""
        self._publisher.listeners("heartbeat")
        self._publisher.beat()

    def close(self) -> None:
        """The last heartbeat says that nothing follows."""
        self._publisher.close()


@dataclass(kw_only=True)
class Y4mSink:
    """y4m, on stdout: 4:2:0 with 8 bits."""

    out: BinaryIO
    rate: str = "25:1"
    _size: tuple[int, int] | None = None

    def write(self, shown: Shown) -> None:
        """The header goes before the first picture; the size is that of the first one for good."""
        frame = shown.frame
        size = (frame.width, frame.height)
        try:
            if self._size is None:
                self._size = size
                rate = shown.taken.info.frame_rate
                text = f"{rate.numerator}:{rate.denominator}" if rate else self.rate
                location = "jpeg" if frame.tags.chroma_location == 2 else "mpeg2"
                levels = "FULL" if frame.tags.full_range else "LIMITED"
                shape = shown.taken.info.pixel_aspect
                head = f"YUV4MPEG2 W{size[0]} H{size[1]} F{text} Ip A{shape.numerator}:{shape.denominator}"
                self.out.write(f"{head} C420{location} XCOLORRANGE={levels}\n".encode())
            if size != self._size:
                raise OutputError(f"y4m: the picture is now {size[0]}x{size[1]}, and y4m can't change its size")
            self.out.write(b"FRAME\n")
            for plane in frame.planes:
                self.out.write(plane.tobytes())
            self.out.flush()
        except BrokenPipeError as error:
            raise OutputError("y4m: whoever read it has gone") from error

    def idle(self) -> None:
        """Nothing to do."""

    def close(self) -> None:
        """Nothing is held back."""


class CameraSink:
    """A virtual camera that other programs open like a real one (pyvirtualcam; v4l2loopback or OBS)."""

    def __init__(self) -> None:
        self._module = import_camera()
        self._camera: Any = None

    def write(self, shown: Shown) -> None:
        """Opened with the size and rate of the first picture."""
        pixels = to_bgr(shown.frame)
        height, width = pixels.shape[:2]
        if self._camera is None:
            rate = float(shown.taken.info.frame_rate or 25)
            try:
                self._camera = self._module.Camera(width, height, rate, fmt=self._module.PixelFormat.BGR)
            except RuntimeError as error:  # a line from each of its ways to make one
                reason = " ".join(str(error).split())
                raise OutputError(f"virtual camera: can't be opened ({reason}); on Linux load v4l2loopback") from error
        if (width, height) != (self._camera.width, self._camera.height):
            raise OutputError(f"virtual camera: the picture is now {width}x{height}, and it can't change its size")
        self._camera.send(pixels)

    def idle(self) -> None:
        """It keeps showing the last picture."""

    def close(self) -> None:
        """Lets go of the device."""
        if self._camera is not None:
            self._camera.close()


def import_camera() -> Any:  # noqa: ANN401  (an extra without types)
    """pyvirtualcam, or UsageError that says how to get it."""
    try:
        return import_module("pyvirtualcam")
    except ImportError as error:
        from stream.doctor import install

        raise UsageError(f"--virtual-camera needs pyvirtualcam: {install('camera')}") from error


Lanes: TypeAlias = list[Lane]


def stdout() -> BinaryIO:
    """Standard output for bytes, unless it is a terminal."""
    if sys.stdout.isatty():
        raise UsageError("y4m goes to another program: kinochrome live ... --y4m | ffplay -")
    return sys.stdout.buffer
