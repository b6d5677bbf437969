/** Makes the browser take one way for media and no other, and remembers what the server offered. */

export type Way = "udp" | "tcp" | "relay";

/** What the connections of one trial are allowed, and what they have seen. */
export type Trial = { way: Way; connections: RTCPeerConnection[]; offered: Set<string> };

let trial: Trial | undefined;
const Real = window.RTCPeerConnection;

/** `candidate:1 1 udp 2130706431 10.0.0.5 7882 typ host …` → protocol and address. */
function read(candidate: string) {
  const [, , protocol = "", , ip = "", port = ""] = candidate.replace(/^a=/, "").split(" ");
  return { protocol: protocol.toLowerCase(), address: ip.includes(":") ? `[${ip}]:${port}` : `${ip}:${port}` };
}

class Forced extends Real {
  #trial = trial;

  constructor(config?: RTCConfiguration) {
    super(config);
    trial?.connections.push(this);
  }

  /** A relay reaches the server's UDP ports, so those are what it is told of. */
  #wanted(candidate: string) {
    if (!this.#trial) {
      return true;
    }
    const { protocol, address } = read(candidate);
    this.#trial.offered.add(`${protocol} ${address}`);
    return protocol === (this.#trial.way === "tcp" ? "tcp" : "udp");
  }

  async setRemoteDescription(description: RTCSessionDescriptionInit) {
    const lines = (description.sdp ?? "").split("\r\n");
    const kept = lines.filter((line) => !line.startsWith("a=candidate:") || this.#wanted(line));
    return super.setRemoteDescription({ type: description.type, sdp: kept.join("\r\n") });
  }

  async addIceCandidate(candidate?: RTCIceCandidateInit | null) {
    if (candidate?.candidate && !this.#wanted(candidate.candidate)) {
      return;
    }
    return super.addIceCandidate(candidate ?? undefined);
  }
}

/** Runs `act` with every new connection bound to one way. */
export async function forced<T>(way: Way, act: (trial: Trial) => Promise<T>): Promise<T> {
  const mine: Trial = { way, connections: [], offered: new Set() };
  trial = mine;
  window.RTCPeerConnection = Forced as typeof RTCPeerConnection;
  try {
    return await act(mine);
  } finally {
    window.RTCPeerConnection = Real;
    trial = undefined;
  }
}

/** The round trip of the way a trial's connections took, in milliseconds. */
export async function roundTrip(trial: Trial): Promise<number | undefined> {
  const found: number[] = [];
  for (const connection of trial.connections) {
    const stats = await connection.getStats();
    stats.forEach((report) => {
      const pair = report.type === "transport" && stats.get(report.selectedCandidatePairId);
      if (pair?.currentRoundTripTime) {
        found.push(pair.currentRoundTripTime * 1000);
      }
    });
  }
  return found.length ? Math.min(...found) : undefined;
}
