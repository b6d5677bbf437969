/** How a visitor gets into a room: what the address carries, and the exchange of an invitation for a token. */

export type Entry =
  | { kind: "invitation"; invitation: string; room: string }
  | { kind: "token"; token: string; url: string; room: string }
  | { kind: "nothing" };

export type Pass = { token: string; url: string };

/** Secrets stay behind the `#`, which browsers never send to a server. */
export function entryFromAddress(address: Location): Entry {
  const secrets = new URLSearchParams(address.hash.slice(1));
  const url = secrets.get("url") ?? address.origin.replace(/^http/, "ws");
  const token = secrets.get("token");
  if (token) {
    return { kind: "token", token, url, room: roomOf(token) };
  }
  const invitation = secrets.get("invite");
  if (invitation) {
    return { kind: "invitation", invitation, room: roomOf(invitation) };
  }
  return { kind: "nothing" };
}

/** Asks the server for a token of one's own; the answer's text says why when there is none. */
export async function enter(invitation: string, name: string): Promise<Pass> {
  const answer = await fetch("/room/enter", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ invite: invitation, name }),
  });
  if (!answer.ok) {
    throw new Error((await answer.text()) || `the server answered ${answer.status}`);
  }
  const { token } = (await answer.json()) as { token: string };
  return { token, url: location.origin.replace(/^http/, "ws") };
}

export function roomOf(token: string): string {
  try {
    const part = token.split(".")[1].replace(/-/g, "+").replace(/_/g, "/");
    const bytes = Uint8Array.from(atob(part), (c) => c.charCodeAt(0));
    return JSON.parse(new TextDecoder().decode(bytes)).video?.room ?? "";
  } catch {
    return "";
  }
}
