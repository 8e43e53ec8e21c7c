// The real service as a child process, on a free port, with a state directory of its own.
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";

const ROOT = path.resolve(import.meta.dirname, "../../../../..");
const PYTHON = process.env["PYTHON"] || "python3";
const READY_MS = 60_000;
const STOP_MS = 20_000;

/** A running service; end it with `stop`. */
export class Service {
  readonly url: string;
  readonly #process: ChildProcess;
  readonly #directory: string;

  private constructor(url: string, child: ChildProcess, directory: string) {
    this.url = url;
    this.#process = child;
    this.#directory = directory;
  }

  /** Start one, with `python run.py`. Rejects with what it said if it does not come up. */
  static async start(settings: Record<string, string> = {}): Promise<Service> {
    const directory = await mkdtemp(path.join(tmpdir(), "web-client-"));
    const own = { HOST: "127.0.0.1", PORT: "0", STATE_DIR: directory, HOLDER: "off", STOP_SESSIONS_ON_EXIT: "true" };
    const kept = { PATH: process.env["PATH"], HOME: directory, PYTHONUNBUFFERED: "1" };
    const child = spawn(PYTHON, ["run.py"], { cwd: ROOT, env: { ...kept, ...own, ...settings } });
    const said: string[] = [];
    child.stdout.on("data", (data) => said.push(String(data)));
    child.stderr.on("data", (data) => said.push(String(data)));
    child.on("error", (error) => said.push(String(error)));
    try {
      const url = await ready(child, path.join(directory, "service.json"));
      return new Service(url, child, directory);
    } catch (error) {
      child.kill("SIGKILL");
      await rm(directory, { recursive: true, force: true });
      const hint = `Is PYTHON (${PYTHON}) an interpreter with the service's dependencies?`;
      throw new Error(`the service does not start with ${PYTHON} run.py: ${error}\n${said.join("")}\n${hint}`);
    }
  }

  /** Create a session; returns its id. */
  async createSession(fields: Record<string, unknown>): Promise<string> {
    const answer = await fetch(`${this.url}/api/v1/sessions`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(fields),
    });
    if (answer.status !== 201) throw new Error(`${answer.status}: ${await answer.text()}`);
    return (await answer.json()).session_id;
  }

  /** Everything a session printed, as the service has it. */
  async output(sessionId: string): Promise<Buffer> {
    const pages: Buffer[] = [];
    for (let from = 0; ; ) {
      const answer = await fetch(`${this.url}/api/v1/sessions/${sessionId}/output?from=${from}`);
      if (!answer.ok && answer.status !== 416) throw new Error(`${answer.status}: ${await answer.text()}`);
      const page = answer.ok ? Buffer.from(await answer.arrayBuffer()) : Buffer.alloc(0);
      if (page.length === 0) return Buffer.concat(pages);
      pages.push(page);
      from += page.length;
    }
  }

  /** End a session. */
  async end(sessionId: string): Promise<void> {
    await fetch(`${this.url}/api/v1/sessions/${sessionId}`, { method: "DELETE" });
  }

  /** End the service, firmly if need be, and remove its files. */
  async stop(): Promise<void> {
    const gone = new Promise((resolve) => this.#process.once("exit", resolve));
    if (this.#process.exitCode === null) {
      this.#process.kill("SIGTERM");
      const firmly = setTimeout(() => this.#process.kill("SIGKILL"), STOP_MS);
      await gone;
      clearTimeout(firmly);
    }
    await rm(this.#directory, { recursive: true, force: true });
  }
}

async function ready(child: ChildProcess, file: string): Promise<string> {
  const deadline = performance.now() + READY_MS;
  while (performance.now() < deadline) {
    if (child.exitCode !== null || child.pid === undefined) throw new Error(`it ended with ${child.exitCode}`);
    const url = await addressIn(file);
    if (url !== null && (await isReady(url))) return url;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`not ready after ${READY_MS} ms`);
}

async function addressIn(file: string): Promise<string | null> {
  try {
    return String(JSON.parse(await readFile(file, "utf8")).url).replace(/\/$/, "");
  } catch {
    return null; // not written yet, or just being written
  }
}

async function isReady(url: string): Promise<boolean> {
  try {
    return (await fetch(`${url}/health/ready`)).ok;
  } catch {
    return false; // does not listen yet
  }
}
