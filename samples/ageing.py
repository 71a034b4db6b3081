"""The years: everything that makes the sample film look old. None of it is in the truth."""

from collections.abc import Iterable, Iterator

import cv2
import numpy as np
from numpy.typing import NDArray
from shots import HEIGHT, SEED, WIDTH, Picture, starts

Luma = NDArray[np.float32]  # [H, W], 0..1

EMULSION = np.array([0.25, 0.56, 0.19], np.float32)  # panchromatic stock of about 1930: less red than the eye sees


def age(pictures: Iterable[Picture]) -> Iterator[Luma]:
    """The film as it came out of the archive: grey, soft, faded, flickering, scratched and grainy."""
    flicker = lamp_flicker()
    scratches = long_scratches()
    vignette = corner_shade()
    for frame, picture in enumerate(pictures):
        random = np.random.default_rng([SEED, 2, frame])
        luma = print_from(picture) * vignette * flicker[frame]
        luma = luma + scratches[frame] + dust(random)
        yield np.clip(luma + grain(random, luma), 0, 1).astype(np.float32)


def print_from(picture: Picture) -> Luma:
    """A faded print of a picture: emulsion, soft lens, halation around lights, low contrast."""
    sharp = (picture.astype(np.float32) / 255) @ EMULSION
    luma = np.asarray(cv2.GaussianBlur(sharp, (0, 0), 0.75), np.float32)
    luma = luma + 0.22 * cv2.GaussianBlur(np.maximum(luma - 0.6, 0), (0, 0), 9)
    luma = np.clip(luma, 0, 1) ** 0.92
    curve = luma * luma * (3 - 2 * luma)
    return np.asarray(0.05 + 0.86 * (0.55 * luma + 0.45 * curve), np.float32)


def lamp_flicker() -> NDArray[np.float32]:
    """Gain of every frame, `[frames, 1, 1]` around 1: slow drift of the hand crank and fast flutter of the arc lamp."""
    random = np.random.default_rng([SEED, 3])
    frames = starts()[-1]
    drift = np.convolve(random.normal(0, 0.05, frames), np.hanning(14) / 7, mode="same")
    return np.asarray(1 + drift + random.normal(0, 0.014, frames), np.float32)[:, None, None]


def corner_shade() -> Luma:
    """Gain of every pixel: darker towards the corners, as with the lenses of the time."""
    y, x = np.mgrid[-1 : 1 : HEIGHT * 1j, -1 : 1 : WIDTH * 1j]
    return np.asarray(1 - 0.30 * ((x * x + y * y) / 2) ** 1.5, np.float32)


def long_scratches() -> NDArray[np.float32]:
    """Light added by tramline scratches, `[frames, 1, 640]`: upright, a pixel wide, wandering, for a second or two."""
    random = np.random.default_rng([SEED, 4])
    frames = starts()[-1]
    light = np.zeros((frames, 1, WIDTH), np.float32)
    columns = np.arange(WIDTH)
    for first, length in ((4, 30), (70, 55), (128, 26), (170, 60), (236, 70)):
        x, strength = random.uniform(60, WIDTH - 60), random.choice([-0.10, 0.09, 0.13])
        for frame in range(first, min(first + length, frames)):
            x += random.normal(0, 0.5)
            light[frame, 0] += strength * random.uniform(0.3, 1) * np.exp(-0.5 * ((columns - x) / 0.6) ** 2)
    return light


def dust(random: np.random.Generator) -> Luma:
    """Light added by the specks, chips and hairs of one frame."""
    light = np.zeros((HEIGHT, WIDTH), np.float32)
    for _ in range(random.poisson(2.2)):
        centre = random.uniform((0, 0), (WIDTH, HEIGHT))
        corners = centre + random.normal(0, random.choice([0.9, 1.4, 3.2], p=[0.5, 0.4, 0.1]), (7, 2))
        outline = cv2.convexHull(np.round(corners).astype(np.int32))
        cv2.fillPoly(light, [outline], float(random.choice([0.42, -0.3], p=[0.7, 0.3])))
    if random.random() < 0.06:
        bend = np.cumsum(random.normal(0, 5, (9, 2)) + random.normal(0, 4, 2), axis=0) + random.uniform(80, 400, 2)
        cv2.polylines(light, [np.round(bend).astype(np.int32)], False, -0.32, 1)
    return np.asarray(cv2.GaussianBlur(light, (0, 0), 0.7), np.float32)


def grain(random: np.random.Generator, luma: Luma) -> Luma:
    """Grain of one frame: clumps of about 3 pixels, strongest in the middle tones."""
    # Finer grain does not survive H.264 at 1 Mbit/s: at 0.95 pixels the skies came out smooth.
    noise = cv2.GaussianBlur(random.standard_normal((HEIGHT, WIDTH), np.float32), (0, 0), 1.35)
    noise = noise / noise.std()
    return np.asarray(noise * (0.004 + 0.047 * np.clip(luma * (1 - luma), 0, 1)), np.float32)
