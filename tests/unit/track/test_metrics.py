from minillm.track.metrics import MetricsLog, read_metrics


def write(folder, *records):
    log = MetricsLog(folder)
    for record in records:
        log.write(record)
    return log


def test_cut_back_forgets_what_a_resumed_run_writes_again(tmp_path):
    """Validation of step 2 describes the weights after it, and comes before update 3."""
    records = [
        {"step": 0, "val_loss": 5.0},
        {"step": 1, "loss": 4.0},
        {"step": 2, "loss": 3.0},
        {"step": 2, "val_loss": 3.0},
        {"step": 3, "loss": 2.0},
    ]
    write(tmp_path, *records).cut_back(2)
    assert read_metrics(tmp_path) == records[:3]


def test_line_that_a_kill_cut_off_is_dropped(tmp_path):
    log = write(tmp_path, {"step": 1, "loss": 4.0})
    with log.path.open("a") as file:
        file.write('{"step": 2, "lo')
    log.cut_back(5)
    log.write({"step": 3, "loss": 2.0})
    assert [record["step"] for record in read_metrics(tmp_path)] == [1, 3]


def test_first_line_that_was_cut_off_does_not_spoil_the_next(tmp_path):
    log = write(tmp_path)
    log.path.write_text('{"step": 1, "lo')
    log.cut_back(0)
    log.write({"step": 1, "loss": 4.0})
    assert [record["step"] for record in read_metrics(tmp_path)] == [1]


def test_cut_back_of_a_run_without_metrics_is_nothing(tmp_path):
    MetricsLog(tmp_path).cut_back(3)
    assert list(tmp_path.iterdir()) == []


def test_sinks_get_each_record(tmp_path):
    sent = []
    log = MetricsLog(tmp_path)
    log.sinks = [sent.append, sent.append]
    log.write({"step": 1, "loss": 4.0})
    assert sent == [{"step": 1, "loss": 4.0}] * 2


def test_folder_without_metrics_has_none(tmp_path):
    assert read_metrics(tmp_path) == []
