import { StrictMode, useState } from "react";
import { createRoot } from "react-dom/client";
import { openSession, service } from "../session.ts";
import { Terminal } from "./terminal.tsx";

function App({ session }: { session: string }) {
  const [state, setState] = useState("idle");
  return (
    <>
      <h1>React</h1>
      <Terminal src={service} session={session} onState={setState} />
      <p role="status">The terminal is {state}.</p>
    </>
  );
}

const session = await openSession();
const root = document.getElementById("app");
if (root) {
  createRoot(root).render(
    <StrictMode>
      <App session={session} />
    </StrictMode>,
  );
}
