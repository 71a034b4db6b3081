"""A checkpoint made a release: FP16 safetensors, and a row in the table of model/weights.json."""

import tomllib
from collections.abc import Sequence
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import torch
from safetensors import SafetensorError

from model import weights
from model.generator import Generator
from model.weights import Release
from stream.errors import OutputError, UsageError
from stream.looks import Look, read_look
from train import checkpoint, data
from train.config import SOURCES, WEIGHTS_LICENCE
from train.pictures import mean_chroma

LOOKS = Path(__file__).with_name("looks.toml")


def export(
    source: Path,
    *,
    name: str,
    photos: Sequence[Path],
    paintings: Sequence[Path] | None,
    exemplars: Path | None,
    out: Path | None,
) -> tuple[Path, str]:
    """Writes a checkpoint's averaged weights and enters them into the table, or to `out`; the file and its sha256.

    exemplars: folder of the named looks' pictures; None leaves the style path out.

    Raises UsageError where a release would lose its styles, or get untrained ones.
    """
    path = out or weights.FOLDER / f"{name}.safetensors"
    if out is None and exemplars is None:
        _spare_styles(name)
    if not path.parent.is_dir():
        raise OutputError(f"{path}: the folder {path.parent} is not there")
    entries = data.find_pictures([*photos, *(paintings or [])])
    generator = Generator()
    checkpoint.load_weights(generator, source)
    generator.eval()
    # Settled at the beginning of a stage that trains the style path, and by nothing else.
    if exemplars is not None and not generator.style_encoder.settled:
        raise UsageError(f"{source}: its style path was never trained; train `style` from it, or leave --exemplars out")
    named = read_looks(exemplars, generator) if exemplars is not None else []
    codes = {look.name: torch.from_numpy(look.codes) for look in named}
    mean = mean_chroma(data.find_pictures(photos)) if out is None else (0.0, 0.0)
    try:
        sha256 = weights.export(generator, path, style=exemplars is not None, looks=codes)
    except (OSError, SafetensorError) as error:
        raise OutputError(f"{path}: can't be written ({error})") from error
    if out is None:
        sets = sorted({entry.set_name for entry in entries})
        weights.enter(
            Release(
                name=name,
                file=path.name,
                sha256=sha256,
                version=metadata.version("kinochrome"),
                licence=WEIGHTS_LICENCE,
                graphs=("natural", "fused") if named else ("natural",),
                config=generator.config,
                sources=tuple(dict.fromkeys(SOURCES.get(each, each or "pictures without a set") for each in sets)),
                mean_chroma=mean,
                looks={look.name: look.title for look in named},
            )
        )
    return path, sha256


def _spare_styles(name: str) -> None:
    earlier = weights.releases().get(name)
    if earlier is not None and "fused" in earlier.graphs:
        raise UsageError(
            f"the release {name!r} paints styles, which weights without --exemplars can't; name --exemplars DIR, "
            "another --name, or a file: --out"
        )


def read_looks(exemplars: Path, generator: Generator) -> list[Look]:
    """The named looks of train/looks.toml, read off the pictures in a folder."""
    table = tomllib.loads(LOOKS.read_text())
    looks = ((name, row, read_look(exemplars / row["file"], generator)) for name, row in table.items())
    return [replace(look, name=name, title=row["title"]) for name, row, look in looks]
