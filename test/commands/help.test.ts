import { join } from "node:path";
import t from "tap";
import { run } from "../registry/run.ts";

const berth = (args: string[], env: NodeJS.ProcessEnv = {}) =>
  run(process.execPath, [join(import.meta.dirname, "../../berth.ts"), ...args], { env: { BERTH_DATA: "/nowhere/at/all", ...env } });

t.test("who asks for help gets it, of every command, and nothing else happens", async (t) => {
  const { output } = await berth(["help"]);
  for (const flag of ["--help", "-h"]) t.same(await berth([flag]), { code: 0, output });
  const names = [...output.matchAll(/^ {2}(\S+) /gm)].map(([, name = ""]) => name);
  t.ok(names.includes("registry"));
  const helped = await Promise.all(names.map((name) => berth([name, "--help"])));
  for (const [at, { code, output: said }] of helped.entries()) {
    t.equal(code, 0, names[at] ?? "");
    t.match(said, new RegExp(`berth ${names[at]}`));
  }
  for (const words of [
    ["registry", "gc", "-h"],
    ["users", "add", "-h"],
  ])
    t.equal((await berth(words)).code, 0);
});

t.test("a registry of berth's own and one that is named are not both meant", async (t) => {
  for (const env of [{ REGISTRY_URL: "registry.example" }, { ECR_MODE: "true" }]) {
    const { code, output } = await berth(["registry"], { DATAGROK_URL: "http://127.0.0.1:1/api", ...env });
    t.same([code, /^berth: .*REGISTRY_URL/m.test(output)], [2, true]);
  }
});
