"""`lab` takes the runtime that can be had, says which and why, over a `docker` of the tests' own."""

from pathlib import Path

import pytest

from lab.errors import LabError
from lab.paths import CHECKOUT
from lab.runtime.choose import choose

CONFIG = """{"services": {"kafka": {"image": "apache/kafka:1"}, "grafana": {"image": "grafana/grafana:1"},
"sync-order": {"image": "own:1", "build": {}}}}"""


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is all of PATH, with a `docker` that succeeds in everything and knows every image.

    A file named after a command (`version`, `image`, ...) beside it makes that command fail.
    """
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "config.json").write_text(CONFIG)
    (folder / "compose-version").write_text("2.26.1")
    program = folder / "docker"
    program.write_text(f"""#!/bin/sh
cd {folder}
case "$*" in
  *config*) while read -r line; do echo "$line"; done <config.json; echo "$line" ;;
  "compose version"*) read -r line <compose-version; echo "$line" ;;
  "image inspect"*grafana*) exit 1 ;;
esac
if [ -e "$1" ]; then echo "refused" >&2; exit 1; fi
""")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setenv("LAB_HOME", str(tmp_path / "home"))
    for name in ("LAB_RUNTIME", "LAB_STACK"):
        monkeypatch.delenv(name, raising=False)
    return folder


def test_compose_is_taken_where_it_can_be_had(docker: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With an engine, Compose and every image but Grafana's, compose is taken, and the reason is said."""
    assert choose().name == "compose"
    assert "compose, because a Docker Engine with Compose answers" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("missing", "reason"),
    [
        (["docker"], "Docker is not installed"),
        (["version"], "no Docker Engine answers"),
        (["compose"], "this Docker has no Compose"),
        (["image", "manifest"], "the image apache/kafka:1 is not here and its registry does not answer"),
    ],
)
def test_native_is_taken_otherwise(
    docker: Path, missing: list[str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever compose lacks, the native runtime is taken and the reason is that lack."""
    for name in missing:
        if name == "docker":
            (docker / name).unlink()
        else:
            (docker / name).touch()
    assert choose().name == "native"
    assert f"Runtime: native, because {reason}." in capsys.readouterr().err


def test_images_that_can_be_pulled_are_as_good_as_there(docker: Path) -> None:
    """Missing images do not matter where their registry answers."""
    (docker / "image").touch()
    assert choose().name == "compose"


def test_an_old_compose_is_not_taken(docker: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A Compose that cannot read the file is named with the version that could."""
    (docker / "compose-version").write_text("v2.20.2\n")
    assert choose().name == "native"
    assert "Compose v2.20.2 is older than 2.23.1" in capsys.readouterr().err


def test_a_stack_of_ones_own_runs_natively(docker: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """LAB_STACK names parts and ports that compose.yaml does not have."""
    monkeypatch.setenv("LAB_STACK", str(CHECKOUT / "lab/stack.toml"))
    assert choose().name == "native"


def test_the_user_decides(docker: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """--runtime goes before LAB_RUNTIME, which goes before what would be chosen."""
    monkeypatch.setenv("LAB_RUNTIME", "native")
    assert choose().name == "native"
    assert choose("compose").name == "compose"
    with pytest.raises(LabError, match="choose compose or native"):
        choose("podman")
