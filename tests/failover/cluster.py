"""A cluster of real processes on loopback: starts them, kills and pauses them, brings them back."""
import asyncio
import json
import os
import pathlib
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

    def ask(self, *words):
        """What the program says, asked of a master that answers; empty if none can tell."""
        for master in self.masters:
            if not master.answers():
                continue
            env = {**os.environ, "LIVEKIT_URL": master.url, "LIVEKIT_KEYS": f"{KEY}: {SECRET}"}
            done = subprocess.run([self.binary, *words], env=env, capture_output=True, text=True, timeout=20)
            if done.returncode == 0:
                return done.stdout
        return ""

    def whole(self):
        """Every node is active, as some master says, and nothing is wrong."""
        said = self.ask("cluster", "status")
        return said.count(" active ") == len(self.nodes) and "Nothing is wrong" in said

    def home(self, room):
        """The media node that has the room, as `skein room explain` says."""
        place = json.loads(self.ask("room", "explain", room, "--json") or "{}")
        rows = (line.split() for line in self.ask("cluster", "status").splitlines())
        hosts = {row[0]: row[1] for row in rows if len(row) > 1}
        name = hosts.get(place.get("home"))
        found = [node for node in self.media if node.name == name]
        if not found:
            raise RuntimeError(f"where is {room}? {place} of {hosts}")
        return found[0]

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


class Balancer:
    """What stands before the masters: every connection goes to the next one that takes it."""

    def __init__(self, targets):
        self.targets, self.turn, self.server = targets, 0, None

    async def start(self):
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        self.url = f"ws://127.0.0.1:{self.server.sockets[0].getsockname()[1]}"

    async def serve(self, reader, writer):
        for _ in self.targets:
            self.turn += 1
            target = self.targets[self.turn % len(self.targets)]
            try:
                far_reader, far_writer = await asyncio.open_connection("127.0.0.1", target)
                break
            except OSError:
                continue
        else:
            return writer.close()
        await asyncio.gather(self.pump(reader, far_writer), self.pump(far_reader, writer))

    @staticmethod
    async def pump(reader, writer):
        try:
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            writer.close()
