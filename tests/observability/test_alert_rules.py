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


[GROUP] = yaml.safe_load(RULES.read_text())["groups"]
ALERT_RULES: list[dict[str, Any]] = [rule for rule in GROUP["rules"] if "alert" in rule]
ALERTS = sorted({rule["alert"] for rule in ALERT_RULES})


def _name(rule: dict[str, Any]) -> str:
    return str(rule.get("alert") or rule["record"])


def _promtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    promtool = which("promtool")
    if promtool is None:
        pytest.skip("promtool is not on PATH; it comes with Prometheus (apt-get install prometheus)")
    command = [str(promtool), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)  # noqa: S603 - our files


def test_promtool_takes_the_rules_and_refuses_a_mistake(tmp_path: Path) -> None:
    """The rules are well formed; the same file with a bracket short is not."""
    assert _promtool("check", "rules", RULES).returncode == 0
    broken = tmp_path / "broken.yml"
    broken.write_text(RULES.read_text().replace("sum by (model)", "sum by (model", 1))
    assert _promtool("check", "rules", broken).returncode != 0


@pytest.mark.parametrize("rule", ALERT_RULES, ids=_name)
def test_each_alert_says_how_bad_it_is_and_what_it_means(rule: dict[str, Any]) -> None:
    """A known severity, a summary of what it is about, and a description that holds for every time it fires."""
    assert rule["labels"]["severity"] in {"critical", "warning", "info"}
    assert rule["annotations"].keys() == {"summary", "description", "runbook_url"}
    assert "{{" not in rule["annotations"]["description"]


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


@pytest.mark.parametrize("number", range(len(GROUP["rules"])), ids=map(_name, GROUP["rules"]))
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


@pytest.mark.parametrize("rule", ALERT_RULES, ids=_name)
def test_each_alert_links_to_its_section_of_the_runbook(rule: dict[str, Any]) -> None:
    """The runbook has the section that an alert's runbook_url names."""
    page, _, section = rule["annotations"]["runbook_url"].partition("#")
    headings = re.findall(r"^## (.+)$", (CHECKOUT / page).read_text(), re.MULTILINE)
    assert section in {heading.lower().replace(" ", "-") for heading in headings}
    assert section == rule["alert"].lower()
