"""Every alert fires on what it is for and is silent otherwise, by promtool and without a stack."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab.native.programs import which
from lab.paths import CHECKOUT

RULES = CHECKOUT / "observability/prometheus/rules/alerts.yml"
CASES = sorted(Path(__file__).with_name("alerts").glob("*.yml"))


def _rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


ALERTS = sorted({rule["alert"] for rule in _rules()})


def _promtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    promtool = which("promtool")
    if promtool is None:
        pytest.skip("promtool is not on PATH; it comes with Prometheus (apt-get install prometheus)")
    command = [str(promtool), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)  # noqa: S603 - our files


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.stem)
def test_rules_do_as_their_cases_say(case: Path) -> None:
    """Promtool agrees with each case file."""
    done = _promtool("test", "rules", case)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("alert", ALERTS)
def test_each_alert_has_a_case_that_fires_and_one_that_is_silent(alert: str) -> None:
    """No alert is left without both."""
    cases = [
        entry
        for case in CASES
        for test in yaml.safe_load(case.read_text())["tests"]
        for entry in test["alert_rule_test"]
        if entry["alertname"] == alert
    ]
    assert {bool(case.get("exp_alerts")) for case in cases} == {True, False}


@pytest.mark.parametrize("number", range(len(_rules())), ids=[rule["alert"] for rule in _rules()])
def test_a_rule_that_never_fires_is_noticed(number: int, tmp_path: Path) -> None:
    """Control: with one rule's expression never true, the cases fail."""
    mute = yaml.safe_load(RULES.read_text())
    [group] = mute["groups"]
    group["rules"][number]["expr"] = "vector(0) > 1"
    (tmp_path / "alerts.yml").write_text(yaml.safe_dump(mute))
    copies = []
    for case in CASES:
        copies.append(tmp_path / f"case_{case.name}")
        copies[-1].write_text(yaml.safe_dump(yaml.safe_load(case.read_text()) | {"rule_files": ["alerts.yml"]}))
    assert _promtool("test", "rules", *copies).returncode != 0


@pytest.mark.parametrize("rule", _rules(), ids=[rule["alert"] for rule in _rules()])
def test_each_alert_links_to_its_section_of_the_runbook(rule: dict[str, Any]) -> None:
    """The runbook has the section that an alert's runbook_url names."""
    page, _, section = rule["annotations"]["runbook_url"].partition("#")
    headings = re.findall(r"^## (.+)$", (CHECKOUT / page).read_text(), re.MULTILINE)
    assert section in {heading.lower().replace(" ", "-") for heading in headings}
    assert section == rule["alert"].lower()
