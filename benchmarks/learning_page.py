"""The sections of docs/results.md that `benchmarks.learning` makes."""

from __future__ import annotations

from typing import Any

from benchmarks.studies import LOOKS, OURS, VARIED

_TITLES = {
    "recipes": "the same data and budget by other recipes",
    "frames": "success against frames",
    "robustness": "when the world looks otherwise",
}


def section(summary: dict[str, Any]) -> str:
    """The figures of a study in Markdown."""
    study, rows = summary["study"], summary["rows"]
    world = summary["env"].rsplit("/", 1)[-1]
    command = f"python -m benchmarks.learning --study {study} --env {summary['env']} "
    command += f"--steps {summary['steps'][0]} --episodes {summary['episodes']}"
    body = _robustness(rows) if study == "robustness" else _learned(summary)
    floors = next((row["eval"]["floors"] for row in rows if row["eval"]["floors"]), {})
    said = "; ".join(f"{name} {_rate(floor)}" for name, floor in floors.items())
    lines = [
        f"## {world}: {_TITLES[study]}\n",
        f"`{command}`\n",
        f"{_told(summary)} n = {summary['episodes']} episodes each, seeds from {summary['seed']}, "
        "the same for all and not in the training data; one seed of training each. Training on one "
        f"thread, {summary['workers']} side by side.\n",
        *body,
        f"\nFloors: {said}." if said else "",
        *(f"\nNot judged: {line.split(': ', 1)[0]}, which failed." for line in summary["failed"]),
    ]
    return "\n".join(line for line in lines if line) + "\n"


def _told(summary: dict[str, Any]) -> str:
    """What all have in common and what differs."""
    encoder, predictor, critic = summary["steps"]
    second = f"a predictor on the frozen encoder ({predictor} steps)"
    second += f" and a critic ({critic} steps)" if critic else ""
    if summary["study"] == "robustness":
        return (
            "Two bundles by the same recipe, trained without and with domain randomisation "
            "(`config/randomization.yaml`), in worlds that look otherwise: start and goal image "
            "alike, each time exactly as far from the nominal world as the table says, and at "
            "random in which direction. Starts, goals and directions are the same for both."
        )
    told = (
        f"Each gets {encoder} updates of the encoder at 64 clips a batch, and then the same: "
        f"{second}, planner and costs. "
    )
    if summary["study"] == "frames":
        return told + "Data are the first episodes of one set; what is held out is the same."
    return (
        told
        + "So the table judges what the encoder learned, not the predictor that it was learned "
        "with. Weights of others are those they published; encoder, latent width, batch, "
        "optimiser and the predicted readings are ours, SIGReg is taken over all frames of a batch "
        "together, and nothing was tuned for them, while ours was tuned on this world (on other "
        "seeds). Clips have as many frames as a recipe's rollout asks for, which shows in the CPU "
        "time."
    )


def _learned(summary: dict[str, Any]) -> list[str]:
    """A row for each variant; its training in numbers beside its success."""
    places = summary["places"]
    lines = [
        "| | frames | success | 95 % interval | n | stricter | final: median, p95 | rollout error "
        f"× copy | R² {', '.join(places[:2])} (linear) | rank | training, CPU |",
        "|---" * 11 + "|",
    ]
    for row in summary["rows"]:
        judged, seen = row["eval"], row["validation"]
        low, high = judged["ci95"]
        final = judged["final_distance_m"]
        r2 = ", ".join(f"{seen['probe_r2'].get(place, float('nan')):.2f}" for place in places[:2])
        name = f"**{row['name']}**: {row['says']}" if row["name"] != row["says"] else row["name"]
        lines.append(
            f"| {name} | {row['frames']} | {judged['success_rate']:.0%} | {low:.1%} – {high:.1%} | "
            f"{judged['n']} | {_stricter(judged)} | {100 * final['median']:.1f}, "
            f"{100 * final['p95']:.1f} cm | {seen['rollout_ratio']:.3f} | {r2} | "
            f"{seen['effective_rank']:.1f} | {sum(row['cpu_s'].values()):.0f} s |"
        )
    lines.append(
        "\nFrames are those trained on. Rollout error (8 steps, of the predictor that plans), R² "
        "and effective rank are of held-out episodes, in each one's own latent. CPU time is that "
        "of all trainings of a row, also where it shares one with another row."
    )
    return lines


def _robustness(rows: list[dict[str, Any]]) -> list[str]:
    """A row for each look, a column for each bundle."""
    by_look: dict[str, dict[str, Any]] = {}
    for row in rows:
        by_look.setdefault(row["look"], {})[row["of"] or row["name"]] = row
    lines = ["| world | without | 95 % | with | 95 % | n |", "|---|---|---|---|---|---|"]
    for look, pair in by_look.items():
        cells = []
        for name in (OURS, VARIED):
            judged = pair[name]["eval"] if name in pair else None
            cells += [_bare(judged), _interval(judged)]
        n = next(iter(pair.values()))["eval"]["n"]
        lines.append(f"| {look or 'nominal'} | {' | '.join(cells)} | {n} |")
    told = {
        name: ", ".join(f"{key} {value:g}" for key, value in LOOKS[name].items())
        for name in by_look
        if name in LOOKS and name != "all at once"
    }
    lines.append(
        f"\nHow far: {'; '.join(f'{name}: `{value}`' for name, value in told.items())} (m, rad, "
        "parts of the direction to the light and of a colour)."
    )
    trained = [row for row in rows if row["cpu_s"]]
    for name in (OURS, VARIED):
        row = next((row for row in trained if name in (row["name"], row["of"])), None)
        if row is not None:
            lines.append(
                f"Training of `{name}`: {row['frames']} frames, "
                f"{sum(row['cpu_s'].values()):.0f} s of CPU."
            )
    return lines


def _bare(judged: dict[str, Any] | None) -> str:
    return f"{judged['success_rate']:.0%}" if judged else "not judged"


def _interval(judged: dict[str, Any] | None) -> str:
    return "{:.1%} – {:.1%}".format(*judged["ci95"]) if judged else ""


def _rate(judged: dict[str, Any]) -> str:
    return f"{_bare(judged)} ({_interval(judged)})"


def _stricter(judged: dict[str, Any]) -> str:
    return ", ".join(
        f"{name.removeprefix('success_')} {also['success_rate']:.0%}"
        for name, also in judged["also"].items()
    )
