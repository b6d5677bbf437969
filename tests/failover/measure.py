"""Kills nodes under a room of real clients, again and again, and measures what the clients miss."""
import argparse
import asyncio
import os
import pathlib
import random
import re
import sys
import tempfile
import time
import traceback

from playwright.async_api import async_playwright

import hosts
from cluster import Balancer, Cluster
from far import FarWheel
from flows import Asker, Browser, Wheel
from report import Report

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-dev-shm-usage",
         "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream",
         "--autoplay-policy=no-user-gesture-required"]
# What is struck is missed by then.
NOTICE_S = 1.0
SETTLE_S, WATCH_S = 2.0, 12.0


async def until(probe, what, within=40.0):
    deadline = time.monotonic() + within
    while not probe():
        if time.monotonic() > deadline:
            raise TimeoutError(f"expected {what} within {within:g} s")
        await asyncio.sleep(0.05)


class Stage:
    """One room with people in it, on a cluster that stays up over all kills."""

    def __init__(self, cluster, balancer, chromium, report, seed):
        self.chromium = chromium
        self.cluster, self.balancer, self.report, self.random = cluster, balancer, report, random.Random(seed)
        self.number = 0

    async def fill(self):
        self.number += 1
        self.room = f"failover-{self.number}"
        self.people = [Wheel("alice"), Wheel("bob")]
        if self.cluster.network:
            self.people.append(FarWheel("dave", self.cluster.network.within(hosts.BEHIND)))
        if self.chromium:
            place = "://" + self.balancer.url.partition("//")[2] + "/"
            link = re.sub("://[^/]+/", place, self.cluster.master().skein("room", "link", self.room).strip(), count=1)
            self.people.append(Browser("carol", self.chromium, link))
        for person in self.people:
            url = self.balancer.far_url if isinstance(person, FarWheel) else self.balancer.url
            await person.join(url, self.room, single_pc=bool((self.number + len(person.identity)) % 2))
        await self.everybody_flows()
        self.asker = Asker([node.url for node in self.cluster.masters], self.room, [person.identity for person in self.people])
        await asyncio.sleep(SETTLE_S)

    def pairs(self):
        """Who decodes whom. The browser's sound is a beep now and then, so nobody is asked for it."""
        senders = [person for person in self.people if isinstance(person, (Wheel, FarWheel))]
        return [(me, other.identity) for me in self.people for other in senders if me is not other]

    async def everybody_flows(self, within=40.0):
        try:
            await until(lambda: all(me.hears_and_sees(other) for me, other in self.pairs()),
                        "sound and picture both ways", within)
        except TimeoutError as missing:
            now = time.monotonic()

            def silence(me, other, kind):
                at = me.flow(other, kind).at
                return f"{now - at[-1]:.1f} s" if at else "never"
            missing.add_note("; ".join(
                f"{me.identity} last decoded {kind} of {other}: {silence(me, other, kind)}"
                for me, other in self.pairs() for kind in ("audio", "video")))
            raise

    async def measure(self, scenario, strike):
        """Strikes, watches, and notes what was missed."""
        before = await self.asker.sids()
        struck = time.monotonic()
        # In a thread: what takes its time must not stop the clients' clocks.
        await asyncio.to_thread(strike)
        lost = 0
        await asyncio.sleep(NOTICE_S)
        try:
            await self.everybody_flows(WATCH_S)
        except TimeoutError:
            lost = sum(not me.hears_and_sees(other) for me, other in self.pairs())
        await asyncio.sleep(SETTLE_S)
        now = time.monotonic()

        def gaps(kind):
            return [me.flow(other, kind).gap(struck - 0.2, now) for me, other in self.pairs()]
        worst = max(gaps("audio") + gaps("video"))
        events = [name for person in self.people for at, name in person.events if at >= struck]
        came_back = self.how_they_came_back(before, await self.asker.sids(), struck)
        self.report.add(
            scenario, audio_gap_ms=gaps("audio"), video_gap_ms=gaps("video"),
            api_gap_ms=[self.asker.flow.gap(struck - 0.2, now)], lost_participants=lost, **came_back)
        return worst, events, lost

    def how_they_came_back(self, before, after, struck):
        """Another sid: everybody saw it leave and join. The same: its app was told to resume, or noticed nothing."""
        rejoined = {person.identity for person in self.people if before.get(person.identity) != after.get(person.identity)}
        noticed = {person.identity for person in self.people
                   if any(at >= struck and name in ("reconnecting", "socket") for at, name in person.events)}
        people = len(self.people)
        resumed = len(noticed - rejoined)
        return {"people": people, "rejoined": len(rejoined), "resumed": resumed,
                "unaware": people - len(rejoined) - resumed}

    async def leave(self):
        self.asker.task.cancel()
        await asyncio.gather(*(person.leave() for person in self.people))

    # Scenarios: each leaves a whole cluster behind.

    async def media_killed(self):
        await self.fill()
        home = self.cluster.home(self.room)
        result = await self.measure("media node, kill -9", home.kill)
        home.start()
        await self.finish([home])
        return home, result

    async def media_paused(self):
        await self.fill()
        home = self.cluster.home(self.room)
        result = await self.measure("media node, SIGSTOP", home.pause)
        home.go_on()
        await self.finish([home])
        return home, result

    async def masters_killed(self):
        await self.fill()
        struck = self.random.sample(self.cluster.masters, 2)

        def strike():
            for node in struck:
                node.kill()
        result = await self.measure("two masters at once, kill -9", strike)
        for node in struck:
            node.start()
        await self.finish(struck)
        return struck[0], result

    async def host_lost(self):
        """Nothing answers any more, not even a kernel; then the cable is back and an old home wakes up."""
        await self.fill()
        home, network = self.cluster.home(self.room), self.cluster.network
        result = await self.measure("media host, cable pulled", lambda: network.pull(home.name))
        network.plug()
        await self.finish([home])
        return home, result

    async def masters_parted(self):
        """Clients reach the node, its masters do not: the room moves, and the old home must not harm it."""
        await self.fill()
        home, network = self.cluster.home(self.room), self.cluster.network
        others = [node.name for node in self.cluster.nodes if node is not home]
        result = await self.measure("media node cut from all nodes", lambda: network.part([home.name], others))
        network.join()
        await self.finish([home])
        return home, result

    async def drained(self):
        await self.fill()
        home = self.cluster.home(self.room)
        asked = self.cluster.master()
        result = await self.measure("drain of a media node", lambda: asked.skein("node", "drain", home.name))
        asked.skein("node", "undrain", home.name)
        await self.finish([home])
        return home, result

    async def finish(self, nodes):
        await until(lambda: all(node.answers() for node in nodes), "the node to come back")
        await self.leave()
        # It must be a member again before the next strike, or two would be gone at once.
        await until(lambda: self.cluster.whole(), "the cluster to be whole again", 60)


SCENARIOS = {"media": Stage.media_killed, "pause": Stage.media_paused, "masters": Stage.masters_killed,
             "drain": Stage.drained}
# They need hosts of their own.
SCENARIOS_OF_NETWORK = {"host": Stage.host_lost, "cut": Stage.masters_parted}


async def run(options, folder):
    network = hosts.Network() if hosts.ENV in os.environ else None
    known = SCENARIOS | (SCENARIOS_OF_NETWORK if network else {})
    if unknown := set(options.scenarios) - set(known):
        raise SystemExit(f"not possible here: {', '.join(unknown)} (known: {', '.join(known)})")
    cluster, report = Cluster(folder, network), Report()
    try:
        cluster.start()
        cluster.wait(cluster.whole, "a whole cluster", 90)
        playwright = await async_playwright().start()
        chromium = None if options.no_browser else await playwright.chromium.launch(
            executable_path=os.environ.get("CHROMIUM", "/usr/bin/chromium"), headless=True, args=FLAGS)
        balancer = Balancer(
            [(node.address, node.port) for node in cluster.masters],
            network.addresses[hosts.CLIENTS] if network else "127.0.0.1")
        await balancer.start()
        stage = Stage(cluster, balancer, chromium, report, options.seed)
        for name in options.scenarios or known:
            for kill in range(options.kills):
                node, (worst, events, lost) = await known[name](stage)
                print(f"{name} {kill + 1}/{options.kills}: {node.name}, longest gap {worst:.0f} ms"
                      f"{f', {lost} flows LOST' if lost else ''}; {', '.join(events) or 'no event'}", flush=True)
    finally:
        cluster.stop()
        if report.scenarios:
            print(report.table())
        if options.json:
            report.write(options.json)
    return any(of["lost_participants"] for of in report.scenarios.values())


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenarios", nargs="*", choices=[[], *SCENARIOS, *SCENARIOS_OF_NETWORK])
    parser.add_argument("--kills", type=int, default=20, help="per scenario")
    parser.add_argument("--seed", type=int, default=1, help="which masters die")
    parser.add_argument("--no-browser", action="store_true", help="only clients on libwebrtc")
    parser.add_argument("--json", help="writes the figures there too")
    options = parser.parse_args()
    folder = pathlib.Path(tempfile.mkdtemp(prefix="skein-failover-"))
    print(f"seed {options.seed}; logs of the nodes in {folder}", flush=True)
    failed = True
    try:
        failed = asyncio.run(run_and_say(options, folder))
    finally:
        sys.stdout.flush()
        # Clients that were left in the middle of something would be waited for.
        os._exit(failed)


async def run_and_say(options, folder):
    try:
        return await run(options, folder)
    except Exception:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)


if __name__ == "__main__":
    main()
