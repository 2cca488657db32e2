"""The short form of the campaign at the filter's own boundary, and that it can fail."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks import filter_boundary
from controller.viability import Motion


def test_nothing_that_is_wrong_with_its_input_makes_the_filter_break_a_limit():
    figures = filter_boundary.campaign(trials=6, seed=10_000)
    assert figures["failed"] == 0, figures["first_failures"]
    assert {entry["n"] for entry in figures["by_class"].values()} == {6}


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda m: replace(m, velocity=m.velocity + np.nan), "not finite"),
        (lambda m: replace(m, velocity=m.velocity + 9.0), "velocity"),
        (lambda m: replace(m, velocity=m.velocity + 0.2), "acceleration"),
        (lambda m: replace(m, position=m.position + 9.0), "position"),
    ],
)
def test_what_breaks_a_limit_is_found(monkeypatch, change, problem):
    tick = filter_boundary.CommandFilter.tick

    def wrong(self, situation, now_s, elapsed_s):
        command = tick(self, situation, now_s, elapsed_s)
        return replace(command, motion=change(command.motion)) if now_s > 100.3 else command

    monkeypatch.setattr(filter_boundary.CommandFilter, "tick", wrong)
    _, _, problems = filter_boundary.trial(filter_boundary.Robots(), 14, 0)  # a tool
    assert problem in problems


def test_a_robot_that_never_rests_is_found(monkeypatch):
    monkeypatch.setattr(Motion, "rests", property(lambda _: False))
    _, _, problems = filter_boundary.trial(filter_boundary.Robots(), 14, 0)
    assert problems == ["does not come to rest"]
