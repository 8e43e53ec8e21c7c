// Opens a session. In a product this is the backend's business: it knows the user, and the service knows its key.

/** Where the service is: `?service=https://terminals.example.com`, else where `make run` starts it. */
export const service = new URLSearchParams(location.search).get("service") ?? "http://127.0.0.1:8081";

export async function openSession(): Promise<string> {
  const answer = await fetch(new URL("api/v1/sessions", `${service}/`), {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ name: document.title }),
  });
  if (!answer.ok) throw new Error(`the service answered ${answer.status}: ${await answer.text()}`);
  const { session_id } = (await answer.json()) as { session_id: string };
  return session_id;
}
