"""A cluster of real processes on loopback: starts them, kills them, asks them."""
import json
import os
import pathlib
import secrets
import signal
import socket
import subprocess
import tempfile
import time

KEY, SECRET = "devkey", "devsecret-devsecret-devsecret-dev1"

CONFIG = """
port: {http}
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
storage:
  directory: {folder}
logging:
  level: info
cluster:
  token: {token}
  listen: 127.0.0.1:{cluster}
  host: host{number}
  join: [{join}]
"""


def free_ports(count):
    """Free for TCP and UDP at this moment."""
    held, ports = [], []
    while len(ports) < count:
        tcp, udp = socket.socket(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        held += [tcp, udp]
        tcp.bind(("127.0.0.1", 0))
        try:
            udp.bind(("127.0.0.1", tcp.getsockname()[1]))
            ports.append(tcp.getsockname()[1])
        except OSError:
            pass
    for one in held:
        one.close()
    return ports


class Node:
    def __init__(self, number, folder, ports, token, join):
        self.number, self.folder = number, folder / f"n{number}"
        self.folder.mkdir()
        http, udp, tcp, cluster = ports
        self.url, self.http = f"ws://127.0.0.1:{http}", f"http://127.0.0.1:{http}"
        (self.folder / "livekit.yaml").write_text(CONFIG.format(
            http=http, udp=udp, tcp=tcp, cluster=cluster, key=KEY, secret=SECRET, folder=self.folder,
            token=token, number=number, join=", ".join(join)))
        self.process = None

    def start(self):
        log = open(self.folder / "server.log", "ab")
        command = [os.environ["SKEIN"], "--config", self.folder / "livekit.yaml"]
        self.process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)

    def kill(self, how=signal.SIGKILL):
        if self.process and self.process.poll() is None:
            self.process.send_signal(how)
            self.process.wait(20)

    def log(self):
        return (self.folder / "server.log").read_text(errors="replace")

    def skein(self, *words):
        env = {**os.environ, "LIVEKIT_URL": self.url, "LIVEKIT_KEYS": f"{KEY}: {SECRET}"}
        done = subprocess.run([os.environ["SKEIN"], *words], env=env, capture_output=True, text=True, timeout=20)
        assert done.returncode == 0, f"skein {' '.join(words)}: {done.stderr}"
        return done.stdout


class Cluster:
    def __init__(self, count=3):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="skein-cluster-"))
        ports, token = free_ports(4 * count), secrets.token_hex(32)
        join = [f"127.0.0.1:{ports[4 * n + 3]}" for n in range(count)]
        self.nodes = [Node(n + 1, self.folder, ports[4 * n:4 * n + 4], token, join) for n in range(count)]

    def __enter__(self):
        for node in self.nodes:
            node.start()
        deadline = time.monotonic() + 60
        for node in self.nodes:
            while "this node takes part in the cluster" not in node.log():
                assert node.process.poll() is None and time.monotonic() < deadline, node.log()[-4000:]
                time.sleep(0.05)
        # Whoever votes alone takes the cluster with it.
        while json.loads(self.nodes[0].skein("cluster", "status", "--json"))["voters"] != len(self.nodes):
            assert time.monotonic() < deadline, "not all of them vote"
            time.sleep(0.2)
        return self

    def __exit__(self, *failure):
        for node in self.nodes:
            node.kill()
        if any(failure):
            for node in self.nodes:
                print(f"--- node {node.number}\n{node.log()[-6000:]}")

    def home_of(self, room, ask):
        """The node a room is on, by the log of the cluster as `ask` knows it."""
        told = json.loads(ask.skein("room", "explain", room, "--json"))
        for node in self.nodes:
            if f"node={told['home'][1:]} " in node.log() and "this node takes part" in node.log():
                for line in node.log().splitlines():
                    if "this node takes part in the cluster" in line and told["home"][1:] in line:
                        return node
        raise AssertionError(f"nobody is {told['home']}")
