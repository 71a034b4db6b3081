"""Released weights: a table (weights.json) of file, sha256, licence and sources; safetensors only."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from model.generator import Generator, GeneratorConfig

FOLDER = Path(__file__).parent
TABLE = FOLDER / "weights.json"
STYLE_PARTS = ("style_decoder.", "style_encoder.")
"""Tensors of the style path, which a release of the natural look leaves out."""
LOOK = "look."
"""What the names of the looks' codes begin with in a file of weights."""


class WeightsError(RuntimeError):
    """A file of weights that is missing, changed or of another network."""


@dataclass(frozen=True, kw_only=True)
class Release:
    """One row of the table."""

    name: str
    file: str
    sha256: str
    version: str
    licence: str
    graphs: tuple[str, ...]
    """Which graphs these weights were trained for: "natural", and "fused" once style is."""
    config: GeneratorConfig
    sources: tuple[str, ...]
    """Training sources, by name."""
    mean_chroma: tuple[float, float]
    """Mean Cb, Cr of the training photographs: a row of the evaluation."""
    looks: dict[str, str] = field(default_factory=dict)
    """Named looks, whose codes are in the file, and the picture that each was read off."""

    @property
    def path(self) -> Path:
        """The file."""
        return FOLDER / self.file


def releases() -> dict[str, Release]:
    """The table, by name."""
    return {name: _release(name, row) for name, row in json.loads(TABLE.read_text()).items()}


def _release(name: str, row: dict[str, Any]) -> Release:
    lists = {key: tuple(value) for key, value in row["config"].items() if isinstance(value, list)}
    config = GeneratorConfig(**row["config"] | lists)
    lists = {key: tuple(row[key]) for key in ("graphs", "sources", "mean_chroma")}
    return Release(**row | lists | {"name": name, "config": config})


def enter(release: Release) -> None:
    """Writes a release into the table, in the place of an earlier one of its name."""
    rows = json.loads(TABLE.read_text())
    row = asdict(release)
    rows[row.pop("name")] = row
    TABLE.write_text(json.dumps(rows, indent=1) + "\n")


def load(release: Release) -> Generator:
    """The generator of a release, fp32, in eval mode; WeightsError unless the file is the very one of the table."""
    if not release.path.is_file():
        raise WeightsError(f"{release.path}: the weights {release.name!r} are missing; install the package again")
    found = hashlib.sha256(release.path.read_bytes()).hexdigest()
    if found != release.sha256:
        raise WeightsError(f"{release.path}: sha256 {found[:12]}, {release.sha256[:12]} expected; install it again")
    return load_path(release.path, release.config)


def load_looks(release: Release) -> dict[str, Tensor]:
    """Codes float `[K, S]` of the release's named looks, one for each of `style.EXEMPLAR_SIDES`."""
    state = _read(release.path)
    return {name: state[LOOK + name] for name in release.looks}


def _read(path: Path) -> dict[str, Tensor]:
    try:
        return {name: value.float() for name, value in load_file(path).items()}
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"{path}: no safetensors file ({error})") from error


def load_path(path: Path, config: GeneratorConfig | None = None) -> Generator:
    """The generator of any exported file, fp32, in eval mode."""
    state = {name: value for name, value in _read(path).items() if not name.startswith(LOOK)}
    generator = Generator(config)
    wanted = {name for name in generator.state_dict() if not name.endswith("num_batches_tracked")}
    missing = {name for name in wanted - state.keys() if not is_style(name)}
    strange = state.keys() - wanted
    if missing or strange:
        raise WeightsError(
            f"{path}: not this network's weights ({len(missing)} missing, {len(strange)} unknown tensors)"
        )
    generator.load_state_dict(state, strict=False)
    return generator.eval()


def is_style(name: str) -> bool:
    """Whether a tensor belongs to the style path alone."""
    return name.startswith(STYLE_PARTS)


def tensor_names(path: Path) -> set[str]:
    """Names of the tensors in an exported file."""
    with safe_open(path, "pt") as file:
        return set(file.keys())


def export(generator: Generator, path: Path, *, style: bool = False, looks: Mapping[str, Tensor] | None = None) -> str:
    """Writes the weights as FP16 safetensors, the style path only if it is trained; the file's sha256.

    looks: codes `[K, S]` of named looks.
    """
    state = {
        name: value.detach().to("cpu", torch.float16).contiguous()
        for name, value in generator.state_dict().items()
        if not name.endswith("num_batches_tracked") and (style or not is_style(name))
    }
    state |= {LOOK + name: code.detach().to("cpu", torch.float16) for name, code in (looks or {}).items()}
    if not all(torch.isfinite(value).all() for value in state.values()):
        raise WeightsError("the weights leave the range of FP16; they are not written")
    save_file(state, path)
    path.chmod(0o644)  # safetensors makes it private; a package is read by all
    return hashlib.sha256(path.read_bytes()).hexdigest()
