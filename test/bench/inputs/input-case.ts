import * as fc from "fast-check";

/** The worst input within its size limit for something that a client can reach. */
export type InputCase = {
  name: string;
  /** It takes seconds, though not of the event loop: `npm test` leaves it out. */
  slow?: boolean;
  /** Makes the input, which is not measured. */
  prepare?: () => void | Promise<void>;
  /** Before each run, and after it. Neither is measured. */
  before?: () => void | Promise<void>;
  after?: () => void | Promise<void>;
  /** Reads it once, from the first byte to the result. It may fail as it does for a client: with a Fault. */
  run: () => void | Promise<void>;
  /** Looks for slower inputs than the one of `run`. Returns the longest block it saw and describes the input, which fast-check made as short as it could. */
  search?: (seed: number, runs: number) => { longestMs: number; input: string };
};

/** No other request waits longer than this for one of these inputs. */
export const MAX_BLOCK_MS = 50;

/** The best of three: the first includes compiling the code, and garbage collection comes when it likes. */
const REPETITIONS = 3;

/** Processor time of the event loop's thread in ms: on a busy machine the clock would count what other programs do. */
function threadMs(): number {
  const { user, system } = process.threadCpuUsage();
  return (user + system) / 1_000;
}

/** The longest processor time in ms for which the event loop did nothing else while `run` ran. */
export async function longestBlock({ prepare, before, run, after }: Pick<InputCase, "prepare" | "before" | "run" | "after">): Promise<number> {
  await prepare?.();
  let best = Number.POSITIVE_INFINITY;
  for (let left = REPETITIONS; left > 0 && best > MAX_BLOCK_MS / 10; left--) {
    await before?.();
    try {
      best = Math.min(best, await measure(run));
    } finally {
      await after?.();
    }
  }
  return best;
}

async function measure(run: InputCase["run"]): Promise<number> {
  let longest = 0;
  let last = threadMs();
  let immediate: NodeJS.Immediate;
  const turn = () => {
    const now = threadMs();
    longest = Math.max(longest, now - last);
    last = now;
    immediate = setImmediate(turn);
  };
  immediate = setImmediate(turn);
  try {
    await run();
  } finally {
    clearImmediate(immediate);
  }
  return Math.max(longest, threadMs() - last);
}

function timeOf(read: () => void): number {
  let best = Number.POSITIVE_INFINITY;
  for (let left = REPETITIONS; left > 0 && best > MAX_BLOCK_MS; left--) {
    const start = threadMs();
    read();
    best = Math.min(best, threadMs() - start);
  }
  return best;
}

/**
 * A case whose search makes inputs of the form prefix, a part repeated up to the size limit, suffix: what makes parsers backtrack or search
 * again. `pieces` are the tokens of the format. `read` must not throw for what clients are refused for.
 */
export function pumped(name: string, options: { limit: number; pieces: readonly string[]; worst: string; read(text: string): void }): InputCase {
  const { limit, pieces, read } = options;
  const part = fc.array(fc.constantFrom(...pieces), { maxLength: 6 }).map((tokens) => tokens.join(""));
  const fill = (before: string, repeated: string, after: string) => {
    const available = limit - before.length - after.length;
    return repeated === "" || available < 0 ? before + after : before + repeated.repeat(Math.floor(available / repeated.length)) + after;
  };
  return {
    name,
    run: () => read(options.worst),
    search: (seed, runs) => {
      let longestMs = 0;
      let input = "";
      const property = fc.property(part, part, part, (before, repeated, after) => {
        const text = fill(before, repeated, after);
        const ms = timeOf(() => read(text));
        if (ms > longestMs) {
          longestMs = ms;
          input = JSON.stringify([before, repeated, after]);
        }
        return ms <= MAX_BLOCK_MS;
      });
      const details = fc.check(property, { seed, numRuns: runs, interruptAfterTimeLimit: 60_000 });
      if (details.counterexample) input = JSON.stringify(details.counterexample);
      return { longestMs, input };
    },
  };
}
