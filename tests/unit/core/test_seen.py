from llmctl.core.seen import MOST, keep, seen


def test_the_latest_come_first_and_once(tmp_path):
    keep(tmp_path / "names", "models", ["a", "b"])
    keep(tmp_path / "names", "models", ["c", "b"])
    assert seen(tmp_path / "names", "models") == ["c", "b", "a"]
    assert seen(tmp_path / "names", "places") == []


def test_the_oldest_are_forgotten(tmp_path):
    keep(tmp_path, "models", [str(number) for number in range(MOST)])
    keep(tmp_path, "models", ["new"])
    found = seen(tmp_path, "models")
    assert (len(found), found[0], found[-1]) == (MOST, "new", str(MOST - 2))


def test_names_that_no_shell_should_see_are_left_out(tmp_path):
    keep(tmp_path, "models", ["ok", "a\nb", "\x1b[31mred", "tab\there"])
    assert seen(tmp_path, "models") == ["ok"]


def test_a_directory_that_cannot_be_used_is_no_failure(tmp_path):
    (tmp_path / "names").write_text("a file")
    keep(tmp_path / "names", "models", ["a"])
    assert seen(tmp_path / "names", "models") == []
    (tmp_path / "broken").write_bytes(b"\xff\xfe")
    assert seen(tmp_path, "broken") == []
