import type { Fault } from "../../../lib/fault.ts";
import type { Target } from "../../contract.ts";

export type Action = "pull" | "push" | "delete";

/** A repository and what is to be done with it; undefined for `/v2/` (no actions) and `_catalog` (`pull`; a token then needs `registry:catalog:*`). */
export type RepositoryAsk = { repository: string | undefined; actions: readonly Action[] };

/** The registry behind the proxy. */
export type Upstream = {
  target: Target;
  /** Its Host header. */
  host: string;
  /** "" or a path before /v2, without a slash at its end. */
  basePath: string;
  /** Its own name of a repository (Docker Hub: library/). */
  nameOf(repository: string): string;
  /**
   * The Authorization to send; undefined for none. At once where it is known. Faults: UPSTREAM_CREDENTIAL_FAILED (502, says which action or
   * setting is missing; never a secret).
   */
  authorization(ask: RepositoryAsk, signal: AbortSignal): string | undefined | Promise<string | undefined>;
  /** The one that was sent was answered 401 with this WWW-Authenticate: another one to try once, or undefined. */
  refused(ask: RepositoryAsk, challenge: string | undefined, signal: AbortSignal): Promise<string | undefined>;
  /** The registry did what was asked with this Authorization: it is worth handing to programs beside this one. */
  accepted?(authorization: string): void;
  /** Before something is pushed to a repository: ECR makes it where it is missing. Single-flight, remembered. */
  beforePush?(repository: string, signal: AbortSignal): Promise<void>;
  /**
   * The registry answered a push with NAME_UNKNOWN: why the repository could not be made, where that was tried and refused; the fault
   * (REPOSITORY_NOT_MADE) says which right is missing. Until then such a refusal is no failure: the registry may make it by itself.
   */
  whyUnknown?(repository: string): Fault | undefined;
  close(): Promise<void>;
};
