import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import type { Test } from "tap";
import { tempFolder } from "../../../fixtures/temp-folder.ts";

/** Name and password of the one user below, whose password only its hash holds. */
export const LOGIN = { username: "any-body", password: "s3cret-Word" };
const HTPASSWD = "any-body:$2y$05$abcdefghijklmnopqrstuuxwmP4QpMhOYPojw/dWE6DJ9CnGV0H32\n";

/** Debian's docker-registry on a port that it chose, with the lines of YAML that say who may do what; its files are the test's own. */
export async function openDistribution(t: Test, auth: (folder: string) => string = () => ""): Promise<{ host: string; stop(): Promise<void> }> {
  const folder = tempFolder(t);
  mkdirSync(join(folder, "storage"));
  const config = [
    "version: 0.1",
    "log: { level: info, formatter: json, accesslog: { disabled: true } }",
    `storage: { filesystem: { rootdirectory: ${join(folder, "storage")} }, delete: { enabled: true } }`,
    "http: { addr: '127.0.0.1:0' }",
    auth(folder),
  ];
  const path = join(folder, "config.yml");
  writeFileSync(path, config.join("\n"));
  const child = spawn("docker-registry", ["serve", path], { stdio: ["ignore", "ignore", "pipe"] });
  const stop = async () => {
    const ended = once(child, "exit");
    if (child.exitCode === null && child.signalCode === null && child.kill()) await ended;
  };
  t.teardown(stop);
  const output: string[] = [];
  for await (const line of createInterface(child.stderr)) {
    output.push(line);
    const host = /listening on (127\.0\.0\.1:\d+)/.exec(line)?.[1];
    if (host !== undefined) {
      child.stderr.resume();
      return { host, stop };
    }
  }
  throw new Error(`docker-registry did not start:\n${output.join("\n")}`);
}

export function htpasswd(folder: string): string {
  const path = join(folder, "htpasswd");
  writeFileSync(path, HTPASSWD);
  return `auth: { htpasswd: { realm: test, path: ${path} } }`;
}
