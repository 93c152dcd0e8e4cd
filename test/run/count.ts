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

/** The test files that failed, of tap's own output; undefined if something failed that is no file, e.g. one that ran into tap's time limit. */
export function failedFilesIn(output: string): string[] | undefined {
  const names = [...output.matchAll(/^not ok \d+ - (.*?)(?: # time=\S+)?$/gm)].map(([, name = ""]) => name);
  return names.length > 0 && names.every((name) => name.endsWith(".test.ts")) ? names : undefined;
}

/** What `failuresIn` returns at most, in lines, and of one failure. */
const MAX_LINES = 400;
const MAX_OF_ONE = 40;

/** The failed assertions of tap's own output, each with the names of its file and tests and with its diagnostics; not those that failed because of another. */
export function failuresIn(output: string): string {
  const path: string[] = [];
  const isPath = new Set<string>();
  const failures: string[] = [];
  let block: { indent: number; lines: string[] } | undefined;
  const close = () => {
    if (block) failures.push(...block.lines.slice(0, MAX_OF_ONE), "");
    block = undefined;
  };
  for (const line of output.split("\n")) {
    const indent = line.length - line.trimStart().length;
    if (block && line !== "" && indent <= block.indent) close();
    block?.lines.push(line.slice(block.indent));
    const subtest = /^ *# Subtest: (.*)$/.exec(line)?.[1];
    const failed = /^ *not ok \d+ - (.*?)(?: # time=\S+)?$/.exec(line)?.[1];
    if (subtest !== undefined) {
      path.splice(indent / 4, Number.POSITIVE_INFINITY, subtest);
    } else if (failed !== undefined) {
      const within = path.slice(0, indent / 4);
      // The end of a test or file in which something failed.
      if (!isPath.has([...within, failed].join("\n"))) block = { indent, lines: [[...within, failed].join(" > ")] };
      for (let length = 1; length <= within.length; length++) isPath.add(within.slice(0, length).join("\n"));
    }
  }
  close();
  return failures.slice(0, MAX_LINES).join("\n");
}
