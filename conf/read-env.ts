import type { Found, Source } from "./found.ts";
import { suggestion } from "./suggestion.ts";
import type { Row } from "./row.ts";
import { SETTINGS_FILE_NAME } from "./settings.ts";

/** Groups of the server's own settings that are ours; all else in `GROK_PARAMETERS` is not. */
const OUR_PARAMETERS = /^(dockerSettings|queueSettings)\./;
const PARAMETERS = "GROK_PARAMETERS";

/** At the end of a secret's variable: another one, which names a file that holds it, as orchestrators mount their secrets. */
export const FILE_SUFFIX = "_FILE";

/**
 * Finds the settings among the variables. An empty variable counts as unset, as compose files leave it. `readText` reads what a secret's `_FILE`
 * names, and throws where it cannot.
 */
export function readEnv(
  env: Record<string, string | undefined>,
  rows: readonly [string, Row<unknown>][],
  readText: (path: string) => string,
): Source {
  const set = Object.entries(env).flatMap(([name, value]) => (value === undefined || value.trim() === "" ? [] : [{ name, value }]));
  const keyOf = new Map(rows.flatMap(([key, row]) => row.env.map((name) => [name, key] as const)));
  const secretOf = new Map(rows.flatMap(([key, row]) => (row.secret ? row.env.map((name) => [name + FILE_SUFFIX, key] as const) : [])));
  const names = [...keyOf.keys(), ...secretOf.keys(), SETTINGS_FILE_NAME, PARAMETERS];
  const faults: string[] = [];
  const warnings: string[] = [];
  const found: Found[] = [];
  for (const { name, value } of set) {
    const key = keyOf.get(name);
    const secret = secretOf.get(name);
    if (key !== undefined) found.push({ key, where: name, raw: value });
    else if (secret !== undefined) {
      const read = readSecret(value, readText);
      if ("raw" in read) found.push({ key: secret, where: name, ...read });
      // Not repeated: by a slip it may be the secret itself.
      else faults.push(`${name}: the file that it names ${read.fault}`);
    } else if (names.includes(name) || setByKubernetes(name, value)) continue;
    else if (name.startsWith("BERTH_"))
      faults.push(
        `${name}: there is no such setting${suggestion(
          name,
          names.filter((one) => one.startsWith("BERTH_")),
        )}`,
      );
    else if (name.startsWith("GROK_SPAWNER_") || /^GROK_PARAMETERS_(DOCKER|QUEUE)_SETTINGS__/.test(name)) {
      warnings.push(`${name}: not known, passed over${suggestion(name, names)}`);
    }
  }
  const parameters = readParameters(set.find(({ name }) => name === PARAMETERS)?.value, rows);
  return { found: [...found, ...parameters.found], faults: [...faults, ...parameters.faults], warnings: [...warnings, ...parameters.warnings] };
}

/** Without what an editor or `echo` leaves at its end. An empty one is a slip: passed over, it would leave a default in force. */
function readSecret(path: string, readText: (path: string) => string): { raw: string } | { fault: string } {
  try {
    const raw = readText(path).trim();
    return raw === "" ? { fault: "is empty" } : { raw };
  } catch (error) {
    return { fault: `cannot be read (${(error as NodeJS.ErrnoException).code ?? "no text"})` };
  }
}

/** For each Service, Kubernetes sets `NAME_SERVICE_HOST`, `NAME_PORT=tcp://…` and more in every pod. */
function setByKubernetes(name: string, value: string): boolean {
  return /^BERTH_(.*_)?SERVICE_(HOST|PORT)(_|$)/.test(name) || /^BERTH_(.*_)?PORT_\d+_(TCP|UDP)(_|$)/.test(name) || /^(tcp|udp):\/\//.test(value);
}

/** The JSON that a real stand has there holds dozens of keys for others, and their secrets: nothing of it is repeated. */
function readParameters(json: string | undefined, rows: readonly [string, Row<unknown>][]): Source {
  if (json === undefined) return { found: [], faults: [], warnings: [] };
  const parameters = objectFrom(json);
  if (!parameters) return { found: [], faults: [`${PARAMETERS}: takes a JSON object, and this is none`], warnings: [] };
  const ours = rows.map(([key]) => key).filter((key) => OUR_PARAMETERS.test(key));
  const source: Source = { found: [], faults: [], warnings: [] };
  for (const group of new Set(ours.map((key) => key.slice(0, key.indexOf("."))))) {
    const values = parameters[group];
    if (values === undefined || values === null) continue;
    if (typeof values !== "object" || Array.isArray(values)) {
      source.faults.push(`${PARAMETERS}, ${group}: takes a JSON object`);
      continue;
    }
    for (const [name, raw] of Object.entries(values)) {
      const key = `${group}.${name}`;
      if (ours.includes(key)) {
        if (raw !== null && raw !== "") source.found.push({ key, where: `${PARAMETERS}, ${key}`, raw });
      } else {
        // A server of another version may have more of them: only what looks like a slip is told.
        const near = suggestion(key, ours, 2);
        if (near) source.warnings.push(`${PARAMETERS}, ${key}: not known, passed over${near}`);
      }
    }
  }
  return source;
}

function objectFrom(json: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(json);
    return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}
