"""Watches a published stream and keeps account of it: the Python API behind `kinochrome watch`."""

import time
import webbrowser
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO, Final

from stream.capture import info_of
from stream.control import Controls
from stream.endpoint import Endpoint
from stream.errors import InputError, Interrupted, OutputError, UsageError
from stream.jpeg import encode_picture, from_jpeg, halve_chroma
from stream.keys import Security
from stream.newest import Shown, Taken
from stream.part import check_target, finish_part, naming_failures, part_of
from stream.preview import Preview
from stream.pubsub import Subscriber
from stream.sinks import Y4mSink
from stream.switch import Setting
from stream.wire import FrameMessage, Heartbeat, JpegMessage

_SLICE_S: Final = 0.25
_TELL_S: Final = 2.0
PATIENCE_S: Final = 30.0
"""So long a stream may stay silent before watching ends."""


@dataclass(frozen=True, kw_only=True)
class Visit:
    """What is watched, and what is done with it."""

    endpoint: Endpoint
    security: Security = field(default_factory=Security)
    topic: str | None = None
    save: Path | None = None
    """y4m of all pictures, or one .jpg that is the newest."""
    view: bool = False
    count: int | None = None
    overwrite: bool = False


@dataclass(kw_only=True)
class Account:
    """What came and what didn't."""

    endpoint: str
    received: int = 0
    lost: int = 0
    repeated: int = 0
    restarts: int = 0
    rejected: dict[str, int] = field(default_factory=dict)
    """Messages that were none of ours, by reason."""
    fps: float = 0.0
    latency_ms: dict[str, float] | None = None
    """From capture to here at 50, 95 and 99 %; None from another host."""
    size: tuple[int, int] | None = None
    ended: bool = False
    """The publisher said that nothing follows."""

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return asdict(self)

    def lines(self) -> list[str]:
        """For people."""
        times = "latency unknown (another host)"
        if self.latency_ms:
            times = "latency " + ", ".join(f"{name} {value:.1f} ms" for name, value in self.latency_ms.items())
        shape = f" of {self.size[0]}x{self.size[1]}" if self.size else ""
        came = f"{self.received} pictures{shape}, {self.fps:g} a second, {self.lost} lost, {times}"
        lines = [f"{self.endpoint}: {came if self.received or self.lost else 'no picture came so far'}"]
        if self.restarts:
            lines.append(f"the publisher started again {self.restarts} times")
        lines += [f"{count} messages rejected: {reason}" for reason, count in self.rejected.items()]
        return lines


def watch(visit: Visit, account: Account, *, check: Callable[[], None], tell: Callable[[str], None]) -> None:
    """Fills in the account until the stream ends, `visit.count` pictures came, or `check` raises."""
    with ExitStack() as undo:
        subscriber = undo.enter_context(Subscriber(visit.endpoint, security=visit.security, topic=visit.topic))
        takers = [undo.enter_context(_keeping(visit, visit.save))] if visit.save is not None else []
        takers += [undo.enter_context(_page(account, tell))] if visit.view else []
        started_s = last_s = told_s = time.monotonic()
        first_s: float | None = None
        while not (account.ended or (visit.count is not None and account.received >= visit.count)):
            check()
            message = subscriber.receive(_SLICE_S)
            now_s = time.monotonic()
            if message is None and now_s - last_s > PATIENCE_S:
                raise InputError(_silence(visit))
            if message is not None:
                last_s = now_s
            if isinstance(message, FrameMessage | JpegMessage):
                first_s = first_s or now_s
                account.size = _size(message)
                if takers:
                    _hand_on(message, *takers)
            elif isinstance(message, Heartbeat) and message.ended:
                account.ended = True
            _fill(account, subscriber, now_s - (first_s or started_s))
            if now_s - told_s > _TELL_S:
                told_s = now_s
                tell(account.lines()[0])


def _silence(visit: Visit) -> str:
    """Nobody tells a subscriber why nothing comes; these are the reasons there can be."""
    push = "without push+" if visit.endpoint.kind == "push" else "as push+"
    keys = "whose list (--allow) your key is not on" if visit.security.own else "that wants keys (--keys, --server)"
    return (
        f"{visit.endpoint}: nothing came for {PATIENCE_S:g} s; is anything published there? "
        f"What is published {push}, or by one {keys}, is not heard"
    )


def _fill(account: Account, subscriber: Subscriber, seconds: float) -> None:
    ledger = subscriber.ledger
    account.received, account.lost = ledger.received, ledger.lost
    account.repeated, account.restarts = ledger.repeated, ledger.restarts
    account.rejected = dict(subscriber.rejected)
    account.fps = round((ledger.received - 1) / seconds, 1) if ledger.received > 1 and seconds else 0.0
    if ledger.received % 25 == 0 or ledger.received < 100:  # sorting 2000 numbers for every picture would cost
        account.latency_ms = ledger.percentiles()


def _size(message: FrameMessage | JpegMessage) -> tuple[int, int]:
    shaped = message.frame if isinstance(message, FrameMessage) else message
    return shaped.width, shaped.height


def _hand_on(message: FrameMessage | JpegMessage, *takers: Callable[[Shown], None]) -> None:
    frame = message.frame if isinstance(message, FrameMessage) else from_jpeg(message)
    if frame is None:
        return
    info = info_of(frame, "stream", message.stamp)
    taken = Taken(frame=frame, info=info, capture_ns=message.stamp.capture_ns)
    shown = Shown(frame=frame, taken=taken, look=message.stamp.look)
    for take in takers:
        take(shown)


@contextmanager
def _keeping(visit: Visit, path: Path) -> Iterator[Callable[[Shown], None]]:
    """Writes what is watched: y4m as a whole, or the newest as JPEG."""
    if path.suffix not in (".y4m", ".jpg"):
        raise UsageError(f"--save {path}: a name that ends in .y4m or .jpg is needed")
    check_target(path, source="", overwrite=visit.overwrite)
    part = part_of(path)
    if path.suffix == ".jpg":

        def keep_newest(shown: Shown) -> None:
            with naming_failures(part):
                part.write_bytes(encode_picture(shown.frame)[0])
                part.replace(path)

        yield keep_newest
        return
    with naming_failures(part), part.open("wb") as file:
        sink = Y4mSink(file)

        def keep(shown: Shown) -> None:
            shown = replace(shown, frame=halve_chroma(shown.frame))  # JPEG's, all that comes over encrypted links
            if shown.frame.depth != 8 or shown.frame.subsampling != (1, 1):
                raise OutputError(f"{path}: y4m is written of 8 bits in 4:2:0; save a .jpg")
            sink.write(shown)

        try:
            yield keep
        except (Interrupted, InputError):  # watching has ended; what came is whole
            _finish(file, part, path)
            raise
        except OutputError:
            if not file.tell():
                part.unlink()
            raise
        _finish(file, part, path)


def _finish(file: BinaryIO, part: Path, path: Path) -> None:
    """Gives what came its name; nothing is left of nothing."""
    file.flush()
    if file.tell():
        finish_part(part, path)
    else:
        part.unlink()


@contextmanager
def _page(account: Account, tell: Callable[[str], None]) -> Iterator[Callable[[Shown], None]]:
    controls = Controls(Setting(), readonly=True)
    controls.numbers = lambda: _numbers(account)
    page = Preview(controls)

    def show(shown: Shown) -> None:
        controls.last, controls.pixel_aspect = shown.frame, shown.taken.info.pixel_aspect  # for the snapshot
        page.write(shown)

    try:
        tell(f"watch at {page.address}")
        webbrowser.open(page.address)
        yield show
    finally:
        page.close()


def _numbers(account: Account) -> dict[str, Any]:
    return {
        "source": account.endpoint,
        "state": "ended" if account.ended else "live" if account.received else "opening",
        "reason": "",
        "frames_in": account.received + account.lost,
        "frames_out": account.received,
        "frames_dropped": account.lost,
        "reconnects": account.restarts,
        "lost_s": 0.0,
        "age_ms": 0,
        "fps": account.fps,
        "latency_ms": account.latency_ms,
        "rejected": sum(account.rejected.values()),
        "sinks": {},
    }
