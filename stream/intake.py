"""Reads a source in a thread of its own into a mailbox; opens it again after a break, ever more slowly.

The newest picture counts: whoever is slow loses pictures, never time.
"""

import threading
import time
from collections import deque
from dataclasses import replace
from fractions import Fraction
from typing import Final, Literal, TypeAlias

from stream.capture import STALL_S, SoundPacket, SoundTrack, Source
from stream.errors import InputError
from stream.frame import Frame
from stream.newest import Mailbox, Taken

State: TypeAlias = Literal["opening", "live", "stalled", "reconnecting", "ended"]
FIRST_WAIT_S: Final = 0.25
LONGEST_WAIT_S: Final = 8.0
SOUNDS: Final = 2000
"""Packets of sound that may wait for their pictures: 40 s."""


class Intake:
    """A source, its mailbox, and how it is doing."""

    def __init__(self, source: Source, *, sound: bool = False) -> None:
        """sound: keep the packets of the sound track, for a recording."""
        self.mailbox: Mailbox[Taken] = Mailbox(patient=not (source.live or source.pace))
        self.track: SoundTrack | None = None
        self.frames = 0
        self.reconnects = 0
        self.reason = ""
        """Why the source broke the last time."""
        self._source = source
        self._wants_sound = sound
        self._heard: deque[SoundPacket] = deque(maxlen=SOUNDS)
        self._listeners: list[deque[SoundPacket]] = []
        self._hearing = threading.Lock()
        self._state: State = "opening"
        self._last_ns = time.monotonic_ns()
        self._started_ns = 0
        self._next_s: Fraction | None = None
        """When the picture after the last one is due, in our times."""
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
        return "stalled" if self._state == "live" and self.age_s > STALL_S else self._state

    def listen(self) -> deque[SoundPacket]:
        """A queue of the sound for one recorder, with what came before its first picture was there.

        The packets are those that the other recorders get: they must not be changed.
        """
        with self._hearing:
            mine = deque(self._heard, maxlen=SOUNDS)
            self._listeners.append(mine)
        return mine

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
            before = self.frames
            try:
                self._read_once()
                self.reason = "it ended"
            except InputError as error:
                if not self.frames or not self._source.live:
                    raise
                self.reason = str(error)
            if not self._source.live or self._stopped.is_set():
                return
            wait_s = FIRST_WAIT_S if self.frames > before else min(2 * wait_s, LONGEST_WAIT_S)
            self._state = "reconnecting"
            self._stopped.wait(wait_s)

    def _read_once(self) -> None:
        with self._source.open(self._hear if self._wants_sound else None) as opened:
            if self.frames:
                self.reconnects += 1
            self.track = opened.sound
            clock = _Clock(self._started_ns, self._next_s)
            self._clock: _Clock | None = clock
            step_s = 1 / (opened.info.frame_rate or Fraction(25))
            for frame in opened.frames:
                now_ns = time.monotonic_ns()
                self._started_ns = self._started_ns or now_ns
                placed = clock.place(frame, now_ns)
                self._next_s = (placed.pts or 0) * placed.time_base + step_s
                if self._source.pace and not self._wait_for(placed):
                    return
                self._last_ns = time.monotonic_ns()
                self.frames += 1
                self._state = "live"
                if not self.mailbox.put(Taken(frame=placed, info=opened.info, capture_ns=self._last_ns)):
                    return

    def _wait_for(self, frame: Frame) -> bool:
        """Waits until the picture is due; False if the source was stopped meanwhile."""
        due_s = self._started_ns / 1e9 + (frame.time_s or 0.0)
        return not self._stopped.wait(max(0.0, due_s - time.monotonic()))

    def _hear(self, packet: SoundPacket) -> None:
        clock = getattr(self, "_clock", None)
        if clock is not None and clock.shift_s is not None:
            clock.move(packet)
            with self._hearing:
                for sounds in (self._heard, *self._listeners):
                    sounds.append(packet)


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
