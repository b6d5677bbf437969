"""A node dies and its standby takes a live transport over; the browser at its other end is told nothing and notices nothing."""
import asyncio
import os
import pathlib
import re

from kit import browser, eventually

ROOT = pathlib.Path(__file__).resolve().parents[2]
CALL = """async ({port, ufrag, pwd, fingerprint}) => {
  const pc = window.pc = new RTCPeerConnection();
  window.states = []; window.echoes = []; window.shown = []; window.closed = 0;
  pc.onconnectionstatechange = () => window.states.push(pc.connectionState);
  pc.oniceconnectionstatechange = () => window.states.push('ice ' + pc.iceConnectionState);
  pc.ondatachannel = (e) => { const c = window.theirs = e.channel; c.onclose = () => window.closed++;
    c.onmessage = (e) => window.echoes.push([performance.now(), Number(e.data)]);
    let n = 0; setInterval(() => c.send(String(n++)), 20); };
  const stream = await navigator.mediaDevices.getUserMedia({video: {width: 640, height: 360, frameRate: 30}});
  pc.ontrack = (e) => { const v = window.video = document.createElement('video'); v.muted = true; v.autoplay = true;
    v.srcObject = new MediaStream([e.track]); document.body.append(v);
    const next = () => { window.shown.push(performance.now()); v.requestVideoFrameCallback(next); };
    v.requestVideoFrameCallback(next); };
  const end = `a=ice-ufrag:${ufrag}\\r\\na=ice-pwd:${pwd}\\r\\na=fingerprint:sha-256 ${fingerprint}\\r\\na=setup:actpass\\r\\n`
    + `a=candidate:1 1 udp 2130706431 127.0.0.1 ${port} typ host\\r\\n`;
  const sdp = 'v=0\\r\\no=- 1 2 IN IP4 127.0.0.1\\r\\ns=-\\r\\nt=0 0\\r\\na=group:BUNDLE 0 1\\r\\n'
    + 'm=video 9 UDP/TLS/RTP/SAVPF 96\\r\\nc=IN IP4 0.0.0.0\\r\\na=mid:0\\r\\na=sendrecv\\r\\na=rtcp-mux\\r\\n'
    + 'a=rtpmap:96 VP8/90000\\r\\na=rtcp-fb:96 nack\\r\\na=rtcp-fb:96 nack pli\\r\\na=rtcp-fb:96 goog-remb\\r\\n'
    + 'a=msid:a b\\r\\na=ssrc:1234 cname:x\\r\\n' + end
    + 'm=application 9 UDP/DTLS/SCTP webrtc-datachannel\\r\\nc=IN IP4 0.0.0.0\\r\\na=mid:1\\r\\na=sctp-port:5000\\r\\n' + end;
  await pc.setRemoteDescription({type: 'offer', sdp});
  pc.getTransceivers()[0].direction = 'sendrecv';
  await pc.getTransceivers()[0].sender.replaceTrack(stream.getVideoTracks()[0]);
  const answer = await pc.createAnswer();
  await pc.setLocalDescription(answer);
  return answer.sdp;
}"""
LOOK = """async (since) => {
  const gap = (list) => Math.round(Math.max(0, ...list.slice(1).map((at, i) => list[i + 1] >= since ? at - list[i] : 0)));
  const stats = [...(await window.pc.getStats()).values()];
  const video = stats.find((s) => s.type === 'inbound-rtp' && s.kind === 'video') ?? {};
  const pair = stats.find((s) => s.type === 'candidate-pair' && s.nominated && s.state === 'succeeded' && s.bytesSent > 0) ?? {};
  return {now: performance.now(), states: window.states, closed: window.closed, theirs: window.theirs?.readyState,
    echoes: window.echoes.length, echo_gap: gap(window.echoes.map((e) => e[0])), frames: window.shown.length,
    video_gap: gap(window.shown), keys: video.keyFramesDecoded, plis: video.pliCount, freezes: video.freezeCount};
}"""


async def test_chromium_does_not_notice_that_its_node_died():
    built = os.environ.get("TWO_NODES")
    program = [built] if built else ["cargo", "run", "-q", "-p", "skein-media", "--example", "two_nodes"]
    peer = await asyncio.create_subprocess_exec(
        *program, cwd=ROOT, env={**os.environ}, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE)
    first, second, ufrag, pwd, fingerprint = (await peer.stdout.readline()).decode().split()
    said = []

    async def listen():
        async for line in peer.stdout:
            said.append(line.decode())
    listener = asyncio.ensure_future(listen())

    def heard(words):
        return any(words in line for line in said)
    try:
        async with browser() as chromium:
            context = await chromium.new_context(permissions=["camera"])
            page = await context.new_page()
            await page.route("https://standby.test/", lambda route: route.fulfill(body="<body>", content_type="text/html"))
            await page.goto("https://standby.test/")
            parameters = {"port": first, "ufrag": ufrag, "pwd": pwd, "fingerprint": fingerprint}
            sdp = await page.evaluate(CALL, parameters)
            words = [re.search(rf"a={name}(\S+)", sdp).group(1) for name in ("ice-ufrag:", "ice-pwd:", "fingerprint:sha-256 ")]
            peer.stdin.write((" ".join(words) + "\n").encode())

            async def flows():
                seen = await page.evaluate(LOOK, 0)
                return seen["echoes"] > 50 and seen["frames"] > 30
            await eventually(flows, "video and data to flow")

            peer.stdin.write(b"follow\n")
            candidate = f"candidate:s1 1 udp 2130706432 127.0.0.1 {second} typ host ufrag {ufrag}"
            await page.evaluate("(c) => window.pc.addIceCandidate({candidate: c, sdpMid: '0'})", candidate)
            await eventually(lambda: heard("StandbyReady { transport: TransportKey(1), ready: true }"), "the pair to be warm")
            await asyncio.sleep(3)
            before = await page.evaluate(LOOK, 0)
            peer.stdin.write(b"kill\n")
            await eventually(lambda: heard("heard true"), "the browser at the standby")
            await asyncio.sleep(4)
            after = await page.evaluate(LOOK, before["now"])
            print(next(line for line in said if "heard true" in line).strip(), after)
            seen = [state for state in after["states"] if state in ("disconnected", "failed", "closed", "ice disconnected", "ice failed")]
            assert seen == [], "the page sees no change of state"
            assert after["closed"] == 0 and after["theirs"] == "open", "data channels stay open"
            assert after["echoes"] > before["echoes"] + 100 and after["echo_gap"] < 1000, f"the echo goes on: {after}"
            assert after["frames"] > before["frames"] + 60 and after["video_gap"] < 1000, f"video goes on: {after}"
    finally:
        peer.kill()
        await peer.wait()
        listener.cancel()
