"""The page of results is made of what is here, and keeps what other machines measured."""

from benchmarks.faults.report import section
from benchmarks.results import merged

OLD = """# Results

Written by a person.

## Reach

95 %

## Planning

Load 4.

### Deadlines

3 missed

### Precisions

int8

## Soak

flat
"""


def test_what_was_not_measured_here_stays():
    assert merged(OLD, "") == OLD
    assert merged(OLD, "# Results\n\nWritten by a person.\n") == OLD
    assert merged("", OLD) == OLD


def test_what_was_measured_takes_the_place_of_what_was_there():
    new = merged(OLD, "## Planning\n\nLoad 1.\n\n### Deadlines\n\n0 missed\n")
    assert new == OLD.replace("Load 4.", "Load 1.").replace("3 missed", "0 missed")


def test_what_is_new_comes_after_what_it_follows():
    part = "## Push\n\n97 %\n"
    assert merged(OLD, f"## Reach\n\n95 %\n\n{part}") == OLD.replace(
        "## Planning", f"{part}\n## Planning"
    )
    after_all_of_planning = merged(OLD, f"## Planning\n\nLoad 4.\n\n{part}")
    assert after_all_of_planning == OLD.replace("## Soak", f"{part}\n## Soak")
    below = "### Optimisers\n\ncem\n"
    first = merged(OLD, f"## Planning\n\nLoad 4.\n\n{below}")
    assert first == OLD.replace("### Deadlines", f"{below}\n### Deadlines")
    assert merged(OLD, part) == f"{OLD}\n{part}"


def test_a_section_for_each_plant():
    trial = {
        "fault": "camera gap",
        "violations": [],
        "problems": [],
        "moving": True,
        "braking_s": None,
        "restart_s": None,
    }
    told = section({"trials": [trial | {"plant": "fake"}, trial | {"plant": "simulation"}]})
    titles = [line for line in told.splitlines() if line.startswith("## ")]
    assert [title.rsplit(": ")[-1] for title in titles] == [
        "against the fake hardware",
        "in simulation",
    ]
    assert "surprise is off" in told.split(titles[1])[0]
    assert "surprise is off" not in told.split(titles[1])[1]
