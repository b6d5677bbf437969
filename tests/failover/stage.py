"""One room with people in it, and what they miss when something is struck."""
import asyncio
import random
import re
import time

import hosts
from browsers import Browser
from far import FarWheel
from flows import Asker, Wheel

# What is struck is missed by then.
NOTICE_S = 1.0
SETTLE_S, WATCH_S = 2.0, 12.0
PROTECTED_WITHIN_S = 15.0


async def until(probe, what, within=40.0):
    deadline = time.monotonic() + within
    while not probe():
        if time.monotonic() > deadline:
            raise TimeoutError(f"expected {what} within {within:g} s")
        await asyncio.sleep(0.05)


class Stage:
    """On a cluster that stays up over all kills."""

    def __init__(self, cluster, balancer, browsers, report, seed):
        """`browsers`: name and driver of each person in a browser."""
        self.cluster, self.balancer, self.report, self.random = cluster, balancer, report, random.Random(seed)
        self.browsers, self.number = browsers, 0

    async def fill(self):
        self.number += 1
        self.room = f"failover-{self.number}"
        self.people = [Wheel("alice"), Wheel("bob")]
        if self.cluster.network:
            self.people.append(FarWheel("dave", self.cluster.network.within(hosts.BEHIND)))
        if self.browsers:
            place = "://" + self.balancer.url.partition("//")[2] + "/"
            link = re.sub("://[^/]+/", place, self.cluster.master().skein("room", "link", self.room).strip(), count=1)
            self.people += [Browser(name, driver, link) for name, driver in self.browsers.items()]
        for person in self.people:
            url = self.balancer.far_url if isinstance(person, FarWheel) else self.balancer.url
            await person.join(url, self.room, single_pc=bool((self.number + len(person.identity)) % 2))
        await self.everybody_flows()
        self.asker = Asker([node.url for node in self.cluster.masters], self.room, [person.identity for person in self.people])
        await self.everybody_protected()
        await asyncio.sleep(SETTLE_S)

    async def everybody_protected(self):
        """Fresh from the join a takeover would find a standby that knows little; how long that lasts is a figure too."""
        began = time.monotonic()
        while time.monotonic() < began + PROTECTED_WITHIN_S:
            if all(word == "warm" for word in await asyncio.to_thread(self.cluster.protection, self.room)):
                break
            await asyncio.sleep(0.1)
        self.report.note("protected_after_ms", (time.monotonic() - began) * 1_000)

    def pairs(self):
        """Who decodes whom. The browser's sound is a beep now and then, so nobody is asked for it."""
        senders = [person for person in self.people if isinstance(person, (Wheel, FarWheel))]
        return [(me, other.identity) for me in self.people for other in senders if me is not other]

    async def everybody_flows(self, within=40.0):
        try:
            await until(lambda: all(me.hears_and_sees(other) for me, other in self.pairs()),
                        "sound and picture both ways", within)
        except TimeoutError as missing:
            missing.add_note("; ".join(self.silences()))
            raise

    def silences(self):
        now = time.monotonic()
        for me, other in self.pairs():
            for kind in ("audio", "video"):
                at = me.flow(other, kind).at
                if not at or now - at[-1] > 0.6:
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

        def gaps(kind):
            return [me.flow(other, kind).gap(struck - 0.2, now) for me, other in self.pairs()]
        audio, video = gaps("audio"), gaps("video")
        events = [f"{person.identity} {name}" for person in self.people for at, name in person.events if at >= struck]
        came_back = self.how_they_came_back(before, await self.asker.sids(), struck)
        self.report.add(
            scenario, audio_gap_ms=audio, video_gap_ms=video,
            api_gap_ms=[self.asker.flow.gap(struck - 0.2, now)], lost_participants=len(lost), **came_back)
        return "; ".join([f"longest gap {max(audio):.0f}/{max(video):.0f} ms", *(f"LOST: {one}" for one in lost),
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
