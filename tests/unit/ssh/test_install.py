import pytest

from llmctl.core.errors import ConfigError
from llmctl.ssh.install import CHECKSUMS, Archive, OllamaInstall, archive_of, check_version

SUM = "ab" * 32


def test_pinned_version_needs_nothing_else() -> None:
    archive = archive_of(OllamaInstall(version="0.33.0"), "x86_64")
    assert archive.url.endswith("/v0.33.0/ollama-linux-amd64.tar.zst")
    assert archive.sha256 == CHECKSUMS["0.33.0"]["amd64"]
    assert archive_of(OllamaInstall(version="0.33.0"), "aarch64").url.endswith("arm64.tar.zst")


def test_mirror_of_a_pinned_version_is_checked_against_the_table() -> None:
    wanted = OllamaInstall(version="0.33.0", url="http://mirror/a.tar.zst")
    assert archive_of(wanted, "x86_64").sha256 == CHECKSUMS["0.33.0"]["amd64"]


def test_own_archive() -> None:
    wanted = OllamaInstall(version="1.2.3", url="http://mirror/a.tgz", sha256=SUM.upper())
    assert archive_of(wanted, "riscv64") == Archive(url="http://mirror/a.tgz", sha256=SUM)


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        (OllamaInstall(version="0.34.0"), "no SHA-256 is known for Ollama 0.34.0"),
        (OllamaInstall(version="0.34.0", url="http://m/a.tgz"), "no SHA-256 is known"),
        (OllamaInstall(version="0.17.0", sha256=SUM), "CVE-2026-7482"),
        (OllamaInstall(version="latest", sha256=SUM), "not a version such as"),
        (OllamaInstall(version="0.33.0", url="http://m/a b.tgz"), "is no URL"),
    ],
)
def test_what_is_not_installed(wanted: OllamaInstall, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        archive_of(wanted, "x86_64")


def test_machine_without_ollama() -> None:
    with pytest.raises(ConfigError, match="there is no Ollama for riscv64"):
        archive_of(OllamaInstall(version="0.33.0"), "riscv64")


@pytest.mark.parametrize("version", ["0.17.1", "0.17.10", "0.18.0-rc1", "1.0.0", "v0.33.0"])
def test_versions_that_may_run(version: str) -> None:
    assert check_version(version, what="it") is None


def test_pinned_checksums_are_checksums() -> None:
    for version, sums in CHECKSUMS.items():
        check_version(version, what="the table")
        assert set(sums) == {"amd64", "arm64"}
        assert all(len(bytes.fromhex(each)) == 32 for each in sums.values())
