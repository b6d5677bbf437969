"""A client on another host, behind an address translation: a process of its own that tells what it decodes, line by line.

`FarWheel` is used by `measure` as if it were a `Wheel`; run as a program this file is the process.
"""
import asyncio
import json
import pathlib
import sys
import time

from flows import Flow, Wheel

TELL_S = 0.05


class FarWheel:
    #: Seconds until what was decoded last is old: it is told of now and then.
    fresh_s = Wheel.fresh_s + 2 * TELL_S

    def __init__(self, identity, within):
        self.identity, self.within, self.heard, self.events = identity, within, {}, []
        self.process = self.reading = None

    async def join(self, url, room, single_pc=False):
        words = [*self.within, sys.executable, str(pathlib.Path(__file__).resolve()), url, room, self.identity]
        self.process = await asyncio.create_subprocess_exec(
            *words, *(["--single-pc"] if single_pc else []), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            limit=1 << 22)
        self.reading = asyncio.ensure_future(self.read())

    async def read(self):
        while line := await self.process.stdout.readline():
            try:
                told = json.loads(line)
            except ValueError:
                # What the SDK logs.
                continue
            for other, kind, at in told["flows"]:
                self.flow(other, kind).at += at
            self.events += [tuple(event) for event in told["events"]]

    def flow(self, other, kind):
        return self.heard.setdefault((other, kind), Flow())

    async def leave(self):
        # The end of its input is what it waits for.
        self.process.stdin.close()
        try:
            await asyncio.wait_for(self.process.wait(), 10)
        except TimeoutError:
            self.process.kill()
        self.reading.cancel()


async def tell(wheel):
    """Monotonic times are the same on all hosts of one machine."""
    told = {}
    events = 0
    while True:
        await asyncio.sleep(TELL_S)
        flows = []
        for (other, kind), flow in list(wheel.flows.items()):
            known = told.get((other, kind), 0)
            flows.append((other, kind, flow.at[known:]))
            told[other, kind] = len(flow.at)
        print(json.dumps({"flows": flows, "events": wheel.events[events:], "now": time.monotonic()}), flush=True)
        events = len(wheel.events)


async def main(url, room, identity, *options):
    wheel = Wheel(identity)
    await wheel.join(url, room, single_pc="--single-pc" in options)
    telling = asyncio.ensure_future(tell(wheel))
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    telling.cancel()
    await wheel.leave()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
