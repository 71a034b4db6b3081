"""The stages of the recipe put together: which tasks a stage has, and what each of them needs."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from model.generator import Generator
from train import checkpoint, losses
from train.backbones import Vgg, load_vgg
from train.colour import Colour
from train.config import TrainConfig
from train.critic import Critic
from train.data import Entry, held_out
from train.loop import Task, Trainer
from train.paintings import Pairs
from train.stylise import Style, StyleSources
from train.verdicts import Check

WITHOUT_VGG = "without which there is no style to learn"
"""What is said where --no-perceptual would not help."""


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
    check: Check = field(default_factory=Check)
    """Says which of the pictures may be learnt from."""


def build(config: TrainConfig, sources: Sources, generator: Generator, device: torch.device) -> Trainer:
    """The trainer of a stage; ValueError names what it needs and was not given."""
    adversarial = any(phase.critic != "off" for phase in config.phases)
    tasks: list[Task] = []
    photos = training_part(sources.check.usable(sources.photos))
    if config.weights is not None:
        remedy = "or leave their loss out: --no-perceptual" if config.style is None else WITHOUT_VGG
        vgg = _vgg(sources, losses.PERCEPTUAL_TAPS, device, remedy) if config.weights.perceptual else None
        critic = Critic(device, learning_rate=config.critic_rate) if adversarial else None
        tasks.append(Colour(config, config.weights, photos, vgg, critic))
    if config.style is not None:
        if not sources.paintings:
            raise ValueError(f"the stage {config.stage!r} needs paintings; name --paintings DIR")
        code_size = generator.config.code_size
        critic = Critic(device, learning_rate=config.critic_rate, code_size=code_size) if adversarial else None
        vgg = _vgg(sources, losses.STYLE_TAPS, device, WITHOUT_VGG)
        _check_pairs(config, sources)
        # An engraving is a style like any other: paintings may be grey.
        paintings = training_part(sources.check.usable(sources.paintings, grey=True))
        drawn_from = StyleSources(photos=photos, paintings=paintings, pairs=sources.pairs)
        tasks.append(Style(config, config.style, drawn_from, vgg, critic))
    return Trainer(config, generator, tasks, device)


def training_part(entries: Sequence[Entry]) -> list[Entry]:
    """The pictures that are not held out for validation; ValueError where all of them are."""
    left = [entry for entry in entries if not held_out(entry)]
    if not left:
        raise ValueError(f"all of the pictures ({len(entries)}) are held out for validation by their names; give more")
    return left


def _check_pairs(config: TrainConfig, sources: Sources) -> None:
    taught = [phase for phase in config.phases if phase.teacher]
    if not taught:
        return
    if sources.pairs is None:
        raise ValueError(
            f"the stage {config.stage!r} begins with the teacher's pairs; make them (python -m train pairs) and name "
            f"--pairs DIR, or leave that phase out: --enter {taught[-1].until:g}"
        )
    Pairs(sources.pairs, taught[0].size)


def _vgg(sources: Sources, taps: tuple[str, ...], device: torch.device, remedy: str) -> Vgg:
    if sources.backbones is None:
        raise ValueError(f"these losses need the feature nets: name --backbones DIR, {remedy}")
    return load_vgg(sources.backbones, "vgg19", taps).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def starting_point(start: Path | None) -> Generator:
    """The generator to train: a checkpoint's or an exported file's, else one that knows ImageNet alone."""
    generator = checkpoint.new_generator()
    if start is not None:
        checkpoint.load_weights(generator, start)
    return generator
