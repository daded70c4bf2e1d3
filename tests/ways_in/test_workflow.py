"""The GitHub Actions workflow: valid, least privileged, and every action pinned by commit."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from lab.paths import CHECKOUT

WORKFLOWS = sorted((CHECKOUT / ".github/workflows").glob("*.yml"))
ZIZMOR = Path(sys.executable).with_name("zizmor")


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a checker in the checkout and take what it says."""
    return subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)  # noqa: S603


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_the_workflow_follows_github_s_schema(workflow: Path) -> None:
    """Each workflow is valid by the schema of GitHub workflows that check-jsonschema carries."""
    done = run(sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows", workflow)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_the_workflow_passes_a_security_audit(workflow: Path) -> None:
    """Zizmor's offline audits (permissions, pins, credentials, injection) find nothing."""
    done = run(ZIZMOR, "--offline", "--no-progress", workflow)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_audit_notices_a_tag_in_place_of_a_commit(tmp_path: Path) -> None:
    """An action named by a tag, which its owner may move, fails the audit."""
    loosened, count = re.subn(r"@[0-9a-f]{40} #", "@", WORKFLOWS[0].read_text())
    assert count > 0
    copy = tmp_path / ".github/workflows/ci.yml"
    copy.parent.mkdir(parents=True)
    copy.write_text(loosened)
    done = run(ZIZMOR, "--offline", "--no-progress", copy)
    assert done.returncode != 0
    assert "unpinned-uses" in done.stdout


def test_every_way_in_has_its_job() -> None:
    """Lint, both runtimes, the devcontainer and nix are each a job."""
    jobs = re.findall(r"^  (\w+):\n    name:", (CHECKOUT / ".github/workflows/ci.yml").read_text(), re.MULTILINE)
    assert jobs == ["lint", "native", "compose", "devcontainer", "nix"]
