"""How still colours hold on films: read at working size, cut into shots, judged at several lags (DESIGN 6)."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from model import color, temporal
from model.generator import STRIDE, Generator
from stream.frame import LUMA_WEIGHTS, Frame, Plane
from stream.media import read_frames
from train import measures
from train.config import EvaluateConfig
from train.figures import rounded
from train.measures import Clip
from train.pictures import NEAR_GREY
from train.rows import enlarge

LAGS = (1, 10, 50)
FILMS = (".mp4", ".mkv", ".mov", ".avi", ".mpg", ".webm")
TRAINING_CLIPS = {"sam2_01_dog", "sam2_03_blocks", "sam2_04_coffee", "intel_asl_want", "intel_asl_please"}
TRAINING_CLIPS |= {"intel_asl_brother", "intel_asl_hungry", "intel_car-detection", "intel_one-by-one-person-detection"}
"""Of this project's clips those that training may use; the others are held out (DESIGN 5)."""


def find_films(sources: Sequence[Path]) -> list[Path]:
    """Films, and those in folders; of this project's clips only the ones that are held out from training."""
    films = []
    for source in sources:
        below = [source] if source.is_file() else sorted(source.rglob("*"))
        found = [path for path in below if path.suffix.lower() in FILMS and path.stem not in TRAINING_CLIPS]
        if not found:
            raise ValueError(f"{source = }: no films found; give a file or a folder of {FILMS}")
        films += found
    return films


def read_clip(film: Path, config: EvaluateConfig) -> Clip:
    """The start of a film at working size, cut into its shots."""
    frames = [working_planes(frame, config.side) for frame in islice(read_frames(film), config.frames)]
    luma, chroma = (torch.stack(planes) for planes in zip(*frames, strict=True))
    guides = temporal.guide(luma)
    shots = temporal.is_cut(guides, guides.roll(1, 0)).index_fill(0, torch.tensor(0), False).cumsum(0).tolist()
    level = color.colorfulness(color.join(luma[::10], chroma[::10])).mean().item()
    truth = chroma if level >= NEAR_GREY else None
    return Clip(name=film.name, luma=luma, shown=luma, truth=truth, shots=shots)


def working_planes(frame: Frame, side: int) -> tuple[Tensor, Tensor]:
    """Luma `[1, h, w]` 0..1 and the network's chroma `[2, h, w]` (0 for a grey frame), short side `side` pixels."""
    scale = side / min(frame.height, frame.width)
    width, height = (round(length * scale / STRIDE) * STRIDE for length in (frame.width, frame.height))
    black, white, swing = frame.levels

    def small(plane: Plane) -> Tensor:
        method = cv2.INTER_AREA if plane.shape[0] > height else cv2.INTER_LINEAR
        return torch.from_numpy(cv2.resize(plane.astype(np.float32), (width, height), interpolation=method))

    luma = ((small(frame.luma) - black) / (white - black)).clamp(0, 1)[None]
    if len(frame.planes) == 1:
        return luma, luma.new_zeros(2, height, width)
    cb, cr = ((small(plane) - 2 ** (frame.depth - 1)) / swing for plane in frame.planes[1:])
    kr, kb = LUMA_WEIGHTS[frame.tags.matrix]
    # B'-Y' and R'-Y' in BT.601's scale, whatever the film's matrix is (DESIGN 2).
    return luma, torch.stack((cb * (1 - kb) / (1 - color.KB), cr * (1 - kr) / (1 - color.KR)))


@torch.inference_mode()
def judge_clip(clip: Clip, ours: Mapping[str, Generator], config: EvaluateConfig) -> dict[str, Any]:
    """E_warp and CDC at every lag, CF beside them: grey, true colours, every model without and with smoothing."""
    pairs = {f"{lag}": measures.pairs(clip.shots, lag, config.pairs) for lag in LAGS}
    motions = {lag: [clip.motion(now, then) for now, then in chosen] for lag, chosen in pairs.items()}
    rows = []
    for name, chroma in clip_colours(clip, ours, config.batch):
        ab, cf = shown_colours(clip.shown, chroma)
        found = {lag: measures.steadiness(ab, pairs[lag], motions[lag]) for lag in pairs}
        e_warp, cdc = ({lag: rounded(pair[i], 1000) for lag, pair in found.items()} for i in range(2))
        rows.append({"name": name, "cf": rounded(cf), "e_warp_x1e3": e_warp, "cdc_x1e3": cdc})
    counts = {lag: len(chosen) for lag, chosen in pairs.items()}
    return {"clip": clip.name, "frames": len(clip.luma), "pairs": counts, "rows": rows}


def clip_colours(clip: Clip, ours: Mapping[str, Generator], batch: int) -> Iterator[tuple[str, Tensor]]:
    """Name and chroma `[T, 2, H, W]` of every row, one at a time: a clip's chroma is large."""
    yield "grey", torch.zeros_like(clip.luma).expand(-1, 2, -1, -1)
    if clip.truth is not None:
        yield "true colours", clip.truth
    for name, generator in ours.items():
        starts = range(0, len(clip.luma), batch)
        raw = torch.cat([generator.natural(clip.luma[start : start + batch]) for start in starts])
        yield name, enlarge(raw)
        yield f"{name}, smoothed", enlarge(measures.smoothed(raw, clip))


def shown_colours(luma: Tensor, chroma: Tensor) -> tuple[Tensor, float]:
    """ab `[T, 2, H, W]` and mean CF of chroma `[T, 2, H, W]` shown on luma `[T, 1, H, W]`."""
    ab, levels = [], []
    for index in range(len(luma)):
        part = slice(index, index + 1)
        rgb = color.join(luma[part], color.limit(luma[part], chroma[part]))
        ab.append(measures.lab(rgb)[:, 1:])
        levels.append(color.colorfulness(rgb))
    return torch.cat(ab), torch.cat(levels).mean().item()
