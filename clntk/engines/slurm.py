"""Dask workers as jobs of a SLURM cluster, from a small YAML file."""

import logging
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from clntk.engines.local import ANY_PORT, SETTINGS
from clntk.errors import ClntkError, OptionError, Problem
from clntk.problems import from_pydantic
from clntk.text_files import read_yaml

if TYPE_CHECKING:
    from dask_jobqueue import SLURMCluster
    from distributed import Security

MARGIN = timedelta(minutes=5)  # between the end of a worker and that of its job, a fifth of the job at most
_WALLTIME = re.compile(r"(?:(?P<days>\d+)-)?(?P<hours>\d+):(?P<minutes>[0-5]?\d):(?P<seconds>[0-5]?\d)")


class SlurmSettings(BaseModel):
    """What to ask SLURM for: each worker is one job that takes one run at a time.

    Args:
        partition: the queue, by default the cluster's own.
        account: whom to charge.
        walltime: of a job, as [days-]hours:minutes:seconds.
        memory: of a job, such as 4GB; torch and Avalanche alone take nearly 1GB.
        cores: of a job; a run itself trains on one.
        gpus: of a job; a run uses one.
        minimum, maximum: how many jobs at once: as many as there are runs to do, within these bounds.
        lifetime: when a worker stops taking runs and its job ends, as walltime is written; by default five minutes
            before the walltime, or a fifth of it.
        directives: further lines for ``#SBATCH``.
        environment: shell lines before the worker starts, such as ``module load cuda``.
        python: the interpreter on the nodes; by default this one.
        logs: a folder for what jobs print; by default ``slurm-logs``, beside the settings.
        host: where the scheduler listens, an address of this machine that the nodes reach; by default its loopback
            interface, which only jobs on this same machine do.
        tls: whether all talk is encrypted and authenticated, with certificates made for this sweep alone; by default
            it is, but on the loopback interface.
        shared: a folder that this machine and the nodes see, for these certificates; by default ``logs``.
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    partition: str | None = None
    account: str | None = None
    walltime: str = "01:00:00"
    memory: Annotated[str, Field(pattern=r"^\d+(\.\d+)? ?[KMGT]i?B$")] = "4GB"
    cores: Annotated[int, Field(ge=1)] = 1
    gpus: Annotated[int, Field(ge=0)] = 0
    minimum: Annotated[int, Field(ge=0)] = 0
    maximum: Annotated[int, Field(ge=1)] = 10
    lifetime: str | None = None
    directives: list[str] = []
    environment: list[str] = []
    python: str = sys.executable
    logs: str = "slurm-logs"
    host: str = "127.0.0.1"
    tls: bool | None = None
    shared: str | None = None

    @field_validator("walltime", "lifetime", mode="before")
    @classmethod
    def _a_time(cls, value: Any) -> Any:
        if isinstance(value, int):  # how YAML reads 10:00:00
            raise ValueError("a time in quotes, written [days-]hours:minutes:seconds")
        if isinstance(value, str):
            seconds(value)
        return value

    @field_validator("host")
    @classmethod
    def _an_address(cls, value: str) -> str:
        ip_address(value)
        return value

    @model_validator(mode="after")
    def _bounds(self) -> "SlurmSettings":
        if self.minimum > self.maximum:
            raise ValueError(f"minimum to be at most maximum ({self.maximum})")
        if self.lifetime is not None and seconds(self.lifetime) >= seconds(self.walltime):
            raise ValueError(f"lifetime to be less than walltime ({self.walltime})")
        return self

    @property
    def worker_lifetime(self) -> int:
        """Seconds until a worker ends."""
        if self.lifetime is not None:
            return seconds(self.lifetime)
        whole = seconds(self.walltime)
        return whole - min(int(MARGIN.total_seconds()), whole // 5)

    @property
    def local(self) -> bool:
        """Whether only this machine can reach the scheduler."""
        return ip_address(self.host).is_loopback

    @property
    def encrypted(self) -> bool:
        return not self.local if self.tls is None else self.tls


def seconds(time: str) -> int:
    """A time of SLURM in seconds.

    Raises:
        ValueError: for something else.
    """
    found = _WALLTIME.fullmatch(time)
    if found is None:
        raise ValueError("a time written [days-]hours:minutes:seconds")
    return int(
        timedelta(**{unit: int(n) for unit, n in found.groupdict(default="0").items()}).total_seconds()
    )


def read_settings(path: Path) -> SlurmSettings:
    """The settings of a YAML file; paths in it are relative to its folder.

    Raises:
        ClntkError: if it cannot be read.
        OptionError: with everything wrong with it.
    """
    try:
        raw = read_yaml(path)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ClntkError(
            f"cluster: expected a YAML file of settings at {path}, found none that can be read: {error}"
        ) from error
    raw = {} if raw is None else raw
    if not isinstance(raw, dict):
        raise OptionError(str(path), [Problem("cluster", "keys and values", type(raw).__name__)])
    try:
        settings = SlurmSettings.model_validate(raw)
    except ValidationError as error:
        raise OptionError(
            str(path), from_pydantic(error, "", list(SlurmSettings.model_fields), raw)
        ) from None
    folder = path.resolve().parent
    logs = folder / settings.logs
    shared = folder / settings.shared if settings.shared else logs
    return settings.model_copy(update={"logs": str(logs), "shared": str(shared)})


@contextmanager
def slurm_cluster(path: Path) -> Iterator["SLURMCluster"]:
    """Workers as jobs, as many as there is work for; cancelled at the end.

    Raises:
        ClntkError: if the settings are wrong, or SLURM refuses.
    """
    import dask
    from dask_jobqueue import SLURMCluster

    settings = read_settings(path)
    Path(settings.logs).mkdir(parents=True, exist_ok=True)
    with (
        TemporaryDirectory(prefix="clntk-tls-", dir=settings.shared) as shared,
        dask.config.set(SETTINGS),
        SLURMCluster(**_arguments(settings, shared)) as cluster,
    ):
        _refuse_what_slurm_refuses(cluster.job_script(), path)
        bounds = {"minimum": settings.minimum, "maximum": settings.maximum}
        cluster.adapt(
            **bounds, interval="1s", target_duration="10ms"
        )  # a job for every run, within the bounds
        yield cluster


def _refuse_what_slurm_refuses(script: str, path: Path) -> None:
    """
    Raises:
        ClntkError: if SLURM would not take the job, which Dask would try again for ever.
    """
    try:
        asked = subprocess.run(
            ["sbatch", "--test-only"], input=script, capture_output=True, text=True, check=False
        )
    except FileNotFoundError as error:
        raise ClntkError(
            f"{path}: expected SLURM on this machine, found no sbatch; run this where jobs are submitted from"
        ) from error
    if asked.returncode:
        said = " ".join(asked.stderr.split())
        raise ClntkError(f"{path}: SLURM does not take such a job: {said}; change the settings")


def _arguments(settings: SlurmSettings, shared: str) -> dict[str, Any]:
    """The settings as dask-jobqueue takes them."""
    life = settings.worker_lifetime
    at = ["--host", settings.host] if settings.local else []
    limits = ["--nthreads", "1", "--lifetime", f"{life}s", "--lifetime-stagger", f"{life // 10}s"]
    limits += ["--memory-limit", "0"]  # SLURM sees to that
    gpus = [f"--gres=gpu:{settings.gpus}"] if settings.gpus else []
    return {
        "queue": settings.partition,
        "account": settings.account,
        "walltime": settings.walltime,
        "memory": settings.memory,
        "cores": settings.cores,
        "processes": 1,
        "python": settings.python,
        "log_directory": settings.logs,
        "job_name": "clntk",
        "job_extra_directives": [*gpus, *settings.directives],
        "job_script_prologue": settings.environment,
        "worker_extra_args": [*at, *limits, "--no-dashboard"],
        "scheduler_options": {
            "host": settings.host,
            "dashboard": False,
            "dashboard_address": ANY_PORT,  # health and metrics
        },
        "security": _certificates(Path(shared)) if settings.encrypted else None,
        "silence_logs": logging.CRITICAL,
    }


def _certificates(folder: Path) -> "Security":
    """Keys and a certificate made for this sweep, in files that the nodes see and this user alone can read."""
    from distributed import Security

    made = Security.temporary()
    files = {"ca_file": made.tls_ca_file, "cert": made.tls_worker_cert, "key": made.tls_worker_key}
    paths = {name: folder / f"{name}.pem" for name in files}
    for name, path in paths.items():
        path.touch(mode=0o600)
        path.write_text(files[name])
    parts = {
        f"tls_{role}_{what}": str(paths[what])
        for role in ("scheduler", "worker", "client")
        for what in ("cert", "key")
    }
    return Security(require_encryption=True, tls_ca_file=str(paths["ca_file"]), **parts)
