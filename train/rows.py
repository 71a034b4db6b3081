"""What is judged: grey and other references, the models others see as honest baselines, and ours."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from model import weights as released
from model.generator import CHROMA_STRIDE, Generator
from train import checkpoint
from train.config import EvaluateConfig

Kind: TypeAlias = Literal["reference", "plain L1", "previous", "ours", "scaled"]
Paint: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""Luma `[B, 1, H, W]` and true chroma `[B, 2, H, W]` to the chroma `[B, 2, H, W]` that is judged."""

SCALED = "scaled to our CF"
"""How the rows are called that are compared with ours at equal colourfulness."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """Something that gives grey pictures colours."""

    name: str
    kind: Kind
    paint: Paint
    generator: Generator | None = None
    sha256: str | None = None
    """Of the file of weights."""
    gain: float = 1.0
    """What the chroma is multiplied by."""
    styled: bool = False
    """Whether the generator's style path is trained, as far as its file tells."""


class Loaded(NamedTuple):
    """A generator out of a file."""

    generator: Generator
    """In eval mode."""
    sha256: str | None
    """Of the file; None where there is none."""
    styled: bool
    """Whether the file holds a trained style path; a checkpoint holds one always and is believed."""


def choose_rows(config: EvaluateConfig, models: Mapping[str, Generator]) -> tuple[list[Row], list[dict[str, str]]]:
    """The rows, grey first, and those that are missing with the reason."""
    table = released.releases()
    sources = labelled(config.weights or (() if models else tuple(table)))
    # All releases learnt from the same photographs: any of them knows their mean for weights that are none yet.
    mean = config.training_chroma or next(
        (table[name].mean_chroma for name in (*sources, *table) if name in table), None
    )
    missing = {} if mean else {"mean chroma": "there is no release whose training photographs are known"}
    rows = [Row(name=name, kind="reference", paint=paint) for name, paint in references(mean).items()]
    others: dict[Kind, Path | None] = {"plain L1": config.baseline, "previous": config.previous}
    for kind, path in others.items():
        if path is None:
            missing[kind] = f"no file was given (--{'previous' if kind == 'previous' else 'baseline'})"
        else:
            rows.append(model_row(kind, kind, load_generator(path)))
    rows += [model_row(name, "ours", Loaded(generator, None, True)) for name, generator in models.items()]
    rows += [model_row(name, "ours", load_generator(source)) for name, source in sources.items()]
    if rows[-1].kind != "ours":
        missing["ours"] = "the table has no release yet; name a file (--weights PATH)"
    return rows, [{"name": name, "reason": reason} for name, reason in missing.items()]


def labelled(weights: Sequence[str]) -> dict[str, str]:
    """Sources by the names of their rows: `before=runs/colour/checkpoint.pt`, or a source that is its own name."""
    pairs = [text.partition("=")[::2] if "=" in text else (text, text) for text in weights]
    if len(dict(pairs)) < len(pairs):
        raise ValueError(f"{weights = }: two rows of one name; call them NAME=PATH")
    return dict(pairs)


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


def model_row(name: str, kind: Kind, loaded: Loaded) -> Row:
    """The row of a generator."""

    def paint(luma: Tensor, _: Tensor) -> Tensor:
        return enlarge(loaded.generator.natural(luma))

    return Row(
        name=name, kind=kind, paint=paint, generator=loaded.generator, sha256=loaded.sha256, styled=loaded.styled
    )


def scaled_row(row: Row, gain: float) -> Row:
    """A model's row with its chroma times `gain`: as colourful as ours."""
    name = f"{row.name}, {SCALED}"
    return Row(name=name, kind="scaled", paint=lambda *seen: gain * row.paint(*seen), sha256=row.sha256, gain=gain)


def load_generator(source: str | Path) -> Loaded:
    """A release by name, a checkpoint's average, or safetensors."""
    table, path = released.releases(), Path(source)
    if str(source) in table:
        release = table[str(source)]
        return Loaded(released.load(release), release.sha256, "fused" in release.graphs)
    if not path.is_file():
        raise ValueError(f"{source}: no such file, and no release of that name; there are {', '.join(table)}")
    generator = Generator()
    checkpoint.load_weights(generator, path)
    styled = path.suffix != ".safetensors" or any(map(released.is_style, released.tensor_names(path)))
    return Loaded(generator.eval(), hashlib.sha256(path.read_bytes()).hexdigest(), styled)


def enlarge(chroma: Tensor) -> Tensor:
    """Chroma `[B, 2, H/2, W/2]` of the network at the size of its luma, `[B, 2, H, W]`."""
    return F.interpolate(chroma, scale_factor=float(CHROMA_STRIDE), mode="bilinear", align_corners=False)
