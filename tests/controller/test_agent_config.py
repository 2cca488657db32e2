"""Settings: limits, types and misspelt names."""

from pathlib import Path

import pytest

from controller.config import (
    AgentConfig,
    ConfigError,
    CostConfig,
    PlannerConfig,
    from_mapping,
    load_agent_config,
)

SHIPPED = Path(__file__).parents[2] / "config" / "agent.yaml"


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "agent.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_shipped_file_says_what_the_defaults_are():
    assert load_agent_config(SHIPPED) == AgentConfig()


def test_what_a_file_leaves_out_keeps_its_default(tmp_path):
    config = load_agent_config(write(tmp_path, "planner: {samples: 64}\ndeadline_s: null\n"))
    assert config == AgentConfig(planner=PlannerConfig(samples=64), deadline_s=None)


def test_an_empty_file_gives_the_defaults(tmp_path):
    assert load_agent_config(write(tmp_path, "")) == AgentConfig()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("planner: {sampels: 64}", "planner: unknown setting 'sampels'; did you mean 'samples'"),
        ("velocity: 3", "unknown setting 'velocity'; known: planner, cost, guardrails, memory"),
        ("planner: {samples: many}", "planner: samples must be an integer, not 'many'"),
        ("planner: {samples: 12.5}", "planner: samples must be an integer, not 12.5"),
        ("planner: {samples: true}", "planner: samples must be an integer, not True"),
        ("planner: {std: .nan}", "planner: std must be a finite number, not nan"),
        (
            "planner: {method: cma}",
            "method must be one of cem, icem, mppi, predictive, gradient, not 'cma'",
        ),
        ("planner: {elites: 999}", r"planner: elites must be 2 to samples \(300\), not 999"),
        ("planner: 3", "planner: expected settings as 'name: value', got 3"),
        ("cost: {goal_weight: null}", "cost: goal_weight must be a finite number, not None"),
        ("[1, 2]", r"expected settings as 'name: value', got \[1, 2\]"),
        ("planner: {", "not a YAML file"),
    ],
)
def test_a_wrong_file_gets_one_line_that_names_file_and_setting(tmp_path, text, message):
    path = write(tmp_path, text)
    with pytest.raises(ConfigError, match=message) as caught:
        load_agent_config(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.yaml: cannot read .*No such file"):
        load_agent_config(tmp_path / "none.yaml")


@pytest.mark.parametrize(
    "planner",
    [
        {"knots": 1, "horizon": 0},
        {"horizon": 4, "knots": 5},
        {"knots": 0},
        {"interpolation": "linear", "knots": 1},
        {"samples": 3},
        {"iterations": 0},
        {"std": 0.0},
        {"noise_beta": -1.0},
        {"elites": 1},
        {"kept_elites": 31},
        {"std_floor": 0.0},
        {"temperature": 0.0},
        {"std_decay": 1.5},
        {"sample_decay": 0.0},
        {"momentum": 1.0},
        {"gradient_step": 0.0},
        {"adapt": True, "min_samples": 3},
    ],
)
def test_planner_limits(planner):
    with pytest.raises(ConfigError, match=next(reversed(planner))):
        from_mapping(PlannerConfig, planner)


@pytest.mark.parametrize(
    "cost",
    [
        {"goal_weight": -1.0},
        {"goal_growth": 0.0},
        {"goal_weight": 0.0, "action_weight": 0.0, "smoothness_weight": 0.0},
    ],
)
def test_cost_limits(cost):
    with pytest.raises(ConfigError):
        from_mapping(CostConfig, cost)


@pytest.mark.parametrize(
    "agent",
    [{"deadline_s": 0.0}, {"latency_steps": -1}, {"max_observation_age_s": 0.0}, {"seed": -1}],
)
def test_agent_limits(agent):
    with pytest.raises(ConfigError, match=next(iter(agent))):
        from_mapping(AgentConfig, agent)
