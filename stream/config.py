"""Everything that can be set about colouring, on one page."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

RuntimeName: TypeAlias = Literal["auto", "openvino", "torch"]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How frames are coloured. Only the command line reads argv, environment and kinochrome.toml."""

    runtime: RuntimeName = "auto"
    """Which engine runs the network; "auto" takes OpenVINO on a CPU."""
    weights: str = "natural"
    """Name of a release in model/weights.json."""
    short_side: int = 256
    """Working size: short side in pixels, 32 to 512. What is seen of the picture; the output's size is the input's."""
    steady: float = 0.8
    """Strength of the temporal smoothing, 0 (off) to 1."""
    saturation: float = 1.0
    """Factor on the colours, 0 to 2; 1 is what the network says."""
    batch: int = 4
    """Frames handed to the network at once, 1 to 64."""
    threads: int = 0
    """CPU threads of the network; 0 takes all cores."""

    def __post_init__(self) -> None:
        """Refuses what is out of range."""
        ranges = {
            "short_side": (32, 512),
            "steady": (0, 1),
            "saturation": (0, 2),
            "batch": (1, 64),
            "threads": (0, 1024),
        }
        for name, (low, high) in ranges.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise ValueError(f"{name} = {value!r}; {low} to {high} is allowed")
