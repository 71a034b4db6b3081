"""What evaluation shows: sheets of pictures and films, and the curve of PSNR over colourfulness, as PNG."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from torch import Tensor

from model.generator import Generator
from train.data import Picture
from train.exemplars import Contest, Outcome
from train.sheets import Sheet

CAPTION = 24
"""Height of a caption in pixels."""


def draw_sheets(
    folder: Path, name: str, generator: Generator, pictures: Mapping[str, Tensor], films: Sequence[Path]
) -> None:
    """Sheets of pictures (R'G'B' uint8 `[N, 3, H, W]`), grey / coloured / true, and of film frames, grey / coloured."""
    stem = re.sub(r"[^\w.-]+", "-", name)
    for kind, chosen in pictures.items():
        sheet = Sheet(None, ())
        sheet.photos = [picture.permute(1, 2, 0).numpy() for picture in chosen]
        sheet.draw(generator, folder / f"{kind}-{stem}.png")
    Sheet(None, tuple(films), frames=4 * len(films)).draw(generator, folder / f"films-{stem}.png")


def draw_curves(report: Mapping[str, Any], path: Path) -> None:
    """PSNR over CF: models as curves over the chroma gain, grey and mean chroma as points."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 5))
    for name, points in report["curves"].items():
        axes.plot([point["cf"] for point in points], [point["psnr"] for point in points], marker=".", label=name)
    for row in report["rows"]:
        if row["name"] in ("grey", "mean chroma"):
            axes.plot(row["cf"], row["psnr"], "s", label=row["name"])
    axes.axvline(report["cf_truth"], color="grey", linestyle=":", label="CF of the truth")
    axes.set(xlabel="colourfulness CF", ylabel="PSNR, dB")
    axes.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=100)
    pyplot.close(figure)


def draw_style(contest: Contest, outcome: Outcome, path: Path) -> None:
    """A row for each photograph that is shown: exemplar, photograph, and what everybody made of them."""
    rows: dict[tuple[int, int], list[tuple[str, Picture]]] = {}
    for place, made in outcome.painted.items():
        if made.picture is None:
            continue
        start = [("exemplar", contest.exemplars[place.exemplar])]
        row = rows.setdefault((place.photo, place.exemplar), start)
        row.append((f"{place.painter} {place.strength:g}", made.picture))
    write_picture(path, np.vstack([np.hstack([captioned(*tile) for tile in row]) for row in rows.values()]))


def captioned(text: str, picture: Picture) -> Picture:
    """The picture under a strip of white with a caption."""
    strip = np.full((CAPTION, picture.shape[1], 3), 255, np.uint8)
    cv2.putText(strip, text, (4, CAPTION - 7), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1, cv2.LINE_AA)
    return np.vstack((strip, picture))


def write_picture(path: Path, picture: Picture) -> None:
    """An RGB picture as PNG."""
    if not cv2.imwrite(str(path), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)):
        raise OSError(f"{path}: could not be written")
