"""A Ray cluster as this process sees it: actors that hold something on another machine, and calls that run there. The
only door to Ray."""

from __future__ import annotations

import shutil
import socket
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

from pipeline.core import interrupt, processor
from pipeline.core.errors import ConfigError, DeviceError, ToolError

LOCAL = "local"
"""Instead of an address: a cluster of this machine alone, started for the purpose."""
CPU = "CPU"
"""What Ray calls the processor cores among its resources."""
CONNECT_TIMEOUT_S = 10.0
NO_START = "try again when this machine has less to do, or leave out --cluster"
NOT_LET_IN = "where its ray start said that it asks for a token: RAY_AUTH_MODE=token, with its ~/.ray/auth_token here"
"""Ray (2.60) asks for a token as soon as its machine has one, does not say that it misses it, and sends it unasked only
to clusters that it found by itself."""
Call = Any
"""Of a function, as Ray refers to it."""


class GoneError(DeviceError):
    """A machine of the cluster, or the process there, is gone: the same may be tried elsewhere."""


@contextmanager
def joined(address: str, *, cpus: int = 1, resources: Mapping[str, int] | None = None) -> Iterator[Cluster]:
    """The cluster at `address`, "HOST:PORT" or LOCAL, which this process is part of as long as the block. cpus,
    resources: of a local one, the fewest cores and what else it has. DeviceError: no cluster there; ToolError without
    Ray."""
    try:
        import ray
    except ImportError as error:
        raise ToolError("--cluster needs the package ray", "pip install 'tritmcu[cluster]'") from error
    with _joined(ray, address, cpus, dict(resources or {})):
        yield Cluster(ray, address)


@contextmanager
def _joined(ray: Any, address: str, cpus: int, resources: dict[str, int]) -> Iterator[None]:
    own: dict[str, Any] = {}
    if address == LOCAL:
        own = {"num_cpus": max(cpus, processor.cores()), "resources": resources, "include_dashboard": False}
    else:
        _check_reachable(address)
    try:
        with interrupt.handlers_kept():  # Ray's own end the process at once
            found = ray.init(address=address, log_to_driver=False, configure_logging=False, **own)
    except Exception as error:  # a machine with too much to do: a bare Exception
        what = ("Ray does not start here", NO_START) if address == LOCAL else ("cannot be joined", NOT_LET_IN)
        raise _failed(address, error, *what) from error
    try:
        with redirect_stdout(sys.stderr):  # Ray tells there of lost machines, amid results and JSON
            yield
    finally:
        ray.shutdown()
        if address == LOCAL:
            _remove(Path(found.address_info["session_dir"]))


def _remove(session: Path) -> None:
    """Removes the folder of logs of a cluster that has ended, which Ray leaves, and the link to the last such folder
    where it leads nowhere now."""
    shutil.rmtree(session, ignore_errors=True)
    latest = session.with_name("session_latest")
    if latest.is_symlink() and not latest.exists():
        latest.unlink(missing_ok=True)


def _check_reachable(address: str) -> None:
    """DeviceError unless something listens at "HOST:PORT": Ray itself would try for a minute, and end this process."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise ConfigError(f"--cluster {address}: must be HOST:PORT, for example 10.0.0.5:6379", "ray status shows it")
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_TIMEOUT_S).close()
    except OSError as error:
        raise _failed(address, error, "no cluster there", "ray start --head there, or --cluster local") from error


def _failed(address: str, error: Exception, what: str, hint: str) -> DeviceError:
    why = " ".join(str(error).split())[:200]
    return DeviceError(f"--cluster {address}: {what} ({why})", hint)


class Cluster:
    """A cluster that was joined."""

    def __init__(self, ray: Any, address: str) -> None:
        self._ray, self.address = ray, address

    def count(self, resource: str) -> int:
        """How many of a resource all its machines have together: CPU, or what they named when they joined."""
        return int(self._ray.cluster_resources().get(resource, 0))

    def actor(self, kind: type, *arguments: Any, cpus: int, resources: Mapping[str, int]) -> Actor:
        """An object of the class, made of these arguments on a machine that has the cores and resources free."""
        made = self._ray.remote(num_cpus=cpus, resources=dict(resources))(kind)
        return Actor(self._ray, made.remote(*arguments))

    def start(self, function: Callable[..., Any], *arguments: Any, cpus: int) -> Call:
        """A call of a module's function, on a machine that has the cores free, now or later."""
        return self._ray.remote(num_cpus=cpus, max_retries=0)(function).remote(*arguments)

    def first(self, calls: Collection[Call]) -> Call:
        """Waits until one of the calls has ended. KeyboardInterrupt when the process was asked to end."""
        while True:
            ended, _ = self._ray.wait(list(calls), num_returns=1, timeout=interrupt.LOOK_EVERY_S)
            interrupt.check()
            if ended:
                return ended[0]

    def result(self, call: Call) -> Any:
        """What the call returned, or raised. GoneError: its machine or process is gone."""
        return _get(self._ray, call)


class Actor:
    """An object on a machine of a cluster."""

    def __init__(self, ray: Any, handle: Any) -> None:
        self._ray, self._handle = ray, handle

    def call(self, method: str, *arguments: Any) -> Any:
        """What its method returns, or raises. GoneError: its machine or process is gone."""
        return _get(self._ray, getattr(self._handle, method).remote(*arguments))


def _get(ray: Any, call: Call) -> Any:
    try:
        return ray.get(call)
    except ray.exceptions.RayTaskError:
        raise
    except ray.exceptions.RayError as error:
        why = " ".join(str(error).split())[:200]
        raise GoneError(f"a machine of the cluster is gone ({why})", "ray status shows the cluster") from error
