"""Two machines without a shared disk, and a third that is switch and store: network namespaces with real ssh and S3 servers.

Each machine's commands see its own folder alone: the others' are covered in a mount namespace of their own. It takes root, `ip`,
`unshare`, `mount`, Debian's openssh-server, and the packages dvc-ssh, dvc-s3 and moto with flask.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

from tests.scale_hosts import Dry, environment
from tests.training.commands import Repository

ADDRESSES = {"a": "10.213.7.1", "b": "10.213.7.2", "store": "10.213.7.3"}
SSH, S3 = 2222, 5055
SECRETS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}
COVER = 'for folder in $COVERED; do mount -t tmpfs none "$folder"; done; exec "$@"'
SSHD = """Port {port}
ListenAddress {address}
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/client_key.pub
StrictModes no
UsePAM no
PasswordAuthentication no
PermitRootLogin prohibit-password
PidFile none
Subsystem sftp internal-sftp
"""


def sh(*words, **options):
    return subprocess.run(words, check=True, capture_output=True, text=True, **options)


class Network:
    """The three machines; `with Network(folder) as network`."""

    def __init__(self, folder):
        self.folder, self.processes = Path(folder), []
        self.names = {name: f"dlp{os.getpid()}{name}" for name in ADDRESSES}
        for name in ADDRESSES:
            (self.folder / name).mkdir(parents=True)

    def __enter__(self):
        for name in self.names.values():
            sh("ip", "netns", "add", name)
        inside = ("ip", "-n", self.names["store"])
        sh(*inside, "link", "add", "switch", "type", "bridge")
        for name in ("a", "b"):
            sh("ip", "-n", self.names[name], "link", "add", "eth0", "type", "veth", "peer", "name", f"to_{name}", "netns", self.names["store"])
            sh(*inside, "link", "set", f"to_{name}", "master", "switch", "up")
        for name, address in ADDRESSES.items():
            device = "switch" if name == "store" else "eth0"
            for words in (["address", "add", f"{address}/24", "dev", device], ["link", "set", device, "up"], ["link", "set", "lo", "up"]):
                sh("ip", "-n", self.names[name], *words)
        return self

    def __exit__(self, *_):
        for name in self.names:
            self.kill(name)
        for process in self.processes:
            process.wait(30)
        for name in self.names.values():
            subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)

    def words(self, host, *words):
        return ["ip", "netns", "exec", self.names[host], "unshare", "--mount", "sh", "-c", COVER, "sh", *words]

    def environment(self, host, **more):
        home = self.folder / host / "home"
        home.mkdir(exist_ok=True)
        covered = " ".join(str(self.folder / other) for other in self.names if other != host)
        key = f"ssh -p {SSH} -i {home}/client_key -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR"
        return environment(COVERED=covered, HOME=str(home), DVC_SITE_CACHE_DIR=str(home / "dvc"), GIT_SSH_COMMAND=key,
                           GIT_AUTHOR_NAME="t", GIT_AUTHOR_EMAIL="t@example.org", GIT_COMMITTER_NAME="t",
                           GIT_COMMITTER_EMAIL="t@example.org", GLOO_SOCKET_IFNAME="eth0", **SECRETS, **more)  # fmt: skip

    def run(self, host, *words, cwd=None, check=True, timeout=600, **more):
        done = subprocess.run(self.words(host, *words), cwd=cwd or self.folder / host, env=self.environment(host, **more),
                              capture_output=True, text=True, timeout=timeout)  # fmt: skip
        if check:
            assert done.returncode == 0, f"{host}: {words}: {done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done

    def python(self, host, *words, **options):
        return self.run(host, sys.executable, "-m", *words, **options)

    def start(self, host, *words, cwd=None, **more):
        with (self.folder / f"{host}.log").open("ab") as file:
            process = subprocess.Popen(self.words(host, *words), cwd=cwd or self.folder / host, env=self.environment(host, **more), stdout=file,
                                       stderr=subprocess.STDOUT, start_new_session=True)  # fmt: skip
        self.processes.append(process)
        return process

    def said(self, host):
        return (self.folder / f"{host}.log").read_text(errors="replace")

    def kill(self, host):
        """kill -9 of everything that runs on a machine."""
        for number in sh("ip", "netns", "pids", self.names[host]).stdout.split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(number), signal.SIGKILL)

    def cable(self, host, state):
        """Pull the cable of a machine ("down"), or plug it in ("up")."""
        sh("ip", "-n", self.names["store"], "link", "set", f"to_{host}", state)

    def serve_ssh(self):
        """An sshd on the store, with a key that both machines hold; returns the address of its folder."""
        folder = self.folder / "store"
        Path("/run/sshd").mkdir(exist_ok=True)
        for name in ("host_key", "client_key"):
            sh("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name))
        (folder / "sshd_config").write_text(SSHD.format(port=SSH, address=ADDRESSES["store"], folder=folder))
        for host in ("a", "b"):
            self.environment(host)
            shutil.copy(folder / "client_key", self.folder / host / "home" / "client_key")
        (folder / "cache").mkdir()
        self.start("store", "/usr/sbin/sshd", "-D", "-e", "-f", str(folder / "sshd_config"))
        self.wait_for(SSH)
        return f"ssh://root@{ADDRESSES['store']}:{SSH}{folder}"

    def serve_s3(self):
        """An S3 server on the store, with a bucket; returns its address."""
        self.start("store", sys.executable, "-m", "moto.server", "-H", ADDRESSES["store"], "-p", str(S3))
        self.wait_for(S3)
        address = f"http://{ADDRESSES['store']}:{S3}"
        code = f"import boto3; boto3.client('s3', endpoint_url={address!r}).create_bucket(Bucket='cache')"
        self.run("store", sys.executable, "-c", code)
        return address

    def wait_for(self, port):
        code = f"import socket; socket.create_connection(({ADDRESSES['store']!r}, {port}), 1)"
        deadline = time.monotonic() + 60
        while self.run("a", sys.executable, "-c", code, check=False).returncode:
            assert time.monotonic() < deadline, self.said("store")
            time.sleep(0.3)

    def running(self, host):
        """Number of Python processes on a machine."""
        count = 0
        for number in sh("ip", "netns", "pids", self.names[host]).stdout.split():
            with contextlib.suppress(psutil.Error):
                count += "python" in psutil.Process(int(number)).name()
        return count


def by_remote(network, address, *, name, key):
    """One machine builds half of the dry project, pushes and dies; the other goes on from the remote alone, then hands back.

    Args:
        network: the three machines, with their servers.
        address: of the remote's folder.
        name: of the remote.
        key: option and value that the remote wants beside its address.

    Returns:
        What the second machine ran, whether its artifacts are those of an undisturbed run, and the same of a third clone that runs nothing.
    """
    whole = Dry.make(network.folder / "store" / f"whole_{name}")
    whole.call("dvc", "repro")
    ours = Dry.make(network.folder / "a" / name)
    network.python("a", "dvc", "remote", "add", "--default", name, address, cwd=ours.root)
    network.python("a", "dvc", "remote", "modify", name, *key, cwd=ours.root)
    network.run("a", "git", "commit", "-qam", "remote", cwd=ours.root)
    repository = f"ssh://root@{ADDRESSES['store']}:{SSH}{network.folder}/store/{name}.git"
    network.run("store", "git", "init", "-q", "--bare", f"{name}.git")
    network.run("a", "git", "push", "-q", repository, "main", cwd=ours.root)
    network.python("a", "dvc", "repro", "d", cwd=ours.root)
    network.python("a", "dvc", "push", "--run-cache", cwd=ours.root)
    lost = network.start("a", sys.executable, "-m", "dvc", "repro", cwd=ours.root, DRY_SECONDS="60")
    wait_until(lambda: "Running stage 'e'" in network.said("a"), 120)
    network.kill("a")
    assert lost.wait(30) != 0
    network.run("b", "git", "clone", "-q", "-b", "main", repository, name)
    theirs = Dry(network.folder / "b" / name)
    network.python("b", "dvc", "fetch", "--run-cache", cwd=theirs.root, check=False)  # no lock file yet: it brings the runs alone
    network.python("b", "dvc", "repro", "--pull", "--allow-missing", cwd=theirs.root)
    ran = (theirs.root / "ran.log").read_text().split()
    network.python("b", "dvc", "push", "--run-cache", cwd=theirs.root)
    network.run("b", "git", "add", "dvc.lock", cwd=theirs.root)
    network.run("b", "git", "commit", "-qm", "built", cwd=theirs.root)
    network.run("b", "git", "push", "-q", repository, "HEAD:main", cwd=theirs.root)
    network.run("a", "git", "clone", "-q", "-b", "main", repository, f"{name}_back")
    back = Dry(network.folder / "a" / f"{name}_back")
    network.python("a", "dvc", "pull", cwd=back.root)
    said = network.python("a", "dvc", "repro", "--pull", "--allow-missing", cwd=back.root).stdout
    idle = "up to date" in said and not (back.root / "ran.log").exists()
    return ran, theirs.content() == whole.content(), idle and back.content() == whole.content()


def wait_until(done, seconds):
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.2)


class Pair:
    """The same training on both machines, each with its own folder and disk."""

    def __init__(self, network, base):
        self.network = network
        self.twins = {host: base.copy(network.folder / host / "training") for host in "ab"}

    def start(self, **more):
        return [
            self.network.start(
                host, sys.executable, "-m", "pipeline", "train", cwd=twin.root, PYTHONPATH=str(twin.root), OMP_NUM_THREADS="1",
                PIPELINE_NODES="2", PIPELINE_DEVICES="1", NODE_RANK=str("ab".index(host)), MASTER_ADDR=ADDRESSES["a"], MASTER_PORT="29511", **more,
            )
            for host, twin in self.twins.items()
        ]  # fmt: skip

    def steps(self):
        return self.twins["a"].steps("train")


def across(network, folder):
    """A training over both machines: machine b dies, then machine a, then a cable is pulled; the fourth start ends it.

    Returns:
        Rows (what happened, seconds until both had ended, exit codes), hash of the result, hash of the undisturbed run on one machine.
    """
    base = Repository(folder / "base")
    pair, rows = Pair(network, base), []
    for number, what in enumerate(("b killed", "a killed", "cable of b pulled")):
        before = pair.steps()
        started = pair.start(PIPELINE_PATIENCE="60" if number < 2 else "20")
        wait_until(lambda floor=before, all_=started: pair.steps() >= floor + 14 or any(one.poll() is not None for one in all_), 400)
        assert [one.poll() for one in started] == [None, None], network.said("a")[-2000:] + network.said("b")[-2000:]
        began = time.monotonic()
        network.cable("b", "down") if number == 2 else network.kill(what[0])
        codes = [one.wait(200) for one in started]
        rows.append((what, time.monotonic() - began, codes))
        network.cable("b", "up")
        assert not (pair.twins["a"].root / "data" / "train").exists()
        assert 0 not in codes
    last = pair.start()
    assert [one.wait(900) for one in last] == [0, 0], network.said("a")[-3000:] + network.said("b")[-3000:]
    assert not (pair.twins["b"].root / "data" / "train").exists()
    return rows, pair.twins["a"].published("train"), base.copy(folder / "whole").finish("train", PIPELINE_DEVICES="2")
