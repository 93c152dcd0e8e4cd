import { Fault } from "../../lib/fault.ts";
import type { Log } from "../../lib/log.ts";
import type { AskServer } from "./ask-server.ts";
import { listPages } from "./list-pages.ts";
import { readContainer, type Seen } from "./read-container.ts";
import { signInWithKey } from "./sign-in-with-key.ts";

const MOST_WARNINGS = 10_000;

/** Says of each container once that the server will stop it in use: it hears nothing of calls that go past it. */
export function idleStopWarnings(log: Log): (seen: Seen) => void {
  const warned = new Set<string>();
  return ({ view, shutdownMinutes }) => {
    if (shutdownMinutes === undefined || warned.has(view.id) || warned.size >= MOST_WARNINGS) return;
    warned.add(view.id);
    log.warn(
      { container: view.id, name: view.name, shutdownMinutes },
      "The Datagrok server hears nothing of calls that go past it: it stops this container after its shutdown_timeout, in use or not",
    );
  };
}

/** The same of all containers that the holder of a developer key may see. Where that cannot be asked, each is warned of when it is first called. */
export async function warnOfAll(server: AskServer, key: string, warn: (seen: Seen) => void, log: Log, signal: AbortSignal): Promise<void> {
  try {
    const token = await signInWithKey(server, key, signal);
    for (const entity of await listPages(server, "/docker/containers", token, signal)) warnOf(entity, warn);
  } catch (error) {
    if (!signal.aborted) log.warn({ err: error }, "The Datagrok server's containers could not be looked at for a shutdown_timeout");
  }
}

/** One that cannot be read says so to who calls it. */
function warnOf(entity: unknown, warn: (seen: Seen) => void): void {
  try {
    warn(readContainer(entity));
  } catch (error) {
    if (!(error instanceof Fault)) throw error;
  }
}
