"""The dashboards as the files that Grafana loads."""

from pathlib import Path

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.cog.encoder import JSONEncoder

from observability.dashboards.brokers import brokers
from observability.dashboards.model import model_dashboard
from observability.dashboards.overview import overview

FOLDER = Path(__file__).resolve().parent.parent / "grafana/dashboards"


def render_all() -> dict[str, str]:
    """The JSON of each dashboard by its file's name."""
    made: dict[str, dashboard.Dashboard] = {"overview": overview(), "brokers": brokers()}
    made |= {model: model_dashboard(model) for model in ("sync", "async", "streaming")}
    encoder = JSONEncoder(indent=2, sort_keys=True)
    return {f"{name}.json": encoder.encode(builder.build()) + "\n" for name, builder in made.items()}
