import * as fc from "fast-check";
import type { Test } from "tap";

const { MODEL_RUNS: runs, MODEL_SEED: seed = "1", MODEL_PATH: path, MODEL_REPLAY: replayPath } = process.env;

/** For `fc.commands`: which of the commands of a shrunk life ran, where one is replayed. */
export const REPLAY = replayPath === undefined ? {} : { replayPath };

/**
 * Checks a property over random lives: by default `usual` of them, the same in every run; `npm run model` takes other seeds and thousands of lives. A failure prints
 * the shortest life that shows it, and the variables that repeat it, for `node <file>`. `share`: of those thousands. Returns how many lives there were.
 */
export async function checkLives<T>(
  t: Test,
  property: fc.IAsyncProperty<T>,
  { file, usual, share = 1 }: { file: string; usual: number; share?: number },
): Promise<number> {
  const count = runs === undefined ? usual : Math.ceil(Number(runs) * share);
  const result = await fc.check(property, {
    numRuns: count,
    seed: Number(seed),
    ...(path === undefined ? {} : { path }),
    endOnFailure: path !== undefined,
  });
  const replay = /replayPath="([^"]*)"/.exec(String(result.counterexample))?.[1];
  const repeat = `MODEL_SEED=${result.seed} MODEL_PATH=${result.counterexamplePath} MODEL_REPLAY=${replay} node ${file}`;
  if (result.failed) t.comment(`${repeat}\n${String(result.counterexample)}\n${String(result.errorInstance)}`);
  t.notOk(result.failed, result.failed ? repeat : "every life");
  t.ok(path !== undefined || result.numRuns === count, `${result.numRuns} lives`);
  return result.numRuns;
}
