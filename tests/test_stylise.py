"""The style path's losses, data and steps, on pictures that the tests make."""

import cv2
import numpy as np
import pytest
import torch

from model import color
from model.generator import Generator, GeneratorConfig
from model.style import PALETTE
from train import losses, stages, stylise
from train.backbones import Vgg
from train.config import STAGES, Film, Phase, StyleWeights, TrainConfig
from train.critic import Critic
from train.data import find_pictures
from train.loop import Trainer
from train.paintings import Pairs, painting_batches
from train.stylise import Style, StyleSources
from train.teacher import SIDE

CPU = torch.device("cpu")
SMALL = GeneratorConfig(style_widths=(8, 16), strokes=1, style_hidden=16, code_size=16)


def vgg():
    """A feature net of the real one's shape; its weights are random, and so are the features."""
    torch.manual_seed(0)
    return Vgg(losses.STYLE_TAPS, padding="reflect", normalised=True).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    for index in range(4):
        coarse = np.random.default_rng(index).integers(0, 256, (5, 6, 3), np.uint8)
        cv2.imwrite(str(folder / f"{index}.png"), cv2.resize(coarse, (300, 260), interpolation=cv2.INTER_CUBIC))
    return folder


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """Pairs as the teacher would write them: the photograph, its negative, a painting."""
    folder = tmp_path_factory.mktemp("pairs")
    for index in range(3):
        coarse = np.random.default_rng(index).integers(0, 256, (6, 6, 3), np.uint8)
        photo = cv2.resize(coarse, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(folder / f"{index:06d}.jpg"), np.hstack((photo, 255 - photo, np.roll(photo, 50, 0))))
    return folder


def style_task(pictures, pairs=None, critic=None):
    config = TrainConfig(stage="style", weights=None, style=StyleWeights(), film=Film())
    entries = find_pictures([pictures])
    sources = StyleSources(photos=entries, paintings=entries, pairs=pairs)
    task = Style(config, config.style, sources, vgg(), critic)
    return Trainer(config, Generator(SMALL), [task], CPU)


def test_a_picture_has_its_own_style_and_content():
    net, picture = vgg(), torch.rand(2, 3, 64, 64)
    taps = net(picture)
    wanted = {tap: losses.statistics(value) for tap, value in taps.items()}
    found = losses.style_losses(taps, wanted, taps[losses.STYLE_TAPS[-1]], weights=StyleWeights())
    assert all(value < 1e-4 for value in found.values())


def test_style_is_blind_to_place_and_content_is_not():
    net, picture = vgg(), torch.rand(1, 3, 64, 64)
    taps, mirrored = net(picture), net(picture.flip(3))
    wanted = {tap: losses.statistics(value) for tap, value in taps.items()}
    found = losses.style_losses(mirrored, wanted, taps[losses.STYLE_TAPS[-1]], weights=StyleWeights())
    other = losses.style_losses(
        net(torch.rand(1, 3, 64, 64) ** 3), wanted, taps[losses.STYLE_TAPS[-1]], weights=StyleWeights()
    )
    assert found["style"] < 0.2 * other["style"]
    assert found["content"] > 0


def test_a_spot_of_white_costs_more_than_strokes_of_the_same_size():
    toned = torch.full((1, 1, 64, 64), 0.5)
    strokes, spot = toned.clone(), toned.clone()
    strokes[..., ::2, :] += 0.2
    strokes[..., 1::2, :] -= 0.2
    spot[..., :16, :16] += 0.5
    assert losses.tone_loss(toned, toned) == 0 and losses.tone_loss(strokes, toned) < 1e-6
    assert losses.tone_loss(spot, toned) > 0.01


def test_a_blank_painting_does_not_outweigh_the_others():
    wanted = {"tap": losses.statistics(torch.zeros(1, 8, 16, 16))}
    made, photo = (
        {"tap": torch.ones(1, 8, 16, 16), losses.STYLE_TAPS[-1]: torch.ones(1, 8, 4, 4)},
        torch.ones(1, 8, 4, 4),
    )
    found = losses.style_losses(made, wanted, photo, weights=StyleWeights())
    assert 1 < found["style"] < 100


def test_what_was_painted_too_bright_can_come_back():
    decoder = Generator(SMALL).style_decoder
    raw = torch.tensor([1.5, 0.5], requires_grad=True)
    decoder.train()._limited(raw, 0, 1).sum().backward()
    assert raw.grad.tolist() == [1, 1] and decoder._limited(raw, 0, 1).tolist() == [1, 0.5]
    assert torch.equal(decoder.eval()._limited(raw, 0, 1), raw.clamp(0, 1))


def test_statistics_are_those_of_the_features():
    features = torch.rand(2, 5, 7, 9).contiguous(memory_format=torch.channels_last)
    found = losses.statistics(features)
    flat = features.flatten(2)
    assert torch.allclose(found.mean, flat.mean(2), atol=1e-5)
    assert torch.allclose(found.deviation, flat.std(2, correction=0), atol=1e-2)
    assert torch.allclose(found.gram, flat @ flat.transpose(1, 2) / 63, atol=1e-5)


def test_pairs_are_cut_at_the_same_place(pairs):
    photo, painted, painting = Pairs(pairs, 96)[1]
    assert photo.shape == painted.shape == (3, 96, 96)
    assert painting.shape == (3, 224, 224)
    assert (photo.int() + painted.int() - 255).abs().float().mean() < 6  # JPEG


def test_a_folder_without_pairs_is_refused(tmp_path):
    with pytest.raises(ValueError, match="train pairs"):
        Pairs(tmp_path, 96)


def test_paintings_come_in_batches(pictures):
    batch = next(painting_batches(find_pictures([pictures]), 3, seed=1, workers=0))
    assert batch.shape == (3, 3, 224, 224)
    assert batch.dtype == torch.uint8


@pytest.mark.parametrize("teacher", [True, False])
def test_a_step_trains_the_style_path_alone(pictures, pairs, teacher):
    trainer = style_task(pictures, pairs)
    phase = Phase(until=1.0, size=64, batch=3, parts="style", teacher=teacher)
    trainer.set_pace(phase, 0.1)
    before = {name: value.clone() for name, value in trainer.generator.state_dict().items()}
    batch = next(trainer.tasks[0].source(phase, seed=1, workers=0))
    found = trainer.step([batch], phase)
    assert torch.isfinite(found["total"])
    assert ("teacher" in found) == teacher
    after = trainer.generator.state_dict()
    changed = {name.split(".")[0] for name, value in before.items() if not torch.equal(value, after[name])}
    assert changed == {"style_decoder"}


def test_training_brings_a_picture_nearer_to_the_style(pictures):
    trainer = style_task(pictures)
    phase = Phase(until=1.0, size=64, batch=2, parts="style", learning_rate=3e-3)
    trainer.set_pace(phase, 0.01)
    batch = next(trainer.tasks[0].source(phase, seed=1, workers=0))
    totals = [trainer.step([batch], phase)["total"].item() for _ in range(30)]
    assert np.mean(totals[-5:]) < 0.9 * np.mean(totals[:3])


def test_the_fused_stage_has_a_critic_for_each_task(pictures):
    critic = Critic(CPU, learning_rate=1e-3, code_size=SMALL.code_size)
    trainer = style_task(pictures, critic=critic)
    phase = Phase(until=1.0, size=64, batch=2, parts="all", critic="joint")
    trainer.set_pace(phase, 0.1)
    batch = next(trainer.tasks[0].source(phase, seed=1, workers=0))
    found = trainer.step([batch], phase)
    assert {"style_adversarial", "critic_0"} <= set(found)
    assert all(torch.isfinite(value) for value in found.values())


def test_half_of_the_pictures_come_in_colour(pictures):
    task = style_task(pictures).tasks[0]
    photo = torch.rand(4, 3, 32, 32)
    luma, chroma, known = task._seen(photo)
    assert known.flatten(1).mean(1).tolist() == [1, 0, 1, 0]
    true_luma, true_chroma = color.split(photo)
    assert torch.equal(luma[::2], true_luma[::2])
    assert torch.equal(chroma[::2], true_chroma[::2])
    assert not chroma[1::2].any()


def test_what_the_generator_makes_is_put_together():
    torch.manual_seed(4)
    rgb = torch.rand(1, 3, 8, 8).repeat_interleave(4, 2).repeat_interleave(4, 3)
    luma, chroma = color.split(rgb)
    again = stylise.assemble(torch.nn.functional.avg_pool2d(chroma, 2), luma)
    assert (again - rgb).abs().mean() < 0.07


def test_the_style_stage_names_what_it_lacks(pictures):
    with pytest.raises(ValueError, match="--paintings"):
        stages.build(STAGES["style"], stages.Sources(photos=(pictures,)), Generator(), CPU)
    with pytest.raises(ValueError, match="--backbones"):
        stages.build(STAGES["style"], stages.Sources(photos=(pictures,), paintings=(pictures,)), Generator(), CPU)
    task = style_task(pictures).tasks[0]
    with pytest.raises(ValueError, match="--pairs"):
        next(task.source(Phase(until=1, size=64, batch=2, teacher=True), seed=1, workers=0))


def test_the_codes_are_settled_on_paintings(pictures, monkeypatch):
    monkeypatch.setattr(stylise, "SETTLED", 32)
    trainer = style_task(pictures)
    trainer.prepare()
    generator = trainer.generator
    batch = next(painting_batches(find_pictures([pictures]), 8, seed=3, workers=0))
    codes = stylise.encode(generator, batch.float() / 255)[:, PALETTE:]
    assert torch.allclose(codes.square().mean(1), torch.ones(8), atol=1e-4)
    assert codes.mean(0).abs().mean() < 0.8  # what all have in common was taken out
    for name, value in generator.state_dict().items():
        assert torch.equal(value, trainer.average.module.state_dict()[name])


def test_too_few_paintings_to_settle_codes_are_refused():
    with pytest.raises(ValueError, match="at least are needed"):
        Generator(SMALL).style_encoder.settle(torch.rand(4, 486))
