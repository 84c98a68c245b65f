"""The template as pytest-copie renders it, for teams that test their own fork with it."""

from typing import Any


def test_the_template_renders_with_pytest_copie(copie: Any) -> None:
    result = copie.copy(extra_answers={"workflow_name": "orders", "owner": "shop"})
    assert result.exception is None
    assert result.exit_code == 0
    assert result.answers["workflow_name"] == "orders"
    assert 'orders = "orders.dagster_job"' in (result.project_dir / "pyproject.toml").read_text()
