"""shots.toml: read as written, and every mistake named by line and key."""

from dataclasses import fields, replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.config import Settings
from stream.errors import InputError, OutputError, UsageError
from stream.shotlist import Shot, ShotList, read_shots, write_shots

GENERAL = Settings(saturation=0.9, strength=0.5)


def listed(tmp_path: Path, text: str) -> ShotList:
    path = tmp_path / "shots.toml"
    path.write_text(text)
    return read_shots(path)


looks = st.sampled_from(["starry", "natural", None])
shot = st.builds(
    Shot,
    first=st.integers(1, 10_000),
    look=looks,
    strength=st.none() | st.floats(0, 1),
    saturation=st.none() | st.floats(0, 2),
)


@settings(max_examples=40, deadline=None)
@given(shots=st.lists(shot, max_size=6, unique_by=lambda each: each.first), film=st.text(max_size=20))
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, shots: list[Shot], film: str) -> None:
    path = tmp_path_factory.mktemp("shots") / "shots.toml"
    rest = tuple(sorted(shots, key=lambda each: each.first))
    whole = ShotList(shots=(Shot(first=0, grey=True), *rest), film=film, frames=10_001, duration_s=400.04)
    write_shots(path, whole, {0: "1: 00:00:00:00"}, source=Path("reel.mkv"), overwrite=False)
    read = read_shots(path)
    assert read == replace(whole, film=film.encode(errors="replace").decode())


def test_a_list_of_somebodys_work_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "shots.toml"
    path.write_text("precious")
    with pytest.raises(OutputError, match="-y overwrites it"):
        write_shots(path, ShotList(shots=(Shot(first=0),)), {}, source=Path("reel.mkv"), overwrite=False)
    assert path.read_text() == "precious"


GOOD = 'film = "reel.mkv"\nframes = 100\n\n[[shot]]\nfirst = 0\n\n[[shot]]\nfirst = 40\n'
MISTAKES = [
    (GOOD + "saturaton = 1\n", 9, "shot 2: saturaton: no key that is known"),
    (GOOD + "saturation = 2.5\n", 9, "shot 2: saturation = 2.5; 0 to 2 is allowed"),
    (GOOD + "strength = true\n", 9, "shot 2: strength = True; a number is needed"),
    (GOOD + 'grey = "yes"\n', 9, "shot 2: grey = 'yes'; true or false is needed"),
    (GOOD + 'reference = "none.jpg"\n', 9, "there is no such picture"),
    (GOOD + 'look = "starry"\ngrey = true\n', 9, "grey and look can't both be"),
    (GOOD + "\n[[shot]]\nfirst = 40\n", 11, "shot 3: first = 40; the shot before begins at 40"),
    (GOOD + "\n[[shot]]\nfirst = 100\n", 11, "the film has 100 frames, 0 to 99"),
    (GOOD + "\n[[shot]]\nfirst = -1\n", 11, "0 or more is allowed"),
    (GOOD + "\n[[shot]]\nfirst = 50.5\n", 11, "a whole number is needed"),
    (GOOD + "\n[[shot]]\nlook = 'starry'\n", 10, "shot 3: first is missing"),
    (GOOD.replace("first = 0", "first = 1"), 5, "the first shot begins at frame 0"),
    (GOOD.replace("frames", "frame"), 2, "frame: no key that is known"),
    ("frames = 3\n", None, "no shots"),
    ("[[shot]\nfirst = 0\n", None, "no valid TOML"),
]


@pytest.mark.parametrize(("text", "line", "words"), MISTAKES, ids=[words for _, _, words in MISTAKES])
def test_a_mistake_is_named_by_line_and_key(tmp_path: Path, text: str, line: int | None, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        listed(tmp_path, text)
    message = str(caught.value)
    assert words in message and "\n" not in message
    assert line is None or f"shots.toml, line {line}" in message


def test_a_list_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.toml: the list of shots can't be read"):
        read_shots(tmp_path / "none.toml")


def test_pictures_lie_beside_the_list(tmp_path: Path) -> None:
    for name in ("still.png", "plain"):
        (tmp_path / name).write_bytes(cv2.imencode(".png", np.zeros((8, 8, 3), np.uint8))[1].tobytes())
    found = listed(tmp_path, '[[shot]]\nfirst = 0\nreference = "still.png"\n[[shot]]\nfirst = 1\nreference = "plain"\n')
    assert [Path(str(shot.reference)).name for shot in found.shots] == ["still.png", "plain"]
    assert found.shots[0].settings(GENERAL).style == str(tmp_path / "still.png")


def test_a_shot_overrides_what_it_names_and_nothing_else() -> None:
    assert Shot(first=0).settings(GENERAL) == GENERAL
    own = Shot(first=0, look="starry", saturation=0.4).settings(GENERAL)
    assert (own.style, own.saturation, own.strength) == ("starry", 0.4, 0.5)
    assert Shot(first=0, look="natural").settings(replace(GENERAL, style="starry")).style is None


def test_which_shots_paint_over_the_luma() -> None:
    styled = replace(GENERAL, style="starry")
    assert Shot(first=0, look="starry").paints(GENERAL) and Shot(first=0).paints(styled)
    for quiet in (Shot(first=0, look="starry", strength=0), Shot(first=0, reference="a.png"), Shot(first=0, grey=True)):
        assert not quiet.paints(styled)


def test_a_digest_is_that_of_what_is_wanted(tmp_path: Path) -> None:
    picture, moved = tmp_path / "a.png", tmp_path / "b.png"
    for path in (picture, moved):
        path.write_bytes(b"a picture")
    wanted = Shot(first=10, reference=str(picture), strength=0.5)
    assert wanted.digest == replace(wanted, first=90, reference=str(moved)).digest
    moved.write_bytes(b"another one")
    changed = {
        "reference": str(moved),
        "strength": 0.6,
        "saturation": 1.0,
        "grey": True,
        "look": "starry",
    }
    assert set(changed) | {"first"} == {each.name for each in fields(Shot)}
    digests = {replace(wanted, **{name: value}).digest for name, value in changed.items()}
    assert len(digests | {wanted.digest}) == len(changed) + 1


def test_the_list_of_another_film_is_refused() -> None:
    shots = ShotList(shots=(Shot(first=0), Shot(first=50)), film="reel.mkv", duration_s=8.0)
    shots.check_film("copy.mkv", 8.04)
    shots.check_film("camera", None)
    with pytest.raises(UsageError, match=r"is of a film of 8 s \(reel.mkv\), and other.mkv has 12 s"):
        shots.check_film("other.mkv", 12.0)
    assert shots.beyond(51) == [] and "before shot 2" in shots.beyond(50)[0]
