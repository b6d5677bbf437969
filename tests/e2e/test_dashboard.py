"""LiveKit's public Grafana dashboard ("livekit-server-overview") has data for every panel once people meet."""
import asyncio
import os
import re
import urllib.request

from livekit import rtc

from kit import URL, colour, eventually, token, unique

# What the dashboard asks for: series that exist whatever happens, and those that people move.
MOVED_BY_A_MEETING = {
    "Rooms": 'livekit_room_total',
    "Participants": 'livekit_participant_total',
    "Message Rate": 'livekit_node_messages{type="signal"}',
    "Tracks Published": 'livekit_track_published_total',
    "Network Rate, packets": 'livekit_packet_total',
    "Participant Connections, signal": 'livekit_node_service_operation{status="success",type="signal_ws"}',
    "Participant Connections, ICE": 'livekit_node_service_operation{status="success",type="ice_connection"}',
}
# Nobody has to ask for a key frame, or to lose a packet.
THERE_IN_ANY_CASE = {
    "Network Rate, PLI": 'livekit_pli_total',
    "Network Rate, NACK": 'livekit_nack_total',
    "Network Rate, FIR": 'livekit_fir_total',
    "Load": 'livekit_node_cpu_load',
}


def series():
    """Name, labels and value of everything that Prometheus would scrape."""
    text = urllib.request.urlopen(os.environ["METRICS_URL"], timeout=5).read().decode()
    found = []
    for line in text.splitlines():
        match = re.fullmatch(r'(\w+)(?:\{(.*)\})? (\S+)', line)
        if match and not line.startswith("#"):
            labels = dict(re.findall(r'(\w+)="([^"]*)"', match[2] or ""))
            found.append((match[1], labels, float(match[3])))
    return found


def values(query):
    name, labels = re.fullmatch(r'(\w+)(?:\{(.*)\})?', query).groups()
    wanted = dict(re.findall(r'(\w+)="([^"]*)"', labels or ""))
    return [value for found, given, value in series() if found == name and wanted.items() <= given.items()]


async def test_every_panel_has_data_when_people_meet():
    name, stop = unique("dashboard"), asyncio.Event()
    alice, bob = rtc.Room(), rtc.Room()
    seen = asyncio.get_running_loop().create_future()

    @bob.on("track_subscribed")
    def watch(track, *_):
        async def first():
            async for _ in rtc.VideoStream(track):
                return seen.done() or seen.set_result(True)
        asyncio.ensure_future(first())

    await alice.connect(URL, token(name, "alice"))
    await bob.connect(URL, token(name, "bob"))
    camera = rtc.VideoSource(640, 360)
    await alice.local_participant.publish_track(
        rtc.LocalVideoTrack.create_video_track("cam", camera),
        rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_CAMERA))
    feed = asyncio.ensure_future(colour(camera, (40, 200, 40, 255), stop))
    try:
        await asyncio.wait_for(seen, 20)
        for panel, query in MOVED_BY_A_MEETING.items():
            await eventually(lambda query=query: sum(values(query)) > 0, f"{panel}: {query}")
        for panel, query in THERE_IN_ANY_CASE.items():
            assert values(query), f"{panel}: {query}"
    finally:
        stop.set()
        await feed
        await alice.disconnect()
        await bob.disconnect()
