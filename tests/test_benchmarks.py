"""The benchmarks run on next to nothing, and what they say is consistent; the pages show what was measured."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import clips, network, readme, trial
from stream.film import ReadTally
from stream.media import probe, read_frames

ROOT = Path(__file__).resolve().parent.parent
FILM_FIELDS = {
    *("fps", "transcode_fps", "ratio", "stages_ms", "stages_wall_ms", "of_limit", "peak_rss_mb", "frames"),
    *("network_skipped", "startup_cold_s", "startup_warm_s", "machine", "date", "commit", "versions"),
}


def run(*arguments):
    """The last line on stdout of `python -m benchmarks...`, as JSON."""
    command = (sys.executable, "-m", *map(str, arguments))
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """What benchmarks.film says of a clip of the sample, eight of its twelve frames, at a small working size."""
    folder = tmp_path_factory.mktemp("film")
    source = clips.make_film(folder / "clip.mkv", grain=True, frames=12, size=(96, 64))
    out = folder / "film.json"
    result = run("benchmarks.film", source, "--frames", 8, "--short-side", 64, "--json", "--out", out)
    assert json.loads(out.read_text()) == result
    return result


def test_film_says_all_that_scripts_rely_on(film):
    assert film.keys() >= FILM_FIELDS
    assert film["film"] == "clip.mkv"
    assert film["frames"] == film["stages_frames"] == 8
    assert film["working_size"] == [64, 96]
    assert film["network_skipped"] == 0
    assert film["peak_rss_mb"] > film["transcode_peak_rss_mb"] > 0
    assert 0 < film["startup_warm_s"] < film["startup_cold_s"]


def test_film_is_consistent_with_itself(film):
    assert film["ratio"] == pytest.approx(film["fps"] / film["transcode_fps"], abs=1e-3)
    total_s = sum(film["stages_ms"].values()) / 1000
    assert film["of_limit"] == pytest.approx(film["fps"] / (film["cores_used"] / total_s), rel=0.02, abs=1e-3)
    assert list(film["stages_ms"]) == ["decode", "prepare", "network", "steady", "chroma", "encode"]
    assert all(ms > 0 for ms in film["stages_ms"].values())
    assert film["network_steady_ms"] == pytest.approx(
        film["stages_wall_ms"]["network"] + film["stages_wall_ms"]["steady"], abs=2e-3
    )


def test_film_tells_a_mistake_in_one_line(tmp_path):
    command = (sys.executable, "-m", "benchmarks.film", str(tmp_path / "none.mkv"), "--json")
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "no such file" in done.stderr


def test_engine_has_a_ceiling_and_a_row_for_each_runtime(tmp_path):
    out = tmp_path / "engine.json"
    result = run("benchmarks.engine", "--sizes", "32x64", "--seconds", 0.1, "--json", "--out", out)
    assert json.loads(out.read_text()) == result
    for top, row in zip(result["ceilings"], result["rows"], strict=True):
        assert top["runtime"] == row["runtime"]
        assert row["size"] == "32x64"
        assert row["ms_p95"] >= row["ms"] > 0
        assert row["gmac_s"] == pytest.approx(1000 * row["gmac"] / row["ms"], rel=0.02, abs=0.1)
        ideal_ms = max(row["compute_ms"], row["memory_ms"])
        assert row["share"] == pytest.approx(ideal_ms / row["ms"], rel=0.05, abs=0.01)


def test_work_grows_with_the_size_as_convolutions_do():
    small, large = network.count((128, 224)), network.count((256, 448))
    assert large["gmac"] / small["gmac"] == pytest.approx(4, abs=0.02)
    assert 2.0 < large["gmac"] < 3.0


def test_made_films_differ_in_grain_alone(tmp_path):
    paths = [
        clips.make_film(tmp_path / f"{grain}.mkv", grain=grain, frames=3, size=(160, 96)) for grain in (False, True)
    ]
    clean, grainy = ([frame.luma.astype(float) for frame in read_frames(path)] for path in paths)
    assert [probe(path).frame_rate for path in paths] == [24, 24]
    noise = np.stack(grainy) - np.stack(clean)
    assert 1 < noise.std(axis=(1, 2)).mean() < 8
    assert abs(noise.mean()) < 6


def test_a_film_is_cut_and_repeated(tmp_path):
    longer = len(list(read_frames(clips.SAMPLE))) + 2
    made = clips.make_film(tmp_path / "made.mkv", grain=False, frames=longer, size=(96, 64))
    frames = list(read_frames(made))
    assert len(frames) == longer
    assert np.abs(frames[-2].luma.astype(int) - frames[0].luma).mean() < 3
    tally = ReadTally()
    cut = list(read_frames(clips.cut_film(made, tmp_path / "cut.mkv", frames=5), tally=tally))
    assert len(cut) == 5
    assert tally.frames_lost == tally.frames_damaged == 0


def test_a_trial_that_fails_gives_its_reason():
    with pytest.raises(trial.TrialError, match="Expecting value"):
        trial.run(json.loads, "no JSON")
    with pytest.raises(trial.TrialError, match="killed by signal 6"):
        trial.run(os.abort)


def test_pages_show_what_was_measured():
    done = subprocess.run(
        (sys.executable, "-m", "benchmarks.readme", "--check"), cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_a_table_is_filled_between_its_marks(film, tmp_path):
    page = "above\n<!-- table: film -->\nold\n<!-- end -->\nbelow\n"
    assert readme.fill(page, tmp_path) == "above\n<!-- table: film -->\n<!-- end -->\nbelow\n"
    (tmp_path / "film.json").write_text(json.dumps(film))
    filled = readme.fill(page, tmp_path)
    assert filled.startswith("above\n<!-- table: film -->\n| ")
    assert filled.endswith("\n<!-- end -->\nbelow\n")
    assert f"{film['fps']:.1f}" in filled
    assert film["machine"]["cpu"] in filled
    assert readme.fill(filled, tmp_path) == filled


def test_a_row_that_could_not_run_stays_in_the_table():
    rows = [{"runtime": "openvino", "size": "512x896", "reason": "out of memory"}]
    origin = {"machine": {"cpu": "A CPU", "cores": 2}, "date": "2026-11-21", "commit": None, "torch": "2"}
    lines = readme.engine_table({"ceilings": [{"runtime": "openvino", "reason": "none"}], "rows": rows} | origin)
    assert any("| openvino | 512x896 | out of memory |" in line for line in lines)


def test_an_unknown_table_is_refused(tmp_path):
    with pytest.raises(ValueError, match="there are film, engine"):
        readme.fill("<!-- table: speed -->\n<!-- end -->", tmp_path)
