"""A live transport moves between two sockets of one process and the browser at its other end does not notice."""
import asyncio
import os
import pathlib
import re

from kit import browser, eventually

ROOT = pathlib.Path(__file__).resolve().parents[2]
CALL = """async ({port, ufrag, pwd, fingerprint}) => {
  const pc = window.pc = new RTCPeerConnection();
  window.states = []; window.echoes = []; window.closed = 0;
  pc.onconnectionstatechange = () => window.states.push(pc.connectionState);
  pc.ondatachannel = (e) => { window.theirs = e.channel; e.channel.onclose = () => window.closed++; };
  const stream = await navigator.mediaDevices.getUserMedia({video: true});
  pc.ontrack = (e) => { const v = window.video = document.createElement('video'); v.muted = true; v.autoplay = true;
    v.srcObject = new MediaStream([e.track]); document.body.append(v); };
  const end = `a=ice-ufrag:${ufrag}\\r\\na=ice-pwd:${pwd}\\r\\na=fingerprint:sha-256 ${fingerprint}\\r\\na=setup:actpass\\r\\n`
    + `a=candidate:1 1 udp 2130706175 127.0.0.1 ${port} typ host\\r\\n`;
  const sdp = 'v=0\\r\\no=- 1 2 IN IP4 127.0.0.1\\r\\ns=-\\r\\nt=0 0\\r\\na=group:BUNDLE 0 1\\r\\n'
    + 'm=video 9 UDP/TLS/RTP/SAVPF 96\\r\\nc=IN IP4 0.0.0.0\\r\\na=mid:0\\r\\na=sendrecv\\r\\na=rtcp-mux\\r\\n'
    + 'a=rtpmap:96 VP8/90000\\r\\na=msid:a b\\r\\na=ssrc:1234 cname:x\\r\\n' + end
    + 'm=application 9 UDP/DTLS/SCTP webrtc-datachannel\\r\\nc=IN IP4 0.0.0.0\\r\\na=mid:1\\r\\na=sctp-port:5000\\r\\n' + end;
  await pc.setRemoteDescription({type: 'offer', sdp});
  pc.getTransceivers()[0].direction = 'sendrecv';
  await pc.getTransceivers()[0].sender.replaceTrack(stream.getVideoTracks()[0]);
  const mine = window.mine = pc.createDataChannel('mine');
  mine.onclose = () => window.closed++;
  mine.onmessage = () => window.echoes.push(performance.now());
  mine.onopen = () => setInterval(() => mine.send('tick'), 20);
  const answer = await pc.createAnswer();
  await pc.setLocalDescription(answer);
  return answer.sdp;
}"""
LOOK = """async () => ({
  states: window.states, closed: window.closed, echoes: window.echoes.length,
  gap: Math.max(...window.echoes.slice(1).map((at, i) => at - window.echoes[i])),
  theirs: window.theirs?.readyState, frames: window.video?.getVideoPlaybackQuality().totalVideoFrames ?? 0,
})"""


async def test_chromium_follows_a_transport_to_another_socket_unnoticed():
    peer = await asyncio.create_subprocess_exec(
        "cargo", "run", "-q", "-p", "skein-media", "--example", "two_homes",
        cwd=ROOT, env={**os.environ}, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE)
    first, second, ufrag, pwd, fingerprint = (await peer.stdout.readline()).decode().split()
    said = []

    async def listen():
        async for line in peer.stdout:
            said.append(line.decode())
    listener = asyncio.ensure_future(listen())
    try:
        async with browser() as chromium:
            context = await chromium.new_context(permissions=["camera"])
            page = await context.new_page()
            await page.route("https://takeover.test/", lambda route: route.fulfill(body="<body>", content_type="text/html"))
            await page.goto("https://takeover.test/")
            parameters = {"port": first, "ufrag": ufrag, "pwd": pwd, "fingerprint": fingerprint}
            sdp = await page.evaluate(CALL, parameters)
            words = [re.search(rf"a={name}(\S+)", sdp).group(1) for name in ("ice-ufrag:", "ice-pwd:", "fingerprint:sha-256 ")]
            peer.stdin.write((" ".join(words) + "\n").encode())

            async def flows():
                seen = await page.evaluate(LOOK)
                return seen["echoes"] > 50 and seen["theirs"] == "open" and seen["frames"] > 10
            await eventually(flows, "video and data to flow")

            # The new home's candidate has the higher priority, or Chromium prunes its pair.
            candidate = f"candidate:2 1 udp 2130706431 127.0.0.1 {second} typ host"
            await page.evaluate("(c) => window.pc.addIceCandidate({candidate: c, sdpMid: '0'})", candidate)
            await asyncio.sleep(1)
            await page.evaluate("() => { window.echoes = window.echoes.slice(-1) }")
            before = await page.evaluate(LOOK)
            peer.stdin.write(b"move\n")
            await eventually(lambda: any(line.startswith("media after") for line in said), "media at the second socket")
            await asyncio.sleep(3)
            after = await page.evaluate(LOOK)
            assert after["states"] == ["connecting", "connected"], "the page sees no change of state"
            assert after["closed"] == 0 and after["theirs"] == "open", "data channels stay open"
            assert after["echoes"] > 60 and after["gap"] < 1000, f"the echo goes on: {after}"
            assert after["frames"] > before["frames"] + 20, "video goes on"
            await page.evaluate("() => window.theirs.send('still there')")
    finally:
        peer.kill()
        await peer.wait()
        listener.cancel()
