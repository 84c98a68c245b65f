"""``serve``: the REST API."""

from __future__ import annotations

import ipaddress
import logging
import signal
import socket
import sys
import time
from typing import TYPE_CHECKING, Any

import click

from dataflow_runtime.cli import options, output
from dataflow_runtime.cli.failures import require
from dataflow_runtime.errors import UsageError

if TYPE_CHECKING:
    from fastapi import FastAPI

    from dataflow_runtime.settings import Settings

_GRACE = 10  # seconds for requests under way when the server stops
_IDLE = 15.0  # seconds for a connection without a whole request


@click.command("serve")
@options.address_options(port=8000, lowest=0)
def serve_command(*, host: str, port: int) -> None:
    """Serve the REST API; Ctrl-C stops it, runs go on.

    DATAFLOW_API_TOKEN is the token that clients need.

    \b
    Example:
      dataflow-runtime serve --port 8080
    """
    require("api")
    settings = output.announced_home()
    token = _token(settings, host)
    from dataflow_runtime.api import LOOPBACK, JsonFormatter, create_app

    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    for name in ("dataflow_runtime", "uvicorn"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(logging.INFO)
    with options.listen(host, port) as listener:
        address = f"[{host}]" if ":" in host else host
        url = f"http://{address}:{listener.getsockname()[1]}"
        output.echo(output.clean(f"REST API: {url}  (state: {settings.home})"), err=True)
        # uvicorn sends itself the signal again when it has stopped.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        hosts = {*LOOPBACK, host.lower()} if _is_loopback(host) else None
        _serve(create_app(token=token, hosts=hosts), listener)


def _token(settings: Settings, host: str) -> str | None:
    if settings.api_token is None:
        if not _is_loopback(host):
            raise UsageError(
                f"--host {host}: without a token the API is served to this machine only",
                hint="set DATAFLOW_API_TOKEN, or bind to 127.0.0.1",
            )
        return None
    token = settings.api_token.get_secret_value()
    if not token.isascii() or not token.isprintable() or token != token.strip():
        raise UsageError(
            "DATAFLOW_API_TOKEN holds a token that no client can send, with characters that are"
            " not printable ASCII or with space around it",
            hint="print it into the variable without a newline: printf, not echo",
        )
    return token


def _serve(app: FastAPI, listener: socket.socket) -> None:
    """Serve the app until a signal ends it."""
    import uvicorn

    class Server(uvicorn.Server):
        """Closes connections on which no whole request arrives: uvicorn lets them wait for ever."""

        idle_since: dict[Any, float] = {}  # noqa: RUF012 - there is one server

        async def on_tick(self, counter: int) -> bool:
            now = time.monotonic()
            connections: set[Any] = {*self.server_state.connections}
            idle = [one for one in connections if one.cycle is None or one.cycle.response_complete]
            self.idle_since = {one: self.idle_since.get(one, now) for one in idle}
            for connection, since in self.idle_since.items():
                if now - since > _IDLE:
                    connection.transport.close()
            return await super().on_tick(counter)

    config = uvicorn.Config(
        app,
        http="httptools",
        ws="none",
        log_config=None,
        access_log=False,  # the app logs each request
        server_header=False,
        timeout_graceful_shutdown=_GRACE,
    )
    Server(config).run(sockets=[listener])


def _is_loopback(host: str) -> bool:
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
