"""Data, degradation, losses, checkpoints and the loop, on pictures that the tests make."""

import io
import json
import tarfile

import cv2
import numpy as np
import pytest
import torch

from model import color
from model.generator import Generator
from train import checkpoint, data, degrade, loop, losses
from train.config import PLAIN_L1, STAGES, Film, Phase, TrainConfig, Weights

PHASE = Phase(until=1.0, size=64, batch=2)


def picture(seed, size=(140, 180)):
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (5, 6, 3), np.uint8)
    return cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC)


def encoded(image):
    return cv2.imencode(".png", image)[1].tobytes()


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A shard with two sets and a folder of pictures, the folder with a broken, a tiny and a grey one."""
    root = tmp_path_factory.mktemp("photos")
    with tarfile.open(root / "photos-000.tar", "w") as shard:
        for index in range(6):
            content = encoded(picture(index))
            entry = tarfile.TarInfo(f"{'ab'[index % 2]}/{index}.png")
            entry.size = len(content)
            shard.addfile(entry, io.BytesIO(content))
    folder = root / "plain"
    folder.mkdir()
    (folder / "good.png").write_bytes(encoded(picture(9)))
    (folder / "broken.png").write_bytes(b"no picture")
    (folder / "tiny.png").write_bytes(encoded(picture(1, (40, 200))))
    grey = cv2.cvtColor(cv2.cvtColor(picture(2), cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    (folder / "grey.png").write_bytes(encoded(grey))
    return root


def test_pictures_are_found_in_shards_and_folders(photos):
    entries = data.find_pictures([photos / "photos-000.tar"])
    assert [entry.name for entry in entries] == ["a/0.png", "b/1.png", "a/2.png", "b/3.png", "a/4.png", "b/5.png"]
    assert {entry.set_name for entry in entries} == {"a", "b"}
    for index, entry in enumerate(entries):
        assert np.array_equal(entry.read()[:, :, ::-1], picture(index))
    assert len(data.find_pictures([photos])) == 10


def test_a_source_without_pictures_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no pictures found"):
        data.find_pictures([tmp_path])


def test_the_check_names_what_it_refuses(photos):
    summary = data.check(data.find_pictures([photos]))
    assert (summary.pictures, len(summary.kept)) == (10, 7)
    assert (summary.broken, summary.tiny, summary.grey) == (1, 1, 1)
    assert any("1 broken, 1 tiny, 1 near-grey" in line for line in summary.lines())


def test_batches_have_the_phases_shape(photos):
    entries = data.find_pictures([photos / "photos-000.tar"])
    rgb, photo = next(data.batches(entries, PHASE, Film(card=0.0), seed=1, workers=0))
    assert rgb.shape == (2, 3, 64, 64)
    assert rgb.dtype == torch.uint8
    assert photo.tolist() == [1.0, 1.0]


def test_title_cards_are_grey():
    random = np.random.default_rng(0)
    for _ in range(30):
        card = data.title_card(64, random)
        assert card.shape == (64, 64, 3)
        assert (card.max(2) == card.min(2)).all()


def test_film_luma_is_grey_in_range_and_of_the_same_scene():
    torch.manual_seed(0)
    rgb = torch.nn.functional.interpolate(torch.rand(8, 3, 8, 8), size=64, mode="bicubic").clamp(0, 1)
    luma = degrade.film_luma(rgb, Film())
    assert luma.shape == (8, 1, 64, 64)
    assert luma.min() >= 0
    assert luma.max() <= 1
    clean = color.split(rgb)[0]
    for made, given in zip(luma.flatten(1), clean.flatten(1), strict=True):
        assert torch.corrcoef(torch.stack((made, given)))[0, 1] > 0.3


def test_no_degradation_leaves_the_luma_alone():
    rgb = torch.rand(2, 3, 32, 32) * 0.9 + 0.05
    film = Film(emulsion=0, gamma=0, gain=(1, 1), offset=(0, 0), grain=0, soft=0, damage=0)
    torch.manual_seed(1)  # the lamp's fall-off is the one thing without a switch: drawn off here
    made = torch.cat([degrade.film_luma(rgb, film) for _ in range(20)])
    clean = color.split(rgb)[0].repeat(20, 1, 1, 1)
    assert (made - clean).abs().flatten(1).amax(1).min() < 1e-5


def test_hints_are_true_colours_where_they_are_known():
    chroma = torch.rand(16, 2, 32, 32) - 0.5
    hinted, known = degrade.hints(chroma, 1.0)
    assert set(known.unique().tolist()) <= {0.0, 1.0}
    assert torch.equal(hinted, chroma * known)
    assert degrade.hints(chroma, 0.0)[1].sum() == 0


def test_the_truth_has_no_loss_and_more_error_has_more():
    truth = 0.2 * (torch.rand(4, 2, 32, 32) - 0.5)
    luma, photo = torch.rand(4, 1, 32, 32), torch.tensor([1.0, 1.0, 0.0, 1.0])
    weights = Weights(perceptual=0.0)

    def total(error):
        found = losses.colour_losses(truth + error, truth, luma, photo, weights=weights, vgg=None)
        assert set(found) == {"chroma", "gradient", "colorfulness"}
        return sum(value.item() for value in found.values())

    assert total(torch.zeros(())) == 0
    noise = torch.randn(4, 2, 32, 32)
    assert total(0.01 * noise) < total(0.05 * noise)


def test_the_trunk_brings_its_imagenet_weights():
    trunk = checkpoint.new_generator().trunk
    assert trunk.stem.weight.shape == (32, 1, 3, 3)
    # Depthwise filters of a trained network are far from the initialisation's scale.
    assert trunk.stages[6][0].norm_project.running_var.std() > 0.1


def test_imagenet_knowledge_is_in_the_features():
    # Translating a picture by the stride moves deep features along: padding and order of the layers are right.
    trunk = checkpoint.new_generator().trunk.eval()
    luma = torch.from_numpy(picture(3, (224, 224))[:, :, 1].copy())[None, None].float() / 255
    moved = torch.roll(luma, 32, 3)
    with torch.no_grad():
        here, there = trunk(luma)[2], trunk(moved)[2]
    inner = (slice(None), slice(None), slice(4, -4))
    difference = (here[inner][..., 4:-8] - there[inner][..., 8:-4]).abs().mean()
    assert difference < 0.15 * here.abs().mean()


def quick(minutes_phase=PHASE):
    weights = Weights(perceptual=0.0)
    return TrainConfig(stage="colour", phases=(minutes_phase,), weights=weights, checkpoint_s=0.5, log_s=0.3)


def sit(photos, run, minutes, resume=False, config=None):
    entries = data.find_pictures([photos / "photos-000.tar"])
    paths = loop.Paths(run=run, samples=photos / "photos-000.tar")
    rows = loop.train(
        config or quick(),
        entries,
        paths,
        minutes=minutes,
        resume=resume,
        device=torch.device("cpu"),
        workers=0,
        stop=loop.StopRequest(),
    )
    return list(rows)


def test_a_stage_trains_saves_draws_and_resumes(photos, tmp_path):
    sit(photos, tmp_path, minutes=2 / 60)
    state, progress = checkpoint.load(tmp_path / "checkpoint.pt")
    assert progress.step >= 1
    assert progress.spent_s >= 2
    sheet = cv2.imread(str(next(tmp_path.glob("sheet-*.png"))))
    assert sheet.shape[1] == 6 * 256
    sit(photos, tmp_path, minutes=4 / 60, resume=True)
    later, further = checkpoint.load(tmp_path / "checkpoint.pt")
    assert further.step > progress.step
    assert further.spent_s >= 4
    assert not torch.equal(later["generator"]["chroma_head.weight"], state["generator"]["chroma_head.weight"])


def test_the_running_average_goes_on_after_a_resume(photos):
    trainers = [loop.Trainer(quick(), checkpoint.new_generator(), None, torch.device("cpu")) for _ in range(2)]
    rgb, photo = next(data.batches(data.find_pictures([photos / "photos-000.tar"]), PHASE, Film(), seed=1, workers=0))
    trainers[0].set_pace(PHASE, 0.1)
    for _ in range(3):
        trainers[0].step(rgb, photo)
    trainers[1].restore(trainers[0].state())
    saved = trainers[0].average.module.state_dict()["chroma_head.weight"].clone()
    with torch.no_grad():
        trainers[1].generator.chroma_head.weight += 1
    trainers[1].average.update_parameters(trainers[1].generator)
    moved = (trainers[1].average.module.state_dict()["chroma_head.weight"] - saved).abs().max()
    assert moved < 0.02  # 1 - decay of a step of 1, not the step itself


def test_a_batch_of_title_cards_alone_has_a_loss():
    chroma = torch.zeros(2, 2, 8, 8)
    found = losses.colour_losses(chroma, chroma, chroma[:, :1], torch.zeros(2), weights=Weights(perceptual=0), vgg=None)
    assert all(torch.isfinite(value) for value in found.values())


def test_a_frozen_trunk_stays_as_it_is_and_a_freed_one_moves(photos):
    entries = data.find_pictures([photos / "photos-000.tar"])
    rgb, photo = next(data.batches(entries, PHASE, Film(card=0.0), seed=1, workers=0))
    for first, moves in ((7, False), (3, True)):
        config = TrainConfig(stage="colour", weights=PLAIN_L1, hinted=0.0)
        trainer = loop.Trainer(config, checkpoint.new_generator(), None, torch.device("cpu"))
        before = {name: value.clone() for name, value in trainer.generator.trunk.state_dict().items()}
        trainer.set_pace(Phase(until=1.0, size=64, batch=2, trunk_from=first), 0.1)
        assert torch.isfinite(trainer.step(rgb, photo)["total"])
        changed = {
            name.split(".")[1]
            for name, value in trainer.generator.trunk.state_dict().items()
            if not torch.equal(value, before[name]) and name.startswith("stages")
        }
        assert changed == ({"3", "4", "5", "6"} if moves else set())


def test_training_lowers_the_loss(photos):
    entries = data.find_pictures([photos / "photos-000.tar"])
    source = data.batches(entries, Phase(until=1, size=64, batch=4, crop=(1, 1)), Film(card=0.0), seed=1, workers=0)
    rgb, photo = next(source)
    config = TrainConfig(stage="colour", weights=PLAIN_L1, hinted=0.0, film=Film(grain=0.0, damage=0.0, border=0.0))
    trainer = loop.Trainer(config, checkpoint.new_generator(), None, torch.device("cpu"))
    trainer.set_pace(Phase(until=1.0, size=64, batch=4), 0.1)
    totals = [trainer.step(rgb, photo)["total"].item() for _ in range(25)]
    assert np.mean(totals[-5:]) < 0.7 * np.mean(totals[:3])


def test_a_checkpoint_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ValueError, match="no checkpoint there"):
        checkpoint.load(tmp_path / "checkpoint.pt")


def test_a_loss_that_needs_the_feature_nets_is_refused_without_them(photos, tmp_path):
    with pytest.raises(ValueError, match="--backbones"):
        sit(photos, tmp_path, 0.01, config=STAGES["colour"])


def test_the_log_is_json_lines(photos, tmp_path):
    config = quick()
    rows = sit(photos, tmp_path, minutes=2 / 60, config=config)
    logged = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert logged == rows
    assert {"step", "done", "eta_s", "pictures_per_s", "total", "chroma"} <= set(logged[0])


def test_the_generator_of_a_checkpoint_is_the_generator(tmp_path):
    generator = Generator()
    checkpoint.save(tmp_path / "c.pt", {"average": generator.state_dict()}, checkpoint.Progress(step=3))
    state, progress = checkpoint.load(tmp_path / "c.pt")
    assert progress.step == 3
    for name, value in generator.state_dict().items():
        assert torch.equal(state["average"][name], value)
