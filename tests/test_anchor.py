import torch
from test_motion import texture

from model import anchor, temporal

SIZE = (32, 48)  # of the guide


def past_of(chroma, guide, frames):
    return temporal.Past(chroma, None, guide, torch.full_like(guide, frames), temporal.vividness(chroma))


def test_memory_is_of_constant_size_and_holds_only_what_is_new():
    guide, chroma = texture(1, SIZE), torch.full((1, 2, 64, 96), 0.1)
    memory = anchor.empty(guide)
    shapes = [part.shape for part in memory]
    for seed in (1, 1, 2, 3, 4, 5):
        guide = texture(seed, SIZE)
        past = past_of(chroma, guide, 20.0)
        _, known = anchor.recall(memory, past, chroma, None, guide)
        memory = anchor.keep(memory, past, guide, known)
        assert [part.shape for part in memory] == shapes
        if seed == 1:
            assert memory.used.sum() == 1
    assert memory.used.all()


def test_unsettled_colours_are_not_kept():
    guide, chroma = texture(1, SIZE), torch.zeros(1, 2, 64, 96)
    memory = anchor.keep(anchor.empty(guide), past_of(chroma, guide, 1.0), guide, torch.zeros(1))
    assert not memory.used.any()


def test_what_was_hidden_comes_back_in_its_colour_at_another_place():
    guide, red = texture(1, SIZE), torch.full((1, 2, 64, 96), 0.2)
    memory = anchor.keep(anchor.empty(guide), past_of(red, guide, 20.0), guide, torch.zeros(1))
    blue, moved = torch.full((1, 2, 64, 96), -0.2), guide.roll((3, 8), (2, 3))
    fresh = past_of(blue, moved, 0.0)
    recalled, known = anchor.recall(memory, fresh, blue, None, moved)
    shown = temporal.include(recalled, blue, None, moved).chroma
    assert known.item() > 0.1
    assert shown[..., 16:-8, 24:-8].amax() > 0.1  # as it was, where it is known again for sure
    assert shown[..., 16:-8, 24:-8].mean() > -0.15


def test_what_was_never_seen_is_left_as_it_is():
    guide = texture(1, SIZE)
    memory = anchor.keep(
        anchor.empty(guide), past_of(torch.full((1, 2, 64, 96), 0.2), guide, 20.0), guide, torch.zeros(1)
    )
    other, blue = 1 - texture(9, SIZE), torch.full((1, 2, 64, 96), -0.2)
    recalled, _ = anchor.recall(memory, past_of(blue, other, 0.0), blue, None, other)
    shown = temporal.include(recalled, blue, None, other).chroma
    assert (shown - blue).abs().mean() < 0.4 * 0.2


def test_what_is_recalled_is_taken_to_look_as_it_looks_now():
    # Something dark passed by; what it uncovers is known from before. Without this the next frame finds a place that
    # looks like nothing it knows, starts afresh, and the colour flashes; strokes of what passed would stay for frames.
    guide, red = texture(1, SIZE), torch.full((1, 2, 64, 96), 0.2)
    memory = anchor.keep(anchor.empty(guide), past_of(red, guide, 20.0), guide, torch.zeros(1))
    blue, strokes = torch.full((1, 2, 64, 96), -0.2), torch.full((1, 1, 128, 192), 0.7)
    passed = past_of(blue, torch.zeros_like(guide), 0.0)._replace(styled_luma=torch.zeros_like(strokes))
    recalled, _ = anchor.recall(memory, passed, blue, strokes, guide)
    mean = temporal.include(recalled, blue, strokes, guide)
    assert (mean.frames > 3).float().mean() > 0.5
    assert (mean.seen - guide).abs().max() < 0.02
    assert (mean.styled_luma - strokes).abs().max() < 0.02
    later = temporal.carry(temporal.State(mean, guide), guide, torch.tensor([False]), steady=0.8)
    assert (later.frames > 0.9 * mean.frames).all()
