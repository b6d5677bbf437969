"""One room with people in it, and what they miss when something is struck."""
import asyncio
import dataclasses
import random
import re
import time

import hosts
from browsers import Browser
from cluster import Balancer
from far import FarWheel
from flows import Asker, Wheel

# What is struck is missed by then.
NOTICE_S = 1.0
SETTLE_S, WATCH_S = 2.0, 12.0
PROTECTED_WITHIN_S = 15.0
# Whose gap it was is said from then on.
LONG_MS = 500


async def until(probe, what, within=40.0):
    deadline = time.monotonic() + within
    while not probe():
        if time.monotonic() > deadline:
            raise TimeoutError(f"expected {what} within {within:g} s")
        await asyncio.sleep(0.05)


@dataclasses.dataclass
class Cast:
    """Who comes into a room together."""

    name: str
    wheels: list = dataclasses.field(default_factory=lambda: ["alice"])
    #: Somebody on libwebrtc behind a router.
    far: bool = False
    #: Name and driver of each person in a browser.
    browsers: dict = dataclasses.field(default_factory=dict)


def longest(gaps):
    """Of whom, where it is long."""
    who = max(gaps, key=gaps.get)
    return f"{gaps[who]:.0f}" + (f" ({who})" if gaps[who] > LONG_MS else "")


class Stage:
    """On one cluster after the other, each for a number of strikes."""

    def __init__(self, casts, report, seed):
        """`casts`: who comes, in turn from room to room."""
        self.cluster, self.balancer, self.report, self.random = None, None, report, random.Random(seed)
        self.casts, self.number = casts, 0

    async def open(self, cluster):
        """From now on there; the one before ends."""
        self.close()
        self.cluster = cluster
        cluster.start()
        cluster.wait(cluster.whole, "a whole cluster", 90)
        balancer = Balancer(
            [(node.address, node.port) for node in cluster.masters],
            cluster.network.addresses[hosts.CLIENTS] if cluster.network else "127.0.0.1")
        await balancer.start()
        self.balancer = balancer

    def close(self):
        if self.balancer:
            self.balancer.server.close()
        if self.cluster:
            self.cluster.stop()
        self.cluster = self.balancer = None

    async def fill(self):
        self.cast = self.casts[self.number % len(self.casts)]
        self.number += 1
        self.room = f"failover-{self.number}"
        self.people = [Wheel(name) for name in self.cast.wheels]
        if self.cast.far and self.cluster.network:
            self.people.append(FarWheel("dave", self.cluster.network.within(hosts.BEHIND)))
        if self.cast.browsers:
            place = "://" + self.balancer.url.partition("//")[2] + "/"
            link = re.sub("://[^/]+/", place, self.cluster.master().skein("room", "link", self.room).strip(), count=1)
            self.people += [Browser(name, driver, link) for name, driver in self.cast.browsers.items()]
        # Every cast comes with one peer connection and with two.
        turn = (self.number - 1) // len(self.casts)
        for person in self.people:
            url = self.balancer.far_url if isinstance(person, FarWheel) else self.balancer.url
            await person.join(url, self.room, single_pc=bool((turn + len(person.identity)) % 2))
        await self.everybody_known()
        await self.everybody_flows()
        self.asker = Asker([node.url for node in self.cluster.masters], self.room, [person.identity for person in self.people])
        await self.everybody_protected()
        await asyncio.sleep(SETTLE_S)

    async def everybody_protected(self):
        """Fresh from the join a takeover would find a standby that knows little; how long that lasts is a figure too."""
        began = time.monotonic()
        while time.monotonic() < began + PROTECTED_WITHIN_S:
            if await asyncio.to_thread(self.cluster.protected, self.room):
                break
            await asyncio.sleep(0.1)
        self.report.note("protected_after_ms", (time.monotonic() - began) * 1_000)

    async def everybody_known(self):
        """By what they are called in the room."""
        for browser in (person for person in self.people if isinstance(person, Browser)):
            others = self.people[0].room.remote_participants
            await until(lambda: any(other.name == browser.identity for other in others.values()),
                        f"{browser.identity} to be in the room")
            browser.known_as = next(other.identity for other in others.values() if other.name == browser.identity)

    def flows(self):
        """Who decodes what of whom. The sound of a browser is a beep now and then, so nobody is asked for it."""
        for me in self.people:
            for other in self.people:
                if me is other or isinstance(other, Browser) and not isinstance(me, Wheel):
                    continue
                name = other.known_as if isinstance(other, Browser) else other.identity
                for kind in ("video",) if isinstance(other, Browser) else ("audio", "video"):
                    yield me, name, kind

    async def everybody_flows(self, within=40.0):
        try:
            await until(lambda: all(me.flow(other, kind).flows(me.fresh_s) for me, other, kind in self.flows()),
                        "sound and picture both ways", within)
        except TimeoutError as missing:
            missing.add_note("; ".join(self.silences()))
            raise

    def silences(self):
        now = time.monotonic()
        for me, other, kind in self.flows():
            at = me.flow(other, kind).at
            if not me.flow(other, kind).flows(me.fresh_s):
                yield f"{me.identity} last decoded {kind} of {other}: " + (f"{now - at[-1]:.1f} s ago" if at else "never")

    async def measure(self, scenario, strike):
        """Strikes, watches, and notes what was missed; what happened, in words."""
        before = await self.asker.sids()
        struck = time.monotonic()
        # In a thread: what takes its time must not stop the clients' clocks.
        await asyncio.to_thread(strike)
        lost = []
        await asyncio.sleep(NOTICE_S)
        try:
            await self.everybody_flows(WATCH_S)
        except TimeoutError:
            lost = list(self.silences())
        await asyncio.sleep(SETTLE_S)
        now = time.monotonic()

        def gaps(wanted):
            return {f"{me.identity} of {other}": me.flow(other, kind).gap(struck - 0.2, now)
                    for me, other, kind in self.flows() if kind == wanted}
        audio, video = gaps("audio"), gaps("video")
        events = [f"{person.identity} {name}" for person in self.people for at, name in person.events if at >= struck]
        came_back = self.how_they_came_back(before, await self.asker.sids(), struck)
        self.report.add(
            scenario, self.cast.name, audio_gap_ms=list(audio.values()), video_gap_ms=list(video.values()),
            api_gap_ms=[self.asker.flow.gap(struck - 0.2, now)], lost_participants=len(lost), **came_back)
        return "; ".join([f"longest gap {longest(audio)}/{longest(video)} ms", *(f"LOST: {one}" for one in lost),
                          ", ".join(events) or "no event"])

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
