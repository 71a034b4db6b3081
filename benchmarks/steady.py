"""How still do colours hold, what does it cost, and what is lost by it?

    python -m benchmarks.steady --photos ../shared/data/photos_val.tar --clips ../shared/data/clips

Clips with known colours, without and with film grain and flicker; photographs with exactly known motion; and
black-and-white film. The last line on stdout is JSON.
"""

import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import islice, pairwise
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.nn.functional import avg_pool2d

from benchmarks import price, results, scenes, slices, strokes
from benchmarks.smoothers import SMOOTHERS, ours
from benchmarks.trial import Result
from model import color, temporal
from stream.config import Settings
from stream.media import read_frames
from stream.runtime import Runtime, open_runtime
from train import measures
from train.data import find_pictures, load_square
from train.films import find_films, working_planes
from train.measures import Clip, Motion
from train.pictures import NEAR_GREY

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
console = Console(stderr=True, highlight=False)

LAGS = (1, 10, 50)
PAIRS = 12
"""Pairs of frames at each lag of a clip."""
GRAIN, FLICKER = 0.04, 0.03
"""Deviations: of luma 0..1 in the middle tones, and of the lamp's gain."""
STRENGTHS = (0.5, 0.8, 0.9, 1.0)
STRENGTHS_ON = "sam2_bedroom"
"""Its camera is held by hand: the hardest of the clips for a long mean."""
COLOURFUL = 40.0
SEED = 4
DEFINITIONS = {
    "e_warp_x1e3": "mean square of ab along the motion in (100 Lab units)^2 by lag, at the size of the network's "
    "chroma; motion by DIS on the clip without the grain added here, or exactly known",
    "cdc_x1e3": "Jensen-Shannon divergence, nats, of the histograms of a and b in bins of one Lab unit, by lag",
    "cf, psnr": "of all frames, shown on luma without the grain added here; psnr against the true colours, dB",
    "uncovered": "mean square error of ab, x1e3, where something just passed: ghosts would raise it",
    "returns": "E_warp x1e3 between frames before and after a thing was hidden",
    "strokes": strokes.DEFINITION,
    "grainy": f"with clumped grain of {GRAIN} in the middle tones and {FLICKER:.0%} flicker, new in every frame",
    "targets": "of grainy clips with known colours, means over the clips, lag 1: E_warp by the unsmoothed one's and by "
    "the true colours'; CF and PSNR against the unsmoothed one's",
}


@app.command()
def main(
    photos: Annotated[Path | None, typer.Option(help="Photographs never trained on: folder or tar shard.")] = None,
    clips: Annotated[list[Path] | None, typer.Option(help="Films, or folders of them.")] = None,
    frames: Annotated[int, typer.Option(min=2, help="Frames of each film.")] = scenes.FRAMES,
    as_json: Annotated[bool, typer.Option("--json", help="The JSON line alone, no table.")] = False,
    out: Annotated[
        Path | None, typer.Option(help="Where to write the result; without it a full run goes to results/steady.json.")
    ] = None,
) -> None:
    """Measures the smoothing and what it was chosen from; draws a column of pixels through time."""
    console.quiet = as_json
    target = out or results.FOLDER / "steady.json"
    result = measure(photos, clips or [], frames)
    console.print(draw(result))
    if out or (photos and clips and frames == scenes.FRAMES):
        results.save(result, target)
        slices.draw(target.with_suffix(".jpg"), clips or [])
    typer.echo(json.dumps(result))


def measure(photos: Path | None, films: list[Path], frames: int) -> Result:
    """Every clip with every smoothing, and what a frame costs."""
    started = time.monotonic()
    torch.set_num_threads(1)
    head = {"question": "how still do colours hold, at what price?"} | results.origin()
    rows: list[Result] = []
    strengths: list[Result] = []
    painted: list[Clip] = []
    runtimes: dict[tuple[int, int], Runtime] = {}
    with torch.inference_mode():
        for clip, kind in _all_clips(photos, films, frames):
            console.print(f"{time.monotonic() - started:4.0f} s: {clip.name}, {kind}")
            chroma = predict(clip, runtimes)
            rows += _judge(clip, kind, chroma)
            if kind == "grainy" and clip.name == STRENGTHS_ON:
                strengths += _judge_strengths(clip, kind, chroma)
                painted.append(_begin(clip, strokes.FRAMES))
        if photos:
            still = strokes.make_scenes(_colourful(photos)[0], min(frames, strokes.FRAMES))
            painted = [*(age(clip) for clip in still), *painted]
        console.print(f"{time.monotonic() - started:4.0f} s: strokes")
        painting = strokes.measure(painted)
        console.print(f"{time.monotonic() - started:4.0f} s: cost")
        cost = price.measure(rounds=5 if frames >= scenes.FRAMES else 1)
    return head | {
        "frames": frames,
        "rows": rows,
        "strengths": strengths,
        "strokes": painting,
        "summary": summarise(rows),
        "cost": cost,
        "seconds": round(time.monotonic() - started),
        "definitions": DEFINITIONS,
    }


def _all_clips(photos: Path | None, films: list[Path], frames: int) -> Iterator[tuple[Clip, str]]:
    """Each clip and its kind: clean, grainy or film."""
    for scene in scenes.make_scenes(_colourful(photos), frames=frames) if photos else ():
        yield scene, "clean"
        yield age(scene), "grainy"
    for film in find_films(films) if films else ():
        clip = read(film, frames)
        if clip is None:
            continue
        if clip.truth is None:
            yield clip, "film"
        else:
            yield clip, "clean"
            yield age(clip), "grainy"


def _colourful(photos: Path) -> list[np.ndarray[tuple[int, ...], np.dtype[np.uint8]]]:
    """Four photographs that are colourful, spread over the source."""
    entries, found = find_pictures((photos,)), []
    for entry in entries[:: max(1, len(entries) // 60)]:
        picture = load_square(entry, 256)
        level = color.colorfulness(torch.from_numpy(picture).permute(2, 0, 1)[None] / 255)
        if level.item() >= COLOURFUL:
            found.append(picture)
    if len(found) < 4:
        raise ValueError(f"{photos}: {len(found)} colourful photographs; 4 are needed")
    return found[:: len(found) // 4][:4]


def read(film: Path, frames: int) -> Clip | None:
    """The longest shot within the first frames of a film; None where it has grey shots alone and is no grey film."""
    planes = [working_planes(frame, 256) for frame in islice(read_frames(film), 3 * frames)]
    luma, chroma = (torch.stack(each) for each in zip(*planes, strict=True))
    guides = temporal.guide(luma)
    cuts = [0, *(i for i in range(1, len(luma)) if temporal.is_cut(guides[i : i + 1], guides[i - 1 : i])), len(luma)]
    first = max(pairwise(cuts), key=lambda shot: min(shot[1] - shot[0], frames))[0]
    part = slice(first, first + frames)
    shown, truth = avg_pool2d(luma[part], 2), avg_pool2d(chroma[part], 2)
    level = color.colorfulness(color.join(shown[::10], truth[::10])).mean().item()
    known = None if level < NEAR_GREY else truth
    return Clip(name=film.stem, luma=luma[part], shown=shown, truth=known, shots=[0] * len(shown))


def age(clip: Clip) -> Clip:
    """The same clip as an old film shows it: the network and the smoothing see that, the measures do not."""
    random = torch.Generator().manual_seed(SEED)
    noise = torch.randn(clip.luma.shape, generator=random)
    noise = noise + avg_pool2d(noise, 3, 1, 1) * 3
    noise = noise / noise.std()
    gain = 1 + FLICKER * torch.randn(len(clip.luma), 1, 1, 1, generator=random)
    luma = clip.luma * gain + GRAIN * 4 * clip.luma * (1 - clip.luma) * noise
    return replace(clip, luma=luma.clamp(0, 1))


def _begin(clip: Clip, frames: int) -> Clip:
    """The first frames of a film."""
    part = slice(frames)
    truth = None if clip.truth is None else clip.truth[part]
    return replace(clip, luma=clip.luma[part], shown=clip.shown[part], truth=truth, shots=clip.shots[part])


def predict(clip: Clip, runtimes: dict[tuple[int, int], Runtime]) -> Tensor:
    """The network's chroma `[T, 2, h, w]`."""
    size = (clip.luma.shape[2], clip.luma.shape[3])
    if size not in runtimes:
        runtimes[size] = open_runtime(Settings(threads=1), size).runtime
    batches = (clip.luma[start : start + 4].numpy() for start in range(0, len(clip.luma), 4))
    return torch.from_numpy(
        np.concatenate([runtimes[size].start(np.ascontiguousarray(batch))().chroma for batch in batches])
    )


class _Judge:
    """A clip's pairs of frames and their motion: the same for every smoothing."""

    def __init__(self, clip: Clip) -> None:
        self.clip = clip
        self.pairs = {lag: measures.pairs(clip.shots, lag, PAIRS) for lag in LAGS}
        self.motions = {lag: [self._motion(*pair) for pair in pairs] for lag, pairs in self.pairs.items()}
        shown, truth = clip.shown, clip.truth
        self.true_rgb = None if truth is None else color.join(shown, color.limit(shown, truth))

    def _motion(self, now: int, then: int) -> Motion:
        if isinstance(self.clip, scenes.Scene):
            return self.clip.motion(now, then)
        return measures.find_motion(self.clip.shown[now : now + 1], self.clip.shown[then : then + 1])

    def row(self, chroma: Tensor) -> Result:
        """All measures of chroma `[T, 2, h, w]`."""
        shown = self.clip.shown
        rgb = color.join(shown, color.limit(shown, chroma))
        ab = measures.lab(rgb)[:, 1:]
        found = {lag: measures.steadiness(ab, self.pairs[lag], self.motions[lag]) for lag in LAGS}
        row: Result = {
            "e_warp_x1e3": {f"{lag}": _thousandfold(pair[0]) for lag, pair in found.items()},
            "cdc_x1e3": {f"{lag}": _thousandfold(pair[1]) for lag, pair in found.items()},
            "cf": round(color.colorfulness(rgb).mean().item(), 3),
        }
        if self.true_rgb is not None:
            row["psnr"] = round(measures.psnr(rgb, self.true_rgb).mean().item(), 3)
        return row | self._known(ab)

    def _known(self, ab: Tensor) -> Result:
        """What only exactly known motion tells."""
        clip = self.clip
        if not isinstance(clip, scenes.Scene) or self.true_rgb is None:
            return {}
        true_ab = measures.lab(self.true_rgb)[:, 1:]
        error = (ab - true_ab).square().mean(1) / measures.AB_UNIT**2
        fresh = torch.stack([clip.uncovered(frame) for frame in range(len(ab))])
        more: Result = {}
        if fresh.any():
            more["uncovered"] = _thousandfold(error[fresh].mean().item())
        if "hidden" in clip.name and len(ab) > scenes.HIDDEN[-1] + 20:
            back = [(len(ab) - 1 - step, step) for step in range(1, 12, 2)]
            moving = [self._thing(now, then) for now, then in back]
            more["returns"] = _thousandfold(measures.steadiness(ab, back, moving)[0])
        return more

    def _thing(self, now: int, then: int) -> Motion:
        """The motion of what was hidden, alone."""
        motion = self._motion(now, then)
        return Motion(motion.flow, motion.seen & (motion.flow.abs().sum(1, keepdim=True) > 0))


def _thousandfold(value: float | None) -> float | None:
    return None if value is None else round(1000 * value, 5)


def _judge(clip: Clip, kind: str, chroma: Tensor) -> Iterable[Result]:
    """A row for the true colours and for every smoothing."""
    judge = _Judge(clip)
    head: Result = {"clip": clip.name, "kind": kind}
    if clip.truth is not None:
        yield head | {"name": "true colours"} | judge.row(clip.truth)
    for name, smoother in SMOOTHERS.items():
        yield head | {"name": name} | judge.row(smoother(clip, chroma))


def _judge_strengths(clip: Clip, kind: str, chroma: Tensor) -> Iterable[Result]:
    """What the default of `--steady` is chosen by."""
    judge = _Judge(clip)
    for strength in STRENGTHS:
        smoothed = ours(clip, chroma, lag=20, strength=strength)
        yield {"clip": clip.name, "kind": kind, "steady": strength} | judge.row(smoothed)


def summarise(rows: list[Result]) -> list[Result]:
    """Means over the clips of a kind, for every smoothing, and how they stand to the unsmoothed one's."""
    found = []
    groups = [(known, kind) for known in (False, True) for kind in ("clean", "grainy", "film")]
    for known, kind in groups:
        group = [row for row in rows if row["kind"] == kind and row["clip"].startswith("known") == known]
        for name in dict.fromkeys(row["name"] for row in group):
            mean = _mean([row for row in group if row["name"] == name])
            base = _mean([row for row in group if row["name"] == "unsmoothed"])
            floor = _mean([row for row in group if row["name"] == "true colours"])
            row: Result = {"motion": "known" if known else "film", "kind": kind, "name": name} | mean
            row["e_warp_by_unsmoothed"] = {lag: _ratio(mean, base, lag) for lag in map(str, LAGS)}
            if floor:
                row["e_warp_by_floor"] = {lag: _ratio(mean, floor, lag) for lag in map(str, LAGS)}
            row["cf_by_unsmoothed"] = round(mean["cf"] / base["cf"], 4)
            if "psnr" in mean and name != "true colours":
                row["psnr_over_unsmoothed"] = round(mean["psnr"] - base["psnr"], 3)
            found.append(row)
    return found


def _ratio(row: Result, other: Result, lag: str) -> float | None:
    return round(row["e_warp_x1e3"][lag] / other["e_warp_x1e3"][lag], 4) if row["e_warp_x1e3"].get(lag) else None


def _mean(rows: list[Result]) -> Result:
    """Means of every measure over rows that have it."""
    if not rows:
        return {}
    mean: Result = {}
    for name in ("e_warp_x1e3", "cdc_x1e3"):
        by_lag = {f"{lag}": [row[name][f"{lag}"] for row in rows if row[name][f"{lag}"] is not None] for lag in LAGS}
        mean[name] = {lag: round(float(np.mean(values)), 5) for lag, values in by_lag.items() if values}
    for name in ("cf", "psnr", "uncovered", "returns"):
        values = [row[name] for row in rows if row.get(name) is not None]
        if values:
            mean[name] = round(float(np.mean(values)), 4)
    return mean


def draw(result: Result) -> Table:
    """For people."""
    table = Table("kind", "colours", *(f"E_warp {lag}" for lag in LAGS), "CF", "PSNR", "uncovered", "returns")
    for row in result["summary"]:
        errors = (f"{row['e_warp_x1e3'].get(str(lag), float('nan')):.4f}" for lag in LAGS)
        more = (f"{row[name]:.3f}" if name in row else "-" for name in ("cf", "psnr", "uncovered", "returns"))
        table.add_row(f"{row['motion']}, {row['kind']}", row["name"], *errors, *more)
    strokes = "; ".join(f"{row['clip']} {row['error']}" for row in result["strokes"])
    table.caption = f"strokes: {strokes}; {result['cost']}; {result['seconds']} s"
    return table


if __name__ == "__main__":
    app()
