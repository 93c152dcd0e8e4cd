import { join } from "node:path";
import type { Test } from "tap";
import { ENV } from "../../program/recovery/own-network.ts";
import { tempFolder } from "../../fixtures/temp-folder.ts";
import { type Ran, run } from "./run.ts";

/** Podman with a store and logins of the test's own, without overlayfs and systemd, which a machine that runs tests may lack. */
export function openPodman(t: Test, env: NodeJS.ProcessEnv = {}): (...words: string[]) => Promise<Ran> {
  const folder = tempFolder(t);
  const own = ["--root", join(folder, "root"), "--runroot", join(folder, "run"), "--tmpdir", folder, "--storage-driver", "vfs"];
  const plain = ["--cgroup-manager", "cgroupfs", "--events-backend", "none"];
  const all = { ...ENV, TMPDIR: folder, REGISTRY_AUTH_FILE: join(folder, "auth.json"), ...env };
  return (...words) => run("podman", [...own, ...plain, ...words], { env: all });
}
