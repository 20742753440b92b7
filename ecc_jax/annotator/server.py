"""From what a person asks for to a running server."""

import socket
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import uvicorn

from ecc_jax import runs
from ecc_jax.annotator.answers import Answers
from ecc_jax.annotator.app import make_app
from ecc_jax.annotator.desk import Desk
from ecc_jax.annotator.guards import LOOPBACK, Policy, allowed_hosts, new_token
from ecc_jax.annotator.network import network_of
from ecc_jax.annotator.saving import Saver
from ecc_jax.annotator.sources import Source, check_workdir, sources_of, synthetic

LEAST_TOKEN = 16


class Options(NamedTuple):
    """What a person asks for.

    Attributes:
      volume: File or folder; None opens the built-in synthetic volume.
      checkpoint: Folder of a run; "shipped" for the one that comes with the package.
      workdir: Folder of the sessions.
      host: Address to listen at.
      port: 0 takes a free one.
      token: Secret; empty makes one.
      allow_hosts: Further Host headers that are allowed, as a proxy sends them.
      read_only: Whether nothing may be changed or written.
    """

    volume: Path | None
    checkpoint: str
    workdir: Path
    host: str = "127.0.0.1"
    port: int = 0
    token: str = ""
    allow_hosts: tuple[str, ...] = ()
    read_only: bool = False


def check(options: Options) -> None:
    """Refuses to listen where others can reach it, unless a token was chosen on purpose.

    Raises:
      ValueError: No token for an address that is not this machine's own, or a bad token or port.
    """
    is_local = options.host in LOOPBACK or options.host == "::1"
    if not is_local and not options.token:
        raise ValueError(
            f"--host {options.host} lets other machines in; give --token-file (or --token), a "
            f"secret of your own of at least {LEAST_TOKEN} characters, and use it in a network "
            "that you trust: there is no encryption"
        )
    if options.token and not (
        len(options.token) >= LEAST_TOKEN
        and options.token.isascii()
        and all(c.isalnum() or c in "-_" for c in options.token)
    ):
        raise ValueError(
            f"the token must be at least {LEAST_TOKEN} letters, digits, - or _; "
            "make one with: python -c 'import secrets; print(secrets.token_urlsafe())'"
        )
    if not 0 <= options.port <= 65535:
        raise ValueError(f"--port must be 0 to 65535, got {options.port}")


def serve(options: Options, *, savers: Mapping[str, Saver] | None = None) -> int:
    """Opens what was asked for and answers requests until it is interrupted.

    Args:
      options: What was asked for.
      savers: Formats to save in, by name.

    Returns:
      The exit code.

    Raises:
      ValueError: Bad options, nothing to open, sessions among the slices of a series, no such
        checkpoint, or the port is taken.
    """
    check(options)
    found: tuple[Source, ...] = (synthetic(),)
    if options.volume is not None:
        found = sources_of(options.volume, workdir=options.workdir, say=_say)
        if not options.read_only:
            check_workdir(options.workdir, options.volume, found)
    listener = _listen(options)
    with listener:
        desk = _desk(options, found, savers)
        address, policy = _policy(options, listener)
        _say(f"{len(found)} to open. Research use only: not for diagnosis or treatment.")
        if not options.read_only:
            _say(f"every press is saved in {options.workdir}/; stop with Ctrl-C")
        sys.stdout.write(f"{address}\n")
        sys.stdout.flush()
        run(desk, policy, listener)
    return 0


def run(desk: Desk, policy: Policy, listener: socket.socket) -> None:
    """Answers requests until the process is interrupted, then closes everything."""
    server = make_server(desk, policy)
    try:
        server.run(sockets=[listener])
    except KeyboardInterrupt:  # uvicorn has ended in good order and passes it on
        _say("stopped")


class _Server(uvicorn.Server):
    """Tells the desk that it ends before it waits for requests that are being answered."""

    def __init__(self, config: uvicorn.Config, desk: Desk) -> None:
        super().__init__(config)
        self._desk = desk

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._desk.stop()
        await super().shutdown(sockets)


def make_server(desk: Desk, policy: Policy) -> uvicorn.Server:
    """Returns a server that logs no request."""
    config = uvicorn.Config(
        make_app(desk, policy),
        access_log=False,
        log_level="error",
        server_header=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=5,
        ws="none",
    )
    return _Server(config, desk)


def listen(host: str, port: int) -> socket.socket:
    """Returns a socket that listens.

    Raises:
      ValueError: The port is taken, or the address is none of this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen()  # who asks before the server runs waits
    except OSError as error:
        listener.close()
        raise ValueError(
            f"cannot listen at {host}:{port}: {error.strerror}; choose another --port or --host"
        ) from error
    return listener


def _listen(options: Options) -> socket.socket:
    return listen(options.host.strip("[]"), options.port)


def _policy(options: Options, listener: socket.socket) -> tuple[str, Policy]:
    """Returns the address to open, with its token, and who may talk to the server."""
    host, port = listener.getsockname()[:2]
    token = options.token or new_token()
    hosts = allowed_hosts(options.host.strip("[]"), port) | {h.lower() for h in options.allow_hosts}
    shown = f"[{host}]" if ":" in host else host
    shown = socket.gethostname() if host in ("0.0.0.0", "::") else shown
    policy = Policy(token, hosts, options.read_only, f"ecc_annotator_{port}")
    if host in ("0.0.0.0", "::"):
        policy = policy._replace(hosts=hosts | {f"{shown.lower()}:{port}"})
    return f"http://{shown}:{port}/#token={token}", policy


def _desk(options: Options, found: tuple[Source, ...], savers: Mapping[str, Saver] | None) -> Desk:
    """Returns the desk with the network; of a single volume the first click is compiled."""
    started = time.perf_counter()
    _say(f"loading the network ({options.checkpoint}) …")
    predictor = runs.load_predictor(options.checkpoint)
    desk = Desk(
        found,
        Answers(predictor),
        workdir=options.workdir,
        read_only=options.read_only,
        savers=savers,
        network=network_of(options.checkpoint),
    )
    if len(found) == 1:
        _say(f"reading {found[0].kind} and compiling the first click, some seconds …")
        work = desk.open_now(found[0])
        for remark in (*work.document.remarks, *work.remarks):
            _say(f"note: {remark}")
    _say(f"ready after {time.perf_counter() - started:.1f} s")
    return desk


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()
