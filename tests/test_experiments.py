"""A committed table answers the question its experiment asks."""

import re
from pathlib import Path

import pytest

from harness.experiment.plan import make_plan
from harness.experiment.search import settle, unsettled
from harness.experiment.spec import read_spec
from harness.store import Store

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared" / "data"
EXPERIMENTS = sorted((ROOT / "experiments").glob("*.toml"))


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_the_table_of_an_experiment_cites_exactly_the_runs_it_plans(catalog, path, monkeypatch):
    spec = read_spec(path)
    if "../shared/data" in path.read_text(encoding="utf-8") and not SHARED.is_dir():
        pytest.skip("needs the data folder beside the project (../shared/data)")
    monkeypatch.chdir(ROOT)
    plan = settle(make_plan(spec, catalog), Store(ROOT / "results"), catalog)
    assert not unsettled(plan)
    text = (ROOT / "results" / "tables" / f"{path.stem}.md").read_text(encoding="utf-8")
    cited = dict(re.findall(r"^- (\S+): (`.*`)$", text.partition("\nRuns:\n")[2], flags=re.MULTILINE))
    found = {label: re.findall(r"`(\w+)`", runs) for label, runs in cited.items()}
    assert found == {arm.label: [run.id for run in arm.runs] for arm in plan.arms}
    assert spec.question in text
