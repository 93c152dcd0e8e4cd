import type { Clock } from "../../lib/clock.ts";
import { Fault } from "../../lib/fault.ts";
import { createBackoff } from "../../lib/backoff.ts";
import type { DeployCall } from "../driver.ts";
import { type SpawnerClient, type SpawnerRequest, lines } from "./client.ts";
import { brokenOff, brokeOffAfterConnect, saidFault } from "./faults.ts";
import type { WireLine } from "./wire.ts";

const RETRY_MS = { first: 250, longest: 2_000 };
/** What was under way when the connection broke goes on there, or is found by who asks again: worth as long as a restart takes. */
const PATIENCE_MS = 20_000;

type Result = Exclude<WireLine, { pull: unknown } | { fault: unknown }>;

/**
 * Asks for something that takes its time, and answers with its last line. Where the connection breaks after the spawner was there, or it says
 * to come again, the same is asked again: it joins what goes on, or does again what may be repeated. Faults: those of the far side;
 * ENGINE_UNREACHABLE, at once where it never was there.
 */
export async function awaitWork(client: SpawnerClient, clock: Clock, question: SpawnerRequest, { signal, onPull }: DeployCall): Promise<Result> {
  const { doing } = question;
  const delays = createBackoff(RETRY_MS.first, RETRY_MS.longest);
  let brokenAt: number | undefined;
  for (;;) {
    let taken = false;
    try {
      for await (const line of lines<WireLine>(client, clock, { ...question, signal }, () => (taken = true))) {
        if (!("pull" in line)) return resultOf(line, doing, client.name);
        brokenAt = undefined;
        onPull?.(line.pull);
      }
      throw brokenOff(new Error("it ended without an answer"), doing, client.name);
    } catch (error) {
      if (signal.aborted) throw signal.reason;
      if (error instanceof FarFault) throw error.fault;
      const now = clock.monotonic();
      if (!(error instanceof Fault)) throw error;
      // Once it was there, it may also be gone altogether for a while.
      if (taken || error.retryAfterMs !== undefined || brokeOffAfterConnect(error)) brokenAt ??= now;
      const isPassing = error.retryAfterMs !== undefined || error.code === "ENGINE_UNREACHABLE";
      if (!isPassing || brokenAt === undefined || now - brokenAt > PATIENCE_MS) throw error;
      await clock.sleep(Math.max(delays.next(), error.retryAfterMs ?? 0), signal);
    }
  }
}

/** What came of it there, which is not to be taken for a connection that broke: its engine may be unreachable too. */
class FarFault extends Error {
  readonly fault: Fault;
  constructor(fault: Fault) {
    super(fault.message);
    this.fault = fault;
  }
}

function resultOf(line: Exclude<WireLine, { pull: unknown }>, doing: string, at: string): Result {
  if ("fault" in line) throw new FarFault(saidFault(Fault.from(line.fault), doing, at));
  return line;
}
