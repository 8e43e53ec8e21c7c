import { describe, expect, test, vi } from "vitest";
import { Api, nextCursor, randomKey } from "../../src/console/api.ts";
import { ApiProblem, Unreachable } from "../../src/console/problem.ts";

type Answer = (request: Request) => Response | Promise<Response>;

class Memory {
  readonly kept = new Map<string, string>();
  getItem(name: string): string | null {
    return this.kept.get(name) ?? null;
  }
  setItem(name: string, value: string): void {
    this.kept.set(name, value);
  }
  removeItem(name: string): void {
    this.kept.delete(name);
  }
}

function make(answer: Answer, storage = new Memory()) {
  const requests: Request[] = [];
  const api = new Api({
    base: "http://host.test/prefix/",
    storage,
    fetch: async (address, init) => {
      const request = new Request(address, init);
      requests.push(request);
      return answer(request);
    },
  });
  return { api, requests, storage };
}

const json = (body: unknown, init: ResponseInit = {}) => Response.json(body, init);
const problem = (status: number, code: string, more: object = {}) =>
  new Response(JSON.stringify({ type: "about:blank", title: "No", status, detail: "because", code, ...more }), {
    status,
    headers: { "Content-Type": "application/problem+json", "Retry-After": "2" },
  });
const unauthenticated = () => problem(401, "credentials_missing");

async function refusal(promise: Promise<unknown>): Promise<ApiProblem> {
  const error = await promise.then(
    () => null,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(ApiProblem);
  return error as ApiProblem;
}

describe("requests", () => {
  test("go below the address of the page, so that a proxy may add a prefix", async () => {
    const { api, requests } = make(() => json({}));
    await api.get("a/b");
    expect(requests[0]?.url).toBe("http://host.test/prefix/api/v1/sessions/a%2Fb");
    expect(api.address("docs")).toBe("http://host.test/prefix/docs");
  });

  test("of a list follow the pages and take only the cursor from the link", async () => {
    const { api, requests } = make((request) => {
      const cursor = new URL(request.url).searchParams.get("cursor");
      return cursor
        ? json([{ session_id: "b" }])
        : json([{ session_id: "a" }], {
            headers: { Link: '</else/api/v1/sessions?cursor=xy%3D&limit=1>; rel="next"' },
          });
    });
    expect((await api.list(["living"])).map((each) => each.session_id)).toEqual(["a", "b"]);
    expect(requests[1]?.url).toMatch(
      /^http:\/\/host.test\/prefix\/api\/v1\/sessions\?state=living&limit=500&cursor=xy%3D$/,
    );
    expect(api.isListCut).toBe(false);
  });

  test("of a list end, and say so, where pages never do", async () => {
    const { api, requests } = make(() => json([{}], { headers: { Link: '<?cursor=x>; rel="next"' } }));
    await api.list();
    expect(requests.length).toBe(20);
    expect(api.isListCut).toBe(true);
  });

  test("that create name a key, the caller's where it has one", async () => {
    const { api, requests } = make(() => json({ session_id: "a" }, { status: 201 }));
    await api.create({ shell: "bash" });
    await api.create({ shell: "bash" }, { idempotencyKey: "mine" });
    expect(requests.map((each) => each.headers.get("Idempotency-Key"))).toEqual([
      expect.stringMatching(/^[0-9a-f]{32}$/),
      "mine",
    ]);
    expect(await requests[0]?.json()).toEqual({ shell: "bash" });
  });

  test("without a body declare no type of it", async () => {
    const { api, requests } = make(() => new Response(null, { status: 204 }));
    await api.end("a");
    expect([requests[0]?.method, requests[0]?.headers.get("Content-Type")]).toEqual(["DELETE", null]);
  });
});

describe("a refusal", () => {
  test("is a problem with its fields", async () => {
    const errors = [
      { field: "rows", message: "too many" },
      { field: "env.A=", message: "no name" },
    ];
    const { api } = make(() => problem(422, "invalid_request", { errors }));
    const error = await refusal(api.create({}));
    expect(error).toMatchObject({
      status: 422,
      code: "invalid_request",
      title: "No",
      detail: "because",
      retryAfterMs: 2000,
    });
    expect(error.forField("rows")).toBe("too many");
    expect(error.forField("env")).toBe("“A=”: no name");
    expect(error.forField("cols")).toBe("");
  });

  test("by something that writes no problems keeps its status", async () => {
    const { api } = make(
      () => new Response("<h1>Bad Gateway</h1>", { status: 502, headers: { "Content-Type": "text/html" } }),
    );
    expect(await refusal(api.get("a"))).toMatchObject({ status: 502, code: "unexpected_answer" });
  });

  test("is what a page in place of JSON is", async () => {
    const { api } = make(
      () => new Response("<h1>Log in to the hotel</h1>", { headers: { "Content-Type": "text/html" } }),
    );
    expect((await refusal(api.get("a"))).detail).toMatch(/text\/html/);
  });

  test("of health with 503 is an answer", async () => {
    const { api } = make(() => json({ status: "unhealthy" }, { status: 503 }));
    expect(await api.health()).toEqual({ status: "unhealthy" });
  });
});

describe("no answer", () => {
  test("is Unreachable", async () => {
    const { api } = make(() => Promise.reject(new TypeError("fetch failed")));
    await expect(api.get("a")).rejects.toThrow(Unreachable);
  });

  test("in time is Unreachable too, and says so", async () => {
    const { api } = make(() => Promise.reject(new DOMException("late", "TimeoutError")));
    await expect(api.get("a")).rejects.toMatchObject({ name: "Unreachable", isTimeout: true });
  });

  test("that is whole is Unreachable", async () => {
    const { api } = make(() => new Response('{"a":', { headers: { "Content-Type": "application/json" } }));
    await expect(api.get("a")).rejects.toThrow(Unreachable);
  });

  test("that nobody waits for any more is the abort itself", async () => {
    const { api } = make((request) => request.signal.throwIfAborted() ?? json({}));
    const abort = new AbortController();
    abort.abort();
    await expect(api.get("a", { signal: abort.signal })).rejects.toMatchObject({ name: "AbortError" });
  });
});

describe("a key", () => {
  const keyed: Answer = (request) => (request.headers.get("X-API-Key") === "right" ? json([]) : unauthenticated());

  test("is asked for when the service wants one", async () => {
    const { api } = make(keyed);
    const asked = vi.fn();
    api.addEventListener("sign-in-needed", asked);
    await refusal(api.list());
    expect(asked).toHaveBeenCalledOnce();
    expect(api.signInProblem?.code).toBe("credentials_missing");
  });

  test("is kept only once it was right, and sent from then on", async () => {
    const { api, storage, requests } = make(keyed);
    await refusal(api.signIn("wrong"));
    expect([...storage.kept]).toEqual([]);
    await api.signIn("  right\n");
    expect([...storage.kept.values()]).toEqual(["right"]);
    await api.list();
    expect(requests.at(-1)?.headers.get("X-API-Key")).toBe("right");
    expect(new Api({ base: "http://host.test/", storage }).isSignedIn).toBe(true);
  });

  test("is forgotten at sign-out, and when it is refused", async () => {
    const { api, storage } = make(keyed);
    await api.signIn("right");
    api.signOut();
    expect([api.isSignedIn, storage.kept.size]).toEqual([false, 0]);
    storage.setItem("terminal-service.api-key", "old");
    const later = make(keyed, storage);
    await refusal(later.api.list());
    expect([later.api.isSignedIn, storage.kept.size]).toEqual([false, 0]);
  });

  test("that is right is not forgotten for the answer to an earlier request", async () => {
    let answerFirst: (response: Response) => void = () => {};
    const first = new Promise<Response>((resolve) => {
      answerFirst = resolve;
    });
    const { api } = make((request) => (request.headers.has("X-API-Key") ? keyed(request) : first));
    const early = refusal(api.list());
    await api.signIn("right");
    answerFirst(unauthenticated());
    await early;
    expect([api.isSignedIn, api.signInProblem]).toEqual([true, null]);
  });

  test("that no header can hold is refused before it is sent", async () => {
    const { api, requests } = make(keyed);
    expect((await refusal(api.signIn("schlüssel"))).code).toBe("credentials_malformed");
    await refusal(api.signIn(" "));
    expect(requests).toEqual([]);
  });

  test("that is there makes tickets; without one none are asked for", async () => {
    const { api, requests } = make((request) =>
      request.url.endsWith("/tickets") ? json({ ticket: "t", expires_in_seconds: 30 }) : keyed(request),
    );
    expect(await api.ticketFor("a")).toBeNull();
    await api.signIn("right");
    expect(await api.ticketFor("a", "viewer")).toBe("t");
    expect(await requests.at(-1)?.json()).toEqual({ role: "viewer" });
  });
});

describe("the service's clock", () => {
  const at = (ahead: number) => ({ headers: { Date: new Date(Date.now() + ahead).toUTCString() } });

  test("is ours while a Date header cannot tell them apart", async () => {
    const { api } = make(() => json({}, at(0)));
    await api.get("a");
    expect(Math.abs(api.now() - Date.now() / 1000)).toBeLessThan(0.5);
  });

  test("is followed where it is an hour ahead", async () => {
    const { api } = make(() => json({}, at(3_600_000)));
    await api.get("a");
    expect(Math.abs(api.now() - Date.now() / 1000 - 3600)).toBeLessThan(2);
  });
});

describe("the next page", () => {
  test.each([
    ['</api/v1/sessions?cursor=abc>; rel="next"', "abc"],
    ["<?cursor=abc>;rel=next", "abc"],
    ['<?cursor=a,b>; rel="prev", <?cursor=c>; title="x, y"; rel="last next"', "c"],
    ['<?cursor=a>; rel="nextish"', null],
    ['<?x=1>; rel="next"', null],
    ["", null],
    [null, null],
  ])("of %j is %j", (link, cursor) => expect(nextCursor(link)).toBe(cursor));
});

test("keys are not repeated", () => expect(randomKey()).not.toBe(randomKey()));

test("what changes sessions tells who shows them, also where it failed", async () => {
  const { api } = make((request) => (request.method === "DELETE" ? problem(404, "no_session") : json([])));
  const touched = vi.fn();
  api.addEventListener("sessions-touched", touched);
  await api.list();
  await api.get("a");
  expect(touched).toHaveBeenCalledTimes(0);
  await api.create({});
  await api.change("a", { name: "b" });
  await api.keepAlive("a");
  await refusal(api.end("a"));
  expect(touched).toHaveBeenCalledTimes(4);
});

test("who has declined to sign in is asked again when there is something to be done, not with every look", async () => {
  const { api } = make(unauthenticated);
  const asked = vi.fn();
  await refusal(api.list());
  api.addEventListener("sign-in-needed", asked);
  await refusal(api.list());
  expect(asked).toHaveBeenCalledTimes(0);
  await refusal(api.create({}));
  expect(asked).toHaveBeenCalledTimes(1);
});
