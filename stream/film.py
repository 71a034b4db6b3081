"""What a film is and what happened while it was read, in plain values: what reading and writing tell each other."""

from dataclasses import dataclass, field
from fractions import Fraction
from typing import Literal, TypeAlias

from stream.frame import ColorTags

Luma: TypeAlias = Literal["bt601", "bt709"]
"""The matrix that makes Y' of an RGB source in colour."""


@dataclass(frozen=True, kw_only=True)
class StreamInfo:
    """A stream beside the film: sound, subtitles, data, an attachment, a cover."""

    index: int
    kind: str
    """video, audio, subtitle, data, attachment or unknown."""
    codec: str
    """FFmpeg's decoder, or "" without one."""
    language: str | None
    cover: bool = False
    """A still picture that belongs to the file, not a film."""
    rebuilt: bool = False
    """A track that the muxer makes anew from tags: QuickTime's chapters and time code."""


@dataclass(frozen=True, kw_only=True)
class Light:
    """What an HDR film says about the screen it was graded on (SMPTE ST 2086) and how bright it gets (CTA-861.3)."""

    primaries: tuple[tuple[Fraction, Fraction], ...] = ()
    """x, y of red, green, blue and white; empty where it doesn't say."""
    luminance: tuple[Fraction, Fraction] | None = None
    """Least and greatest, cd/m2."""
    content: tuple[int, int] | None = None
    """MaxCLL and MaxFALL, cd/m2."""


@dataclass(frozen=True, kw_only=True)
class Info:
    """What a film is, as far as its header and first picture tell."""

    path: str
    """As it was given: a file's path or a URL."""
    container: str
    """FFmpeg's name of the format, e.g. "matroska,webm"."""
    duration_s: float | None
    stream_index: int
    codec: str
    pix_fmt: str
    width: int
    height: int
    depth: int
    subsampling: tuple[int, int] | None
    """log2 of the chroma steps; None for grey and RGB."""
    rgb: bool
    alpha: bool
    tags: ColorTags
    """Resolved: what the film doesn't say is filled in by DESIGN 10."""
    tagged: bool
    """The film names its matrix itself."""
    matrix_number: int
    """H.273 number of the matrix as the output should name it (5 and 6 are both bt601)."""
    frame_rate: Fraction | None
    time_base: Fraction
    expected_frames: int | None
    pixel_aspect: Fraction
    rotation: int
    """Degrees counter-clockwise by which a player turns the picture."""
    display_matrix: tuple[int, ...] | None
    """The nine numbers behind `rotation`, flips included."""
    interlaced: bool | None
    """None if the film doesn't say."""
    top_field_first: bool
    others: tuple[StreamInfo, ...]
    chapters: int
    timecode: str | None = None
    """Of the first picture, as the film states it."""
    light: Light | None = None
    """HDR's static metadata."""
    beside: tuple[str, ...] = ()
    """What the first picture carries that no output can take along, in words."""


@dataclass(kw_only=True)
class ReadTally:
    """What happened while reading; filled in as `read_frames` goes, complete when it ends."""

    frames: int = 0
    """Pictures handed out."""
    frames_damaged: int = 0
    """Of these, pictures that the decoder patched up."""
    frames_lost: int = 0
    """Pictures that the film has and that are missing: nothing could be decoded, or one of another size or format."""
    packets_damaged: int = 0
    """Packets that could not be decoded and were skipped."""
    times_repaired: int = 0
    """Pictures without a time, or with one not after the last."""
    truncated: bool = False
    """The film ends before its header says."""
    missing_s: float = 0.0
    """By how much."""
    remarks: list[str] = field(default_factory=list)
    """What to tell of it, in lines that name files."""
