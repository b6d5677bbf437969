/** The checks: the signal connection, then each way for media between two participants of this page. */

import { SignalRequest, SignalResponse, type ICEServer } from "@livekit/protocol";
import { DisconnectReason, Room, RoomEvent } from "livekit-client";
import { forced, roundTrip, type Trial, type Way } from "./force";

export type Outcome = {
  state: "ok" | "warning" | "failed" | "skipped";
  detail: string;
  advice?: string;
  roundTripMs?: number;
  lossPercent?: number;
};

export type Pass = { url: string; tokens: [string, string] };

const CONNECT_MS = 10_000;
const PACKETS = 50;
const PACKET_INTERVAL_MS = 20;
/** Later packets count as lost; media that late is useless. */
const LATE_MS = 800;
/** Beyond this share of lost packets people notice. */
const LOSS_PERCENT_MAX = 5;

const pause = (ms: number) => new Promise((done) => setTimeout(done, ms));

/** Signs in without media; tells the TURN servers of the join. */
export async function signal(pass: Pass): Promise<{ outcome: Outcome; servers: ICEServer[] }> {
  const started = performance.now();
  const socket = new WebSocket(`${pass.url}/rtc?access_token=${pass.tokens[0]}&protocol=16&sdk=js&auto_subscribe=0`);
  socket.binaryType = "arraybuffer";
  try {
    return await new Promise((done, fail) => {
      setTimeout(() => fail(new Error("nobody answers")), CONNECT_MS);
      socket.onerror = () => fail(new Error("the WebSocket does not open"));
      let servers: ICEServer[] = [];
      let asked = 0;
      let opened = 0;
      socket.onmessage = ({ data }) => {
        const { message } = SignalResponse.fromBinary(new Uint8Array(data));
        if (message.case === "join") {
          servers = message.value.iceServers;
          opened = performance.now() - started;
          asked = performance.now();
          const ping = new SignalRequest({ message: { case: "pingReq", value: { timestamp: BigInt(Date.now()) } } });
          socket.send(new Uint8Array(ping.toBinary()));
        } else if (message.case === "pongResp") {
          const outcome: Outcome = {
            state: "ok",
            detail: `signed in within ${Math.round(opened)} ms`,
            roundTripMs: performance.now() - asked,
          };
          done({ outcome, servers });
        }
      };
    });
  } catch (error) {
    const advice = "A proxy or a firewall on the way has to let WebSockets to this address pass.";
    return { outcome: { state: "failed", detail: message(error), advice }, servers: [] };
  } finally {
    socket.close();
  }
}

/** TURN servers by how they are reached. */
export function relays(servers: ICEServer[], scheme: "turn" | "turns"): RTCIceServer[] {
  return servers.flatMap(({ urls, username, credential }) => {
    const fitting = urls.filter((url) => url.startsWith(`${scheme}:`) && (scheme === "turns" || !url.endsWith("=tcp")));
    return fitting.length ? [{ urls: fitting, username, credential }] : [];
  });
}

/** Two participants meet on one way, and one sends to the other what a microphone would. */
export async function way(pass: Pass, kind: Way, servers: RTCIceServer[], advice: (trial: Trial) => string): Promise<Outcome> {
  return forced(kind, async (trial) => {
    const rooms = pass.tokens.map(() => new Room({ reconnectPolicy: { nextRetryDelayInMs: () => null } }));
    try {
      const rtcConfig: RTCConfiguration = { iceServers: servers, iceTransportPolicy: kind === "relay" ? "relay" : "all" };
      await within(CONNECT_MS, Promise.all(rooms.map((room, i) => connect(room, pass.url, pass.tokens[i], rtcConfig))));
      const { lossPercent } = await exchange(rooms);
      const outcome: Outcome = { state: "ok", detail: via(trial), roundTripMs: await roundTrip(trial), lossPercent };
      if (lossPercent >= 100) {
        return { ...outcome, state: "failed", detail: "connects, but nothing arrives", advice: advice(trial) };
      }
      if (lossPercent > LOSS_PERCENT_MAX) {
        return { ...outcome, state: "warning", advice: "Packets get lost on the way: try a cable, or another network." };
      }
      return outcome;
    } catch (error) {
      return { state: "failed", detail: message(error), advice: advice(trial) };
    } finally {
      await Promise.all(rooms.map((room) => room.disconnect().catch(() => undefined)));
    }
  });
}

async function connect(room: Room, url: string, token: string, rtcConfig: RTCConfiguration) {
  const left = new Promise<never>((_, fail) => {
    room.once(RoomEvent.Disconnected, (reason?: DisconnectReason) =>
      fail(new Error(`the server ended it (${reason === undefined ? "?" : DisconnectReason[reason]})`)),
    );
  });
  left.catch(() => undefined);
  await Promise.race([
    room.connect(url, token, { rtcConfig, maxRetries: 0, peerConnectionTimeout: CONNECT_MS, autoSubscribe: false }),
    left,
  ]);
}

async function exchange([sender, receiver]: Room[]) {
  const arrived = new Set<number>();
  receiver.on(RoomEvent.DataReceived, (payload) => arrived.add(payload[0]));
  // The first packet opens the sender's data channel, which takes a moment of its own.
  await within(CONNECT_MS, sender.localParticipant.publishData(new Uint8Array([255]), { reliable: true }));
  const opened = performance.now();
  while (!arrived.has(255) && performance.now() - opened < CONNECT_MS) {
    await pause(20);
  }
  arrived.clear();
  for (let number = 0; number < PACKETS; number++) {
    await sender.localParticipant.publishData(new Uint8Array([number]), { reliable: false });
    await pause(PACKET_INTERVAL_MS);
  }
  const end = performance.now() + LATE_MS;
  while (arrived.size < PACKETS && performance.now() < end) {
    await pause(20);
  }
  return { lossPercent: ((PACKETS - Math.min(arrived.size, PACKETS)) / PACKETS) * 100 };
}

/** The addresses the server offered for a protocol, for people who have to open them. */
export function offered(trial: Trial, protocol: "udp" | "tcp") {
  const fitting = [...trial.offered].filter((one) => one.startsWith(protocol)).map((one) => one.split(" ")[1]);
  return fitting.join(", ");
}

function via(trial: Trial) {
  return trial.way === "relay" ? "relayed" : offered(trial, trial.way);
}

function message(error: unknown) {
  const text = error instanceof Error ? error.message : String(error);
  return /could not establish pc connection|timed? ?out/i.test(text) ? "nothing comes through" : text;
}

async function within<T>(ms: number, work: Promise<T>): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_, fail) => {
    timer = setTimeout(() => fail(new Error("timed out")), ms);
  });
  return Promise.race([work, late]).finally(() => clearTimeout(timer));
}
