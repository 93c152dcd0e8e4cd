import { Fault } from "../../lib/fault.ts";

/** One recorded request: a line of JSON. In `path`, `headers`, `body` and `scopes`, `{repository}`, `{key}` as in forms, and what was kept are put in. */
export type RecordedRequest = {
  says?: string;
  method: string;
  /** With its query, as it is sent, byte for byte; `{name}` is where the Location kept under that name leads. */
  path: string;
  headers: Record<string, string>;
  body?: string;
  /** Signed in as docker is: with a token for these scopes, which is requested first. */
  scopes?: string[];
  /** With the developer key itself, as at /token. */
  key?: boolean;
  /** Keeps where the answer's Location leads, under this name. */
  keep?: string;
};

/** Whether it signs in, with a key or with a token that the key buys. */
export function signsIn({ scopes, key, body = "" }: RecordedRequest): boolean {
  return scopes !== undefined || key === true || body.includes("{key}");
}

const TYPES: Record<string, (value: unknown) => boolean> = {
  says: isText,
  method: (value) => isText(value) && /^[A-Z]+$/.test(value as string),
  path: (value) => isText(value) && /^[/{]/.test(value as string),
  headers: (value) => typeof value === "object" && value !== null && Object.values(value).every(isText),
  body: isText,
  scopes: (value) => Array.isArray(value) && value.every(isText),
  key: (value) => typeof value === "boolean",
  keep: isText,
};
const REQUIRED = ["method", "path"];

/** Reads JSON lines; empty ones and those that begin with `//` are passed over. Faults: SETTINGS_INVALID, with the line's number. */
export function parseRequests(text: string): RecordedRequest[] {
  return text.split("\n").flatMap((line, at) => {
    if (line.trim() === "" || line.startsWith("//")) return [];
    const wrong = (why: string) => new Fault("SETTINGS_INVALID", `Line ${at + 1} of the requests is none: ${why}.`);
    const value = parse(line);
    if (typeof value !== "object" || value === null) throw wrong("it is no JSON object");
    for (const [name, one] of Object.entries(value)) {
      if (!Object.hasOwn(TYPES, name)) throw wrong(`there is no "${name}"; there are ${Object.keys(TYPES).join(", ")}`);
      if (TYPES[name]?.(one) !== true) throw wrong(`its "${name}" cannot be read`);
    }
    for (const name of REQUIRED) if (!(name in value)) throw wrong(`"${name}" is missing`);
    return [{ headers: {}, ...(value as Partial<RecordedRequest>) } as RecordedRequest];
  });
}

/** Puts the values in; undefined where one is not there. */
export function fillTemplate(text: string, values: ReadonlyMap<string, string>): string | undefined {
  let whole = true;
  const filled = text.replace(/\{([a-z][a-z0-9-]*)\}/g, (_, name: string) => {
    const value = values.get(name);
    if (value === undefined) whole = false;
    return value ?? "";
  });
  return whole ? filled : undefined;
}

function isText(value: unknown): boolean {
  return typeof value === "string";
}

function parse(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}
