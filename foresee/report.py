"""The table that `foresee run` and `foresee demo` print."""

from __future__ import annotations

from typing import Any


def table(summary: dict[str, Any]) -> str:
    """One line for each goal and one for all.

    Args:
        summary: has ``provider`` and ``goals``, a list of ``start_distance_m``,
            ``final_distance_m``, ``success``, ``also`` (as of `foresee.episode.EpisodeResult`),
            ``plan_ms`` with p99, and for real-time runs ``plan_hz`` and ``latency_ms`` with p99.
    """
    rows = summary["goals"]
    if not rows:
        return f"no goal was finished; model on {summary['provider']}"
    real_time = any("plan_hz" in row for row in rows)
    lines = [
        "goal   start      end        "
        + ("plans/s   latency p99" if real_time else "plan p50   plan p99")
    ]
    for number, row in enumerate(rows, 1):
        also = [name.removeprefix("success_") for name, ok in row["also"].items() if ok]
        mark = ", ".join(["reached" if row["success"] else "missed", *also])
        timing = (
            f"{row['plan_hz']:7.1f}   {row['latency_ms']['p99']:8.0f} ms"
            if real_time
            else f"{row['plan_ms']['p50']:5.0f} ms   {row['plan_ms']['p99']:5.0f} ms"
        )
        lines.append(
            f"{number:4}   {100 * row['start_distance_m']:5.1f} cm   "
            f"{100 * row['final_distance_m']:5.1f} cm   {timing}   {mark}"
        )
    reached = sum(row["success"] for row in rows)
    lines.append(f"{reached} of {len(rows)} goals reached; model on {summary['provider']}")
    return "\n".join(lines)
