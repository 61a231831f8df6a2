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

from tests.scale_hosts import environment

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
