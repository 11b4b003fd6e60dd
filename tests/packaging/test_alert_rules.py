"""The alert rules for Prometheus."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from offbeat import metrics

ROOT = Path(__file__).parents[2]
RULES = ROOT / "packaging/prometheus/offbeat.rules.yml"

CASES = """
rule_files: [{rules}]
evaluation_interval: 1m
tests:
  - interval: 1m
    input_series:
      - {{series: 'offbeat_store_up{{instance="a"}}', values: '1 1 0 0 0 0'}}
      - {{series: 'offbeat_store_unsealed_bytes{{instance="a"}}', values: '90x6'}}
      - {{series: 'offbeat_store_unsealed_limit_bytes{{instance="a"}}', values: '100x6'}}
      - {{series: 'offbeat_webhook_pending{{instance="a"}}', values: '2x40'}}
      - series: 'offbeat_webhook_deliveries_total{{instance="a",kind="slack",outcome="delivered"}}'
        values: '5x40'
    alert_rule_test:
      - {{eval_time: 1m, alertname: OffbeatStoreDown}}
      - eval_time: 4m
        alertname: OffbeatStoreDown
        exp_alerts: [{{exp_labels: {{instance: a, severity: critical}}, exp_annotations: {{
          summary: "The database of Offbeat on a does not answer, or has another schema",
          description:
            "Batches are refused with 503 and wait in the agents' spools. The log of the service says why."}}}}]
      - eval_time: 4m
        alertname: OffbeatBackPressure
        exp_alerts: [{{exp_labels: {{instance: a, severity: warning}}, exp_annotations: {{
          summary: "The disk or the database behind a is too slow for what is sent to it",
          description: "At the limit batches are refused with 503, and wait in the agents' spools."}}}}]
      - eval_time: 35m
        alertname: OffbeatAlertsNotSent
        exp_alerts: [{{exp_labels: {{instance: a, severity: critical}}, exp_annotations: {{
          summary: "2 alerts of Offbeat wait to be sent",
          description: "A receiver refuses them or cannot be reached; the log says which."}}}}]
"""


def promtool(*arguments):
    """Run promtool, or skip where there is none."""
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("no promtool: it comes with Debian's package prometheus")
    return subprocess.run([program, *arguments], capture_output=True, text=True, check=False, timeout=60)


def test_rules_name_only_metrics_that_exist():
    """A rule about a metric nobody writes never fires; one about a label it lacks neither."""
    for expression in re.findall(r"expr: (.*)", RULES.read_text(encoding="utf-8")):
        for name, labels in re.findall(r"(offbeat_[a-z_]+)(?:\{(.*?)\})?", expression):
            metric = metrics.TABLE.get(re.sub(r"_(bucket|sum|count)$", "", name))
            assert metric is not None, name
            assert set(re.findall(r"(\w+)!?[=~]+", labels)) <= {*metric.labels, "job", "instance"}, expression


def test_every_metric_of_the_code_is_in_the_table_and_every_line_of_the_table_is_used():
    """The one registry holds exactly what the code writes."""
    sources = [
        path for room in ("src/offbeat", "store", "api", "analyzer", "cli") for path in (ROOT / room).rglob("*.py")
    ]
    text = "\n".join(path.read_text(encoding="utf-8") for path in sources)
    used = set(re.findall(r'(?:counter|gauge|histogram)\("(offbeat_\w+)"\)|_GAUGES\["(offbeat_\w+)"\]', text))
    agents = re.findall(r'"(offbeat_agent_\w+)"', (ROOT / "collector/exporter.py").read_text(encoding="utf-8"))
    assert {a or b for a, b in used} | set(agents) == set(metrics.TABLE)


def test_prometheus_takes_the_rules():
    """Every expression parses."""
    done = promtool("check", "rules", str(RULES))
    assert done.returncode == 0, done.stdout + done.stderr


def test_alerts_fire_when_they_should(tmp_path):
    """A database that is away, back-pressure, and alerts that nobody takes raise one alert each, after their pause."""
    (tmp_path / "cases.yml").write_text(CASES.format(rules=RULES), encoding="utf-8")
    done = promtool("test", "rules", str(tmp_path / "cases.yml"))
    assert done.returncode == 0, done.stdout + done.stderr
