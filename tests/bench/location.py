"""Loading the code location of many workflows, and a run from the command line."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.bench.common import PYTHON, RUNTIME, Bench, Ratio, advertise, compared, environ, seconds

PACKAGE = Path(__file__).parents[1] / "packages" / "shipments" / "shipments"

# The same without a runtime, as a person would write it: assets, checks, job and schedule of each.
BY_HAND = """\
import json, sys
from pathlib import Path

import dagster as dg
from dagster_dbt import DagsterDbtTranslator, dbt_assets


def one(name, minute, manifest):
    @dg.op(name=f"{name}_extract")
    def extract() -> int:
        return 1

    @dg.op(name=f"{name}_transform")
    def transform(n: int) -> int:
        return n

    @dg.op(name=f"{name}_load", out={"table": dg.Out(dg.Nothing), "rejected": dg.Out(dg.Nothing)})
    def load(n: int):
        yield dg.Output(None, "table")
        yield dg.Output(None, "rejected")

    @dg.graph_multi_asset(
        name=f"{name}_raw", group_name=name,
        outs={
            "table": dg.AssetOut(key=[name, "raw", name]),
            "rejected": dg.AssetOut(key=[name, "raw", f"{name}_rejected"]),
        },
    )
    def raw():
        return tuple(load(transform(extract())))

    class Translator(DagsterDbtTranslator):
        def get_asset_key(self, props):
            if props["resource_type"] == "source":
                return dg.AssetKey([name, "raw", props["identifier"]])
            return super().get_asset_key(props).with_prefix(name)

        def get_group_name(self, props):
            return name

    @dbt_assets(manifest=manifest, name=f"{name}_dbt", dagster_dbt_translator=Translator())
    def models(context):
        yield

    job = dg.define_asset_job(f"{name}_job", selection=[raw, models], description="Orders")
    schedule = dg.ScheduleDefinition(
        name=f"{name}_schedule", job=job, cron_schedule=f"{minute} * * * *"
    )
    return dg.create_repository_using_definitions_args(
        name,
        assets=[raw, models],
        jobs=[job],
        schedules=[schedule],
        executor=dg.in_process_executor,
    )


def build(manifests):
    return [
        one(name, number % 60, Path(manifest))
        for number, (name, manifest) in enumerate(manifests.items())
    ]
"""

LOAD = """\
import json, resource, sys, time
import dagster, dagster_dbt, polars, dlt
import dataflow_runtime.orchestration.repositories, dataflow_runtime.orchestration.assets
import dataflow_runtime.pipeline.sources

def load():
    if sys.argv[1] == "ours":
        from dataflow_runtime.orchestration.repositories import build_repositories
        repositories, broken = build_repositories()
        assert not broken, broken[0]
        return repositories.values()
    import by_hand
    return by_hand.build(json.loads(sys.argv[2]))

start = time.perf_counter()
repositories = list(load())
for repository in repositories:
    repository.load_all_definitions()
assert len(repositories) == 200
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
print(time.perf_counter() - start)
"""


# Parses one project and gives each of the others, which differ in the name only, a copy.
PARSE = """\
import sys, time
from pathlib import Path
from dataflow_runtime.config import config_manager
from dataflow_runtime.pipeline import dbt

first, *others = sorted(path.name for path in Path(sys.argv[1]).glob("bench_???"))

def target(config):
    return Path(dbt.environment(config)["DBT_TARGET_PATH"], "manifest.json")

start = time.perf_counter()
config = config_manager.load_config(first)
dbt.manifest_path(config)
print(time.perf_counter() - start)
manifest = target(config).read_text()

def copy(config, arguments):
    target(config).write_text(manifest.replace(first, config.workflow))

dbt._invoke = copy
for name in others:
    dbt.manifest_path(config_manager.load_config(name))
"""


def install(folder: Path, count: int) -> Mapping[str, str]:
    """Install copies of a workflow with dbt assets; return an environment that can import them."""
    site = folder / "site"
    for number in range(count):
        name = f"bench_{number:03}"
        for file in (
            file for file in PACKAGE.rglob("*") if file.suffix in (".py", ".yml", ".yaml", ".sql")
        ):
            copy = site / name / str(file.relative_to(PACKAGE)).replace("shipments", name)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_text(file.read_text().replace("shipments", name))
        shutil.copyfile(PACKAGE / "dbt" / ".dbtignore", site / name / "dbt" / ".dbtignore")
        advertise(site, name)
    (site / "by_hand.py").write_text(BY_HAND)
    return environment_of(folder)


def environment_of(folder: Path) -> Mapping[str, str]:
    """Return the environment of a site in `folder`."""
    return environ(
        PYTHONPATH=folder / "site", DATAFLOW_HOME=folder / "home", DAGSTER_DISABLE_TELEMETRY="yes"
    )


def load_200_with_assets(folder: Path) -> Ratio:
    """Loading 200 workflows with dbt assets : repositories written by hand, imports aside"""
    environment = install(folder, 200)
    memory: dict[str, str] = {}

    def load(which: str, manifests: Mapping[str, str]) -> float:
        command = [PYTHON, "-c", LOAD, which, json.dumps(manifests)]
        run = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
        memory[which], taken = run.stdout.splitlines()[-2:]
        return float(taken)

    parse = [PYTHON, "-c", PARSE, str(folder / "site")]
    parsed = subprocess.run(parse, env=environment, check=True, capture_output=True, text=True)
    # By hand, Dagster reads the manifest that dbt has written.
    written = sorted((folder / "home" / "dbt").glob("*/target/manifest.json"))
    manifests = {path.parents[1].name: str(path) for path in written}
    assert len(manifests) == 200
    result = compared(lambda: load("ours", {}), lambda: load("by hand", manifests), repeats=3)
    note = (
        f"{result.ours / 200 * 1000:.1f} ms a workflow; "
        f"parsing a dbt project, once, {float(parsed.stdout.splitlines()[-1]):.1f} s more; "
        f"memory {memory['ours']} MB, by hand {memory['by hand']} MB"
    )
    return result._replace(note=note)


TRIVIAL = """\
from dagster import job, op
from dataflow_runtime import register_workflow


@op
def work() -> None: ...


@register_workflow(name="trivial")
@job
def trivial_job() -> None:
    work()
"""


def run_trivial(folder: Path) -> Ratio:
    """`run` of a trivial workflow : its execute_in_process(), imports included"""
    site = folder / "site"
    (site / "trivial").mkdir(parents=True)
    (site / "trivial" / "job.py").write_text(TRIVIAL)
    (site / "trivial" / "config.yaml").write_text("source: {type: mock}\n")
    advertise(site, "trivial", "job")
    environment = environment_of(folder)
    in_process = [
        PYTHON,
        "-c",
        "from trivial.job import trivial_job; trivial_job.execute_in_process()",
    ]
    run = [RUNTIME, "run", "trivial"]
    return compared(
        lambda: seconds(run, environment), lambda: seconds(in_process, environment), repeats=9
    )


STEP = """\
import sys
from dagster._core.code_pointer import ModuleCodePointer  # as a run's or a step's process does
repository = ModuleCodePointer("dataflow_runtime.dagster_repo", sys.argv[1]).load_target()
assert repository.name == sys.argv[1]
assert sum(name.startswith("bench_") and "." not in name for name in sys.modules) == 1
"""


def step_of_200(folder: Path) -> Ratio:
    """The process of a step, 200 workflows installed : the same with one installed"""
    many, one = install(folder / "many", 200), install(folder / "one", 1)
    step = [PYTHON, "-c", STEP, "bench_000"]
    for environment in (many, one):  # parse the dbt project once
        subprocess.run(step, env=environment, check=True, capture_output=True)
    return compared(lambda: seconds(step, many), lambda: seconds(step, one), repeats=7)


BENCHES: list[Bench] = [
    (load_200_with_assets, 1.1),
    (step_of_200, 1.15),
    (run_trivial, 1.1),
]
