import { parseImageReference } from "../lib/image-reference.ts";
import type { ImageHealthcheck, ResolvedImage } from "./driver.ts";
import { advisedFault } from "./faults.ts";

const IMAGE_ID = /^sha256:[0-9a-f]{64}$/;

/** A parsed image reference. `kind: "id"` is the id of an image on this engine, which no registry has. */
export type Reference =
  | { kind: "id" }
  | {
      kind: "name";
      /** Undefined unless the reference names one itself: `docker.io` is not filled in. */
      registry: string | undefined;
      digest: string | undefined;
      /** The arguments of the engine's pull: the name without tag and digest, then the digest or the tag. */
      name: string;
      tag: string;
    };

/** Faults: IMAGE_REFERENCE_INVALID. */
export function parseReference(ref: string): Reference {
  if (IMAGE_ID.test(ref)) return { kind: "id" };
  const parsed = parseImageReference(ref);
  if (!parsed) {
    const hint = /[A-Z]/.test(ref.split(/[:@]/, 1)[0] ?? "") ? ": the name must be in lower case" : "";
    throw advisedFault("IMAGE_REFERENCE_INVALID", `"${ref.slice(0, 512)}" is not an image reference${hint}.`);
  }
  const { host, repository, tag, digest } = parsed;
  return {
    kind: "name",
    registry: host,
    digest,
    name: host === undefined ? repository : `${host}/${repository}`,
    tag: digest ?? tag ?? "latest",
  };
}

/**
 * Exposed TCP ports, the one to use first. That is the port of the first `EXPOSE` in the history, oldest layer first; without one, the lowest port as a
 * guess. The configuration has all ports, but in no order.
 */
export function exposedPorts(configured: string[], createdBy: string[]): Pick<ResolvedImage, "exposed" | "guessed"> {
  const ports = [...new Set(configured.flatMap(tcpPort))].toSorted((a, b) => a - b);
  // An author may write 100,000 ports, and lines that name as many others.
  const isExposed = new Set(ports);
  if (ports.length < 2) return { exposed: ports };
  for (const line of createdBy) {
    const written = /\bEXPOSE\s(.+)/.exec(line)?.[1];
    if (written === undefined) continue;
    const named = [...written.matchAll(/\b(\d{1,5})(?:\/(tcp|udp|sctp))?\b/g)]
      .filter(([, , protocol]) => protocol === undefined || protocol === "tcp")
      .map(([, port]) => Number(port));
    const first = named.find((port) => isExposed.has(port));
    if (first === undefined) continue;
    // BuildKit writes several ports of a line as a map, sorted as text: the order is lost.
    const guessed = written.startsWith("map[") && named.length > 1;
    const chosen = guessed ? named.filter((port) => isExposed.has(port)).reduce((least, port) => Math.min(least, port)) : first;
    return { exposed: [chosen, ...ports.filter((port) => port !== chosen)], ...(guessed ? { guessed } : {}) };
  }
  return { exposed: ports, guessed: true };
}

function tcpPort(written: string): number[] {
  const port = /^(\d{1,5})(?:\/tcp)?$/.exec(written)?.[1];
  return port === undefined ? [] : [Number(port)];
}

/** What an image's configuration says about its process, in Docker's and OCI's spelling: https://github.com/opencontainers/image-spec/blob/main/config.md. */
export type RuntimeConfig = {
  Entrypoint?: string | string[] | null | undefined;
  Cmd?: string | string[] | null | undefined;
  Healthcheck?: HealthcheckConfig | null | undefined;
};
/** Times in nanoseconds; 0 is the engine's default. */
export type HealthcheckConfig = {
  Test?: string[] | null | undefined;
  Interval?: number | undefined;
  Timeout?: number | undefined;
  StartPeriod?: number | undefined;
  Retries?: number | undefined;
};

/** A command is stored and searched. Longer words are scripts. */
const MAX_WORDS = 64;
const MAX_WORD = 4_096;

/** A registry may send anything. */
export function parseRuntime(config: RuntimeConfig | null | undefined): Pick<ResolvedImage, "command" | "healthcheck"> {
  const healthcheck = parseHealthcheck(config?.Healthcheck);
  return { command: [...words(config?.Entrypoint), ...words(config?.Cmd)].slice(0, MAX_WORDS), ...(healthcheck ? { healthcheck } : {}) };
}

/** Undefined without a check, or if the image has switched off that of its base. */
export function parseHealthcheck(config: HealthcheckConfig | null | undefined): ImageHealthcheck | undefined {
  const test = words(config?.Test);
  if (test.length < 2 || test[0] === "NONE") return undefined;
  const milliseconds = (value: unknown) => (typeof value === "number" && value > 0 ? value / 1e6 : undefined);
  const times = {
    intervalMs: milliseconds(config?.Interval),
    timeoutMs: milliseconds(config?.Timeout),
    startPeriodMs: milliseconds(config?.StartPeriod),
    retries: typeof config?.Retries === "number" && config.Retries > 0 ? config.Retries : undefined,
  };
  return { test, ...(Object.fromEntries(Object.entries(times).filter(([, value]) => value !== undefined)) as Omit<ImageHealthcheck, "test">) };
}

function words(value: unknown): string[] {
  const list: unknown[] = Array.isArray(value) ? value.slice(0, MAX_WORDS) : [value];
  return list.flatMap((word) => (typeof word === "string" && word !== "" ? [word.slice(0, MAX_WORD)] : []));
}

/** `linux/amd64`, in the words of Docker and OCI, without a variant; undefined if it is unknown. */
export function platformName(os: unknown, architecture: unknown): string | undefined {
  const isWord = (value: unknown): value is string => typeof value === "string" && /^[a-z0-9_]{1,32}$/.test(value);
  return isWord(os) && isWord(architecture) ? `${os}/${architecture}` : undefined;
}

/** Of RFC 3339, in epoch ms. Builds that are to be reproducible have 1970 or the year 1. */
export function parseMoment(value: unknown): number | undefined {
  const at = typeof value === "string" && value.length <= 64 ? Date.parse(value) : Number.NaN;
  return Number.isFinite(at) ? at : undefined;
}
