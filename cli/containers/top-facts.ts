import { Fault } from "../../lib/fault.ts";
import type { ContainerOnWire, MoveOnWire } from "../server/entities.ts";
import { listOf } from "../server/find-entity.ts";
import type { Server } from "../server/server-client.ts";

/** A container with what the list of them does not say; null where that is not known, or it rests. */
export type Seen = ContainerOnWire & { since: string | null; open: number | null };

/** What is asked of each by itself is asked of so many; more do not fit a screen. */
const MOST_ASKED = 50;

/** The look of `berth top`, to be repeated: those that run first. A server that does not know a question is not asked it again. Faults: those of the calls. */
export function openTopFacts(server: Pick<Server, "call">, word: string | undefined): () => Promise<Seen[]> {
  const unknown = new Set<string>();
  const known = new Map<string, { status: string; since: string | null }>();

  const ask = async <T>(id: string, question: string): Promise<T | undefined> => {
    if (unknown.has(question)) return undefined;
    try {
      return await server.call<T>("GET", `/docker/containers/${id}/${question}`);
    } catch (error) {
      if (!(error instanceof Fault) || ![403, 404].includes(error.status)) throw error;
      // A berth says otherwise that the container is gone.
      if (error.code === "ROUTE_NOT_FOUND" || error.code === "ENTITY_NOT_FOUND") unknown.add(question);
      return undefined;
    }
  };

  const sinceOf = async ({ id, status }: ContainerOnWire): Promise<string | null> => {
    const before = known.get(id);
    if (before?.status === status) return before.since;
    const since = (await ask<MoveOnWire[]>(id, "history"))?.at(-1)?.time ?? null;
    known.set(id, { status, since });
    return since;
  };

  const openOf = async ({ id, status }: ContainerOnWire): Promise<number | null> => {
    if (isResting(status)) return null;
    const open = await ask<{ count: number }[]>(id, "open");
    return open?.reduce((sum, { count }) => sum + count, 0) ?? null;
  };

  return async () => {
    const all = (await listOf(server, "containers", word)).toSorted(
      (a, b) => Number(isResting(a.status)) - Number(isResting(b.status)) || a.name.localeCompare(b.name),
    );
    return Promise.all(
      all.map(async (one, at) => {
        if (at >= MOST_ASKED) return { ...one, since: null, open: null };
        const [since, open] = await Promise.all([sinceOf(one), openOf(one)]);
        return { ...one, since, open };
      }),
    );
  };
}

function isResting(status: string): boolean {
  return status.startsWith("stopped");
}
