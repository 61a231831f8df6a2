"""A real Slurm on this one machine, of Debian's packages: munge, a controller and several node daemons, all of them this machine.

    apt-get install --no-install-recommends slurmctld slurmd slurm-client munge
    python -m tests.slurm.cluster start      # as root; writes /etc/slurm/slurm.conf, which must not be there or be ours
    python -m tests.slurm.cluster stop

The configuration lies at Slurm's own place because the executor takes the SLURM_ variables from its jobs. The nodes' names are no
names of hosts: processes of several nodes meet at `VARIABLES`. The signal that `#SBATCH --signal` asks for comes with a preemption
too, as on clusters that set `preempt_send_user_signal`.
"""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil

PLACE = Path("/run/pipeline-slurm")
CONF = Path("/etc/slurm/slurm.conf")
OURS = "# written by tests/slurm/cluster.py"
PROGRAMS = ("munged", "slurmctld", "slurmd", "srun", "sbatch", "scontrol")
MUNGED = ["munged", "--force", f"--socket={PLACE}/munge.socket", f"--pid-file={PLACE}/munged.pid", f"--log-file={PLACE}/munged.log",
          f"--seed-file={PLACE}/munged.seed", f"--key-file={PLACE}/munge.key"]  # fmt: skip
NODES = 4
VARIABLES = {"MASTER_ADDR": "127.0.0.1", "GLOO_SOCKET_IFNAME": "lo"}
TEXT = """{ours}
ClusterName=here
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={place}/munge.socket
CredType=cred/munge
StateSaveLocation={place}/state
SlurmctldPort=16817
SlurmctldPidFile={place}/slurmctld.pid
SlurmctldLogFile={place}/slurmctld.log
SlurmdSpoolDir={place}/spool-%n
SlurmdPidFile={place}/slurmd-%n.pid
SlurmdLogFile={place}/slurmd-%n.log
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=5,sched_interval=5,batch_sched_delay=1,defer
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=1
JobAcctGatherParams=OverMemoryKill
AccountingStorageType=accounting_storage/none
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmctldParameters=preempt_send_user_signal
EnforcePartLimits=ALL
OverTimeLimit=0
JobRequeue=1
ReturnToService=2
SlurmdTimeout=20
KillWait=20
MinJobAge=600
NodeName=node[1-{nodes}] NodeHostname={host} NodeAddr=127.0.0.1 Port=[{first}-{last}] CPUs=4 RealMemory=8000
PartitionName=batch Nodes=node[1-{nodes}] Default=YES MaxTime=240 DefMemPerNode=1000 PriorityTier=1 GraceTime=60 State=UP
PartitionName=urgent Nodes=node[1-{nodes}] MaxTime=240 DefMemPerNode=1000 PriorityTier=10 PreemptMode=OFF State=UP
"""


class Cluster:
    """The daemons: started, killed and started again, each by itself."""

    def __init__(self, nodes=NODES):
        self.nodes = nodes

    def missing(self):
        """Why it cannot start here; "" where it can."""
        if os.geteuid() != 0:
            return "this user is not root"
        absent = [name for name in PROGRAMS if shutil.which(name) is None]
        if absent:
            return f"{', '.join(absent)} not found: apt-get install slurmctld slurmd slurm-client munge"
        if CONF.is_file() and OURS not in CONF.read_text():
            return f"{CONF} is that of another cluster"
        return ""

    def start(self):
        self.stop()
        shutil.rmtree(PLACE, ignore_errors=True)
        PLACE.mkdir(mode=0o755)
        for name in ("state", *(f"spool-node{number}" for number in range(1, self.nodes + 1))):
            (PLACE / name).mkdir()
        key = PLACE / "munge.key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o400)
        CONF.parent.mkdir(exist_ok=True)
        CONF.write_text(TEXT.format(ours=OURS, host=socket.gethostname(), place=PLACE, nodes=self.nodes, first=17001, last=17000 + self.nodes))
        subprocess.run(MUNGED, check=True, capture_output=True)
        self.start_controller()
        for number in range(1, self.nodes + 1):
            self.start_node(number)
        self.wait_for_nodes()

    def start_controller(self):
        subprocess.run(["slurmctld"], check=True, capture_output=True)
        wait(lambda: "UP" in said("scontrol", "ping"), 60, "the controller does not answer")

    def start_node(self, number):
        subprocess.run(["slurmd", "-N", f"node{number}"], check=True, capture_output=True)

    def wait_for_nodes(self, states=("idle", "mixed", "allocated", "completing"), timeout=90):
        def ready():
            listed = said("sinfo", "-h", "-N", "-p", "batch", "-o", "%N %T").split("\n")
            return sum(line.split()[1].rstrip("*~#") in states and "*" not in line for line in listed if line.strip()) == self.nodes

        wait(ready, timeout, "not all nodes are up")

    def pid(self, daemon):
        return int((PLACE / f"{daemon}.pid").read_text())

    def kill(self, daemon):
        """kill -9 of slurmctld, or of slurmd-node1 and the like with everything that runs on that node."""
        number = self.pid(daemon)
        below = []
        if daemon.startswith("slurmd-"):
            name = daemon.removeprefix("slurmd-")
            steps = [one for one in psutil.process_iter(["name"]) if one.info["name"] == "slurmstepd"]
            below = [child for step in steps if on_node(step, name) for child in [step, *step.children(recursive=True)]]
        os.kill(number, signal.SIGKILL)
        for process in below:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
        psutil.wait_procs(below, timeout=20)

    def stop(self):
        """End what this class started, by the process ids that its daemons wrote."""
        if not PLACE.is_dir():
            return
        for job in said("squeue", "-h", "-o", "%A").split() if (PLACE / "slurmctld.pid").is_file() else []:
            subprocess.run(["scancel", "--signal=KILL", "--full", job], check=False, capture_output=True, timeout=20)
        ended = []
        for path in sorted(PLACE.glob("*.pid"), key=lambda path: path.name != "slurmctld.pid"):
            try:
                process = psutil.Process(int(path.read_text()))
                if process.name() in {"slurmd", "slurmctld", "munged"}:
                    ended += [process, *(process.children(recursive=True) if process.name() == "slurmd" else [])]
                    process.terminate()
            except (psutil.NoSuchProcess, ValueError):
                continue
        _, left = psutil.wait_procs(ended, timeout=10)
        for process in left:
            process.kill()
        if CONF.is_file() and OURS in CONF.read_text():
            CONF.unlink()
        shutil.rmtree(PLACE, ignore_errors=True)


def on_node(step, name):
    """Whether a step's daemon belongs to a node: it listens in that node's spool folder."""
    try:
        return any(f"/spool-{name}/" in str(one.laddr) for one in step.net_connections(kind="unix"))
    except psutil.Error:
        return False


def said(*words, timeout=60):
    """What a command of Slurm says; "" where it fails."""
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=timeout)
    except subprocess.TimeoutExpired:
        return ""
    return done.stdout if done.returncode == 0 else ""


def jobs():
    """Every job that the controller remembers: a mapping of its facts each."""
    lines = said("scontrol", "-o", "show", "job").splitlines()
    return [dict(re.findall(r"(\w+)=(\S*)", line)) for line in lines if line.startswith("JobId=")]


def wait(condition, timeout, what):
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, f"{what} after {timeout} s"
        time.sleep(0.2)


if __name__ == "__main__":
    cluster = Cluster()
    if reason := cluster.missing():
        sys.exit(f"error: {reason}")
    if sys.argv[1:] == ["start"]:
        cluster.start()
        print(said("sinfo"))
    elif sys.argv[1:] == ["stop"]:
        cluster.stop()
    else:
        sys.exit(__doc__)
