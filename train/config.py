"""Everything that can be set about training, on one page."""

from dataclasses import dataclass, field


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
    colorfulness: float = 0.06
    """Difference of the colourfulness to the truth's, per 100 units: matched, never maximised."""
    consistency: float = 0.1
    """Change of the chroma under another grain on the same picture."""


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


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """One stage of training."""

    stage: str
    """Its name; also the name of its folder below the run's."""
    phases: tuple[Phase, ...] = COLOUR_PHASES
    weights: Weights = field(default_factory=Weights)
    film: Film = field(default_factory=Film)
    hinted: float = 0.12
    """Share of the pictures that come with some of their colours known."""
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


STAGES = {
    "baseline": TrainConfig(stage="baseline", phases=BASELINE_PHASES, weights=PLAIN_L1, hinted=0.0),
    "colour": TrainConfig(stage="colour"),
}

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
WEIGHTS_LICENCE = "research and non-commercial use, see model/LICENSE-WEIGHTS.md"
