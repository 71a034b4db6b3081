"""Data, degradation, losses, checkpoints and the loop, on pictures that the tests make."""

import io
import json
import tarfile
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from model import color
from model.generator import Generator
from train import checkpoint, data, degrade, loop, losses, stages
from train.colour import Colour
from train.config import PLAIN_L1, RECIPE, STAGES, Film, Phase, TrainConfig, Weights, entered
from train.critic import Critic
from train.paintings import vary

PHASE = Phase(until=1.0, size=64, batch=2)
CPU = torch.device("cpu")


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


def sit(photos, run, minutes, resume=False, config=None, **more):
    shard = photos / "photos-000.tar"
    sources = stages.Sources(photos=(shard,))
    trainer = stages.build(config or quick(), sources, checkpoint.new_generator(), CPU)
    paths = loop.Paths(run=run, samples=shard, **more)
    return list(loop.train(trainer, paths, minutes=minutes, resume=resume, workers=0, stop=loop.StopRequest()))


def colour_trainer(config, photos, critic=None):
    entries = data.find_pictures([photos / "photos-000.tar"])
    task = Colour(config, config.weights, entries, None, critic)
    return loop.Trainer(config, checkpoint.new_generator(), [task], CPU)


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
    trainers = [colour_trainer(quick(), photos) for _ in range(2)]
    rgb, photo = next(data.batches(data.find_pictures([photos / "photos-000.tar"]), PHASE, Film(), seed=1, workers=0))
    trainers[0].set_pace(PHASE, 0.1)
    for _ in range(3):
        trainers[0].step([(rgb, photo)], PHASE)
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
        trainer = colour_trainer(config, photos)
        before = {name: value.clone() for name, value in trainer.generator.trunk.state_dict().items()}
        phase = Phase(until=1.0, size=64, batch=2, trunk_from=first)
        trainer.set_pace(phase, 0.1)
        assert torch.isfinite(trainer.step([(rgb, photo)], phase)["total"])
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
    trainer = colour_trainer(config, photos)
    trainer.set_pace(PHASE, 0.1)
    totals = [trainer.step([(rgb, photo)], PHASE)["total"].item() for _ in range(25)]
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


def test_a_row_of_the_log_holds_one_phase(photos, tmp_path):
    config = replace(quick(), phases=(replace(PHASE, until=0.001), PHASE), log_s=60.0)
    rows = sit(photos, tmp_path, minutes=5 / 60, config=config)
    assert [rows[0]["step"], len(rows)] == [1, 2]


def test_a_checkpoint_without_the_stages_critic_is_refused(photos):
    state = colour_trainer(quick(), photos).state()
    with pytest.raises(ValueError, match="other critics"):
        colour_trainer(quick(), photos, critic=Critic(CPU, learning_rate=1e-3)).restore(state)


def test_the_generator_of_a_checkpoint_is_the_generator(tmp_path):
    generator = Generator()
    checkpoint.save(tmp_path / "c.pt", {"average": generator.state_dict()}, checkpoint.Progress(step=3))
    state, progress = checkpoint.load(tmp_path / "c.pt")
    assert progress.step == 3
    for name, value in generator.state_dict().items():
        assert torch.equal(state["average"][name], value)


def test_weights_that_lack_the_style_path_leave_it_as_it_is(tmp_path):
    from model import weights

    torch.manual_seed(1)
    weights.export(Generator(), tmp_path / "natural.safetensors")
    generator = Generator()
    style = {name: value.clone() for name, value in generator.state_dict().items() if weights.is_style(name)}
    checkpoint.load_weights(generator, tmp_path / "natural.safetensors")
    assert all(torch.equal(generator.state_dict()[name], value) for name, value in style.items())


def test_the_recipe_spends_the_whole_budget_on_stages_that_exist():
    assert set(RECIPE) <= set(STAGES)
    assert sum(RECIPE.values()) == pytest.approx(1)


def test_weights_that_know_the_beginning_enter_a_stage_later():
    colour = STAGES["colour"]
    assert entered(colour, 0.0) == colour
    later = entered(colour, 0.5)
    assert [phase.size for phase in later.phases] == [128, 224]
    assert [phase.until for phase in later.phases] == pytest.approx([0.5, 1.0])
    assert entered(colour, 0.35).phases[0].trunk_from == 3  # the phase that ends there is left out


def test_a_critic_learns_to_tell_real_from_fake():
    torch.manual_seed(0)
    critic = Critic(CPU, learning_rate=1e-3)
    real, fake = torch.rand(8, 3, 32, 32), torch.rand(8, 3, 32, 32) * 0.3
    losses_seen = []
    for _ in range(30):
        critic.judge(real, fake)
        losses_seen.append(critic.learn().item())
    assert losses_seen[-1] < 0.5 * losses_seen[0]
    with torch.no_grad():
        assert critic.net(real).mean() > critic.net(fake).mean()


def test_a_critic_that_saw_nothing_says_so():
    with pytest.raises(ValueError, match="judge first"):
        Critic(CPU, learning_rate=1e-3).learn()


def test_a_critic_alone_leaves_the_generator_as_it_is(photos):
    rgb, photo = next(data.batches(data.find_pictures([photos / "photos-000.tar"]), PHASE, Film(), seed=1, workers=0))
    for kind, moves in (("alone", False), ("joint", True)):
        trainer = colour_trainer(quick(), photos, critic=Critic(CPU, learning_rate=1e-3))
        generator = {name: value.clone() for name, value in trainer.generator.named_parameters()}
        critic = {name: value.clone() for name, value in trainer.critics[0].net.named_parameters()}
        phase = Phase(until=1.0, size=64, batch=2, critic=kind)
        trainer.set_pace(phase, 0.1)
        found = trainer.step([(rgb, photo)], phase)
        assert ("adversarial" in found) and ("critic_0" in found)
        changed = any(not torch.equal(value, generator[name]) for name, value in trainer.generator.named_parameters())
        assert changed == moves
        learnt = trainer.critics[0].net.named_parameters()
        assert any(not torch.equal(value, critic[name]) for name, value in learnt)


def test_an_attack_stays_within_its_size_and_changes_more_than_noise(photos):
    entries = data.find_pictures([photos / "photos-000.tar"])
    rgb = next(data.batches(entries, Phase(until=1, size=64, batch=4), Film(), seed=1, workers=0))[0].float() / 255
    config = TrainConfig(stage="adversarial", attack=2 / 255)
    task = Colour(config, config.weights, entries, None, None)
    generator = checkpoint.new_generator().eval()
    luma = color.split(rgb)[0]
    attacked = task._disturbed(generator, rgb, luma, 4)
    assert (attacked - luma).abs().max() <= 2 / 255 + 1e-6
    noise = (luma + torch.sign(torch.randn_like(luma)) * 2 / 255).clamp(0, 1)
    with torch.no_grad():
        clean, moved, noisy = (generator.natural(x) for x in (luma, attacked, noise))
    assert (moved - clean).abs().mean() > (noisy - clean).abs().mean()
    assert all(parameter.grad is None for parameter in generator.parameters())


def test_some_pictures_are_held_out_by_their_name():
    entries = [data.Entry(path=Path("a.tar"), name=f"set/{index}.webp") for index in range(5000)]
    apart = [entry for entry in entries if data.held_out(entry)]
    assert 60 < len(apart) < 140
    moved = [data.Entry(path=Path("elsewhere.tar"), name=entry.name) for entry in apart]
    assert all(map(data.held_out, moved))


def test_tensorboard_gets_losses_and_sheets(photos, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    rows = sit(photos, tmp_path, minutes=2 / 60, tensorboard=True)
    events = EventAccumulator(str(tmp_path / "events"))
    events.Reload()
    assert [event.step for event in events.Scalars("total")] == [row["step"] for row in rows]
    assert events.Images("sheet")


def test_paintings_are_shown_crisper_and_more_colourful_than_small_reproductions_are() -> None:
    random = np.random.default_rng(5)
    blurred = cv2.GaussianBlur(random.integers(0, 256, (96, 96, 3)).astype(np.uint8), (0, 0), 2)
    shown = [vary(blurred, random) for _ in range(24)]
    assert all(each.shape == blurred.shape and each.dtype == np.uint8 for each in shown)

    def detail(picture: np.ndarray) -> float:
        return float(cv2.Laplacian(picture.mean(2), cv2.CV_64F).std())

    def colour(picture: np.ndarray) -> float:
        return float((picture - picture.mean(2, keepdims=True)).std())

    assert min(detail(each) for each in shown) > 0.9 * detail(blurred) < np.mean([detail(each) for each in shown]) / 1.5
    assert np.mean([colour(each) for each in shown]) > 1.2 * colour(blurred)
    assert np.allclose([each.mean() for each in shown], blurred.mean(), atol=4)  # and as bright as it was
    grey = np.full((64, 64, 3), 90, np.uint8)
    assert (vary(grey, random) == 90).all()
