"""SLURM on this machine alone, in a folder of its own: started for a test, and ended with it."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel", "sinfo")
PATIENCE = 60  # seconds

_CONF = """
ClusterName=alone
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
SchedulerParameters=sched_interval=1,batch_sched_delay=0
MpiDefault=none
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory={memory} State=UNKNOWN
PartitionName=test Nodes={host} Default=YES MaxTime=30 State=UP
"""


def missing() -> str:
    """Why SLURM cannot be started here; "" where it can."""
    absent = [name for name in PROGRAMS if shutil.which(name, path=_path()) is None]
    if absent:
        return f"{', '.join(absent)} not found (Debian: apt install slurm-wlm munge)"
    return "" if os.geteuid() == 0 else "slurmd has to be started by root"


def _path() -> str:
    return f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


@contextmanager
def slurm(folder: Path) -> Iterator[dict[str, str]]:
    """A controller and a node with all of this machine's cores.

    Args:
        folder: an empty folder for configuration, sockets, logs and state; its path has to be short.

    Yields:
        the environment in which ``sbatch``, ``squeue`` and ``scancel`` talk to it.
    """
    for name in ("state", "spool"):
        (folder / name).mkdir()
    key = folder / "munge.key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o400)
    conf = folder / "slurm.conf"
    settings = {"host": socket.gethostname().partition(".")[0], "user": "root", "cpus": os.cpu_count()}
    settings["memory"] = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20  # MiB
    conf.write_text(_CONF.format(folder=folder, ports=_free_ports(2), **settings))
    environment = {**os.environ, "PATH": _path(), "SLURM_CONF": str(conf)}
    munged = [
        "munged",
        "--foreground",
        "--force",
        *(f"--{what}={folder}/munge.{what.partition('-')[0]}" for what in ("socket", "log-file", "pid-file")),
        f"--key-file={key}",
        f"--seed-file={folder}/munge.seed",
    ]
    with ExitStack() as stack:
        for command in (munged, ["slurmctld", "-D", "-f", str(conf)], ["slurmd", "-D", "-f", str(conf)]):
            stack.callback(_end, _start(command, environment, folder))
            if command is munged:
                _wait(lambda: (folder / "munge.socket").exists(), "munged", folder)
        _wait(lambda: "idle" in _said(["sinfo", "-h", "-o", "%T"], environment), "an idle node", folder)
        yield environment


def _start(command: list[str], environment: dict[str, str], folder: Path) -> subprocess.Popen:
    with (folder / f"{command[0]}.out").open("w") as output:
        return subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT)


def _end(process: subprocess.Popen) -> None:
    process.terminate()
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _said(command: list[str], environment: dict[str, str]) -> str:
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False).stdout


def _wait(condition, what: str, folder: Path) -> None:
    until = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > until:
            logs = "\n".join(f"{p.name}: {p.read_text()[-2000:]}" for p in sorted(folder.glob("*.[ol][ou]*")))
            raise TimeoutError(f"waited {PATIENCE} s for {what}\n{logs}")
        time.sleep(0.2)


def _free_ports(n: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(n)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
