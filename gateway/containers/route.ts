import { Fault } from "../../lib/fault.ts";

/** A call to a container. `path` is what the container sees, query included, byte for byte as the client wrote it. */
export type ContainerRoute = { kind: "proxy" | "proxy-ws"; id: string; path: string };

/** `proxy-ws` is the route that says `CONNECTED`; an upgrade on `proxy` passes through as it is. */
const PREFIXES = [
  ["proxy", "/api/docker/containers/proxy/"],
  ["proxy-ws", "/api/docker/containers/proxy-ws/"],
] as const;

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;
const UUID_LENGTH = 36;
/** What may stand behind an id. */
const ENDS = "/?#";
const AUTHORITY = /^[a-z][a-z0-9+.-]*:\/\/[^/?#]*/i;

/** The request target in origin form: an absolute one (RFC 9112 §3.2.2) loses its scheme and authority, no byte else changes. */
export function originForm(target: string): string {
  if (target.startsWith("/")) return target;
  const rest = target.replace(AUTHORITY, "");
  return rest === "" || rest.startsWith("?") ? `/${rest}` : rest;
}

/** The kind of container call that an origin-form target asks for; undefined for every other route. */
export function routeKind(target: string): ContainerRoute["kind"] | undefined {
  for (const [kind, prefix] of PREFIXES) if (target.startsWith(prefix)) return kind;
  return undefined;
}

/** Reads an origin-form target of `kind`. Faults: ID_INVALID. */
export function readRoute(kind: ContainerRoute["kind"], target: string): ContainerRoute {
  const begin = (kind === "proxy" ? PREFIXES[0][1] : PREFIXES[1][1]).length;
  const end = begin + UUID_LENGTH;
  const id = target.slice(begin, end);
  if (!UUID.test(id) || !(end === target.length || ENDS.includes(target.charAt(end)))) {
    throw new Fault(
      "ID_INVALID",
      "A container id is a UUID: 32 hexadecimal digits in groups of 8-4-4-4-12, e.g. 1b9f4f0c-5c8e-4c53-9a52-3f0b8e0f2d11",
    );
  }
  const path = target.slice(end);
  return { kind, id: id.toLowerCase(), path: path.startsWith("/") ? path : `/${path}` };
}
