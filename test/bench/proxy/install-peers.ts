import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";

/** The peers that are libraries have a lock file of their own, so that only this benchmark installs them. */
export const PEERS = join(import.meta.dirname, "peers");
const INSTALLED = join(PEERS, "node_modules", ".package-lock.json");
const AT_MOST_MS = 120_000;

/** Installs them on the first run. What cannot be installed is left out of the run. */
export function installPeers(): void {
  if (existsSync(INSTALLED)) return;
  console.log("installing the peers that are libraries (npm ci)");
  spawnSync("npm", ["ci", "--no-audit", "--no-fund", "--loglevel=error"], { cwd: PEERS, stdio: "inherit", timeout: AT_MOST_MS });
}

export function peersMissing(): string | undefined {
  return existsSync(INSTALLED) ? undefined : "npm ci in test/bench/proxy/peers did not work";
}
