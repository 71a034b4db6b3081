"""Looks: named ones, those read off pictures, and what `stylize` and `colorize --style` make of films and stills."""

import json
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pytest

from model import weights
from model.style import EXEMPLAR_SIDES, PALETTE, exemplar_side
from stream.colorize import colorize, stylize
from stream.config import Settings
from stream.errors import InputError, OutputError, UsageError
from stream.gallery import draw_looks
from stream.looks import code_of, exemplar, find_look, named_looks, read_look
from stream.media import probe, read_frames
from stream.runtime import find_release, load_generator
from stream.stills import read_pictures

Clip = Callable[..., Path]
QUICK = Settings(short_side=64, runtime="torch", steady=0.0)


@pytest.fixture(scope="module")
def release() -> weights.Release:
    return find_release(Settings.weights)


@pytest.fixture(scope="module")
def generator(release: weights.Release):  # type: ignore[no-untyped-def]
    return load_generator(release)


def painting(path: Path, size: tuple[int, int] = (300, 420), seed: int = 1) -> Path:
    coarse = np.random.default_rng(seed).integers(0, 256, (9, 12, 3), np.uint8)
    cv2.imwrite(str(path), cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC))
    return path


def coloured_planes(number: int) -> list[np.ndarray]:
    luma = np.tile(np.linspace(40, 200, 64).astype(np.uint8), (48, 1))
    return [luma, np.full((24, 32), 100 + number, np.uint8), np.full((24, 32), 160, np.uint8)]


def test_named_looks_have_a_name_a_title_and_a_code(release: weights.Release) -> None:
    looks = named_looks(release)
    assert len(looks) >= 8
    assert len({look.name for look in looks}) == len(looks)
    for look in looks:
        assert look.title and look.codes.shape == (len(EXEMPLAR_SIDES), release.config.code_size)
        assert "." not in look.name and "/" not in look.name  # else it would be taken for a path


def test_a_name_that_is_no_look_is_refused_with_the_choices(release, generator) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UsageError, match=named_looks(release)[0].name):
        find_look("nonsense", release, lambda: generator)


def test_a_dot_or_a_slash_makes_it_a_path(release, generator, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InputError, match="not there"):
        find_look("starry.jpg", release, lambda: generator)
    look = find_look(str(painting(tmp_path / "art.png")), release, lambda: generator)
    assert np.square(look.codes[:, PALETTE:]).mean(1) == pytest.approx(1, abs=1e-3)


def test_a_file_that_is_no_picture_is_refused(release, generator, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "art.jpg").write_bytes(b"no picture")
    with pytest.raises(InputError):
        find_look(str(tmp_path / "art.jpg"), release, lambda: generator)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif"])
def test_the_same_picture_gives_the_same_look_in_every_format(release, generator, tmp_path: Path, suffix: str) -> None:  # type: ignore[no-untyped-def]
    first = find_look(str(painting(tmp_path / "art.png")), release, lambda: generator)
    again = find_look(str(painting(tmp_path / f"again{suffix}")), release, lambda: generator)
    assert np.corrcoef(first.code_for(256), again.code_for(256))[0, 1] > 0.97


def test_other_pictures_give_other_looks(release, generator, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    codes = [
        find_look(str(painting(tmp_path / f"{seed}.png", seed=seed)), release, lambda: generator).code_for(256)
        for seed in (1, 2)
    ]
    assert np.corrcoef(*codes)[0, 1] < 0.999


@pytest.mark.parametrize("size", [(10, 10), (33, 900), (900, 33), (256, 256), (2000, 700), (1, 1)])
def test_exemplars_of_any_shape_fit_the_encoder(size: tuple[int, int]) -> None:
    fitted = exemplar(np.zeros((*size, 3), np.uint8), 160)
    assert min(fitted.shape[:2]) == 160
    assert max(fitted.shape[:2]) <= 320
    assert all(side % 32 == 0 for side in fitted.shape[:2])


def test_an_exemplar_is_looked_at_as_large_as_the_picture_that_is_painted_is(generator, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    picture = np.random.default_rng(2).integers(0, 256, (400, 400, 3)).astype(np.uint8)
    cv2.imwrite(str(tmp_path / "art.png"), picture)
    look = read_look(tmp_path / "art.png", generator)
    for short_side, side in ((224, 128), (256, 160), (384, 224), (512, 288), (32, 64), (4096, 352)):
        assert exemplar_side(short_side) == side
        assert np.allclose(look.code_for(short_side), code_of(picture[:, :, ::-1], generator, side), atol=0.02)
    assert not np.allclose(look.code_for(256), look.code_for(512), atol=0.1)


def test_a_film_is_stylised_with_every_frame_and_time(clip: Clip, tmp_path: Path, release: weights.Release) -> None:
    film = clip("clip.mkv", pts=(0, 3, 4, 9), planes=coloured_planes, audio=["aac"])
    look = named_looks(release)[0].name
    report = stylize(film, tmp_path / "out.mkv", style=look, settings=QUICK)
    assert (report.frames_in, report.frames_out, report.exit_code) == (4, 4, 0)
    before, after = list(read_frames(film)), list(read_frames(tmp_path / "out.mkv"))
    assert [frame.time_s for frame in after] == [frame.time_s for frame in before]
    assert all(not np.array_equal(a.luma, b.luma) for a, b in zip(after, before, strict=True))
    sidecar = json.loads((tmp_path / "out.mkv.json").read_text())
    assert look in sidecar["provenance"]
    assert sidecar["settings"]["source_colours"] is True


def test_a_grey_film_is_coloured_and_painted_at_once(clip: Clip, tmp_path: Path) -> None:
    art = painting(tmp_path / "art.png")
    plain, fused = tmp_path / "plain.mkv", tmp_path / "fused.mkv"
    film = clip("reel.mkv", pts=range(3), codec="ffv1")
    colorize(film, plain, settings=QUICK)
    colorize(film, fused, settings=Settings(short_side=64, runtime="torch", style=str(art), strength=0.5))
    for natural, painted in zip(read_frames(plain), read_frames(fused), strict=True):
        assert not np.array_equal(natural.luma, painted.luma)
        assert not np.array_equal(natural.planes[1], painted.planes[1])


def test_strength_0_is_the_natural_look_bit_for_bit(clip: Clip, tmp_path: Path, release: weights.Release) -> None:
    film = clip("reel.mkv", pts=range(3), codec="ffv1")
    natural, none = tmp_path / "natural.mkv", tmp_path / "none.mkv"
    colorize(film, natural, settings=QUICK)
    style = named_looks(release)[0].name
    colorize(film, none, settings=Settings(short_side=64, runtime="torch", steady=0.0, style=style, strength=0.0))
    for first, second in zip(read_frames(natural), read_frames(none), strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(first.planes, second.planes, strict=True))


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif"])
def test_pictures_in_colour_are_stylised(tmp_path: Path, suffix: str) -> None:
    photo, art = painting(tmp_path / f"photo{suffix}", (90, 120), seed=3), painting(tmp_path / "art.png")
    target = tmp_path / "out.png"
    assert stylize(photo, target, style=str(art), settings=QUICK).frames_out == 1
    made = cv2.imread(str(target))
    assert made.shape == (90, 120, 3)
    untouched = tmp_path / "same.png"
    stylize(photo, untouched, style=str(art), strength=0.0, settings=QUICK)
    # No strength: the luma is the picture's own, and its colours, which went through the working size, are near it.
    difference = cv2.absdiff(cv2.imread(str(untouched)), cv2.imread(str(photo)))
    assert difference.mean() < 12 < cv2.absdiff(made, cv2.imread(str(photo))).mean() + 12


def test_the_colours_of_an_rgb_picture_are_read(tmp_path: Path) -> None:
    flat = np.empty((40, 50, 3), np.uint8)
    flat[:] = (30, 60, 200)  # BGR: a red
    cv2.imwrite(str(tmp_path / "red.png"), flat)
    (frame,) = read_pictures(tmp_path / "red.png", luma="bt601", keep_colour=True)
    y, cb, cr = (int(plane[0, 0]) for plane in frame.planes)
    assert (y, cb, cr) == (98, 89, 200)
    (grey,) = read_pictures(tmp_path / "red.png", luma="bt601")
    assert len(grey.planes) == 1


def test_the_sheet_shows_every_look(tmp_path: Path, release: weights.Release) -> None:
    cv2.imwrite(str(tmp_path / "photo.png"), np.tile(np.arange(96, dtype=np.uint8) * 2, (64, 1)))
    draw_looks(release, tmp_path / "looks.png", tmp_path / "photo.png")
    sheet = cv2.imread(str(tmp_path / "looks.png"))
    rows = -(-(2 + len(release.looks)) // 4)
    assert sheet.shape == (rows * (256 + 30), 4 * 384, 3)
    with pytest.raises(OutputError, match="exists"):
        draw_looks(release, tmp_path / "looks.png", tmp_path / "photo.png")


def test_the_sheet_shows_a_film_as_a_player_does(tmp_path: Path, clip: Clip, release: weights.Release) -> None:
    film = clip("film.mp4", size=(64, 48), pts=range(3), rotation=90)
    draw_looks(release, tmp_path / "looks.png", film)
    rows = -(-(2 + len(release.looks)) // 4)
    assert cv2.imread(str(tmp_path / "looks.png")).shape == (rows * (512 + 30), 4 * 384, 3)
    turned = cv2.imread(str(tmp_path / "looks.png"))[:512, :384, 0].astype(float)
    shown = np.ascontiguousarray(np.rot90(next(islice(read_frames(film), 1, None)).luma, probe(film).rotation // 90))
    assert np.corrcoef(cv2.resize(shown, (384, 512)).ravel(), turned.ravel())[0, 1] > 0.85  # the other way round: 0.54
