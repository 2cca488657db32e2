"""The short form of killing the recorder, and that it can fail."""

from benchmarks import recorder_kills
from world_model.data.spec import DatasetError


def test_a_killed_recording_is_read():
    found = recorder_kills.measure(recorder_kills.Options(trials=1))
    assert found["kills"] == 1
    assert found["unreadable"] == []
    assert found["worst_lost_s"] < 1.5  # 1.0 on a machine that is not busy
    assert "of 1 recordings could not be read" in recorder_kills.section(found)


def test_a_recording_that_cannot_be_read_is_counted(monkeypatch):
    def damaged(bag, killed_s):
        raise DatasetError(f"{bag}: damaged")

    monkeypatch.setattr(recorder_kills, "_lost_s", damaged)
    found = recorder_kills.measure(recorder_kills.Options(trials=1))
    assert len(found["unreadable"]) == 1
    assert found["worst_lost_s"] is None
