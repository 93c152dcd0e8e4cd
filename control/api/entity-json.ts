import { CONTAINER_WIRE_STATES, IMAGE_WIRE_STATES } from "../model/states.ts";
import { containerKeysOf } from "../packages/publish/container-json.ts";
import { MASK } from "../packages/publish/save-container.ts";
import type { Container, Image, User } from "../model/entities.ts";

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

/** `inside` is false for a caller who may not manage its package: its warnings and its validation log are left out. */
export function imageToJson(image: Image, inside: boolean, detail: EntityDetail = "whole") {
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
    logs: inside ? endOf(image.warnings.map((warning) => `warning: ${warning}\n`).join("") + image.logs, detail) : "",
    imageRef: image.ref,
    createdOn: isoDate(image.createdOn),
    updatedOn: isoDate(image.updatedOn),
  };
}

/**
 * `inside` is false for a caller who may not manage the container: logs and addresses are left out, values of variables are masked.
 * Its address would be a way to it past berth, for everything on its network, as other containers are.
 */
export function containerToJson(container: Container, image: Image, inside: boolean, detail: EntityDetail = "whole") {
  return {
    "#type": "DockerContainer",
    id: container.id,
    name: container.name,
    friendlyName: container.friendlyName,
    dockerfile: imageToJson(image, inside, detail),
    dockerImage: image.ref,
    serviceName: inside ? container.service : "",
    status: CONTAINER_WIRE_STATES[container.state],
    desiredInstances: container.desiredInstances,
    address: inside ? (container.address?.host ?? null) : null,
    port: inside ? (container.address?.port ?? container.config.port ?? null) : null,
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

export function isoDate(epochMs: number): string {
  return new Date(epochMs).toISOString();
}
