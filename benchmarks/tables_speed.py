"""Tables of what the program does: films, live, the wire, engines, interrupted work."""

from benchmarks.cells import Cell, caption, percent, table
from benchmarks.trial import Result


def film_table(result: Result) -> list[str]:
    """What a film's colouring costs, a column for each film."""
    films: list[Result] = result["films"]
    rows: list[list[Cell]] = [
        ["coloured, frames a second", *(f"**{film['fps']:.1f}**" for film in films)],
        ["the same transcode without the network", *(f"{film['transcode_fps']:.1f}" for film in films)],
        ["share of what the cores can do at best", *(percent(film["of_limit"]) for film in films)],
        ["network and steadiness, ms a frame", *(f"{film['network_steady_ms']:.1f}" for film in films)],
    ]
    for stage in films[0]["stages_ms"]:
        rows.append([f"CPU ms a frame: {stage}", *(f"{film['stages_ms'][stage]:.1f}" for film in films)])
    rows.append(["frames on which the network did not run", *(film["network_skipped"] for film in films)])
    rows.append(["peak memory, MB", *(f"{film['peak_rss_mb']:.0f}" for film in films)])
    start = f"Start-up {result['startup_warm_s']:.1f} s, the very first time {result['startup_cold_s']:.1f} s."
    peaks = [f"Peak memory for {count} frames: {peak:.0f} MB." for count, peak in (result.get("memory") or {}).items()]
    head = [f"{films[0]['size']} to x264 veryfast", *(film["film"] for film in films)]
    return [*table(head, rows), "", " ".join([start, *peaks]), "", caption(result)]


def engine_table(result: Result) -> list[str]:
    """The network alone, under the ceiling of each runtime."""
    rows: list[list[Cell]] = []
    for row in result["rows"]:
        if "reason" in row:
            rows.append([row["runtime"], row["size"], row["graph"], row["reason"]])
            continue
        times: list[Cell] = [f"{row[name]:.1f}" for name in ("ms", "ms_p95", "single_ms", "cpu_ms")]
        share = f"{percent(row['share'])} ({row['bound']})" if "share" in row else None
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
    return [f"Ceiling of this machine: {tops}.", "", *table([*head, "steadiness ms"], rows), "", caption(result)]


def gpu_table(result: Result) -> list[str]:
    """The network on a GPU, then whole frames, under the GPU's ceilings."""
    top = result["ceilings"]
    rows: list[list[Cell]] = []
    for row in result["rows"]:
        if "reason" in row:
            rows.append([row["variant"], row["graph"], row["size"] or None, row["batch"] or None, row["reason"]])
            continue
        share = f"{percent(row['share'])} ({row['bound']})"
        way = f"{row['variant']}, refused: {row['refused']}" if "refused" in row else row["variant"]
        rows.append([way, row["graph"], row["size"], row["batch"], row["ms"], row["fps"], share])
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
    return [ceilings, "", *table(head, rows), "", *table(frames, whole), "", *failed, caption(result)]


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
    return [*table(head, rows), "", f"*Built for {result['pretended']}, never run; {versions}.*"]


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
    return [*table([*head, "accounted for"], rows), "", caption(result)]


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
    return [*table(head, rows), "", caption(result)]


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
    return [*table([*head, "memory, MB", "dropped and lost"], rows), "", caption(result)]


def soak_table(result: Result) -> list[str]:
    """What hostile peers did to each socket."""
    rows: list[list[Cell]] = []
    for name in ("publisher", "subscriber", "control", "websocket"):
        row = result[name]
        rows.append([name, f"{row['sent']:,}", f"{row['rejected']:,}", row["growth_mb"], row["s"]])
    return [*table(["socket", "hostile messages", "rejected by us", "growth MB", "s"], rows), "", caption(result)]


def kills_table(result: Result) -> list[str]:
    """What kill -9 did to films."""
    kept = result["segments_kept"]
    text = (
        f"{result['kills']} kills at random moments over {result['films']} films of {result['frames']:,} "
        f"{'frames' if result['of'] == 'a film' else result['of']}: "
        f"{result['before_start']} before the first segment was begun, {result['while_joined']} once all segments were "
        f"there; {min(kept)} to {max(kept)} segments kept; lost or made twice: {result['lost_or_made_twice']}. Every "
        "film was, byte for byte in packets or files, the one that nothing interrupted."
    )
    return [text, "", caption(result)]


def scale_table(result: Result) -> list[str]:
    """What segments, resuming and workers cost and bring, and the model of a large archive."""
    runs, resume, plan = result["runs"], result["resume"], result["plan"]
    rows: list[list[Cell]] = [[kind, run["fps"], run["cpu_ms"], run["peak_rss_mb"]] for kind, run in runs.items()]
    for workers, run in result["cluster"].items():
        started = f"Ray, {workers} workers of one core, {run['opened_s']:g} s to start, {run['prepared_s']:g} to begin"
        rows.append([started, run["fps"], None, None])
    low, high = (100 * end(result["segments_costs"]) for end in (min, max))
    told = [
        f"Segments cost {100 * result['segments_cost']:+.1f} % of CPU time "
        f"({result['film']}; median of {result['rounds']} pairs of runs, {low:+.1f} to {high:+.1f}). "
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
    return [*table(head, rows), "", *(line for text in told for line in (text, "")), caption(result)]
