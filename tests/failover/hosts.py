"""Machines for a cluster: a network namespace each, all on one bridge, with the cables in our hands.

Used by `run` (which makes them and starts the measurement in the clients' one) and by `cluster` (which starts nodes in
them and pulls cables). Needs root; whoever has it not measures on loopback, without the scenarios of the network.
"""
import json
import os
import shutil
import subprocess

ENV = "SKEIN_HOSTS"
CLIENTS = "clients"
# Clients behind a router that translates addresses, and that router.
BEHIND, ROUTER = "behind", "router"


def sh(*words):
    subprocess.run([str(word) for word in words], check=True, capture_output=True)


def missing():
    """Why there can be no namespaces here; `None` = there can."""
    if os.geteuid() != 0:
        return "it needs root to make network namespaces"
    for tool in ("ip", "nft"):
        if not shutil.which(tool):
            return f"{tool} is not installed"
    probe = f"skein-probe-{os.getpid()}"
    tries = (
        ["ip", "netns", "add", probe],
        ["ip", "-n", probe, "link", "set", "lo", "up"],
        ["ip", "-n", probe, "link", "add", "probe", "type", "bridge"],
        ["ip", "netns", "exec", probe, "nft", "add", "table", "bridge", "probe"],
    )
    try:
        works = all(subprocess.run(words, capture_output=True).returncode == 0 for words in tries)
        return None if works else "network namespaces with a bridge cannot be made here"
    finally:
        subprocess.run(["ip", "netns", "delete", probe], capture_output=True)


class Hosts:
    """Made by the one process that also takes them down."""

    def __init__(self, names):
        self.prefix = f"skein{os.getpid()}"
        self.net = f"{self.prefix}-net"
        self.addresses = {name: f"10.89.0.{number + 1}" for number, name in enumerate([CLIENTS, ROUTER, *names])}

    def __enter__(self):
        try:
            self.make()
        except BaseException:
            self.__exit__()
            raise
        return self

    def make(self):
        sh("ip", "netns", "add", self.net)
        sh("ip", "-n", self.net, "link", "add", "bridge", "type", "bridge")
        sh("ip", "-n", self.net, "link", "set", "bridge", "up")
        for name, address in self.addresses.items():
            space = self.space(name)
            sh("ip", "netns", "add", space)
            sh("ip", "-n", space, "link", "set", "lo", "up")
            sh("ip", "-n", self.net, "link", "add", "name", name, "type", "veth", "peer", "name", "wire", "netns", space)
            sh("ip", "-n", self.net, "link", "set", "dev", name, "master", "bridge", "up")
            sh("ip", "-n", space, "address", "add", f"{address}/24", "dev", "wire")
            sh("ip", "-n", space, "link", "set", "wire", "up")
            # ICE finds interfaces by a route to the world.
            sh("ip", "-n", space, "route", "add", "default", "via", "10.89.0.254")

        self.make_router()

    def make_router(self):
        """What stands at most homes: it keeps ports where it can, and lets in only answers from where it was sent to."""
        inside, router = self.space(BEHIND), self.space(ROUTER)
        sh("ip", "netns", "add", inside)
        sh("ip", "-n", inside, "link", "set", "lo", "up")
        sh("ip", "-n", router, "link", "add", "name", "inside", "type", "veth", "peer", "name", "wire", "netns", inside)
        for space, interface, address in ((router, "inside", "192.168.77.1"), (inside, "wire", "192.168.77.2")):
            sh("ip", "-n", space, "address", "add", f"{address}/24", "dev", interface)
            sh("ip", "-n", space, "link", "set", "dev", interface, "up")
        sh("ip", "-n", inside, "route", "add", "default", "via", "192.168.77.1")
        sh("ip", "netns", "exec", router, "sysctl", "-qw", "net.ipv4.ip_forward=1")
        sh("ip", "netns", "exec", router, "nft", "add table ip nat; add chain ip nat out "
           "{ type nat hook postrouting priority 100; }; add rule ip nat out oifname wire masquerade")

    def __exit__(self, *_):
        for space in [*map(self.space, [*self.addresses, BEHIND]), self.net]:
            subprocess.run(["ip", "netns", "delete", space], capture_output=True)

    def space(self, name):
        return f"{self.prefix}-{name}"

    def described(self):
        """For the environment of the measurement."""
        return json.dumps({"net": self.net, "spaces": {name: self.space(name) for name in [*self.addresses, BEHIND]},
                           "addresses": self.addresses})


class Network:
    """The same hosts, as the measurement sees them: it knows who is where and may pull cables."""

    def __init__(self):
        known = json.loads(os.environ[ENV])
        self.net, self.spaces, self.addresses = known["net"], known["spaces"], known["addresses"]

    def within(self, name):
        """What a command begins with that runs on that host."""
        return ["ip", "netns", "exec", self.spaces[name]]

    def pull(self, name):
        """From now on nothing passes the cable of a host, and nobody is told."""
        self.drop("pulled", [f"iifname {name}", f"oifname {name}"])

    def plug(self):
        self.pass_again("pulled")

    def part(self, some, others):
        """Nothing passes between the two groups of hosts."""
        one, two = (", ".join(self.addresses[name] for name in group) for group in (some, others))
        self.drop("parted", [f"ip saddr {{ {one} }} ip daddr {{ {two} }}", f"ip saddr {{ {two} }} ip daddr {{ {one} }}"])

    def join(self):
        self.pass_again("parted")

    def drop(self, table, matches):
        rules = "\n".join(["type filter hook forward priority 0", *(f"{match} drop" for match in matches)])
        text = f"table bridge {table} {{\nchain pass {{\n{rules}\n}}\n}}\n"
        command = ["ip", "netns", "exec", self.net, "nft", "-f", "-"]
        subprocess.run(command, input=text, text=True, check=True, capture_output=True)

    def pass_again(self, table):
        sh("ip", "netns", "exec", self.net, "nft", "delete", "table", "bridge", table)
