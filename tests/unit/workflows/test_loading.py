from __future__ import annotations

import sys
from typing import Any

import pytest

from dataflow_runtime.workflows.discovery import find_workflow, find_workflows
from dataflow_runtime.workflows.loading import BrokenWorkflow, LoadedWorkflow, load
from dataflow_runtime.workflows.registry import registrations


def broken(name: str) -> BrokenWorkflow:
    failure = load(find_workflow(name))
    assert isinstance(failure, BrokenWorkflow)
    assert failure.name == name
    assert f"workflow {name!r} ({failure.installed.package} 1.0) is broken: " in str(failure)
    assert failure.message in str(failure)
    return failure


def good(name: str) -> LoadedWorkflow:
    workflow = load(find_workflow(name))
    assert isinstance(workflow, LoadedWorkflow)
    return workflow


def test_a_good_one(site: Any) -> None:
    site.install("good")
    workflow = good("good")
    assert workflow.module.__name__ == "good.dagster_job"
    assert workflow.registration.job is workflow.module.good_job
    assert workflow.registration.metadata.extra == {"runbook": "on the wall"}


def test_only_the_named_are_imported(site: Any) -> None:
    site.install("good", "two_in_one")
    assert good("north").name == "north"
    assert "good.dagster_job" not in sys.modules


def test_an_import_error(site: Any) -> None:
    folder = site.install("import_error")
    failure = broken("import_error")
    assert failure.kind == "import"
    assert (
        failure.message == "ModuleNotFoundError: No module named 'a_module_that_is_not_installed'"
    )
    assert (failure.file, failure.line) == (str(folder / "dagster_job.py"), 1)


def test_an_error_below_names_the_workflows_own_line(site: Any) -> None:
    files = {
        "deep/__init__.py": "",
        "deep/job.py": "from deep.helper import parsed\n",
        "deep/helper.py": "import json\n\nparsed = json.loads('{')\n",
    }
    site.write("deep", files, {"deep": "deep.job"})
    failure = broken("deep")
    assert failure.message.startswith("json.decoder.JSONDecodeError: Expecting property name")
    assert (failure.file, failure.line) == (str(site.folder / "deep" / "helper.py"), 3)


def test_an_error_in_the_packages_init(site: Any) -> None:
    site.write(
        "early",
        {"early/__init__.py": "\n1 / 0\n", "early/jobs/job.py": ""},
        {"early": "early.jobs.job"},
    )
    failure = broken("early")
    assert failure.message == "ZeroDivisionError: division by zero"
    assert (failure.file, failure.line) == (str(site.folder / "early" / "__init__.py"), 2)


def test_sys_exit(site: Any) -> None:
    folder = site.install("sys_exit")
    failure = broken("sys_exit")
    assert failure.kind == "exit"
    assert failure.message == "SystemExit: no licence for this machine"
    line = (folder / "dagster_job.py").read_text().splitlines().index(
        'sys.exit("no licence for this machine")'
    ) + 1
    assert (failure.file, failure.line) == (str(folder / "dagster_job.py"), line)
    assert "sys_exit" not in registrations(), "what it registered before it failed is forgotten"


@pytest.mark.parametrize(
    "base", ["BaseException", "GeneratorExit", "RecursionError", "MemoryError"]
)
def test_whatever_else_is_raised(site: Any, base: str) -> None:
    site.write("odd", {"odd/job.py": f"raise {base}('odd')\n"}, {"odd": "odd.job"})
    assert broken("odd").message == f"{base}: odd"


def test_registers_nothing(site: Any) -> None:
    folder = site.install("registers_nothing")
    failure = broken("registers_nothing")
    assert failure.kind == "unregistered"
    assert (
        failure.message
        == "module 'registers_nothing.dagster_job' registers no workflow 'registers_nothing'"
    )
    assert failure.file == str(folder / "dagster_job.py")
    assert '@register_workflow(name="registers_nothing"' in str(failure.hint)


def test_a_missing_module(site: Any) -> None:
    site.install("missing_module")
    failure = broken("missing_module")
    assert failure.kind == "missing"
    assert failure.message == "module 'missing_module.gone' of the entry point does not exist"


def test_a_syntax_error(site: Any) -> None:
    site.write("unwritten", {"unwritten/job.py": "x = 1\ndef (:\n"}, {"unwritten": "unwritten.job"})
    failure = broken("unwritten")
    assert failure.kind == "import"
    assert failure.message.startswith("SyntaxError: ")
    assert (failure.file, failure.line) == (str(site.folder / "unwritten" / "job.py"), 2)


def test_a_name_that_two_packages_claim_loads_neither(site: Any) -> None:
    site.install("claims_twice_a", "claims_twice_b", "good")
    outcomes = [load(workflow) for workflow in find_workflows()]
    assert [found.name for found in outcomes if isinstance(found, LoadedWorkflow)] == ["good"]
    twice = [found for found in outcomes if isinstance(found, BrokenWorkflow)]
    assert [failure.name for failure in twice] == ["twice", "twice"]
    assert [failure.kind for failure in twice] == ["duplicate", "duplicate"]
    assert "(claims_twice_b 1.0)" in twice[0].message
    assert "(claims_twice_a 1.0)" in twice[1].message
    assert not registrations().keys() & {"twice"}


def test_a_name_registered_by_a_module_that_claims_another_too(site: Any) -> None:
    """A second claim that static discovery cannot see: the name is computed."""
    site.install("good")
    code = (
        "from dataflow_runtime import register_workflow\nregister_workflow(name='go' + 'od')(1)\n"
    )
    site.write("sly", {"sly/job.py": code}, {"sly": "sly.job"})
    good("good")
    failure = broken("sly")
    assert "registered twice" in failure.message
    assert str(site.folder / "good" / "dagster_job.py") in failure.message


def test_bad_metadata(site: Any) -> None:
    folder = site.install("bad_metadata")
    failure = broken("bad_metadata")
    assert failure.message == "metadata 'owner': expected a string, found 7"
    assert failure.file == str(folder / "dagster_job.py")
    assert failure.line == 10


def test_what_is_not_literal_is_known_once_loaded(site: Any) -> None:
    site.install("not_literal")
    assert good("not_literal").registration.metadata.description == "Known once loaded"


def test_printing_goes_to_stderr(site: Any, capsys: pytest.CaptureFixture[str]) -> None:
    site.install("prints_on_import")
    good("prints_on_import")
    output = capsys.readouterr()
    assert output.out == ""
    assert "hello from the workflow" in output.err


def test_the_error_for_a_command_keeps_the_hint(site: Any) -> None:
    site.install("registers_nothing")
    failure = broken("registers_nothing")
    assert (failure.error().message, failure.error().hint) == (str(failure), failure.hint)
    assert failure.hint is not None


def test_an_interrupt_is_not_caught(site: Any) -> None:
    site.write(
        "interrupted",
        {"interrupted/job.py": "raise KeyboardInterrupt\n"},
        {"interrupted": "interrupted.job"},
    )
    with pytest.raises(KeyboardInterrupt):
        load(find_workflow("interrupted"))
