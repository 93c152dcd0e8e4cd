import type { Clock } from "../../lib/clock.ts";
import { Fault, type FaultCode, FAULTS } from "../../lib/fault.ts";
import { type CommandVerb, defineVerb, throwFaults, tryEach, type Verbs } from "../command.ts";
import {
  type ContainerOnWire,
  findByName,
  type ImageOnWire,
  type MoveOnWire,
  type ReplicaOnWire,
  type ServerClient,
} from "../server/server-client.ts";
import { JSON_OPTION, selectServer, SERVER_OPTIONS } from "../server/server-command.ts";
import { oneLine, openProgressLine } from "../terminal.ts";
import { containerJson, imageJson } from "./list.ts";

/** What the verbs can request. */
const ACTIONS = {
  run: { method: "GET", path: "run?awaitStart=false", reached: "started", done: "runs", doing: "starting", failed: "did not start" },
  stop: { method: "GET", path: "stop?awaitStop=false", reached: "stopped", done: "has stopped", doing: "stopping", failed: "did not stop" },
  restart: { method: "POST", path: "restart?awaitStart=false", reached: "started", done: "runs", doing: "restarting", failed: "did not start" },
} as const;

type ContainerAction = keyof typeof ACTIONS;

/** The result; of a failure its `cause` and the log tail. */
type ActionOutcome = { container: ContainerOnWire; ok: boolean; ms: number; cause?: { code: string; message: string }; logs?: string };

const POLL_MS = 300;
/** Longer than any start, pull or validation that a server allows. */
const MAX_WAIT_MS = 3_600_000;
const LOG_LINES = 20;

type ActionRequest = {
  server: Pick<ServerClient, "call" | "text">;
  container: ContainerOnWire;
  action: ContainerAction;
  wait: boolean;
  /** Gets each state in between. */
  onStatus(status: string): void;
  clock: Clock;
  signal: AbortSignal;
};

/**
 * Requests a start, a stop or both and, with `wait`, polls until it is done. Requests are short, because a proxy may end one that is open for minutes.
 * Faults: those of the calls; a start that fails is an outcome.
 */
async function performAction(request: ActionRequest): Promise<ActionOutcome> {
  const { server, clock, signal, onStatus } = request;
  const { method, path, reached, doing } = ACTIONS[request.action];
  const begun = clock.monotonic();
  const spent = () => Math.round(clock.monotonic() - begun);
  const at = `/docker/containers/${request.container.id}`;
  let container = await server.call<ContainerOnWire>(method, `${at}/${path}`);
  // Some servers only acknowledge the request.
  if (typeof container?.status !== "string") container = await server.call<ContainerOnWire>("GET", at);
  if (!request.wait) return { container, ok: true, ms: spent() };
  while (!isSettled(container)) {
    onStatus(progressOf(container));
    if (spent() > MAX_WAIT_MS) throw new Fault("START_TIMED_OUT", `${container.name} is still ${container.status}: gave up waiting.`);
    await clock.sleep(POLL_MS, signal);
    container = await server.call<ContainerOnWire>("GET", at);
  }
  const left = request.action === "stop" ? replicasLeft(container).find(hasFailed) : undefined;
  if (container.status.startsWith(reached) && left === undefined) return { container, ok: true, ms: spent() };
  const cause = left === undefined ? (container.status === "error" ? await causeOf(server, at) : undefined) : replicaFailure(left);
  const instead = {
    code: "CONTAINER_STOPPED",
    message: `It is ${container.status}: another request changed its desired state while it was ${doing}.`,
  };
  return { container, ok: false, ms: spent(), cause: cause ?? instead, logs: await logTail(server, at, container) };
}

/** No transition will follow. A stopped container with the desired state RUNNING will start; of one that is to stay stopped, replicas may still stop. */
function isSettled(container: ContainerOnWire): boolean {
  const { status, desiredInstances } = container;
  if (status === "started" || status === "error") return true;
  return status.startsWith("stopped") && desiredInstances !== 1 && replicasLeft(container).every(hasFailed);
}

/** Replicas of a stopped container that have not stopped. */
export function replicasLeft({ status, replicas }: ContainerOnWire): readonly ReplicaOnWire[] {
  return status.startsWith("stopped") ? (replicas?.each ?? []).filter((one) => !one.status.startsWith("stopped")) : [];
}

/** It could not be stopped; one that failed to start is stopped in a moment. */
function hasFailed({ status, desiredInstances }: ReplicaOnWire): boolean {
  return status === "error" && desiredInstances === 0;
}

function replicaFailure({ replica, cause }: ReplicaOnWire): { code: string; message: string } {
  return { code: "ENGINE_FAILED", message: `Its replica ${replica} has not stopped: ${cause ?? "the server gives no reason."} berth tries again.` };
}

/** What is shown while one waits. */
export function progressOf(container: ContainerOnWire): string {
  const left = replicasLeft(container).map(({ replica }) => replica);
  if (left.length === 0) return container.status;
  return `${container.status}, ${left.length === 1 ? `replica ${left[0]} still stops` : `replicas ${left.join(", ")} still stop`}`;
}

/**
 * What became of a request. A server without `restart` stops the container, then starts it; berth's does both in one transaction, so that none is left stopped.
 * Faults: only what ended the command, such as Ctrl-C. A refused call is an outcome.
 */
async function outcomeOf(request: ActionRequest): Promise<ActionOutcome> {
  const { container, signal, clock } = request;
  const begun = clock.monotonic();
  const lacksRestart = (error: unknown) => request.action === "restart" && error instanceof Fault && error.status === 404;
  const stopAndRun = async () => {
    const stopped = container.status.startsWith("stopped") ? undefined : await performAction({ ...request, action: "stop", wait: true });
    return stopped?.ok === false ? stopped : performAction({ ...request, action: "run" });
  };
  try {
    return await performAction(request).catch((error: unknown) => (lacksRestart(error) ? stopAndRun() : Promise.reject(error as Error)));
  } catch (error) {
    if (signal.aborted || !(error instanceof Fault)) throw error;
    return { container, ok: false, ms: Math.round(clock.monotonic() - begun), cause: { code: error.code, message: error.message } };
  }
}

/** A server without a history has the reason only in the logs. */
async function causeOf(server: Pick<ServerClient, "call">, at: string): Promise<{ code: string; message: string }> {
  const moves = await server.call<MoveOnWire[]>("GET", `${at}/history`).catch(() => []);
  const failure = Array.isArray(moves) ? moves.findLast(({ cause }) => cause !== null)?.cause : undefined;
  return failure ?? { code: "ENGINE_FAILED", message: "The server gives no reason." };
}

async function logTail(server: Pick<ServerClient, "text">, at: string, container: ContainerOnWire): Promise<string> {
  const text = await server.text(`${at}/logs?limit=${LOG_LINES}`).catch(() => container.lastLogs ?? "");
  return text.trimEnd().split("\n").slice(-LOG_LINES).join("\n");
}

/** `berth run`, `berth stop` and `berth restart`. Faults: the cause of the first failure, after all were tried. */
function actionVerb(action: ContainerAction, summary: string): CommandVerb {
  const { done, failed, doing } = ACTIONS[action];
  return defineVerb({
    words: "<container>...",
    summary,
    options: {
      ...SERVER_OPTIONS,
      ...JSON_OPTION,
      "no-wait": { summary: "return immediately; do not wait" },
    },
    completes: "containers",
    run: async ({ context, words, options, screen, signal }) => {
      const server = selectServer(context, options);
      const { clock } = context;
      const containers: ContainerOnWire[] = [];
      for (const word of words) containers.push(await findByName(server, "containers", word));
      const progress = openProgressLine(screen, clock);
      const states = new Map<string, string>();
      const showStatus = (name: string, status: string) => {
        states.set(name, status);
        progress.update([...states].map(([one, state]) => `${one}: ${state}`).join(", "));
      };
      const wait = !options["no-wait"];
      const outcomes: ActionOutcome[] = await Promise.all(
        containers.map((container) => {
          const onStatus = (status: string) => showStatus(container.name, status);
          return outcomeOf({ server, container, action, wait, onStatus, clock, signal });
        }),
      )
        .catch((error: unknown) => {
          if (signal.aborted) screen.note(`Stopped waiting: ${containers.map(({ name }) => name).join(", ")} may still be ${doing}.`);
          throw error;
        })
        .finally(progress.close);
      if (options.json) screen.json(outcomes.map(({ container, ok, ms, cause }) => ({ ...containerJson(container), ok, ms, cause: cause ?? null })));
      else {
        for (const { container, ok, ms } of outcomes) {
          if (ok) screen.print(wait ? `${container.name} ${done} (${(ms / 1_000).toFixed(1)} s).` : `${container.name} is ${container.status}.`);
        }
      }
      const wrong = outcomes.filter(({ ok }) => !ok);
      if (!options.json)
        for (const { container, logs } of wrong)
          if (logs) screen.note([`The last lines of ${container.name}:`, ...logs.split("\n").map((line) => `  ${oneLine(line)}`)].join("\n"));
      if (wrong.length > 0)
        throw new Fault(codeOf(wrong), wrong.map(({ container, cause }) => `${container.name} ${failed}: ${cause?.message}`).join("\n"));
    },
  });
}

function codeOf([first]: ActionOutcome[]): FaultCode {
  const code = first?.cause?.code ?? "";
  return Object.hasOwn(FAULTS, code) ? (code as FaultCode) : "ENGINE_FAILED";
}

/** `berth run` */
export const START: Verbs = { "": actionVerb("run", "start containers, and wait until they answer") };

/** `berth stop` */
export const STOP: Verbs = { "": actionVerb("stop", "stop containers, and wait until they have stopped") };

/** `berth restart` */
export const RESTART: Verbs = { "": actionVerb("restart", "stop containers and start them again, and wait until they answer") };

/** Polls until an image is ready or has failed. Faults: VALIDATION_TIMED_OUT. */
export async function waitUntilValidated(
  deps: { server: Pick<ServerClient, "call">; onStatus(image: ImageOnWire): void; clock: Clock; signal: AbortSignal },
  image: ImageOnWire,
): Promise<ImageOnWire> {
  const { server, onStatus, clock, signal } = deps;
  const giveUpAt = clock.monotonic() + MAX_WAIT_MS;
  for (let now = image; ; now = await server.call<ImageOnWire>("GET", `/docker/images/${image.id}`)) {
    if (!/pending|validating/.test(now.status)) return now;
    onStatus(now);
    if (clock.monotonic() > giveUpAt) throw new Fault("VALIDATION_TIMED_OUT", `${now.name} is still ${now.status}: gave up waiting.`);
    await clock.sleep(POLL_MS, signal);
  }
}

/** The last line of the validation's log has the reason. */
export function unusableReason({ name, logs }: ImageOnWire): string {
  const last = (logs ?? "").trim().split("\n").at(-1) ?? "";
  return `${name} cannot be used: ${last === "" ? "the server gives no reason." : last}`;
}

export const REVALIDATE: Verbs = {
  "": defineVerb({
    words: "<image>...",
    summary: "validate images again, and wait for the result",
    options: { ...SERVER_OPTIONS, ...JSON_OPTION, "no-wait": { summary: "return immediately; do not wait" } },
    completes: "images",
    run: async ({ context, words, options, screen, signal }) => {
      const server = selectServer(context, options);
      const { clock } = context;
      const images: ImageOnWire[] = [];
      for (const word of words) images.push(await findByName(server, "images", word));
      const progress = openProgressLine(screen, clock);
      const onStatus = ({ name, status }: ImageOnWire) => progress.update(`${name}: ${status}`);
      const validate = async (image: ImageOnWire) => {
        await server.call("GET", `/docker/images/${image.id}/revalidate`);
        const now = await server.call<ImageOnWire>("GET", `/docker/images/${image.id}`);
        return options["no-wait"] ? now : waitUntilValidated({ server, onStatus, clock, signal }, now);
      };
      const { results: validated, faults } = await tryEach(images, validate, signal).finally(progress.close);
      if (options.json) screen.json(validated.map(imageJson));
      else
        for (const { name, status, imageRef } of validated)
          if (status !== "error") screen.print(`${name} is ${status}${imageRef ? `: ${imageRef}` : ""}.`);
      const wrong = validated.filter(({ status }) => status === "error");
      throwFaults([...faults, ...wrong.map((image) => new Fault("IMAGE_NOT_FOUND", unusableReason(image)))]);
    },
  }),
};
