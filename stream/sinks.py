"""Where live pictures go: each sink in a lane of its own, so that a slow one slows nobody.

A sink is a context manager's worth of `write` and `close`; it may have `idle` for when nothing comes, `broken`, the
error that keeps it from working for now, `reconnects`, how often it was cut off from where it writes and came back, and
of the pictures that it took `under_way` and `lost`, how many have not arrived there yet, and how many never did.
"""

import queue
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from fractions import Fraction
from importlib import import_module
from typing import Any, BinaryIO, Final, Protocol, TypeAlias

from stream.endpoint import Endpoint
from stream.errors import KinochromeError, OutputError, UsageError
from stream.frame import Frame
from stream.jpeg import to_bgr
from stream.keys import Security
from stream.newest import Shown
from stream.public import scrub
from stream.pubsub import Publisher
from stream.wire import public_look

DEPTH: Final = 4
_IDLE_S: Final = 0.25
_PATIENCE_S: Final = 0.1
_FASTEST: Final = 120
"""Pictures a second that y4m is written with; FFmpeg's guesses from a stream's first moments may be wild."""
_GAP_S: Final = 60
"""A longer gap in a source's times isn't filled."""


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
        self._taken = 0
        self._dropped = 0
        self.error: BaseException | None = None
        """What the sink died of."""
        self._make = make
        self._sink: Sink | None = None
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
        if self.error is not None and not self._taken:
            raise self.error

    @property
    def state(self) -> str:
        """For people, of this machine and of others: "ok", or what went wrong, for good or for now."""
        error = self.error or getattr(self._sink, "broken", None)
        if error is None:
            return "ok"
        # The message of a bug may hold anything; its kind says enough to others.
        text = f"a bug ({type(error).__name__})" if self.bug is not None else str(error)
        return scrub(text, self._target)

    @property
    def written(self) -> int:
        """Pictures that are where the sink writes: what is on its way, or got lost there, isn't."""
        return max(0, self._taken - getattr(self._sink, "under_way", 0) - getattr(self._sink, "lost", 0))

    @property
    def dropped(self) -> int:
        """Pictures that never will be."""
        return self._dropped + int(getattr(self._sink, "lost", 0))

    @property
    def reconnects(self) -> int:
        """How often what the sink writes to had gone and came back."""
        return getattr(self._sink, "reconnects", 0)

    @property
    def numbers(self) -> dict[str, Any]:
        """For the page, the metrics and the report."""
        return {
            "written": self.written,
            "dropped": self.dropped,
            "reconnects": self.reconnects,
            "state": self.state,
        }

    @property
    def bug(self) -> BaseException | None:
        """The error if it is the program's own fault; to be raised again in the main thread."""
        return None if isinstance(self.error, (KinochromeError, OSError)) else self.error

    def put(self, shown: Shown, check: Callable[[], None] = lambda: None) -> None:
        """Hands a picture over; without patience this never waits. check: called while it waits; may raise."""
        while self._thread.is_alive() and not self._ending.is_set():
            try:
                self._queue.put(shown, timeout=_PATIENCE_S if self._patient else 0)
                return
            except queue.Full:
                if self._patient:
                    check()
                else:
                    self._drop_oldest()

    def _drop_oldest(self) -> None:
        try:
            self._queue.get_nowait()
            self._dropped += 1
        except queue.Empty:
            pass

    def _run(self) -> None:
        try:
            self._sink = sink = self._make()
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
                self._dropped += 1
            else:
                self._taken += 1

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

    def __init__(
        self,
        endpoint: Endpoint,
        security: Security,
        *,
        patience_s: float = 0.0,
        insist: Callable[[], bool] = lambda: False,
        tell: Callable[[str], None] = lambda line: None,
    ) -> None:
        """insist: asked whether to go on waiting where `patience_s` was not enough.

        tell: hears which port was taken where any would do.
        """
        self._publisher = Publisher(endpoint, security=security)
        if endpoint.any_port:
            tell(f"publishing at {replace(endpoint, address=self._publisher.address)}")
        self._patience_s = patience_s
        self._insist = insist

    def write(self, shown: Shown) -> bool:
        """Publishes it where anybody listens; a patient one waits for the consumer, and goes on when none takes it."""
        taken = self._send(shown)
        while not taken and self._insist():
            taken = self._send(shown)
        if not taken:
            self._publisher.skip()
        return taken

    def _send(self, shown: Shown) -> bool:
        self._publisher.look = public_look(shown.look)
        self._publisher.describe(shown.taken.info)
        return self._publisher.send(shown.frame, capture_ns=shown.taken.capture_ns, timeout_s=self._patience_s)

    def idle(self) -> None:
        """Heartbeats go on."""
        self._publisher.listeners("heartbeat")
        self._publisher.beat()

    def close(self) -> None:
        """The last heartbeat says that nothing follows."""
        self._publisher.close()


class Y4mSink:
    """y4m, on stdout: 4:2:0 with 8 bits, at a constant rate: for what was dropped the picture before it is repeated."""

    def __init__(self, out: BinaryIO, *, live: bool = False) -> None:
        """live: while no picture comes the last one goes on; and a reader too slow for the rate isn't sent it twice."""
        self._out = out
        self._live = live
        self._rate = Fraction(25)
        self._size: tuple[int, int] | None = None
        self._last: list[bytes] = []
        self._count = 0
        self._origin: Fraction | None = None
        """When picture 0 was due, in the times of the source."""
        self._put_s = 0.0
        self._behind = False

    def write(self, shown: Shown) -> bool:
        """Puts the picture at its time; False where another one is there. The first one's size holds for good."""
        frame = shown.frame
        if self._size is None:
            self._begin(shown)
        if (frame.width, frame.height) != self._size:
            raise OutputError(f"y4m: the picture is now {frame.width}x{frame.height}, and y4m can't change its size")
        missing = self._missing(frame)
        if missing < 0:
            return False
        started_s = time.monotonic()
        self._put(missing)
        self._last = [plane.tobytes() for plane in frame.planes]
        self._put(1)
        self._behind = self._live and (self._put_s - started_s) * self._rate > 1.5 * (missing + 1)
        return True

    def _begin(self, shown: Shown) -> None:
        frame, info = shown.frame, shown.taken.info
        self._size = (frame.width, frame.height)
        if info.frame_rate is not None and 1 <= info.frame_rate <= _FASTEST:
            self._rate = info.frame_rate
        location = "jpeg" if frame.tags.chroma_location == 2 else "mpeg2"
        levels = "FULL" if frame.tags.full_range else "LIMITED"
        rate, shape = (f"{number.numerator}:{number.denominator}" for number in (self._rate, info.pixel_aspect))
        head = f"YUV4MPEG2 W{frame.width} H{frame.height} F{rate} Ip A{shape}"
        self._write(f"{head} C420{location} XCOLORRANGE={levels}\n".encode())

    def _missing(self, frame: Frame) -> int:
        """How many pictures are due before this one; negative if its place is taken."""
        if frame.pts is None:
            return 0
        time_s = frame.pts * frame.time_base
        missing = round((time_s - self._origin) * self._rate) - self._count if self._origin is not None else 0
        # What was silent for long, or began anew, goes on from here.
        if self._origin is None or self._behind or not -self._rate < missing < _GAP_S * self._rate:
            self._origin, missing = time_s - self._count / self._rate, 0
        return missing

    def _put(self, times: int) -> None:
        for _ in range(times):
            self._write(b"FRAME\n", *self._last)
        self._count += times
        self._put_s = time.monotonic()

    def _write(self, *parts: bytes) -> None:
        try:
            for part in parts:
                self._out.write(part)
            self._out.flush()
        except BrokenPipeError as error:
            raise OutputError("y4m: whoever read it has gone") from error

    def idle(self) -> None:
        """The last picture goes on while a live one is held; never so far that it takes the next one's place."""
        since_s = self._put_s
        due = int((time.monotonic() - since_s - _IDLE_S) * self._rate)
        if self._live and self._last and due > 0:
            self._put(due)
            self._put_s = since_s + float(due / self._rate)

    def close(self) -> None:
        """Nothing is held back."""


class CameraSink:
    """A virtual camera that other programs open like a real one (pyvirtualcam; v4l2loopback or OBS)."""

    def __init__(self) -> None:
        self._module = import_camera()
        self._camera: Any = None

    def write(self, shown: Shown) -> None:
        """Opened with the size and rate of the first picture."""
        pixels = to_bgr(shown.frame, pixel_aspect=shown.taken.info.pixel_aspect)
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
