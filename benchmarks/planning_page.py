"""The section of docs/results.md that `python -m benchmarks.planning` fills."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Rows = list[dict[str, Any]]
Interval = tuple[float, float]


def section(found: dict[str, Any]) -> str:
    """In Markdown, of the parts there are."""
    step = ", ".join(f"{name} {ms:.2f} ms" for name, ms in found["peer_step_ms"].items())
    lines = [
        "## Planning, side by side\n",
        "`pip install --no-deps -r benchmarks/peers.txt`, then "
        "`python -m benchmarks.planning --episodes 20`: "
        "pytorch_mppi 0.9.1 and stable-worldmodel 0.1.1 (swm) with their own code, this project's "
        "actor, and one world model (the shipped Reach-v0), each on one thread, in turns. Times "
        "are CPU times of the planning thread unless said otherwise: the machine was shared, its "
        "load is given with each table. Ratios are medians over rounds, each against foresee in "
        "fp32 in the same round; quartiles in brackets.\n",
        f"The peers' model is {found['peers_use']}, the fastest there (a step of 300 samples: "
        f"{step}).\n",
    ]
    for part, write in (
        ("overhead", _overhead),
        ("budget", _budget),
        ("time", _time),
        ("deadlines", _deadlines),
    ):
        if part in found:
            lines += write(found[part]["rows"])
            load = f"{found[part]['load_before']} before, {found[part]['load_after']} after"
            lines.append(f"\nLoad average {load}; {found['cpu_count']} cores.\n")
    return "\n".join([*lines, *_variants(found["variants"])])


def _asked_at_most(what: str, limits: Sequence[float], intervals: Sequence[Interval]) -> str:
    """Judged by 95 % intervals: a few plans do not show a small share."""
    pairs = list(zip(limits, intervals, strict=True))
    if all(high <= most for most, (_, high) in pairs):
        return _asked(what, True)
    if any(low > most for most, (low, _) in pairs):
        return _asked(what, False)
    return f"\nAsked for: {what}: **not shown**, the intervals hold both."


def _asked(what: str, reached: bool) -> str:
    return f"\nAsked for: {what}: **{'reached' if reached else 'not reached'}**."


def _variants(variants: dict[str, dict[str, Any]]) -> list[str]:
    lines = [
        "### Precisions tried\n",
        "By `foresee export --variants`, on held-out states: the share of fp32's elites that a "
        "variant picks too, over whole searches (at least 95 %), and success on the same seeds (at "
        "most 2 points less). Reach alone: `foresee export` refuses variants of a bundle with a "
        "critic, as those of Push and TwoRooms are.\n",
        "| variant | accepted | elites | × faster | success | fp32 | n | why not |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, verdict in variants.items():
        values = [
            "–" if verdict[key] is None else form.format(verdict[key])
            for key, form in (
                ("elite_overlap", "{:.1%}"),
                ("speedup", "{:.2f}"),
                ("success_rate", "{:.0%}"),
                ("fp32_success_rate", "{:.0%}"),
            )
        ]
        accepted = "yes" if verdict["accepted"] else "no"
        cells = [name, accepted, *values, str(verdict["episodes"]), verdict["reason"]]
        lines.append(f"| {' | '.join(cells)} |")
    return [*lines, ""]


def _spread(of: dict[str, float], digits: int) -> str:
    return f"{of['p50']:.{digits}f} ({of['p25']:.{digits}f} – {of['p75']:.{digits}f})"


def _overhead(rows: Rows) -> list[str]:
    lines = [
        "### What a planner adds\n",
        "A plan of four iterations with a model and a cost that do nothing, a decision at every "
        "step; for one iteration. Peers run between any two plans, so that each begins with what "
        "they left in the caches; by itself and on two actions an iteration takes "
        "[about half](experiments.md#optimisers).\n",
        "| samples × steps | planner | µs | × foresee |",
        "|---|---|---|---|",
    ]
    for row in rows:
        lines.append(
            f"| {row['shape']} | {row['name']} | {_spread(row['us'], 0)} | "
            f"{row['times_foresee']:.2f} |"
        )
    ours = [row["us"]["p50"] for row in rows if row["name"] == "foresee"]
    quarter = all(row["times_foresee"] >= 4 for row in rows if row["name"] != "foresee")
    fast = all(us <= most for us, most in zip(ours, (60, 150), strict=True))
    lines.append(_asked("a quarter of both peers or less", quarter))
    lines.append(_asked("at most 60 and 150 µs", fast))
    return lines


def _budget(rows: Rows) -> list[str]:
    lines = [
        "### Equal samples, steps and iterations\n",
        "300 samples × 12 steps × 4 iterations; foresee decides at 4 knots, the peers, which have "
        "none, at all 12 steps. The last column counts the predictor's matrix "
        "products alone, against a 1024³ product in fp32 measured in the same run.\n",
        "| planner | ms a plan | × foresee fp32 | GFLOP/s | of the fp32 peak |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        if "plan_cpu_ms" in row:
            lines.append(
                f"| {row['name']} | {_spread(row['plan_cpu_ms'], 1)} | "
                f"{_spread(row['times_foresee_fp32'], 2)} | {row['gflop_s']:.0f} | "
                f"{row['of_peak']:.0%} |"
            )
        else:
            lines.append(f"| {row['name']} | | | {row['gflop_s']:.0f} | 100% |")
    times = {row["name"]: row["times_foresee_fp32"]["p50"] for row in rows if "plan_cpu_ms" in row}
    peers = min(value for name, value in times.items() if not name.startswith("foresee"))
    int8 = times.get("foresee int8", float("inf"))
    lines.append(_asked("1.2 times faster than every peer in fp32", peers >= 1.2))
    lines.append(_asked("3 times faster with an accepted variant", peers / int8 >= 3.0))
    return lines


def _time(rows: Rows) -> list[str]:
    lines = [
        "### Equal time for each plan, in closed loop\n",
        "Reach-v0, every planner with as many samples as fill the time on one idle core (CPU time; "
        "the world waits, so the load of the machine changes nothing). Settings of the "
        "peers are the best found with `--tune` at 20 ms on a few other seeds (two episodes for "
        "each of 26 settings: little), ours those chosen for Reach over some hundred. The cost is "
        "the mean distance to the goal over the episode, judged by the simulator; the interval is "
        "a bootstrap of its mean over episodes, *beyond* that of its difference to foresee in fp32 "
        "goal by goal. Success interval: Wilson. (swm's iCEM was not tuned; its CEM holds each of "
        "four decisions for three steps, which keeps it from shifting its last plan.)\n",
        "| time | planner | samples × iterations | plan p50 | success | 95 % | n | cost | 95 % | "
        "beyond |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        setting, (low, high), (less, more) = (
            row["setting"],
            row["success_ci95"],
            row["cost_ci95_cm"],
        )
        lines.append(
            f"| {row['budget_ms']:.0f} ms | {row['name']} | "
            f"{setting['samples']} × {setting['iterations']} | "
            f"{row['plan_cpu_ms']['p50']:.1f} ms | {row['success_rate']:.0%} | "
            f"{low:.0%} – {high:.0%} | {row['n']} | {row['cost_cm']:.2f} cm | "
            f"{less:.2f} – {more:.2f} | {_beyond(row)} |"
        )
    cheaper = higher = True
    for budget_ms in {row["budget_ms"] for row in rows}:
        same = [row for row in rows if row["budget_ms"] == budget_ms]
        ours = next(row for row in same if row["name"] == "foresee fp32")
        peers = [row for row in same if not row["name"].startswith("foresee")]
        cheaper &= all(ours["cost_cm"] < peer["cost_cm"] for peer in peers)
        higher &= all(ours["success_rate"] > peer["success_rate"] for peer in peers)
    lines.append(_asked("lower cost than both peers at every time", cheaper))
    lines.append(_asked("higher success than both peers at every time", higher))
    return lines


def _beyond(row: dict[str, Any]) -> str:
    if row["name"] == "foresee fp32" or "cost_beyond_first_cm" not in row:
        return ""
    low, high = row["cost_beyond_first_ci95_cm"]
    return f"{row['cost_beyond_first_cm']:+.2f} ({low:+.2f} – {high:+.2f})"


def _deadlines(rows: Rows) -> list[str]:
    lines = [
        "### Deadlines\n",
        "An agent at 10 Hz with a deadline of 80 ms wall time, encoder included, first with the "
        "machine as it is, then with a busy process for every core. A miss is handled when the "
        "plan that comes is within the limits, or says that it is none and the robot rests (until "
        "it comes the one before is in force, for 0.15 s at most).\n",
        "| machine | plans | missed | share | 95 % | handled | not usable | p50 | p99 | max |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        low, high = row["ci95"]
        ms = row["plan_ms"]
        lines.append(
            f"| {row['name']} | {row['n']} | {row['misses']} | {row['miss_share']:.2%} | "
            f"{low:.2%} – {high:.2%} | {row['misses_handled']} | {row['unusable']} | "
            f"{ms['p50']:.0f} ms | {ms['p99']:.0f} ms | {ms['max']:.0f} ms |"
        )
    handled = all(row["misses_handled"] == row["misses"] for row in rows)
    shares = [tuple(row["ci95"]) for row in rows]
    lines.append(_asked_at_most("at most 0.1 % missed idle and 1 % loaded", (0.001, 0.01), shares))
    lines.append(_asked("every miss handled", handled))
    return lines
