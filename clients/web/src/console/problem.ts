/**
 * What can go wrong when the service is asked something.
 *
 *     ApiProblem    the service answered with a refusal (RFC 9457), or something in between did
 *     Unreachable   there was no answer: no network, no service, or not in time
 */

/** What is wrong with one field of a request; `field` as a path with dots (`env.PATH`), "" for the whole. */
export interface FieldError {
  readonly field: string;
  readonly message: string;
}

interface Document {
  code?: unknown;
  title?: unknown;
  detail?: unknown;
  errors?: unknown;
}

/** A refusal. `code` is stable and for programs, `title` and `detail` are for people. */
export class ApiProblem extends Error {
  override readonly name = "ApiProblem";

  constructor(
    readonly status: number,
    readonly code: string,
    readonly title: string,
    readonly detail: string,
    readonly fields: readonly FieldError[] = [],
    /** How long the service asks to be left alone, in milliseconds; null: it does not say. */
    readonly retryAfterMs: number | null = null,
  ) {
    super(detail || title);
  }

  /** What is wrong with a field, or with something in it; "" if nothing is. */
  forField(field: string): string {
    const own = this.fields.filter((each) => each.field === field || each.field.startsWith(`${field}.`));
    return own
      .map((each) => (each.field === field ? each.message : `“${inner(each.field)}”: ${each.message}`))
      .join("; ");
  }
}

/** No answer came. `isTimeout` tells waiting in vain from not getting through. */
export class Unreachable extends Error {
  override readonly name = "Unreachable";

  constructor(
    message: string,
    readonly isTimeout: boolean,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

/** Make the problem of an answer that is none of success, whatever its body is: a proxy may have written it. */
export async function problemOf(response: Response): Promise<ApiProblem> {
  const document = await readDocument(response);
  const phrase = response.statusText || `Status ${response.status}`;
  return new ApiProblem(
    response.status,
    text(document.code) || "unexpected_answer",
    text(document.title) || phrase,
    text(document.detail) || `the answer was ${response.status} ${response.statusText}`.trim(),
    readFields(document.errors),
    retryAfterMs(response.headers.get("Retry-After")),
  );
}

/** What to tell a person about any error of a request. */
export function explain(error: unknown): string {
  if (error instanceof ApiProblem) return error.detail || error.title;
  return error instanceof Error ? error.message : String(error);
}

async function readDocument(response: Response): Promise<Document> {
  if (!/\bjson\b/.test(response.headers.get("Content-Type") ?? "")) return {};
  try {
    const document: unknown = await response.json();
    return typeof document === "object" && document !== null ? document : {};
  } catch (error) {
    if (error instanceof SyntaxError) return {}; // cut off, or not what it claims to be: the status still counts
    throw error;
  }
}

function readFields(errors: unknown): FieldError[] {
  if (!Array.isArray(errors)) return [];
  return errors.map((each: { field?: unknown; message?: unknown }) => ({
    field: text(each?.field),
    message: text(each?.message),
  }));
}

/** Seconds or an HTTP date (RFC 9110, 10.2.3). */
function retryAfterMs(header: string | null): number | null {
  if (!header) return null;
  const seconds = Number(header);
  if (Number.isFinite(seconds)) return Math.max(0, seconds * 1000);
  const at = Date.parse(header);
  return Number.isNaN(at) ? null : Math.max(0, at - Date.now());
}

function inner(field: string): string {
  return field.slice(field.indexOf(".") + 1);
}

function text(value: unknown): string {
  return typeof value === "string" ? value : "";
}
