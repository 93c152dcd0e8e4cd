import { isAbsolute } from "node:path";
import { Fault } from "../../../lib/fault.ts";
import { type Labels, type Host, HOSTS, MOST_STOP_GRACE_SECONDS, type Readiness } from "../../driver.ts";

/** A field of a body, by berth's name and by the names of other clients. `read` returns undefined for a value that is not allowed. */
type Field<T> = { names: readonly string[]; allowed: string; read(value: unknown): T | undefined };

const field = <T>(names: readonly string[], allowed: string, read: (value: unknown) => T | undefined): Field<T> => ({ names, allowed, read });

const FIELDS = {
  image: field(["image", "imageRef", "dockerImage"], "an image's name or id", (value) => readText(value, /^[\w][\w./:@-]{0,511}$/)),
  folder: field(["folder"], "an absolute path", (value) =>
    typeof value === "string" && !value.includes("\0") && isAbsolute(value) ? value : undefined,
  ),
  env: field(["environmentVars", "env"], "an object of variable names and strings, numbers or booleans", readEnvironment),
  cpu: field(["cpu"], "a number of cores above 0", (value) => readNumber(value, 0.001, 1_024)),
  memoryMb: field(["memory"], "a whole number of MB from 1", (value) => readWhole(value, 1, 2 ** 31)),
  shmMb: field(["shm_size"], "a whole number of MB from 0", (value) => readWhole(value, 0, 2 ** 31)),
  storageGb: field(["storage"], "a number of GB above 0", (value) => readNumber(value, 0.001, 2 ** 31)),
  gpu: field(["gpu"], "a whole number from 0", (value) => readWhole(value, 0, 64)),
  port: field(["port"], "a port from 1 to 65535", (value) => readWhole(value, 1, 65_535)),
  graceMs: field(["graceMs"], "a number of milliseconds from 0", (value) => readNumber(value, 0, 600_000)),
  shutdownGraceSeconds: field(["shutdown_grace_seconds"], `a whole number of seconds from 1 to ${MOST_STOP_GRACE_SECONDS}`, (value) =>
    readWhole(value, 1, MOST_STOP_GRACE_SECONDS),
  ),
  readiness: field(["readiness"], "an object whose kind is port, http (with an absolute path), healthcheck or running", readReadiness),
  alias: field(["alias"], "a name of at most 200 characters", (value) => readText(value, /^[\w.-]{1,200}$/)),
  package: field(["package"], "a package's name of at most 214 characters", (value) => readText(value, /^[\w@./-]{1,214}$/)),
  labels: field(["labels"], "an object with store, environment, container and generation", readLabels),
};

type Fields = typeof FIELDS;
export type Body = { [Name in keyof Fields]?: NonNullable<ReturnType<Fields[Name]["read"]>> };

/** A container entity has the fields of `container.json` one level down. */
const NESTED = "config";

/**
 * Reads each field by any of its names, at the top or in `config`; null counts as absent. `unknown` lists the ignored names. Faults: REQUEST_INVALID, which
 * names every wrong field but no value.
 */
export function parseBody(sent: unknown): { body: Body; unknown: string[] } {
  const object = sent ?? {};
  if (!isObject(object)) throw new Fault("REQUEST_INVALID", "The body must be a JSON object.");
  const nested = object[NESTED] ?? {};
  if (!isObject(nested)) throw new Fault("REQUEST_INVALID", `The body's ${NESTED} must be an object.`);
  const all = new Map(
    [...Object.entries(nested), ...Object.entries(object).filter(([name]) => name !== NESTED)].filter(([, value]) => value !== null),
  );
  const body: Record<string, unknown> = {};
  const wrong: string[] = [];
  for (const [name, { names, allowed, read }] of Object.entries<Field<unknown>>(FIELDS)) {
    const sentName = names.find((one) => all.has(one));
    if (sentName === undefined) continue;
    const value = read(all.get(sentName));
    if (value === undefined) wrong.push(`${sentName} must be ${allowed}`);
    else body[name] = value;
  }
  if (wrong.length > 0) throw new Fault("REQUEST_INVALID", `The body's ${wrong.join("; ")}.`);
  const allNames = new Set(Object.values<Field<unknown>>(FIELDS).flatMap(({ names }) => names));
  return { body, unknown: [...all.keys()].filter((name) => !allNames.has(name)) };
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function readText(value: unknown, pattern: RegExp): string | undefined {
  return typeof value === "string" && pattern.test(value) ? value : undefined;
}

/** Some clients write numbers as text. */
function readNumber(value: unknown, least: number, most: number): number | undefined {
  const number = typeof value === "string" && /^\d{1,15}(\.\d{1,9})?$/.test(value) ? Number(value) : value;
  return typeof number === "number" && number >= least && number <= most ? number : undefined;
}

function readWhole(value: unknown, least: number, most: number): number | undefined {
  const number = readNumber(value, least, most);
  return Number.isInteger(number) ? number : undefined;
}

function readEnvironment(value: unknown): Record<string, string> | undefined {
  if (!isObject(value)) return undefined;
  const entries = Object.entries(value);
  const isVariable = ([name, of]: [string, unknown]) =>
    /^[^\s=\0]{1,1000}$/.test(name) && ["string", "number", "boolean"].includes(typeof of) && !String(of).includes("\0");
  return entries.every(isVariable) ? Object.fromEntries(entries.map(([name, of]) => [name, String(of)])) : undefined;
}

/** A path as in a request line; the rest has defaults. */
function readReadiness(value: unknown): Readiness | undefined {
  if (!isObject(value)) return undefined;
  const { kind } = value;
  if (kind === "healthcheck") return { kind, ...(value["portStaysClosed"] === true ? { portStaysClosed: true } : {}) };
  if (kind === "port" || kind === "running") return { kind };
  const path = readText(value["path"], /^\/[!-~]{0,2000}$/);
  if (kind !== "http" || path === undefined) return undefined;
  const port = value["port"] === undefined ? undefined : readWhole(value["port"], 1, 65_535);
  const intervalMs = readNumber(value["intervalMs"] ?? 10_000, 1, 3_600_000);
  const timeoutMs = readNumber(value["timeoutMs"] ?? 5_000, 1, 600_000);
  if (intervalMs === undefined || timeoutMs === undefined || (value["port"] !== undefined && port === undefined)) return undefined;
  return { kind, path, intervalMs, timeoutMs, ...(port === undefined ? {} : { port }) };
}

function readLabels(value: unknown): Labels | undefined {
  if (!isObject(value)) return undefined;
  const [store, environment, container] = [value["store"], value["environment"], value["container"]].map((one) => readText(one, /^[\w.:-]{1,200}$/));
  const generation = readWhole(value["generation"], 0, Number.MAX_SAFE_INTEGER);
  if (store === undefined || environment === undefined || container === undefined || generation === undefined) return undefined;
  const epoch = readWhole(value["epoch"], 0, Number.MAX_SAFE_INTEGER);
  return { store, environment, container, generation, ...(epoch === undefined ? {} : { epoch }) };
}

/** Faults: REQUEST_INVALID. */
export function parseHost(text: string): Host {
  const host = HOSTS.find((one) => one === text);
  if (host) return host;
  throw new Fault("REQUEST_INVALID", `The host ${JSON.stringify(text.slice(0, 100))} is none of ${HOSTS.join(", ")}.`);
}

/** True to deploy, false to destroy. Faults: REQUEST_INVALID. */
export function parseCount(n: string): boolean {
  if (n === "1" || n === "0") return n === "1";
  throw new Fault("REQUEST_INVALID", `The number ${JSON.stringify(n.slice(0, 100))} is neither 1, which deploys, nor 0, which destroys.`);
}

/** The image of `service` and `tag`. A tag with a colon is a digest. Faults: REQUEST_INVALID. */
export function imageNamed(service: string, tag: string): string {
  const ref = `${service}${tag.includes(":") ? "@" : ":"}${tag}`;
  if (/^[\w][\w./:@-]{0,511}$/.test(ref)) return ref;
  throw new Fault("REQUEST_INVALID", `${JSON.stringify(ref.slice(0, 200))} names no image.`);
}

const MOST_LINES = 100_000;

/** How many lines of a log. Faults: REQUEST_INVALID. */
export function parseTail(tail: string | undefined, fallback: number): number {
  if (tail === undefined) return fallback;
  if (/^\d{1,9}$/.test(tail)) return Math.min(Number(tail), MOST_LINES);
  throw new Fault("REQUEST_INVALID", `The tail ${JSON.stringify(tail.slice(0, 100))} is no number of lines.`);
}

/** Faults: REQUEST_INVALID. */
export function parseGeneration(text: string | undefined): number | undefined {
  if (text === undefined || /^\d{1,15}$/.test(text)) return text === undefined ? undefined : Number(text);
  throw new Fault("REQUEST_INVALID", `The generation ${JSON.stringify(text.slice(0, 100))} is no whole number.`);
}

/** Faults: REQUEST_INVALID. */
export function parseCallId(id: string | undefined): string | undefined {
  if (id === undefined || /^[\w-]{1,64}$/.test(id)) return id;
  throw new Fault("REQUEST_INVALID", `The call ${JSON.stringify(id.slice(0, 100))} is no id.`);
}
