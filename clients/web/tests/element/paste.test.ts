import { describe, expect, it } from "vitest";
import { asOneLine, cleanPaste, mustAsk, preview } from "../../src/element/paste_text.ts";
import { Paster, type Progress } from "../../src/element/paster.ts";

describe("pasted text", () => {
  it("loses control characters, so that it cannot end a bracketed paste", () => {
    const paste = cleanPaste("a\x1b[201~\u009b201~b\0\x07\x7f\u0085");
    expect(paste.text).toBe("a[201~201~b");
    expect(paste.removed).toBe(6);
  });

  it("keeps tabs, and makes every line end what Enter sends", () => {
    expect(cleanPaste("a\tb\r\nc\nd\re").text).toBe("a\tb\rc\rd\re");
  });

  it("counts bytes and lines", () => {
    expect(cleanPaste("é\nb\n")).toMatchObject({ bytes: 5, lines: 2 });
    expect(cleanPaste("")).toMatchObject({ bytes: 0, lines: 0 });
    expect(cleanPaste("a")).toMatchObject({ lines: 1 });
  });

  it("is UTF-8 even where it was half a character", () => {
    expect(cleanPaste("a\ud83d").text).toBe("a\ufffd");
  });

  it.each([
    ["ls -l", false],
    ["ls -l\n", true],
    ["a\nb", true],
    ["x".repeat(4096), false],
    ["x".repeat(4097), true],
  ])("asks first if it is large or has a line end", (text, ask) => {
    expect(mustAsk(cleanPaste(text))).toBe(ask);
  });

  it("becomes one line", () => {
    expect(asOneLine(cleanPaste("  curl \n\n   --fail\n")).text).toBe("curl --fail");
  });

  it("is shown in part if it is long", () => {
    expect(preview(cleanPaste("a\nb"))).toBe("a\nb");
    expect(preview(cleanPaste("a\n".repeat(100))).split("\n")).toHaveLength(13);
    expect(preview(cleanPaste("x".repeat(5000)))).toHaveLength(1202);
  });
});

/** A service that takes a bounded amount and acknowledges when told to. */
class Service {
  received = "";
  waiting = 0;
  most = 0;
  alive = true;
  #waiters: { bytes: number; resolve: () => void; reject: (error: Error) => void }[] = [];

  send(data: Uint8Array | string): boolean {
    const text = typeof data === "string" ? data : new TextDecoder().decode(data);
    if (!this.alive || this.waiting + text.length > 1024 * 1024) return false;
    this.received += text;
    this.waiting += text.length;
    this.most = Math.max(this.most, this.waiting);
    return true;
  }

  drained(bytes: number): Promise<void> {
    if (!this.alive) return Promise.reject(new Error("ended"));
    if (this.waiting < bytes) return Promise.resolve();
    return new Promise((resolve, reject) => this.#waiters.push({ bytes, resolve, reject }));
  }

  acknowledge(): void {
    this.waiting = 0;
    for (const waiter of this.#waiters.splice(0)) waiter.resolve();
  }

  end(): void {
    this.alive = false;
    for (const waiter of this.#waiters.splice(0)) waiter.reject(new Error("ended"));
  }
}

const turn = () => new Promise((resolve) => setTimeout(resolve));

async function acknowledgeUntil(done: () => boolean, service: Service): Promise<void> {
  while (!done()) {
    service.acknowledge();
    await turn();
  }
}

describe("a paster", () => {
  it("sends all of a large paste, in brackets, with little of it waiting", async () => {
    const service = new Service();
    const told: (Progress | null)[] = [];
    const paster = new Paster(service, (progress) => told.push(progress));
    const text = "0123456789abcde\r".repeat(65536);
    let whole: boolean | null = null;
    void paster.paste(text, true).then((result) => {
      whole = result;
    });
    await acknowledgeUntil(() => whole !== null, service);
    expect(whole).toBe(true);
    expect(service.received).toBe(`\x1b[200~${text}\x1b[201~`);
    expect(service.most).toBeLessThan(160 * 1024);
    expect(told.at(-2)).toEqual({ sentBytes: text.length, totalBytes: text.length });
    expect(told.at(-1)).toBeNull();
  });

  it("keeps what is typed meanwhile behind it", async () => {
    const service = new Service();
    const paster = new Paster(service, () => undefined);
    let done = false;
    void paster.paste("x".repeat(300_000), true).then(() => {
      done = true;
    });
    await turn();
    expect(paster.type("a")).toBe(true);
    expect(paster.type(Uint8Array.of(0x62))).toBe(true);
    await acknowledgeUntil(() => done, service);
    expect(service.received.endsWith("x\x1b[201~ab")).toBe(true);
  });

  it("stops at Ctrl-C, and closes the bracket", async () => {
    const service = new Service();
    const paster = new Paster(service, () => undefined);
    const result = paster.paste("x".repeat(1_000_000), true);
    await turn();
    paster.type("\x03");
    service.acknowledge();
    expect(await result).toBe(false);
    expect(service.received.length).toBeLessThan(200_000);
    expect(service.received.endsWith("\x1b[201~")).toBe(true);
  });

  it("gives up when the session ends, and when nothing may be typed", async () => {
    const service = new Service();
    const paster = new Paster(service, () => undefined);
    const result = paster.paste("x".repeat(1_000_000), false);
    await turn();
    service.end();
    expect(await result).toBe(false);
    expect(await paster.paste("y", false)).toBe(false);
  });

  it("takes one paste at a time", async () => {
    const service = new Service();
    const paster = new Paster(service, () => undefined);
    const first = paster.paste("x".repeat(200_000), false);
    expect(await paster.paste("y", false)).toBe(false);
    await turn();
    service.acknowledge();
    expect(await first).toBe(true);
  });
});
