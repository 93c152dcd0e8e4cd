import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { eventually } from "../fixtures/berth.ts";
import { workingIn } from "../fixtures/processes.ts";
import { tempFolder } from "../fixtures/temp-folder.ts";

for (const signal of ["SIGINT", "SIGHUP"] as const) {
  t.test(`a demo that is left by ${signal} takes along what it started`, async (t) => {
    const data = tempFolder(t);
    const env = { PATH: process.env["PATH"] ?? "", BERTH_EDGE_PORT: "0", BERTH_DATA: data };
    const demo = spawn(process.execPath, [join(import.meta.dirname, "../../berth.ts"), "demo"], { env, stdio: ["ignore", "pipe", "inherit"] });
    t.teardown(() => demo.kill("SIGKILL"));
    let printed = "";
    demo.stdout.on("data", (piece: Buffer) => (printed += piece.toString()));
    const url = await eventually("the command to paste", 20_000, async () => /"(http:\S+\/square\?number=4)"/.exec(printed)?.[1]);
    const answer = await fetch(url, { headers: { authorization: readFileSync(join(data, "demo.token"), "utf8").trim() } });
    t.strictSame(await answer.json(), { result: 16 });
    t.equal(workingIn(data).length, 1, "its container runs");
    const ended = once(demo, "exit");
    demo.kill(signal);
    t.strictSame(await ended, [0, null]);
    t.strictSame(workingIn(data), []);
  });
}
