import { suggestion } from "../../conf/suggestion.ts";
import { Fault } from "../../lib/fault.ts";
import type { ServerClient } from "./server-client.ts";

const KINDS = {
  containers: { one: "container", missing: "CONTAINER_NOT_FOUND" },
  images: { one: "image", missing: "IMAGE_ENTITY_NOT_FOUND" },
} as const;

export type EntityByKind = { containers: ContainerOnWire; images: ImageOnWire };
export type EntityKind = keyof typeof KINDS;

/** The shortest accepted beginning of an id. */
const ID_START = /^[0-9a-f]{8}(-|$)/i;

/** Candidates in a message. */
const MAX_LISTED = 8;

/** `text` is a part of a name, or comparisons; the API requires it encoded twice. */
export async function listEntities<K extends EntityKind>(server: Pick<ServerClient, "call">, kind: K, text = ""): Promise<EntityByKind[K][]> {
  const query = text === "" ? "" : `?text=${encodeURIComponent(encodeURIComponent(text))}`;
  return (await server.call<EntityByKind[K][] | null>("GET", `/docker/${kind}${query}`)) ?? [];
}

/** The entity with this name or id, or the only one whose name or id begins with it. Faults: CONTAINER_NOT_FOUND, IMAGE_ENTITY_NOT_FOUND, SETTINGS_INVALID for several. */
export async function findByName<K extends EntityKind>(server: Pick<ServerClient, "call">, kind: K, word: string): Promise<EntityByKind[K]> {
  // A name in the form of an id could match another entity's id.
  const exact = word.includes('"') || ID_START.test(word) ? [] : await listEntities(server, kind, `name = "${word}"`);
  return pickByName(kind, exact.length === 1 ? exact : await listEntities(server, kind), word);
}

/** Selects from a list. */
export function pickByName<K extends EntityKind>(kind: K, all: readonly EntityByKind[K][], word: string): EntityByKind[K] {
  const { one, missing } = KINDS[kind];
  const low = word.toLowerCase();
  const matches =
    [
      all.filter(({ id }) => id.toLowerCase() === low),
      all.filter(({ id, name }) => name === word || (ID_START.test(word) && id.toLowerCase().startsWith(low))),
      all.filter(({ id, name }) => name.toLowerCase().startsWith(low) || id.toLowerCase().startsWith(low)),
    ].find((some) => some.length > 0) ?? [];
  const [only] = matches;
  if (only && matches.length === 1) return only;
  const names = all.map(({ name }) => name);
  if (!only) throw new Fault(missing, `There is no ${one} ${JSON.stringify(word)}${suggestion(word, names)}.`);
  const listed = matches.slice(0, MAX_LISTED).map(({ name, id }) => (names.filter((other) => other === name).length > 1 ? `${name} (${id})` : name));
  const more = matches.length > listed.length ? ` and ${matches.length - listed.length} more` : "";
  throw new Fault("SETTINGS_INVALID", `${JSON.stringify(word)} may be any of ${matches.length} ${kind}: ${listed.join(", ")}${more}.`);
}

/** The fields that berth reads. A Datagrok server may omit some. */
export type ImageOnWire = {
  id: string;
  name: string;
  status: string;
  version?: string | null;
  imageRef?: string | null;
  logs?: string | null;
  updatedOn?: string | null;
};

export type ContainerOnWire = {
  id: string;
  name: string;
  friendlyName?: string | null;
  status: string;
  note?: string | null;
  dockerImage?: string | null;
  dockerfile?: ImageOnWire | null;
  serviceName?: string | null;
  desiredInstances?: number | null;
  address?: string | null;
  port?: number | null;
  lastActive?: string | null;
  lastLogs?: string | null;
  updatedOn?: string | null;
  config?: { on_demand?: boolean; shutdown_timeout?: number; cpu?: number; memory?: number } | null;
};

/** A transition of a container or an image. */
export type MoveOnWire = {
  time: string;
  from: string;
  to: string;
  event: string;
  by: string;
  login?: string | null;
  cause: { code: string; message: string } | null;
};
