"""Wherever a film is taken up again, it goes on as if it had never been interrupted."""

from dataclasses import replace
from fractions import Fraction

import pytest
import torch
from test_shots import FRAME, film
from test_steady import noisy

from stream.metrics import Meter
from stream.seams import LONGEST_S, SHORTEST_S, Start, given, pack, rule, unpack
from stream.shots import LEAD, Marked, mark_ahead
from stream.steady import hold_ahead, stride

LAG = 20


def timed(pictures, rate=4):
    """The same pictures at `rate` a second."""
    return [
        replace(picture, frame=replace(FRAME, pts=number, time_base=Fraction(1, rate)))
        for number, picture in enumerate(pictures)
    ]


@pytest.fixture(scope="module")
def pictures():
    """Three shots, the first longer than a segment, the last with a flash in its middle."""
    white = noisy([torch.ones(1, 1, 128, 192)], seed=9)
    shots = noisy(film(60, 5, 30))
    return timed([*shots[:80], *white, *shots[80:]])


def test_marks_from_any_place_on_are_those_of_the_whole_film(pictures):
    whole = [mark for _, mark in mark_ahead(pictures)]
    assert whole.count("cut") == 3 and whole.count("alone") == 1
    for place in (*range(1, len(pictures), 7), *range(79, 85)):  # and all around the flash
        if whole[place] != "alone":
            lead = min(place, LEAD)
            rest = mark_ahead(pictures[place - lead :], lead=lead, midst=whole[place] == "same")
            assert [mark for _, mark in rest] == whole[place:], place


def test_segments_begin_at_cuts_and_between_strides_and_are_short(pictures):
    ruled = list(rule(mark_ahead(pictures), stride=stride(LAG)))
    seams = [number for number, (picture, _) in enumerate(ruled) if picture.seam]
    # 4 pictures a second: the shot of 60 is cut after 2 x 16, for 3 x 16 would be 12 s; that of 5 is too short.
    assert seams[:3] == [0, 32, 60]
    lengths = [(end - start) / 4 for start, end in zip(seams, [*seams[1:], len(ruled)], strict=True)]
    assert max(lengths) <= LONGEST_S and min(lengths[:-1]) >= SHORTEST_S
    for seam in seams[1:]:
        again = rule((Marked(replace(p, seam=None), m) for p, m in ruled[seam:]), stride=stride(LAG))
        assert [seam + number for number, (picture, _) in enumerate(again) if picture.seam] == [
            number for number in seams if number >= seam
        ]


@pytest.mark.parametrize("styled", [False, True])
def test_a_segment_by_itself_is_what_it_is_within_the_film(pictures, styled):
    if styled:
        strokes = noisy(film(60, 5, 30), styled=True)
        pictures = timed(strokes)
    marked = list(rule(mark_ahead(pictures), stride=stride(LAG)))
    whole = list(hold_ahead(iter(marked), steady=0.8, lag=LAG, meter=Meter()))
    seams = [number for number, picture in enumerate(whole) if picture.seam]
    marks = [mark for _, mark in marked]
    for start, end in zip(seams, [*seams[1:], len(whole)], strict=True):
        carry = whole[start].seam.carry
        assert (carry is None) == (marks[start] == "cut")
        carry = None if carry is None else unpack(pack(carry))
        beyond = marks[end : end + LAG // 5]
        known = [*marks[start:end], *beyond[: beyond.index("cut") if "cut" in beyond else None]]
        part = Start(carry=carry, marks=known, seams=frozenset({0, end - start}))
        plain = (replace(picture, seam=None) for picture in pictures[start:])
        alone = list(hold_ahead(given(plain, part), steady=0.8, lag=LAG, meter=Meter(), carry=carry))
        for ours, wanted in zip(alone[: end - start], whole[start:end], strict=True):
            assert torch.equal(ours.chroma, wanted.chroma)
            assert not styled or torch.equal(ours.styled_luma, wanted.styled_luma)
        if end < len(whole) and marks[end] == "same":
            assert pack(alone[end - start].seam.carry) == pack(whole[end].seam.carry)
