import type { Driver, Readiness } from "../../drivers/driver.ts";
import { readinessOfHealthcheck } from "../../lib/image-healthcheck.ts";
import { isQueueWorker } from "../../lib/queue-worker.ts";
import type { Container, Image } from "../model/entities.ts";

type ImageFacts = Pick<Image, "exposed" | "command" | "healthcheck" | "dockerfile">;
type ConfigFacts = Pick<Container["config"], "health" | "worker" | "port" | "cpu">;

/** What a container must show before it counts as started, and what follows from that. */
export type ReadinessPlan = {
  readiness: Readiness;
  port: number | undefined;
  /** It takes its work from a queue: it need not listen on its port, and its activity is what it uses. */
  isWorker: boolean;
  /** Cores. */
  cpu: number;
  /** For the package's author: what of the image has no effect here. */
  notes: string[];
};

/** Between two requests for its health. */
const INTERVAL_SECONDS = 10;
const TIMEOUT_SECONDS = 5;
/** A queue worker gets at least so much, as a Datagrok server gives it. */
const WORKER_CPU = 1;

type PlanContext = { config: ConfigFacts; image: ImageFacts; driver: Pick<Driver, "healthchecks">; port: number | undefined; isWorker: boolean };
type Rule = (context: PlanContext, notes: string[]) => { readiness: Readiness; port?: number | undefined } | undefined;

/** The first rule that holds decides. */
const RULES: readonly Rule[] = [
  ({ config: { health }, port }, notes) => {
    if (!health) return undefined;
    const { path, port: own = port, intervalSeconds = INTERVAL_SECONDS, timeoutSeconds = TIMEOUT_SECONDS } = health;
    if (own !== undefined)
      return {
        readiness: { kind: "http", path, port: own, intervalMs: intervalSeconds * 1_000, timeoutMs: timeoutSeconds * 1_000 },
        port: port ?? own,
      };
    notes.push("`health` of container.json is ignored: no port is known, neither its own nor the container's");
    return undefined;
  },
  ({ image: { healthcheck }, driver, isWorker }, notes) => {
    if (!healthcheck) return undefined;
    if (driver.healthchecks) return { readiness: { kind: "healthcheck", ...(isWorker ? { portStaysClosed: true } : {}) } };
    const readiness = readinessOfHealthcheck(healthcheck);
    if (!readiness)
      notes.push("the image's HEALTHCHECK is ignored: it sends no HTTP request that berth could send. `health` in container.json is used everywhere");
    return readiness && { readiness };
  },
  ({ isWorker }) => (isWorker ? { readiness: { kind: "running" } } : undefined),
  ({ port }) => ({ readiness: { kind: port === undefined ? "running" : "port" } }),
];

export function planReadiness(config: ConfigFacts, image: ImageFacts, driver: Pick<Driver, "healthchecks">): ReadinessPlan {
  const isWorker = config.worker ?? isQueueWorker(image);
  const context = { config, image, driver, port: declaredPort({ row: { config }, image }), isWorker };
  const notes: string[] = [];
  for (const rule of RULES) {
    const plan = rule(context, notes);
    if (plan) return { port: context.port, isWorker, cpu: isWorker ? Math.max(config.cpu, WORKER_CPU) : config.cpu, notes, ...plan };
  }
  throw new Error("The last rule always holds");
}

/** The port on which it is to listen. */
export function declaredPort({
  row,
  image,
}: {
  row: { config: Pick<ConfigFacts, "port"> };
  image: Pick<Image, "exposed"> | undefined;
}): number | undefined {
  return row.config.port ?? image?.exposed[0];
}

/** For users: what a queue worker is, and why nothing answers at its port; undefined for every other container. */
export function workerNote(
  { row, image }: { row: Pick<Container, "config" | "deployed">; image: Pick<Image, "exposed"> | undefined },
  state = row.deployed?.worker,
): string | undefined {
  if (!row.deployed?.worker) return undefined;
  const port = declaredPort({ row, image });
  return port === undefined
    ? "queue worker"
    : state === "listens"
      ? `queue worker; listens on port ${port}`
      : `queue worker; nothing listens on port ${port}`;
}
