import type { ResolvedImage } from "./driver.ts";
import { advisedFault } from "./faults.ts";

const LABEL = "[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?";
const REGISTRY = `(?:${LABEL}(?:\\.${LABEL})*|\\[[0-9a-fA-F:]+\\])(?::[0-9]+)?`;
const PART = "[a-z0-9]+(?:(?:\\.|_|__|-+)[a-z0-9]+)*";
const REFERENCE = new RegExp(
  `^(?:(?<registry>${REGISTRY})/)?(?<repository>${PART}(?:/${PART})*)(?::(?<tag>[\\w][\\w.-]{0,127}))?(?:@(?<digest>[a-z0-9]+(?:[.+_-][a-z0-9]+)*:[0-9a-f]{32,}))?$`,
);
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
  const groups = ref.length <= 512 ? (REFERENCE.exec(ref)?.groups as Record<string, string | undefined> | undefined) : undefined;
  if (!groups) throw advisedFault("IMAGE_REFERENCE_INVALID", `"${ref.slice(0, 512)}" is not an image reference.`);
  const { registry, repository = "", tag, digest } = groups;
  // A first component without a dot or a colon is a namespace of the default registry (`datagrok/x`), not a host.
  const explicit = registry !== undefined && (/[.:]/.test(registry) || registry === "localhost");
  if (registry !== undefined && !explicit && !new RegExp(`^${PART}$`).test(registry)) {
    throw advisedFault("IMAGE_REFERENCE_INVALID", `"${ref}" is not an image reference: the name must be in lower case.`);
  }
  return {
    kind: "name",
    registry: explicit ? registry : undefined,
    digest,
    name: registry === undefined ? repository : `${registry}/${repository}`,
    tag: digest ?? tag ?? "latest",
  };
}

/**
 * Exposed TCP ports, the one to use first. That is the port of the first `EXPOSE` in the history, oldest layer first; without one, the lowest port as a
 * guess. The configuration has all ports, but in no order.
 */
export function exposedPorts(configured: string[], createdBy: string[]): Pick<ResolvedImage, "exposed" | "guessed"> {
  const ports = [...new Set(configured.flatMap(tcpPort))].toSorted((a, b) => a - b);
  if (ports.length < 2) return { exposed: ports };
  for (const line of createdBy) {
    const written = /\bEXPOSE\s(.+)/.exec(line)?.[1];
    if (written === undefined) continue;
    const named = [...written.matchAll(/\b(\d{1,5})(?:\/(tcp|udp|sctp))?\b/g)]
      .filter(([, , protocol]) => protocol === undefined || protocol === "tcp")
      .map(([, port]) => Number(port));
    const first = named.find((port) => ports.includes(port));
    if (first === undefined) continue;
    // BuildKit writes several ports of a line as a map, sorted as text: the order is lost.
    const guessed = written.startsWith("map[") && named.length > 1;
    const chosen = guessed ? Math.min(...named.filter((port) => ports.includes(port))) : first;
    return { exposed: [chosen, ...ports.filter((port) => port !== chosen)], ...(guessed ? { guessed } : {}) };
  }
  return { exposed: ports, guessed: true };
}

function tcpPort(written: string): number[] {
  const port = /^(\d{1,5})(?:\/tcp)?$/.exec(written)?.[1];
  return port === undefined ? [] : [Number(port)];
}
