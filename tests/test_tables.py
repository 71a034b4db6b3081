"""What `evaluate` prints for people."""

from train.tables import lines

REPORT = {
    "rows": [{"name": "grey", "psnr": 20.0, "worst": [1]}, {"name": "ours", "psnr": 25.0}],
    "temporal": [{"clip": "reel", "rows": [{"name": "ours", "cf": 11.0, "cdc_x1e3": {"1": 0.5, "10": None}}]}],
    "robustness": [{"name": "ours", "pictures": 4, "2": {"noise": 0.1, "attack": 1.5, "gain": 1.4}}],
    "style": {
        "rows": [{"name": "ours, fused", "strength": 1.0, "style": 0.2, "taps": {}}],
        "targets": [{"name": "ours", "target": "strength 0", "found": None, "wanted": "bit for bit", "met": True}],
    },
    "targets": [{"name": "ours", "target": "dCF", "found": 2.5, "wanted": "<= 1", "met": False}],
    "missing_rows": [{"name": "previous", "reason": "no file was given"}],
    "missing_measures": ["lpips: no feature nets were given"],
}


def test_everything_measured_reached_or_missing_is_said() -> None:
    said = list(lines(REPORT))
    for line in (
        "  name ours  psnr 25.0",
        "steadiness on reel",
        "  name ours  cf 11.0  cdc_x1e3 at lag 1 0.5  cdc_x1e3 at lag 10 None",
        "  name ours  pictures 4  noise at 2/255 0.1  attack at 2/255 1.5  gain at 2/255 1.4",
        "  name ours, fused  strength 1.0  style 0.2",
        "  NOT reached: ours: dCF (<= 1, found 2.5)",
        "  reached: ours: strength 0 (bit for bit)",
        "  previous: no file was given",
        "  lpips: no feature nets were given",
    ):
        assert line in said, line


def test_what_was_not_asked_for_takes_no_room() -> None:
    bare = REPORT | {"robustness": None, "style": None, "temporal": [], "missing_rows": [], "missing_measures": []}
    assert [line for line in lines(bare) if not line.startswith(" ")] == ["", "rows", "", "targets"]
