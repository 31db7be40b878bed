"""A real Slurm in one folder: ``python tests/cluster/slurm_cluster.py FOLDER`` starts it and ends it with Ctrl-C.

Debian's packages (slurm-wlm, munge; mariadb and slurmdbd for the accounting, without which a cancelled job is never
reported), installed where that is possible. All daemons run as root from a configuration and on ports of their own, and
nothing of the machine's own Slurm is touched: slurmctld, one slurmd with proctrack/linuxproc, task/none and two devices
that stand for GPUs as generic resources.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

PACKAGES = ["slurm-wlm", "munge", "mariadb-server", "slurmdbd"]
PROGRAMS = ["sbatch", "slurmctld", "slurmd", "slurmdbd", "sacct", "munged", "mariadbd", "mariadb-install-db"]
_SYSTEM = "/usr/sbin:/usr/bin:/sbin:/bin"


class NoSlurmError(Exception):
    """Slurm's packages cannot be had on this machine; says why. Tests are skipped then, and then only."""


class BrokenSlurmError(Exception):
    """Slurm is here and does not come up: the tail of a log."""


def provide() -> None:
    """Install what is absent; raises `NoSlurmError` where that cannot be."""
    missing = [name for name in PROGRAMS if shutil.which(name, path=f"{os.environ['PATH']}:{_SYSTEM}") is None]
    if not missing:
        return
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        raise NoSlurmError(f"{', '.join(missing)} absent, and only root on Debian can install {' '.join(PACKAGES)}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update"], ["install", "-y", "--no-install-recommends", *PACKAGES]):
        done = subprocess.run(["apt-get", "-qq", *command], capture_output=True, text=True, env=environment)
    if done.returncode:
        raise NoSlurmError(f"{' '.join(PACKAGES)} cannot be installed: {done.stderr.strip().splitlines()[-1:]}")


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class SlurmCluster:
    """The daemons, their configuration in ``folder``, and the environment in which clients find them.

    Args:
        folder: short (sockets lie in it), empty or new.
        cpus: that the node claims to have.
    """

    def __init__(self, folder: Path, cpus: int = 4) -> None:
        self.folder, self.cpus = folder, cpus
        self.processes: list[subprocess.Popen[bytes]] = []
        self.environment = {
            **os.environ,
            "PATH": f"{os.environ['PATH']}:{_SYSTEM}",
            "SLURM_CONF": str(folder / "slurm.conf"),
        }

    def start(self) -> None:
        """Start everything and wait until the node takes jobs.

        Raises:
            NoSlurmError: it cannot be installed here.
            BrokenSlurmError: it is there and does not start.
        """
        if os.geteuid() != 0:
            raise NoSlurmError("Slurm's daemons are started as root here")
        provide()
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o755)
        for name in ("spool", "state", "munge"):
            (self.folder / name).mkdir(exist_ok=True)
        database, accounting = free_port(), free_port()
        self._configure(database, accounting)
        self._munge()
        self._database(database)
        self._daemon("slurmdbd", "-D")
        self._until(lambda: _listens(accounting), "slurmdbd")
        self._sacctmgr("add", "cluster", "interplay")
        self._sacctmgr("add", "account", "lab", "Description=lab", "Organization=lab")
        self._sacctmgr("add", "user", "root", "Account=lab")
        self._daemon("slurmctld", "-D", "-i")
        self._until(lambda: self.client("scontrol", "ping").returncode == 0, "slurmctld")
        self._daemon("slurmd", "-D", "-N", "node0")
        self._until(lambda: "idle" in self.client("sinfo", "-h", "-o", "%T").stdout, "slurmd")

    def client(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run one of Slurm's commands against this cluster."""
        return subprocess.run(words, capture_output=True, text=True, env=self.environment, timeout=60)

    def stop(self) -> None:
        """End all jobs and daemons."""
        with contextlib.suppress(subprocess.TimeoutExpired, OSError):
            self.client("scancel", "--user", "root")
            self.client("scancel", "--user", "root", "--signal", "KILL", "--full")
        for process in reversed(self.processes):
            process.send_signal(signal.SIGTERM)
        for process in reversed(self.processes):
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.processes.clear()

    # -- parts ----------------------------------------------------------------------------------------------------

    def _configure(self, database: int, accounting: int) -> None:
        folder, host = self.folder, socket.gethostname()
        memory = 4000
        for index, device in enumerate(("/dev/null", "/dev/zero")):  # a GPU must be a device, whatever it does
            (folder / f"gpu{index}").symlink_to(device)
        (folder / "gres.conf").write_text(f"NodeName=node0 Name=gpu File={folder}/gpu[0-1]\n")
        munge = f"socket={folder}/munge/socket"
        (folder / "slurm.conf").write_text(
            f"""ClusterName=interplay
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={free_port()}
SlurmdPort={free_port()}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo={munge},cred_expire=6
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0,sched_min_interval=0
KillWait=15
InactiveLimit=0
OverTimeLimit=0
GresTypes=gpu
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={accounting}
AccountingStoragePass={folder}/munge/socket
NodeName=node0 NodeHostname={host} NodeAddr=127.0.0.1 CPUs={self.cpus} RealMemory={memory} Gres=gpu:2 State=UNKNOWN
PartitionName=main Nodes=node0 Default=YES MaxTime=INFINITE State=UP
"""
        )
        (folder / "slurmdbd.conf").write_text(
            f"""AuthType=auth/munge
AuthInfo={munge}
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort={accounting}
SlurmUser=root
LogFile={folder}/slurmdbd.log
PidFile={folder}/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={database}
StorageUser=slurm
StoragePass=slurm
StorageLoc=accounting
"""
        )
        (folder / "slurmdbd.conf").chmod(0o600)

    def _munge(self) -> None:
        key = self.folder / "munge" / "key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)
        files = [f"--{name}-file={self.folder}/munge/{name}" for name in ("key", "pid", "log", "seed")]
        self._daemon("munged", "--foreground", "--force", f"--socket={self.folder}/munge/socket", *files)
        self._until(lambda: (self.folder / "munge" / "socket").exists(), "munged")

    def _database(self, port: int) -> None:
        data = self.folder / "database"
        # Initialising needs no server user of its own: everything of this cluster belongs to root and goes with it.
        script = self.folder / "first.sql"
        script.write_text(
            "CREATE USER slurm@'127.0.0.1' IDENTIFIED BY 'slurm';\nGRANT ALL ON *.* TO slurm@'127.0.0.1';\n"
        )
        made = subprocess.run(
            ["mariadb-install-db", "--no-defaults", "--user=root", f"--datadir={data}", "--skip-test-db"],
            capture_output=True,
            text=True,
            env=self.environment,
        )
        if made.returncode:
            raise BrokenSlurmError(f"mariadb-install-db: {made.stdout[-300:]}{made.stderr[-300:]}")
        places = [
            f"--datadir={data}",
            f"--socket={self.folder}/database.sock",
            f"--pid-file={self.folder}/database.pid",
        ]
        small = ["--innodb-buffer-pool-size=32M", "--innodb-log-file-size=16M", "--innodb-lock-wait-timeout=900"]
        where = ["--bind-address=127.0.0.1", f"--port={port}", "--skip-name-resolve"]
        self._daemon("mariadbd", "--no-defaults", "--user=root", f"--init-file={script}", *places, *where, *small)
        self._until(lambda: _listens(port), "mariadbd")

    def _sacctmgr(self, *words: str) -> None:
        done = self.client("sacctmgr", "--immediate", *words)
        if done.returncode:
            raise BrokenSlurmError(f"sacctmgr {' '.join(words)}: {done.stdout}{done.stderr}")

    def _daemon(self, program: str, *words: str) -> None:
        with (self.folder / f"{program}.out").open("ab") as out:
            found = shutil.which(program, path=self.environment["PATH"]) or program
            # setpriv: a test process that is killed must not leave daemons behind.
            command = ["setpriv", "--pdeathsig", "TERM", found, *words]
            process = subprocess.Popen(command, stdout=out, stderr=out, env=self.environment)
        self.processes.append(process)

    def _until(self, ready: object, name: str, seconds: float = 60.0) -> None:
        deadline = time.monotonic() + seconds
        while not ready():  # type: ignore[operator]
            if time.monotonic() > deadline or self.processes[-1].poll() is not None:
                logs = [self.folder / f"{name}.log", self.folder / f"{name}.out"]
                tails = [log.read_text(errors="replace")[-800:] for log in logs if log.exists()]
                raise BrokenSlurmError(f"{name} does not come up: {' '.join(tails)}")
            time.sleep(0.1)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def main() -> None:
    """Keep a cluster until Ctrl-C, for trying things by hand."""
    cluster = SlurmCluster(Path(sys.argv[1]).resolve())
    try:
        cluster.start()
        print(f"export SLURM_CONF={cluster.environment['SLURM_CONF']}", flush=True)
        signal.sigwait([signal.SIGINT, signal.SIGTERM])
    finally:
        cluster.stop()


if __name__ == "__main__":
    main()
