import pytest

from train import targets

OURS = {"kind": "ours", "name": "new", "psnr": 25, "psnr_over_grey": 1.3, "lpips": 0.1, "kd_x1e3": 50, "cf": 30}
OURS |= {"dcf": -5, "dcf_pictures": 10}
PLAIN = {"kind": "scaled", "name": "plain L1, scaled to our CF", "psnr": 24, "lpips": 0.2, "kd_x1e3": 60}
PLAIN |= {"dcf_pictures": 12}


def met(verdicts):
    return {verdict["target"]: verdict["met"] for verdict in verdicts}


def test_colour_is_judged_against_plain_l1_at_equal_cf():
    found = met(targets.colour([PLAIN, OURS], cf_truth=35))
    assert list(found.values()) == [True, True, True, True, True, True, False]
    worse = met(targets.colour([PLAIN | {"psnr": 25.5, "dcf_pictures": 11}, OURS], cf_truth=45))
    assert list(worse.values()) == [False, True, True, False, False, True, False]


def test_without_plain_l1_only_its_comparisons_are_left_out():
    assert len(targets.colour([OURS], cf_truth=35)) == 3
    assert targets.colour([PLAIN], cf_truth=35) == []


def style_rows(style=(1, 0.8, 0.6, 0.5, 0.4), content=(0, 0.1, 0.2, 0.3, 0.4)):
    rows = [{"name": "identity", "role": "identity", "style": 1.0, "content": 0.0, "strength": 1.0}]
    rows += [{"name": "peer", "role": "peer", "style": 0.45, "content": 0.5, "strength": 1.0}]
    steps = zip((0, 0.25, 0.5, 0.75, 1), style, content, strict=True)
    return rows + [
        {"name": "ours", "role": "ours", "strength": strength, "style": near, "content": far}
        for strength, near, far in steps
    ]


@pytest.mark.parametrize(
    ("changed", "natural", "missed"),
    [
        ({}, True, []),
        ({}, False, ["strength 0 equals the natural graph"]),
        ({"style": (1, 0.8, 0.6, 0.5, 0.48)}, True, ["style at most peer's"]),
        ({"style": (1, 0.3, 0.6, 0.5, 0.4)}, True, ["style falls with the strength"]),
        ({"content": (0, 0.1, 0.2, 0.3, 0.3)}, True, ["content rises with the strength"]),
        ({"content": (0, 0.1, 0.2, 0.3, 0.6)}, True, ["content at most peer's"]),
        (
            {"style": (1, 0.9, 0.8, 0.7, 0.6)},
            True,
            ["style at most peer's", "style at most 0.5 of the unchanged picture's"],
        ),
    ],
)
def test_style_is_judged_target_by_target(changed, natural, missed):
    found = met(targets.style("ours", style_rows(**changed), natural=natural))
    assert [target for target, reached in found.items() if not reached] == missed


def test_without_the_peer_only_its_comparisons_are_left_out():
    rows = [row for row in style_rows() if row["role"] != "peer"]
    assert len(targets.style("ours", rows, natural=True)) == 4
