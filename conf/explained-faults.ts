import { ADVICE, type DriverFaultCode } from "../drivers/advice.ts";
import type { FaultCode } from "../lib/fault.ts";

type Explained = { means: string; todo: string };

/** What each fault means to the person who meets it, and what to do; those that drivers throw have theirs in drivers/advice.ts. For docs/troubleshooting.md. */
const OTHERS = {
  TOKEN_MISSING: { means: "Nobody said who is calling.", todo: "Sign in, or send a session token (below `docker login`: a developer key)." },
  TOKEN_INVALID: {
    means: "The token is of nobody, has ended, or is not for this; the message says which.",
    todo: "Sign in again. Of docker and spawner tokens: compare clock, issuer, audience and keys.",
  },
  DEV_KEY_INVALID: { means: "No user has this developer key, or it was revoked.", todo: "Ask an administrator for another: `berth users key add`." },
  NOT_PERMITTED: {
    means: "The caller is known, and may not do this.",
    todo: "[Who may what](../identity.md); a shared group gives an author's rights.",
  },
  ORIGIN_NOT_PERMITTED: {
    means: "A page of another origin used the browser's cookie.",
    todo: "List the page's origin in BERTH_ORIGINS, if it is yours.",
  },
  TOO_MANY_ATTEMPTS: {
    means: "Too many wrong developer keys or session tokens came from one address, or wrong keys from all.",
    todo: "Wait for the time in Retry-After. Behind a load balancer set BERTH_TRUSTED_PROXIES, else all clients are one address.",
  },
  USER_NOT_FOUND: { means: "There is no such login.", todo: "`berth users list`." },
  KEY_NOT_FOUND: { means: "The user has no key with that id.", todo: "`berth users key list <login>`." },
  SIGNING_KEY_NOT_FOUND: { means: "No such key signs docker tokens.", todo: "`berth keys list`." },
  NAME_TAKEN: {
    means: "A container, image or package of that name belongs to somebody else, or to another package; the message names it.",
    todo: "Take another name. [Who owns which name](../identity.md#who-owns-a-name); an administrator can assign a repository.",
  },
  LOGIN_TAKEN: { means: "There is a user of that name.", todo: "Take another, or change that one." },

  REQUEST_INVALID: { means: "The request is not one that this route takes.", todo: "Do as the message says; `/api/openapi.json` has every route." },
  GRANT_TYPE_UNSUPPORTED: { means: "A client asked for docker tokens in a way that is not known here.", todo: "docker logout, then docker login." },
  HEAD_TIMED_OUT: { means: "The head of a request did not come as a whole.", todo: "Look at the client, or raise BERTH_HEAD_TIMEOUT." },
  BODY_TOO_LARGE: { means: "The body is larger than this route takes.", todo: "Send less." },
  TARGET_TOO_LONG: { means: "The address is longer than is taken.", todo: "Send what is long in a body." },
  HEAD_TOO_LARGE: { means: "The header lines are larger than is taken, often for cookies.", todo: "Send fewer or shorter ones." },
  METHOD_UNKNOWN: { means: "The HTTP method is not known.", todo: "Use one that is." },
  VERSION_UNSUPPORTED: { means: "It is not HTTP/1.0 or 1.1.", todo: "Let a load balancer end HTTP/2." },
  ID_INVALID: { means: "What stands for the id is no UUID.", todo: "Take the container's `id`, not its name; `berth containers`." },
  CONTAINER_NOT_FOUND: {
    means: "No container has this id; it may have been deleted, or its package changed.",
    todo: "`berth containers`; look it up by name, not by a kept id.",
  },
  IMAGE_ENTITY_NOT_FOUND: { means: "No image has this id.", todo: "`berth images`." },
  ROUTE_NOT_FOUND: { means: "berth has no such path.", todo: "Is `/api` missing, or there twice? `/api/openapi.json` has every route." },
  REGISTRY_NOT_FOUND: { means: "This berth has no registry.", todo: "Set REGISTRY_URL, ECR_MODE or BERTH_REGISTRY." },
  STORED_IMAGE_NOT_FOUND: { means: "The registry does not have that repository or tag.", todo: "`berth registry tags <repository>`." },
  STORED_IMAGE_IN_USE: {
    means: "A container runs, or would run, that image.",
    todo: "Delete the container first.",
  },
  PACKAGE_NOT_FOUND: { means: "No such package was published here.", todo: "Publish it, or correct its name." },
  ENTITY_NOT_FOUND: { means: "The package has no such connection.", todo: "Correct the name: Package.Connection." },
  PACKAGE_INVALID: { means: "The package cannot be taken; the message names the file and what is allowed.", todo: "Correct it, and publish again." },
  PACKAGE_TOO_LARGE: { means: "The ZIP, or what it unpacks to, is too large.", todo: "Leave out what is not needed, or raise BERTH_MAX_PACKAGE_MB." },
  LISTS_FULL: { means: "You, or all users together, are reading many whole lists at this moment.", todo: "Ask for pages: limit and page." },
  UPLOADS_FULL: { means: "Many packages are being published at this moment, by you or by others.", todo: "Try again." },
  UPLOAD_TOO_SLOW: {
    means: "Less than 64 KiB of the package came within 30 s.",
    todo: "Publish again from a better connection, or a smaller package.",
  },

  CONTAINER_STOPPED: { means: "It is stopped, and a request may not wake it.", todo: 'Start it (`berth run`), or set `"on_demand": true`.' },
  CONTAINER_ASLEEP: {
    means: "It sleeps, and this kind of request does not wake it.",
    todo: "Expected for probes; else see BERTH_NO_WAKE and X-Berth-No-Wake.",
  },
  CONTAINER_HAS_NO_PORT: { means: "Its image has no EXPOSE, and container.json no `port`.", todo: "Add one of them, and publish again." },
  CONTAINER_UNREACHABLE: {
    means: "It takes no connection at its address, though it did when it started.",
    todo: "`berth logs`: has it ended, or closed its port? berth looks at it at once.",
  },
  CONTAINER_BROKE_OFF: {
    means: "It took the request and went away, or answered what is not HTTP.",
    todo: "`berth logs`: mostly a crash, or a server of one request at a time.",
  },
  CONTAINER_REFUSED_UPGRADE: {
    means: "It answered something else where a WebSocket was asked for.",
    todo: "See that the path is its WebSocket's; the message has its status.",
  },
  WEBSOCKET_MISMATCH: { means: "It agreed to a subprotocol or extension that nobody offered.", todo: "Correct the container's handshake." },
  HOLD_FULL: {
    means: "More requests wait for this container than may, or more of this user.",
    todo: "Clients should wait for Retry-After; or raise BERTH_HOLD_LIMIT, and BERTH_HOLD_USER_LIMIT where one user has most of the requests.",
  },
  HOLD_TIMED_OUT: {
    means: "It was not ready within proxyRequestTimeout.",
    todo: "`berth explain`: which part of the start is slow? Then keep it warm, or raise the limit.",
  },
  RESPONSE_TIMED_OUT: {
    means: "It has the request, and began no answer within proxyRequestTimeout.",
    todo: "Answer sooner (202, events, a WebSocket), or raise proxyRequestTimeout.",
  },
  EXCHANGE_TIMED_OUT: {
    means: "The exchange was silent for too long, took too long, or the request's body made no progress.",
    todo: "The container should read the body as it comes; or raise BERTH_BODY_TIMEOUT, BERTH_IDLE_TIMEOUT, BERTH_TOTAL_TIMEOUT.",
  },
  CONTROL_AWAY: {
    means: "The gateway does not hear the control plane: what is awake is served, nothing is woken.",
    todo: "It is started again by itself; if it is not back in seconds, read its log.",
  },
  DESCRIPTORS_EXHAUSTED: {
    means: "A gateway has no file descriptor left to connect to a container, which is not the container's fault.",
    todo: "Raise the limit of open files: LimitNOFILE in the unit, ulimits in Compose, `ulimit -n`. Each call takes two, each idle client one.",
  },
  CONTROL_BUSY: {
    means:
      "The control plane runs, and did not answer this gateway in time. Requests that wait for a container go on waiting; the gateway asks again.",
    todo: "Try again; berth_event_loop_delay_seconds shows whether control is overloaded.",
  },
  GATEWAY_REFUSED: { means: "The control plane does not let this gateway in.", todo: "`berth gateways token`, and the same wire version." },
  CONTROL_UNTRUSTED: {
    means: "The control plane's certificate is not one that this gateway trusts.",
    todo: "BERTH_CONTROL_CA or BERTH_CONTROL_FINGERPRINT.",
  },
  DATAGROK_AWAY: {
    means: "The Datagrok server behind does not answer, or fails.",
    todo: "See that it runs, and DATAGROK_URL and NODE_EXTRA_CA_CERTS.",
  },
  DATAGROK_BUSY: { means: "More questions to it are open than may be.", todo: "Try again; look at why it is slow." },
  DATAGROK_BROKE_OFF: { means: "It broke the connection before it answered.", todo: "Its own log; then try again." },
  STREAMS_FULL: { means: "As many clients follow events and logs as may, in all or of this user.", todo: "Close some." },
  GATEWAYS_BUSY: { means: "Many ask at once who uses which container.", todo: "Try again." },

  SCOPE_INSUFFICIENT: {
    means: "The docker token does not allow this in that repository.",
    todo: "Only the package's author, its groups and administrators push to its images.",
  },
  METHOD_NOT_ALLOWED: { means: "The registry has no such call.", todo: "None: it is no call of docker's." },
  REGISTRY_TIMED_OUT: { means: "The registry behind began no answer in time.", todo: "Look at it; then push, pull or look again." },
  REGISTRY_REFUSED: {
    means: "The registry behind refused berth's own credential: signing in again does not help.",
    todo: "REGISTRY_USERNAME and REGISTRY_PASSWORD, or the role on AWS.",
  },
  REGISTRY_READ_ONLY: { means: "Garbage is being collected.", todo: "Push again in a minute." },
  REGISTRY_CREDENTIAL_RENEWED: { means: "berth's credential ended in the middle of an upload.", todo: "Try again; docker does by itself." },
  REDIRECT_REFUSED: {
    means: "It leads for a layer to a host that is not trusted.",
    todo: "List the host in BERTH_REGISTRY_REDIRECT_HOSTS, if it is right.",
  },
  TOKEN_KEYS_UNKNOWN: {
    means: "The keys that tokens are signed with could not be fetched yet.",
    todo: "See that DATAGROK_URL is reached from here, with `/api`.",
  },
  UPSTREAM_CREDENTIAL_FAILED: {
    means: "berth got no credential for the registry behind; the message says why.",
    todo: "Correct the password; on AWS the role, the region, the clock.",
  },
  REPOSITORY_NOT_MADE: {
    means: "ECR has no such repository, and berth could not make it.",
    todo: "Allow `ecr:CreateRepository` to its role, or make it by hand.",
  },

  CREDENTIAL_NOT_FOUND: {
    means: "`env` names a connection or credential that its package does not have.",
    todo: "Correct `#{x.Name}`, or `berth credentials set`.",
  },
  VARIABLES_TOO_LARGE: {
    means: "`#{x.Name}` in a container's variables becomes more than 1 MiB.",
    todo: "Use an entity fewer times, or make it smaller.",
  },
  CREDENTIALS_UNREADABLE: {
    means: "The key that credentials were sealed with is missing or another one.",
    todo: "Put credentials.key, or BERTH_CREDENTIALS_KEY, back; nothing is lost.",
  },
  START_TIMED_OUT: {
    means: "The container runs, and took no connection on its port in time.",
    todo: "Does its program listen on 0.0.0.0, on the port of EXPOSE? Is it slow? containerStatusTimeoutMinutes is the limit.",
  },
  STOP_TIMED_OUT: { means: "The orchestrator did not stop it in time.", todo: "Look at the orchestrator. berth tries again." },
  VALIDATION_TIMED_OUT: { means: "The image was not found and pulled in time.", todo: "Look at the registry, then `berth revalidate`." },

  IMAGE_BUILD_FAILED: { means: "`docker build` failed; its lines are above the message.", todo: "Correct the Dockerfile." },
  IMAGE_PUSH_FAILED: { means: "`docker push` failed; its lines are above the message.", todo: "See the registry's part of this page." },

  DEPLOY_UNDER_WAY: { means: "Somebody else's, or a newer, deploy of that service is under way.", todo: "Ask again when it is over." },
  DEPLOY_SUPERSEDED: { means: "A newer deploy took its place, or it was called off.", todo: "None." },
  SPAWNER_BUSY: { means: "The spawner does as much as it does at once.", todo: "Ask again." },

  CHAIN_BROKEN: { means: "`berth doctor` found a link that is broken, from a browser to a container.", todo: "It names it, and what to do." },
  SETTINGS_INVALID: {
    means: "A setting is wrong, misspelt or missing; all are named together.",
    todo: "Correct it; `berth config` prints what is in force.",
  },
  DATA_FOLDER_UNUSABLE: {
    means: "BERTH_DATA cannot be read or written, or its store is damaged.",
    todo: "Give it to berth's user; restore a backup where it says so.",
  },
  DATA_FOLDER_IN_USE: { means: "Another berth runs on this data folder.", todo: "Stop that one, or set another BERTH_DATA." },
  BACKUP_UNUSABLE: {
    means: "The backup is damaged, none of ours, or not to be restored here.",
    todo: "Take another one; the message says what is wrong.",
  },
  PROGRAM_UNUSABLE: {
    means: "An upgrade's executable does not run, or berth finds no folder to unpack to.",
    todo: "The old one was put back; the message says why.",
  },
  ADDRESS_IN_USE: {
    means: "The port is taken, or the address is not one of this machine.",
    todo: "BERTH_EDGE_PORT, BERTH_REGISTRY_PORT and the like.",
  },
  REGISTRY_PROGRAM_MISSING: {
    means: "BERTH_REGISTRY=embedded, and CNCF Distribution is not here.",
    todo: "Install it, or an engine that runs its image.",
  },
  REGISTRY_BUSY: { means: "Garbage is being collected already.", todo: "Try again after that." },
  REGISTRY_FAILED: { means: "The registry's own program failed.", todo: "Its lines in berth's log." },
  ANSWERS_DIFFER: { means: "`berth shadow` found differences that are not known.", todo: "They are printed." },
  STORE_FULL: { means: "The data folder's disk is full. What runs is served.", todo: "Make room; berth goes on by itself." },
  STORE_READ_ONLY: { means: "The data folder cannot be written.", todo: "Look at its mount and owner." },
  INTERNAL: { means: "A bug of berth's.", todo: "Search the log by the request's id, and report it." },
} as const satisfies Record<Exclude<FaultCode, DriverFaultCode>, Explained>;

/** For every code of fault.ts. */
export const EXPLAINED: Readonly<Record<FaultCode, Explained>> = { ...OTHERS, ...ADVICE };
