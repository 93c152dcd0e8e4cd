import type { V1PodSecurityContext, V1SecurityContext } from "@kubernetes/client-node";
import type { Clock } from "../../lib/clock.ts";
import { Fault } from "../../lib/fault.ts";
import type { Log } from "../../lib/log.ts";
import { Refusal } from "./faults.ts";

/** `default`: the runtime's set without NET_RAW. `none`: only ports below 1024. */
export const CAPABILITIES = ["default", "none"] as const;

/**
 * What containers may do. Images of databases change their user and the owner of files when they start, for which they need capabilities of the runtime's
 * default set. `restricted`: as the pod security standard of this name demands. https://kubernetes.io/docs/concepts/security/pod-security-standards/
 */
export type PodSecurity = (typeof CAPABILITIES)[number] | "restricted";

type SecurityContexts = { pod: V1PodSecurityContext; container: V1SecurityContext };

/** Only `restricted` has `runAsNonRoot`, because most images run as root. */
export function securityContexts(security: PodSecurity): SecurityContexts {
  // With raw sockets a container answers ARP for its neighbours, and reads what gateways send them, tokens included.
  const capabilities = security === "default" ? { drop: ["NET_RAW"] } : { drop: ["ALL"], add: ["NET_BIND_SERVICE"] };
  return {
    pod: { seccompProfile: { type: "RuntimeDefault" }, ...(security === "restricted" ? { runAsNonRoot: true } : {}) },
    container: { allowPrivilegeEscalation: false, capabilities },
  };
}

/** The security of the next pod. A namespace that enforces `restricted` is known by its refusal of a pod. */
export type NamespaceSecurity = {
  current(): PodSecurity;
  /** Remembers a refusal of a pod that had this security. False if another one does not help. */
  noteRefusal(error: unknown, had: PodSecurity, service: string): boolean;
};

/** A user may have relaxed the namespace since. */
const RESTRICTED_MS = 10 * 60_000;

export function createNamespaceSecurity(configured: (typeof CAPABILITIES)[number], clock: Clock, log: Log): NamespaceSecurity {
  let restrictedUntil = -Infinity;
  const current = () => (clock.monotonic() < restrictedUntil ? "restricted" : configured);
  return {
    current,
    noteRefusal: (error, had, service) => {
      if (had === "restricted" || !isRestricted(error)) return false;
      restrictedUntil = clock.monotonic() + RESTRICTED_MS;
      log.warn(
        { service, err: error },
        "namespace enforces the pod security standard restricted: containers run without capabilities, and not as root",
      );
      return true;
    },
  };
}

/** For the package's author. */
export const RESTRICTED_WARNING =
  "The namespace enforces the pod security standard restricted: the container has no capabilities and may not run as root.";

function isRestricted(error: unknown): boolean {
  return error instanceof Fault && error.cause instanceof Refusal && /violates PodSecurity "restricted:/.test(error.cause.message);
}

/** The kubelet's reason for an image that runs as root where it may not. */
export function isRootRefused(reason: string): boolean {
  return /runAsNonRoot/.test(reason);
}
