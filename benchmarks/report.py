"""Draws what was measured on a GPU and brings README.md up to date.

python -m benchmarks.report     # results/gpu.json -> results/gpu.png, then every table
"""

import json
from pathlib import Path

import matplotlib
import typer

matplotlib.use("Agg")
from matplotlib import pyplot

from benchmarks import readme, results
from benchmarks.trial import Result

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main() -> None:
    """Plots and tables of all results that there are."""
    source = results.FOLDER / "gpu.json"
    if source.is_file():
        draw(json.loads(source.read_text()), source.with_suffix(".png"))
    else:
        typer.echo(f"{source.name}: no result; python -m benchmarks.gpu makes one on a machine with a GPU", err=True)
    readme.main(check=False)


def draw(result: Result, path: Path) -> None:
    """Pictures a second by working size, and the roofline with every row under it."""
    ran = [row for row in result["rows"] if "fps" in row]
    figure, (pace, roof) = pyplot.subplots(1, 2, figsize=(12, 5), layout="constrained")
    for variant in dict.fromkeys(row["variant"] for row in ran):
        for graph, style in (("natural", "-o"), ("fused", "--s")):
            best: dict[int, float] = {}
            for row in ran:
                if (row["variant"], row["graph"]) == (variant, graph):
                    side = int(row["size"].split("x")[0])
                    best[side] = max(best.get(side, 0.0), row["fps"])
            if best:
                pace.plot(sorted(best), [best[side] for side in sorted(best)], style, label=f"{variant}, {graph}")
    pace.set(xlabel="working size, short side in pixels", ylabel="pictures a second, best batch", yscale="log")
    pace.legend(fontsize="small")
    top = result["ceilings"]
    intensity = [row["gmac"] * 1000 / (2 * row["million_values"]) for row in ran]  # MAC a byte
    reach = [row["gmac"] * row["fps"] for row in ran]
    line = [0.1 * 1.3**step for step in range(40)]
    roof.plot(line, [min(top["gmac_s"], top["copy_gb_s"] * each) for each in line], "k-", label="the two ceilings")
    for variant in dict.fromkeys(row["variant"] for row in ran):
        chosen = [at for at, row in enumerate(ran) if row["variant"] == variant]
        roof.plot([intensity[at] for at in chosen], [reach[at] for at in chosen], "o", label=variant)
    roof.set(xlabel="multiply-adds a byte", ylabel="GMAC/s", xscale="log", yscale="log")
    roof.legend(fontsize="small")
    figure.suptitle(f"{top['device']}, {result['date'][:10]}")
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


if __name__ == "__main__":
    app()
