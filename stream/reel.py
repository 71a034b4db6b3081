"""A film on its way through a job: where it comes from, what is asked of it, and what it is known by."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Final, TypeAlias

from stream import ffmpeg, mux
from stream import source as sources
from stream.config import Settings
from stream.film import Info, Luma, ReadTally
from stream.frame import Frame
from stream.geometry import Geometry
from stream.looks import Look
from stream.plan import NVENC, SEQUENCE, Output
from stream.runtime import find_release, version
from stream.sequence_writer import SequenceOutput
from stream.shotlist import Shot, ShotList

WORTHWHILE_S: Final = 30.0
"""A shorter film is written in one go: at most half a minute of it can be lost."""

Watch: TypeAlias = Callable[[Iterator[Frame]], Iterator[Frame]]
"""Sees the frames of the source pass, and hands them on."""


@dataclass(frozen=True, kw_only=True)
class Film:
    """A film on its way: what is read, how, and what is written."""

    source: str | Path
    """As it was given: a file, an address, or numbered pictures; `info.path` may be another name of the same."""
    info: Info
    output: Output
    settings: Settings
    look: Look | None
    """What to paint it in; None for natural colour."""
    luma: Luma | None = None
    rate: Fraction | None = None
    """Frames a second of numbered pictures."""
    deinterlace: bool = False
    nvdec: bool = False
    """An NVIDIA card decodes the film."""
    shots: ShotList | None = None
    """What a person wants of each shot."""

    def frames(self, tally: ReadTally, since_s: float | None = None) -> Iterator[Frame]:
        """Its pictures; `since_s` leaves out most of those before."""
        return sources.read_frames(
            self.info.path,
            luma=self.luma,
            keep_colour=self.settings.source_colours,
            deinterlace=self.deinterlace,
            nvdec=self.nvdec,
            rate=self.rate,
            tally=tally,
            since_s=since_s,
        )

    @property
    def geometry(self) -> Geometry:
        """How its pictures become working pictures."""
        return self.geometry_of(self.settings.short_side)

    def geometry_of(self, short_side: int) -> Geometry:
        """The same at another working size."""
        info = self.info
        return Geometry.of(
            info.width, info.height, short_side=short_side, pixel_aspect=info.pixel_aspect, rotation=info.rotation
        )

    @property
    def keeps_luma(self) -> bool:
        """Nothing of the film is repainted."""
        if self.shots is not None:
            return not any(shot.paints(self.settings) for shot in self.shots.shots)
        return self.settings.style is None or not self.settings.strength

    @property
    def worthwhile(self) -> bool:
        """Long enough, and of a kind that can be taken up in the middle."""
        wanted = self.lasts or self.shots is not None  # a correction must cost its shot alone
        return wanted and not self.obstacle

    @property
    def lasts(self) -> bool:
        """Long enough for its loss to matter."""
        return self.info.duration_s is None or self.info.duration_s >= WORTHWHILE_S

    @property
    def resumable(self) -> bool:
        """Can be taken up in the middle at all; whether it can be so by itself, `obstacle` tells."""
        return not self._hindrance

    @property
    def obstacle(self) -> str:
        """Why it is made in one go, in words; "" where segments can be made of it."""
        rate, written = self.info.frame_rate, self.output.container != SEQUENCE
        if not self._hindrance and written and rate and 1 / rate < 2 * mux.clock_of(self.output, self.info):
            return f"the clock of a {self.output.path.suffix} is as coarse as its frames"
        return self._hindrance

    @property
    def _hindrance(self) -> str:
        """Of what kind it is that can't be taken up in the middle.

        What NVENC codes can't: a film has one head for all its pictures, and NVENC's depends on the card and driver,
        which a manifest doesn't name. Joined under another head segments would not play. Heads could be compared; when
        its pictures are decoded at a seam could not, and no card was there to try.
        """
        settings = self.settings
        own = settings.style is not None and not settings.strength and settings.source_colours
        kinds = {
            "it is no file": self.info.container != SEQUENCE and not Path(self.info.path).is_file(),
            "what NVENC codes can't be joined": self.output.codec in NVENC,
            "nothing is looked at ahead (lag 0)": settings.lag == 0,
            "nothing is painted": own and self.shots is None,
        }
        return next((words for words, found in kinds.items() if found), "")

    def begin_of(self, number: int) -> int:
        """The first frame that frame `number` may depend on: of its shot, or of the film where there is no list."""
        return 0 if self.shots is None else self.shots.first_of(number)

    def absolute(self) -> "Film":
        """The same, wherever a program's current folder is."""
        path, output = str(Path(self.info.path).resolve()), self.output
        output = output.absolute() if isinstance(output, SequenceOutput) else output
        return replace(self, source=path, info=replace(self.info, path=path), output=output)

    def identity(self) -> dict[str, Any]:
        """Everything that decides what the segments are, but the source and the engine."""
        settings = asdict(self.settings)
        for without_effect in ("runtime", "threads"):
            del settings[without_effect]
        output = self.output
        return {
            "shots": "found by the program" if self.shots is None else "of a list",
            "version": version(),
            "weights": find_release(self.settings.weights).sha256,
            "ffmpeg": ffmpeg.ffmpeg_facts()[0],
            "settings": settings,
            "style_code": self._style_code(),
            "luma": self.luma,
            "rate": str(self.info.frame_rate) if self.info.container == SEQUENCE else None,
            "deinterlace": self.deinterlace,
            "nvdec": self.nvdec,
            "output": {
                "container": output.container,
                "codec": output.codec,
                "options": output.options,
                "pixel_format": output.pix_fmt,
                "chroma": list(output.subsampling),
                "names": str(replace(output.names, folder=Path())) if isinstance(output, SequenceOutput) else None,
            },
        }

    def recipe(self) -> dict[str, Any]:
        """What a finished film is known by: all that changes its pictures, whichever version or machine made it.

        A list of shots isn't in it: that is a person's work on one film, and never lost to what is asked of many.
        """
        identity = self.identity()
        style = self.settings.style
        identity["settings"]["style"] = None if style is None else Path(style).name  # its code tells the rest
        return {name: identity[name] for name in identity.keys() - {"shots", "version", "ffmpeg", "nvdec"}}

    def _style_code(self) -> str | None:
        """What tells a look from another one of the same name; with a list, each shot may have one of its own."""
        if self.look is not None:
            return hashlib.sha256(self.look.codes.tobytes()).hexdigest()
        style = self.settings.style
        return None if style is None else Shot(first=0, look=style).digest
