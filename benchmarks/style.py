"""At what working size should styles be painted, and how much of a film's own detail should a painted picture keep?

    python -m benchmarks.style --exemplars DIR --backbones DIR

Frames of the sample film, enlarged to 960x720 as a scan would be, painted like pictures that the weights never saw.
Style and content are train/likeness.py's, on the whole frame; the exemplar is measured at the frame's height. The last
line on stdout is JSON.
"""

import json
import time
from itertools import islice
from pathlib import Path
from statistics import mean, median
from typing import Annotated

import cv2
import numpy as np
import torch
import typer

from benchmarks import results
from benchmarks.trial import Result
from model.style import exemplar_side
from stream.config import STYLE_SIDE, Settings
from stream.demo import find_samples
from stream.engine import Engine
from stream.frame import Frame
from stream.geometry import Geometry
from stream.looks import Look, code_of
from stream.media import read_frames
from stream.runtime import Runtime, find_release, load_generator, open_runtime
from stream.stills import rgb_of
from train.backbones import Vgg, load_vgg
from train.data import Picture, find_pictures, load_square
from train.likeness import STYLE_TAPS, Exemplar, Likeness, compare
from train.painters import tensor

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

SIDES = (256, 384, 512)
DETAILS = (0.0, 0.5, 1.0)
_SIZE = (960, 720)
_FRAMES = (20, 150, 250)
_EXEMPLARS = 4
DEFINITIONS = {
    "style, content": "train/likeness.py: VGG16, relative squared errors of Gram matrices and of relu3_3",
    "ms": "median wall ms of a frame that comes alone, network and repainting, OpenVINO",
}


@app.command()
def main(
    exemplars: Annotated[Path, typer.Option(help="Folder of pictures never trained on.")],
    backbones: Annotated[Path, typer.Option(help="Folder of the feature nets.")],
    out: Annotated[Path, typer.Option(help="Where to write the result.")] = results.FOLDER / "style.json",
) -> None:
    """Measures every working size and share of detail."""
    vgg = load_vgg(backbones, "vgg16", STYLE_TAPS)
    entries = find_pictures([exemplars])
    chosen = np.linspace(0, len(entries) - 1, _EXEMPLARS).round().astype(int)
    pictures = [load_square(entries[index], _SIZE[1]) for index in chosen]
    rows = [row for side in SIDES for row in measure(side, pictures, vgg)]
    result: Result = {"question": "at what size should styles be painted?"} | results.origin()
    defaults = {"short_side": STYLE_SIDE, "detail": Settings.detail}
    result |= {"size": list(_SIZE), "rows": rows, "defaults": defaults, "definitions": DEFINITIONS}
    results.save(result, out)
    typer.echo(json.dumps(result))


def measure(side: int, exemplars: list[Picture], vgg: Vgg) -> list[Result]:
    """A row for each share of detail at a working size."""
    release = find_release(Settings.weights)
    generator = load_generator(release)
    geometry = Geometry.of(*_SIZE, short_side=side)
    runtime = open_runtime(Settings(), geometry.padded, styled=True).runtime
    frames = sample_frames()
    found: dict[float, list[tuple[Likeness, float]]] = {detail: [] for detail in DETAILS}
    for exemplar in exemplars:
        look = Look(name="exemplar", title="", codes=code_of(exemplar, generator, exemplar_side(side))[None])
        with torch.inference_mode():
            wanted = Exemplar.of(vgg, tensor(exemplar))
        for frame in frames:
            for detail in DETAILS:
                found[detail].append(paint(frame, runtime, geometry, look, detail, vgg, wanted))
    return [
        {
            "short_side": side,
            "detail": detail,
            "style": round(mean(likeness.style for likeness, _ in pairs), 4),
            "content": round(mean(likeness.content for likeness, _ in pairs), 4),
            "ms": round(median(ms for _, ms in pairs), 1),
        }
        for detail, pairs in found.items()
    ]


def sample_frames() -> list[Frame]:
    """Some frames of the sample film, grey, at the size of a scan."""
    frames = []
    for frame in islice(read_frames(find_samples() / "reel.mkv"), max(_FRAMES) + 1):
        large = np.asarray(cv2.resize(frame.luma, _SIZE, interpolation=cv2.INTER_CUBIC), np.uint8)
        frames.append(Frame(planes=(large,), tags=frame.tags))
    return [frames[number] for number in _FRAMES]


def paint(
    frame: Frame, runtime: Runtime, geometry: Geometry, look: Look, detail: float, vgg: Vgg, wanted: Exemplar
) -> tuple[Likeness, float]:
    """How like its frame and the exemplar a painted frame is, and the milliseconds that it took."""
    settings = Settings(steady=0.0, batch=1, detail=detail)
    engine = Engine(runtime, geometry, subsampling=(0, 0), settings=settings, look=look)
    start = time.perf_counter()
    (painted,) = engine.run([frame])
    ms = 1000 * (time.perf_counter() - start)
    with torch.inference_mode():
        made, content = (vgg(tensor(np.asarray(rgb_of(shown, 8), np.uint8))) for shown in (painted, frame))
        return compare(made, content, wanted), ms


if __name__ == "__main__":
    app()
