"""Photographs whose colours are known, and every row's measures on them, at equal colourfulness too (DESIGN 6)."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from rich.progress import Progress
from torch import Tensor

from model import color
from train import measures
from train.backbones import Lpips
from train.config import EvaluateConfig
from train.data import Entry, find_pictures, load_square
from train.figures import estimated, rounded
from train.measures import Tally
from train.rows import SCALED, Row, scaled_row

NEAR_GREY = 12.0
"""A truth less colourful than this tells nothing about colour and is left out."""
GAINS = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0)
EQUAL_CF = (10.0, 20.0, 30.0)
MOST_GAIN = 4.0
"""Chroma that has to be multiplied by more than this to become as colourful as ours is not scaled but given up."""
CF_TOLERANCE = 0.01
"""How near the colourfulness of two rows is that is called equal: a two-thousandth of a usual picture's."""


@dataclass(frozen=True, kw_only=True)
class Truth:
    """The pictures that count."""

    names: list[str]
    pictures: Tensor
    """R'G'B' uint8 `[N, 3, side, side]`."""
    colorfulness: Tensor
    """CF `[N]`."""
    excluded_share: float

    def draw(self, count: int, seed: int) -> list[int]:
        """Numbers of `count` pictures, drawn at random."""
        chosen: list[int] = np.random.default_rng(seed).permutation(len(self.names))[:count].tolist()
        return chosen


def read_truth(config: EvaluateConfig, progress: Progress) -> Truth:
    """All pictures as squares, the near-grey ones left out."""
    entries = find_pictures(config.photos)
    names, pictures, levels = [], [], []
    for entry in progress.track(entries, description="reading"):
        picture = torch.from_numpy(load_square(entry, config.side)).permute(2, 0, 1)
        level = color.colorfulness(picture[None].float() / 255)
        if level.item() >= NEAR_GREY:
            names.append(entry.name)
            pictures.append(picture)
            levels.append(level)
    if len(names) < 2:
        raise ValueError(f"{config.photos = }: {len(names)} colourful pictures; at least 2 are needed")
    share = 1 - len(names) / len(entries)
    return Truth(names=names, pictures=torch.stack(pictures), colorfulness=torch.cat(levels), excluded_share=share)


def mean_chroma(entries: Iterable[Entry]) -> tuple[float, float]:
    """Mean Cb, Cr (-0.5..0.5) of the pictures, each counting alike; broken ones are passed over."""
    pictures = (entry.read() for entry in entries)
    means = [picture.mean((0, 1)) / 255 for picture in pictures if picture is not None]
    _, chroma = color.split(torch.tensor(np.mean(means, 0)).view(1, 3, 1, 1))  # chroma is linear in R'G'B'
    cb, cr = chroma.flatten().tolist()
    return cb, cr


@torch.inference_mode()
def judge(rows: Sequence[Row], truth: Truth, net: Lpips | None, *, batch: int, progress: Progress) -> dict[str, Tally]:
    """Every row's measures on all pictures, by its name; models at every chroma gain too."""
    tallies = {row.name: Tally(net, len(truth.names)) for row in rows}
    for first in progress.track(range(0, len(truth.names), batch), description=f"{len(rows)} rows"):
        rgb = truth.pictures[first : first + batch].float() / 255
        luma, chroma = color.split(rgb)
        seen = None if net is None else measures.look(net, rgb)
        for row in rows:
            tally, painted = tallies[row.name], row.paint(luma, chroma)
            tally.add(color.join(luma, color.limit(luma, painted)), rgb, seen, first=first)
            for gain in GAINS if row.generator else ():
                shown = color.join(luma, color.limit(luma, gain * painted))
                tally.note(f"psnr x{gain}", measures.psnr(shown, rgb), first=first)
                tally.note(f"cf x{gain}", color.colorfulness(shown), first=first)
    return tallies


def equal_rows(
    rows: Sequence[Row], tallies: Mapping[str, Tally], truth: Truth, *, batch: int, progress: Progress
) -> tuple[list[Row], list[dict[str, str]]]:
    """Every other model at the colourfulness of the first of ours, and those that cannot reach it, with the reason."""
    models = [row for row in rows if row.generator is not None]
    lead = next((row for row in models if row.kind == "ours"), None)
    if lead is None:
        return [], []
    level = tallies[lead.name]["cf"].mean().item()
    found, missing = [], []
    for row in (row for row in models if row is not lead):
        gain = matching_gain(row, truth, level, batch=batch, progress=progress)
        if gain is None:
            reason = f"no gain up to {MOST_GAIN:g} makes it as colourful as ours"
            missing.append({"name": f"{row.name}, {SCALED}", "reason": reason})
        else:
            found.append(scaled_row(row, gain))
    return found, missing


@torch.inference_mode()
def mean_cf(row: Row, truth: Truth, *, batch: int, progress: Progress) -> float:
    """Mean CF of the pictures in a row's colours."""
    return _mean_cf(_paint_all(row, truth, batch, progress), 1.0)


@torch.inference_mode()
def matching_gain(row: Row, truth: Truth, level: float, *, batch: int, progress: Progress) -> float | None:
    """The one constant by which a model's chroma gives the pictures a mean CF of `level`; None above MOST_GAIN."""
    painted = _paint_all(row, truth, batch, progress)
    low, high = 0.0, MOST_GAIN
    if _mean_cf(painted, high) < level:
        return None
    while True:
        gain = (low + high) / 2
        reached = _mean_cf(painted, gain)
        if abs(reached - level) <= CF_TOLERANCE or high - low < 1e-6:
            return gain
        low, high = (gain, high) if reached < level else (low, gain)


def _paint_all(row: Row, truth: Truth, batch: int, progress: Progress) -> list[tuple[Tensor, Tensor]]:
    """Luma and chroma in batches: once through the network, whatever is then asked of them."""
    painted = []
    for first in progress.track(range(0, len(truth.names), batch), description=f"{row.name}: CF"):
        luma, chroma = color.split(truth.pictures[first : first + batch].float() / 255)
        painted.append((luma, row.paint(luma, chroma)))
    return painted


def _mean_cf(painted: Sequence[tuple[Tensor, Tensor]], gain: float) -> float:
    levels = [color.colorfulness(color.join(luma, color.limit(luma, gain * chroma))) for luma, chroma in painted]
    return torch.cat(levels).mean().item()


def summary(row: Row, tallies: Mapping[str, Tally], truth: Truth, lead: str | None) -> dict[str, Any]:
    """A row of the report; `lead` is the first of ours, with which all others are compared."""
    tally, grey = tallies[row.name], tallies["grey"]
    distance = tally["cf"] - truth.colorfulness
    found: dict[str, Any] = {"name": row.name, "kind": row.kind, "sha256": row.sha256, "gain": rounded(row.gain)}
    found |= estimated("psnr", tally["psnr"]) | estimated("psnr_over_grey", tally["psnr"] - grey["psnr"])
    found |= {"ssim": rounded(tally["ssim"].mean().item()), "cf": rounded(tally["cf"].mean().item())}
    found |= {"dcf": rounded(distance.mean().item()), "dcf_pictures": rounded(distance.abs().mean().item())}
    if "lpips" in tally:
        kernel = measures.kernel_distance(tally["pooled"], tally["true pooled"])
        found |= estimated("lpips", tally["lpips"])
        found |= {"kd_x1e3": rounded(kernel.mean, 1000), "kd_x1e3_se": rounded(kernel.error, 1000)}
    if lead not in (None, row.name):
        found["minus_ours"] = {}
        for measure in (name for name in ("psnr", "lpips") if name in tally):
            found["minus_ours"] |= estimated(measure, tally[measure] - tallies[lead][measure])
        ours = tallies[lead]["cf"] - truth.colorfulness
        found["minus_ours"] |= estimated("dcf_pictures", distance.abs() - ours.abs())
    if row.generator is not None:
        points = [(point["cf"], point["psnr"]) for point in curve(tally)]
        found["psnr_at_cf"] = {f"{level:g}": rounded(measures.value_at(points, level)) for level in EQUAL_CF}
    return found


def curve(tally: Tally) -> list[dict[str, float]]:
    """PSNR and CF of a model over the chroma gains."""
    psnr, cf = ([tally[f"{name} x{gain}"].mean().item() for gain in GAINS] for name in ("psnr", "cf"))
    points = zip(GAINS, psnr, cf, strict=True)
    return [{"gain": gain, "psnr": round(quality, 4), "cf": round(level, 4)} for gain, quality, level in points]


def worst(tally: Tally, count: int = 8) -> list[int]:
    """Numbers of the pictures with the largest LPIPS (without the feature nets: the lowest PSNR), worst first."""
    badness = tally["lpips"] if "lpips" in tally else -tally["psnr"]
    numbers: list[int] = badness.argsort(descending=True)[:count].tolist()
    return numbers
