from minillm.track.lock import RunLock


def test_lock_is_held_for_the_length_of_its_block(tmp_path):
    assert not RunLock.is_held(tmp_path)
    assert list(tmp_path.iterdir()) == []  # looking leaves no trace
    with RunLock(tmp_path):
        assert RunLock.is_held(tmp_path)
        assert RunLock.is_held(tmp_path)
    assert not RunLock.is_held(tmp_path)
