import { closest, distance } from "fastest-levenshtein";
import { MOST_STOP_GRACE_SECONDS, STOP_GRACE_SECONDS } from "../../../drivers/driver.ts";
import { Fault } from "../../../lib/fault.ts";
import { readWarmHours, WARM_HOURS_ALLOWED } from "../../model/warm-hours.ts";
import type { ContainerConfig, ContainerHealth, ReplicasConfig } from "../../model/entities.ts";
import { MAX_WARNINGS, parseJsonObject, shownValue } from "./author-files.ts";
import { isImageRef } from "../../model/names.ts";

export type ContainerFile = {
  config: ContainerConfig;
  env: Record<string, string>;
  /** A published image to run, in place of a Dockerfile. */
  image: string | undefined;
  warnings: string[];
};

type Key = {
  /** Where the value goes. */
  field: keyof ContainerConfig | "env" | "image";
  /** For the author of a wrong value. */
  allowed: string;
  accepts: (value: unknown) => boolean;
  /** The same for editors, as a JSON schema; `accepts` decides. */
  schema: Readonly<Record<string, unknown>>;
  /** The value as it is kept; as it is written where this is left out. */
  read?: (value: unknown) => unknown;
  /** The key that has this one's place today: that one's value counts where both stand. */
  replacedBy?: string;
};

const isNumber = (value: unknown): value is number => typeof value === "number" && Number.isFinite(value);
const whole = (least: number, most: number) => (value: unknown) => Number.isInteger(value) && (value as number) >= least && (value as number) <= most;
const isRecord = (value: unknown): value is Record<string, unknown> => typeof value === "object" && value !== null && !Array.isArray(value);
const isScalar = (value: unknown) => ["string", "number", "boolean"].includes(typeof value);
/** Linux starts no program with a variable of more than 128 KiB. */
const MAX_VARIABLES = 500;
const LONGEST_VARIABLE_NAME = 255;
const LONGEST_VARIABLE = 32_768;
const isVariable = ([name, of]: [string, unknown]) =>
  name.length <= LONGEST_VARIABLE_NAME &&
  /^[^\s=\0]+$/.test(name) &&
  isScalar(of) &&
  String(of).length <= LONGEST_VARIABLE &&
  // A program cannot be given one, and engines refuse it only at the start.
  !String(of).includes("\0");
const isEnv: Key["accepts"] = (value) => isRecord(value) && Object.keys(value).length <= MAX_VARIABLES && Object.entries(value).every(isVariable);
const ENV = `an object of at most ${MAX_VARIABLES} variable names and strings of at most ${LONGEST_VARIABLE} characters and no zero character, numbers or booleans`;

/** The fields of `health`, in both spellings. */
const HEALTH_FIELDS: Readonly<Record<keyof ContainerHealth, Pick<Key, "accepts" | "schema">>> = {
  path: {
    accepts: (value) => typeof value === "string" && /^\/[!-~]{0,1023}$/.test(value),
    schema: { type: "string", maxLength: 1_024, pattern: "^/" },
  },
  port: { accepts: whole(1, 65_535), schema: { type: "integer", minimum: 1, maximum: 65_535 } },
  intervalSeconds: {
    accepts: (value) => isNumber(value) && value >= 1 && value <= 3_600,
    schema: { type: "number", minimum: 1, maximum: 3_600, default: 10 },
  },
  timeoutSeconds: {
    accepts: (value) => isNumber(value) && value > 0 && value <= 300,
    schema: { type: "number", exclusiveMinimum: 0, maximum: 300, default: 5 },
  },
};
const HEALTH_SPELLINGS = spellingsOf(Object.keys(HEALTH_FIELDS) as (keyof ContainerHealth)[]);

/** Undefined if it is no such object. */
function readHealth(value: unknown): ContainerHealth | undefined {
  if (!isRecord(value)) return undefined;
  const read: Partial<Record<keyof ContainerHealth, unknown>> = {};
  for (const [written, of] of Object.entries(value)) {
    const name = HEALTH_SPELLINGS.get(written);
    if (name === undefined || !HEALTH_FIELDS[name].accepts(of)) return undefined;
    read[name] = of;
  }
  return read.path === undefined ? undefined : (read as ContainerHealth);
}

/** Minutes: 6 s, so that one that is always on does not start without end; a year. */
const LEAST_LIFETIME = 0.1;
const MOST_LIFETIME = 525_600;

const MOST_DEPENDENCIES = 10;

/** Each has a row of its own, and a place in every list of addresses. */
const MOST_REPLICAS = 50;
const REPLICAS_DEFAULTS: Omit<ReplicasConfig, "max"> = { min: 0, targetConcurrency: 10, windowSeconds: 60 };

/** The fields of `replicas`, as they are stored. */
const REPLICAS_FIELDS: Readonly<Record<keyof ReplicasConfig, Pick<Key, "accepts" | "schema">>> = {
  min: { accepts: whole(0, MOST_REPLICAS), schema: { type: "integer", minimum: 0, maximum: MOST_REPLICAS, default: REPLICAS_DEFAULTS.min } },
  max: { accepts: whole(1, MOST_REPLICAS), schema: { type: "integer", minimum: 1, maximum: MOST_REPLICAS } },
  targetConcurrency: {
    accepts: whole(1, 10_000),
    schema: { type: "integer", minimum: 1, maximum: 10_000, default: REPLICAS_DEFAULTS.targetConcurrency },
  },
  windowSeconds: {
    accepts: whole(6, 3_600),
    schema: { type: "integer", minimum: 6, maximum: 3_600, default: REPLICAS_DEFAULTS.windowSeconds },
  },
  affinity: { accepts: (value) => value === "cookie", schema: { type: "string", enum: ["cookie"] } },
};
const REPLICAS_SPELLINGS = spellingsOf(Object.keys(REPLICAS_FIELDS) as (keyof ReplicasConfig)[]);

/** Both spellings of each field: `windowSeconds` and `window_seconds`. */
function spellingsOf<Field extends string>(fields: readonly Field[]): ReadonlyMap<string, Field> {
  return new Map(
    fields.flatMap((name) => [name, name.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)].map((written) => [written, name])),
  );
}

/** Undefined if it is no such object. */
function readReplicas(value: unknown): ReplicasConfig | undefined {
  if (!isRecord(value)) return undefined;
  const read: Partial<Record<keyof ReplicasConfig, unknown>> = {};
  for (const [written, of] of Object.entries(value)) {
    const name = REPLICAS_SPELLINGS.get(written);
    if (name === undefined || !REPLICAS_FIELDS[name].accepts(of)) return undefined;
    read[name] = of;
  }
  if (read.max === undefined) return undefined;
  const config = { ...REPLICAS_DEFAULTS, ...read } as ReplicasConfig;
  return config.min <= config.max ? config : undefined;
}

const ENV_SCHEMA = {
  type: "object",
  maxProperties: MAX_VARIABLES,
  additionalProperties: { type: ["string", "number", "boolean"], maxLength: LONGEST_VARIABLE },
};

const SHUTDOWN_TIMEOUT: Key = {
  field: "shutdownTimeoutMinutes",
  allowed: "a number of minutes, or 0 or null for never",
  accepts: (value) => value === null || (isNumber(value) && value >= 0),
  schema: { type: ["number", "null"], minimum: 0 },
};

/** As the spawner's API. */
const LEAST_CPU = 0.001;

/** Every key of `container.json`. Sizes are in MB but for `storage`, which is in GB; `shutdown_timeout` is in minutes. */
const KEYS: Readonly<Record<string, Key>> = {
  cpu: {
    field: "cpu",
    // Engines count in parts of a core, and 0 of them means no limit.
    allowed: `a number of cores from ${LEAST_CPU}, e.g. 0.25`,
    accepts: (value) => isNumber(value) && value >= LEAST_CPU && value <= 1_024,
    schema: { type: "number", minimum: LEAST_CPU, maximum: 1_024, default: 0.25 },
  },
  memory: {
    field: "memoryMb",
    allowed: "a whole number of MB from 6",
    accepts: whole(6, 2 ** 31),
    schema: { type: "integer", minimum: 6, default: 512 },
  },
  gpu: { field: "gpu", allowed: "a whole number from 0", accepts: whole(0, 64), schema: { type: "integer", minimum: 0, maximum: 64, default: 0 } },
  on_demand: {
    field: "onDemand",
    allowed: "true or false",
    accepts: (value) => typeof value === "boolean",
    schema: { type: "boolean", default: false },
  },
  shutdown_timeout: SHUTDOWN_TIMEOUT,
  timeout_minutes: { ...SHUTDOWN_TIMEOUT, schema: { ...SHUTDOWN_TIMEOUT.schema, deprecated: true }, replacedBy: "shutdown_timeout" },
  max_minutes: {
    field: "maxMinutes",
    allowed: `a number of minutes from ${LEAST_LIFETIME} to ${MOST_LIFETIME}, after which it is stopped, used or not; or 0 or null for no limit`,
    accepts: (value) => value === null || value === 0 || (isNumber(value) && value >= LEAST_LIFETIME && value <= MOST_LIFETIME),
    schema: { type: ["number", "null"], minimum: 0, maximum: MOST_LIFETIME },
  },
  shutdown_grace_seconds: {
    field: "shutdownGraceSeconds",
    allowed: `a whole number of seconds from 1 to ${MOST_STOP_GRACE_SECONDS}: how long it has to end after SIGTERM, before it is killed`,
    accepts: whole(1, MOST_STOP_GRACE_SECONDS),
    schema: { type: "integer", minimum: 1, maximum: MOST_STOP_GRACE_SECONDS, default: STOP_GRACE_SECONDS },
  },
  keep_warm: {
    field: "keepWarm",
    allowed: `up to 20 ${WARM_HOURS_ALLOWED}`,
    accepts: (value) =>
      Array.isArray(value) && value.length <= 20 && value.every((line) => typeof line === "string" && readWarmHours(line) !== undefined),
    schema: { type: "array", maxItems: 20, items: { type: "string" } },
  },
  max_concurrency: {
    field: "maxConcurrency",
    allowed: "a whole number of requests from 1 to 10000",
    accepts: whole(1, 10_000),
    schema: { type: "integer", minimum: 1, maximum: 10_000 },
  },
  replicas: {
    field: "replicas",
    allowed: `an object with \`max\` (up to ${MOST_REPLICAS}), and if you like \`min\` (up to \`max\`), \`target_concurrency\`, \`window_seconds\` (from 6) and \`affinity\` ("cookie")`,
    accepts: (value) => readReplicas(value) !== undefined,
    schema: {
      type: "object",
      required: ["max"],
      properties: Object.fromEntries([...REPLICAS_SPELLINGS].map(([written, name]) => [written, REPLICAS_FIELDS[name].schema])),
      additionalProperties: false,
    },
    read: readReplicas,
  },
  depends_on: {
    field: "dependsOn",
    allowed: `up to ${MOST_DEPENDENCIES} names of other folders in dockerfiles/, whose containers are started before this one`,
    accepts: (value) =>
      Array.isArray(value) &&
      value.length <= MOST_DEPENDENCIES &&
      value.every((name) => typeof name === "string" && /^[A-Za-z0-9][\w.-]{0,99}$/.test(name)),
    schema: { type: "array", maxItems: MOST_DEPENDENCIES, items: { type: "string" } },
    read: (value) => [...new Set(value as string[])],
  },
  shm_size: {
    field: "shmMb",
    allowed: "a whole number of MB from 0",
    accepts: whole(0, 2 ** 31),
    schema: { type: "integer", minimum: 0, default: 64 },
  },
  storage: {
    field: "storageGb",
    allowed: "a number of GB above 0",
    accepts: (value) => isNumber(value) && value > 0,
    schema: { type: "number", exclusiveMinimum: 0, default: 21 },
  },
  env: { field: "env", allowed: ENV, accepts: isEnv, schema: ENV_SCHEMA },
  environmentVars: { field: "env", allowed: ENV, accepts: isEnv, schema: ENV_SCHEMA },
  image: {
    field: "image",
    allowed: "an image reference, e.g. ghcr.io/owner/name:1.0",
    accepts: (value) => typeof value === "string" && isImageRef(value),
    schema: { type: "string", maxLength: 512 },
  },
  health: {
    field: "health",
    allowed: 'an object with `path` ("/health"), and if you like `port`, `intervalSeconds` (from 1) and `timeoutSeconds` (up to 300)',
    accepts: (value) => readHealth(value) !== undefined,
    schema: {
      type: "object",
      required: ["path"],
      properties: Object.fromEntries([...HEALTH_SPELLINGS].map(([written, name]) => [written, HEALTH_FIELDS[name].schema])),
      additionalProperties: false,
    },
    read: readHealth,
  },
  worker: {
    field: "worker",
    allowed: "true for a queue worker, which need not listen on its port; false for what only looks like one",
    accepts: (value) => typeof value === "boolean",
    schema: { type: "boolean" },
  },
  tcp: {
    field: "tcp",
    allowed: "true for a database or another program that does not speak HTTP: it gets a TCP listener; or false",
    accepts: (value) => typeof value === "boolean",
    schema: { type: "boolean" },
  },
  protocol: {
    field: "protocol",
    allowed: "http1, or h2c for a server that speaks HTTP/2 without TLS, such as one of gRPC",
    accepts: (value) => value === "http1" || value === "h2c",
    schema: { type: "string", enum: ["http1", "h2c"], default: "http1" },
  },
  port: { field: "port", allowed: "a port from 1 to 65535", accepts: whole(1, 65_535), schema: { type: "integer", minimum: 1, maximum: 65_535 } },
};

/** Keys of several words may be written as JavaScript does, too: `onDemand`. */
const CAMEL_CASE = new Map(Object.keys(KEYS).map((name) => [name.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase()), name]));

const LONGEST_KEY = 40;

const DEFAULTS: ContainerConfig = { cpu: 0.25, memoryMb: 512, gpu: 0, shmMb: 64, storageGb: 21, onDemand: false };

/**
 * Reads a folder's `container.json`; `text` is undefined where it has none. All wrong values are reported together; an
 * unknown key is a warning. Faults: PACKAGE_INVALID.
 */
export function readContainerJson(text: string | undefined, path: string): ContainerFile {
  return readContainerKeys(text === undefined ? {} : parseJsonObject(text, path), path);
}

/** The keys of `container.json` for a configuration: the reverse of `readContainerKeys`. */
export function containerKeysOf(config: ContainerConfig): Record<string, unknown> {
  const set = Object.entries(KEYS).filter(([, { field, replacedBy }]) => replacedBy === undefined && field in config);
  return Object.fromEntries(set.map(([name, { field }]) => [name, config[field as keyof ContainerConfig]]));
}

/** The same of what was parsed already. */
export function readContainerKeys(written: Record<string, unknown>, path: string): ContainerFile {
  const read: ContainerFile = { config: { ...DEFAULTS }, env: {}, image: undefined, warnings: [] };
  const wrong: string[] = [];
  let unknown = 0;
  const json: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(written)) {
    const key = CAMEL_CASE.get(name) ?? name;
    if (key !== name && Object.hasOwn(written, key)) read.warnings.push(`${path}: ${name} and ${key} mean the same; ${key} is taken.`);
    // Editors find the schema by it.
    else if (name !== "$schema") Object.defineProperty(json, key, { value, enumerable: true });
  }
  const config: Record<string, unknown> = read.config;
  for (const [name, value] of Object.entries(json)) {
    const key = Object.hasOwn(KEYS, name) ? KEYS[name] : undefined;
    if (key === undefined) {
      if (++unknown <= MAX_WARNINGS) read.warnings.push(`${path}: unknown key ${shownValue(name)} is ignored${suggestion(name)}.`);
    } else if (!key.accepts(value)) wrong.push(`${path}: ${name} is ${shownValue(value)}; allowed: ${key.allowed}`);
    else if (key.replacedBy !== undefined) {
      const isDouble = Object.hasOwn(json, key.replacedBy);
      const effect = isDouble ? `${key.replacedBy} is taken` : "its value is used";
      read.warnings.push(`${path}: ${name} is an older name of ${key.replacedBy}; ${effect}. Write ${key.replacedBy} alone.`);
      if (!isDouble) config[key.field] = value;
    } else if (key.field === "image") read.image = value as string;
    else if (key.field !== "env") config[key.field] = key.read === undefined ? value : key.read(value);
  }
  for (const other of ["tcp", "worker"] as const)
    if (read.config.replicas !== undefined && read.config[other] === true)
      wrong.push(`${path}: replicas and ${other} do not go together: berth can choose a replica for each HTTP request only. Remove one of them`);
  // One replica is what every container has.
  if (read.config.replicas?.max === 1) delete read.config.replicas;
  if (wrong.length > 0) throw new Fault("PACKAGE_INVALID", `${wrong.join("; ")}.`);
  if (!read.config.maxMinutes) delete read.config.maxMinutes;
  if (!read.config.shutdownTimeoutMinutes) delete read.config.shutdownTimeoutMinutes;
  if (read.config.dependsOn?.length === 0) delete read.config.dependsOn;
  if (unknown > MAX_WARNINGS) read.warnings.push(`${path}: ${unknown - MAX_WARNINGS} more unknown keys are ignored.`);
  const [env, environmentVars] = [asStrings(json["env"]), asStrings(json["environmentVars"])];
  read.env = { ...environmentVars, ...env };
  const twice = Object.keys(env).filter((name) => Object.hasOwn(environmentVars, name));
  if (twice.length > 0) read.warnings.push(`${path}: ${listed(twice)} stand in env and in environmentVars; env is taken.`);
  return read;
}

/** The first of them, and how many more there are. */
function listed(names: readonly string[]): string {
  const more = names.length > 10 ? ` and ${names.length - 10} more` : "";
  return names.slice(0, 10).join(", ") + more;
}

function asStrings(value: unknown): Record<string, string> {
  return isRecord(value) ? Object.fromEntries(Object.entries(value).map(([name, of]) => [name, String(of)])) : {};
}

/** Two slips at most, or a hyphen for an underscore; anything further away is not what was meant. */
function suggestion(name: string): string {
  if (name.length > LONGEST_KEY) return "";
  const nearest = closest(name.toLowerCase().replaceAll("-", "_"), Object.keys(KEYS));
  return distance(name.toLowerCase().replaceAll("-", "_"), nearest) <= 2 ? ` (did you mean ${nearest}?)` : "";
}

/** For editors: `"$schema"` in a `container.json` names it. Both spellings of each key are in it. */
export function containerSchema(): object {
  const spelled = Object.entries(KEYS).flatMap(([name, { allowed, schema }]) => {
    const spellings = [name, ...[...CAMEL_CASE].filter(([camel, key]) => key === name && camel !== name).map(([camel]) => camel)];
    return spellings.map((spelling) => [spelling, { description: allowed, ...schema }] as const);
  });
  return {
    $schema: "https://json-schema.org/draft/2020-12/schema",
    title: "container.json of a package's folder in dockerfiles/",
    type: "object",
    properties: Object.fromEntries([["$schema", { type: "string" }], ...spelled]),
    additionalProperties: false,
  };
}
