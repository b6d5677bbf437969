import "./check.css";
import { useCallback, useEffect, useRef, useState } from "react";
import type { Entry } from "../entry";
import { Mark } from "../Mark";
import { type Outcome, type Pass, offered, relays, signal, way } from "./probes";

const ROWS = [
  { name: "Signal", about: "signing in, messages between people" },
  { name: "UDP", about: "sound and picture, the best way" },
  { name: "TCP", about: "where UDP is blocked" },
  { name: "TURN over UDP", about: "where only a relay is let through" },
  { name: "TURN over TLS", about: "where only HTTPS is let through" },
] as const;

type Row = Outcome | "waiting" | "running";

/** Runs every check in turn and shows a row for each. */
export default function Check({ entry }: { entry: Exclude<Entry, { kind: "nothing" }> }) {
  const [rows, setRows] = useState<Row[]>(ROWS.map(() => "waiting"));
  const [problem, setProblem] = useState("");
  const [running, setRunning] = useState(true);
  const started = useRef(false);

  const run = useCallback(async () => {
    setRunning(true);
    setProblem("");
    setRows(ROWS.map(() => "waiting"));
    try {
      await examine(await askForPass(entry), (index, row) =>
        setRows((rows) => rows.map((old, i) => (i === index ? row : old))),
      );
    } catch (error) {
      setProblem(error instanceof Error ? error.message : String(error));
    }
    setRunning(false);
  }, [entry]);

  useEffect(() => {
    if (!started.current) {
      started.current = true;
      void run();
    }
  }, [run]);

  return (
    <main className="lobby check">
      <h1>
        <Mark /> Connection test
      </h1>
      <p className="verdict" role="status" data-done={!running}>
        {problem || (running ? "Trying every way to the server. This takes a few seconds …" : verdict(rows))}
      </p>
      <ul>
        {ROWS.map(({ name, about }, index) => (
          <Line key={name} name={name} about={about} row={rows[index]} />
        ))}
      </ul>
      <footer>
        <button className="lk-button" disabled={running} onClick={() => void run()}>
          Test again
        </button>
        <button className="lk-button" disabled={running} onClick={() => void navigator.clipboard?.writeText(asText(rows))}>
          Copy the result
        </button>
        <a className="lk-button" href={`/room/${location.hash}`}>
          To the room
        </a>
      </footer>
    </main>
  );
}

function Line({ name, about, row }: { name: string; about: string; row: Row }) {
  const state = typeof row === "string" ? row : row.state;
  const outcome = typeof row === "string" ? undefined : row;
  return (
    <li data-state={state} data-name={name}>
      <Sign state={state} />
      <div>
        <strong>{name}</strong>
        <span className="detail">{outcome ? outcome.detail : about}</span>
        {outcome?.advice && <p className="advice">{outcome.advice}</p>}
      </div>
      <div className="figures">
        {outcome?.roundTripMs !== undefined && <span>{Math.max(1, Math.round(outcome.roundTripMs))} ms</span>}
        {outcome?.lossPercent !== undefined && <span className="loss">{Math.round(outcome.lossPercent)} % lost</span>}
      </div>
    </li>
  );
}

const SIGNS: Record<string, string> = {
  ok: "M6 16.5 13 23 26 9",
  warning: "M16 7v11M16 24v.5",
  failed: "M9 9l14 14M23 9 9 23",
  skipped: "M9 16h14",
  waiting: "M9 16h14",
};

function Sign({ state }: { state: string }) {
  if (state === "running") {
    return <span className="sign spinner" aria-label="running" />;
  }
  return (
    <svg className="sign" viewBox="0 0 32 32" width="20" height="20" role="img" aria-label={state}>
      <path d={SIGNS[state]} fill="none" stroke="currentColor" strokeWidth="4" strokeLinecap="round" strokeLinejoin="round" />
    </svg>
  );
}

async function askForPass(entry: Exclude<Entry, { kind: "nothing" }>): Promise<Pass> {
  const proof = entry.kind === "token" ? entry.token : entry.invitation;
  const answer = await fetch("/room/check", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ invite: proof }),
  });
  if (!answer.ok) {
    throw new Error((await answer.text()) || `the server answered ${answer.status}`);
  }
  const { tokens } = (await answer.json()) as { tokens: [string, string] };
  return { tokens, url: location.origin.replace(/^http/, "ws") };
}

async function examine(pass: Pass, show: (index: number, row: Row) => void) {
  show(0, "running");
  const { outcome, servers } = await signal(pass);
  show(0, outcome);
  if (outcome.state === "failed") {
    [1, 2, 3, 4].forEach((index) => show(index, { state: "skipped", detail: "signing in comes first" }));
    return;
  }
  const open = (what: string) => `Ask whoever runs this network to let ${what} pass.`;
  show(1, "running");
  show(1, await way(pass, "udp", [], (trial) => open(`UDP to ${offered(trial, "udp") || "the server"}`)));
  show(2, "running");
  show(2, await way(pass, "tcp", [], (trial) => open(`TCP to ${offered(trial, "tcp") || "the server"}`)));
  for (const [index, scheme] of [[3, "turn"], [4, "turns"]] as const) {
    const relay = relays(servers, scheme);
    if (!relay.length) {
      show(index, { state: "skipped", detail: "this server offers none", advice: absent(scheme) });
      continue;
    }
    show(index, "running");
    const names = relay.flatMap((one) => one.urls).map((url) => url.replace(/^turns?:/, "").replace(/\?.*/, ""));
    const protocol = scheme === "turn" ? "UDP" : "TCP";
    const outcome = await way(pass, "relay", relay, () => open(`${protocol} to ${names.join(", ")}`));
    show(index, outcome.state === "ok" ? { ...outcome, detail: `through ${names.join(", ")}` } : outcome);
  }
}

function absent(scheme: "turn" | "turns") {
  const key = scheme === "turn" ? "turn.udp_port" : "turn.tls_port";
  return `Its operator can offer it to people behind strict firewalls: ${key} in the configuration.`;
}

function verdict(rows: Row[]) {
  const works = (index: number) => {
    const row = rows[index];
    return typeof row !== "string" && (row.state === "ok" || row.state === "warning");
  };
  if (!works(0)) {
    return "You cannot join from here: signing in fails.";
  }
  if (works(1)) {
    return "You can meet from here, in the best way there is.";
  }
  if (works(2) || works(3) || works(4)) {
    return "You can meet from here. UDP is blocked, so sound and picture may stutter when the network does.";
  }
  return "You can sign in from here, but sound and picture do not come through.";
}

function asText(rows: Row[]) {
  const lines = ROWS.map(({ name }, index) => {
    const row = rows[index];
    if (typeof row === "string") {
      return `${name}: not run`;
    }
    const figures = [
      row.roundTripMs !== undefined && `${Math.round(row.roundTripMs)} ms`,
      row.lossPercent !== undefined && `${Math.round(row.lossPercent)} % lost`,
    ].filter(Boolean);
    return [`${name}: ${row.state}`, row.detail, ...figures, row.advice].filter(Boolean).join(", ");
  });
  return [`Connection test of ${location.host}, ${new Date().toISOString()}`, navigator.userAgent, ...lines, verdict(rows)].join("\n");
}
