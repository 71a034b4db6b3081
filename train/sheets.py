"""What training looks like: sheets of samples and curves of the losses, as PNG."""

import json
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from model import color
from model.generator import Generator
from model.style import exemplar_side
from stream.looks import code_of
from stream.media import probe, read_frames
from train.data import Picture, find_pictures, load_square

SIDE = 256
FILM_SHAPE = (256, 352)


class Sheet:
    """A fixed choice of pictures and film frames that every sheet of a run shows."""

    def __init__(
        self,
        samples: Path | None,
        films: tuple[Path, ...],
        exemplars: Path | None = None,
        *,
        photos: int = 16,
        frames: int = 12,
        paintings: int = 6,
    ) -> None:
        self.photos: list[Picture] = []
        if samples is not None:
            entries = find_pictures([samples])
            chosen = np.random.default_rng(0).permutation(len(entries))[:photos]
            self.photos = [load_square(entries[index], SIDE) for index in chosen]
        self.frames = [luma for film in films for luma in film_frames(film, max(1, frames // len(films)))]
        self.paintings: list[Picture] = []
        if exemplars is not None:
            entries = find_pictures([exemplars])
            chosen = np.linspace(0, len(entries) - 1, min(paintings, len(entries))).round().astype(int)
            self.paintings = [load_square(entries[index], SIDE) for index in chosen]

    def draw(self, generator: Generator, path: Path) -> None:
        """Photographs as triples grey, coloured, true; film frames as pairs grey, coloured; then every painting with
        photographs, stylised, and film frames, coloured and stylised at once.
        """
        tiles = []
        for picture in self.photos:
            luma, _ = color.split(_tensor(picture))
            tiles.append(np.hstack([_grey(luma), colourise(generator, luma), picture]))
        pairs = [np.hstack([_grey(luma), colourise(generator, luma)]) for luma in self.frames]
        rows = [np.hstack(group[at : at + 2]) for group in (tiles, pairs) for at in range(0, len(group), 2)]
        rows += [self._painted(generator, painting) for painting in self.paintings]
        if rows:
            width = max(row.shape[1] for row in rows)
            padded = [np.pad(row, ((0, 4), (0, width - row.shape[1]), (0, 0))) for row in rows]
            cv2.imwrite(str(path), cv2.cvtColor(np.vstack(padded), cv2.COLOR_RGB2BGR))

    def _painted(self, generator: Generator, painting: Picture) -> Picture:
        code = encode(generator, painting)
        tiles = [painting]
        for picture in self.photos[:4]:
            luma, chroma = color.split(_tensor(picture))
            tiles.append(stylise(generator, luma, chroma, code))
        tiles += [stylise(generator, luma, None, code) for luma in self.frames[::5][:2]]
        return np.hstack(tiles)


def read(path: Path) -> Picture:
    """A sheet, RGB `[H, W, 3]`."""
    picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if picture is None:
        raise ValueError(f"{path}: no picture")
    return np.asarray(picture[:, :, ::-1], np.uint8)


def _tensor(picture: Picture) -> Tensor:
    return torch.from_numpy(picture.transpose(2, 0, 1).copy())[None].float() / 255


def _picture(rgb: Tensor) -> Picture:
    return np.asarray((rgb[0].permute(1, 2, 0) * 255).round().byte().cpu().numpy(), np.uint8)


def _grey(luma: Tensor) -> Picture:
    return _picture(luma.expand(-1, 3, -1, -1))


@torch.inference_mode()
def colourise(generator: Generator, luma: Tensor) -> Picture:
    """RGB `[H, W, 3]` of luma `[1, 1, H, W]` 0..1 (multiples of 32), in the natural look."""
    was_training = generator.training
    generator.eval()
    device = next(generator.parameters()).device
    chroma = generator.natural(luma.to(device)).float().cpu()
    generator.train(was_training)
    chroma = F.interpolate(chroma, scale_factor=2.0, mode="bilinear", align_corners=False)
    return _picture(color.join(luma, color.limit(luma, chroma)))


@torch.inference_mode()
def encode(generator: Generator, painting: Picture) -> Tensor:
    """The code `[1, S]` of a painting, RGB, for pictures of the same size."""
    side = exemplar_side(min(painting.shape[:2]))
    was_training = generator.training
    generator.eval()
    code = torch.from_numpy(code_of(painting, generator, side))[None].to(next(generator.parameters()).device)
    generator.train(was_training)
    return code


@torch.inference_mode()
def stylise(generator: Generator, luma: Tensor, chroma: Tensor | None, code: Tensor) -> Picture:
    """RGB `[H, W, 3]` of luma `[1, 1, H, W]` and its colours `[1, 2, H, W]`, or none known, in the style of a code."""
    was_training = generator.training
    generator.eval()
    device = next(generator.parameters()).device
    known = torch.full_like(luma, float(chroma is not None))
    given = torch.cat((known, known), 1) * 0 if chroma is None else chroma
    made = generator(luma.to(device), given.to(device), known.to(device), code)
    generator.train(was_training)
    chroma, luma = (part.float().cpu() for part in made)
    chroma = F.interpolate(chroma, scale_factor=2.0, mode="bilinear", align_corners=False)
    return _picture(color.join(luma, color.limit(luma, chroma)))


def film_frames(film: Path, count: int) -> list[Tensor]:
    """`count` lumas `[1, 1, 256, 352]` 0..1 spread over the film."""
    info = probe(film)
    step = max(1, (info.expected_frames or 25 * 60) // count)
    frames = []
    for frame in islice(read_frames(film), 0, step * count, step):
        black, white, _ = frame.levels
        small = cv2.resize(frame.luma.astype(np.float32), FILM_SHAPE[::-1], interpolation=cv2.INTER_AREA)
        luma = ((small - black) / (white - black)).clip(0, 1).astype(np.float32)
        frames.append(torch.from_numpy(luma)[None, None])
    return frames


def draw_curves(log: Path, path: Path) -> None:
    """Every loss over the steps, smoothed, on a logarithmic axis; and the pace."""
    if not log.is_file():
        return
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = [json.loads(line) for line in log.read_text().splitlines()]
    figure, (losses, pace) = pyplot.subplots(2, 1, figsize=(9, 7), height_ratios=(3, 1), sharex=True)
    fixed = {"step", "pictures", "spent_s", "done", "eta_s", "pictures_per_s", "busy"}
    for name in sorted({key for row in rows for key in row} - fixed):
        points = [(row["step"], row[name]) for row in rows if name in row]
        steps, values = zip(*points, strict=True)
        width = max(1, len(values) // 40)
        smooth = np.convolve(np.pad(values, (width - 1, 0), mode="edge"), np.ones(width) / width, mode="valid")
        losses.plot(steps, smooth, label=name)
    losses.set_yscale("symlog", linthresh=1e-3)  # a critic's judgement may be negative
    losses.set_ylabel("weighted loss")
    losses.legend()
    pace.plot([row["step"] for row in rows], [row["pictures_per_s"] for row in rows], color="grey")
    pace.set_ylabel("pictures / s")
    pace.set_xlabel("step")
    figure.tight_layout()
    figure.savefig(path, dpi=100)
    pyplot.close(figure)
