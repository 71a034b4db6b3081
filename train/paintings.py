"""Batches for the style path: photographs with paintings, or with what the teacher painted of them."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, RandomSampler

from train.config import Phase
from train.data import Entry, Picture, crop, loader_options, tensor
from train.teacher import SIDE, read_pair

Item = TypeVar("Item")
EXEMPLAR_SIDE = 224
"""The style encoder sees paintings of this side while training; its statistics do not depend on it."""


class Paintings(Dataset[Tensor]):
    """Random parts of paintings, R'G'B' uint8 `[3, 224, 224]`: most of the painting, so that strokes keep a scale."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self.entries = entries
        self.phase = Phase(until=1.0, size=EXEMPLAR_SIDE, batch=1, crop=(0.75, 1.0))

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, index: int) -> Tensor:
        """The painting at `index`, cropped at random."""
        random = np.random.default_rng(int(torch.randint(2**62, ()).item()))
        picture = self.entries[index].read()
        if picture is None:
            raise ValueError(f"{self.entries[index].name}: no picture; run `python -m train data` on the source first")
        return tensor(vary(crop(picture, self.phase, random), random))


def vary(painting: Picture, random: np.random.Generator) -> Picture:
    """A painting uint8 `[S, S, 3]` as crisp and as colourful as exemplars may be; its size stays.

    Reproductions at hand are small: enlarged they have half the fine detail, and two thirds of the colour, of the
    pictures that people choose. So half of them are shown at half the size, four times, mirrored at the seams.
    """
    side = painting.shape[0]
    if random.random() < 0.5:
        half = -(-side // 2)
        small = cv2.resize(painting, (half, half), interpolation=cv2.INTER_AREA)
        painting = np.asarray(cv2.copyMakeBorder(small, 0, half, 0, half, cv2.BORDER_REFLECT), np.uint8)[:side, :side]
    picture = painting.astype(np.float32)
    picture += random.uniform(0, 1.5) * (picture - cv2.GaussianBlur(picture, (0, 0), 1.5))
    grey = picture.mean(2, keepdims=True)
    tint = picture - grey
    mean = tint.mean((0, 1), keepdims=True)
    picture = grey + mean + random.uniform(1, 2) * (tint - mean)
    return np.asarray(picture.round().clip(0, 255), np.uint8)


class Pairs(Dataset[tuple[Tensor, Tensor, Tensor]]):
    """The teacher's pairs: photograph and painted photograph (the same crop), and the painting."""

    def __init__(self, folder: Path, size: int) -> None:
        self.paths = sorted(folder.glob("*.jpg"))
        self.size = size
        if not self.paths:
            raise ValueError(f"{folder = }: no pairs there; make them with `python -m train pairs`")

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, Tensor]:
        """R'G'B' uint8 `[3, size, size]` twice, and `[3, 224, 224]`."""
        random = np.random.default_rng(int(torch.randint(2**62, ()).item()))
        photo, painted, painting = read_pair(self.paths[index])
        top, left = random.integers(SIDE - self.size + 1, size=2)
        window = (slice(top, top + self.size), slice(left, left + self.size))
        parts: list[Picture] = [photo[window], painted[window]]
        if random.random() < 0.5:
            parts = [part[:, ::-1] for part in parts]
        exemplar = cv2.resize(painting, (EXEMPLAR_SIDE, EXEMPLAR_SIDE), interpolation=cv2.INTER_AREA)
        return tensor(parts[0]), tensor(parts[1]), tensor(np.asarray(exemplar, np.uint8))


def painting_batches(entries: Sequence[Entry], count: int, *, seed: int, workers: int) -> Iterator[Tensor]:
    """Endless batches of `count` paintings, uint8 `[count, 3, 224, 224]`."""
    loader = _loader(Paintings(entries), count, seed=seed, workers=workers)
    while True:
        yield from loader


def pair_batches(folder: Path, phase: Phase, *, seed: int, workers: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Endless batches of the teacher's pairs."""
    loader = _loader(Pairs(folder, phase.size), phase.batch, seed=seed, workers=workers)
    while True:
        yield from loader


def _loader(dataset: Dataset[Item], batch: int, *, seed: int, workers: int) -> DataLoader[Item]:
    generator = torch.Generator().manual_seed(seed)
    sampler = RandomSampler(dataset, replacement=True, num_samples=4096, generator=generator)  # type: ignore[arg-type]
    return DataLoader(dataset, batch_size=batch, sampler=sampler, **loader_options(workers, generator))
