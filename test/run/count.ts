export type TestCount = { passed: number; failed: number };

/**
 * Reads the totals that tap writes at the end of its own output, e.g. `# { total: 9, pass: 4, fail: 4, skip: 1 }`: assertions of
 * all files. A skipped one or one marked as to do counts as failed, since nothing here may be skipped; so does a run that ended
 * without totals, or badly in spite of them.
 */
export function countTap(output: string, exitedWell: boolean): TestCount {
  const totals = [...output.matchAll(/^# \{ (total: .*) \}$/gm)].at(-1)?.[1];
  const total = new Map((totals ?? "").split(", ").map((pair) => [pair.split(": ")[0], Number(pair.split(": ")[1])]));
  const failed = (total.get("fail") ?? 0) + (total.get("skip") ?? 0) + (total.get("todo") ?? 0);
  const passed = total.get("pass") ?? 0;
  const empty = passed + failed === 0;
  return { passed, failed: failed === 0 && (!exitedWell || empty) ? 1 : failed };
}
