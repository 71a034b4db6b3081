"""Training pictures: tar shards and plain folders of photographs, random crops, and made-up title cards."""

import hashlib
import tarfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, WeightedRandomSampler

from stream.errors import InputError
from train.config import SET_WEIGHTS, Film, Phase

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp")
Picture = npt.NDArray[np.uint8]
Verdict: TypeAlias = Literal["kept", "broken", "tiny", "grey"]


@dataclass(frozen=True, kw_only=True)
class Entry:
    """Where the bytes of one picture lie."""

    path: Path
    """The shard or the picture file itself."""
    name: str
    """Name in the shard, or relative to the folder; its first folder is the picture's set."""
    offset: int = 0
    size: int = -1
    """Bytes; -1 reads to the end."""

    @property
    def set_name(self) -> str:
        """The set a picture belongs to."""
        return self.name.split("/", 1)[0] if "/" in self.name else ""

    def read(self) -> Picture | None:
        """RGB `[H, W, 3]`, or None where the bytes are no picture."""
        with self.path.open("rb") as file:
            file.seek(self.offset)
            data = np.frombuffer(file.read(self.size), np.uint8)
        if not data.size:
            return None
        picture = cv2.imdecode(data, cv2.IMREAD_COLOR)
        return None if picture is None else np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), np.uint8)


def find_pictures(sources: Sequence[Path]) -> list[Entry]:
    """All pictures in tar shards, folders of tar shards, and folders of picture files, in a fixed order.

    Raises ValueError for a source that does not exist or holds no picture, InputError for a file that is no shard.
    """
    entries = []
    for source in sources:
        found = list(_entries_of(source))
        if not found:
            raise ValueError(
                f"{source = }: no pictures found; give a tar shard, or a folder of shards or of {SUFFIXES}"
            )
        entries += found
    return entries


def _entries_of(source: Path) -> Iterator[Entry]:
    if source.is_file():
        yield from _shard_entries(source)
        return
    for path in sorted(source.rglob("*")):
        if not path.is_file():  # a folder may be called anything
            continue
        if path.suffix == ".tar":
            yield from _shard_entries(path)
        elif path.suffix.lower() in SUFFIXES:
            yield Entry(path=path, name=str(path.relative_to(source)))


def _shard_entries(path: Path) -> Iterator[Entry]:
    # The members lie uncompressed in the shard: with their offsets any of them is read without unpacking.
    try:
        with tarfile.open(path, "r:") as shard:
            for member in shard:
                if member.isfile() and Path(member.name).suffix.lower() in SUFFIXES:
                    yield Entry(path=path, name=member.name, offset=member.offset_data, size=member.size)
    except tarfile.TarError as error:
        raise InputError(
            f"{path}: no tar shard, or a damaged one ({error}); give uncompressed shards or folders of pictures"
        ) from error


def held_out(entry: Entry) -> bool:
    """Whether a picture is kept from training: 6 of 256, one in 43, by the hash of its file's name and its folder's.

    It depends neither on the other pictures nor on which folder above it was given.
    """
    # 0, 50, 100, 150, 200 and 250 of a byte: the released weights were trained with this split, so it stays.
    return hashlib.sha256(_lasting_name(entry).encode()).digest()[0] % 50 == 0


def _lasting_name(entry: Entry) -> str:
    """A picture's name in its shard; that of a file by itself with its folder's, from whichever root it was found."""
    if entry.path.suffix.lower() not in SUFFIXES:
        return entry.name
    return f"{entry.path.parent.resolve().name}/{entry.path.name}"


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What a look at the pictures found."""

    pictures: int
    sets: dict[str, int]
    broken: int
    tiny: int
    """Short side under 128 px."""
    grey: int
    """Mean saturation under 9 of 255."""
    kept: list[Entry]

    def lines(self) -> list[str]:
        """For people."""
        sets = [f"  {name or '(no set)'}: {count}" for name, count in sorted(self.sets.items())]
        refused = f"refused: {self.broken} broken, {self.tiny} tiny, {self.grey} near-grey"
        apart = sum(map(held_out, self.kept))
        split = f"{len(self.kept) - apart} to train on, {apart} held out for validation"
        return [f"{self.pictures} pictures, {len(self.kept)} kept: {split}", *sets, refused]


def check(entries: Iterable[Entry]) -> Summary:
    """Opens every picture and keeps what one can learn colour from."""
    return summarise((entry, verdict(entry)) for entry in entries)


def summarise(judged: Iterable[tuple[Entry, Verdict]]) -> Summary:
    """What the verdicts on pictures come to."""
    tally: Counter[Verdict] = Counter()
    kept = []
    for entry, found in judged:
        tally[found] += 1
        if found == "kept":
            kept.append(entry)
    sets = Counter(entry.set_name for entry in kept)
    return Summary(
        pictures=tally.total(),
        sets=dict(sets),
        broken=tally["broken"],
        tiny=tally["tiny"],
        grey=tally["grey"],
        kept=kept,
    )


def verdict(entry: Entry) -> Verdict:
    """Opens a picture and says whether one can learn colour from it."""
    picture = entry.read()
    if picture is None:
        return "broken"
    if min(picture.shape[:2]) < 128:
        return "tiny"
    spread = picture.max(2).astype(np.int16) - picture.min(2)
    return "grey" if spread.mean() < 9 else "kept"


class Photos(Dataset[tuple[Tensor, Tensor]]):
    """Random square crops of photographs, now and then a title card instead.

    An item is R'G'B' uint8 `[3, size, size]` and a flag, 1.0 for a photograph and 0.0 for a card, whose colour is none.
    """

    def __init__(self, entries: Sequence[Entry], phase: Phase, film: Film) -> None:
        self.entries = entries
        self.phase = phase
        self.film = film

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """The picture at `index`, cropped at random."""
        random = np.random.default_rng(int(torch.randint(2**62, ()).item()))
        if random.random() < self.film.card:
            return tensor(title_card(self.phase.size, random)), torch.tensor(0.0)
        picture = self.entries[index].read()
        if picture is None:
            raise ValueError(f"{self.entries[index].name}: no picture; run `python -m train data` on the source first")
        return tensor(crop(picture, self.phase, random)), torch.tensor(1.0)


def tensor(picture: Picture) -> Tensor:
    """uint8 `[3, H, W]` of an RGB picture."""
    return torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1)))


def crop(picture: Picture, phase: Phase, random: np.random.Generator) -> Picture:
    """A random part of `picture`, mirrored half of the time, as RGB `[size, size, 3]`."""
    height, width = picture.shape[:2]
    side = min(height, width) * random.uniform(*phase.crop)
    stretch = np.exp(random.uniform(-0.15, 0.15))
    rows = min(height, max(16, round(side * stretch)))
    columns = min(width, max(16, round(side / stretch)))
    top, left = random.integers(height - rows + 1), random.integers(width - columns + 1)
    part = picture[top : top + rows, left : left + columns]
    if random.random() < 0.5:
        part = part[:, ::-1]
    return _resize(part, phase.size, shrinks=rows > phase.size)


def _resize(picture: Picture, size: int, *, shrinks: bool) -> Picture:
    way = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(picture, (size, size), interpolation=way), np.uint8)


FONTS = (
    cv2.FONT_HERSHEY_SIMPLEX,
    cv2.FONT_HERSHEY_DUPLEX,
    cv2.FONT_HERSHEY_COMPLEX,
    cv2.FONT_HERSHEY_TRIPLEX,
    cv2.FONT_HERSHEY_SCRIPT_SIMPLEX,
    cv2.FONT_HERSHEY_SCRIPT_COMPLEX,
)
LETTERS = np.array(list("aaabcdeeeefghiijklmnnoopqrrsstttuvwxyz" * 2 + "ABCDEFGHIJKLMNOPRSTW.,!?-"))


def title_card(size: int, random: np.random.Generator) -> Picture:
    """A made-up intertitle, handwritten letter, leader or empty frame: grey RGB `[size, size, 3]`."""
    paper, ink = (random.uniform(120, 250), random.uniform(0, 70))
    if random.random() < 0.55:
        paper, ink = random.uniform(0, 60), random.uniform(140, 255)
    scale = 2  # drawn large, so that the strokes are smooth
    side = size * scale
    drawn = np.full((side, side), round(paper), np.uint8)
    kind = random.random()
    if kind < 0.5:
        _write(drawn, ink, random)
    elif kind < 0.85:
        _scribble(drawn, ink, random)
    if random.random() < 0.3:
        inset = int(side * random.uniform(0.02, 0.12))
        cv2.rectangle(drawn, (inset, inset), (side - inset, side - inset), ink, int(random.integers(1, 6)))
    if random.random() < 0.1:
        centre, radius = (side // 2, side // 2), int(side * random.uniform(0.2, 0.45))
        cv2.circle(drawn, centre, radius, ink, int(random.integers(2, 8)))
        cv2.line(drawn, (0, side // 2), (side, side // 2), ink, 3)
    slope = np.linspace(-1, 1, side, dtype=np.float32)
    card = drawn + random.uniform(-20, 20) * slope[:, None] + random.uniform(-20, 20) * slope
    if random.random() < 0.5:  # stains and folds of old paper
        stain = random.normal(0, random.uniform(2, 14), (6, 6)).astype(np.float32)
        card += cv2.resize(stain, (side, side), interpolation=cv2.INTER_CUBIC)
    card = cv2.resize(card, (size, size), interpolation=cv2.INTER_AREA)
    return np.repeat(np.clip(card, 0, 255).astype(np.uint8)[:, :, None], 3, axis=2)


def _write(card: Picture, ink: float, random: np.random.Generator) -> None:
    side = card.shape[0]
    font = FONTS[random.integers(len(FONTS))]
    height = side * random.uniform(0.03, 0.14)
    scale = height / 22
    thickness = max(1, round(scale * random.uniform(1, 2.5)))
    margin = side * random.uniform(0.0, 0.15)
    y = random.uniform(0.05, 0.4) * side + height
    lines = random.integers(1, 12)
    for _ in range(lines):
        text = "".join(random.choice(LETTERS, random.integers(2, 11))) + " "
        text += "".join(random.choice(LETTERS, random.integers(2, 11)))
        cv2.putText(card, text, (int(margin), int(y)), font, scale, ink, thickness, cv2.LINE_AA)
        y += height * random.uniform(1.3, 2.0)
        if y > side:
            break


def _scribble(card: Picture, ink: float, random: np.random.Generator) -> None:
    """Lines of handwriting: loops of a slanted pen, word by word."""
    side = card.shape[0]
    height = side * random.uniform(0.015, 0.045)
    slant, pen = random.uniform(0, 0.8), max(1, round(height * random.uniform(0.08, 0.3)))
    left, right = side * random.uniform(0.0, 0.25), side * random.uniform(0.75, 1.0)
    y = side * random.uniform(0.05, 0.4)
    for _ in range(random.integers(1, 9)):
        x = left
        while x < right - 6 * height:
            t = np.linspace(0, 1, 60)
            waves = sum(
                random.normal(0, 1) * np.sin(2 * np.pi * (random.uniform(2, 9) * t + random.random())) for _ in range(3)
            )
            width = height * random.uniform(3, 8)
            rise = height * np.asarray(waves) * 0.6
            loops = height * 0.5 * np.cos(2 * np.pi * t * random.uniform(3, 8))
            points = np.stack((x + t * width + loops + slant * rise, y - rise), 1).round().astype(np.int32)
            cv2.polylines(card, [points], False, ink, pen, cv2.LINE_AA)
            x += width + height * random.uniform(1, 2)
        y += height * random.uniform(3.5, 5.5)
        if y > side:
            break


def batches(
    entries: Sequence[Entry], phase: Phase, film: Film, *, seed: int, workers: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Endless batches: R'G'B' uint8 `[B, 3, size, size]` and photo flags `[B]`; varied sets are drawn more often."""
    weights = [SET_WEIGHTS.get(entry.set_name, 1.0) for entry in entries]
    generator = torch.Generator().manual_seed(seed)
    # An epoch is drawn at once; then the loader starts over.
    sampler = WeightedRandomSampler(weights, num_samples=max(len(entries), 4096), generator=generator)
    photos = Photos(entries, phase, film)
    loader = DataLoader(photos, batch_size=phase.batch, sampler=sampler, **loader_options(workers, generator))
    while True:
        yield from loader


def loader_options(workers: int, generator: torch.Generator) -> dict[str, Any]:
    """What all loaders have in common."""
    return {
        "num_workers": workers,
        "persistent_workers": workers > 0,
        # A fork inherits OpenCV's pool without its threads and waits for them for ever (seen at the second epoch).
        "multiprocessing_context": "forkserver" if workers else None,
        "drop_last": True,
        "worker_init_fn": _single_threaded,
        "generator": generator,
        "pin_memory": torch.cuda.is_available(),
        "prefetch_factor": 4 if workers else None,
    }


def _single_threaded(_: int) -> None:
    cv2.setNumThreads(1)


def load_square(entry: Entry, size: int) -> Picture:
    """The centre of a picture as RGB `[size, size, 3]`; ValueError where the bytes are none."""
    picture = entry.read()
    if picture is None:
        raise ValueError(f"{entry.name}: no picture")
    side = min(picture.shape[:2])
    top, left = (picture.shape[0] - side) // 2, (picture.shape[1] - side) // 2
    part = picture[top : top + side, left : left + side]
    return part if side == size else _resize(part, size, shrinks=side > size)
