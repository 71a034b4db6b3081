"""The stages of the recipe put together: which tasks a stage has, and what each of them needs."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from model.generator import Generator
from train import checkpoint, losses
from train.backbones import Vgg, load_vgg
from train.colour import Colour
from train.config import TrainConfig
from train.critic import Critic
from train.data import Entry, find_pictures, held_out
from train.loop import Task, Trainer
from train.stylise import Style, StyleSources


@dataclass(frozen=True, kw_only=True)
class Sources:
    """What the user gives to learn from."""

    photos: tuple[Path, ...]
    """Photographs: tar shards, folders of shards, folders of pictures."""
    paintings: tuple[Path, ...] = ()
    """Paintings, likewise."""
    pairs: Path | None = None
    """Folder of the teacher's pairs."""
    backbones: Path | None = None
    """Folder of the feature nets."""


def build(config: TrainConfig, sources: Sources, generator: Generator, device: torch.device) -> Trainer:
    """The trainer of a stage; ValueError names what it needs and was not given."""
    adversarial = any(phase.critic != "off" for phase in config.phases)
    tasks: list[Task] = []
    photos = training_part(sources.photos)
    if config.weights is not None:
        vgg = _vgg(sources, losses.PERCEPTUAL_TAPS, device) if config.weights.perceptual else None
        critic = Critic(device, learning_rate=config.critic_rate) if adversarial else None
        tasks.append(Colour(config, config.weights, photos, vgg, critic))
    if config.style is not None:
        if not sources.paintings:
            raise ValueError(f"the stage {config.stage!r} needs paintings; name --paintings DIR")
        code_size = generator.config.code_size
        critic = Critic(device, learning_rate=config.critic_rate, code_size=code_size) if adversarial else None
        drawn_from = StyleSources(photos=photos, paintings=training_part(sources.paintings), pairs=sources.pairs)
        vgg = _vgg(sources, losses.STYLE_TAPS, device)
        tasks.append(Style(config, config.style, drawn_from, vgg, critic))
    return Trainer(config, generator, tasks, device)


def training_part(sources: Sequence[Path]) -> list[Entry]:
    """The pictures of some sources that may be trained on."""
    return [entry for entry in find_pictures(sources) if not held_out(entry)]


def _vgg(sources: Sources, taps: tuple[str, ...], device: torch.device) -> Vgg:
    if sources.backbones is None:
        raise ValueError("these losses need the feature nets: name --backbones DIR, or leave them out: --no-perceptual")
    return load_vgg(sources.backbones, "vgg19", taps).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def starting_point(start: Path | None) -> Generator:
    """The generator to train: a checkpoint's or an exported file's, else one that knows ImageNet alone."""
    generator = checkpoint.new_generator()
    if start is not None:
        checkpoint.load_weights(generator, start)
    return generator
