import "@livekit/components-styles";
import "./page.css";
import { LiveKitRoom, PreJoin, VideoConference, type LocalUserChoices } from "@livekit/components-react";
import { lazy, StrictMode, Suspense, useMemo, useState } from "react";
import { createRoot } from "react-dom/client";
import { type Entry, enter, entryFromAddress, type Pass } from "./entry";
import { Mark } from "./Mark";
import { Moved } from "./Moved";

/** `?singlePC=false` takes two peer connections, as older clients do; LiveKit's own page knows the same word. */
const roomOptions = {
  adaptiveStream: true,
  dynacast: true,
  singlePeerConnection: new URLSearchParams(location.search).get("singlePC") !== "false",
};

const Check = lazy(() => import("./check/Check"));

/** Lobby → room → farewell: the whole life of a visit. */
function Page() {
  const entry = useMemo(() => entryFromAddress(window.location), []);
  const [choices, setChoices] = useState<LocalUserChoices>();
  const [pass, setPass] = useState<Pass>();
  const [problem, setProblem] = useState("");
  const [left, setLeft] = useState(false);

  if (entry.kind === "nothing") {
    return <Notice title="This link leads to no room">Ask for a new invitation, or make one with “skein room link”.</Notice>;
  }
  if (location.pathname.endsWith("/check")) {
    return (
      <Suspense>
        <Check entry={entry} />
      </Suspense>
    );
  }
  const join = async (chosen: LocalUserChoices) => {
    setProblem("");
    try {
      setPass(entry.kind === "token" ? entry : await enter(entry.invitation, chosen.username));
      setChoices(chosen);
      setLeft(false);
    } catch (error) {
      setProblem(error instanceof Error ? error.message : String(error));
    }
  };
  if (left && choices) {
    return (
      <Notice title="You left the room">
        <button className="lk-button" onClick={() => join(choices)}>Join again</button>
      </Notice>
    );
  }
  if (!pass || !choices) {
    return <Lobby entry={entry} problem={problem} onJoin={join} />;
  }
  return (
    <LiveKitRoom
      token={pass.token}
      serverUrl={pass.url}
      connect
      audio={choices.audioEnabled && { deviceId: choices.audioDeviceId || undefined }}
      video={choices.videoEnabled && { deviceId: choices.videoDeviceId || undefined }}
      options={roomOptions}
      onDisconnected={() => setLeft(true)}
      onError={(error) => setProblem(error.message)}
    >
      <VideoConference />
      <Moved pass={pass} />
    </LiveKitRoom>
  );
}

function Lobby({ entry, problem, onJoin }: { entry: Entry; problem: string; onJoin: (choices: LocalUserChoices) => void }) {
  return (
    <main className="lobby">
      <h1>
        <Mark /> {"room" in entry && entry.room ? entry.room : "Skein"}
      </h1>
      <PreJoin onSubmit={onJoin} persistUserChoices joinLabel="Join" userLabel="Your name" />
      {problem && <p role="alert">{problem}</p>}
      <a className="test" href={`/room/check${location.hash}`}>
        Test the connection
      </a>
    </main>
  );
}

function Notice({ title, children }: { title: string; children: React.ReactNode }) {
  return (
    <main className="lobby">
      <h1>
        <Mark /> {title}
      </h1>
      <p>{children}</p>
    </main>
  );
}

const root = document.getElementById("root");
if (root) {
  createRoot(root).render(
    <StrictMode>
      <Page />
    </StrictMode>,
  );
}
