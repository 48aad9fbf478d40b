import pytest

from llmctl.core.gpus import GPUS, find_gpus, gpu_names


def keys(name):
    return [gpu.key for gpu in find_gpus(name)]


@pytest.mark.parametrize("name", ["rtx4090", "RTX 4090", "RTX_4090", " rtx-4090 "])
def test_a_card_is_found_however_it_is_written(name):
    assert keys(name) == ["rtx4090"]


def test_a_family_stands_for_its_forms_and_a_variant_for_itself():
    assert keys("h100") == ["h100-sxm", "h100-pcie", "h100-nvl"]
    assert keys("H100 SXM") == ["h100-sxm"]
    assert "rtx4090d" not in keys("rtx4090")


def test_an_unknown_card_is_told_with_what_is_known():
    with pytest.raises(ValueError, match=r"no GPU is called 'rtx9999'; known are .*h100"):
        find_gpus("rtx9999")


def test_no_two_cards_share_a_name():
    for field in ("key", "name", "vast"):
        assert len({getattr(gpu, field) for gpu in GPUS}) == len(GPUS)
    assert all(find_gpus(name) for name in gpu_names())
