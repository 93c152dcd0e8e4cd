import type { FaultData } from "../../lib/fault.ts";
import type { DriverTimes } from "../../lib/start-phases.ts";
import type { Container, StartReason } from "./entities.ts";
import type { ContainerState, ImageState } from "./states.ts";

/** What the store keeps beside the entities that users see. Times are epoch milliseconds throughout. */

/** One action of a user. */
export type AuditEntry = {
  /** Counts on; a later entry has a larger one. */
  seq: number;
  at: number;
  action: string;
  /** What the action changed: a container's name and id, a login, a package, an image. */
  target: string | undefined;
  userId: string | undefined;
  /** As it was then: the user may be gone. */
  login: string | undefined;
  /** The credential of the request: `devKey`, or the place of the session's token. */
  via: string | undefined;
  /** The client's address, as the edge saw it. */
  address: string | undefined;
  requestId: string | undefined;
  /** Of the response; undefined: the client left before it. */
  status: number | undefined;
};

/** A fault without its log lines: the history would hold two hundred copies of them. */
export type FaultCause = Pick<FaultData, "code" | "message">;

/** One move of a container or an image from one state to the next. */
export type HistoryEntry = {
  /** The id of the container or image. */
  entity: string;
  at: number;
  fromState: string;
  toState: string;
  event: string;
  /** Why, where the move was a failure; its log lines are kept elsewhere. */
  cause: FaultCause | undefined;
  /** The user who requested it; undefined: the system found it necessary. */
  byUser: string | undefined;
};

/** One start of a container, from the request to its outcome. */
export type Wake = {
  container: string;
  requestedAt: number;
  /** Undefined for starts of older versions, which did not store it. */
  startReason: StartReason | undefined;
  /** The user who requested it, where one did. */
  byUser: string | undefined;
  /** When the driver was called; undefined: not yet, or never. */
  begunOn: number | undefined;
  /** Undefined: in progress. */
  endedOn: number | undefined;
  /** The event that ended it. */
  outcome: string | undefined;
  /** Of a start that succeeded, as the driver measured them. */
  phases: Container["phases"];
  /** Of one that ended otherwise: the phases that it had until then. */
  reached: Partial<DriverTimes> | undefined;
  /** How long the first gateway took to connect, in milliseconds; undefined: none has connected. */
  connectMs: number | undefined;
  fault: FaultCause | undefined;
};

/** An entity from a package's `connections/`, without its credentials, which are stored sealed in their own table. */
export type Connection = {
  id: string;
  packageId: string;
  /** Its name as templates and addresses are compared with it: the same for every spelling. */
  key: string;
  name: string;
  entity: Record<string, unknown>;
};

/** A stored secret: `box` is encrypted with the key that `keyId` names. */
export type Sealed = { keyId: string; box: string };

/** One sealed value. */
export type SealedCredential = Sealed & {
  id: string;
  packageId: string;
  /** The key of the connection that it belongs to; empty for the package itself. */
  entity: string;
  name: string;
  /** `package`: it stood in the package's own files. `set`: a user set it, and no publish changes it. */
  origin: "package" | "set";
  updatedOn: number;
};

/** A pair of keys that tokens are signed with; the private part is sealed. */
export type SigningKey = Sealed & {
  /** The RFC 7638 thumbprint of the public part. */
  kid: string;
  /** The public part as a JWK. */
  publicKey: { kty: "RSA"; n: string; e: string };
  createdOn: number;
  /** When it stopped signing; undefined: it signs. */
  retiredOn: number | undefined;
};

/** One publish of a package, or a return to an earlier one. */
export type PackageVersion = {
  id: string;
  packageId: string;
  /** Counts the versions of one package from 1. */
  number: number;
  /** Of its package.json. */
  version: string;
  publishedOn: number;
  /** Undefined for versions of older berths. */
  byUser: string | undefined;
  /** The number of the version that this one repeats. */
  restores: number | undefined;
  /** Undefined: it is the current one. */
  replacedOn: number | undefined;
};

/** One folder of a version, as its image and its container were when a newer version replaced it. */
export type VersionFolder = {
  versionId: string;
  folder: string;
  container: string;
  image: string;
  ref: string;
  digest: string | undefined;
  resolvedId: string | undefined;
  mutable: boolean;
  contentHash: string | undefined;
  dockerfile: string;
  dockerfilePath: string;
  /** Where its files are, relative to the data folder. */
  files: string;
  warnings: string[];
  config: Container["config"];
  env: Record<string, string>;
  imageState: ImageState;
  containerState: ContainerState;
};

/** A repository below `datagrok/` and its owner: the package, or else the user, that had it first. */
export type OwnedRepository = {
  /** Its image name without case and separators: names that differ in these alone have one owner. */
  key: string;
  /** As the owner spells it, e.g. `datagrok/power-grid`. */
  name: string;
  packageId: string | undefined;
  userId: string | undefined;
  since: number;
};

/** What jobs of a trusted publisher may do: pull from its repositories, push to them, publish its packages. */
export const PUBLISHER_RIGHTS = ["pull", "push", "publish"] as const;
export type PublisherRight = (typeof PUBLISHER_RIGHTS)[number];

/** Which CI jobs may publish without a stored key: those whose identity token has this issuer, audience and claims. */
export type TrustedPublisher = {
  name: string;
  /** The `iss` of their tokens, which also is the address at which its keys are discovered. */
  issuer: string;
  audience: string;
  /** By name; a value may have a few `*`, which match anything but `/`. */
  claims: Record<string, string>;
  /** The author of what they publish. */
  userId: string;
  packages: string[];
  /** Repositories in the same form as claims. */
  repositories: string[];
  rights: PublisherRight[];
  /** Of the tokens that they receive. */
  lifetimeMinutes: number;
  createdOn: number;
};

/** What a job received in exchange for its identity token. */
export type JobToken = {
  digest: string;
  /** It ends with the publisher. */
  publisher: string;
  /** The digest that identifies the identity token: it is exchanged once. */
  source: string;
  /** The claims that identify the job, for the audit log. */
  job: string;
  expiresOn: number;
  /** Until then the identity token is valid: no later than this, the row is removed. */
  keptUntil: number;
};

/** The provider's own session, at which a session of berth began. */
export type ProviderSession = {
  /** Of berth's session, with which it ends. */
  digest: string;
  issuer: string;
  subject: string;
  /** The provider's name of its session; undefined: it names none. */
  sid: string | undefined;
  /** The ID token, sealed; undefined: berth does not sign out at this provider. */
  idToken: Sealed | undefined;
};
