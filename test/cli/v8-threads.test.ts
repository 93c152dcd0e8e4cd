import { execFileSync } from "node:child_process";
import { join } from "node:path";
import t from "tap";

/** Prints at its end how many threads V8 has beside the event loop. */
const COUNTS = `data:text/javascript,${encodeURIComponent(`
  import { readdirSync, readFileSync } from "node:fs";
  const threads = () => readdirSync("/proc/self/task").map((id) => readFileSync("/proc/self/task/" + id + "/comm", "utf8"));
  process.on("exit", () => console.log(threads().filter((name) => name.includes("V8Worker")).length));
`)}`;

t.test("the command berth starts one thread of V8: the threads of a collection share the processor with the event loop", async (t) => {
  const env = { PATH: process.env["PATH"], NODE_OPTIONS: `--import=${COUNTS}` };
  const printed = execFileSync(join(import.meta.dirname, "../../berth"), ["version"], { encoding: "utf8", env });
  t.equal(printed.trim().split("\n").at(-1), "1");
});
