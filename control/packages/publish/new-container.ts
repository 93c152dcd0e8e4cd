import type { Container, ContainerConfig } from "../../model/entities.ts";
import { serviceName } from "../../model/names.ts";
import { hash } from "node:crypto";

/** A container that no user has started yet: an on-demand one sleeps, any other waits for a user's start. */
export function newContainer(environment: string, id: string, name: string, config: ContainerConfig, now: number) {
  return {
    id,
    service: serviceName(environment, name, id),
    generation: 1,
    desiredInstances: 0,
    requestedBy: undefined,
    requestedKey: undefined,
    requestedSession: undefined,
    requestedOn: 0,
    requestedFor: undefined,
    stopFor: config.onDemand ? "system" : "user",
    state: config.onDemand ? "SYSTEM_STOPPED" : "USER_STOPPED",
    since: now,
    fault: undefined,
    runningGeneration: undefined,
    deployed: undefined,
    adopted: undefined,
    addresses: [],
    tcpPort: undefined,
    phases: undefined,
    pausedOn: undefined,
    busyUntil: 0,
    attempts: 0,
    notBefore: 0,
    lastLogs: "",
    lastActive: 0,
    createdOn: now,
  } as const satisfies Partial<Container>;
}

/**
 * A container's id follows from its image's, whose row stays when its folder leaves the package: a folder that comes back has its container
 * under the id that plugins may have kept. A UUID of version 8, which is what RFC 9562 calls one made in a way of one's own.
 */
export function containerIdOf(imageId: string): string {
  const bytes = hash("sha256", `container of ${imageId}`, "buffer").subarray(0, 16);
  bytes.writeUInt8((bytes.readUInt8(6) & 0x0f) | 0x80, 6);
  bytes.writeUInt8((bytes.readUInt8(8) & 0x3f) | 0x80, 8);
  return bytes.toString("hex").replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}
