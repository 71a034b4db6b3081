"""A contest in small, and the peer's real networks in it once."""

import json

import cv2
import numpy as np
import pytest
import torch
from rich.progress import Progress

from model.generator import Generator
from train import exemplars, gallery, painters
from train.backbones import Vgg
from train.exemplars import Contest
from train.likeness import STYLE_TAPS

QUIET = Progress(disable=True)


@pytest.fixture(scope="module")
def vgg():
    torch.manual_seed(0)
    return Vgg(STYLE_TAPS, padding="zeros", normalised=False).eval().requires_grad_(False)


def blocks(seed, side=64):
    random = np.random.default_rng(seed)
    return cv2.resize(random.integers(0, 256, (8, 8, 3)).astype(np.uint8), (side, side))


@pytest.fixture(scope="module")
def contest(vgg):
    torch.manual_seed(1)
    artists = painters.choose({"ours": Generator().eval()}, with_peer=False)
    photos, styles = [blocks(1), blocks(2)], [blocks(3), blocks(4), blocks(5)]
    return Contest(painters=artists, vgg=vgg, photos=photos, exemplars=styles, pairings=2, shown=1)


@pytest.fixture(scope="module")
def looked():
    """Pictures that VGG looked at in the contest."""
    return []


@pytest.fixture(scope="module")
def outcome(contest, looked):
    hook = contest.vgg.register_forward_pre_hook(lambda _, pictures: looked.append(pictures))
    outcome = exemplars.hold(contest, QUIET)
    hook.remove()
    return outcome


@pytest.fixture(scope="module")
def report(contest, outcome):
    return exemplars.report(contest, outcome)


def rows_of(report, name):
    return [row for row in report["rows"] if row["name"] == name]


def test_exemplars_take_turns(contest):
    assert [contest.exemplars_of(photo) for photo in range(3)] == [[0, 1], [2, 0], [1, 2]]


def test_every_painter_has_its_rows(report):
    strengths = [(row["name"], row["strength"]) for row in report["rows"]]
    ours = [(f"ours, {use}", strength) for use in ("stylise", "fused") for strength in exemplars.STRENGTHS]
    assert strengths == [("identity", 1.0), *ours]
    assert (report["photos"], report["exemplars"], report["pairs"], report["peer"]) == (2, 3, 4, None)
    assert json.loads(json.dumps(report, allow_nan=False)) == report


def test_identity_has_all_of_its_content(report):
    (row,) = rows_of(report, "identity")
    assert row["content"] == row["content_se"] == 0
    assert row["style"] > 0
    assert "ms" not in row
    assert row["style"] == pytest.approx(sum(row["taps"][tap]["gram"] for tap in STYLE_TAPS) / 3, abs=2e-6)
    assert row["style_moments"] == pytest.approx(sum(row["taps"][tap]["moments"] for tap in STYLE_TAPS) / 3, abs=2e-6)


def test_ours_are_timed_and_the_runtime_named(report):
    for row in rows_of(report, "ours, fused"):
        assert row["runtime"] == "torch reference"
        assert row["ms"] > 0
        assert row["code_ms"] > 0


def test_content_goes_with_the_strength(report):
    content = [row["content"] for row in rows_of(report, "ours, stylise")]
    assert content == sorted(content)
    assert content[0] < content[-1]


def test_strength_0_is_checked_and_judged(outcome, report):
    assert outcome.natural == {"ours, stylise": True, "ours, fused": True}
    verdicts = {(row["name"], row["target"]): row["met"] for row in report["targets"]}
    assert verdicts["ours, stylise", "strength 0 equals the natural graph"] is True
    assert len(verdicts) == 8


def test_each_exemplar_counts_alike():
    place = exemplars.Place("ours", 1.0, 0, 0)
    values = {place: 1.0, place._replace(photo=1): 3.0, place._replace(exemplar=1): 6.0}
    assert exemplars._by_exemplar(values) == (4.0, 2.0)  # means 2 and 6


def test_ours_is_read_where_it_loses_as_much_content_as_the_peer():
    points = {0.0: (0.1, 0.9), 0.5: (0.2, 0.6), 1.0: (0.4, 0.4)}
    rows = [{"name": "ours", "role": "ours", "content": far, "style": near} for far, near in points.values()]
    peer = {"name": "peer", "role": "peer", "content": 0.3, "style": 0.45}
    assert exemplars.at_peer_content([peer, *rows]) == {"ours": pytest.approx(0.5)}
    assert exemplars.at_peer_content([peer | {"content": 0.5}, *rows]) == {"ours": None}
    assert exemplars.at_peer_content(rows) == {}


def test_what_was_seen_is_not_looked_at_again(outcome, looked):
    # 3 exemplars; for each of 2 photographs itself, 2 ways at strength 0, and 2 exemplars at 4 strengths in 2 ways.
    assert len(looked) == 3 + 2 * (1 + 2 + 2 * 4 * 2)


def test_the_sheet_shows_who_made_what(contest, outcome, tmp_path):
    gallery.draw_style(contest, outcome, tmp_path / "style.png")
    height, width = cv2.imread(str(tmp_path / "style.png")).shape[:2]
    assert (height, width) == (64 + gallery.CAPTION, 64 * (1 + 1 + 10))  # one photograph; exemplar, identity, ours


def test_the_peer_and_ours_paint_the_same_pairs(vgg, monkeypatch):
    """Real networks at the only size that the peer paints; ours at one strength, which is slow enough."""
    monkeypatch.setattr(exemplars, "STRENGTHS", (1.0,))
    torch.manual_seed(1)
    artists = painters.choose({"ours": Generator().eval()}, with_peer=True)[:3]
    side = exemplars.SIDE
    contest = Contest(
        painters=artists, vgg=vgg, photos=[blocks(1, side)], exemplars=[blocks(2, side)], pairings=1, shown=0
    )
    report = exemplars.report(contest, exemplars.hold(contest, QUIET))
    _, peer, ours = report["rows"]
    assert peer["runtime"] == "onnxruntime"
    assert peer["ms"] > 0
    assert peer["content"] > 0
    for name in exemplars.MEASURES:
        assert ours["minus_peer"][name] == pytest.approx(ours[name] - peer[name], abs=2e-6)
        assert ours["minus_peer"][f"{name}_lower_share"] == float(ours[name] < peer[name])
    assert {row["target"] for row in report["targets"]} >= {f"style at most {peer['name']}'s"}
