"""`dataflow-runtime config …` as users call it: processes, packages, exit codes, JSON, secrets."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

CLI = [sys.executable, "-c", "from dataflow_runtime.cli import main; main()"]
SECRET = "pl4nted-s3cret"
CONFIG = """\
# The feed
source:
  name: "feed"   # for people
  type: api
  api:
    url: https://example.org/data?api_key=${TOKEN}
    headers: {Authorization: "Bearer ${TOKEN}"}
    params: {token: "${TOKEN}", page: 1}
    json: {note: "by ${TOKEN}"}
    auth:
      type: oauth2_client_credentials
      token_url: https://example.org/token
      client_id: me
      client_secret: ${TOKEN}
  database:
    url: postgresql://u:${TOKEN}@host/db
    table: t
processing:
  batch_size: ${N:-1000}   # rows
  primary_key: [id]
output:
  warehouse: postgres
  postgres:
    url: ${WAREHOUSE_URL}
"""


class Workflows:
    """A folder of installed workflow packages, and the command line with it on the path."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.env = {
            key: value for key, value in os.environ.items() if not key.startswith("DATAFLOW")
        }
        path = os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))
        self.env |= {
            "PYTHONPATH": path,
            "TOKEN": SECRET,
            "WAREHOUSE_URL": f"postgresql://u:{SECRET}@host/db",
        }

    def install(self, name: str, config: str, **files: str) -> Path:
        package, metadata = self.folder / name, self.folder / f"{name}-1.0.dist-info"
        package.mkdir()
        metadata.mkdir()
        (package / "__init__.py").touch()
        (package / "job.py").write_text(
            f"raise SystemExit\nregister_workflow(name={name!r})(None)\n"
        )
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        groups = f"[dataflow.workflows]\n{name} = {name}.job\n"
        for file, text in files.items():
            (package / f"{file}.py").write_text(text)
            groups += f"[dataflow.config_models]\n{name} = {name}.{file}:Model\n"
        (metadata / "entry_points.txt").write_text(groups)
        (package / "config.yaml").write_text(config)
        return package / "config.yaml"

    def run(self, *arguments: str, code: int = 0, **env: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [*CLI, "config", *arguments],
            cwd=self.folder,
            env=self.env | env,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == code, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done

    def json(self, *arguments: str, code: int = 0, **env: str) -> Any:
        return json.loads(self.run(*arguments, "--json", code=code, **env).stdout)


@pytest.fixture
def workflows(tmp_path: Path) -> Workflows:
    return Workflows(tmp_path)


def test_list(workflows: Workflows) -> None:
    file = workflows.install("feed", CONFIG)
    (file.parent / "config.prod.yaml").touch()
    found = {config["name"]: config for config in workflows.json("list")}
    assert found["feed"] == {
        "name": "feed", "package": "feed", "file": str(file), "environments": ["prod"],
        "exists": True,
    }  # fmt: skip
    assert "feed/config.yaml" in workflows.run("list").stdout


def test_show(workflows: Workflows) -> None:
    file = workflows.install("feed", CONFIG)
    shown = workflows.json("show", "feed", "--origins", "--set", "retries.delay=3", N="7")
    assert (shown["name"], shown["env"]) == ("feed", None)
    assert shown["config"]["processing"]["batch_size"] == 7
    assert shown["config"]["output"]["postgres"]["url"] == "**********"
    assert shown["origins"]["processing.batch_size"] == {
        "layer": "file",
        "file": str(file),
        "line": 19,
        "variable": "N",
    }
    assert shown["origins"]["retries.delay"]["layer"] == "set"
    assert workflows.json("show", "feed")["origins"] is None
    text = workflows.run("show", "feed", "--origins", N="7").stdout
    assert re.search(r"^  batch_size: 7 +# feed/config.yaml:19 from N$", text, re.MULTILINE)
    assert re.search(r"^  marts_schema: feed_marts +# default$", text, re.MULTILINE)


def test_shown_text_is_a_config(workflows: Workflows) -> None:
    file = workflows.install(
        "feed", "source:\n  type: mock\n  name: 'a: \"b\" #c'\nschedule:\n  cron: '@daily'\n"
    )
    before = workflows.json("show", "feed")["config"]
    file.write_text(workflows.run("show", "feed", "--origins").stdout)
    assert workflows.json("show", "feed")["config"] == before


def test_validate(workflows: Workflows) -> None:
    workflows.install("good", "source:\n  type: mock\n")
    bad = workflows.install("bad", "source:\n  type: mock\nprocessing:\n  batch_size: lots\n")
    assert workflows.json("validate", "good") == [
        {"name": "good", "valid": True, "errors": [], "warnings": []}
    ]
    by_name = {config["name"]: config for config in workflows.json("validate", code=1)}
    assert by_name["good"]["valid"]
    assert by_name["bad"]["errors"] == [
        {
            "path": "processing.batch_size",
            "message": "Input should be a valid integer, found 'lots'",
            "file": str(bad),
            "line": 4,
            "column": 15,
            "hint": None,
        }
    ]
    text = workflows.run("validate", "bad", "good", code=1).stdout
    assert (
        "bad/config.yaml:4:15: processing.batch_size: Input should be a valid integer,"
        " found 'lots'\n" in text
    )
    assert "  4 |   batch_size: lots\n    |               ^^^^\n" in text
    assert "\x1b" not in text
    assert workflows.run("validate", "bda", code=2).stderr.count("did you mean 'bad'?") == 1
    workflows.run("validate", "good", "--set", "processing.batchsize=1", code=1)
    workflows.run("show", "good", "--set", "processing.batchsize=1", code=2)
    workflows.run("show", "good", "--set", "processing", code=2)


def test_a_literal_secret_is_a_warning(workflows: Workflows) -> None:
    workflows.install("feed", CONFIG.replace("client_secret: ${TOKEN}", f"client_secret: {SECRET}"))
    done = workflows.run("validate", "feed")
    assert (
        "warning: feed/config.yaml:14:22: source.api.auth.client_secret:"
        " a secret is written into the file" in done.stdout
    )
    assert SECRET not in done.stdout + done.stderr


def test_set(workflows: Workflows) -> None:
    file = workflows.install("feed", CONFIG)
    workflows.run(
        "set",
        "feed",
        "source.name=other feed",
        "processing.primary_key=[id, day]",
        "schedule.cron=0 5 * * *",
    )
    expected = CONFIG.replace('"feed"', '"other feed"').replace("[id]", "[id, day]")
    assert file.read_text() == expected + "schedule:\n  cron: 0 5 * * *\n"
    before = file.read_bytes()
    refused = workflows.run("set", "feed", "processing.batch_size=5", code=1).stderr
    assert "${N}" in refused
    assert "--force" in refused
    assert (
        "did you mean 'batch_size'"
        in workflows.run("set", "feed", "processing.batch_sise=5", code=2).stderr
    )
    assert (
        "Input should be greater than 0"
        in workflows.run("set", "feed", "processing.batch_size=0", "--force", code=1).stderr
    )
    assert file.read_bytes() == before
    workflows.run("set", "feed", "processing.batch_size=5", "--force")
    assert b"batch_size: 5   # rows\n" in file.read_bytes()


def test_set_from_eight_processes(workflows: Workflows) -> None:
    file = workflows.install("feed", CONFIG)
    with ThreadPoolExecutor(8) as pool:
        list(
            pool.map(
                lambda n: workflows.run("set", "feed", f"processing.columns.c{n}=integer"), range(8)
            )
        )
    assert {f"c{n}" for n in range(8)} == set(
        workflows.json("show", "feed")["config"]["processing"]["columns"]
    )
    assert file.read_text().startswith("# The feed\n")


def test_schema_and_own_model(workflows: Workflows) -> None:
    model = (
        "print('noise')\nfrom dataflow_runtime.config import WorkflowConfig\n"
        "class Model(WorkflowConfig):\n    limit: int\n"
    )
    workflows.install("own", "source:\n  type: mock\nlimit: x\n", settings=model)
    assert "limit" not in json.loads(workflows.run("schema").stdout)["properties"]
    assert "limit" in json.loads(workflows.run("schema", "own").stdout)["properties"]
    assert workflows.json("validate", "own", code=1)[0]["errors"][0]["path"] == "limit"
    assert workflows.json("show", "own", "--set", "limit=3")["config"]["limit"] == 3
    workflows.run("schema", "nope", code=2)


def test_no_output_holds_a_secret(workflows: Workflows) -> None:
    workflows.install("feed", CONFIG)
    broken = CONFIG.replace("type: oauth2_client_credentials", "type: basic").replace(
        "table: t", "tabel: [${TOKEN}]"
    )
    workflows.install("broken", broken.replace("client_secret:", "clint_secret:"))
    literal = (
        CONFIG.replace("${TOKEN}", SECRET).replace("client_secret: ", "client_secret: [")
        + "  x: : y\n"
    )
    workflows.install("literal", literal)
    unquoted = (
        "source:\n  type: api\n  api:\n"
        f"    auth: {{type: bearer, token: {SECRET}, x: 1}}\n    password: {SECRET}\n"
    )
    workflows.install("unquoted", unquoted)
    set_secret = f"source.api.auth.client_secret={SECRET}"
    outputs = [
        workflows.run(*command, code=code)
        for command, code in [
            (["list"], 0),
            (["list", "--json"], 0),
            (["show", "feed"], 0),
            (["show", "feed", "--origins"], 0),
            (["show", "feed", "--origins", "--json"], 0),
            (["show", "feed", "--set", set_secret], 0),
            (["show", "feed", "--set", f"source.api.auth.clientsecret={SECRET}"], 2),
            (["show", "feed", "--set", f"output.postgres.url={SECRET}"], 1),
            (["show", "broken"], 1),
            (["show", "literal"], 1),
            (["validate"], 1),
            (["validate", "--json"], 1),
            (["validate", "feed", "broken", "literal", "unquoted", "--json"], 1),
            (["set", "feed", set_secret], 1),
            (["set", "feed", f"source.api.auth.password={SECRET}"], 2),
            (["set", "feed", set_secret, "--force"], 0),
            (["set", "feed", f"output.postgres.url={SECRET}", "--force"], 1),
            (["schema", "feed"], 0),
        ]
    ]
    for name in (
        "SOURCE__API__AUTH__CLIENT_SECRET",
        "OUTPUT__POSTGRES__URL",
        "SOURCE__API__AUTH__TOKEN",
    ):
        variable = {f"DATAFLOW__FEED__{name}": SECRET}
        done = subprocess.run(
            [*CLI, "--verbose", "config", "show", "feed", "--origins"],
            cwd=workflows.folder, env=workflows.env | variable, capture_output=True, text=True,
            timeout=60,
        )  # fmt: skip
        outputs.append(done)
    for done in outputs:
        assert SECRET not in done.stdout + done.stderr, done.args


@pytest.mark.parametrize("command", [["list"], ["show", "feed", "--origins"], ["validate"]])
def test_nothing_heavy_is_imported(workflows: Workflows, command: list[str]) -> None:
    workflows.install("feed", CONFIG)
    code = (
        "import atexit, sys\n"
        "heavy = {'dagster', 'polars', 'dlt', 'dbt', 'duckdb', 'pyarrow', 'sqlalchemy', 'feed',"
        " 'pydantic_settings'}\n"
        "report = lambda: print('HEAVY', sorted(heavy & set(sys.modules)), file=sys.stderr)\n"
        "atexit.register(report)\n"
        f"sys.argv[1:] = {['config', *command]!r}\n"
        "from dataflow_runtime.cli import main; main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=workflows.folder,
        env=workflows.env,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stderr.endswith("HEAVY []\n")


def test_an_old_name_of_a_key_is_a_warning(workflows: Workflows) -> None:
    workflows.install("feed", CONFIG.replace("    headers:", "    retries: 7\n    headers:"))
    warning = (
        "warning: feed/config.yaml:7:5: source.api.retries: is called 'max_retries' now;"
        " the old name is read until"
    )
    assert warning in workflows.run("validate", "feed").stdout
    (result,) = workflows.json("validate", "feed")
    assert (result["valid"], [found["path"] for found in result["warnings"]]) == (
        True,
        ["source.api.retries"],
    )
    assert workflows.json("show", "feed")["config"]["source"]["api"]["max_retries"] == 7
    shown = subprocess.run(
        [*CLI, "show", "feed", "--json"],
        cwd=workflows.folder,
        env=workflows.env,
        capture_output=True,
        text=True,
    )
    assert json.loads(shown.stdout)["config"]["source"] == "api feed"
    assert shown.stderr.startswith(warning)
