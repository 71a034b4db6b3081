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
from stream.frame import ColorTags, Frame
from train import checkpoint, evaluate
from train.backbones import Lpips, SqueezeNet
from train.data import find_pictures
from train.evaluate import EvaluateConfig

SIDE = 64
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
    return folder


@pytest.fixture(scope="module")
def generator():
    """Random weights whose colours can be seen."""
    torch.manual_seed(1)
    generator = Generator().eval()
    torch.nn.init.normal_(generator.chroma_head.weight, std=0.5)
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
    released.export(Generator(), out / "other.safetensors")
    config = EvaluateConfig(
        photos=(photos,),
        baseline=out / "other.safetensors",
        training_chroma=(-0.02, 0.02),
        backbones=backbones,
        clips=(film,),
        robustness=True,
        out=out / "sheets",
        side=SIDE,
        attacked=2,
        pairs=2,
    )
    return evaluate.evaluate(config, models={"ours": generator})


def row_of(report, name):
    return next(row for row in report["rows"] if row["name"] == name)


def test_every_row_is_there_or_named_as_missing(report):
    names = ["grey", "mean chroma", "true chroma x0.5", "true chroma, half size", "plain L1", "ours"]
    assert [row["name"] for row in report["rows"]] == names
    assert report["missing_rows"] == [{"name": "previous", "reason": "no file was given (--previous)"}]
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


def test_curve_passes_through_the_row(report):
    ours, points = row_of(report, "ours"), report["curves"]["ours"]
    assert [point["gain"] for point in points] == list(evaluate.GAINS)
    middle = points[evaluate.GAINS.index(1.0)]
    assert (middle["psnr"], middle["cf"]) == pytest.approx((ours["psnr"], ours["cf"]), abs=2e-4)
    levels = [point["cf"] for point in points]
    assert levels == sorted(levels)
    assert set(report["curves"]) == {"plain L1", "ours"}


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
    names = ["grey", "true colours", "ours", "ours, smoothed"]
    for clip in (pan, reel):
        rows = {row["name"]: row for row in clip["rows"]}
        assert list(rows) == names
        assert rows["grey"]["e_warp_x1e3"]["1"] == rows["grey"]["cdc_x1e3"]["1"] == 0
        assert rows["ours"]["cf"] > 1
        assert rows["ours"]["e_warp_x1e3"]["1"] > 0
    true = {row["name"]: row for row in pan["rows"]}["true colours"]
    assert set(true["e_warp_x1e3"].values()) == {0}
    assert {row["e_warp_x1e3"]["10"] for row in reel["rows"]} == {None}


def test_attacks_are_compared_with_noise(report):
    (row,) = report["robustness"]
    assert row["pictures"] == 2
    for level in evaluate.ATTACKS:
        found = row[f"{level}"]
        assert found["gain"] == pytest.approx(found["attack"] - found["noise"], abs=2e-4)
        assert found["attack"] > found["noise"] > 0


def test_sheets_and_plot_are_drawn(report, tmp_path_factory):
    folder = next(tmp_path_factory.getbasetemp().glob("out*/sheets"))
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["films-ours.png", "photos-ours.png", "psnr-cf.png", "worst-ours.png"]
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
    ]
    assert "lpips" not in found["rows"][0]
    assert found["robustness"] is None


def test_grey_pictures_alone_are_refused(photos, tmp_path):
    cv2.imwrite(str(tmp_path / "grey.png"), np.full((SIDE, SIDE, 3), 90, np.uint8))
    with pytest.raises(ValueError, match="0 colourful pictures"):
        evaluate.read_truth(EvaluateConfig(photos=(tmp_path,), side=SIDE), QUIET)


def test_mean_chroma_counts_every_picture_alike(tmp_path):
    for name, side, blue in (("small", 8, 255), ("large", 64, 0)):
        picture = np.zeros((side, side, 3), np.uint8)
        picture[..., 0] = blue  # OpenCV writes blue first
        cv2.imwrite(str(tmp_path / f"{name}.png"), picture)
    assert evaluate.mean_chroma(find_pictures([tmp_path])) == pytest.approx((0.25, -0.114 / 1.402 / 2), abs=1e-4)


def test_generators_are_loaded_from_safetensors_and_checkpoints(generator, tmp_path):
    digest = released.export(generator, tmp_path / "a.safetensors")
    checkpoint.save(tmp_path / "b.pt", {"average": generator.state_dict()}, checkpoint.Progress())
    luma = torch.rand(1, 1, 64, 64)
    with torch.no_grad():
        expected = generator.natural(luma)
        for name in ("a.safetensors", "b.pt"):
            loaded, sha256 = evaluate.load_generator(tmp_path / name)
            assert torch.allclose(loaded.natural(luma), expected, atol=0.02)
            assert len(sha256) == 64
    assert evaluate.load_generator(tmp_path / "a.safetensors")[1] == digest


def test_a_strange_checkpoint_is_refused(tmp_path):
    checkpoint.save(tmp_path / "b.pt", {"average": {"a": torch.zeros(1)}}, checkpoint.Progress())
    with pytest.raises(ValueError, match="no checkpoint of this network"):
        evaluate.load_generator(tmp_path / "b.pt")


def test_films_of_a_folder_leave_out_what_training_may_use(tmp_path):
    for name in ("sam2_01_dog.mp4", "sam2_02_cups.mp4", "note.txt"):
        (tmp_path / name).touch()
    assert [path.name for path in evaluate.find_films([tmp_path])] == ["sam2_02_cups.mp4"]
    with pytest.raises(ValueError, match="no films found"):
        evaluate.find_films([tmp_path / "nowhere"])


@pytest.mark.parametrize(
    ("full", "depth", "black", "white"), [(True, 8, 0, 255), (False, 8, 16, 235), (False, 10, 64, 940)]
)
def test_luma_covers_its_range(full, depth, black, white):
    plane = np.full((40, 60), black, np.uint8 if depth == 8 else np.uint16)
    plane[:, 30:] = white
    luma, chroma = evaluate.working_planes(Frame(planes=(plane,), depth=depth, tags=ColorTags(full_range=full)), 64)
    assert luma.shape == (1, 64, 96)
    assert chroma.shape == (2, 64, 96)
    assert (luma.min(), luma.max()) == (0, 1)
    assert not chroma.any()


@pytest.mark.parametrize(
    ("matrix", "cb", "cr"), [("bt601", 0.25, -0.25), ("bt709", 0.25 * 1.8556 / 1.772, -0.25 * 1.5748 / 1.402)]
)
def test_chroma_is_scaled_from_the_matrix_of_the_film(matrix, cb, cr):
    luma = np.full((64, 64), 100, np.uint8)
    planes = (luma, np.full((32, 32), 128 + 56, np.uint8), np.full((32, 32), 128 - 56, np.uint8))
    _, chroma = evaluate.working_planes(Frame(planes=planes, tags=ColorTags(matrix=matrix)), 64)
    assert chroma.mean((1, 2)).tolist() == pytest.approx([cb, cr], abs=1e-4)


def test_clip_knows_its_cut_and_its_colours(film):
    clip = evaluate.read_clip(film, EvaluateConfig(photos=(), side=SIDE))
    assert list(clip.shots) == [0] * 8 + [1] * 4
    assert clip.truth is not None
    first = evaluate.read_clip(film, EvaluateConfig(photos=(), side=SIDE, frames=1))
    assert list(first.shots) == [0]
