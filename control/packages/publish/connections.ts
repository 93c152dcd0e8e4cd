import { readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { Fault } from "../../../lib/fault.ts";
import { nameKey } from "../../model/names.ts";
import { parseJsonObject } from "./author-files.ts";
import { requireTextLimit } from "./definitions.ts";

/** An entity of a package's `connections/` folder. */
export type PublishedConnection = {
  name: string;
  key: string;
  /** What the file says, without its credentials. */
  entity: Record<string, unknown>;
  /** `credentials.parameters` of the file: they are sealed, and never written as they are. */
  secrets: Record<string, unknown>;
};

const CONNECTIONS = "connections";

const LARGEST_BYTES = 1_048_576;
/** Each is a row, and so is each of their credentials: all are written in one turn of the event loop. */
const MAX_ROWS = 500;

/** Whether a path in a package is one of these files. */
export function isConnection(path: string): boolean {
  return /^connections\/[^/]+\.json$/i.test(path);
}

/**
 * Reads the connections of an unpacked package. They are made for more than containers, so one that cannot be read stops no publish: it
 * is a warning, which says nothing of the file's text, since that may be a secret. `bytes` counts for the limit of the package's texts. Faults: PACKAGE_TOO_LARGE.
 */
export async function findConnections(
  root: string,
  signal: AbortSignal,
): Promise<{ connections: PublishedConnection[]; warnings: string[]; bytes: number }> {
  const folder = join(root, CONNECTIONS);
  const names = (await readdir(folder).catch(() => [])).filter((name) => isConnection(`${CONNECTIONS}/${name}`)).toSorted();
  const connections = new Map<string, PublishedConnection>();
  const warnings: string[] = [];
  let bytes = 0;
  let rows = 0;
  for (const name of names) {
    const path = `${CONNECTIONS}/${name}`;
    const { size } = await stat(join(folder, name));
    if (size <= LARGEST_BYTES) requireTextLimit((bytes += size));
    const read = size > LARGEST_BYTES ? `is larger than ${LARGEST_BYTES} bytes` : await readConnection(folder, name, signal);
    rows += typeof read === "string" ? 1 : 1 + Object.keys(read.secrets).length;
    if (rows > MAX_ROWS)
      throw new Fault(
        "PACKAGE_TOO_LARGE",
        `connections/ holds ${rows} connections and credentials or more; ${MAX_ROWS} are allowed: publish some as another package.`,
      );
    const twin = typeof read === "string" ? undefined : connections.get(read.key);
    if (typeof read === "string") warnings.push(`${path} ${read}: it is no entity that a container can be given.`);
    else if (twin) warnings.push(`${path}: the name ${read.name} is taken already, by ${twin.name}; this one is ignored.`);
    else connections.set(read.key, read);
  }
  return { connections: [...connections.values()], warnings, bytes };
}

/** Or what is wrong with it. */
async function readConnection(folder: string, file: string, signal: AbortSignal): Promise<PublishedConnection | string> {
  const json = parse(await readFile(join(folder, file), { encoding: "utf8", signal }));
  if (!json) return "is not a JSON object";
  const name = typeof json["name"] === "string" ? json["name"] : file.slice(0, -".json".length);
  const key = nameKey(name);
  if (key === "") return "has no name";
  const { credentials, ...entity } = json;
  if (!isRecord(credentials)) return { name, key, entity, secrets: {} };
  const { parameters, ...others } = credentials;
  const rest = Object.keys(others).length === 0 ? entity : { ...entity, credentials: others };
  return { name, key, entity: rest, secrets: isRecord(parameters) ? parameters : {} };
}

function parse(text: string): Record<string, unknown> | undefined {
  try {
    return parseJsonObject(text, CONNECTIONS);
  } catch {
    return undefined;
  }
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
