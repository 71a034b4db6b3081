"""The sample film in colour, measured against its true colours: `kinochrome demo`.

The colour error is measured on equal luma, because a film's luma is given and only its chroma is guessed: the film's
own Y' is joined once with our chroma and once with the true one, at the size of the truth's chroma planes, and PSNR is
taken between the two R'G'B' pictures, the mean of per-picture values (DESIGN 6). The same film left grey stands beside
it, and colourfulness (CF). Shots that are truly grey, like the intertitle, are judged by how far from grey they end up,
and don't count in the mean.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from importlib import metadata
from pathlib import Path
from typing import Any, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from model import color
from stream.colorize import Job, colorize
from stream.errors import InputError, OutputError
from stream.frame import Frame
from stream.media import probe, read_frames
from stream.metrics import Report
from stream.mux import Writer, plan_output
from stream.stills import rgb_of

Picture: TypeAlias = npt.NDArray[np.uint8]
"""R'G'B' [H, W, 3]."""

Row: TypeAlias = tuple[Picture, ...]
"""Before, after and truth of a shot."""

CELL = (320, 240)
"""Width and height of a picture on the sheet."""
_GAP, _CAPTION, _HEADER = 8, 30, 44
_PAPER, _INK, _FAINT = (32, 32, 32), (240, 240, 240), (160, 160, 160)  # neutral and dark, so that colours can be judged
_FONT = cv2.FONT_HERSHEY_SIMPLEX


@dataclass(kw_only=True)
class Shot:
    """How well one shot was coloured; lists have a value for each frame."""

    title: str
    neutral: bool
    """The truth is grey."""
    psnr: list[float] = field(default_factory=list)
    """dB against the true colours on the same luma."""
    psnr_grey: list[float] = field(default_factory=list)
    """The same for the film left grey."""
    cf: list[float] = field(default_factory=list)
    """Colourfulness."""
    cf_true: list[float] = field(default_factory=list)
    chroma: list[float] = field(default_factory=list)
    """Mean distance of the chroma from grey in eight-bit levels."""

    def means(self) -> dict[str, float]:
        """The mean of each measure."""
        if self.neutral:
            return {"chroma": _mean(self.chroma)}
        return {name: _mean(getattr(self, name)) for name in ("psnr", "psnr_grey", "cf", "cf_true")}

    def verdict(self) -> str:
        """In a few words."""
        means = self.means()
        if self.neutral:
            return f"truly grey; chroma {means['chroma']:.1f} levels off"
        return "{psnr:.1f} dB, grey {psnr_grey:.1f}, CF {cf:.0f} of {cf_true:.0f}".format(**means)


@dataclass(frozen=True, kw_only=True)
class DemoResult:
    """What the demo made and measured."""

    report: Report
    shots: list[Shot]
    film: Path
    sheet: Path
    video: Path

    @property
    def exit_code(self) -> int:
        """That of the film."""
        return self.report.exit_code

    @property
    def overall(self) -> Shot:
        """All frames whose truth is in colour."""
        total = Shot(title="All shots in colour", neutral=False)
        for shot in self.shots:
            if not shot.neutral:
                total.psnr += shot.psnr
                total.psnr_grey += shot.psnr_grey
                total.cf += shot.cf
                total.cf_true += shot.cf_true
        return total

    def lines(self) -> list[str]:
        """For people."""
        return [
            *self.report.lines(),
            "colour error on the same luma, PSNR of RGB in dB (higher is better), and colourfulness CF:",
            *(f"  {shot.title:26} {shot.verdict()}" for shot in (*self.shots, self.overall)),
            f"film   {self.film}",
            f"sheet  {self.sheet}",
            f"video  {self.video}",
        ]

    def as_dict(self) -> dict[str, object]:
        """For `--json`."""
        return {
            "film": str(self.film),
            "sheet": str(self.sheet),
            "video": str(self.video),
            "overall": self.overall.means(),
            "shots": [{"title": shot.title, "neutral": shot.neutral, **shot.means()} for shot in self.shots],
            "report": self.report.as_dict(),
        }


def run_demo(
    out: Path,
    *,
    progress: Callable[[int, int | None], None] | None = None,
    tell: Callable[[str], None] | None = None,
) -> DemoResult:
    """Colours the sample film into the folder `out`, which is made; what is there of an earlier demo is replaced.

    progress: called with the frames done and those expected, each counted twice: to colour and to compare.
    tell: called with what a person should know beforehand, in a line.
    """
    samples = find_samples()
    reel = json.loads((samples / "reel.json").read_text())
    told = progress or (lambda done, expected: None)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{out}: the folder can't be made ({error.strerror})") from error
    film, total = out / "reel-colour.mkv", 2 * reel["frames"]
    report = colorize(
        samples / reel["film"],
        film,
        job=Job(overwrite=True),
        progress=lambda done, expected: told(done, total),
        tell=tell,
    )
    video, sheet = out / "side-by-side.mp4", out / "before-after-truth.png"
    shots, rows = _compare(samples, reel, film, video, lambda done: told(reel["frames"] + done, total))
    _write_png(sheet, _draw(shots, rows))
    return DemoResult(report=report, shots=shots, film=film, sheet=sheet, video=video)


def find_samples() -> Path:
    """The folder of the sample film: beside the source, or where the wheel's data files were put."""
    checkout = Path(__file__).parents[1] / "samples"
    if (checkout / "reel.json").is_file():
        return checkout
    for file in metadata.files("kinochrome") or ():
        if file.name == "reel.json" and Path(str(file.locate())).is_file():
            return Path(str(file.locate())).resolve().parent
    raise InputError(f"{checkout}: the sample film is missing; install Kinochrome again, or take it from its source")


def _compare(
    samples: Path, reel: dict[str, Any], film: Path, video: Path, told: Callable[[int], None]
) -> tuple[list[Shot], list[Row]]:
    """Measures every frame and writes the side-by-side video; the shots, and before, after and truth of each."""
    source = samples / reel["film"]
    shots = [Shot(title=shot["title"], neutral=shot["neutral"]) for shot in reel["shots"]]
    owner = [number for number, shot in enumerate(reel["shots"]) for _ in range(shot["frames"])]
    middles = {shot["start"] + shot["frames"] // 2 for shot in reel["shots"]}
    rows: list[Row] = []
    info = probe(source)
    info = replace(info, width=2 * info.width)
    output = plan_output(info, video, codec="libx264", overwrite=True)
    triples = zip(read_frames(source), read_frames(film), read_frames(samples / reel["truth"]), strict=True)
    with Writer(output, info) as writer:
        for number, (before, after, truth) in enumerate(triples):
            writer.write(beside(before, after))
            size = truth.planes[1].shape[1], truth.planes[1].shape[0]
            measure(shots[owner[number]], _luma(before, size), _chroma(after, size), _chroma(truth, size))
            if number in middles:
                rows.append(_pictures(before, after, truth))
            told(number + 1)
    return shots, rows


def beside(left: Frame, right: Frame) -> Frame:
    """Two frames of one size as one of double the width; `left` in grey."""
    grey = np.full_like(right.planes[1], 128)
    pairs = zip((left.luma, grey, grey), right.planes, strict=True)
    return replace(right, planes=tuple(np.hstack(pair).astype(np.uint8) for pair in pairs))


def _luma(frame: Frame, size: tuple[int, int]) -> Tensor:
    """Float `[1, 1, H, W]` 0..1; the sample is limited range."""
    small = cv2.resize(frame.luma, size, interpolation=cv2.INTER_AREA).astype(np.float32)
    return torch.from_numpy((small - 16) / 219).clamp(0, 1)[None, None]


def _chroma(frame: Frame, size: tuple[int, int]) -> Tensor:
    """Float `[1, 2, H, W]`, Cb Cr -0.5..0.5."""
    planes = [cv2.resize(plane, size) for plane in frame.planes[1:]]
    return torch.from_numpy((np.stack(planes)[None].astype(np.float32) - 128) / 224)


def measure(shot: Shot, luma: Tensor, ours: Tensor, true: Tensor) -> None:
    """Notes one frame: luma `[1, 1, H, W]` 0..1, our chroma and the true one `[1, 2, H, W]` -0.5..0.5."""
    shot.chroma.append(224 * ours.abs().mean().item())
    if shot.neutral:
        return
    painted, truth, grey = color.join(luma, ours), color.join(luma, true), luma.expand(-1, 3, -1, -1)
    shot.psnr.append(_psnr(painted, truth))
    shot.psnr_grey.append(_psnr(grey, truth))
    shot.cf.append(color.colorfulness(painted).item())
    shot.cf_true.append(color.colorfulness(truth).item())


def _psnr(picture: Tensor, truth: Tensor) -> float:
    """dB of R'G'B' 0..1; at most 100, what equal pictures get."""
    return float(-10 * (picture - truth).square().mean().clamp_min(1e-10).log10())


def _mean(values: list[float]) -> float:
    return round(float(np.mean(values)), 3) if values else 0.0


def _pictures(before: Frame, after: Frame, truth: Frame) -> Row:
    frames = (replace(before, planes=(before.luma,)), after, truth)
    return tuple(cv2.resize(rgb_of(frame, 8), CELL, interpolation=cv2.INTER_AREA).astype(np.uint8) for frame in frames)


def _draw(shots: list[Shot], rows: list[Row]) -> Picture:
    """The contact sheet: a row for each shot, before, after and truth beside each other."""
    step_x, step_y = CELL[0] + _GAP, CELL[1] + _CAPTION + _GAP
    width, height = 3 * step_x + _GAP, _HEADER + len(rows) * step_y
    sheet = np.full((height, width, 3), _PAPER, np.uint8)
    for column, name in enumerate(("before", "after", "truth")):
        _write(sheet, name, (_GAP + column * step_x, _HEADER - 16), scale=0.7)
    for row, (shot, pictures) in enumerate(zip(shots, rows, strict=True)):
        top = _HEADER + row * step_y
        _write(sheet, shot.title, (_GAP, top + CELL[1] + 20))
        _write(sheet, shot.verdict(), (_GAP + step_x, top + CELL[1] + 20), ink=_FAINT)
        for column, picture in enumerate(pictures):
            left = _GAP + column * step_x
            sheet[top : top + CELL[1], left : left + CELL[0]] = picture
    return sheet


def _write(
    sheet: Picture, text: str, place: tuple[int, int], *, scale: float = 0.5, ink: tuple[int, int, int] = _INK
) -> None:
    cv2.putText(sheet, text, place, _FONT, scale, ink, 1, cv2.LINE_AA)


def _write_png(path: Path, picture: Picture) -> None:
    _, data = cv2.imencode(".png", picture[..., ::-1], (cv2.IMWRITE_PNG_COMPRESSION, 9))
    try:
        path.write_bytes(data.tobytes())
    except OSError as error:
        raise OutputError(f"{path}: can't be written ({error.strerror})") from error
