"""A cluster of real processes, on loopback or on hosts of a network: starts them, kills and pauses them, asks them."""
import json
import os
import pathlib
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request

KEY, SECRET = "devkey", "devsecret-devsecret-devsecret-dev1"

CONFIG = """
port: {http}
bind_addresses: ["{address}"]
rtc:
  udp_port: {udp}
  tcp_port: {tcp}
  node_ip: {address}
  enable_loopback_candidate: {loopback}
  interfaces:
    includes: [{interface}]
keys:
  {key}: {secret}
storage:
  directory: {folder}
logging:
  level: {level}
cluster:
  token: {token}
  listen: {address}:{cluster}
  roles: [{roles}]
  host: {name}
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
    """One process and the folder it keeps over its lives."""

    def __init__(self, name, folder, ports, token, join, roles="master, media", network=None):
        self.name, self.folder = name, folder / name
        self.folder.mkdir(parents=True)
        http, udp, tcp, cluster = ports
        self.address = network.addresses[name] if network else "127.0.0.1"
        self.within = network.within(name) if network else []
        self.port, self.url, self.http = http, f"ws://{self.address}:{http}", f"http://{self.address}:{http}"
        (self.folder / "livekit.yaml").write_text(CONFIG.format(
            http=http, udp=udp, tcp=tcp, cluster=cluster, key=KEY, secret=SECRET, folder=self.folder,
            token=token, level=os.environ.get("SKEIN_LOG_LEVEL", "info"), name=name, roles=roles, join=", ".join(join), address=self.address,
            interface="wire" if network else "lo", loopback="false" if network else "true"))
        self.process = None

    def start(self):
        log = open(self.folder / "server.log", "ab")
        command = [*self.within, os.environ["SKEIN"], "--config", self.folder / "livekit.yaml"]
        self.process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)

    def runs(self):
        return self.process is not None and self.process.poll() is None

    def answers(self):
        try:
            urllib.request.urlopen(self.http, timeout=0.5).read()
            return True
        except OSError:
            return False

    def kill(self, how=signal.SIGKILL):
        if self.runs():
            self.process.send_signal(how)
            self.process.wait(20)

    def pause(self):
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self):
        self.process.send_signal(signal.SIGCONT)

    def forget(self):
        """Its logs stay: a segment of the cluster's log is reserved in full, so many runs would fill a disk."""
        for kept in self.folder.iterdir():
            if kept.is_dir():
                shutil.rmtree(kept, ignore_errors=True)

    def log(self):
        return (self.folder / "server.log").read_text(errors="replace")

    def skein(self, *words):
        env = {**os.environ, "LIVEKIT_URL": self.url, "LIVEKIT_KEYS": f"{KEY}: {SECRET}"}
        done = subprocess.run([os.environ["SKEIN"], *words], env=env, capture_output=True, text=True, timeout=20)
        assert done.returncode == 0, f"skein {' '.join(words)}: {done.stderr}"
        return done.stdout


def home_of(nodes, room, ask):
    """The one of `nodes` a room is on, by the log of the cluster as `ask` knows it."""
    home = json.loads(ask.skein("room", "explain", room, "--json"))["home"]
    known = json.loads(ask.skein("cluster", "status", "--json"))["nodes"]
    hosts = {f"n{node['id']}": node["host"] for node in known}
    found = [node for node in nodes if node.name == hosts.get(home)]
    assert found, f"nobody is {home}: {hosts}"
    return found[0]


def nodes_of(folder, roles, network=None):
    """Nodes that are not started yet, by name; the masters are listed to all. With a network each is on a host of its
    own, else all share loopback."""
    ports, token = free_ports(4 * len(roles)), secrets.token_hex(32)
    ports = {name: ports[4 * n:4 * n + 4] for n, name in enumerate(roles)}
    addresses = network.addresses if network else {name: "127.0.0.1" for name in roles}
    join = [f"{addresses[name]}:{ports[name][3]}" for name, role in roles.items() if "master" in role]
    return [Node(name, folder, ports[name], token, join, role, network) for name, role in roles.items()]


class Cluster:
    def __init__(self, count=3, more=""):
        """`more`: further lines of the section `cluster`, the last one."""
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="skein-cluster-"))
        self.nodes = nodes_of(self.folder, {f"node{n + 1}": "master, media" for n in range(count)})
        for node in self.nodes:
            with open(node.folder / "livekit.yaml", "a") as configuration:
                configuration.write(more)

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
                print(f"--- node {node.name}\n{node.log()[-6000:]}")
        for node in self.nodes:
            node.forget()

    def home_of(self, room, ask):
        return home_of(self.nodes, room, ask)
