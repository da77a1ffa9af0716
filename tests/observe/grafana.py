"""Builds the dashboards that ship, with Grafana's own types: ``python -m tests.observe.grafana`` writes them."""

from itertools import count
from pathlib import Path

from grafana_foundation_sdk.builders import common, dashboard, prometheus, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import LegendDisplayMode, LegendPlacement, TooltipDisplayMode
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DataSourceRef,
    VariableHide,
    VariableRefresh,
    VariableSort,
)

from ray_sched.observe import pages, panels

FOLDER = Path(panels.__file__).parent / "dashboards"
_DATASOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
_WIDTH, _HEIGHT = 12, 8


def files() -> dict[str, str]:
    """Name to text."""
    return {f"{_file_name(page)}.json": json_of(page) for page in pages.DASHBOARDS}


def json_of(page: panels.Dashboard) -> str:
    """A dashboard with the variables of Ray's own."""
    built = (
        dashboard.Dashboard(page.title)
        .uid(page.uid)
        .tags(["ray", "ray_sched"])
        .time("now-30m", "now")
        .refresh("10s")
        .timezone("browser")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .editable()
    )
    built = built.with_variable(
        dashboard.DatasourceVariable("datasource").type("prometheus").description("Which Prometheus.")
    )
    built = built.with_variable(_labels_variable("SessionName", "SessionName", "Ray session.", is_many=False))
    built = built.with_variable(_labels_variable("Cluster", "ray_io_cluster", "Cluster of KubeRay.", is_many=False))
    if page.has_pools:
        built = built.with_variable(_labels_variable("Pool", "pool", "Pools to show.", is_many=True))
    ids = count(1)
    for row in page.rows:
        built = built.with_row(dashboard.Row(row.title).id(next(ids)))
        for panel in row.panels:
            built = built.with_panel(_panel(panel).id(next(ids)))
    return JSONEncoder(sort_keys=True, indent=1).encode(built.build()) + "\n"


def _labels_variable(name: str, label: str, text: str, *, is_many: bool) -> dashboard.QueryVariable:
    metric = "ray_sched_slots" if label == "pool" else "ray_sched_up"
    return (
        dashboard.QueryVariable(name)
        .description(text)
        .datasource(_DATASOURCE)
        .query(f"label_values({metric}, {label})")
        .include_all(True)
        .all_value(".*")
        .multi(is_many)
        .hide(VariableHide.DONT_HIDE)
        .refresh(VariableRefresh.ON_DASHBOARD_LOAD)
        .sort(VariableSort.ALPHABETICAL_CASE_INSENSITIVE_ASC)
    )


def _panel(panel: panels.Panel) -> timeseries.Panel:
    built = (
        timeseries.Panel()
        .title(panel.title)
        .description(panel.advice)
        .unit(panel.unit)
        .min(0)
        .datasource(_DATASOURCE)
        .span(_WIDTH)
        .height(_HEIGHT)
        .fill_opacity(10)
        .tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI))
        .legend(
            common.VizLegendOptions()
            .display_mode(LegendDisplayMode.TABLE)
            .placement(LegendPlacement.BOTTOM)
            .calcs(["lastNotNull", "max"])
            .show_legend(True)
        )
    )
    for number, query in enumerate(panel.queries):
        target = (
            prometheus.Dataquery().expr(query.expr).legend_format(query.legend).ref_id(chr(ord("A") + number)).range()
        )
        built = built.with_target(target)
    return built


def _file_name(page: panels.Dashboard) -> str:
    return f"ray_sched_{page.uid.removeprefix('raySched').lower()}_grafana_dashboard"


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, text in files().items():
        (FOLDER / name).write_text(text)
