import type { CallerReply, ContainerAddress } from "../../gateway/contract.ts";
import { Fault } from "../../lib/fault.ts";
import { requireManage } from "../identity/rights.ts";
import { workerNote } from "../lifecycle/deploy.ts";
import type { Lifecycle } from "../lifecycle/open-lifecycle.ts";
import type { ReplicaStatus } from "../lifecycle/replica-sets.ts";
import type { Container, DevKey, Image, User } from "../model/entities.ts";
import { CONTAINER_WIRE_STATES, IMAGE_WIRE_STATES } from "../model/states.ts";
import { containerKeysOf } from "../packages/publish/container-json.ts";
import { MASK } from "../packages/publish/save-container.ts";
import type { Store } from "../store/open-store.ts";
import type { ContainerEntity } from "./schemas.ts";

/** Entities under the names and in the words that clients know. */

/**
 * How much of long texts an entity holds. In lists each is cut to 4 KiB, since there may be ten thousand of them; `short` leaves them out, with
 * the variables, for clients that show a table.
 */
export type EntityDetail = "whole" | "cut" | "short";

const LONGEST_IN_LISTS = 4_096;
const CUT_MARK = "\n# The rest is left out of lists.\n";

/** A Dockerfile begins with what tells most. */
function beginningOf(text: string, detail: EntityDetail): string {
  if (detail === "short") return "";
  return detail === "whole" || text.length <= LONGEST_IN_LISTS ? text : text.slice(0, LONGEST_IN_LISTS - CUT_MARK.length) + CUT_MARK;
}

/** Logs end with it. */
function endOf(text: string, detail: EntityDetail): string {
  if (detail === "short") return "";
  return detail === "whole" || text.length <= LONGEST_IN_LISTS ? text : text.slice(-LONGEST_IN_LISTS);
}

/** `inside` is false for a caller who may not manage its package: its warnings and its validation log are left out. `note`: what holds for all. */
export function imageToJson(image: Image, inside: boolean, detail: EntityDetail = "whole", note?: string) {
  const logs = inside ? image.warnings.map((warning) => `warning: ${warning}\n`).join("") + image.logs : "";
  return {
    "#type": "DockerImage",
    id: image.id,
    name: image.name,
    friendlyName: image.friendlyName,
    description: image.description,
    dockerfile: beginningOf(image.dockerfile, detail),
    status: IMAGE_WIRE_STATES[image.state],
    dockerName: image.name,
    version: image.version,
    dockerfilePath: image.dockerfilePath,
    logs: endOf(withNote(logs, note), detail),
    imageRef: image.ref,
    createdOn: isoDate(image.createdOn),
    updatedOn: isoDate(image.updatedOn),
  };
}

/** Entities of containers, in which a TCP listener of berth's is the address: servers fill connections from it, on behalf of all users. */
export type ContainerToJson = (live: LiveContainer, inside: boolean, detail?: EntityDetail) => ContainerEntity;

/**
 * `inside` is false for a caller who may not manage the container: logs and addresses are left out, values of variables are masked.
 * Its own address would be a way to it past berth, for everything on its network, as other containers are.
 */
export function createContainerToJson({
  listenerOf,
  startNote,
  replicasOf,
  disabled,
}: Pick<Lifecycle, "listenerOf" | "startNote" | "replicasOf" | "disabled">): ContainerToJson {
  return ({ container, image }, inside, detail = "whole") => {
    const replicas = replicasOf(container.id);
    const note =
      container.state === "STARTED"
        ? (workerNote({ row: container, image }) ?? container.deployed?.warning ?? replicasNote(replicas))
        : (startNote(container.id) ?? replicasNote(replicas));
    const shown = replicas && replicasToJson(replicas, { each: inside && detail === "whole" });
    const entity = containerToJson(container, image, inside, detail, { listener: listenerOf(container), note, replicas: shown });
    if (disabled === undefined) return entity;
    // One that ran is out of reach, and nothing starts or stops it.
    const status = entity.status.startsWith("stopped") ? entity.status : CONTAINER_WIRE_STATES.ERROR;
    const dockerfile = imageToJson(image, inside, detail, disabled.message);
    return { ...entity, dockerfile, status, lastLogs: endOf(withNote(entity.lastLogs, disabled.message), detail) };
  };
}

/** Only where there is more than the container itself. */
function replicasNote(replicas: ReplicaStatus | undefined): string | undefined {
  if (replicas === undefined || Math.max(replicas.ready, replicas.wanted) < 2) return undefined;
  return `${replicas.ready} of ${replicas.wanted} replicas ready`;
}

export function replicasToJson({ each, ...status }: ReplicaStatus, wanted: { each: boolean }): NonNullable<ContainerEntity["replicas"]> {
  if (!wanted.each) return status;
  const toJson = ({ replica, state, desiredInstances, fault }: (typeof each)[number]) => ({
    replica,
    status: CONTAINER_WIRE_STATES[state],
    desiredInstances,
    cause: fault ?? null,
  });
  return { ...status, each: each.map(toJson) };
}

/** At the end, which lists keep. */
function withNote(logs: string, note: string | undefined): string {
  return note === undefined ? logs : `${logs}${logs === "" || logs.endsWith("\n") ? "" : "\n"}${note}\n`;
}

function containerToJson(
  container: Container,
  image: Image,
  inside: boolean,
  detail: EntityDetail,
  { listener, note, replicas }: { listener: ContainerAddress | undefined; note: string | undefined; replicas: ContainerEntity["replicas"] },
): ContainerEntity {
  const { host = null, port = container.config.port ?? null } = container.addresses[0] ?? {};
  const own = inside ? { address: host, port } : { address: null, port: null };
  return {
    "#type": "DockerContainer",
    id: container.id,
    name: container.name,
    friendlyName: container.friendlyName,
    dockerfile: imageToJson(image, inside, detail),
    dockerImage: image.ref,
    serviceName: inside ? container.service : "",
    status: CONTAINER_WIRE_STATES[container.state],
    note: note ?? null,
    desiredInstances: container.desiredInstances,
    ...(replicas === undefined ? {} : { replicas }),
    ...(listener === undefined ? own : { address: listener.host, port: listener.port }),
    lastLogs: inside ? endOf(container.lastLogs, detail) : "",
    lastActive: container.lastActive === 0 ? null : isoDate(container.lastActive),
    environmentVars: detail === "short" ? {} : inside ? container.env : Object.fromEntries(Object.keys(container.env).map((name) => [name, MASK])),
    config: containerKeysOf(container.config),
    createdOn: isoDate(container.createdOn),
    updatedOn: isoDate(container.updatedOn),
  };
}

export function userToJson(user: User) {
  return {
    "#type": "User",
    id: user.id,
    login: user.login,
    firstName: user.friendlyName,
    lastName: "",
    friendlyName: user.friendlyName,
    admin: user.admin,
    createdOn: isoDate(user.createdOn),
  };
}

/** Without the key itself. */
export function keyToJson({ id, label, createdOn, lastUsedOn, fromSetting }: Omit<DevKey, "digest" | "userId">) {
  return { id, label, createdOn: isoDate(createdOn), lastUsedOn: lastUsedOn === undefined ? null : isoDate(lastUsedOn), fromSetting };
}

export function isoDate(epochMs: number): string {
  return new Date(epochMs).toISOString();
}

/** A container and its image. Clients no longer see a container whose folder its package has lost, even while its row exists. */
export type LiveContainer = { container: Container; image: Image };

export async function findLiveContainer(store: Store, id: string): Promise<LiveContainer | undefined> {
  const container = await store.containers.find(id);
  const image = container && (await store.images.find(container.imageId));
  return container && container.replicaOf === undefined && image && image.state !== "DELETED" ? { container, image } : undefined;
}

/** In the order of the ids. */
export async function findLiveContainers(store: Store, ids: readonly string[]): Promise<LiveContainer[]> {
  const containers = await store.containers.some(ids);
  const images = new Map((await store.images.some([...new Set(containers.map(({ imageId }) => imageId))])).map((image) => [image.id, image]));
  return containers.flatMap((container) => {
    const image = images.get(container.imageId);
    return image && image.state !== "DELETED" && container.replicaOf === undefined ? [{ container, image }] : [];
  });
}

/** The container of a path, for a caller who may manage it. Faults: ID_INVALID, CONTAINER_NOT_FOUND, NOT_PERMITTED. */
export async function requireContainer(store: Store, caller: Pick<CallerReply, "userId" | "admin">, id: string): Promise<Container> {
  const container = await store.containers.find(parseUuid(id));
  if (!container || container.replicaOf !== undefined) throw new Fault("CONTAINER_NOT_FOUND", `There is no container ${id}.`);
  await requireManage(store, caller, container.packageId);
  return container;
}

/** One of a container's replicas: 1 is the container itself. Faults: REQUEST_INVALID. */
export async function findReplica({ containers }: Pick<Store, "containers">, container: Container, replica = 1): Promise<Container> {
  if (replica === 1) return container;
  const others = await containers.replicasOf(container.id);
  const chosen = others.find((one) => one.replica === replica);
  if (chosen !== undefined) return chosen;
  const numbers = [1, ...others.map((one) => one.replica)].join(", ");
  throw new Fault("REQUEST_INVALID", `${container.name} has no replica ${replica}. It has ${numbers}.`);
}

/** The image of a path. Faults: ID_INVALID, IMAGE_ENTITY_NOT_FOUND. */
export async function requireImage(store: Store, id: string): Promise<Image> {
  const image = await store.images.find(parseUuid(id));
  if (!image) throw new Fault("IMAGE_ENTITY_NOT_FOUND", `There is no image ${id}.`);
  return image;
}

const UUID = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

/** In lower case, as the store has it. Faults: ID_INVALID. */
export function parseUuid(text: string): string {
  if (!UUID.test(text)) throw new Fault("ID_INVALID", `${JSON.stringify(text.slice(0, 100))} is not a UUID.`);
  return text.toLowerCase();
}
