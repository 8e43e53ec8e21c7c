// Which addresses in a terminal may be opened, and whether their text says something else. Pure.

const SAFE = new Set(["http:", "https:", "mailto:"]);

export interface LinkTarget {
  /** The whole address, as a browser would write it. */
  href: string;
  /** What matters in it: the host, or the mail address. */
  where: string;
}

/** Return the target if it is one that may be opened: http, https or mailto, nothing else. */
export function safeTarget(uri: string): LinkTarget | null {
  if (uri.length > 4096 || !URL.canParse(uri)) return null;
  const url = new URL(uri);
  if (!SAFE.has(url.protocol)) return null;
  return { href: url.href, where: url.protocol === "mailto:" ? url.pathname : url.host };
}

/**
 * Whether a text looks like an address that is not the one it leads to: "https://bank.example" leading elsewhere.
 * Credentials before an @ count too: they are there to look like a host.
 */
export function isMisleading(text: string, target: LinkTarget): boolean {
  const url = new URL(target.href);
  if (url.username !== "" || url.password !== "") return true;
  const looksLike = addressIn(text);
  if (looksLike === null) return false;
  return looksLike !== (url.protocol === "mailto:" ? mailHost(url.pathname) : url.hostname.replace(/^www\./, ""));
}

/** The host that a text shows, if it shows one. */
function addressIn(text: string): string | null {
  const shown = text.trim().toLowerCase().normalize("NFKC");
  const found =
    /(?:^|[\s(<"'])(?:[a-z][a-z0-9+.-]*:\/\/)?(?:[^\s/@]+@)?((?:[\p{L}\p{N}-]+\.)+\p{L}{2,})(?=[/:?#\s).,>"']|$)/u.exec(
      shown,
    );
  const host = found?.[1];
  if (host === undefined) return null;
  // A file's name looks like a host too (main.rs, run.py): without more around it only www. and :// make an address.
  const explicit =
    /:\/\/|^www\.|@/.test(shown) || /\.(?:com|org|net|io|dev|edu|gov|app|co|de|uk|eu|info|biz|me)$/.test(host);
  if (!explicit) return null;
  const parsed = URL.canParse(`http://${host}`) ? new URL(`http://${host}`).hostname : host;
  return parsed.replace(/^www\./, "");
}

function mailHost(address: string): string {
  return address
    .slice(address.lastIndexOf("@") + 1)
    .toLowerCase()
    .replace(/^www\./, "");
}
