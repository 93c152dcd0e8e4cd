import { containerToken, readTokenRecords } from "../../identity/sessions.ts";
import type { Container, Image } from "../../model/entities.ts";
import type { Store } from "../../store/open-store.ts";
import type { Credentials } from "./open-credentials.ts";
import type { Vault } from "./open-vault.ts";
import { unscoped } from "../../model/names.ts";

/**
 * All variables that a start gives its container but its own map, which comes after them: what every container gets, then the package's
 * credentials. A repeated start gets the same values. Faults: CREDENTIALS_UNREADABLE.
 */
export function containerEnvironment(parts: {
  store: Store;
  vault: Vault;
  credentials: Credentials;
  stand: InstallationSettings;
  /** Makes a container's tokens for the queue and the pipe, where the settings require tokens. */
  signQueueToken: (audience: "queue" | "pipe", service: string) => Promise<string>;
}) {
  const { store, credentials, stand, signQueueToken } = parts;
  // Together: each wait for the store costs a round trip where the database is elsewhere.
  const read = (container: EnvironmentBasis) => {
    const { packageId, requestedBy, requestedKey } = container;
    const [secrets, owner, records] = [credentials.packageEnv(packageId), store.packages.find(packageId), readTokenRecords(store, container)];
    // Their failures are those of what awaits them, where something does.
    for (const one of [secrets, owner, records]) one.catch(() => undefined);
    return { packageId, requestedBy, requestedKey, secrets, owner, records };
  };
  const make = async (
    container: Container,
    image: Pick<Image, "name" | "version">,
    { secrets: reading, owner: reads, records }: ReturnType<typeof read>,
  ) => {
    const { service, config } = container;
    // If that fails, the container does not start and gets no session.
    const mayStart = reading.then(
      () => true,
      () => false,
    );
    const userToken = await containerToken(parts, container, { mayStart, records });
    const [owner, secrets] = [await reads, await reading];
    const packageName = owner?.name ?? "";
    const own = { service, cpu: config.cpu, image: image.name, packageName, packageVersion: image.version };
    const { amqpAuthMode, amqpPassword, pipeAuthMode, pipeKey } = stand.queue;
    const passwords = {
      amqpPassword: amqpAuthMode === "jwt" ? await signQueueToken("queue", service) : amqpPassword,
      pipeKey: pipeAuthMode === "jwt" ? await signQueueToken("pipe", service) : pipeKey,
    };
    const installed = { ...stand, queue: { ...stand.queue, ...passwords } };
    return { ...injectedEnv(installed, own, userToken), ...secrets };
  };
  return {
    injectedEnv: (container: Container, image: Pick<Image, "name" | "version">): Promise<Record<string, string>> =>
      make(container, image, read(container)),
    prepareEnv: (start: EnvironmentBasis) => {
      const begun = read(start);
      return (container: Container, image: Pick<Image, "name" | "version">): Promise<Record<string, string>> => {
        const isSame = (["packageId", "requestedBy", "requestedKey"] as const).every((one) => container[one] === begun[one]);
        return make(container, image, isSame ? begun : read(container));
      };
    },
  };
}

/** By which the rows are read. */
type EnvironmentBasis = Pick<Container, "id" | "packageId" | "requestedBy" | "requestedKey">;

/** What containers need to reach this installation. */
export type InstallationSettings = {
  /** Where a *container* reaches the API; differs from the public address. */
  apiUrl: string | undefined;
  queue: {
    amqpHost: string;
    amqpPort: number;
    amqpUser: string;
    amqpPassword: string;
    amqpAuthMode: QueueAuthMode;
    tls: boolean;
    pipeHost: string;
    pipePort: number;
    pipeKey: string;
    pipeAuthMode: QueueAuthMode;
  };
};

/** `jwt`: the password or key that a container gets is a token of its own, which berth signs at each start. */
export type QueueAuthMode = "password" | "jwt";

/** A container's description of itself. */
export type OwnDescription = { service: string; cpu: number; image: string; packageName: string; packageVersion: string };

/** Processes per core of a queue worker. */
const WORKERS_PER_CORE = 2;

/**
 * The variables that every container gets, under the names that published images read (AMPQ is how they spell it). The package's
 * credentials and then the container's own map come after them and win. `userToken` is a session of the user whose action starts it.
 */
export function injectedEnv(stand: InstallationSettings, own: OwnDescription, userToken: string | undefined): Record<string, string> {
  const { queue } = stand;
  return {
    DATAGROK_AMPQ_HOST: queue.amqpHost,
    DATAGROK_AMPQ_PORT: String(queue.amqpPort),
    DATAGROK_AMPQ_USER: queue.amqpUser,
    DATAGROK_AMPQ_PASSWORD: queue.amqpPassword,
    DATAGROK_AMPQ_TLS: String(queue.tls),
    DATAGROK_PIPE_HOST: queue.pipeHost,
    DATAGROK_PIPE_PORT: String(queue.pipePort),
    DATAGROK_PIPE_KEY: queue.pipeKey,
    ...(stand.apiUrl === undefined ? {} : { DATAGROK_API_URL: stand.apiUrl }),
    ...(userToken === undefined ? {} : { USER_API_KEY: userToken }),
    ...workerEnv(own),
  };
}

/**
 * What the queue workers read that the publishing client generates (`celery -A $DATAGROK_CELERY_NAME … -Q $TASK_QUEUE_NAME`), and their
 * like in JavaScript. The first follows from the client, whose entry file has that name; that the queue is called after the image is ours.
 */
function workerEnv({ service, cpu, image, packageName, packageVersion }: OwnDescription): Record<string, string> {
  return {
    DATAGROK_CELERY_NAME: image.replaceAll("-", "_"),
    TASK_QUEUE_NAME: image,
    CELERY_HOSTNAME: service,
    WORKERS_PROCESSES: String(Math.max(1, Math.round(cpu * WORKERS_PER_CORE))),
    DATAGROK_PACKAGE_NAME: unscoped(packageName),
    DATAGROK_PACKAGE_VERSION: packageVersion,
  };
}
