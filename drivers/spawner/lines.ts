import type { Clock } from "../../lib/clock.ts";
import { createLineSplitter } from "../../lib/split-lines.ts";
import { Fault } from "../../lib/fault.ts";
import type { SpawnerClient, SpawnerRequest } from "./client.ts";
import { brokenOff, isFault } from "./faults.ts";
import { BEAT_MS } from "./wire.ts";

/** Two beats that were missed: the other side, or the way there, is no more. */
const SILENCE_MS = 2 * BEAT_MS + 5_000;
const LONGEST_LINE = 1_048_576;

/**
 * The values of an answer in lines. Ends when the answer does; rejects with ENGINE_UNREACHABLE where it breaks off or falls silent, and with the
 * signal's reason. `onOpen` is called once the spawner has taken the question.
 */
export async function* lines<T>(client: SpawnerClient, clock: Clock, question: SpawnerRequest, onOpen: () => void = () => {}): AsyncGenerator<T> {
  const { signal, doing } = question;
  const own = new AbortController();
  const silent = () => own.abort(new Fault("ENGINE_UNREACHABLE", `${doing}: the spawner at ${client.name} has fallen silent.`));
  let cancel = () => {};
  try {
    const body = await client.stream({ ...question, signal: AbortSignal.any([signal, own.signal]) });
    onOpen();
    cancel = clock.after(SILENCE_MS, silent);
    const splitter = createLineSplitter();
    for await (const piece of body) {
      cancel();
      cancel = clock.after(SILENCE_MS, silent);
      for (const line of splitter.push(piece)) yield parse<T>(line, question, client.name);
      if (splitter.pending > LONGEST_LINE)
        throw new Fault("ENGINE_FAILED", `${doing}: the spawner at ${client.name} said more in a line than can be meant.`);
    }
  } catch (error) {
    signal.throwIfAborted();
    own.signal.throwIfAborted();
    throw isFault(error) ? error : brokenOff(error, doing, client.name);
  } finally {
    cancel();
    own.abort(new Error("Nobody reads on."));
  }
}

function parse<T>(line: string, { doing }: SpawnerRequest, at: string): T {
  try {
    return JSON.parse(line) as T;
  } catch (cause) {
    throw new Fault("ENGINE_FAILED", `${doing}: what ${at} answered is not JSON; is it a berth spawner?`, { cause });
  }
}
