"""Four masters and three media nodes, and what stands before the masters; the nodes are those of the cluster checks."""
import asyncio
import json
import subprocess
import time

from nodes import home_of, nodes_of

MASTERS, MEDIA = 4, 3
ROLES = {f"master{n + 1}": "master" for n in range(MASTERS)} | {f"media{n + 1}": "media" for n in range(MEDIA)}


class Cluster:
    """Masters and media nodes; clients talk to masters, as behind a load balancer."""

    def __init__(self, folder, network=None):
        self.network = network
        self.nodes = nodes_of(folder, ROLES, network)
        self.masters = [node for node in self.nodes if "master" in ROLES[node.name]]
        self.media = [node for node in self.nodes if "media" in ROLES[node.name]]

    def start(self, within=60):
        for node in self.nodes:
            node.start()
        self.wait(lambda: all(node.answers() for node in self.nodes), "every node to answer", within)

    def wait(self, probe, what, within=60):
        deadline = time.monotonic() + within
        while not probe():
            if time.monotonic() > deadline:
                logs = "\n".join(f"== {n.name}\n{n.log()[-1500:]}" for n in self.nodes)
                raise SystemExit(f"expected {what} within {within} s\n{logs}")
            time.sleep(0.1)

    def master(self):
        """One that answers."""
        return next(master for master in self.masters if master.answers())

    def whole(self):
        """Every node is active, as some master says, and nothing is wrong."""
        try:
            report = json.loads(self.master().skein("cluster", "status", "--json"))
        except (AssertionError, StopIteration):
            return False
        active = [node for node in report["nodes"] if node["state"] == "active"]
        return len(active) == len(self.nodes) and not report["problems"]

    def home(self, room):
        return home_of(self.media, room, self.master())

    def protected(self, room):
        """Nobody in the room would notice the loss of its home."""
        told = json.loads(self.master().skein("room", "inspect", room, "--json"))
        return {participant["protected"] for participant in told["participants"]} == {"warm"}

    def stop(self):
        for node in self.nodes:
            if node.runs():
                node.go_on()
                node.process.terminate()
        for node in self.nodes:
            if node.process:
                try:
                    node.process.wait(15)
                except subprocess.TimeoutExpired:
                    node.kill()
            node.forget()


# Whoever does not answer a connection by then is passed over.
CONNECT_S = 0.3


class Balancer:
    """What stands before the masters: every connection goes to the next one that takes it."""

    def __init__(self, targets, address="127.0.0.1"):
        """`targets`: address and port of each; `address`: where clients of other hosts find it."""
        self.targets, self.address, self.turn, self.server = targets, address, 0, None

    async def start(self):
        self.server = await asyncio.start_server(self.serve, "0.0.0.0" if self.address != "127.0.0.1" else self.address, 0)
        port = self.server.sockets[0].getsockname()[1]
        # Browsers give a camera to pages of this machine only.
        self.url, self.far_url = f"ws://127.0.0.1:{port}", f"ws://{self.address}:{port}"

    async def serve(self, reader, writer):
        for _ in self.targets:
            self.turn += 1
            target = self.targets[self.turn % len(self.targets)]
            try:
                connecting = asyncio.open_connection(*target)
                far_reader, far_writer = await asyncio.wait_for(connecting, CONNECT_S)
                break
            except (OSError, TimeoutError):
                continue
        else:
            return writer.close()
        try:
            await asyncio.gather(self.pump(reader, far_writer), self.pump(far_reader, writer))
        except asyncio.CancelledError:
            pass  # the run is over

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
