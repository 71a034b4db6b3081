"""The engine cache with real files, real locks and real processes."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream import cache, cli, runtime
from stream.cache import Key, locked
from stream.config import Settings
from stream.errors import EngineError, ResourceError
from stream.runtime import Choice
from stream.stop import Stop

ROOT = Path(__file__).resolve().parent.parent
WEIGHTS = "ab" * 32


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


def key(*facts):
    return Key(weights_sha256=WEIGHTS, facts=facts or ("a runtime 1.0", "natural", "256x448", "fp16"))


def keep(wanted, content=b"engine", **told):
    """An engine of one file, as a runtime keeps it."""
    with locked(wanted) as slot:
        assert slot.read() is None
        slot.write(lambda folder: (folder / "engine.trt").write_bytes(content))
        slot.approve(told)
        return slot.folder


def found(wanted):
    with locked(wanted) as slot:
        return slot.read(), slot.complaint


def test_an_engine_is_found_again_with_what_was_said_about_it():
    folder = keep(key(), refused="", p999_levels=0.25)
    meta, complaint = found(key())
    assert (meta["p999_levels"], complaint) == (0.25, "")
    assert meta["facts"] == list(key().facts)
    assert folder.stat().st_mode & 0o077 == 0
    assert (folder / "engine.trt").read_bytes() == b"engine"
    assert found(key("another")) == (None, "")


@given(st.lists(st.text(min_size=1, max_size=12), min_size=1, max_size=4))
@settings(max_examples=100, deadline=None)
def test_no_fact_leads_out_of_the_cache(facts):
    wanted = Key(weights_sha256=WEIGHTS, facts=("x", *facts)).folder
    assert wanted.resolve().parent.parent == cache.engines_folder().resolve()


def flip(folder):
    content = bytearray((folder / "engine.trt").read_bytes())
    content[0] ^= 1
    (folder / "engine.trt").write_bytes(content)


DAMAGES = {
    "a flipped bit": (flip, "is damaged (engine.trt)"),
    "a file too few": (lambda folder: (folder / "engine.trt").unlink(), "is damaged (engine.trt)"),
    "a file too many": (lambda folder: (folder / "extra.bin").write_bytes(b"?"), "is damaged (extra.bin)"),
    "notes that are no JSON": (lambda folder: (folder / "meta.json").write_text("{"), "can't be read"),
    "notes of another kind": (lambda folder: (folder / "meta.json").write_text("[1]"), "can't be read"),
    "notes that are no text": (lambda folder: (folder / "meta.json").write_bytes(b"\xff\xfe"), "can't be read"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_engine_is_named_and_built_again(damage):
    spoil, words = DAMAGES[damage]
    spoil(keep(key()))
    meta, complaint = found(key())
    assert meta is None
    assert words in complaint
    assert complaint.endswith("it is built again")
    keep(key(), b"new")
    assert found(key())[0] is not None


def test_an_engine_of_another_machine_is_not_taken_for_ours():
    ours, foreign = key("runtime", "sm 90"), key("runtime", "sm 80")
    keep(foreign).rename(ours.folder)
    assert "something else" in found(ours)[1]


def test_an_engine_that_was_never_approved_is_none():
    with pytest.raises(ZeroDivisionError), locked(key()) as slot:
        slot.write(lambda folder: (folder / "engine.trt").write_bytes(b"x"))
        raise ZeroDivisionError
    assert found(key()) == (None, "")


def test_a_build_that_fails_leaves_the_old_engine_and_no_rest():
    folder = keep(key())

    def fail(work):
        (work / "half").write_bytes(b"x")
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"), locked(key()) as slot:
        slot.write(fail)
    assert found(key())[0] is not None
    assert not list(folder.parent.glob(".work-*"))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_is_named():
    with pytest.raises(ResourceError, match="XDG_CACHE_HOME"), locked(key()) as slot:
        slot.write(lambda folder: Path("/dev/full").write_bytes(b"x"))


def test_a_cache_that_cannot_be_written_is_named(monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nowhere")
    with pytest.raises(EngineError, match="XDG_CACHE_HOME"), locked(key()):
        pass


BUILDER = """
import sys, time
from pathlib import Path
from stream.cache import Key, locked
with locked(Key(weights_sha256="ab" * 32, facts=("shared",))) as slot:
    found = slot.read()
    if found is None:
        def make(folder):
            for part in range(20):
                with (folder / "engine.trt").open("ab") as file:
                    file.write(sys.argv[1].encode() * 1000)
                time.sleep(0.01)
        slot.write(make)
        if sys.argv[1] == "killed":
            sys.stdout.write("written\\n"); sys.stdout.flush(); time.sleep(60)
        slot.approve({"by": sys.argv[1]})
        found = slot.read()
    sys.stdout.write(found["by"])
"""


def builder(name):
    return subprocess.Popen(
        [sys.executable, "-c", BUILDER, name], cwd=ROOT, stdout=subprocess.PIPE, text=True, env={**os.environ}
    )


def test_programs_that_want_the_same_engine_build_it_once():
    running = [builder(name) for name in ("one", "two", "three")]
    told = {process.communicate(timeout=60)[0] for process in running}
    assert len(told) == 1
    (entry,) = cache.entries()
    assert entry.state == "ok"


def test_a_builder_that_is_killed_gives_way_to_the_next():
    process = builder("killed")
    assert process.stdout.readline() == "written\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    (entry,) = cache.entries()
    assert entry.state == "unfinished"
    other = builder("other")
    assert other.communicate(timeout=60)[0] == "other"


def age(folder, seconds):
    os.utime(folder / "meta.json", (time.time() - seconds,) * 2)


def test_what_was_unused_for_longest_makes_room_but_never_what_is_locked():
    folders = [keep(key(f"engine {number}"), bytes(400_000)) for number in range(4)]
    for number, folder in enumerate(folders):
        age(folder, 100 * (number + 1))
    assert found(key("engine 3"))[0] is not None  # used now: the youngest
    with locked(key("engine 2")):
        removed = cache.prune(0.9)
    assert {entry.folder for entry in removed} == {folders[1]}
    assert [folder.exists() for folder in folders] == [True, False, True, True]
    cache.prune(0.9)
    assert [folder.exists() for folder in folders] == [True, False, False, True]


def test_keeping_one_more_makes_room(monkeypatch):
    monkeypatch.setattr(cache, "KEPT_MB", 0.5)
    first = keep(key("first"), bytes(400_000))
    age(first, 10)
    second = keep(key("second"), bytes(400_000))
    assert (first.exists(), second.exists()) == (False, True)


def run(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "stream", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["compile"], "kinochrome compile IN"),
        (["compile", "a.mkv", "--size", "8x8"], "kinochrome compile IN"),
        (["compile", "--size", "wide"], "WIDTHxHEIGHT"),
        (["compile", "--size", "64x48", "--short-side", "9"], "32 to 512"),
        (["cache", "prune"], "--max-mb"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments, words):
    refused = run(*arguments)
    assert refused.returncode == 2
    assert words in refused.stderr
    assert refused.stderr.count("\n") == 1


def test_the_command_builds_ahead_and_says_what_it_built():
    made = run("compile", "--size", "96x64,96x65", "--short-side", "64", "--runtime", "openvino", "--json")
    assert made.returncode == 0
    (row,) = json.loads(made.stdout)["engines"]  # both sizes have one working size
    assert row["working_size"] == [64, 96]
    (entry, *_) = cache.entries()
    assert entry.state == "ok"


@pytest.mark.parametrize("style", [False, True])
def test_the_command_builds_what_live_opens(monkeypatch, style):
    opened = []

    class Name:
        name = "made up"

    def open_runtime(settings, size, *, styled):
        opened.append((settings.lag, settings.batch, settings.short_side, size, styled))
        return Choice(runtime=Name(), reason="for the test")

    monkeypatch.setattr(runtime, "open_runtime", open_runtime)
    more = ["--style"] if style else []
    assert cli.run(["compile", "--live", *more, "--size", "1920x1080"], Stop()) == 0
    assert opened == [(0, 1, Settings.short_side, (256, 480), style)]


def test_code_is_part_of_what_an_engine_is_found_by(monkeypatch, tmp_path):
    package = tmp_path / "model"
    package.mkdir()
    for name in ("__init__.py", "blocks.py", "runtime.py"):
        (package / name).write_text("a = 1\n")
    monkeypatch.setattr(cache.model, "__file__", str(package / "__init__.py"))
    found = set()
    for name in ("nothing", "blocks.py", "runtime.py"):
        if name != "nothing":
            (package / name).write_text("a = 2\n")
        cache.code.cache_clear()
        found.add(cache.code(str(package / "runtime.py")))
    cache.code.cache_clear()
    assert len(found) == 3
    assert all(fact.startswith("code ") for fact in found)


def test_the_command_lists_verifies_and_prunes():
    good, bad = keep(key("good"), p999_levels=0.1), keep(key("bad"))
    wrong = keep(key("wrong"), refused="differs from the reference")
    flip(bad)
    listed = run("cache", "list", "--json")
    assert listed.returncode == 0
    assert {row["state"] for row in json.loads(listed.stdout)["engines"]} == {"ok", "refused"}  # a list reads no engine
    verified = run("cache", "verify")
    assert verified.returncode == 5
    assert "damaged" in verified.stdout
    assert str(bad) in verified.stdout
    pruned = run("cache", "prune", "--damaged", "--json")
    assert {row["folder"] for row in json.loads(pruned.stdout)["removed"]} == {str(bad), str(wrong)}
    assert good.exists()
    assert run("cache", "verify").returncode == 0
    assert run("cache", "prune", "--max-mb", "0").returncode == 0
    assert cache.entries() == []
    assert "no engines" in run("cache", "list").stdout
