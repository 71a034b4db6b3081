"""One evaluator for every model, with honest rows beside it (DESIGN 6).

python -m train evaluate --photos shared/data/photos_val.tar --backbones shared/weights --json
"""

import hashlib
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain, islice
from pathlib import Path
from typing import Any, Literal, TypeAlias

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from rich.progress import Progress
from torch import Tensor

from model import color, temporal
from model import weights as released
from model.generator import CHROMA_STRIDE, STRIDE, Generator
from stream.frame import LUMA_WEIGHTS, Frame, Plane
from stream.media import read_frames
from train import checkpoint, measures
from train.backbones import Lpips, load_lpips
from train.data import Entry, find_pictures, load_square
from train.measures import Clip, Tally
from train.sheets import Sheet

NEAR_GREY = 12.0
"""A truth less colourful than this tells nothing about colour and is left out."""
GAINS = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0)
EQUAL_CF = (10.0, 20.0, 30.0)
LAGS = (1, 10, 50)
ATTACKS = (2, 4, 8)
"""Sizes in eight-bit levels."""
PANS = 4
"""Photographs in the clip of known motion."""
FILMS = (".mp4", ".mkv", ".mov", ".avi", ".mpg", ".webm")
TRAINING_CLIPS = {"sam2_01_dog", "sam2_03_blocks", "sam2_04_coffee", "intel_asl_want", "intel_asl_please"}
TRAINING_CLIPS |= {"intel_asl_brother", "intel_asl_hungry", "intel_car-detection", "intel_one-by-one-person-detection"}
"""Of this project's clips those that training may use; the others are held out (DESIGN 5)."""

Kind: TypeAlias = Literal["reference", "plain L1", "previous", "ours"]
Paint: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""Luma `[B, 1, H, W]` and true chroma `[B, 2, H, W]` to the chroma `[B, 2, H, W]` that is judged."""

DEFINITIONS = {
    "psnr": "dB on R'G'B', mean of the pictures; _se is one standard error; differences are paired by picture",
    "dcf": "mean CF less the truth's mean CF; dcf_pictures: mean of |CF - CF of its truth|",
    "lpips": "v0.1 heads on the Caffe SqueezeNet: compare these rows among themselves only",
    "kd_x1e3": "unbiased squared MMD, kernel (x.y/512 + 1)^3, pooled fire9 of SqueezeNet / 4, all pictures at once",
    "psnr_at_cf": "on the row's curve over the chroma gain; null where the curve does not reach this CF",
    "e_warp_x1e3": "mean square of ab along the motion, in (100 Lab units)^2, where flow agrees both ways",
    "cdc_x1e3": "Jensen-Shannon divergence, nats, of the histograms of a and b in bins of one Lab unit",
    "robustness": "mean CIEDE2000 between the colours of clean and of changed luma, both shown on clean luma; "
    "noise: random signs; attack: PGD, 10 steps, maximising the squared change of chroma; gain: attack less noise",
}


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """What is evaluated, against what, and how much of it."""

    photos: tuple[Path, ...]
    """Photographs never trained on: tar shards or folders."""
    weights: tuple[str, ...] = ()
    """Ours: releases by name, safetensors or checkpoints; empty takes all releases. The first is compared with."""
    baseline: Path | None = None
    """The plain L1 model: safetensors or checkpoint."""
    previous: Path | None = None
    """The previous release, likewise."""
    training_chroma: tuple[float, float] | None = None
    """Mean Cb, Cr of the training photographs; None takes what the table says of our first release."""
    backbones: Path | None = None
    """Folder of the feature nets; without it LPIPS and KD are named as missing."""
    clips: tuple[Path, ...] = ()
    """Films for the temporal measures: files, or folders of them."""
    robustness: bool = False
    """Whether our models are attacked; slow."""
    out: Path | None = None
    """Folder for the sheets and the plot."""
    side: int = 256
    """Side of the pictures and short side of the films in pixels, a multiple of 32."""
    batch: int = 8
    attacked: int = 64
    """Pictures that are attacked."""
    frames: int = 120
    """Frames of a film, from its start."""
    pairs: int = 60
    """Pairs of frames at each lag of a clip, at most."""
    seed: int = 0
    """Draws the pictures that are attacked, shown and panned over."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """Something that gives grey pictures colours."""

    name: str
    kind: Kind
    paint: Paint
    generator: Generator | None = None
    sha256: str | None = None
    """Of the file of weights."""


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


def evaluate(
    config: EvaluateConfig, *, models: Mapping[str, Generator] | None = None, progress: Progress | None = None
) -> dict[str, Any]:
    """Everything that DESIGN 6 asks for, ready for JSON; `models` are more of ours, loaded already.

    Raises ValueError for sources without usable pictures, WeightsError for files that hold no weights.
    """
    progress = progress or Progress(disable=True)
    films = find_films(config.clips)
    net = None if config.backbones is None else load_lpips(config.backbones)
    rows, missing = choose_rows(config, models or {})
    ours = {row.name: row.generator for row in rows if row.kind == "ours" and row.generator is not None}
    truth = read_truth(config, progress)
    tallies = judge(rows, truth, net, batch=config.batch, progress=progress)
    worst_pictures = {name: worst(tallies[name]) for name in ours}
    views = measures.pan(truth.pictures[truth.draw(PANS, config.seed)].float() / 255, seed=config.seed)
    clips = chain((views,), (read_clip(film, config) for film in films))
    report: dict[str, Any] = provenance() | {
        "photos": [str(path) for path in config.photos],
        "side": config.side,
        "pictures": len(truth.names),
        "near_grey_excluded_share": _rounded(truth.excluded_share),
        "cf_truth": _rounded(truth.colorfulness.mean().item()),
        "rows": [summary(row, tallies, truth, next(iter(ours), None)) for row in rows],
        "missing_rows": missing,
        "missing_measures": missing_measures(config),
        "curves": {row.name: curve(tallies[row.name]) for row in rows if row.generator is not None},
        "worst": {name: [truth.names[number] for number in numbers] for name, numbers in worst_pictures.items()},
        "temporal": [
            judge_clip(clip, ours, config) for clip in progress.track(clips, len(films) + 1, description="clips")
        ],
        "robustness": robustness(truth, ours, config, progress) if config.robustness else None,
        "definitions": DEFINITIONS,
    }
    if config.out is not None:
        config.out.mkdir(parents=True, exist_ok=True)
        draw_curves(report, config.out / "psnr-cf.png")
        for name, generator in ours.items():
            chosen = {"photos": truth.draw(16, config.seed), "worst": worst_pictures[name]}
            pictures = {kind: truth.pictures[numbers] for kind, numbers in chosen.items()}
            draw_sheets(config.out, name, generator, pictures, films)
    return report


def missing_measures(config: EvaluateConfig) -> list[str]:
    """What is not measured, and the flag that asks for it."""
    asked = {
        "lpips, kd: no feature nets were given (--backbones DIR)": config.backbones,
        "temporal on films: no clips were given (--clips DIR)": config.clips,
        "robustness: was not asked for (--robustness)": config.robustness,
    }
    return [reason for reason, given in asked.items() if not given]


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


def load_generator(source: str | Path) -> tuple[Generator, str]:
    """A generator in eval mode and the sha256 of its file: a release by name, a checkpoint's average, safetensors."""
    release = released.releases().get(str(source))
    if release is not None:
        return released.load(release), release.sha256
    path = Path(source)
    if path.suffix != ".pt":
        generator = released.load_path(path)
    else:
        generator = Generator()
        try:
            generator.load_state_dict(checkpoint.load(path)[0]["average"])
        except (KeyError, RuntimeError) as error:
            raise ValueError(f"{path}: no checkpoint of this network") from error
    return generator.eval(), hashlib.sha256(path.read_bytes()).hexdigest()


def choose_rows(config: EvaluateConfig, models: Mapping[str, Generator]) -> tuple[list[Row], list[dict[str, str]]]:
    """The rows, grey first, and those that are missing with the reason."""
    table = released.releases()
    names = config.weights or (() if models else tuple(table))
    mean = config.training_chroma or next((table[name].mean_chroma for name in names if name in table), None)
    missing = {} if mean else {"mean chroma": "no release was named and no --training-chroma CB,CR given"}
    rows = [Row(name=name, kind="reference", paint=paint) for name, paint in references(mean).items()]
    others: dict[Kind, Path | None] = {"plain L1": config.baseline, "previous": config.previous}
    for kind, path in others.items():
        if path is None:
            missing[kind] = f"no file was given (--{'previous' if kind == 'previous' else 'baseline'})"
        else:
            rows.append(model_row(kind, kind, *load_generator(path)))
    rows += [model_row(name, "ours", generator, None) for name, generator in models.items()]
    rows += [model_row(name, "ours", *load_generator(name)) for name in names]
    if rows[-1].kind != "ours":
        missing["ours"] = "the table has no release yet; name a file (--weights PATH)"
    return rows, [{"name": name, "reason": reason} for name, reason in missing.items()]


def references(mean: tuple[float, float] | None) -> dict[str, Paint]:
    """What every model is held against; `mean` is the mean Cb, Cr of the training photographs, None if unknown."""
    paints: dict[str, Paint] = {"grey": lambda _, chroma: torch.zeros_like(chroma)}
    if mean:
        flat = torch.tensor(mean).view(1, 2, 1, 1)
        paints["mean chroma"] = lambda _, chroma: flat.expand_as(chroma)
    paints["true chroma x0.5"] = lambda _, chroma: 0.5 * chroma
    # True chroma itself has no PSNR; at the network's output size it is the most that any weights can reach.
    paints["true chroma, half size"] = lambda _, chroma: enlarge(F.avg_pool2d(chroma, CHROMA_STRIDE))
    return paints


def model_row(name: str, kind: Kind, generator: Generator, sha256: str | None) -> Row:
    """The row of a generator."""

    def paint(luma: Tensor, _: Tensor) -> Tensor:
        return enlarge(generator.natural(luma))

    return Row(name=name, kind=kind, paint=paint, generator=generator, sha256=sha256)


def enlarge(chroma: Tensor) -> Tensor:
    """Chroma `[B, 2, H/2, W/2]` of the network at the size of its luma, `[B, 2, H, W]`."""
    return F.interpolate(chroma, scale_factor=float(CHROMA_STRIDE), mode="bilinear", align_corners=False)


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


def summary(row: Row, tallies: Mapping[str, Tally], truth: Truth, lead: str | None) -> dict[str, Any]:
    """A row of the report; `lead` is the first of ours, with which all others are compared."""
    tally, grey = tallies[row.name], tallies["grey"]
    distance = tally["cf"] - truth.colorfulness
    found: dict[str, Any] = {"name": row.name, "kind": row.kind, "sha256": row.sha256}
    found |= _estimate("psnr", tally["psnr"]) | _estimate("psnr_over_grey", tally["psnr"] - grey["psnr"])
    found |= {"ssim": _rounded(tally["ssim"].mean().item()), "cf": _rounded(tally["cf"].mean().item())}
    found |= {"dcf": _rounded(distance.mean().item()), "dcf_pictures": _rounded(distance.abs().mean().item())}
    if "lpips" in tally:
        kernel = measures.kernel_distance(tally["pooled"], tally["true pooled"])
        found |= _estimate("lpips", tally["lpips"])
        found |= {"kd_x1e3": _rounded(kernel.mean, 1000), "kd_x1e3_se": _rounded(kernel.error, 1000)}
    if lead not in (None, row.name):
        found["minus_ours"] = {}
        for measure in (name for name in ("psnr", "lpips") if name in tally):
            found["minus_ours"] |= _estimate(measure, tally[measure] - tallies[lead][measure])
    if row.generator is not None:
        points = [(point["cf"], point["psnr"]) for point in curve(tally)]
        found["psnr_at_cf"] = {f"{level:g}": _rounded(measures.psnr_at(points, level)) for level in EQUAL_CF}
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


def _rounded(value: float | None, factor: float = 1) -> float | None:
    return None if value is None else round(factor * value, 6)


def _estimate(name: str, values: Tensor) -> dict[str, float | None]:
    mean, error = measures.estimate(values)
    return {name: _rounded(mean), f"{name}_se": _rounded(error)}


def robustness(
    truth: Truth, ours: Mapping[str, Generator], config: EvaluateConfig, progress: Progress
) -> list[dict[str, Any]]:
    """How far an attack on the luma moves the colours, beyond what noise of the same size does."""
    luma, _ = color.split(truth.pictures[truth.draw(config.attacked, config.seed)].float() / 255)
    parts = [luma[start : start + config.batch] for start in range(0, len(luma), config.batch)]
    rows = []
    for name, generator in ours.items():
        row: dict[str, Any] = {"name": name, "pictures": len(luma)}
        for level in ATTACKS:
            steps = progress.track(parts, description=f"attack of {level}/255")
            noise, hit = torch.cat([_shifts(generator, part, level / 255) for part in steps], 1)
            row[f"{level}"] = _estimate("noise", noise) | _estimate("attack", hit) | _estimate("gain", hit - noise)
        rows.append(row)
    return rows


def _shifts(generator: Generator, luma: Tensor, size: float) -> Tensor:
    """Mean dE00 `[2, B]` that noise and an attack of this size cause."""
    changed = (measures.noise(luma, size), measures.attack(generator.natural, luma, size))
    with torch.no_grad():
        clean, *moved = (
            measures.lab(color.join(luma, color.limit(luma, enlarge(generator.natural(seen)))))
            for seen in (luma, *changed)
        )
    return torch.stack([measures.ciede2000(clean, each).mean((1, 2)) for each in moved])


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
        e_warp, cdc = ({lag: _rounded(pair[i], 1000) for lag, pair in found.items()} for i in range(2))
        rows.append({"name": name, "cf": _rounded(cf), "e_warp_x1e3": e_warp, "cdc_x1e3": cdc})
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


def provenance() -> dict[str, Any]:
    """When, by which code and on what machine."""
    git = shutil.which("git")
    here = Path(__file__).parent
    asked = git and subprocess.run((git, "rev-parse", "HEAD"), cwd=here, capture_output=True, text=True, check=False)
    cpus = Path("/proc/cpuinfo")
    cpu = re.search(r"model name\s*: (.*)", cpus.read_text()) if cpus.is_file() else None
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": asked.stdout.strip() if asked and asked.returncode == 0 else None,
        "machine": {"cpu": cpu[1] if cpu else platform.processor(), "cores": os.cpu_count()},
        "torch": torch.__version__,
    }
