"""``requirements.lock`` pins, by version and hash, what pyproject.toml asks for. Needs no network."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
LOCK = ROOT / "requirements.lock"
LOCKED_EXTRAS = ("embedded", "hiredis")


def pinned() -> dict[str, list[tuple[Requirement, int]]]:
    """Every pin by name, with how many hashes it has; a name may have one for each platform."""
    pins: dict[str, list[tuple[Requirement, int]]] = {}
    for block in re.split(r"\n(?=\S)", LOCK.read_text().strip()):
        head, *hashes = (part.strip() for part in block.replace("\\\n", "\n").splitlines())
        requirement = Requirement(head)
        assert all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", each) for each in hashes), block
        pins.setdefault(canonicalize_name(requirement.name), []).append((requirement, len(hashes)))
    return pins


def asked() -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    lines = [*project["dependencies"], *(line for name in LOCKED_EXTRAS for line in extras[name])]
    return [Requirement(line) for line in lines]


def test_everything_is_pinned_with_hashes():
    for name, pins in pinned().items():
        for requirement, hashes in pins:
            assert re.fullmatch(r"==[^*]+", str(requirement.specifier)), name
            assert hashes, name


@pytest.mark.parametrize("requirement", asked(), ids=lambda each: each.name)
def test_the_lock_holds_what_is_asked_for(requirement):
    pins = pinned().get(canonicalize_name(requirement.name), [])
    versions = [next(iter(each.specifier)).version for each, _ in pins]
    assert versions, f"{requirement.name} is not in requirements.lock: run tests/lock"
    assert all(requirement.specifier.contains(each) for each in versions), (
        f"requirements.lock has {requirement.name} {versions}, not {requirement}: run tests/lock"
    )


def test_the_lock_names_no_place():
    assert "://" not in LOCK.read_text()
