import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { tempFolder } from "../../fixtures/temp-folder.ts";
import { type CheckRows, look } from "./look.ts";

const LOOK = JSON.stringify(join(import.meta.dirname, "look.ts"));

t.test("which sockets are used, and that node:ffi works", async (t) => {
  // A machine, e.g. a container, may forbid io_uring.
  const says = /^ffi, with(?: io_uring|out io_uring: io_uring_setup E[A-Z]+)$/;
  t.match(await look(t, ["settings", "sockets"], {}), { sockets: { state: "ok", says } });
  const ofNode = await look(t, ["settings", "sockets"], { BERTH_SOCKETS: "node" });
  t.match(ofNode, { sockets: { state: "ok", says: "node; BERTH_SOCKETS=ffi would work here" } });
  t.match(await look(t, ["settings", "sockets"], { BERTH_SOCKETS: "ffi" }), { sockets: { state: "ok", says } });
});

t.test("without node:ffi it says so, and warns where that is set", async (t) => {
  const script = join(tempFolder(t), "look.ts");
  writeFileSync(
    script,
    `import { look } from ${LOOK};
    console.log(JSON.stringify(await look({ teardown() {} }, ["settings", "sockets"], process.argv[2] ? { BERTH_SOCKETS: process.argv[2] } : {})));`,
  );
  const rows = (...args: string[]) =>
    JSON.parse(execFileSync(process.execPath, ["--no-experimental-ffi", script, ...args], { encoding: "utf8" })) as CheckRows;
  t.match(rows(), { sockets: { state: "ok", says: /^node; .* this Node has no node:ffi$/ } });
  const { sockets } = rows("ffi");
  t.match(sockets, { state: "ok", says: "node" });
  t.match(JSON.stringify(sockets), /BERTH_SOCKETS=ffi does not work here/);
});
