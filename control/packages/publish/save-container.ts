import { randomUUID } from "node:crypto";
import { isDeepStrictEqual } from "node:util";
import { Fault } from "../../../lib/fault.ts";
import type { Container, ContainerConfig, Image } from "../../model/entities.ts";
import type { Store } from "../../store/open-store.ts";
import { containerKeysOf, readContainerKeys } from "./container-json.ts";
import { newContainer } from "./new-container.ts";
import { followerFolder } from "./record-package.ts";
import { requireFreeName } from "./require-free-names.ts";
import type { Told } from "./told.ts";

/** What stands in place of a value that is not shown. Sent back, it means the value that is there already. */
export const MASK = "***";

/** What a client may say of a container; what it leaves out stays. */
export type SavedContainer = {
  name?: string | undefined;
  friendlyName?: string | undefined;
  /** As in `container.json`, but for image and variables. */
  config?: Record<string, unknown> | undefined;
  /** All of them: one that is left out here is taken away. */
  environmentVars?: Record<string, unknown> | undefined;
};

export type Saving = SavedContainer & ({ known: Container } | { image: Image; id: string | undefined });

const NAME = /^[A-Za-z0-9][\w.-]{0,199}$/;
const LONGEST_FRIENDLY_NAME = 200;

/** A changed definition replaces what runs, as publishing does; the next publish of its folder has the last word. */
export async function saveContainer(rooms: { store: Store; lifecycle: Told; environment: string; now: number }, asked: Saving): Promise<Container> {
  const { store, lifecycle } = rooms;
  const saved = await store.transaction(() => ("known" in asked ? change(rooms, asked.known.id, asked) : make(rooms, asked.image, asked.id, asked)));
  await lifecycle.definitionChanged(saved.id);
  return saved;
}

async function change({ store, now }: { store: Store; now: number }, id: string, asked: SavedContainer): Promise<Container> {
  // As it is now: another definition may have come since the caller looked.
  const known = await store.containers.find(id);
  if (!known) throw new Fault("CONTAINER_NOT_FOUND", `There is no container ${id}.`);
  const said = { ...(await readNames(store, asked, known, known.packageId)), ...readDefinition(asked, known) };
  const changed = !isDeepStrictEqual([known.config, known.env], [said.config, said.env]);
  const fresh = changed ? { generation: known.generation + 1, attempts: 0, notBefore: 0 } : {};
  return (await store.containers.update(known.id, { ...said, ...fresh, updatedOn: now })) ?? known;
}

async function make(
  rooms: { store: Store; environment: string; now: number },
  image: Image,
  given: string | undefined,
  asked: SavedContainer,
): Promise<Container> {
  const { name, friendlyName } = await readNames(rooms.store, asked, undefined, image.packageId);
  if (name === undefined) throw new Fault("REQUEST_INVALID", "A new container needs a name.");
  const { config, env } = readDefinition(asked, undefined);
  // Its id is that of a package's container, or one that others may still call: neither is for somebody else to take.
  if (given !== undefined && (await rooms.store.tombstones.find(given)))
    throw new Fault("REQUEST_INVALID", `The container ${given} was removed: leave out its id to make another, or publish its package again.`);
  if (given !== undefined && (await rooms.store.containers.find(given))) throw new Fault("REQUEST_INVALID", `There is a container ${given} already.`);
  // As it is now: a publish may have removed it since the caller looked.
  const current = await rooms.store.images.find(image.id);
  if (!current || current.state === "DELETED") throw new Fault("IMAGE_ENTITY_NOT_FOUND", `There is no image ${image.id}.`);
  const id = given ?? randomUUID();
  return rooms.store.containers.insert({
    ...newContainer(rooms.environment, id, name, config, rooms.now),
    packageId: image.packageId,
    imageId: image.id,
    folder: followerFolder(image, id),
    name,
    friendlyName: friendlyName ?? name,
    config,
    env,
    updatedOn: rooms.now,
  });
}

/** Plugins find containers by name, so no two may share one. */
async function readNames(store: Store, { name, friendlyName }: SavedContainer, known: Container | undefined, packageId: string) {
  if (name !== undefined && name !== known?.name) {
    if (!NAME.test(name)) throw new Fault("REQUEST_INVALID", `${JSON.stringify(name.slice(0, 100))} is no name: letters, digits, _ . and - only.`);
    const where = [{ columns: ["name"], holds: "is", value: name }] as const;
    if ((await store.containers.ids({ where })).some((id) => id !== known?.id))
      throw new Fault("REQUEST_INVALID", `There is a container ${name} already.`);
  }
  if (friendlyName !== undefined && friendlyName.length > LONGEST_FRIENDLY_NAME) {
    throw new Fault("REQUEST_INVALID", `A friendly name has at most ${LONGEST_FRIENDLY_NAME} characters.`);
  }
  const changed = [name, friendlyName].filter((one) => one !== undefined && one !== known?.name && one !== known?.friendlyName);
  for (const one of changed) await requireFreeName(store, packageId, one ?? "");
  return { ...(name === undefined ? {} : { name }), ...(friendlyName === undefined ? {} : { friendlyName }) };
}

function readDefinition(asked: SavedContainer, known: Container | undefined): { config: ContainerConfig; env: Record<string, string> } {
  const variables = asked.environmentVars ?? known?.env ?? {};
  const unmasked = Object.entries(variables).map(([name, value]) => [name, value === MASK ? (known?.env[name] ?? value) : value]);
  const json = { ...(known ? containerKeysOf(known.config) : {}), ...asked.config, environmentVars: Object.fromEntries(unmasked) };
  try {
    const read = readContainerKeys(json, "config");
    const [unknown] = read.warnings;
    if (unknown !== undefined) throw new Fault("REQUEST_INVALID", unknown);
    if (read.image !== undefined) throw new Fault("REQUEST_INVALID", "A container's image is its `dockerfile`, not a part of its configuration.");
    return { config: read.config, env: read.env };
  } catch (error) {
    if (error instanceof Fault && error.code === "PACKAGE_INVALID") throw new Fault("REQUEST_INVALID", error.message, { cause: error });
    throw error;
  }
}
