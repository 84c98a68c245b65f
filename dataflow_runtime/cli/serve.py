"""``serve``: the REST API."""

from __future__ import annotations

import ipaddress
import logging
import signal
import socket
import sys

import click

from dataflow_runtime.cli.output import announced_home
from dataflow_runtime.errors import DataflowError, UsageError

__all__ = ["serve_command"]

_GRACE = 10  # seconds for requests under way


@click.command("serve")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to bind to.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8000,
    show_default=True,
    help="Port; 0 for a free one.",
)
def serve_command(*, host: str, port: int) -> None:
    """Serve the REST API; Ctrl-C stops it, runs go on.

    DATAFLOW_API_TOKEN is the token that clients need.

    \b
    Example:
      dataflow-runtime serve --port 8080
    """
    from importlib.util import find_spec

    missing = [package for package in ("fastapi", "uvicorn") if find_spec(package) is None]
    if missing:
        raise DataflowError(
            f"{' and '.join(missing)} not installed", hint='pip install "dataflow-runtime[api]"'
        )
    settings = announced_home()
    token = settings.api_token.get_secret_value() if settings.api_token else None
    local = _is_loopback(host)
    if token is None and not local:
        raise UsageError(
            f"--host {host}: without a token the API is served to this machine only",
            hint="set DATAFLOW_API_TOKEN, or bind to 127.0.0.1",
        )

    import uvicorn

    from dataflow_runtime.api import create_app
    from dataflow_runtime.api.app import LOOPBACK
    from dataflow_runtime.api.gate import JsonFormatter

    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    for name in ("dataflow_runtime", "uvicorn"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(logging.INFO)
    with _listening(host, port) as listener:
        address = f"[{host}]" if ":" in host else host
        click.echo(
            f"REST API: http://{address}:{listener.getsockname()[1]}  (state: {settings.home})",
            err=True,
        )
        # uvicorn sends itself the signal again when it has stopped.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        uvicorn.Server(
            uvicorn.Config(
                create_app(token=token, hosts={*LOOPBACK, host.lower()} if local else None),
                log_config=None,
                access_log=False,  # the app has a line for each request
                server_header=False,
                timeout_graceful_shutdown=_GRACE,
            )
        ).run(sockets=[listener])


def _listening(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise DataflowError(
            f"{host}:{port}: {error.strerror or error}", hint="--port 0 takes a free port"
        ) from None


def _is_loopback(host: str) -> bool:
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
