import type { Container, Image, Package, User } from "../model/entities.ts";
import { CONTAINER_WIRE_STATES, type ContainerState, IMAGE_WIRE_STATES, type ImageState } from "../model/states.ts";
import type { EventType } from "../model/webhooks.ts";
import { causeOf } from "./history.ts";
import type { Store } from "./open-store.ts";

// What webhooks report of each change. No payload has environment variables, credentials or log lines.

type EventStore = Pick<Store, "webhooks">;

const CONTAINER_EVENTS: Record<ContainerState, EventType> = {
  PENDING_START: "container.starting",
  STARTING: "container.starting",
  STARTED: "container.started",
  CHECKING: "container.checking",
  PENDING_USER_STOP: "container.stopping",
  PENDING_SYSTEM_STOP: "container.stopping",
  STOPPING: "container.stopping",
  USER_STOPPED: "container.stopped",
  SYSTEM_STOPPED: "container.stopped",
  ERROR: "container.failed",
};

const IMAGE_EVENTS: Partial<Record<ImageState, EventType>> = { READY: "image.ready", ERROR: "image.failed" };

/** Call it in the transaction of the move; the same for the others. */
export async function recordContainerMove({ webhooks }: EventStore, from: ContainerState, moved: Container, at: number): Promise<void> {
  const { id, name, packageId, state, fault, replicaOf } = moved;
  // Its container is what users know.
  if (replicaOf !== undefined) return;
  await webhooks.record({
    type: CONTAINER_EVENTS[state],
    subject: `containers/${id}`,
    at,
    packageId,
    data: (packageName) => ({
      container: { id, name, package: packageName },
      state: CONTAINER_WIRE_STATES[state],
      previousState: CONTAINER_WIRE_STATES[from],
      ...(state === "ERROR" && fault ? { cause: causeOf(fault) } : {}),
    }),
  });
}

export async function recordContainerRemoval({ webhooks }: EventStore, { id, name, packageId, replicaOf }: Container, at: number): Promise<void> {
  if (replicaOf !== undefined) return;
  await webhooks.record({
    type: "container.removed",
    subject: `containers/${id}`,
    at,
    packageId,
    data: (packageName) => ({ container: { id, name, package: packageName } }),
  });
}

export async function recordImageMove({ webhooks }: EventStore, { id, name, ref, packageId, state, fault }: Image, at: number): Promise<void> {
  const type = IMAGE_EVENTS[state];
  if (type === undefined) return;
  await webhooks.record({
    type,
    subject: `images/${id}`,
    at,
    packageId,
    data: (packageName) => ({
      image: { id, name, reference: ref, package: packageName },
      state: IMAGE_WIRE_STATES[state],
      ...(state === "ERROR" && fault ? { cause: causeOf(fault) } : {}),
    }),
  });
}

/** `change`: what was done to the package; `restores` is the number of the version that was published again. */
export async function recordPackageChange(
  { webhooks, users }: EventStore & Pick<Store, "users">,
  owner: Package,
  change: { by: Pick<User, "id">; containers: readonly string[]; restores: number | undefined; isUnpublished: boolean; at: number },
): Promise<void> {
  const { by, containers, restores, isUnpublished, at } = change;
  await webhooks.record({
    type: isUnpublished ? "package.unpublished" : restores === undefined ? "package.published" : "package.rolledback",
    subject: `packages/${owner.id}`,
    at,
    packageId: owner.id,
    data: async () => ({
      package: { id: owner.id, name: owner.name, version: owner.version },
      user: (await users.find(by.id))?.login,
      ...(isUnpublished ? {} : { containers: containers.slice(0, MOST_NAMES) }),
      ...(restores === undefined ? {} : { restores }),
    }),
  });
}

/** Of a payload. */
const MOST_NAMES = 100;

/** An image that the registry stored before this process knew of it. */
export async function recordPush(
  { webhooks, transaction }: EventStore & Pick<Store, "transaction">,
  push: { repository: string; reference: string; by: string | undefined; packageId: string | undefined; at: number },
): Promise<void> {
  const { repository, reference, by, packageId, at } = push;
  const isDigest = reference.includes(":");
  await transaction(() =>
    webhooks.record({
      type: "image.pushed",
      subject: `repositories/${repository}`,
      at,
      packageId,
      data: (packageName) => ({ repository, [isDigest ? "digest" : "tag"]: reference, user: by, package: packageName }),
    }),
  );
}
