"""metrics.jsonl and its TensorBoard mirror."""

import json

from tensorboardX.proto import event_pb2

from ecc_jax.training.writer import METRICS_FILE, MetricsWriter, read_records


def _steps(path):
    return [record["step"] for record in read_records(path / METRICS_FILE)]


def _board_steps(path):
    """Reads the event files by their framing: length, crc, payload, crc."""
    steps = []
    for file in (path / "tensorboard").iterdir():
        data = file.read_bytes()
        at = 0
        while at < len(data):
            size = int.from_bytes(data[at : at + 8], "little")
            event = event_pb2.Event.FromString(data[at + 12 : at + 12 + size])
            steps += [event.step for value in event.summary.value if value.tag == "train/loss"]
            at += 12 + size + 4
    return steps


def test_no_step_twice_after_a_resume(tmp_path):
    first = MetricsWriter(tmp_path)
    for step in (10, 20, 30):
        first.write(step, "train", {"loss": step / 10})
    first.close()
    second = MetricsWriter(tmp_path, resume_step=20)
    second.write(30, "train", {"loss": 7.0})
    second.close()
    assert _steps(tmp_path) == [10, 20, 30]
    assert read_records(tmp_path / METRICS_FILE)[-1]["loss"] == 7.0
    assert _board_steps(tmp_path) == [10, 20, 30]


def test_torn_last_line_is_left_out(tmp_path):
    path = tmp_path / METRICS_FILE
    path.write_text(json.dumps({"step": 1, "kind": "train"}) + '\n{"step": 2, "ki')
    assert _steps(tmp_path) == [1]
    MetricsWriter(tmp_path, resume_step=5).close()
    assert path.read_text().count("\n") == 1


def test_fresh_run_starts_empty(tmp_path):
    MetricsWriter(tmp_path).close()
    assert read_records(tmp_path / METRICS_FILE) == []
