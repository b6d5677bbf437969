"""A cluster of real processes on loopback: starts them, kills and pauses them, brings them back."""
import os
import pathlib
import re
import signal
import socket
import subprocess
import time
import urllib.request

KEY, SECRET = "devkey", "devsecret-devsecret-devsecret-dev1"
CONFIG = """
port: {http}
prometheus_port: {metrics}
bind_addresses: ["127.0.0.1"]
rtc:
  udp_port: {udp}
  tcp_port: {tcp}
  node_ip: 127.0.0.1
  enable_loopback_candidate: true
  interfaces:
    includes: [lo]
keys:
  {key}: {secret}
logging:
  level: info
storage:
  directory: {folder}/data
cluster:
  token: {token}
  listen: 127.0.0.1:{cluster}
  join: [{join}]
  roles: [{role}]
  host: {name}
"""


def free_ports(count):
    held = [socket.socket() for _ in range(count)]
    for one in held:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in held]
    for one in held:
        one.close()
    return ports


class Node:
    """One process and the folder it keeps over its lives."""

    def __init__(self, binary, folder, name, role):
        self.binary, self.name, self.role = binary, name, role
        self.folder = pathlib.Path(folder) / name
        self.folder.mkdir(parents=True)
        self.http, self.metrics, self.udp, self.tcp, self.cluster = free_ports(5)
        self.url = f"ws://127.0.0.1:{self.http}"
        self.process, self.lives = None, 0

    def configure(self, token, join):
        self.config = self.folder / "livekit.yaml"
        self.config.write_text(CONFIG.format(
            token=token, join=", ".join(join), key=KEY, secret=SECRET,
            http=self.http, metrics=self.metrics, udp=self.udp, tcp=self.tcp, cluster=self.cluster,
            folder=self.folder, role=self.role, name=self.name))

    def start(self):
        self.lives += 1
        log = open(self.folder / f"log.{self.lives}", "wb")
        self.process = subprocess.Popen([self.binary, "--config", self.config], stdout=log, stderr=subprocess.STDOUT)

    def answers(self):
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{self.http}/", timeout=0.5).read()
            return True
        except OSError:
            return False

    def participants(self):
        """How many people's media is on this node, as its metrics say."""
        try:
            text = urllib.request.urlopen(f"http://127.0.0.1:{self.metrics}/metrics", timeout=1).read().decode()
        except OSError:
            return 0
        figures = re.findall(r"^livekit_participant_total(?:\{[^}]*\})? (\S+)$", text, re.M)
        return int(sum(float(figure) for figure in figures))

    def log(self):
        return (self.folder / f"log.{self.lives}").read_text(errors="replace")

    def kill(self):
        self.process.kill()
        self.process.wait()

    def pause(self):
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self):
        self.process.send_signal(signal.SIGCONT)


class Cluster:
    """Masters and media nodes; clients talk to masters, as behind a load balancer."""

    def __init__(self, binary, folder, masters=4, media=3):
        self.binary = binary
        self.masters = [Node(binary, folder, f"master{n + 1}", "master") for n in range(masters)]
        self.media = [Node(binary, folder, f"media{n + 1}", "media") for n in range(media)]
        self.nodes = self.masters + self.media

    def start(self, within=60):
        made = subprocess.run([self.binary, "cluster", "token"], capture_output=True, text=True, check=True)
        token = made.stdout.strip().splitlines()[-1]
        join = [f"127.0.0.1:{node.cluster}" for node in self.masters]
        for node in self.nodes:
            node.configure(token, join)
            node.start()
        self.wait(lambda: all(node.answers() for node in self.nodes), "every node to answer", within)

    def wait(self, probe, what, within=60):
        deadline = time.monotonic() + within
        while not probe():
            if time.monotonic() > deadline:
                logs = "\n".join(f"== {n.name}\n{n.log()[-1500:]}" for n in self.nodes)
                raise SystemExit(f"expected {what} within {within} s\n{logs}")
            time.sleep(0.1)

    def status(self, node=None):
        """What an operator sees; empty if the node cannot tell."""
        env = {**os.environ, "LIVEKIT_URL": (node or self.masters[0]).url, "LIVEKIT_KEYS": f"{KEY}: {SECRET}"}
        done = subprocess.run([self.binary, "cluster", "status"], env=env, capture_output=True, text=True, timeout=20)
        return done.stdout if done.returncode == 0 else ""

    def whole(self):
        """Every node is active, as some master says, and nothing is wrong."""
        master = next((node for node in self.masters if node.answers()), None)
        said = self.status(master) if master else ""
        return said.count(" active ") == len(self.nodes) and "Nothing is wrong" in said

    def home(self):
        """The media node that has somebody; tests keep all in one room."""
        return next((node for node in self.media if node.process.poll() is None and node.participants()), None)

    def stop(self):
        for node in self.nodes:
            if node.process and node.process.poll() is None:
                node.go_on()
                node.process.terminate()
        for node in self.nodes:
            if node.process:
                try:
                    node.process.wait(15)
                except subprocess.TimeoutExpired:
                    node.process.kill()
