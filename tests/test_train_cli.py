"""`python -m train` as a person meets it: what is refused, in one line, with which exit code."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from model import weights
from model.generator import Generator
from stream.errors import Interrupted
from train import checkpoint, cli, loop, losses, recipe, stages
from train.backbones import VGG_LAYERS, Vgg
from train.config import PLAIN_L1, RECIPE, STAGES, Phase, TrainConfig, untaught
from train.loop import StopRequest
from train.sitting import Sitting, open_check


class Done(NamedTuple):
    code: int
    lines: list[str]


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[..., Done]]:
    """Runs a command; what it printed, and its exit code."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def run(*arguments: object) -> Done:
        monkeypatch.setattr(sys, "argv", ["train", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert isinstance(ended.value.code, int)
        return Done(ended.value.code, "".join(capsys.readouterr()).splitlines())

    yield run
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for number in range(4):
        coarse = np.random.default_rng(number).integers(0, 256, (5, 6, 3), np.uint8)
        cv2.imwrite(str(folder / f"{number}.png"), cv2.resize(coarse, (300, 260), interpolation=cv2.INTER_CUBIC))
    return folder


@pytest.fixture(scope="module")
def backbones(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """VGG19 as deep as it is used, with random weights."""
    folder = tmp_path_factory.mktemp("backbones")
    net = Vgg(tuple(dict.fromkeys((*losses.PERCEPTUAL_TAPS, *losses.STYLE_TAPS))), padding="reflect", normalised=True)
    names = {name: name.replace("convs.", "").replace("prepare.", "conv0.") for name in net.state_dict()}
    assert all(name.split(".")[0] in (*VGG_LAYERS, "conv0") for name in names.values())
    save_file(
        {names[key]: value for key, value in net.state_dict().items()}, folder / "wct_vgg19norm_to3_4.safetensors"
    )
    return folder


def save(path: Path, *, origin: str = "", seed: int = 0, settled: bool = False) -> Path:
    torch.manual_seed(seed)
    generator = Generator()
    if settled:
        generator.style_encoder.get_buffer("mean").fill_(1.0)
    state = {"average": generator.state_dict(), "generator": generator.state_dict()}
    checkpoint.save(path, state, checkpoint.Progress(step=1, spent_s=1.0, origin=origin))
    return path


# Exit codes


@pytest.mark.parametrize("name", ["text.pt", "empty.pt", "cut.pt", "other.pt", "strange.pt", "text.safetensors"])
def test_a_file_that_holds_no_weights_is_told_in_a_line(
    program: Callable[..., Done], photos: Path, tmp_path: Path, name: str
) -> None:
    path = tmp_path / name
    whole = save(tmp_path / "whole.pt").read_bytes()
    {
        "text": lambda: path.write_text("no checkpoint"),
        "empty": lambda: path.write_bytes(b""),
        "cut": lambda: path.write_bytes(whole[: len(whole) // 2]),
        "other": lambda: torch.save({"a": torch.zeros(1)}, path),
        "strange": lambda: checkpoint.save(path, {"average": {"a": torch.zeros(1)}}, checkpoint.Progress()),
    }[path.stem]()
    wanted = 2 if path.suffix == ".safetensors" else 3
    for command in (
        ("export", path, "--photos", photos, "--out", tmp_path / "out.safetensors"),
        ("evaluate", "--photos", photos, "--weights", path),
        ("colour", "--photos", photos, "--no-perceptual", "--run", tmp_path / "runs", "--start", path),
    ):
        done = program(*command)
        assert done.code == wanted and name in done.lines[-1], command


def test_a_file_that_is_no_shard_is_an_input_that_cannot_be_read(program: Callable[..., Done], photos: Path) -> None:
    done = program("data", photos / "0.png")
    assert done.code == 3 and len(done.lines) == 1 and "no tar shard" in done.lines[0]


def test_a_checkpoint_that_lacks_what_a_resume_needs_is_told(
    program: Callable[..., Done], photos: Path, tmp_path: Path
) -> None:
    save(tmp_path / "colour" / "checkpoint.pt")  # without an optimiser
    done = program("colour", "--photos", photos, "--no-perceptual", "--run", tmp_path, "--resume")
    assert done.code == 3 and "damaged" in done.lines[-1]


# What would be lost


def test_a_stage_is_not_begun_over_an_earlier_one(program: Callable[..., Done], photos: Path, tmp_path: Path) -> None:
    kept = save(tmp_path / "colour" / "checkpoint.pt")
    content = kept.read_bytes()
    done = program("colour", "--photos", photos, "--no-perceptual", "--run", tmp_path)
    assert done.code == 2 and "--resume" in done.lines[-1]
    assert kept.read_bytes() == content


def test_a_start_that_a_run_did_not_begin_with_is_refused(tmp_path: Path) -> None:
    start = save(tmp_path / "start.pt", seed=1)
    save(tmp_path / "run" / "checkpoint.pt", origin=checkpoint.fingerprint(start))
    recipe.check_start(tmp_path / "run", start, resume=True)
    recipe.check_start(tmp_path / "run", None, resume=True)
    with pytest.raises(ValueError, match="did not start from it"):
        recipe.check_start(tmp_path / "run", save(tmp_path / "other.pt", seed=2), resume=True)


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The table of releases, copied: a test must not write the shipped one."""
    copied = tmp_path / "weights.json"
    copied.write_text(weights.TABLE.read_text())
    monkeypatch.setattr(weights, "TABLE", copied)
    monkeypatch.setattr(weights, "FOLDER", tmp_path)
    return copied


def test_a_release_that_paints_is_not_replaced_by_one_that_cannot(
    program: Callable[..., Done], photos: Path, tmp_path: Path, table: Path
) -> None:
    before, source = table.read_text(), save(tmp_path / "c.pt", settled=True)
    done = program("export", source, "--photos", photos)
    assert done.code == 2 and "--exemplars" in done.lines[-1]
    assert table.read_text() == before and not list(tmp_path.glob("*.safetensors"))
    assert program("export", source, "--photos", photos, "--name", "plain").code == 0
    assert weights.releases()["plain"].graphs == ("natural",)


def test_an_untrained_style_path_is_not_exported(program: Callable[..., Done], photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.safetensors"
    done = program("export", save(tmp_path / "c.pt"), "--photos", photos, "--exemplars", photos, "--out", out)
    assert done.code == 2 and "never trained" in done.lines[-1] and not out.exists()


def test_a_folder_that_is_not_there_is_named(program: Callable[..., Done], photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "missing" / "x.safetensors"
    done = program("export", save(tmp_path / "c.pt"), "--photos", photos, "--out", out)
    assert done.code == 4 and f"{out.parent} is not there" in "".join(done.lines)


# The whole recipe


@pytest.mark.parametrize(
    ("changed", "named"),
    [({"--paintings": "nowhere"}, "nowhere"), ({"--pairs": "nowhere"}, "nowhere"), ({"--backbones": "nowhere"}, "vgg")],
)
def test_what_a_later_stage_lacks_is_said_before_the_first(
    program: Callable[..., Done], photos: Path, backbones: Path, tmp_path: Path, changed: dict[str, str], named: str
) -> None:
    given = {"--photos": photos, "--paintings": photos, "--backbones": backbones, "--run": tmp_path} | changed
    done = program("all", *(word for pair in given.items() for word in pair))
    assert done.code == 2 and named in done.lines[-1]
    assert not list(tmp_path.glob("*/*"))


def test_the_teachers_phase_can_be_left_out() -> None:
    style = untaught(STAGES["style"])
    assert not any(phase.teacher for phase in style.phases)
    assert [phase.size for phase in style.phases] == [phase.size for phase in STAGES["style"].phases[1:]]
    assert style.phases[-1].until == 1.0
    assert untaught(STAGES["colour"]) == STAGES["colour"]


def test_style_cannot_do_without_its_feature_net(program: Callable[..., Done], photos: Path, tmp_path: Path) -> None:
    for stage in ("style", "fused"):
        done = program(stage, "--photos", photos, "--paintings", photos, "--no-perceptual", "--run", tmp_path)
        assert done.code == 2 and "no style to learn" in done.lines[-1] and "leave" not in done.lines[-1]


def test_a_style_stage_without_pairs_says_so_at_once(
    program: Callable[..., Done], photos: Path, backbones: Path, tmp_path: Path
) -> None:
    given = ("--photos", photos, "--paintings", photos, "--backbones", backbones, "--run", tmp_path)
    done = program("style", *given)
    assert done.code == 2 and "--pairs DIR" in done.lines[-1] and "--enter 0.08" in done.lines[-1]


class Rehearsal(Sitting):
    """A sitting whose stages take no time: each leaves a checkpoint with other weights."""

    def train(self, stage: str, minutes: float, *, start: Path | None, resume: bool, stop: StopRequest) -> None:
        """Writes down what it was told."""
        kept = self.run / stage / "checkpoint.pt"
        calls.append((stage, resume))
        if resume and not minutes > spent.get(stage, 0):
            return
        origin = checkpoint.origin(kept) if resume else "" if start is None else checkpoint.fingerprint(start)
        average = {"weight": torch.tensor([float(next(numbers))])}
        checkpoint.save(kept, {"average": average}, checkpoint.Progress(step=1, origin=origin))
        spent[stage] = minutes
        if stage == stopped_at[0]:
            stop.asked, stop.number = True, signal.SIGINT


numbers = count()
calls: list[tuple[str, bool]] = []
spent: dict[str, float] = {}
stopped_at = [""]


@pytest.fixture
def rehearse(photos: Path, backbones: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Done]:
    """Runs the recipe without the training."""
    calls.clear()
    spent.clear()
    stopped_at[0] = ""
    monkeypatch.setattr(cli, "Sitting", Rehearsal)
    given = ("all", "--photos", photos, "--styles", photos, "--backbones", backbones, "--run", tmp_path)
    return lambda run, *more: run(*given, *more)


def test_the_recipe_goes_on_where_it_was_stopped(program: Callable[..., Done], rehearse: Callable[..., Done]) -> None:
    stopped_at[0] = "adversarial"
    done = rehearse(program)
    assert done.code == 130 and done.lines[-1] == "stopped; the same command goes on"
    assert any("no --pairs" in line for line in done.lines)
    stopped_at[0] = ""
    calls.clear()
    assert rehearse(program).code == 0
    assert calls == [("colour", True), ("adversarial", True), ("style", False), ("fused", False)]


def test_what_a_longer_stage_learnt_reaches_those_behind_it(
    program: Callable[..., Done], rehearse: Callable[..., Done]
) -> None:
    assert rehearse(program, "--minutes", "1").code == 0
    calls.clear()
    done = rehearse(program, "--minutes", "2")
    assert calls == [(stage, stage == "colour") for stage in RECIPE]
    assert sum("starts anew from it" in line for line in done.lines) == len(RECIPE) - 1
    calls.clear()
    assert rehearse(program, "--minutes", "2").code == 0
    assert all(resume for _, resume in calls)


def test_a_start_is_not_ignored_by_the_recipe(
    program: Callable[..., Done], rehearse: Callable[..., Done], tmp_path: Path
) -> None:
    start = save(tmp_path / "start.pt", seed=9)
    assert rehearse(program).code == 0
    done = rehearse(program, "--start", start)
    assert done.code == 2 and "did not start from it" in done.lines[-1]


def test_a_checkpoint_of_an_earlier_version_is_judged_by_its_time(tmp_path: Path) -> None:
    start, kept = save(tmp_path / "a.pt"), save(tmp_path / "b.pt")
    os.utime(start, (1, 1))
    assert recipe.goes_on(kept, start)
    os.utime(kept, (0, 0))
    assert not recipe.goes_on(kept, start)


def test_a_second_sitting_with_nothing_left_keeps_the_checkpoint(photos: Path, tmp_path: Path) -> None:
    config = TrainConfig(stage="baseline", phases=(Phase(until=1.0, size=64, batch=2),), weights=PLAIN_L1)
    start = save(tmp_path / "start.pt")
    for resume in (False, True):
        trainer = stages.build(config, stages.Sources(photos=(photos,)), Generator(), torch.device("cpu"))
        paths = loop.Paths(run=tmp_path, start=start)
        list(loop.train(trainer, paths, minutes=0.001, resume=resume, workers=0, stop=StopRequest()))
        if not resume:
            times = (tmp_path / "checkpoint.pt").stat().st_mtime_ns
    assert (tmp_path / "checkpoint.pt").stat().st_mtime_ns == times
    assert checkpoint.origin(tmp_path / "checkpoint.pt") == checkpoint.fingerprint(start)


def test_a_check_can_be_stopped(photos: Path, tmp_path: Path) -> None:
    stop = StopRequest()
    stop.asked, stop.number = True, signal.SIGTERM
    check = open_check(tmp_path, stop)
    with pytest.raises(Interrupted) as ended:
        check.usable([photos])
    assert ended.value.exit_code == 143
