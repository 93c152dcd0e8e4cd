/** A value as it was found, before it is read. */
export type Found = {
  /** The setting's dotted key. */
  key: string;
  /** What a person would look for: a variable's name, a line of a file. */
  where: string;
  raw: unknown;
};

/** What one source holds, and what is wrong with it in one sentence each. */
export type Source = { found: Found[]; faults: string[]; warnings: string[] };

/** For a person: a value in quotes, without the password of a URL. Never called with a secret. */
export function shown(raw: unknown): string {
  const text = typeof raw === "string" ? raw : (JSON.stringify(raw) ?? String(raw));
  return `"${masked(text).slice(0, 200)}"`;
}

/** A URL, or a host and port, without user and password. */
export function masked(text: string): string {
  return text.replace(/(:\/\/|^)[^/\s]*@/g, "$1***@");
}
