"""The server's ports, the firewall between the namespaces, and what a client says about the path its media takes."""
import contextlib
import subprocess

SIGNAL, UDP, TCP, TURN_UDP, TURN_TLS = 7880, 7882, 7881, 3478, 443
# What may leave and come back; everything else is dropped without a word, as the strictest firewalls do.
OPEN = {
    "no UDP at all": "meta l4proto tcp accept",
    "only the signal and TCP": f"tcp dport {{ {SIGNAL}, {TCP} }} accept",
    "only the signal and 443": f"tcp dport {{ {SIGNAL}, {TURN_TLS} }} accept",
    "only the signal and TURN/UDP": f"tcp dport {SIGNAL} accept; udp dport {TURN_UDP} accept",
}


def nft(text):
    subprocess.run(["nft", "-f", "-"], input=text, text=True, check=True)


@contextlib.contextmanager
def firewall(opening):
    """Runs in the clients' namespace: only it is affected."""
    nft(f"""
        table inet firewall {{
            chain leaving {{
                type filter hook output priority 0; policy accept;
                oifname != "wire" accept
                ct state established,related accept
                {OPEN[opening]}
                counter drop
            }}
            chain coming {{
                type filter hook input priority 0; policy accept;
                iifname != "wire" accept
                ct state established,related accept
                counter drop
            }}
        }}""")
    try:
        yield
    finally:
        nft("delete table inet firewall")


# Keeps every connection of a page, and makes it take relays only when told to.
WATCH = """(relay) => {
  const Real = window.RTCPeerConnection;
  window.connections = [];
  window.RTCPeerConnection = function (config, ...rest) {
    const connection = new Real(relay ? {...config, iceTransportPolicy: 'relay'} : config, ...rest);
    if (relay) {
      const set = connection.setConfiguration.bind(connection);
      connection.setConfiguration = (c) => set({...c, iceTransportPolicy: 'relay'});
    }
    window.connections.push(connection);
    return connection;
  };
  window.RTCPeerConnection.prototype = Real.prototype;
  Object.assign(window.RTCPeerConnection, {generateCertificate: Real.generateCertificate});
}"""
PATHS = """async () => {
  const paths = [];
  for (const connection of window.connections.filter((c) => c.connectionState === 'connected')) {
    const stats = await connection.getStats();
    for (const transport of [...stats.values()].filter((s) => s.type === 'transport')) {
      const pair = stats.get(transport.selectedCandidatePairId);
      const local = pair && stats.get(pair.localCandidateId);
      if (local) paths.push(local.candidateType === 'relay' ? `relay/${local.relayProtocol}` : local.protocol);
    }
  }
  return paths;
}"""


async def paths_of(room):
    """The same of a Python client: how each of its connections leaves the machine."""
    found = []
    stats = await room.get_rtc_stats()
    for reports in (stats.publisher_stats, stats.subscriber_stats):
        by_id = {}
        for report in reports:
            body = getattr(report, report.WhichOneof("stats"))
            by_id[body.rtc.id] = body
        for body in by_id.values():
            chosen = getattr(body, "transport", None)
            pair = by_id.get(chosen.selected_candidate_pair_id) if hasattr(chosen, "selected_candidate_pair_id") else None
            local = by_id.get(pair.candidate_pair.local_candidate_id) if pair else None
            if local:
                candidate = local.candidate
                relay = candidate.candidate_type == 3
                found.append(f"relay/{('udp', 'tcp', 'tls')[candidate.relay_protocol]}" if relay else candidate.protocol)
    return found
