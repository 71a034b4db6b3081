"""Reads a source in a thread of its own into a mailbox; opens it again after a break, ever more slowly.

The newest picture counts: whoever is slow loses pictures, never time.
"""

import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from itertools import chain, dropwhile, takewhile
from typing import Final, Literal, TypeAlias

from stream.capture import STALL_S, Opened, SoundPacket, SoundTrack, Source
from stream.errors import InputError
from stream.frame import Frame
from stream.newest import Mailbox, Taken

State: TypeAlias = Literal["opening", "live", "stalled", "reconnecting", "ended"]
FIRST_WAIT_S: Final = 0.25
LONGEST_WAIT_S: Final = 8.0
_ADTS: Final = 9
SOUNDS: Final = 2000
"""Packets of sound that may wait for their pictures: 40 s."""
_EARLY: Final = 200
"""Packets of sound kept while the first picture, whose times say what theirs mean, is decoded: 4 s."""
_WIDE: Final = 0.5
"""A film that goes on later than it should, by more than so much of a picture's time, may have been sought too far."""


class Intake:
    """A source, its mailbox, and how it is doing."""

    def __init__(self, source: Source, *, sound: bool = False) -> None:
        """sound: keep the packets of the sound track, for a recording."""
        self.mailbox: Mailbox[Taken] = Mailbox(patient=not (source.live or source.pace))
        self.track: SoundTrack | None = None
        self.sound_head = b""
        """How the first packet of sound began."""
        self.frames = 0
        self.reconnects = 0
        self.reason = ""
        """Why the source broke the last time."""
        self.lost_s = 0.0
        """Seconds of a film on a server that it did not have any more after a break."""
        self.paced = source.pace
        """Its pictures are handed out at the times they name; of a URL known once it is open."""
        self.resumed_ns = 0
        """When a film at its own pace last went on after it had stood still."""
        self._source = source
        self._wants_sound = sound
        self._heard: deque[SoundPacket] = deque(maxlen=SOUNDS)
        self._early: deque[SoundPacket] = deque(maxlen=_EARLY)
        self._clock: _Clock | None = None
        self._listeners: list[deque[SoundPacket]] = []
        self._hearing = threading.Lock()
        self._state: State = "opening"
        self._last_ns = time.monotonic_ns()
        self._started_ns = 0
        self._next_s: Fraction | None = None
        """When the picture after the last one is due, in our times."""
        self._film_s: float | None = None
        """How far a film on a server has come, in its own times; None of streams, which have no end of their own."""
        self._going = threading.Event()
        self._going.set()
        self._stood_ns = 0
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="kinochrome-intake", daemon=True)
        self._thread.start()

    @property
    def age_s(self) -> float:
        """Seconds since the last picture came."""
        return (time.monotonic_ns() - self._last_ns) / 1e9

    @property
    def state(self) -> State:
        """How the source is doing; a watchdog calls it stalled when nothing comes."""
        return "stalled" if self._state == "live" and self.age_s > STALL_S and self._going.is_set() else self._state

    def listen(self) -> deque[SoundPacket]:
        """A queue of the sound for one recorder, with what came before its first picture was there.

        The packets are those that the other recorders get: they must not be changed.
        """
        with self._hearing:
            mine = deque(self._heard, maxlen=SOUNDS)
            self._listeners.append(mine)
        return mine

    @contextmanager
    def hold(self) -> Iterator[None]:
        """A film at its own pace stands still meanwhile, so that none of it is missed; other sources go on."""
        began_ns = time.monotonic_ns()
        self._going.clear()
        try:
            yield
        finally:
            if self.paced:
                self.resumed_ns = time.monotonic_ns()
                self._stood_ns += self.resumed_ns - began_ns
            self._going.set()

    def stop(self) -> None:
        """Ends the thread. A camera's driver may hold it for good: it is not waited for long."""
        self._stopped.set()
        self.mailbox.close()
        self._thread.join(2.0)

    def _run(self) -> None:
        error: BaseException | None = None
        try:
            self._read_on()
        except BaseException as broken:  # noqa: BLE001  (raised again in the thread that takes)
            error = broken
        finally:
            self._state = "ended"
            self.mailbox.close(error)

    def _read_on(self) -> None:
        wait_s = FIRST_WAIT_S
        while not self._stopped.is_set():
            before, ended = self.frames, False
            try:
                self._read_once()
                self.reason, ended = "it ended", self._film_s is not None
            except InputError as error:
                if not self.frames or not self._source.live:
                    raise
                self.reason = str(error)
            if not self._source.live or ended or self._stopped.is_set():
                return
            wait_s = FIRST_WAIT_S if self.frames > before else min(2 * wait_s, LONGEST_WAIT_S)
            self._state = "reconnecting"
            self._stopped.wait(wait_s)

    def _read_once(self) -> None:
        """Until the source ends or breaks; a film that can't be sought is read again up to where it broke off."""
        if not self._read(seek=True):
            self._read(seek=False)

    def _read(self, *, seek: bool) -> bool:
        """False where seeking would leave pictures out; nothing was read then."""
        with self._source.open(self._hear if self._wants_sound else None) as opened:
            if self.frames and seek:
                self.reconnects += 1
            self.track = opened.sound
            self._early.clear()
            self._clock = clock = _Clock(self._started_ns + self._stood_ns, self._next_s)
            step_s = 1 / (opened.info.frame_rate or Fraction(25))
            frames = self._rest(opened, float(step_s), seek=seek)
            if frames is None:
                return False
            self.paced = self._source.pace or opened.seek is not None
            for frame in frames:
                now_ns = time.monotonic_ns()
                self._started_ns = self._started_ns or now_ns
                placed = clock.place(frame, now_ns)
                self._hear_early(frame, clock)
                self._next_s = (placed.pts or 0) * placed.time_base + step_s
                if self.paced and not self._wait_for(placed):
                    return True
                if opened.seek is not None:
                    self._film_s = frame.time_s or 0.0
                self._last_ns = time.monotonic_ns()
                self.frames += 1
                self._state = "live"
                if not self.mailbox.put(Taken(frame=placed, info=opened.info, capture_ns=self._last_ns)):
                    return True
        return True

    def _rest(self, opened: Opened, step_s: float, *, seek: bool) -> Iterator[Frame] | None:
        """All pictures; of a film that broke off those that have not been seen, None where some would be left out."""
        seen_s = self._film_s
        if opened.seek is None or seen_s is None:
            return opened.frames
        if seek and not opened.seek(seen_s):
            return None
        first, frames = _peek(takewhile(lambda frame: not self._stopped.is_set(), opened.frames))
        unseen, frames = _peek(dropwhile(lambda frame: (frame.time_s or 0.0) <= seen_s, frames))
        gap_s = 0.0 if unseen is None else (unseen.time_s or 0.0) - seen_s - step_s
        if seek and (unseen is None or gap_s > _WIDE * step_s):
            return None
        if first is unseen and first is not None:  # not even its beginning is what it was
            self.lost_s += max(0.0, gap_s)
        return frames

    def _wait_for(self, frame: Frame) -> bool:
        """Waits until the picture is due; False if the source was stopped meanwhile."""
        while not self._stopped.is_set():
            self._going.wait()
            due_s = (self._started_ns + self._stood_ns) / 1e9 + (frame.time_s or 0.0)
            left_s = due_s - time.monotonic()
            if left_s <= 0:
                return True
            self._stopped.wait(left_s)
        return False

    def _hear(self, packet: SoundPacket) -> None:
        self.sound_head = self.sound_head or bytes(packet)[:_ADTS]
        if self._clock is None or self._clock.shift_s is None:
            self._early.append(packet)
        else:
            self._hand_on(packet, self._clock)

    def _hear_early(self, frame: Frame, clock: "_Clock") -> None:
        """Hands on the sound that came before the first picture was decoded, from that picture's time on."""
        while self._early:
            packet = self._early.popleft()
            if packet.pts is not None and packet.pts * packet.time_base >= (frame.time_s or 0.0):
                self._hand_on(packet, clock)

    def _hand_on(self, packet: SoundPacket, clock: "_Clock") -> None:
        clock.move(packet)
        with self._hearing:
            for sounds in (self._heard, *self._listeners):
                sounds.append(packet)


def _peek(frames: Iterator[Frame]) -> tuple[Frame | None, Iterator[Frame]]:
    """The first one, None without any, and all of them."""
    first = next(frames, None)
    return first, iter(()) if first is None else chain([first], frames)


class _Clock:
    """Times of a source counted from our first picture; after a break they go on where the clock on the wall is."""

    def __init__(self, started_ns: int, next_s: Fraction | None) -> None:
        """next_s: servers that send ahead are later than the wall's clock; no time comes twice."""
        self._started_ns = started_ns
        self._next_s = next_s or Fraction(0)
        self.shift_s: Fraction | None = None
        """What is added to the source's times."""

    def place(self, frame: Frame, now_ns: int) -> Frame:
        """The frame at its time here."""
        if self.shift_s is None:
            past_s = Fraction(now_ns - self._started_ns, 10**9) if self._started_ns else Fraction(0)
            self.shift_s = max(past_s, self._next_s) - (frame.pts or 0) * frame.time_base
        return replace(frame, pts=(frame.pts or 0) + round(self.shift_s / frame.time_base))

    def move(self, packet: SoundPacket) -> None:
        """The packet's times, in place."""
        ticks = round((self.shift_s or 0) / packet.time_base)
        packet.pts = None if packet.pts is None else packet.pts + ticks
        packet.dts = None if packet.dts is None else packet.dts + ticks
