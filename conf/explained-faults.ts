import { ADVICE, type DriverFaultCode } from "../drivers/faults.ts";
import type { FaultCode } from "../lib/fault.ts";

type FaultExplanation = { means: string; todo: string };

/** Meaning and advice of each fault, for docs/reference/faults.md; faults of drivers have theirs in drivers/faults.ts. */
const OTHER_FAULTS = {
  TOKEN_MISSING: { means: "The request has no credential.", todo: "Sign in, or send a session token (for `docker login`: a developer key)." },
  TOKEN_INVALID: {
    means: "The token is unknown, has expired, or is not for this purpose; the message says which.",
    todo: "Sign in again. For docker and spawner tokens: compare clock, issuer, audience and keys.",
  },
  DEV_KEY_INVALID: { means: "No user has this developer key, or it was revoked.", todo: "Ask an administrator for another: `berth users key add`." },
  NOT_PERMITTED: {
    means: "The caller is known, and may not do this.",
    todo: "[Rights](../identity.md#rights); a shared group gives an author's rights.",
  },
  ORIGIN_NOT_PERMITTED: {
    means: "A page of another origin used the browser's cookie.",
    todo: "Add the page's origin to BERTH_ORIGINS, if it is yours.",
  },
  USER_BLOCKED: { means: "An administrator blocked this user.", todo: "An administrator unblocks the user: `berth users unblock <login>`." },
  SIGN_IN_FAILED: {
    means: "A sign-in at the provider did not end with a valid ID token, or was not started in this browser tab; the message has the reason.",
    todo: "Sign in again. If it repeats, compare the settings `BERTH_OIDC_*` and the clock with the provider.",
  },
  SIGN_IN_REFUSED: {
    means: "The provider knows the user, and berth's settings do not allow this sign-in; the message has the reason.",
    todo: "[Who may sign in](../sign-in.md).",
  },
  SIGN_IN_PROVIDER_AWAY: {
    means: "The sign-in provider did not answer, or not with what OpenID Connect demands.",
    todo: "Sign in with a developer key, or wait. Check BERTH_OIDC_ISSUER and the provider.",
  },
  TOO_MANY_ATTEMPTS: {
    means: "Too many wrong developer keys or session tokens came from one address, or wrong keys from all.",
    todo: "Wait for the time in Retry-After. Behind a load balancer set BERTH_TRUSTED_PROXIES, else all clients are one address.",
  },
  USER_NOT_FOUND: { means: "There is no such login.", todo: "`berth users list`." },
  GROUP_NOT_FOUND: { means: "The user is not in that group, or no user is.", todo: "`berth users list` shows the groups of each user." },
  SESSION_NOT_FOUND: { means: "The session has ended, or is another user's.", todo: "List the sessions again." },
  KEY_NOT_FOUND: { means: "The user has no key with that id.", todo: "`berth users key list <login>`." },
  SIGNING_KEY_NOT_FOUND: { means: "No such key signs docker tokens.", todo: "`berth keys list`." },
  WEBHOOK_NOT_FOUND: { means: "There is no such webhook, or it has no such delivery.", todo: "`berth webhooks ls`." },
  PROVIDER_NOT_FOUND: { means: "There is no sign-in provider with that id.", todo: "Name one of those that the message lists." },
  PUBLISHER_NOT_FOUND: { means: "There is no trusted publisher of that name.", todo: "`berth publishers ls`." },
  ISSUER_UNUSABLE: {
    means: "The keys of the issuer of a CI job's identity token cannot be loaded; the message has the reason.",
    todo: "Check that control reaches the issuer's `/.well-known/openid-configuration`, and its jwks_uri at the same host.",
  },
  NAME_TAKEN: {
    means: "A container, image, package or trusted publisher of that name exists, or belongs to another user or package; the message names it.",
    todo: "Choose another name. [Who owns a name](../identity.md#who-owns-a-name); an administrator can assign a repository.",
  },
  LOGIN_TAKEN: { means: "A user of that name exists.", todo: "Choose another name, or change that user." },

  REQUEST_INVALID: { means: "The request is not valid for this route.", todo: "Follow the message; `/api/openapi.json` has every route." },
  GRANT_TYPE_UNSUPPORTED: { means: "A client requested a docker token in an unsupported way.", todo: "Run docker logout, then docker login." },
  HEAD_TIMED_OUT: { means: "The head of a request did not arrive completely.", todo: "Check the client, or raise BERTH_HEAD_TIMEOUT." },
  BODY_TOO_LARGE: { means: "The body is larger than this route accepts.", todo: "Send less." },
  TARGET_TOO_LONG: { means: "The address is longer than berth accepts.", todo: "Send long values in a body." },
  HEAD_TOO_LARGE: { means: "The header lines are larger than berth accepts, often because of cookies.", todo: "Send fewer or shorter ones." },
  METHOD_UNKNOWN: { means: "The HTTP method is unknown.", todo: "Use a known one." },
  VERSION_UNSUPPORTED: { means: "It is not HTTP/1.0 or 1.1.", todo: "Offer HTTP/2 over TLS (BERTH_HTTP2=on), or terminate it at a load balancer." },
  ID_INVALID: { means: "The id is no UUID.", todo: "Use the container's `id`, not its name; `berth containers`." },
  CONTAINER_NOT_FOUND: {
    means: "No container has this id; it may have been deleted, or its package changed.",
    todo: "`berth containers`; find it by name, not by a stored id.",
  },
  IMAGE_ENTITY_NOT_FOUND: { means: "No image has this id.", todo: "`berth images`." },
  ROUTE_NOT_FOUND: { means: "berth has no such path.", todo: "Is `/api` missing, or there twice? `/api/openapi.json` has every route." },
  NOT_PROVIDED: {
    means: "A Datagrok server has this path; berth, which runs containers only, has not.",
    todo: "Send the request to that server, or set `DATAGROK_URL`.",
  },
  REGISTRY_NOT_FOUND: { means: "This berth has no registry.", todo: "Set REGISTRY_URL, ECR_MODE or BERTH_REGISTRY." },
  STORED_IMAGE_NOT_FOUND: { means: "The registry does not have that repository or tag.", todo: "`berth registry tags <repository>`." },
  STORED_IMAGE_IN_USE: { means: "A container runs, or would run, that image.", todo: "Delete the container first." },
  PACKAGE_NOT_FOUND: { means: "No such package was published here.", todo: "Publish it, or correct its name." },
  ENTITY_NOT_FOUND: { means: "The package has no such connection.", todo: "Correct the name: Package.Connection." },
  PACKAGE_INVALID: {
    means: "berth cannot accept the package; the message names the file and what is allowed.",
    todo: "Correct it, and publish again.",
  },
  PACKAGE_TOO_LARGE: { means: "The ZIP, or its unpacked content, is too large.", todo: "Remove what is not needed, or raise BERTH_MAX_PACKAGE_MB." },
  PACKAGE_REFUSED: {
    means: "An image of the package, or their number or size, breaks a rule of this server; the message names it, and what is allowed.",
    todo: "Follow the message; an administrator can change the rule. [Rules for images](../image-policy.md).",
  },
  LISTS_FULL: { means: "You, or all users together, are reading many complete lists.", todo: "Request pages: limit and page." },
  UPLOADS_FULL: { means: "You or others are publishing many packages.", todo: "Try again." },
  UPLOAD_TOO_SLOW: {
    means: "Less than 64 KiB of the package arrived within 30 s.",
    todo: "Publish again over a better connection, or a smaller package.",
  },

  CONTAINER_STOPPED: { means: "It is stopped, and a request may not start it.", todo: 'Start it (`berth run`), or set `"on_demand": true`.' },
  CONTAINERS_DISABLED: {
    means: "The server runs no containers: `dockerSettings.useGrokSpawner` is off.",
    todo: "An administrator sets it to `true` and restarts the server.",
  },
  CONTAINER_ASLEEP: {
    means: "It sleeps, and this kind of request does not start it.",
    todo: "Expected for probes; else see BERTH_NO_WAKE and X-Berth-No-Wake.",
  },
  CONTAINER_HAS_NO_PORT: { means: "Its image has no EXPOSE, and container.json no `port`.", todo: "Add one of them, and publish again." },
  CONTAINER_NOT_HTTP: {
    means: "It is a database, or another program with a protocol of its own: its container.json has `tcp`, or BERTH_TCP_IMAGES names its image.",
    todo: "Connect to its TCP listener: `berth explain` shows the address. For a container that speaks HTTP, remove `tcp`.",
  },
  CONTAINER_UNREACHABLE: {
    means: "It accepts no connection at its address, although it did when it started.",
    todo: "`berth logs`: has it ended, or closed its port? berth checks it at once.",
  },
  CONTAINER_BROKE_OFF: {
    means: "It accepted the request and closed the connection, or its response is not HTTP.",
    todo: "`berth logs`: usually a crash, or a server of one request at a time.",
  },
  CONTAINER_REFUSED_UPGRADE: {
    means: "It answered a WebSocket request with something else.",
    todo: "Check that the path is that of its WebSocket; the message has its status.",
  },
  WEBSOCKET_MISMATCH: { means: "It chose a subprotocol or extension that the client did not offer.", todo: "Correct the container's handshake." },
  CONTAINER_BUSY: {
    means: "The container has `max_concurrency` requests open, and too many others wait, or none ended in time.",
    todo: "Clients should wait for Retry-After. Raise `max_concurrency` in container.json if the container can do more at once.",
  },
  USER_CAPACITY_FULL: {
    means: "The containers that this user has started hold as much as BERTH_CAPACITY_USER_… allows, and none of them is idle.",
    todo: "The user stops a container, or waits for Retry-After. An administrator may raise the limit ([shares of a server](../capacity.md)).",
  },
  SERVER_CAPACITY_FULL: {
    means: "The containers of all users hold as much as BERTH_CAPACITY_… allows, and none of them is idle.",
    todo: "Clients should wait for Retry-After. An administrator may raise the limit ([shares of a server](../capacity.md)).",
  },
  HOLD_FULL: {
    means: "More requests wait for this container, or more of this user, than berth allows.",
    todo: "Clients should wait for Retry-After. Or raise BERTH_HOLD_LIMIT, and BERTH_HOLD_USER_LIMIT if most requests are of one user.",
  },
  HOLD_TIMED_OUT: {
    means: "It was not ready within proxyRequestTimeout. The message says what its start does, which continues.",
    todo: "Repeat the request. `berth explain`: which phase of the start is slow? Then keep it warm, or raise the limit.",
  },
  RESPONSE_TIMED_OUT: {
    means: "It has the request, and began no response within proxyRequestTimeout.",
    todo: "Answer sooner (202, events, a WebSocket), or raise proxyRequestTimeout.",
  },
  EXCHANGE_TIMED_OUT: {
    means: "The exchange was silent for too long, took too long, or the request's body made no progress.",
    todo: "The container should read the body as it arrives; or raise BERTH_BODY_TIMEOUT, BERTH_IDLE_TIMEOUT, BERTH_TOTAL_TIMEOUT.",
  },
  CONTROL_AWAY: {
    means: "The gateway has no connection to the control plane: running containers are served, none is started.",
    todo: "It restarts by itself; if it is not back in seconds, read its log.",
  },
  DESCRIPTORS_EXHAUSTED: {
    means: "A gateway has no free file descriptor to connect to a container. This is not the container's fault.",
    todo: "Raise the limit of open files: LimitNOFILE in the unit, ulimits in Compose, `ulimit -n`. Each request takes two, each idle client one.",
  },
  CONTROL_BUSY: {
    means: "The control plane runs, and did not answer this gateway in time. Held requests keep waiting; the gateway retries.",
    todo: "Try again; berth_event_loop_delay_seconds shows whether control is overloaded.",
  },
  CONTROL_STANDBY: {
    means: "This control process does not lead. Another one does, or will within seconds.",
    todo: "Send the request to a gateway, which knows the leader; the reply names it too.",
  },
  CONTROL_NO_LEADER: {
    means: "Of several control processes none leads. Running containers are served, held requests wait.",
    todo: "One takes over within seconds. If none does, `berth status` and their logs: do they reach the database?",
  },
  GATEWAY_REFUSED: { means: "The control plane refuses this gateway.", todo: "`berth gateways token`, and the same feed version." },
  CONTROL_UNTRUSTED: {
    means: "This gateway does not trust the control plane's certificate.",
    todo: "BERTH_CONTROL_CA or BERTH_CONTROL_FINGERPRINT.",
  },
  DATAGROK_AWAY: {
    means: "The Datagrok server behind does not answer, or fails.",
    todo: "Check that it runs, and DATAGROK_URL and NODE_EXTRA_CA_CERTS.",
  },
  DATAGROK_BUSY: { means: "Too many requests to it are open.", todo: "Try again; find out why it is slow." },
  DATAGROK_BROKE_OFF: { means: "It closed the connection before its response.", todo: "Read its log; then try again." },
  SHELLS_FULL: { means: "Too many shells are open, in all or by this user.", todo: "Close some: each also ends by itself when it is idle." },
  SHELL_DISABLED: { means: "This server opens no shells into containers.", todo: "[Shells](../shell.md): an administrator sets `BERTH_SHELL=on`." },
  STREAMS_FULL: { means: "Too many clients, or too many of this user, follow events and logs.", todo: "Close some." },
  GATEWAYS_BUSY: { means: "Many clients request at once who uses which container.", todo: "Try again." },

  SCOPE_INSUFFICIENT: {
    means: "The docker token does not allow this in that repository.",
    todo: "Only the package's author, its groups and administrators push to its images.",
  },
  METHOD_NOT_ALLOWED: { means: "The registry has no such route.", todo: "None: docker does not use it." },
  REGISTRY_TIMED_OUT: { means: "The backing registry began no response in time.", todo: "Check it; then push, pull or list again." },
  REGISTRY_REFUSED: {
    means: "The backing registry refused berth's own credential: signing in again does not help.",
    todo: "REGISTRY_USERNAME and REGISTRY_PASSWORD, or the role on AWS.",
  },
  PUSH_REFUSED: {
    means: "With the image, its package or author would have more images, or larger ones, than this server allows; the message has the numbers.",
    todo: "Follow the message; an administrator can change the rule. [Rules for images](../image-policy.md).",
  },
  REGISTRY_READ_ONLY: { means: "Garbage is being collected.", todo: "Push again in a minute." },
  REGISTRY_CREDENTIAL_RENEWED: { means: "berth's credential expired during an upload.", todo: "Try again; docker does so by itself." },
  REDIRECT_REFUSED: {
    means: "It redirects a layer to a host that is not trusted.",
    todo: "Add the host to BERTH_REGISTRY_REDIRECT_HOSTS, if it is right.",
  },
  UPSTREAM_RATE_LIMITED: {
    means: "A cached registry, such as Docker Hub, limits pulls, and the cache has no copy.",
    todo: "Try again after the time in Retry-After, or set BERTH_REGISTRY_CACHE_LOGINS ([the cache](../registry-cache.md)).",
  },
  TOKEN_KEYS_UNKNOWN: {
    means: "berth could not fetch the keys of tokens yet.",
    todo: "Check that DATAGROK_URL, with `/api`, can be reached from here.",
  },
  UPSTREAM_CREDENTIAL_FAILED: {
    means: "berth got no credential for the backing registry; the message has the reason.",
    todo: "Correct the password; on AWS the role, the region, the clock.",
  },
  REPOSITORY_NOT_MADE: {
    means: "ECR has no such repository, and berth could not create it.",
    todo: "Allow `ecr:CreateRepository` to its role, or create it by hand.",
  },

  CREDENTIAL_NOT_FOUND: {
    means: "`env` names a connection that its package does not have, or a package that it may not use.",
    todo: "Correct `#{x.Name}`, or add connections/Name.json to the package, also for a database of its `databases/`.",
  },
  VARIABLES_TOO_LARGE: {
    means: "`#{x.Name}` in a container's variables becomes more than 1 MiB.",
    todo: "Use an entity fewer times, or make it smaller.",
  },
  CREDENTIALS_UNREADABLE: {
    means: "The key that sealed the credentials is missing or different.",
    todo: "Put credentials.key, or BERTH_CREDENTIALS_KEY, back; nothing is lost.",
  },
  DEPENDENCY_FAILED: {
    means: "A container that this one depends on failed, or its package does not have it; the message names it and its cause.",
    todo: "Repair that one first, or correct `depends_on` in container.json.",
  },
  START_TIMED_OUT: {
    means: "The container runs, and accepted no connection on its port in time.",
    todo: "Does its program listen on 0.0.0.0, on the port of EXPOSE? Is it slow? containerStatusTimeoutMinutes is the limit.",
  },
  STOP_TIMED_OUT: { means: "The orchestrator did not stop it in time.", todo: "Check the orchestrator. berth retries." },
  VALIDATION_TIMED_OUT: { means: "The image was not found and pulled in time.", todo: "Check the registry, then `berth revalidate`." },

  IMAGE_BUILD_FAILED: { means: "`docker build` failed; its lines are above the message.", todo: "Correct the Dockerfile." },
  IMAGE_PUSH_FAILED: { means: "`docker push` failed; its lines are above the message.", todo: "See the registry's faults on this page." },

  DEPLOY_UNDER_WAY: { means: "Another owner's, or a newer, deploy of that service is in progress.", todo: "Try again when it is over." },
  DEPLOY_SUPERSEDED: { means: "A newer deploy replaced it, or it was cancelled.", todo: "None." },
  SPAWNER_BUSY: { means: "The spawner has as many calls as it accepts at once.", todo: "Try again." },

  CHAIN_BROKEN: { means: "`berth doctor` found a failed check.", todo: "It names the check, and what to do." },
  SETTINGS_INVALID: {
    means: "A setting is wrong, misspelt or missing; the message lists all.",
    todo: "Correct it; `berth config` prints all values.",
  },
  DATA_FOLDER_UNUSABLE: {
    means: "BERTH_DATA cannot be read or written, or its store is damaged.",
    todo: "Give it to berth's user; restore a backup if the message says so.",
  },
  DATA_FOLDER_IN_USE: { means: "Another berth runs on this data folder.", todo: "Stop that one, or set another BERTH_DATA." },
  BACKUP_UNUSABLE: { means: "The backup is damaged, foreign, or cannot be restored here.", todo: "Use another one; the message says what is wrong." },
  PROGRAM_UNUSABLE: {
    means: "An upgrade's executable does not run, or berth finds no folder to unpack to.",
    todo: "The old one was put back; the message has the reason.",
  },
  ADDRESS_IN_USE: {
    means: "The port is in use, or the address is not one of this machine.",
    todo: "BERTH_EDGE_PORT, BERTH_REGISTRY_PORT and similar.",
  },
  REGISTRY_PROGRAM_MISSING: {
    means: "BERTH_REGISTRY=embedded, and CNCF Distribution is not installed.",
    todo: "Install it, or an engine that runs its image.",
  },
  REGISTRY_BUSY: { means: "Garbage is already being collected.", todo: "Try again after that." },
  REGISTRY_FAILED: { means: "The registry's own program failed.", todo: "Read its lines in berth's log." },
  ANSWERS_DIFFER: { means: "`berth shadow` found unknown differences.", todo: "It prints them." },
  STORE_FULL: { means: "The data folder's disk is full. Running containers are served.", todo: "Free space; berth continues by itself." },
  STORE_READ_ONLY: { means: "The data folder cannot be written.", todo: "Check its mount and owner." },
  STORE_UNAVAILABLE: {
    means:
      "PostgreSQL, which has the store, cannot be reached or refuses; or another program has locked the file of SQLite. Running containers are served; starts and changes wait, then fail.",
    todo: "Check PostgreSQL and BERTH_DATABASE_URL with `berth doctor`; end a program that has `berth.db` open. berth continues by itself.",
  },
  INTERNAL: { means: "A bug of berth.", todo: "Search the log by the request's id, and report it." },
} as const satisfies Record<Exclude<FaultCode, DriverFaultCode>, FaultExplanation>;

/** For every code of fault.ts. */
export const EXPLAINED_FAULTS: Readonly<Record<FaultCode, FaultExplanation>> = { ...OTHER_FAULTS, ...ADVICE };
