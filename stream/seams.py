"""Where a film is cut into segments that are worked on, kept and sent about by themselves: at its cuts, and every ten
seconds in long shots, together with what the pictures behind need to know of those before.

The rule looks at nothing but the marks and times since the segment's first picture, so that whoever begins at a seam
finds the same seams after it.
"""

from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeVar, cast

import safetensors.torch
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from model.anchor import Memory
from model.temporal import Past, State
from stream.frame import Frame
from stream.shots import Carry, Mark, Marked, Picture, Seam

LONGEST_S: Final = 10.0
"""A segment is at most this long, or `stride` pictures where the film has fewer of them in that time."""
SHORTEST_S: Final = 2.0
"""A cut begins a segment only if the last one is at least this long: each costs a file and a picture coded whole."""

Known = TypeVar("Known", Carry, Seam)


@dataclass(frozen=True, kw_only=True)
class Start:
    """How an engine begins that does not begin with the film."""

    lead: int = 0
    """Frames that come before the first one that is wanted, and fill batches and the memory of the cut detector."""
    carry: Carry | None = None
    """What is known of the shot before the first frame; None where a shot begins."""
    marks: Sequence[Mark] | None = None
    """What each frame behind the lead is, if that is known; the work then ends with them."""
    seams: frozenset[int] = frozenset()
    """Places among the marks where segments begin."""
    one_shot: bool = False
    """The frames are known to be of one shot, so no cut is looked for."""
    number: int = 0
    """Of the first frame that is wanted, in the film; a list of shots counts by it (stream/grading.py)."""
    made: Container[int] = frozenset()
    """Frames with which segments begin that are there already: a listed shot that begins with one ends the work."""
    mixed: bool = False
    """What is made may differ by a level from what is there: where a GPU's memory runs out, smaller batches will do."""


def rule(marked: Iterable[Marked], *, stride: int) -> Iterator[Marked]:
    """The same pictures; those that begin a segment, the first one among them, have a seam.

    stride: so many pictures of a shot are finished at once (`steady.stride`); it is cut only between them.
    """
    begun_s, pictures, of_shot = 0.0, 0, 0
    for picture, mark in marked:
        time_s = picture.frame.time_s or 0.0
        of_shot = 0 if mark == "cut" else of_shot
        if not pictures or _begins(mark, time_s - begun_s, pictures, free=of_shot % stride == 0, stride=stride):
            picture = replace(picture, seam=Seam(None))
            begun_s, pictures = time_s, 0
        pictures += 1
        of_shot += 1
        yield Marked(picture, mark)


def parted(frames: Iterable[Frame]) -> Iterator[tuple[Frame, Seam | None]]:
    """Frames that know nothing of each other, with the seams that the rule wants."""
    nothing = torch.empty(0)
    pictures = (Picture(frame=frame, guide=nothing, chroma=nothing) for frame in frames)
    for picture, _ in rule((Marked(picture, "same") for picture in pictures), stride=1):
        yield picture.frame, picture.seam


def _begins(mark: Mark, length_s: float, pictures: int, *, free: bool, stride: int) -> bool:
    """Whether a segment of `length_s` and so many pictures ends before this one."""
    if mark == "cut":
        return length_s >= SHORTEST_S
    return mark == "same" and free and length_s * (1 + stride / pictures) > LONGEST_S


def given(pictures: Iterable[Picture], start: Start) -> Iterator[Marked]:
    """Pictures with the marks and seams that `start` knows."""
    source = iter(pictures)
    for _ in range(start.lead):
        next(source, None)
    for number, (mark, picture) in enumerate(zip(start.marks or (), source, strict=False)):
        yield Marked(replace(picture, seam=Seam(None)) if number in start.seams else picture, mark)


def moved(known: Known, device: torch.device) -> Known:
    """The same with all its tensors on the device."""
    return cast(Known, pytree.tree_map_only(Tensor, lambda tensor: tensor.to(device), known))


def pack(carry: Carry) -> bytes:
    """As safetensors."""
    tensors = _named("past", carry.state.past) | _named("memory", carry.memory)
    for place, note in enumerate(carry.notes):
        tensors |= {} if note is None else _named(f"note {place}", note)
    tensors |= {"guide": carry.state.guide}
    tensors |= {"pictures": torch.tensor(carry.pictures), "notes": torch.tensor(len(carry.notes))}
    return safetensors.torch.save({name: tensor.clone().contiguous() for name, tensor in tensors.items()})


def _named(group: str, parts: Past | Memory) -> dict[str, Tensor]:
    return {f"{group}.{name}": tensor for name, tensor in parts._asdict().items() if tensor is not None}


def unpack(data: bytes) -> Carry:
    """What `pack` packed."""
    tensors = safetensors.torch.load(data)

    def past(group: str) -> Past:
        return Past(*(tensors.get(f"{group}.{name}") for name in Past._fields))  # type: ignore[arg-type]  # styled_luma alone

    memory = Memory(*(tensors[f"memory.{name}"] for name in Memory._fields))
    places = range(int(tensors["notes"]))
    notes = tuple(past(f"note {place}") if f"note {place}.chroma" in tensors else None for place in places)
    return Carry(State(past("past"), tensors["guide"]), memory, int(tensors["pictures"]), notes)
