"""What a session can be told: everything else is refused with a reason and changes nothing."""

import json
from dataclasses import asdict

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.control import Controls
from stream.frame import Frame
from stream.switch import Setting, available_looks, has_strength


def ask(controls, **request):
    return controls.answer(json.dumps({"v": 1} | request))


@given(st.floats(0, 1), st.floats(0, 2))
def test_what_is_set_is_what_holds(steady, saturation):
    controls = Controls(Setting())
    reply, _ = ask(controls, op="set", steady=steady, saturation=saturation, look="natural")
    assert reply["ok"] and reply["state"]["steady"] == steady
    assert controls.setting == Setting(steady=steady, saturation=saturation)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
)
KEYS = st.sampled_from(["v", "op", "look", "steady", "saturation", "strength", "on", "x"])
OPS = st.sampled_from(["state", "set", "pause", "snapshot"]) | ANYTHING


@given(st.binary(max_size=100) | st.text(max_size=100))
def test_nonsense_is_refused(request):
    controls = Controls(Setting())
    reply, attachment = controls.answer(request)
    assert not reply["ok"] and reply["error"] and attachment is None
    assert controls.setting == Setting() and controls.rejected == 1


@given(st.dictionaries(KEYS, ANYTHING), OPS)
def test_any_request_leaves_a_setting_that_is_allowed(request, op):
    controls = Controls(Setting())
    reply, _ = controls.answer(json.dumps({"v": 1, "op": op} | request))
    json.dumps(reply)
    setting = controls.setting
    assert setting.look in available_looks() and 0 <= setting.steady <= 1 and 0 <= setting.saturation <= 2
    assert reply["ok"] or setting == Setting()


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        ("[" * 4000, "no JSON"),
        ("{" + " " * 5000 + "}", "at most 4096"),
        ('{"v": 2, "op": "state"}', "v must be 1"),
        ('{"v": true, "op": "state"}', "v must be 1"),
        ('{"v": 1, "op": "exec"}', "op must be one of"),
        ('{"v": 1, "op": ["set"]}', "op must be one of"),
        ('{"v": 1, "op": "set", "steady": 2}', "0 to 1"),
        ('{"v": 1, "op": "set", "steady": NaN}', "0 to 1"),
        ('{"v": 1, "op": "set", "steady": true}', "0 to 1"),
        ('{"v": 1, "op": "set", "strength": 0.5}', "no strength"),
        ('{"v": 1, "op": "set", "look": "../x"}', "there are natural"),
        ('{"v": 1, "op": "set", "path": "x"}', "not 'path'"),
        ('{"v": 1, "op": "pause"}', "true or false"),
        ('{"v": 1, "op": "snapshot"}', "no picture yet"),
    ],
)
def test_what_is_wrong_is_said(request_, words):
    reply, _ = Controls(Setting()).answer(request_)
    assert words in reply["error"]


def test_a_snapshot_is_a_png_of_the_last_picture():
    controls = Controls(Setting())
    controls.last = Frame(planes=(np.full((6, 8), 120, np.uint8),))
    reply, picture = ask(controls, op="snapshot")
    assert reply["ok"] and cv2.imdecode(np.frombuffer(picture, np.uint8), 1).shape == (6, 8, 3)


def test_pausing_goes_on_and_off():
    controls = Controls(Setting())
    for on in (True, False):
        assert ask(controls, op="pause", on=on)[0]["state"]["paused"] is on is controls.paused


def test_the_natural_look_shows_no_strength():
    assert "strength" not in Controls(Setting()).state() and "strength" in asdict(Setting())
    assert not has_strength("natural")


def test_where_nothing_can_be_switched_nothing_is_offered():
    controls = Controls(Setting(), readonly=True)
    assert set(controls.state()) == {"readonly", "paused", "looks", "numbers"}
    assert not ask(controls, op="set", steady=0.1)[0]["ok"] and not ask(controls, op="pause", on=True)[0]["ok"]


def test_one_snapshot_at_a_time():
    controls = Controls(Setting())
    controls.last = Frame(planes=(np.full((6, 8), 120, np.uint8),))
    with controls._snapping:
        assert "another snapshot" in ask(controls, op="snapshot")[0]["error"]
    assert ask(controls, op="snapshot")[0]["ok"]


def test_the_first_look_can_be_chosen_again_by_its_name():
    controls = Controls(Setting(look="mine.png"))
    assert ask(controls, op="set", look="natural")[0]["state"]["look"] == "natural"
    assert "mine.png" in controls.state()["looks"]
    assert ask(controls, op="set", look="mine.png")[0]["state"]["look"] == "mine.png"
    for other in ("./mine.png", "/x/mine.png", "theirs.png"):
        assert not ask(controls, op="set", look=other)[0]["ok"]
    controls.give_up("another")
    assert controls.setting.look == "mine.png"
    controls.give_up("mine.png")
    assert controls.setting.look == "natural"
