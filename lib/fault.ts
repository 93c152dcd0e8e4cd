/**
 * Every expected failure: its code, its HTTP status and its reason phrase.
 *
 * An adapter translates foreign errors into faults. One layer turns faults into responses, one logs them. Any other error is a bug: a plain 500 without
 * detail.
 */
export const FAULTS = {
  // Who is calling, and may they?
  TOKEN_MISSING: [401, "Authentication required"],
  TOKEN_INVALID: [401, "Token is not valid"],
  DEV_KEY_INVALID: [401, "Developer key is not valid"],
  NOT_PERMITTED: [403, "Not permitted"],
  ORIGIN_NOT_PERMITTED: [403, "Origin not permitted"],
  USER_BLOCKED: [403, "User is blocked"],
  SIGN_IN_FAILED: [401, "Sign-in failed"],
  SIGN_IN_REFUSED: [403, "Sign-in refused"],
  SIGN_IN_PROVIDER_AWAY: [503, "Sign-in provider is away"],
  TOO_MANY_ATTEMPTS: [429, "Too many attempts"],
  USER_NOT_FOUND: [404, "User not found"],
  GROUP_NOT_FOUND: [404, "Group not found"],
  KEY_NOT_FOUND: [404, "Developer key not found"],
  SESSION_NOT_FOUND: [404, "Session not found"],
  SIGNING_KEY_NOT_FOUND: [404, "Signing key not found"],
  WEBHOOK_NOT_FOUND: [404, "Webhook not found"],
  PROVIDER_NOT_FOUND: [404, "Sign-in provider not found"],
  PUBLISHER_NOT_FOUND: [404, "Trusted publisher not found"],
  ISSUER_UNUSABLE: [502, "Issuer cannot be used"],
  LOGIN_TAKEN: [409, "Login taken"],
  NAME_TAKEN: [409, "Name taken"],

  // The request
  REQUEST_INVALID: [400, "Bad request"],
  GRANT_TYPE_UNSUPPORTED: [400, "Grant type not supported"],
  HEAD_TIMED_OUT: [408, "Request head not complete in time"],
  BODY_TOO_LARGE: [413, "Request body too large"],
  TARGET_TOO_LONG: [414, "Request target too long"],
  HEAD_TOO_LARGE: [431, "Request head too large"],
  METHOD_UNKNOWN: [501, "Method not known"],
  VERSION_UNSUPPORTED: [505, "HTTP version not supported"],
  ID_INVALID: [400, "Id is not a UUID"],
  CONTAINER_NOT_FOUND: [404, "Container not found"],
  IMAGE_ENTITY_NOT_FOUND: [404, "Image not found"],
  ROUTE_NOT_FOUND: [404, "No such route"],
  NOT_PROVIDED: [501, "Not provided"],
  REGISTRY_NOT_FOUND: [404, "No registry"],
  STORED_IMAGE_NOT_FOUND: [404, "Image not in the registry"],
  STORED_IMAGE_IN_USE: [409, "Image in use"],
  PACKAGE_NOT_FOUND: [404, "Package not found"],
  ENTITY_NOT_FOUND: [404, "Entity not found"],
  PACKAGE_INVALID: [400, "Package is not valid"],
  PACKAGE_TOO_LARGE: [413, "Package too large"],
  PACKAGE_REFUSED: [403, "Package not allowed"],
  LISTS_FULL: [503, "Too many lists at once"],
  UPLOADS_FULL: [503, "Too many packages at once"],
  UPLOAD_TOO_SLOW: [408, "Package sent too slowly"],

  // Reaching a container
  CONTAINER_STOPPED: [400, "Container is not running"],
  CONTAINERS_DISABLED: [400, "Containers are disabled"],
  CONTAINER_ASLEEP: [503, "Container is asleep"],
  CONTAINER_HAS_NO_PORT: [400, "Container exposes no port"],
  CONTAINER_NOT_HTTP: [400, "Container does not speak HTTP"],
  CONTAINER_UNREACHABLE: [502, "Container unreachable"],
  CONTAINER_BROKE_OFF: [502, "Container broke the connection"],
  CONTAINER_REFUSED_UPGRADE: [502, "Container refused the WebSocket"],
  WEBSOCKET_MISMATCH: [502, "Container agreed to what was not offered"],
  CONTAINER_BUSY: [503, "Container takes no more requests at once"],
  USER_CAPACITY_FULL: [429, "User holds too many containers"],
  SERVER_CAPACITY_FULL: [503, "No place for another container"],
  HOLD_FULL: [503, "Container is starting and its queue is full"],
  HOLD_TIMED_OUT: [504, "Container not ready in time"],
  RESPONSE_TIMED_OUT: [504, "Container did not answer in time"],
  EXCHANGE_TIMED_OUT: [504, "Request took too long"],
  CONTROL_AWAY: [503, "Control plane is away"],
  DESCRIPTORS_EXHAUSTED: [503, "No file descriptor left"],
  CONTROL_BUSY: [503, "Control plane is busy"],
  CONTROL_STANDBY: [503, "Control process is a standby"],
  CONTROL_NO_LEADER: [503, "No control process leads"],
  // For a gateway on another machine; its callers get CONTROL_AWAY.
  GATEWAY_REFUSED: [503, "Gateway refused"],
  CONTROL_UNTRUSTED: [503, "Control plane not trusted"],
  DATAGROK_AWAY: [503, "Datagrok server is away"],
  DATAGROK_BUSY: [503, "Datagrok server is overloaded"],
  DATAGROK_BROKE_OFF: [502, "Datagrok server broke the connection"],

  STREAMS_FULL: [503, "Too many live streams"],
  SHELLS_FULL: [503, "Too many shells"],
  SHELL_DISABLED: [403, "Shells are disabled"],
  EXEC_UNAVAILABLE: [501, "No command can be run there"],
  GATEWAYS_BUSY: [503, "Gateways are overloaded"],

  // The registry
  SCOPE_INSUFFICIENT: [401, "Token does not allow it"],
  METHOD_NOT_ALLOWED: [405, "Method not allowed"],
  REGISTRY_TIMED_OUT: [504, "Registry behind did not answer in time"],
  // Not a 5xx: docker does not show the sentence of those.
  REGISTRY_REFUSED: [403, "Registry behind refused our credential"],
  PUSH_REFUSED: [403, "Image not allowed in the registry"],
  REGISTRY_READ_ONLY: [503, "Registry takes nothing at the moment"],
  REGISTRY_CREDENTIAL_RENEWED: [503, "Registry behind wanted a new credential"],
  REDIRECT_REFUSED: [502, "Redirect of the registry behind refused"],
  TOKEN_KEYS_UNKNOWN: [503, "Keys of tokens not known yet"],

  // The backing registry, in which images are looked up too
  UPSTREAM_CREDENTIAL_FAILED: [502, "Registry credentials failed"],
  REGISTRY_UNREACHABLE: [502, "Registry unreachable"],
  UPSTREAM_RATE_LIMITED: [429, "Registry behind limits pulls"],
  REPOSITORY_NOT_MADE: [404, "Repository missing"],

  // Starting a container (reported by an orchestrator)
  IMAGE_NOT_FOUND: [500, "Image not found"],
  IMAGE_REFUSED: [500, "Image not allowed"],
  IMAGE_REFERENCE_INVALID: [500, "Image reference is not valid"],
  CREDENTIAL_NOT_FOUND: [500, "Credential not found"],
  VARIABLES_TOO_LARGE: [500, "Variables too large"],
  CREDENTIALS_UNREADABLE: [500, "Credentials cannot be read"],
  PULL_DENIED: [500, "Pull denied"],
  NO_CAPACITY: [500, "No capacity"],
  CONTAINER_UNSCHEDULABLE: [500, "No machine fits the container"],
  CONTAINER_OUT_OF_MEMORY: [500, "Container ran out of memory"],
  CONTAINER_CRASHED: [500, "Container crashed"],
  CONTAINER_NOT_READY: [500, "Container did not become ready"],
  ADDRESS_REFUSED: [500, "Container address refused"],
  SPEC_REFUSED: [500, "Container settings refused"],
  ENGINE_UNREACHABLE: [500, "Container engine unreachable"],
  ENGINE_ACTION_DENIED: [500, "Container engine denied an action"],
  ENGINE_FAILED: [500, "Container engine failed"],
  DEPENDENCY_FAILED: [500, "Container it depends on failed"],
  START_TIMED_OUT: [500, "Container start timed out"],
  STOP_TIMED_OUT: [500, "Container stop timed out"],
  VALIDATION_TIMED_OUT: [500, "Image validation timed out"],

  // Publishing from a command line
  IMAGE_BUILD_FAILED: [500, "Image could not be built"],
  IMAGE_PUSH_FAILED: [500, "Image could not be pushed"],

  // The spawner's API
  DEPLOY_UNDER_WAY: [409, "Another deploy is under way"],
  DEPLOY_SUPERSEDED: [409, "Another call took the deploy's place"],
  SPAWNER_BUSY: [503, "Spawner has too much to do"],

  // The machine and its settings
  SETTINGS_INVALID: [500, "Settings are not valid"],
  DATA_FOLDER_UNUSABLE: [500, "Data folder cannot be used"],
  DATA_FOLDER_IN_USE: [500, "Data folder in use"],
  BACKUP_UNUSABLE: [500, "Backup cannot be used"],
  PROGRAM_UNUSABLE: [500, "Program cannot be used"],
  ADDRESS_IN_USE: [500, "Address in use"],
  REGISTRY_PROGRAM_MISSING: [500, "Registry program not found"],
  REGISTRY_BUSY: [409, "Registry is busy"],
  REGISTRY_FAILED: [500, "Registry failed"],
  ANSWERS_DIFFER: [500, "Answers differ"],
  CHAIN_BROKEN: [500, "A link of the chain is broken"],
  STORE_FULL: [507, "No space left for the store"],
  STORE_READ_ONLY: [500, "Store is read-only"],
  STORE_UNAVAILABLE: [503, "Store is unavailable"],
  INTERNAL: [500, "Internal error"],
} as const satisfies Record<string, readonly [status: number, reason: string]>;

export type FaultCode = keyof typeof FAULTS;

/** A fault between processes and in the store; `logs` is the container's log tail, oldest line first. */
export type FaultData = {
  code: FaultCode;
  message: string;
  retryAfterMs?: number;
  logs?: string[];
};

/** An expected failure. The message is one sentence for the user; it never has a secret. */
export class Fault extends Error {
  readonly code: FaultCode;
  readonly retryAfterMs: number | undefined;
  readonly logs: string[] | undefined;

  constructor(code: FaultCode, message: string, more: { cause?: unknown; retryAfterMs?: number | undefined; logs?: string[] | undefined } = {}) {
    super(message, "cause" in more ? { cause: more.cause } : undefined);
    this.name = "Fault";
    this.code = code;
    this.retryAfterMs = more.retryAfterMs;
    this.logs = more.logs;
  }

  get status(): number {
    return FAULTS[this.code][0];
  }

  get reason(): string {
    return FAULTS[this.code][1];
  }

  toJSON(): FaultData {
    return {
      code: this.code,
      message: this.message,
      ...(this.retryAfterMs === undefined ? {} : { retryAfterMs: this.retryAfterMs }),
      ...(this.logs === undefined ? {} : { logs: this.logs }),
    };
  }

  static from(data: FaultData): Fault {
    return new Fault(data.code in FAULTS ? data.code : "INTERNAL", data.message, data);
  }
}
