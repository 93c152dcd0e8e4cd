import { Fault } from "../../fault.ts";

/** A call to a container. `path` is what the container sees, query included, byte for byte as the client wrote it. */
export type ContainerRoute = { kind: "proxy" | "proxy-ws"; id: string; path: string };

/** `proxy-ws` is the route that says `CONNECTED`; an upgrade on `proxy` passes through as it is. */
const PREFIXES = [
  ["proxy", "/api/docker/containers/proxy/"],
  ["proxy-ws", "/api/docker/containers/proxy-ws/"],
] as const;

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;
const AUTHORITY = /^[a-z][a-z0-9+.-]*:\/\/[^/?#]*/i;

/** The request target in origin form: an absolute one (RFC 9112 §3.2.2) loses its scheme and authority, no byte else changes. */
export function originForm(target: string): string {
  const rest = target.replace(AUTHORITY, "");
  return rest === "" || rest.startsWith("?") ? `/${rest}` : rest;
}

/** The kind of container call that an origin-form target asks for; undefined for every other route. */
export function routeKind(target: string): ContainerRoute["kind"] | undefined {
  return PREFIXES.find(([, prefix]) => target.startsWith(prefix))?.[0];
}

/** Reads an origin-form target of `kind`. Faults: ID_INVALID. */
export function readRoute(kind: ContainerRoute["kind"], target: string): ContainerRoute {
  const prefix = kind === "proxy" ? PREFIXES[0][1] : PREFIXES[1][1];
  const afterPrefix = target.slice(prefix.length);
  const end = afterPrefix.search(/[/?#]/);
  const id = end === -1 ? afterPrefix : afterPrefix.slice(0, end);
  const path = end === -1 ? "" : afterPrefix.slice(end);
  if (!UUID.test(id)) {
    throw new Fault(
      "ID_INVALID",
      "A container id is a UUID: 32 hexadecimal digits in groups of 8-4-4-4-12, e.g. 1b9f4f0c-5c8e-4c53-9a52-3f0b8e0f2d11",
    );
  }
  return { kind, id: id.toLowerCase(), path: path.startsWith("/") ? path : `/${path}` };
}
