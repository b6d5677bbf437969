"""Kills nodes under a room of real clients, again and again, and measures what the clients miss."""
import argparse
import asyncio
import os
import pathlib
import sys
import tempfile
import traceback

import hosts
from browsers import Chromium, Firefox
from cluster import Cluster
from report import Report
from scenarios import SCENARIOS, TAKEOVER
from stage import Cast, Stage

# A browser and its codecs keep two busy, the nodes and the other clients as many.
CORES_FOR_ALL = 8


class Impossible(Exception):
    """What was asked for cannot be done here."""


async def browsers_for(options):
    """A driver of each kind that is asked for."""
    found = []
    if options.browsers:
        found.append(Chromium())
    if options.firefox:
        if not Firefox.program():
            raise Impossible("Firefox is not installed (Debian: firefox-esr), or FIREFOX names it")
        found.append(Firefox())
    for driver in found:
        await driver.start()
    return found


def casts_of(options, drivers):
    """Everybody at once where the machine has the cores for it, else one kind of client after the other: two cores that
    carry a cluster, Chromium and Firefox measure themselves."""
    people = {
        "Chromium": {f"carol{number or ''}": driver for driver in drivers if driver.kind == "Chromium"
                     for number in range(options.browsers)},
        "Firefox": {"frank": driver for driver in drivers if driver.kind == "Firefox"},
    }
    if options.together or (os.cpu_count() or 1) >= CORES_FOR_ALL:
        return [Cast("all", ["alice", "bob"], far=True, browsers=people["Chromium"] | people["Firefox"])]
    casts = [Cast("libwebrtc", ["alice", "bob"], far=True),
             *(Cast(kind, browsers=browsers) for kind, browsers in people.items() if browsers)]
    return [cast for cast in casts if cast.name in (options.clients or cast.name)]


async def run(options, folder):
    network = hosts.Network() if hosts.ENV in os.environ else None
    known = {name: scenario for name, scenario in SCENARIOS.items() if network or not scenario.needs_network}
    usual = TAKEOVER if options.takeover else SCENARIOS
    asked = list(dict.fromkeys(options.scenarios)) or [name for name in usual if name in known]
    if unknown := set(asked) - set(known):
        raise Impossible(f"not possible on loopback: {', '.join(unknown)}")
    report, drivers, stage = Report(), [], None
    try:
        drivers = await browsers_for(options)
        stage = Stage(casts_of(options, drivers), report, options.seed)
        for name in asked:
            for kill in range(options.kills):
                if kill % (known[name].kills_a_cluster or options.kills) == 0:
                    await stage.open(Cluster(folder / f"{name}-{kill + 1}", network))
                told = await known[name].run(stage)
                print(f"{name} {kill + 1}/{options.kills} ({stage.cast.name}): {told}", flush=True)
    finally:
        if stage:
            stage.close()
        for driver in drivers:
            if isinstance(driver, Firefox):
                driver.stop()
        if report.scenarios:
            print(report.table())
        if options.json:
            report.write(options.json)
    missed = report.missed(options.takeover)
    for line in missed:
        print(f"NOT MET: {line}")
    return bool(missed) or any(of["lost_participants"] for of in report.scenarios.values())


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenarios", nargs="*", choices=[[], *SCENARIOS])
    parser.add_argument("--kills", type=int, default=20, help="per scenario")
    parser.add_argument("--seed", type=int, default=1, help="which masters die")
    parser.add_argument("--browsers", type=int, default=1, help="people in Chromium")
    parser.add_argument("--no-browser", dest="browsers", action="store_const", const=0, help="only clients on libwebrtc")
    parser.add_argument("--firefox", action="store_true", help="one person in Firefox, too")
    parser.add_argument("--clients", action="append", choices=["libwebrtc", "Chromium", "Firefox"],
                        help="only rooms with these; may be repeated")
    parser.add_argument("--together", action="store_true", help="all kinds of clients in one room, whatever the machine")
    parser.add_argument("--takeover", action="store_true", help="the scenarios of takeovers: nobody may notice")
    parser.add_argument("--json", help="writes the figures there too")
    options = parser.parse_args()
    options.firefox |= "Firefox" in (options.clients or ())
    folder = pathlib.Path(tempfile.mkdtemp(prefix="skein-failover-"))
    print(f"seed {options.seed}; logs of the nodes in {folder}", flush=True)
    asyncio.run(run_and_leave(options, folder))


async def run_and_leave(options, folder):
    failed = True
    try:
        failed = await run(options, folder)
    except (Impossible, SystemExit) as reason:
        print(reason, file=sys.stderr)
    except Exception:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        # Not later: clients that were left in the middle of something would be waited for.
        os._exit(failed)


if __name__ == "__main__":
    main()
