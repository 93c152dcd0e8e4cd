import type { AccessRecord } from "../../gateway/access-record.ts";
import { inWords } from "./open-objects.ts";
import { planIn } from "./mixed/plan.ts";

/** The last exchanges that ended in the gateway of a soak, and the last debug lines of its log. */
export type RecentExchanges = {
  add(exchange: AccessRecord): void;
  note(fields: Record<string, unknown>, sentence: string): void;
  /** The exchanges of requests that have this id in their target, and the notes. */
  describe(id: string): string[];
};

const MAX_EXCHANGES = 1_024;
const MAX_NOTES = 16;

type EndedExchange = { target: string; fields: Record<string, unknown> };

export function createRecentExchanges(): RecentExchanges {
  const exchanges: EndedExchange[] = [];
  const notes: string[] = [];
  return {
    add: ({ head, status, fault, labels, ending, bytesIn, bytesOut, holdMs, connectMs, startedAt, firstByteAt, overAt }) => {
      if (exchanges.length === MAX_EXCHANGES) exchanges.shift();
      const times = { holdMs, connectMs, headMs: firstByteAt === 0 ? undefined : firstByteAt - startedAt, totalMs: overAt - startedAt };
      const connection = connectMs > 0 ? "new" : bytesIn > 0 ? "kept" : "none";
      exchanges.push({
        target: head?.target ?? "",
        fields: { status, fault: fault ?? labels.fault, ending, connection, bytesIn, bytesOut, ...times },
      });
    },
    note: ({ err }, sentence) => {
      if (notes.length === MAX_NOTES) notes.shift();
      notes.push(`${sentence}: ${err instanceof Error ? err.message : ""}`);
    },
    describe: (id) => [...exchanges.filter(({ target }) => idIn(target) === id).map(({ fields }) => inWords(fields)), ...notes],
  };
}

function idIn(target: string): string | undefined {
  try {
    return planIn(target).id;
  } catch {
    // A WebSocket has no plan.
    return target.slice(target.indexOf("?") + 1);
  }
}
