from llmctl.render.tables import table


def test_numbers_to_the_right_words_to_the_left():
    rows = [["all", 12345, None, 1.25], ["qwen3-coder:30b", 7, 3, None]]
    assert table(rows, header=["model", "requests", "errors", "ms"]) == (
        "model            requests  errors   ms\n"
        "all                12,345       -  1.2\n"
        "qwen3-coder:30b         7       3    -\n"
    )


def test_long_cells_are_never_cut():
    assert table([["x" * 200, "y"]]) == "x" * 200 + "  y\n"


def test_no_line_ends_in_spaces():
    assert table([["a", "long"], ["b", ""]]) == "a  long\nb\n"
