import type { Clock } from "../../lib/clock.ts";
import { Fault } from "../../lib/fault.ts";
import { defineVerb, type Verbs } from "../command.ts";
import { type ContainerOnWire, findByName, type ServerClient } from "../server/server-client.ts";
import { JSON_OPTION, selectServer, SERVER_OPTIONS } from "../server/server-command.ts";
import { formatDuration, openProgressLine, parseDuration } from "../terminal.ts";
import { progressOf, replicasLeft } from "./actions.ts";
import { containerJson } from "./list.ts";

const POLL_MS = 300;
const DEFAULT_LIMIT = "5m";

/** What `--for` takes: a container is there when one of these is the beginning of its status, and a stopped one when its replicas have stopped too. */
const TARGETS = {
  started: ["started"],
  stopped: ["stopped"],
  error: ["error"],
  /** It no longer exists. */
  removed: [],
} as const satisfies Record<string, readonly string[]>;

type WaitTarget = keyof typeof TARGETS;

/** `berth wait` */
export const verbs: Verbs = {
  "": defineVerb({
    words: "<container>...",
    summary: "wait until containers have started, or are in another status; starts nothing",
    options: {
      ...SERVER_OPTIONS,
      ...JSON_OPTION,
      for: { value: "<status>", summary: "the status to wait for (started)", completes: Object.keys(TARGETS) },
      timeout: { value: "<time>", summary: `fail after this time, such as 30s or 10m (${DEFAULT_LIMIT})` },
    },
    completes: "containers",
    run: async ({ context, words, options, screen, signal }) => {
      const target = (options.for ?? "started") as WaitTarget;
      const limitMs = parseDuration("--timeout", options.timeout ?? DEFAULT_LIMIT);
      const { clock } = context;
      const server = selectServer(context, options);
      const begun = clock.monotonic();
      const containers: ContainerOnWire[] = [];
      for (const word of words) containers.push(await findByName(server, "containers", word));
      const progress = openProgressLine(screen, clock);
      const waitFor = async (container: ContainerOnWire) => {
        const onStatus = (status: string) => {
          progress.update(`${container.name}: ${status}`);
          if (target === "started" && status === "error")
            throw new Fault("CONTAINER_STOPPED", `${container.name} is error, not started. See berth explain ${container.name}.`);
          if (clock.monotonic() - begun > limitMs)
            throw new Fault(
              "START_TIMED_OUT",
              `${container.name} is not ${target} after ${formatDuration(limitMs)}: its status is ${status}. See berth explain ${container.name}.`,
            );
        };
        const until = (now: ContainerOnWire) =>
          TARGETS[target].some((beginning) => now.status.startsWith(beginning)) && replicasLeft(now).length === 0;
        return pollContainer({ server, container, until, onStatus, clock, signal });
      };
      const waited = await Promise.all(containers.map(waitFor)).finally(progress.close);
      if (options.json) return screen.json(waited.map((one, at) => ({ ...containerJson(one ?? containers[at]!), status: one?.status ?? "removed" })));
      for (const [at, one] of waited.entries()) screen.print(`${containers[at]!.name} is ${one?.status ?? "removed"}.`);
    },
  }),
};

/** Queries a container until the condition holds or it no longer exists: undefined then. `onStatus` gets each status before, with the replicas that still stop, and may throw. */
export async function pollContainer(of: {
  server: Pick<ServerClient, "call">;
  container: Pick<ContainerOnWire, "id">;
  until(container: ContainerOnWire): boolean;
  onStatus(status: string): void;
  clock: Clock;
  signal: AbortSignal;
}): Promise<ContainerOnWire | undefined> {
  for (;;) {
    const now = await of.server.call<ContainerOnWire>("GET", `/docker/containers/${of.container.id}`).catch((error: unknown) => {
      if (error instanceof Fault && error.status === 404) return undefined;
      throw error;
    });
    if (!now || of.until(now)) return now;
    of.onStatus(progressOf(now));
    await of.clock.sleep(POLL_MS, of.signal);
  }
}
