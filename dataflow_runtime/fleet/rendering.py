"""Renders many workflows at one version of the template: read once, each of its texts compiled once.

`copier.run_copy` clones and compiles everything anew for each workflow, which is ten times as slow. That is why this
module, and no other, uses Copier's inner classes: `Worker` renders, `Template` says where from.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from copier._main import Worker
from copier._template import Template

__all__ = ["Renderer", "repository_url"]


def repository_url(source: str) -> str | None:
    """Return a template's source as git takes it, ``gh:`` and the like written out; None if it is no repository."""
    template = Template(url=source)
    return str(template.url_expanded) if template.vcs == "git" else None


class _QuickWorker(Worker):
    """A worker whose destination is no repository: there is no index to keep in step with."""

    def _sync_git_index_executable_bit(self, dst_relpath: Path, src_mode: int) -> None:
        pass


class Renderer:
    """The template at one version.

    Args:
        source: The template, as Copier recorded it.
        version: Its tag or commit, as Copier recorded it.
        commit: The same as a full hash.
        checkout: Its files at that version.
    """

    def __init__(
        self, source: str, version: str, commit: str, checkout: TemporaryDirectory[str]
    ) -> None:
        self._checkout = checkout  # removed with the renderer
        self._template = Template(url=source, ref=version)
        # They would be found by cloning `source`, and by asking git.
        known = {
            "local_abspath": Path(checkout.name).resolve(),
            "commit": version,
            "commit_hash": commit,
        }
        self._template.__dict__.update(known)
        self._environment: Any = None

    def render(self, answers: Mapping[str, Any], destination: Path) -> None:
        """Render the template into a folder as Copier does; runs no task, whomever the user trusts.

        Raises:
            Exception: Copier refuses an answer or the template, in many ways.
        """
        worker = _QuickWorker(
            src_path=self._template.url,
            dst_path=destination,
            data=dict(answers),
            vcs_ref=self._template.ref,
            defaults=True,
            overwrite=True,
            quiet=True,
            skip_tasks=True,
        )
        with worker:
            worker.__dict__["template"] = self._template
            if self._environment is None:
                self._environment = _remembering(worker.jinja_env)
            worker.__dict__["jinja_env"] = self._environment
            worker.run_copy()


def _remembering(environment: Any) -> Any:
    """Make a Jinja environment compile each text once."""
    compiled = functools.cache(environment.from_string)

    def from_string(source: str) -> Any:
        environment.preprocess(source)  # resets what Copier's `yield` tag keeps between two texts
        return compiled(source)

    environment.from_string = from_string
    return environment
