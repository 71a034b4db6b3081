"""Everything that can be set about colouring and painting, on one page."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

RuntimeName: TypeAlias = Literal["auto", "openvino", "torch", "tensorrt"]
NATURAL = "natural"
"""What the look without a style is called where looks are named: natural colour, luma untouched."""
STYLE_SIDE = 512
"""Working size of styles in files, where live takes 256: strokes are painted, not enlarged."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How frames are coloured and painted. Only the command line reads argv, environment and kinochrome.toml."""

    runtime: RuntimeName = "auto"
    """Which engine runs the network; "auto" takes TensorRT on a CUDA GPU, torch there without it, OpenVINO on a CPU."""
    weights: str = "kinochrome"
    """Name of a release in model/weights.json."""
    short_side: int = 256
    """Working size: short side in pixels, 32 to 512. What is seen of the picture; the output's size is the input's."""
    steady: float = 0.8
    """Strength of the temporal smoothing, 0 (off) to 1 (the mean of the whole shot)."""
    lag: int = 24
    """Frames that the smoothing looks ahead: 0 (causal, for live), or 6 to 24 for files."""
    saturation: float = 1.0
    """Factor on the colours, 0 to 2; 1 is what the network says."""
    style: str | None = None
    """A named look, or a picture in whose style is painted (a path, if it has a dot or a slash); None is natural."""
    strength: float = 1.0
    """How much of the style, 0 (natural colour, luma untouched) to 1."""
    detail: float = 0.5
    """Share of the fine detail, beyond what the working size shows, that a painted picture keeps, 0 to 1."""
    source_colours: bool = False
    """Styles are laid over the colours that the source has (stylize), not over predicted ones (colorize)."""
    batch: int = 4
    """Frames handed to the network at once on a CPU, 1 to 64; a GPU's comes from its memory and is in its name."""
    threads: int = 0
    """CPU threads of the network; 0 takes all cores."""

    def __post_init__(self) -> None:
        """Refuses what is out of range."""
        ranges = {
            "short_side": (32, 512),
            "steady": (0, 1),
            "saturation": (0, 2),
            "strength": (0, 1),
            "detail": (0, 1),
            "batch": (1, 64),
            "threads": (0, 1024),
        }
        if self.lag != 0 and not 6 <= self.lag <= 24:
            raise ValueError(f"lag = {self.lag!r}; 0 (live) or 6 to 24 is allowed")
        for name, (low, high) in ranges.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise ValueError(f"{name} = {value!r}; {low} to {high} is allowed")
