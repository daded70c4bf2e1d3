"""flake.nix, evaluated offline on a stub of nixpkgs; what the real packages hold, `nix flake check` tells in CI."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from lab.paths import CHECKOUT

STUB = Path(__file__).with_name("nixpkgs-stub")
SYSTEMS = {"x86_64-linux", "aarch64-linux", "x86_64-darwin", "aarch64-darwin"}

needs_nix = pytest.mark.skipif(
    shutil.which("nix") is None, reason="nix is not on PATH; install it to have flake.nix evaluated"
)


@pytest.fixture
def flake(tmp_path: Path) -> Path:
    """A folder with the flake and the stub alone, for nix copies what lies beside a flake."""
    folder = tmp_path / "flake"
    folder.mkdir()
    for name in ("flake.nix", "flake.lock"):
        shutil.copy(CHECKOUT / name, folder)
    shutil.copytree(STUB, tmp_path / "nixpkgs")
    return folder


def nix(flake: Path, *arguments: str, stub: bool = True) -> subprocess.CompletedProcess[str]:
    """Run nix in the flake's folder, with a store of its own, offline."""
    features = ("--extra-experimental-features", "nix-command flakes", "--offline")
    override = ("--override-input", "nixpkgs", f"path:{flake.parent}/nixpkgs", "--no-write-lock-file")
    return subprocess.run(  # noqa: S603
        [
            shutil.which("nix") or "nix",
            *features,
            "--store",
            str(flake.parent / "store"),
            *arguments,
            *(override if stub else ()),
        ],
        cwd=flake,
        env=os.environ | {"HOME": str(flake.parent)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


@needs_nix
def test_every_output_evaluates(flake: Path) -> None:
    """The shells, the demo and the checks of all four systems evaluate."""
    done = nix(flake, "flake", "check", "path:.", "--no-build")
    assert done.returncode == 0, done.stderr
    for output in ("devShells", "apps", "checks", "formatter"):
        listed = nix(flake, "eval", "--json", f"path:.#{output}", "--apply", "builtins.attrNames")
        assert set(json.loads(listed.stdout)) == SYSTEMS, listed.stderr


@needs_nix
@pytest.mark.parametrize("lost", ["apacheKafka", "rabbitmq-server", "zlib"])
def test_a_package_that_nixpkgs_has_not_is_noticed(flake: Path, lost: str) -> None:
    """The evaluation fails, naming the attribute, when nixpkgs lacks a package that the flake asks for."""
    stub = flake.parent / "nixpkgs/flake.nix"
    stub.write_text(stub.read_text().replace(f'"{lost}"', '"something-else"'))
    done = nix(flake, "eval", "path:.#devShells.x86_64-linux.default.drvPath")
    assert done.returncode != 0
    assert lost in done.stderr


@needs_nix
@pytest.mark.parametrize(("has_jaeger", "expected"), [(True, "jaeger"), (False, "go")])
def test_jaeger_comes_from_nixpkgs_or_is_built_with_go(flake: Path, has_jaeger: bool, expected: str) -> None:
    """The shell holds nixpkgs' Jaeger where there is one, else the Go that builds it."""
    stub = flake.parent / "nixpkgs/flake.nix"
    if has_jaeger:
        stub.write_text(stub.read_text().replace('"go"', '"go" "jaeger"'))
    done = nix(flake, "eval", "--json", "path:.#devShells.x86_64-linux.default.packages", "--apply", "map (p: p.name)")
    packages = set(json.loads(done.stdout or "[]"))
    assert packages & {"jaeger", "go"} == {expected}, done.stderr


@needs_nix
def test_the_lock_file_fits_the_flake(flake: Path) -> None:
    """flake.lock pins every input of flake.nix as flake.nix names it: nix sees nothing to update."""
    done = nix(flake, "flake", "metadata", "--json", "path:.", "--no-update-lock-file", stub=False)
    assert done.returncode == 0, done.stderr
    nodes = json.loads(done.stdout)["locks"]["nodes"]
    assert set(nodes) == {"root", "nixpkgs"}


def test_the_lock_file_pins_nixpkgs_by_content() -> None:
    """The one input is a full revision of the release branch that flake.nix names, with the hash of its content."""
    nixpkgs = json.loads((CHECKOUT / "flake.lock").read_text())["nodes"]["nixpkgs"]
    original = nixpkgs["original"]
    assert f"github:{original['owner']}/{original['repo']}/{original['ref']}" in (CHECKOUT / "flake.nix").read_text()
    assert len(nixpkgs["locked"]["rev"]) == 40
    assert nixpkgs["locked"]["narHash"].startswith("sha256-")
