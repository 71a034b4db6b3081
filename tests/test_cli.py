"""The program as people and scripts see it: exit codes, one line on stderr, results on stdout, nothing lost."""

import json
import os
import resource
import signal
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import av
import cv2
import numpy as np
import pytest
from conftest import grey

from stream import cli
from stream.endpoint import resolve
from stream.errors import InputError, Interrupted
from stream.media import read_frames
from stream.pubsub import Subscriber
from stream.stop import SIGNALS, Stop

Clip = Callable[..., Path]
SMALL = ("--short-side", "64")
PROGRAM = (sys.executable, "-m", "stream")


class Done(NamedTuple):
    """What a run of the program left behind."""

    code: int
    out: str
    err: str

    @property
    def line(self) -> str:
        """The one line on stderr that a failure is told in; behind those of a network that is prepared."""
        assert self.err.endswith("\n"), self.err
        (line,) = [line for line in self.err.splitlines() if "preparing the network" not in line]
        assert line.startswith("kinochrome: "), self.err
        return line.removeprefix("kinochrome: ")


@pytest.fixture(scope="session")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache of engines that all tests share: the network is converted once."""
    return tmp_path_factory.mktemp("engines")


@pytest.fixture(autouse=True)
def surroundings(engines: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No kinochrome.toml and no environment of whoever runs the tests."""
    for name in [name for name in os.environ if name.startswith("KINOCHROME_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CACHE_HOME", str(engines))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def program(capfd: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """Runs a command line in this process."""

    def run(*arguments: object) -> Done:
        capfd.readouterr()
        code = cli.run([str(argument) for argument in arguments], Stop())
        return Done(code, *capfd.readouterr())

    return run


def start(*arguments: object, **options: Any) -> subprocess.Popen[str]:
    """Starts the real program."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([*PROGRAM, *map(str, arguments)], **pipes, **options)


def finish(process: subprocess.Popen[str]) -> Done:
    out, err = process.communicate(timeout=120)
    return Done(process.returncode, out, err)


def messages(done: Done) -> list[str]:
    """What was said, but for the line that comes once for each size of the network."""
    return [line for line in done.err.splitlines() if "preparing the network" not in line]


def settings_of(result: Path) -> dict[str, Any]:
    """With what a film was coloured, as the sidecar says."""
    return json.loads(result.with_name(result.name + ".json").read_text())["settings"]


# A film that works


def test_json_has_what_scripts_rely_on(clip: Clip, program: Callable[..., Done]) -> None:
    done = program("colorize", clip("reel.mkv", audio=["aac"]), "-o", "colour.mkv", "--json", *SMALL)
    assert (done.code, messages(done)) == (0, [])
    report = json.loads(done.out)
    assert done.out.count("\n") == 1
    assert {"frames_in": 10, "frames_out": 10, "frames_damaged": 0, "frames_carried": 0}.items() <= report.items()
    assert report["seconds"] > 0 and report["fps"] > 0
    assert {"decode", "network", "encode"} <= report["stages"].keys()
    assert report["limit"] in ("decode", "engine", "encode")
    assert len(list(read_frames("colour.mkv"))) == 10


def test_the_report_is_told_on_stdout(clip: Clip, program: Callable[..., Done]) -> None:
    done = program("colorize", "-i", clip("reel.mkv"), "-o", "colour.mkv", *SMALL)
    assert (done.code, messages(done)) == (0, [])
    assert done.out.startswith("colour.mkv: 10 of 10 frames, ")


def test_a_picture_is_coloured_as_well(tmp_path: Path, program: Callable[..., Done]) -> None:
    cv2.imwrite(str(tmp_path / "photo.png"), grey(0))
    done = program("colorize", "photo.png", "-o", "colour.png", "--json", *SMALL)
    assert done.code == 0 and json.loads(done.out)["frames_out"] == 1
    assert cv2.imread("colour.png").shape == (48, 64, 3)


@pytest.mark.parametrize("name", ["[red]reel.mkv", "two\nlines.mkv", "-c.mkv", "r\udcffl.mkv", "http:reel.mkv"])
def test_odd_names_of_files_are_names_of_files(clip: Clip, program: Callable[..., Done], name: str) -> None:
    path = clip("reel.mkv", pts=range(3)).rename(name)
    result = f"colour-{name}"
    done = program("colorize", "-o", result, *SMALL, "--", path)
    assert done.code == 0 and done.out.count("\n") == 1 and Path(result).is_file()
    assert "exists already" in program("colorize", "-o", result, *SMALL, "--", path).line


def test_verify_proves_a_lossless_film_and_finds_a_lossy_one(clip: Clip, program: Callable[..., Done]) -> None:
    film = clip("reel.mkv", audio=["aac"])
    for codec, code in (("ffv1", 0), ("libx264", 5)):
        assert program("colorize", film, "-o", "colour.mkv", "-y", "-c", codec, *SMALL).code == 0
        assert program("verify", film, "colour.mkv").code == code
        done = program("verify", film, "colour.mkv", "--json")
        assert done.code == code and json.loads(done.out)["ok"] == (code == 0)
    assert program("verify", film, "colour.mkv", "--lossy").code == 0
    assert "no such file" in program("verify", film, "missing.mkv").line


# Inputs that are no films


def missing(clip: Clip) -> Path:
    return Path("missing.mkv")


def folder(clip: Clip) -> Path:
    Path("folder.mkv").mkdir()
    return Path("folder.mkv")


def empty(clip: Clip) -> Path:
    Path("empty.mkv").touch()
    return Path("empty.mkv")


def text(clip: Clip) -> Path:
    Path("text.mp4").write_text("this is no film\n" * 100)
    return Path("text.mp4")


def sound(clip: Clip) -> Path:
    with av.open("sound.mp4", "w") as container:
        stream = container.add_stream("aac", rate=48000)
        frame = av.AudioFrame.from_ndarray(np.zeros((2, 1024), np.float32), "fltp", "stereo")
        frame.sample_rate = 48000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return Path("sound.mp4")


def no_picture(clip: Clip) -> Path:
    with av.open("none.mkv", "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        container.start_encoding()
    return Path("none.mkv")


def unknown_codec(clip: Clip) -> Path:
    path = clip("strange.mp4")
    path.write_bytes(path.read_bytes().replace(b"avc1", b"zzzz"))
    return path


def unfinished(clip: Clip) -> Path:
    path = clip("unfinished.mp4", size=(160, 120), pts=range(50))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])  # the index is at the end
    return path


def no_picture_at_all(clip: Clip) -> Path:
    Path("text.png").write_text("this is no picture\n" * 100)
    return Path("text.png")


NO_FILMS = [
    (missing, "no such file"),
    (folder, "is a folder"),
    (empty, "is empty"),
    (text, "can't read it"),
    (sound, "only audio"),
    (no_picture, ""),
    (unknown_codec, "no decoder"),
    (unfinished, "no index"),
    (no_picture_at_all, ""),
]


@pytest.mark.parametrize(("make", "words"), NO_FILMS, ids=[make.__name__ for make, _ in NO_FILMS])
def test_an_input_that_is_no_film_is_refused_in_one_line(
    clip: Clip, program: Callable[..., Done], make: Callable[[Clip], Path], words: str
) -> None:
    path = make(clip)
    done = program("colorize", path, "-o", f"colour{path.suffix}", *SMALL)
    assert done.code == 3 and done.out == ""
    assert str(path) in done.line and words in done.line
    assert not list(Path.cwd().glob("colour*"))


def png(path: Path, side: int) -> Path:
    """A picture of a few bytes that claims `side` x `side` pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(9000))) + chunk(b"IEND", b""))
    return path


def test_a_picture_that_claims_30000x30000_is_refused_before_it_is_decoded(program: Callable[..., Done]) -> None:
    done = program("colorize", png(Path("bomb.png"), 30000), "-o", "colour.png", *SMALL)
    assert done.code == 6 and "30000x30000" in done.line
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 2_000_000  # KiB; decoded it would take 900 MB


# Damage


def test_a_film_cut_in_the_middle_is_coloured_as_far_as_it_goes(clip: Clip, program: Callable[..., Done]) -> None:
    path = clip("reel.mkv", size=(160, 120), pts=range(75))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    done = program("colorize", path, "-o", "colour.mkv", "--json", *SMALL)
    report = json.loads(done.out)
    assert done.code == 5 and report["truncated"] and 0 < report["frames_out"] < 60
    assert len(list(read_frames("colour.mkv"))) == report["frames_out"]
    assert "ends" in program("colorize", path, "-o", "colour.mkv", "-y", *SMALL).out


def test_flipped_bytes_cost_the_pictures_they_hit(clip: Clip, program: Callable[..., Done]) -> None:
    path = clip("reel.mkv", size=(160, 120), pts=range(60), options={"g": "10"})
    data = bytearray(path.read_bytes())
    for position in np.random.default_rng(3).integers(len(data) // 3, len(data) // 2, 40):
        data[position] ^= 0x55
    path.write_bytes(data)
    done = program("colorize", path, "-o", "colour.mkv", "--json", *SMALL)
    report = json.loads(done.out)
    assert done.code == 5
    assert report["frames_damaged"] + report["frames_lost"] + report["packets_damaged"] > 0
    assert len(list(read_frames("colour.mkv"))) == report["frames_out"] >= 40


# Outputs


def test_an_output_that_exists_needs_a_word(clip: Clip, program: Callable[..., Done]) -> None:
    path = clip("reel.mkv")
    Path("colour.mkv").write_text("precious")
    done = program("colorize", path, "-o", "colour.mkv", *SMALL)
    assert done.code == 4 and "-y" in done.line
    assert Path("colour.mkv").read_text() == "precious"
    assert program("colorize", path, "-o", "colour.mkv", "-y", *SMALL).code == 0
    assert len(list(read_frames("colour.mkv"))) == 10


def test_the_input_is_never_the_output(clip: Clip, program: Callable[..., Done]) -> None:
    path = clip("reel.mkv")
    before = path.read_bytes()
    Path("link.mkv").symlink_to(path)
    for same in (path, "link.mkv", "./reel.mkv"):
        done = program("colorize", path, "-o", same, "-y", *SMALL)
        assert done.code == 2 and "the input itself" in done.line
    assert path.read_bytes() == before


def test_an_output_that_cannot_be_written_is_refused(clip: Clip, program: Callable[..., Done]) -> None:
    path = clip("reel.mkv")
    Path("file").touch()
    # /proc refuses new files from root, too.
    for target in ("missing/colour.mkv", "file/colour.mkv", "/proc/colour.mkv", "/proc/1/colour.mkv"):
        done = program("colorize", path, "-o", target, *SMALL)
        assert done.code == 4 and target in done.line.replace(".part", "")
    for target in ("colour", "colour.xyz", "colour.avi"):
        assert program("colorize", path, "-o", target, *SMALL).code in (2, 4)


def test_a_full_disk_keeps_what_was_written(clip: Clip) -> None:
    path = clip("reel.mkv", size=(160, 120), pts=range(100))
    limit = (300_000, 300_000)
    film = start(
        *("colorize", path, "-o", "colour.mkv", "-c", "ffv1", "--runtime", "torch", *SMALL),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit),
    )
    done = finish(film)
    assert done.code == 6 and "file-size limit" in done.line and "colour.part.mkv" in done.line
    assert not Path("colour.mkv").exists()
    assert 0 < len(list(read_frames("colour.part.mkv"))) < 100


# Usage

USAGE = [
    (("colorize", "reel.mkv", "-o", "b.mkv", "--stedy", "1"), "--steady"),
    (("colorize", "reel.mkv", "-o", "b.mkv", "--steady", "much"), "--steady"),
    (("colorize", "reel.mkv", "-o", "b.mkv", "--steady", "2"), "0 to 1"),
    (("colorize", "reel.mkv", "-o", "b.mkv", "--short-side", "1000"), "32 to 512"),
    (("colorize", "reel.mkv", "-o", "b.mkv", "--runtime", "cuda"), "openvino"),
    (("colorize", "reel.mkv", "-o", "b.mkv", "--luma", "bt2020"), "bt709"),
    (("colorize", "reel.mkv", "-o", "b.mkv", "-c", "divx"), "ffv1"),
    (("colorize", "https://example.org/reel.mkv"), "-o OUT"),
    (("colorize", "-o", "b.mkv"), "IN"),
    (("colorize", "reel.mkv", "-i", "reel.mkv", "-o", "b.mkv"), "two inputs"),
    (("colorize", "reel.mkv", "b.mkv", "-o", "c.mkv"), "b.mkv"),
    (("colourize", "reel.mkv"), "colourize"),
    (("colorize", "reel.mkv", "-o", "b.mkv", "--strength", "0.5"), "--strength means nothing without --style"),
    (("colorize", "photo.png", "-o", "b.png", "--publish", "hall"), "only films are published"),
    (("looks", "--on", "reel.mkv"), "--on means nothing without --sheet"),
    (("looks", "--sheet", "looks.jpg"), "looks.png"),
    (("verify", "reel.mkv"), "coloured"),
    (("--frames",), "--frames"),
]


@pytest.mark.parametrize(("arguments", "words"), USAGE, ids=[" ".join(arguments) for arguments, _ in USAGE])
def test_a_wrong_request_is_one_line(
    clip: Clip, program: Callable[..., Done], arguments: tuple[str, ...], words: str
) -> None:
    clip("reel.mkv")
    cv2.imwrite("photo.png", np.zeros((8, 8), np.uint8))
    done = program(*arguments)
    assert done.code == 2 and done.out == ""
    assert words in done.line


def test_help_and_version_need_no_heavy_import(program: Callable[..., Done]) -> None:
    heavy = "'torch', 'openvino', 'av', 'cv2', 'numpy'"
    code = f"import sys; from stream import cli, commands; sys.exit(any(name in sys.modules for name in ({heavy})))"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(cli.__file__).parents[1], check=False).returncode == 0
    assert program("--version") == (0, f"kinochrome {metadata.version('kinochrome')}\n", "")
    for arguments in ((), ("--help",), ("colorize", "-h")):
        done = program(*arguments)
        assert done.code == 0 and "colorize" in done.out


def test_module_and_script_are_the_same_program() -> None:
    script = Path(sys.executable).with_name("kinochrome")
    told = [subprocess.check_output([*command, "--version"], text=True) for command in (PROGRAM, [script])]
    assert told[0] == told[1]


def test_looks_are_listed(program: Callable[..., Done]) -> None:
    assert program("looks").out.startswith("natural: ")
    looks = json.loads(program("looks", "--json").out)["looks"]
    assert looks[0]["name"] == "natural" and len(looks) > 8 and all(look["title"] for look in looks)


def test_a_film_is_stylised(clip: Clip, program: Callable[..., Done]) -> None:
    film = clip("reel.mkv", pts=range(3))
    done = program("stylize", film, "--style", "starry", "--strength", "0.8", "-o", "out.mkv", "--json", *SMALL)
    assert (done.code, messages(done)) == (0, [])
    used = settings_of(Path("out.mkv"))
    assert (used["style"], used["strength"], used["source_colours"]) == ("starry", 0.8, True)
    assert program("colorize", film, "--style", "wave", "-o", "fused.mkv", *SMALL).code == 0
    assert settings_of(Path("fused.mkv"))["source_colours"] is False


def test_a_stylised_film_is_published_in_its_look(clip: Clip, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    film = clip("reel.mkv", pts=range(3))
    maker = start(
        "stylize", film, "--style", "starry", "-o", "out.mkv", "--publish", "push+film", *SMALL, "--runtime", "torch"
    )
    try:
        with Subscriber(resolve("push+film", connect=True)) as subscriber:
            deadline = time.monotonic() + 60
            while not subscriber.ledger.ended and time.monotonic() < deadline:
                subscriber.receive(1)
    finally:
        assert finish(maker).code == 0
    assert dict(subscriber.ledger.looks) == {"starry": 3} and subscriber.ledger.lost == 0


def test_styles_that_are_not_there_are_told_in_a_line(clip: Clip, program: Callable[..., Done]) -> None:
    film = clip("reel.mkv", pts=range(3))
    none = program("stylize", film, "-o", "out.mkv")
    assert none.code == 2 and "--style LOOK|PICTURE is missing" in none.line
    unknown = program("stylize", film, "--style", "nonsense", "-o", "out.mkv")
    assert unknown.code == 2 and "starry" in unknown.line
    missing = program("colorize", film, "--style", "art/none.jpg", "-o", "out.mkv")
    assert missing.code == 3 and "art/none.jpg" in missing.line
    wrong = program("stylize", film, "--style", "starry", "--strength", "1.5", "-o", "out.mkv")
    assert wrong.code == 2 and "0 to 1" in wrong.line
    assert not Path("out.mkv").exists()


def test_natural_is_a_style_like_those_that_looks_lists(clip: Clip, program: Callable[..., Done]) -> None:
    film = clip("reel.mkv", pts=range(3))
    for command in ("colorize", "stylize"):
        assert (
            program(command, film, "--style", "natural", "-o", f"{command}.mkv", *SMALL, "--runtime", "torch").code == 0
        )
        used = settings_of(Path(f"{command}.mkv"))
        assert (used["style"], used["source_colours"]) == (None, False)


def test_a_style_is_read_off_one_picture(clip: Clip, program: Callable[..., Done]) -> None:
    film = clip("reel.mkv", pts=range(3))
    of_film = program("colorize", film, "--style", f"./{film.name}", "-o", "out.mkv")
    assert of_film.code == 3 and "is a film" in of_film.line
    Path("folder").mkdir()
    of_folder = program("stylize", film, "--style", "./folder", "-o", "out.mkv")
    assert of_folder.code == 3 and "is a folder" in of_folder.line
    assert not Path("out.mkv").exists()


# kinochrome.toml and the environment


def test_flags_win_over_the_environment_and_that_over_the_file(
    clip: Clip, program: Callable[..., Done], monkeypatch: pytest.MonkeyPatch
) -> None:
    film = clip("reel.mkv", pts=range(3))
    Path("kinochrome.toml").write_text(
        '[colorize]\nshort-side = 64\nsaturation = 0.5\nthreads = 1\noverwrite = true\nruntime = "openvino"\n'
    )
    monkeypatch.setenv("KINOCHROME_COLORIZE_SATURATION", "0.7")
    monkeypatch.setenv("KINOCHROME_COLORIZE_THREADS", "2")
    for _ in range(2):
        assert program("colorize", film, "-o", "colour.mkv", "--saturation", "0.9").code == 0
    used = settings_of(Path("colour.mkv"))
    assert (used["saturation"], used["threads"], used["short_side"], used["runtime"]) == (0.9, 2, 64, "openvino")


def test_the_nearest_file_counts(clip: Clip, program: Callable[..., Done]) -> None:
    film, home = clip("reel.mkv", pts=range(3)), Path("config/kinochrome")
    home.mkdir(parents=True)
    (home / "kinochrome.toml").write_text("[colorize]\nshort_side = 64\nsaturation = 0.5\n")
    assert program("colorize", film, "-o", "colour.mkv").code == 0
    assert settings_of(Path("colour.mkv"))["saturation"] == 0.5
    Path("kinochrome.toml").write_text("[colorize]\nshort_side = 64\n")
    assert program("colorize", film, "-o", "colour.mkv", "-y").code == 0
    assert settings_of(Path("colour.mkv"))["saturation"] == 1.0


WRONG_FILES = [
    ("[colorize]\nstedy = 1", "stedy is no option; allow, allow-mixed, "),
    ("[colorize]\ninput = 'reel.mkv'", "input is no option"),
    ("[colourize]\nsteady = 1", "[colourize] is no command; batch, c"),
    ("steady = 1", "[steady] is no command"),
    ("[colorize]\nsteady = 'much'", "--steady"),
    ("[colorize]\nsteady = true", "--steady"),
    ("[colorize]\nshort-side = 256.5", "--short-side"),
    ("[colorize]\ncodec = ['ffv1']", "one value"),
    ("[colorize", "no valid TOML"),
    ("# \xff", "no valid TOML"),
]


@pytest.mark.parametrize(("content", "words"), WRONG_FILES, ids=[content for content, _ in WRONG_FILES])
def test_a_wrong_file_is_refused_by_name(clip: Clip, program: Callable[..., Done], content: str, words: str) -> None:
    Path("kinochrome.toml").write_text(content, "latin-1")
    done = program("colorize", clip("reel.mkv"), "-o", "colour.mkv")
    assert done.code == 2 and done.out == ""
    assert "kinochrome.toml" in done.line and words in done.line


@pytest.mark.parametrize(("name", "value"), [("STEDY", "1"), ("STEADY", "much")])
def test_a_wrong_variable_is_refused_by_name(
    program: Callable[..., Done], monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(f"KINOCHROME_COLORIZE_{name}", value)
    done = program("colorize", "reel.mkv", "-o", "colour.mkv")
    assert done.code == 2 and f"KINOCHROME_COLORIZE_{name}" in done.line


# Signals


def obey_signals() -> None:
    """A shell in the background may have told its children to ignore Ctrl-C."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def wait_until(process: subprocess.Popen[str], condition: Callable[[], bool]) -> None:
    while not condition():
        assert process.poll() is None, finish(process)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_in_the_middle_leaves_a_part_that_plays(clip: Clip, number: int, code: int) -> None:
    film = clip("reel.mkv", pts=range(700), audio=["flac"])  # 28 s: longer ones go on (tests/test_archive.py)
    part = Path("colour.part.mkv")
    process = start("colorize", film, "-o", "colour.mkv", *SMALL, preexec_fn=obey_signals)
    wait_until(process, lambda: part.exists() and part.stat().st_size > 50_000)
    process.send_signal(number)
    done = finish(process)
    assert (done.code, done.out) == (code, "")
    frames = len(list(read_frames(part)))
    assert f"interrupted after {frames} frames" in done.line and "colour.part.mkv" in done.line
    assert 0 < frames < 700
    assert not Path("colour.mkv").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ("colorize", "films/reel.mkv", "-o", "colour.mkv"),
        ("stylize", "films/reel.mkv", "--style", "starry", "-o", "colour.mkv"),
        ("batch", "films", "-o", "colour"),
    ],
    ids=lambda arguments: arguments[0],
)
def test_preparing_the_network_is_told_and_can_be_interrupted(clip: Clip, arguments: tuple[str, ...]) -> None:
    Path("films").mkdir()
    clip("films/reel.mkv", size=(160, 128))
    new = os.environ | {"XDG_CACHE_HOME": str(Path("cache").absolute())}
    options = ("--short-side", "128", "--runtime", "openvino")
    process = start(*arguments, *options, preexec_fn=obey_signals, env=new)
    assert process.stderr is not None
    line = process.stderr.readline()
    assert "preparing the network for natural colour at a working size of 160x128" in line and "this once" in line
    process.send_signal(signal.SIGINT)
    asked = time.monotonic()
    done = finish(process)
    assert (done.code, time.monotonic() - asked < 4) == (130, True)
    assert done.line == "interrupted before a frame was made; nothing was written"
    assert not list(Path().rglob("colour*.mkv")) and not list(Path("cache").rglob("meta.json"))


def test_a_signal_while_the_program_starts_ends_it(clip: Clip) -> None:
    process = start("colorize", clip("reel.mkv"), "-o", "colour.mkv", *SMALL, preexec_fn=obey_signals)
    wait_until(process, lambda: "libtorch" in Path(f"/proc/{process.pid}/maps").read_text())
    process.send_signal(signal.SIGINT)
    done = finish(process)
    assert (done.code, done.out) == (130, "")
    assert "interrupted" in done.line
    assert not Path("colour.mkv").exists()


@pytest.fixture
def stop() -> Iterator[Stop]:
    """Listens to signals for one test."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    listening = Stop()
    listening.listen()
    yield listening
    for number, handler in before.items():
        signal.signal(number, handler)


def test_a_signal_is_raised_at_once_and_again_at_the_next_check(stop: Stop) -> None:
    with pytest.raises(Interrupted) as caught:
        signal.raise_signal(signal.SIGTERM)
    assert caught.value.exit_code == 143
    with pytest.raises(Interrupted):  # a library swallowed the first one
        stop.check()


def test_once_frames_flow_a_signal_waits_for_the_next_frame(stop: Stop, capfd: pytest.CaptureFixture[str]) -> None:
    stop.defer()
    stop.check()
    signal.raise_signal(signal.SIGINT)
    signal.raise_signal(signal.SIGINT)
    assert "once more gives up" in capfd.readouterr().err
    with pytest.raises(Interrupted) as caught:
        stop.check()
    assert caught.value.exit_code == 130


def test_what_a_library_made_of_a_signal_is_still_a_signal(
    stop: Stop, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def convert(*_: object) -> int:
        try:
            signal.raise_signal(signal.SIGINT)
        except Interrupted as error:
            raise RuntimeError("conversion failed") from error
        return 0

    monkeypatch.setattr("stream.commands.run", convert)
    assert cli.run([], stop) == 130
    assert capfd.readouterr().err.startswith("kinochrome: interrupted")


# What the world does

WORLD = [
    (MemoryError(), 6, "not enough memory"),
    (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"), 6, "not enough memory"),
    (OSError(28, "No space left on device", "/cache/x"), 6, "/cache/x: No space left"),
    (PermissionError(13, "Permission denied", "/cache/x"), 4, "/cache/x: Permission denied"),
    (InputError("a\nb: no film"), 3, "a\\nb: no film"),
]


@pytest.mark.parametrize(("error", "code", "words"), WORLD, ids=[type(error).__name__ for error, _, _ in WORLD])
def test_what_goes_wrong_in_the_world_has_a_code(
    program: Callable[..., Done], monkeypatch: pytest.MonkeyPatch, error: Exception, code: int, words: str
) -> None:
    def fail(*_: object) -> int:
        raise error

    monkeypatch.setattr("stream.commands.run", fail)
    done = program("looks")
    assert done.code == code and words in done.line


def test_a_mistake_in_the_program_keeps_its_traceback(
    program: Callable[..., Done], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> int:
        raise IndexError(3)

    monkeypatch.setattr("stream.commands.run", fail)
    with pytest.raises(IndexError):
        program("looks")


def test_a_reader_that_leaves_early_is_no_failure(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([*PROGRAM, "--version"], stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert "Traceback" not in done.stderr


def test_results_that_cannot_be_printed_are_a_failure() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([*PROGRAM, "--version"], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 6 and Done(6, "", done.stderr).line


def test_shots_are_listed_drawn_and_obeyed(clip: Clip, program: Callable[..., Done]) -> None:
    film = clip("reel.mkv", codec="ffv1")
    done = program("shots", film, "--toml", "shots.toml", "--sheet", "sheet.png", "--json")
    assert (done.code, done.err) == (0, "") and Path("sheet.png").is_file()
    assert json.loads(done.out)["shots"][0]["first"] == 0
    listed = Path("shots.toml").read_text()
    Path("shots.toml").write_text(listed.replace("[[shot]]\nfirst", "[[shot]]\ngrey = true\nfirst"))
    done = program("colorize", film, "--shots", "shots.toml", "-o", "colour.mkv", "-c", "ffv1", *SMALL)
    assert done.code == 0
    assert all((plane == 128).all() for frame in read_frames("colour.mkv") for plane in frame.planes[1:])
    Path("shots.toml").write_text(listed + "gray = true\n")
    done = program("colorize", film, "--shots", "shots.toml", "-o", "other.mkv")
    assert done.code == 2 and "gray: no key that is known" in done.line and "line " in done.line
    cv2.imwrite("photo.png", grey(0))
    assert program("colorize", "photo.png", "--shots", "shots.toml", "-o", "colour.png").code == 2
    assert program("shots", film, "--sheet", "sheet.jpg").code == 2


def test_a_folder_of_scans_is_a_film(tmp_path: Path, program: Callable[..., Done]) -> None:
    (tmp_path / "scans").mkdir()
    for number in range(3):
        cv2.imwrite(str(tmp_path / "scans" / f"scan_{number:05}.png"), grey(number))
    done = program("colorize", "scans", "--rate", "18", *SMALL)
    assert done.code == 0 and "written to" in done.out and len(list(Path("scans-colour").iterdir())) == 3
    assert program("colorize", "scans", "-o", "reel.mkv", "-c", "ffv1", "--rate", "23.976", *SMALL).code == 0
    assert program("verify", "scans", "reel.mkv", "--rate", "24000/1001").code == 0
    assert program("verify", "reel.mkv.framemd5", "reel.mkv").code == 0
    assert "is no number" in program("colorize", "scans", "--rate", "fast").line
