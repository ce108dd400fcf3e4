from registry.release_directory import _link


def test_a_file_that_was_joined_before_a_crash_is_joined_again_without_a_trace(tmp_path):
    """rename(2) does nothing, and keeps both names, when they are of one file."""
    source, place = tmp_path / "source", tmp_path / "files/place"
    place.parent.mkdir()
    source.write_bytes(b"weights")
    (place.parent / ".place.joining").write_bytes(b"left by a kill")
    for _ in range(2):
        _link(source, place)
        assert [(path.name, path.read_bytes()) for path in place.parent.iterdir()] == [("place", b"weights")]
    place.unlink()
    place.write_bytes(b"rotten")
    _link(source, place)
    assert [(path.name, path.read_bytes()) for path in place.parent.iterdir()] == [("place", b"weights")]
