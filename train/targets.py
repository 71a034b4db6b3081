"""What was asked of the model, and whether the figures of a report reach it."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, TypeAlias

Row: TypeAlias = Mapping[str, Any]

CF_SLACK = 0.25
"""How far CF may be from the truth's without a gain, as a share of it."""
DCF_SHARE = 0.85
"""Mean per-picture dCF, as a share of the scaled plain L1 model's."""
OVER_GREY_DB = 1.2
STYLE_SHARE = 0.5
"""Style loss at strength 1, as a share of the unchanged picture's."""


def at_most(target: str, found: float, bound: float) -> dict[str, Any]:
    """A verdict: met where `found` is no higher than `bound`."""
    return {"target": target, "found": found, "wanted": f"<= {bound:.4g}", "met": found <= bound}


def below(target: str, found: float, bound: float) -> dict[str, Any]:
    """A verdict: met where `found` is lower than `bound`."""
    return {"target": target, "found": found, "wanted": f"< {bound:.4g}", "met": found < bound}


def above(target: str, found: float, bound: float) -> dict[str, Any]:
    """A verdict: met where `found` is higher than `bound`."""
    return {"target": target, "found": found, "wanted": f"> {bound:.4g}", "met": found > bound}


def holds(target: str, met: bool, wanted: str) -> dict[str, Any]:
    """A verdict on a fact that is no figure."""
    return {"target": target, "found": None, "wanted": wanted, "met": met}


def colour(rows: Sequence[Row], *, cf_truth: float) -> list[dict[str, Any]]:
    """The first of ours against the plain L1 model, scaled to the same CF (left out where that row is missing)."""
    ours = next((row for row in rows if row["kind"] == "ours"), None)
    scaled = next((row for row in rows if row["kind"] == "scaled" and row["name"].startswith("plain L1")), None)
    if ours is None:
        return []
    found = []
    if scaled is not None:
        found.append(above("PSNR above plain L1's at equal CF, dB", ours["psnr"], scaled["psnr"]))
        names = {"LPIPS": "lpips", "KD x1e3": "kd_x1e3"}
        found += [
            below(f"{name} below plain L1's at equal CF", ours[key], scaled[key])
            for name, key in names.items()
            if key in ours
        ]
        bound = DCF_SHARE * scaled["dcf_pictures"]
        found.append(
            at_most(f"dCF of the pictures at most {DCF_SHARE:g} of plain L1's at equal CF", ours["dcf_pictures"], bound)
        )
    away = abs(ours["cf"] / cf_truth - 1)
    found.append(at_most("CF, distance to the truth's as a share of it, no gain", away, CF_SLACK))
    found.append(above("direction: PSNR over grey's, dB", ours["psnr_over_grey"], OVER_GREY_DB))
    found.append(at_most("direction: dCF, absolute", abs(ours["dcf"]), 1.0))
    return [verdict | {"name": ours["name"]} for verdict in found]


def style(name: str, rows: Sequence[Row], *, natural: bool) -> list[dict[str, Any]]:
    """One of ours at strength 1 against the unchanged picture and the peer, and over the strengths.

    natural: whether strength 0 gave the natural graph's planes bit for bit.
    """
    own = sorted((row for row in rows if row["name"] == name), key=lambda row: row["strength"])
    full = own[-1]
    peer = next((row for row in rows if row["role"] == "peer"), None)
    identity = next(row for row in rows if row["role"] == "identity")
    found = []
    if peer is not None:
        found.append(at_most(f"style at most {peer['name']}'s", full["style"], peer["style"]))
        found.append(at_most(f"content at most {peer['name']}'s", full["content"], peer["content"]))
    bound = STYLE_SHARE * identity["style"]
    found.append(at_most(f"style at most {STYLE_SHARE:g} of the unchanged picture's", full["style"], bound))
    found.append(holds("strength 0 equals the natural graph", natural, "bit for bit"))
    found.append(holds("style falls with the strength", _rises([-row["style"] for row in own]), "at every step"))
    found.append(holds("content rises with the strength", _rises([row["content"] for row in own]), "at every step"))
    return [verdict | {"name": name} for verdict in found]


def _rises(values: Sequence[float]) -> bool:
    return all(before < after for before, after in pairwise(values))
