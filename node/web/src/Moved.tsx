import { useConnectionState } from "@livekit/components-react";
import { ConnectionState } from "livekit-client";
import { useEffect, useRef, useState } from "react";
import { type Pass, roomOf } from "./entry";

/** As `GET /skein/rooms/{room}/moves` tells it; `took_ms` is null where nobody was heard (yet). */
type Move = { from: string; to: string; took_ms: number | null; at: number };

const ASK_EVERY_MS = 5_000;
const SHOWN_MS = 10_000;

/**
 * Says when the meeting went on at another node. Nothing is signalled of that, for other clients have no use for it:
 * the page asks, while somebody looks at it. A server that is one node answers 404, and is asked no more.
 */
export function Moved({ pass }: { pass: Pass }) {
  const connected = useConnectionState() === ConnectionState.Connected;
  const [move, setMove] = useState<Move>();
  const last = useRef<string>(undefined);

  useEffect(() => {
    if (!connected) return;
    let timer = 0;
    let over = false;
    const ask = async () => {
      const answer = document.visibilityState === "visible" ? await newest(pass) : "unknown";
      if (over || answer === "never") return;
      if (answer !== "unknown") {
        const name = answer ? `${answer.at} ${answer.to}` : "";
        // What was before this visit is no news.
        if (last.current !== undefined && last.current !== name) {
          setMove(answer);
          window.setTimeout(() => setMove((shown) => (shown?.at === answer?.at ? undefined : shown)), SHOWN_MS);
        } else {
          // It may be known by now how long it took.
          setMove((shown) => (shown ? answer : undefined));
        }
        last.current = name;
      }
      timer = window.setTimeout(ask, ASK_EVERY_MS);
    };
    void ask();
    return () => {
      over = true;
      window.clearTimeout(timer);
    };
  }, [connected, pass]);

  if (!move) return null;
  return (
    <p className="moved" role="status">
      The meeting moved from node {move.from} to node {move.to}
      {move.took_ms !== null && ` in ${move.took_ms} ms`}
    </p>
  );
}

/** The room's last move, if there was one; unknown while the server cannot say. */
async function newest({ url, token }: Pass): Promise<Move | undefined | "unknown" | "never"> {
  const path = `/skein/rooms/${encodeURIComponent(roomOf(token))}/moves`;
  try {
    const answer = await fetch(url.replace(/^ws/, "http").replace(/\/+$/, "") + path, {
      headers: { authorization: `Bearer ${token}` },
    });
    if (answer.status >= 400 && answer.status < 500) return "never";
    if (!answer.ok) return "unknown";
    const { moves } = (await answer.json()) as { moves: Move[] };
    return moves.at(-1);
  } catch {
    return "unknown";
  }
}
