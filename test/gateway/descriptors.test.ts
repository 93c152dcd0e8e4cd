import { execFileSync } from "node:child_process";
import { createServer } from "node:net";
import { join } from "node:path";
import t from "tap";
import { listen } from "../fixtures/server.ts";

/** Has no descriptor left, and dials a port that listens; prints what it fails with, and what was counted. */
const DIALLER = `
  import { closeSync, openSync } from "node:fs";
  import { systemClock } from ${JSON.stringify(join(import.meta.dirname, "../../lib/clock.ts"))};
  import { dialLease } from ${JSON.stringify(join(import.meta.dirname, "../../gateway/connections/dial.ts"))};
  const target = { host: "127.0.0.1", port: Number(process.argv[2]) };
  const counts = { refused: 0, exhausted: [] };
  const dials = { made: { add() {} }, refused: { add: () => counts.refused++ }, retries: { add() {} }, exhausted: (code) => counts.exhausted.push(code) };
  const lease = { target: () => target, replaceTarget: () => { counts.lost = true; return target; }, onTargetGone: () => () => {} };
  const options = { clock: systemClock(), limits: { connectTimeoutMs: 5_000, probeAfterMs: 1_000 }, signal: new AbortController().signal, dials };
  // Node may give a descriptor back between filling and dialling; the connection then made keeps it, and the next dial has none.
  const kept: unknown[] = [];
  const files: number[] = [];
  let failure: any;
  while (failure === undefined) {
    try { for (;;) files.push(openSync("/dev/null")); } catch {}
    await dialLease(lease, options).then((dialled) => kept.push(dialled), (error) => (failure = error));
  }
  const { code, status, retryAfterMs } = failure;
  // The test runner writes files when a process exits.
  for (const file of files) closeSync(file);
  console.log(JSON.stringify({ code, status, retryAfterMs, ...counts }));
  process.exit(0);
`;

t.test("a gateway without a descriptor left answers for itself, with a time to try again, and does not blame the container", async (t) => {
  const server = createServer();
  const { port: serverPort } = await listen(t, server);
  const script = join(t.testdir({ "dialler.ts": DIALLER }), "dialler.ts");
  const port = String(serverPort);
  const printed = execFileSync("/bin/sh", ["-c", 'ulimit -n 64; exec "$0" "$@"', process.execPath, script, port], {
    encoding: "utf8",
    timeout: 60_000,
  });
  t.strictSame(JSON.parse(printed), { code: "DESCRIPTORS_EXHAUSTED", status: 503, retryAfterMs: 1_000, refused: 0, exhausted: ["EMFILE"] });
});
