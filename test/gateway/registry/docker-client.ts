import { randomBytes } from "node:crypto";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Test } from "tap";
import { openEngine } from "../../fixtures/engine.ts";
import { tempFolder } from "../../fixtures/temp-folder.ts";
import { run } from "./run.ts";

/** docker with a configuration of its own, against the tests' engine, which takes a loopback address for a registry without TLS. */
export function docker(t: Test) {
  const config = tempFolder(t);
  const env = { DOCKER_CONFIG: config, DOCKER_HOST: openEngine().host };
  const call = (words: string[], input?: string) => run("docker", words, { env, ...(input === undefined ? {} : { input }) });
  return { call, config };
}

/** An image of one layer, which no other test has. `bytes`: what cannot be compressed in it. */
export async function build(t: Test, call: ReturnType<typeof docker>["call"], tag: string, bytes = 0): Promise<void> {
  const folder = tempFolder(t);
  mkdirSync(join(folder, "root"));
  writeFileSync(join(folder, "root/name"), `${tag} ${process.hrtime.bigint()}`);
  if (bytes > 0) writeFileSync(join(folder, "root/bytes"), randomBytes(bytes));
  writeFileSync(join(folder, "Dockerfile"), "FROM scratch\nCOPY root /\nEXPOSE 8080\n");
  const built = await run("docker", ["build", "-q", "-t", tag, folder], { env: { DOCKER_HOST: openEngine().host, DOCKER_BUILDKIT: "0" } });
  if (built.code !== 0) throw new Error(built.output);
  t.teardown(() => call(["image", "rm", "-f", tag]));
}
