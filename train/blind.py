"""A blind side-by-side sheet of two models at equal colourfulness, for a person to judge without knowing.

python -m train blind before.safetensors after.safetensors --photos shared/data/photos_val.tar --out blind
"""

import json
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from rich.progress import Progress
from torch import Tensor

from model import color
from model.generator import Generator
from train import pictures
from train.config import BlindConfig, EvaluateConfig
from train.data import Picture
from train.gallery import captioned, write_picture
from train.painters import tensor
from train.rows import Row, enlarge, labelled, load_generator, model_row
from train.sheets import film_frames

SHEET, KEY = "blind.png", "blind-key.json"
GAP = 6
"""White pixels between the two of a pair, and twice as many between pairs."""


@dataclass(frozen=True, kw_only=True)
class Side:
    """One of the two models."""

    row: Row
    generator: Generator
    gain: float
    """What its chroma is multiplied by, so that both are as colourful."""

    @torch.inference_mode()
    def colour(self, luma: Tensor) -> Picture:
        """RGB `[H, W, 3]` of luma `[1, 1, H, W]`."""
        chroma = color.limit(luma, self.gain * enlarge(self.generator.natural(luma)))
        rgb = color.join(luma, chroma)[0].permute(1, 2, 0)
        return np.asarray((255 * rgb).round().byte().numpy(), np.uint8)


def draw(config: BlindConfig, progress: Progress | None = None) -> dict[str, Any]:
    """Writes the sheet and, beside it, the key; gives the key.

    Raises ValueError where the second model cannot be made as colourful as the first.
    """
    progress = progress or Progress(disable=True)
    truth = pictures.read_truth(EvaluateConfig(photos=config.photos), progress)
    sides = match(config, truth, progress)
    subjects = [
        (truth.names[number], color.split(tensor(truth.pictures[number].permute(1, 2, 0).numpy()))[0])
        for number in truth.draw(config.pictures, config.seed)
    ]
    for film in config.films:
        frames = film_frames(film, max(1, config.frames // len(config.films)))
        subjects += [(f"{film.name}, part {part}", luma) for part, luma in enumerate(frames, start=1)]
    turned = np.random.default_rng(config.seed).integers(2, size=len(subjects)).astype(bool)
    pairs, places = [], []
    for number, ((name, luma), turn) in enumerate(zip(subjects, turned, strict=True), start=1):
        left, right = sides[::-1] if turn else sides
        pairs.append(_pair(number, left.colour(luma), right.colour(luma)))
        places.append({"number": number, "picture": name, "left": left.row.name, "right": right.row.name})
    config.out.mkdir(parents=True, exist_ok=True)
    write_picture(config.out / SHEET, _sheet(pairs))
    models = [{"name": side.row.name, "sha256": side.row.sha256, "gain": round(side.gain, 6)} for side in sides]
    key = {"seed": config.seed, "models": models, "places": places}
    (config.out / KEY).write_text(json.dumps(key, indent=1) + "\n")
    return key


def match(config: BlindConfig, truth: pictures.Truth, progress: Progress) -> tuple[Side, Side]:
    """Both models, the second as colourful as the first on the photographs."""
    sources = labelled(config.weights)
    (first, other) = (model_row(name, "ours", load_generator(source)) for name, source in sources.items())
    level = pictures.mean_cf(first, truth, batch=config.batch, progress=progress)
    gain = pictures.matching_gain(other, truth, level, batch=config.batch, progress=progress)
    if gain is None:
        raise ValueError(
            f"{other.name}: no gain up to {pictures.MOST_GAIN:g} makes it as colourful as {first.name}; swap them"
        )
    assert first.generator is not None
    assert other.generator is not None
    return Side(row=first, generator=first.generator, gain=1.0), Side(row=other, generator=other.generator, gain=gain)


def _pair(number: int, left: Picture, right: Picture) -> Picture:
    between = np.full((left.shape[0], GAP, 3), 255, np.uint8)
    return captioned(f"{number}", np.hstack((left, between, right)))


def _sheet(pairs: list[Picture]) -> Picture:
    """Two pairs in a row, white around."""
    height, width = (max(pair.shape[axis] for pair in pairs) + 2 * GAP for axis in (0, 1))
    padded = [
        cv2.copyMakeBorder(
            pair, 0, height - pair.shape[0], 0, width - pair.shape[1], cv2.BORDER_CONSTANT, value=(255, 255, 255)
        )
        for pair in pairs
    ]
    padded += [np.full_like(padded[0], 255)] * (len(padded) % 2)
    return np.vstack([np.hstack(padded[at : at + 2]) for at in range(0, len(padded), 2)])
