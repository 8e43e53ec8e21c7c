/** The API key of who signed in: kept while the tab is open, nowhere else. */
import { ApiProblem } from "./problem.ts";

const NAME = "terminal-service.api-key";

/** The part of `Storage` that is needed. */
export type KeyStorage = Pick<Storage, "getItem" | "setItem" | "removeItem">;

/** One key or none. A storage that fails (switched off by the user) leaves the key in memory. */
export class Credentials {
  #key: string | null;

  constructor(private readonly storage: KeyStorage | null) {
    this.#key = attempt(() => storage?.getItem(NAME)) ?? null;
  }

  get key(): string | null {
    return this.#key;
  }

  set key(key: string | null) {
    this.#key = key;
    attempt(() => (key === null ? this.storage?.removeItem(NAME) : this.storage?.setItem(NAME, key)));
  }

  /** Return a key as it is sent. Throws ApiProblem for what no header can hold. */
  static check(key: string): string {
    const trimmed = key.trim();
    if (/^[\x21-\x7e]+$/.test(trimmed)) return trimmed;
    const detail = trimmed ? "a key has only visible ASCII characters" : "enter a key";
    throw new ApiProblem(401, "credentials_malformed", "Not a key", detail);
  }
}

/** Return what is kept while the tab is open; null where a policy forbids even to ask. */
export function tabStorage(): KeyStorage | null {
  return attempt(() => sessionStorage) ?? null;
}

function attempt<Result>(use: () => Result): Result | undefined {
  try {
    return use();
  } catch (error) {
    if (error instanceof DOMException) return undefined; // SecurityError, QuotaExceededError: no storage here
    throw error;
  }
}
