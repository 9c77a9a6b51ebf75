from minillm.train.samples import append_samples, cut_back_samples


def test_cut_back_forgets_samples_from_the_step_on(tmp_path):
    for step in (10, 20, 30):
        append_samples(tmp_path, step, [f"text {step}"])
    cut_back_samples(tmp_path, 20)
    assert (tmp_path / "samples.txt").read_text() == "=== step 10 ===\ntext 10\n\n"


def test_cut_back_leaves_earlier_samples_alone(tmp_path):
    append_samples(tmp_path, 10, ["a\nb", "c"])
    cut_back_samples(tmp_path, 11)
    assert (tmp_path / "samples.txt").read_text() == "=== step 10 ===\na\nb\n\nc\n\n"
