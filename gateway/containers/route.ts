import { CLASS, classesOf, includesIgnoringCase } from "../../lib/character-classes.ts";
import { Fault } from "../../lib/fault.ts";
import type { Caller, ContainerView, Directory } from "../contract.ts";
import type { Head } from "../decision.ts";

/** A call to a container. `path` is the target for the container with its query, byte for byte. */
export type ContainerRoute = { kind: "proxy" | "proxy-ws"; id: string; path: string };

/** `proxy-ws` sends `CONNECTED`; an upgrade on `proxy` is passed through. */
const PREFIXES = { proxy: "/api/docker/containers/proxy/", "proxy-ws": "/api/docker/containers/proxy-ws/" } as const;

const ID_LENGTH = 36;
/** Offsets of the hyphens within an id. */
const HYPHENS: readonly number[] = [8, 13, 18, 23];
const HYPHEN = 45;
const SLASH = 47;
const QUESTION_MARK = 63;
const HASH = 35;

/** The kind of container call of an origin-form target; undefined for every other route. */
export function routeKind(target: string): ContainerRoute["kind"] | undefined {
  if (target.startsWith(PREFIXES.proxy)) return "proxy";
  return target.startsWith(PREFIXES["proxy-ws"]) ? "proxy-ws" : undefined;
}

/** A text of an id's length, and not of a longer one, stands in the id's place. Only a look-up or `parseRoute` shows whether it is an id. */
export function mayHaveId(kind: ContainerRoute["kind"], target: string): boolean {
  const end = PREFIXES[kind].length + ID_LENGTH;
  if (target.length <= end) return target.length === end;
  const code = target.charCodeAt(end);
  return code === SLASH || code === QUESTION_MARK || code === HASH;
}

/** That text as it stands there. */
function idIn(kind: ContainerRoute["kind"], target: string): string {
  const begin = PREFIXES[kind].length;
  return target.slice(begin, begin + ID_LENGTH);
}

/** The cached container of a target that may have an id. Every cached id is valid. */
export function cachedContainer(
  directory: Directory,
  head: Head,
  kind: ContainerRoute["kind"],
  target: string,
  caller: Caller,
): ContainerView | undefined {
  const { spans } = head;
  // The bytes are those of the target in origin form.
  if (spans !== undefined && directory.cachedBytes !== undefined && head.target.charCodeAt(0) === SLASH) {
    const { bytes, start } = spans.targetSpan();
    const begin = start + PREFIXES[kind].length;
    const view = directory.cachedBytes(bytes, begin, begin + ID_LENGTH);
    if (view !== undefined) return view;
  }
  return directory.cached(idIn(kind, target), caller);
}

/** The target for the container, of a target whose id is valid. */
export function pathIn(kind: ContainerRoute["kind"], target: string): string {
  const end = PREFIXES[kind].length + ID_LENGTH;
  return target.charCodeAt(end) === SLASH ? target.slice(end) : `/${target.slice(end)}`;
}

/** Parses an origin-form target of `kind`. Faults: ID_INVALID. */
export function parseRoute(kind: ContainerRoute["kind"], target: string): ContainerRoute {
  const id = idIn(kind, target);
  if (!mayHaveId(kind, target) || !isId(id)) {
    throw new Fault(
      "ID_INVALID",
      "A container id is a UUID: 32 hexadecimal digits in groups of 8-4-4-4-12, e.g. 1b9f4f0c-5c8e-4c53-9a52-3f0b8e0f2d11",
    );
  }
  return { kind, id: id.toLowerCase(), path: pathIn(kind, target) };
}

/** A UUID in any case. */
function isId(text: string): boolean {
  for (let at = 0; at < ID_LENGTH; at++) {
    const code = text.charCodeAt(at);
    if (HYPHENS.includes(at) ? code !== HYPHEN : (classesOf(code) & (CLASS.lowerHex | CLASS.upperHex)) === 0) return false;
  }
  return true;
}

/** Matches probes: requests that neither wake a container nor keep it awake. */
export type ProbeMatcher = (head: Pick<Head, "header">) => boolean;

/** `rules`: `header`, or `header:part of its value`, in any case. */
export function createProbeMatcher(rules: readonly string[]): ProbeMatcher {
  const parsed = rules.map((rule) => {
    const [name = "", ...part] = rule.toLowerCase().split(":");
    return { name: name.trim(), part: part.join(":").trim() };
  });
  return (head) => {
    for (const { name, part } of parsed) {
      const value = head.header(name);
      if (value !== undefined && includesIgnoringCase(value, part)) return true;
    }
    return false;
  };
}
