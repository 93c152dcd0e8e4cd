import { CONTAINER_WIRE_STATES } from "../lifecycle/container-states.ts";
import { IMAGE_WIRE_STATES } from "../lifecycle/image-states.ts";
import { containerKeysOf } from "../publish/container-json.ts";
import { MASK } from "../publish/save-container.ts";
import type { Container, Image, User } from "../store/entities.ts";

/** Entities under the names and in the words that clients know. */

export function imageOnWire(image: Image) {
  return {
    "#type": "DockerImage",
    id: image.id,
    name: image.name,
    friendlyName: image.friendlyName,
    description: image.description,
    dockerfile: image.dockerfile,
    status: IMAGE_WIRE_STATES[image.state],
    dockerName: image.name,
    version: image.version,
    dockerfilePath: image.dockerfilePath,
    logs: image.warnings.map((warning) => `warning: ${warning}\n`).join("") + image.logs,
    imageRef: image.ref,
    createdOn: dateOf(image.createdOn),
    updatedOn: dateOf(image.updatedOn),
  };
}

/**
 * `inside` is false for a caller who may not manage the container: logs are left out, values of variables masked, and where it runs is not told.
 * Its address would be a way to it past berth, for whoever is on its network, as other containers are.
 */
export function containerOnWire(container: Container, image: Image, inside: boolean) {
  return {
    "#type": "DockerContainer",
    id: container.id,
    name: container.name,
    friendlyName: container.friendlyName,
    dockerfile: imageOnWire(image),
    dockerImage: image.ref,
    serviceName: inside ? container.service : "",
    status: CONTAINER_WIRE_STATES[container.state],
    desiredInstances: container.desiredInstances,
    address: inside ? (container.address?.host ?? null) : null,
    port: inside ? (container.address?.port ?? container.config.port ?? null) : null,
    lastLogs: inside ? container.lastLogs : "",
    lastActive: container.lastActive === 0 ? null : dateOf(container.lastActive),
    environmentVars: inside ? container.env : Object.fromEntries(Object.keys(container.env).map((name) => [name, MASK])),
    config: containerKeysOf(container.config),
    createdOn: dateOf(container.createdOn),
    updatedOn: dateOf(container.updatedOn),
  };
}

export function userOnWire(user: User) {
  return {
    "#type": "User",
    id: user.id,
    login: user.login,
    firstName: user.friendlyName,
    lastName: "",
    friendlyName: user.friendlyName,
    admin: user.admin,
    createdOn: dateOf(user.createdOn),
  };
}

export function dateOf(epochMs: number): string {
  return new Date(epochMs).toISOString();
}
