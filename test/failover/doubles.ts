import { mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

/** Two instances of one container that lived at the same time. `ms`: for how long, at most; it grows while they do. */
export type DoubledContainer = { container: string; ms: number };

export type DoubleWatch = {
  /** Each that was noticed so far. */
  doubles(): readonly DoubledContainer[];
  /** What a container's program is to be run by. */
  command(container: string): readonly string[];
};

/**
 * How long two instances of a container may live at the same time. Each service has one name, which the orchestrator gives to one instance only, also where
 * a deposed leader had a call under way: not for a moment.
 */
export const LONGEST_DOUBLE_MS = 0;

const LOOK_MS = 20;
const INSTANCE = join(import.meta.dirname, "instance.sh");

/**
 * Notes doubles while they last. Each instance looks for others when it starts, so none is too short to be noticed; how long they last is measured here, from
 * the look before.
 */
export function watchDoubles(t: { teardown(end: () => unknown): void }, folder: string): DoubleWatch {
  mkdirSync(folder, { recursive: true });
  const noted = new Map<string, DoubledContainer & { since: number; instances: readonly string[]; lasts: boolean }>();
  let lookedAt = performance.now();
  const look = () => {
    const before = lookedAt;
    lookedAt = performance.now();
    for (const line of linesOf(join(folder, "doubles"))) {
      const [container = "", ...instances] = line.split(" ");
      const id = instances.toSorted().join(" ");
      if (!noted.has(id)) noted.set(id, { container, instances, since: before, ms: 0, lasts: true });
    }
    for (const one of noted.values()) {
      if (!one.lasts) continue;
      one.ms = lookedAt - one.since;
      one.lasts = one.instances.every(isAlive);
    }
  };
  const timer = setInterval(look, LOOK_MS);
  t.teardown(() => clearInterval(timer));
  return {
    doubles: () => {
      look();
      return [...noted.values()].map(({ container, ms }) => ({ container, ms }));
    },
    command: (container) => ["sh", INSTANCE, folder, container],
  };
}

function linesOf(file: string): string[] {
  try {
    const text = readFileSync(file, "utf8");
    // The last line may not be written yet.
    return text
      .slice(0, text.lastIndexOf("\n") + 1)
      .split("\n")
      .filter((line) => line !== "");
  } catch {
    return [];
  }
}

/** `instance`: its pid and start time. A zombie is dead. */
function isAlive(instance: string): boolean {
  const [pid, startTime] = instance.split(".");
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    const [state = "", ...fields] = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return !["Z", "X"].includes(state) && fields[18] === startTime;
  } catch {
    return false;
  }
}
