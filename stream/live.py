"""A live session: the newest picture of a source is coloured and handed to every sink.

session = Session(CameraSource(device="0"), settings=Settings(short_side=256))
session.add("preview", make_sink)
report = session.run(check=lambda: None)
"""

import time
from collections import deque
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field, replace
from itertools import count
from typing import Any, Final

from stream.capture import Source
from stream.config import Settings
from stream.control import Controls
from stream.engine_gpu import engine_for
from stream.errors import EXIT_DAMAGED, EXIT_DONE, Interrupted, KinochromeError
from stream.film import Info
from stream.frame import Frame, has_colour
from stream.geometry import Geometry
from stream.intake import Intake
from stream.ledger import percentiles
from stream.looks import Look
from stream.metrics import Meter
from stream.newest import Shown, Taken
from stream.planes import reduction
from stream.public import public_name, scrub
from stream.runtime import Choice, open_beside, open_runtime
from stream.sinks import Lane, Sink
from stream.steady import Online
from stream.switch import NATURAL, Setting, apply, has_strength, look_of

_SLICE_S: Final = 0.25
_RECENT: Final = 600
_PACE_S: Final = 3.0
_FINISH_S: Final = 30.0
"""For all sinks together, to write what is queued."""


@dataclass(kw_only=True)
class LiveReport:
    """The end report of a live session."""

    source: str
    frames_in: int = 0
    frames_out: int = 0
    frames_dropped: int = 0
    """Left out rather than lag."""
    reconnects: int = 0
    lost_s: float = 0.0
    """Seconds of a film on a server that it did not have any more after a break."""
    latency_ms: dict[str, float] | None = None
    """From the picture's coming in until it was coloured, of the last ones, at 50, 95 and 99 %."""
    fps: float = 0.0
    runtime: str = ""
    working_size: tuple[int, int] | None = None
    sinks: dict[str, dict[str, Any]] = field(default_factory=dict)
    rejected: int = 0
    """Requests to the page and the control socket that were no good."""

    @property
    def exit_code(self) -> int:
        """0, or 5 where a sink failed."""
        return EXIT_DAMAGED if any(sink["state"] != "ok" for sink in self.sinks.values()) else EXIT_DONE

    def as_dict(self) -> dict[str, object]:
        """For `--json`."""
        return asdict(self)

    def lines(self) -> list[str]:
        """For people."""
        latency = self.latency_ms
        times = f", {latency['p50']:.0f} ms from capture to colour (p99 {latency['p99']:.0f})" if latency else ""
        lines = [f"{self.source}: {self.frames_out} of {self.frames_in} pictures, {self.fps:g} a second{times}"]
        if self.frames_dropped:
            lines.append(f"{self.frames_dropped} pictures dropped rather than lag")
        if self.reconnects:
            lines.append(f"the source broke and came back {self.reconnects} times")
        if self.lost_s:
            lines.append(f"{self.lost_s:.1f} s of the film were not there any more after a break")
        for name, sink in self.sinks.items():
            state = "" if sink["state"] == "ok" else f"; FAILED: {sink['state']}"
            again = f", gone and back {sink['reconnects']} times" if sink["reconnects"] else ""
            lines.append(f"{name}: {sink['written']} written, {sink['dropped']} dropped{again}{state}")
        return lines


class Session:
    """One source, one engine, any number of sinks. `run` is the whole of it."""

    def __init__(
        self,
        source: Source,
        *,
        settings: Settings,
        setting: Setting | None = None,
        look: Look | None = None,
        sound: bool = False,
        tell: Callable[[str], None] | None = None,
    ) -> None:
        """look: what `setting` names, where that is a picture; it is choosable by that name from then on."""
        self.settings = replace(settings, batch=1)
        self.controls = Controls(setting or Setting(steady=settings.steady, saturation=settings.saturation))
        self.controls.numbers = self.numbers
        self._own = (self.controls.setting.look, look)
        self._notice = ""
        self._preparing = ""
        self._check: Callable[[], None] = lambda: None
        self._closed = False
        self.lanes: list[Lane] = []
        self.source = source
        self._patient = not (source.live or source.pace)
        self._sound = sound
        self._tell = tell or (lambda line: None)
        self._painter: _Painter | None = None
        self._intake: Intake | None = None
        self._latencies: deque[float] = deque(maxlen=_RECENT)
        self._times: deque[float] = deque(maxlen=_RECENT)
        self._frames_out = 0
        self._started_s = 0.0
        self._skipped = 0
        self._failed: set[str] = set()

    @property
    def intake(self) -> Intake:
        """The source at work; there once `run` has begun."""
        if self._intake is None:
            raise RuntimeError("the session isn't running")
        return self._intake

    def add(self, name: str, make: Callable[[], Sink], *, target: str = "") -> None:
        """Another sink; `make` is called in its own thread. Raises what keeps it from opening.

        target: where it writes; `name` is for others, who don't get to know that.
        """
        taken = {lane.name for lane in self.lanes}
        more = (f"{name} {number}" for number in count(2))
        lane = Lane(
            name if name not in taken else next(n for n in more if n not in taken),
            make,
            patient=self._patient,
            target=target,
        )
        self.lanes.append(lane)
        lane.started()

    def run(self, check: Callable[[], None]) -> LiveReport:
        """Until the source ends, or `check`, which is called between pictures, raises."""
        self._check = check
        self._intake = Intake(self.source, sound=self._sound)
        try:
            while not self._intake.mailbox.ended:
                check()
                self._look_after_lanes()
                # A held picture holds the mailbox too: what is there when it goes on is the newest.
                if self.controls.paused:
                    time.sleep(_SLICE_S / 5)
                    continue
                taken = self._intake.mailbox.take(_SLICE_S)
                if taken is not None:
                    self._show(taken)
        finally:
            self.close()
        return self.report()

    def close(self) -> None:
        """Ends the source, lets every sink finish, all within one time; a second call does nothing."""
        if self._closed:
            return
        self._closed = True
        if self._intake is not None:
            self._intake.stop()
        deadline = time.monotonic() + _FINISH_S
        for lane in self.lanes:
            lane.end()
        for lane in self.lanes:
            lane.close(deadline - time.monotonic())

    def _show(self, taken: Taken) -> None:
        before = self._painter and self._painter.runtime_opened
        painter, setting, look = self._prepare(taken)
        intake = self._intake
        film = intake is not None and intake.paced
        # Opening an engine took seconds: this picture is old, a newer one is waiting. A film stood still.
        if painter.runtime_opened != before and not (self._patient or film):
            self._skipped += 1
            return
        if intake is not None and taken.capture_ns < intake.resumed_ns:
            taken = replace(taken, capture_ns=intake.resumed_ns)
        try:
            frame = painter.paint(taken.frame, setting, look)
        except KinochromeError as error:
            setting, look = self._give_up(setting, error), None
            frame = painter.paint(taken.frame, setting, None)
        if look is not None:
            self._notice = ""
        now_s = time.monotonic()
        self._latencies.append(1000 * now_s - taken.capture_ns / 1e6)
        self._started_s = self._started_s or now_s
        self._times.append(now_s)
        self._frames_out += 1
        self.controls.last, self.controls.pixel_aspect = frame, taken.info.pixel_aspect
        shown = Shown(frame=frame, taken=taken, look=setting.look)
        for lane in self.lanes:
            lane.put(shown, self._check)

    def _prepare(self, taken: Taken) -> "tuple[_Painter, Setting, Look | None]":
        """The engine for this picture, and the look that it shall have.

        A look that can't be had while the session runs is given up and said; at the beginning it is the user's to know.
        """
        setting = self.controls.setting
        try:
            return self._open(taken, setting), setting, self._look(setting.look)
        except Interrupted:
            raise
        except KinochromeError as error:
            natural = self._give_up(setting, error)
            return self._open(taken, natural), natural, None

    def _give_up(self, setting: Setting, error: KinochromeError) -> Setting:
        """The setting without its look; raises `error` again where that is no way on."""
        beginning = not self._frames_out and setting.look == self._own[0]
        if beginning or setting.look == NATURAL:
            raise error
        self._notice = f"the look {setting.look} can't be put on: {scrub(str(error))}"
        self._tell(f"the look {setting.look} can't be put on: {error}")
        self.controls.give_up(setting.look)
        return replace(setting, look=NATURAL)

    def _open(self, taken: Taken, setting: Setting) -> "_Painter":
        styled = has_strength(setting.look)
        painter = self._painter
        if painter is None or not painter.fits(taken):
            painter = self._painter = _Painter(taken.info, self.settings, styled=styled, opening=self._opening)
        elif styled:
            painter.open_styles()
        return painter

    def _opening(self, settings: Settings, size: tuple[int, int], *, styled: bool) -> Choice:
        with nullcontext() if self._intake is None else self._intake.hold():
            try:
                return open_beside(settings, size, styled=styled, tell=self._prepares, check=self._check)
            finally:
                self._preparing = ""

    def _prepares(self, line: str) -> None:
        """Says here and on the page what takes long."""
        self._preparing = line
        self._tell(line)

    def _look(self, name: str) -> Look | None:
        own, look = self._own
        return look if look is not None and name == own else look_of(name)

    def _look_after_lanes(self) -> None:
        """Says once that a sink has died; the others go on, and without any there is nothing left to do."""
        dead = [lane.error for lane in self.lanes if lane.error is not None]
        if dead and len(dead) == len(self.lanes):
            self._raise_bug()
            raise dead[0]
        for lane in self.lanes:
            if lane.error is not None and lane.name not in self._failed:
                self._failed.add(lane.name)
                self._tell(f"{lane.name}: {lane.state.removeprefix(f'{lane.name}: ')}")

    def _raise_bug(self) -> None:
        """A sink that died of no error of ours nor the system's found a bug: that is told in full."""
        for lane in self.lanes:
            if lane.bug is not None:
                raise lane.bug

    def numbers(self) -> dict[str, Any]:
        """What the page, the metrics and `--json` show."""
        intake = self._intake
        now_s = time.monotonic()
        recent = [moment for moment in list(self._times) if now_s - moment < _PACE_S]
        return {
            "source": public_name(self.source.name),
            "state": "opening" if intake is None else intake.state,
            "reason": "" if intake is None else intake.reason.replace(self.source.name, public_name(self.source.name)),
            "notice": self._notice,
            "preparing": self._preparing,
            "frames_in": 0 if intake is None else intake.frames,
            "frames_out": self._frames_out,
            "frames_dropped": 0 if intake is None else intake.mailbox.dropped + self._skipped,
            "reconnects": 0 if intake is None else intake.reconnects,
            "lost_s": 0.0 if intake is None else round(intake.lost_s, 2),
            "age_ms": 0 if intake is None else round(1000 * intake.age_s),
            "fps": round((len(recent) - 1) / (recent[-1] - recent[0]), 1) if len(recent) > 2 else 0.0,
            "latency_ms": percentiles(list(self._latencies)),
            "rejected": self.controls.rejected,
            "sinks": {lane.name: lane.numbers for lane in self.lanes},
        }

    def report(self) -> LiveReport:
        """The account of the whole session; raises what a sink died of where that is a bug."""
        self._raise_bug()
        numbers = self.numbers()
        seconds = (self._times[-1] - self._started_s) if self._times else 0.0
        painter = self._painter
        return LiveReport(
            source=self.source.name,
            frames_in=numbers["frames_in"],
            frames_out=self._frames_out,
            frames_dropped=numbers["frames_dropped"],
            reconnects=numbers["reconnects"],
            lost_s=numbers["lost_s"],
            latency_ms=numbers["latency_ms"],
            fps=round((self._frames_out - 1) / seconds, 2) if seconds else 0.0,
            runtime=painter.runtime if painter else "",
            working_size=painter.geometry.content if painter else None,
            sinks=numbers["sinks"],
            rejected=numbers["rejected"],
        )


class _Painter:
    """The engine for pictures of one size, with its state."""

    def __init__(
        self, info: Info, settings: Settings, *, styled: bool = False, opening: Callable[..., Choice] | None = None
    ) -> None:
        """styled: for looks as well, at once; else the natural one starts seconds earlier.

        opening: stands in for `open_runtime`.
        """
        self._opening = opening or open_runtime
        self._shape = (info.width, info.height, info.depth)
        self.geometry = Geometry.of(
            info.width,
            info.height,
            short_side=settings.short_side,
            pixel_aspect=info.pixel_aspect,
            rotation=info.rotation,
        )
        # Causal: a GPU's programs are then of single frames, and nothing waits for a batch to fill.
        settings = self._settings = replace(settings, lag=0)
        self._styled = styled
        self._coloured = False
        choice = self._opening(settings, self.geometry.padded, styled=styled)
        self.runtime = _told(choice)
        self._engine = engine_for(choice.runtime, self.geometry, settings=settings, meter=Meter())
        self._online = Online()

    def fits(self, taken: Taken) -> bool:
        """Whether the picture is of the size that this engine is for."""
        return self._shape == (taken.info.width, taken.info.height, taken.info.depth)

    @property
    def runtime_opened(self) -> object:
        """The runtime itself: another one than before was just opened."""
        return self._engine.runtime

    def open_styles(self) -> None:
        """Opens the fused graph if that isn't done, which takes seconds."""
        if not self._styled:
            choice = self._opening(self._settings, self.geometry.padded, styled=True)
            self._engine.runtime, self.runtime, self._styled = choice.runtime, _told(choice), True

    def paint(self, frame: Frame, setting: Setting, look: Look | None) -> Frame:
        """The picture in colour, 8 bits, 4:2:0."""
        # Styles go over the colours that the source has; where it has none, over predicted ones. One frame doesn't say
        # which: films begin in black.
        if has_strength(setting.look) and not self._coloured:
            self._coloured = has_colour(frame)
            self._engine.settings = replace(self._engine.settings, source_colours=self._coloured)
        apply(self._engine, setting, look)
        return self._engine.one(_in_eight_bits(frame), self._online)


def _told(choice: Choice) -> str:
    return f"{choice.runtime.name} ({choice.reason})"


def _in_eight_bits(frame: Frame) -> Frame:
    """Viewers and virtual cameras have 8 bits; files in more are `colorize`'s."""
    if frame.depth == 8:
        return frame
    tables = [reduction(frame.depth, 8, full_range=frame.tags.full_range, chroma=chroma) for chroma in (False, True)]
    planes = tuple(tables[number > 0][plane] for number, plane in enumerate(frame.planes))
    return replace(frame, planes=planes, depth=8)
