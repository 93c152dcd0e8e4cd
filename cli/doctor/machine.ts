import { execFile } from "node:child_process";
import { lookup } from "node:dns/promises";
import { existsSync, statSync } from "node:fs";
import { statfs } from "node:fs/promises";
import { isIP } from "node:net";
import { join, resolve } from "node:path";
import { promisify } from "node:util";
import { decodeJwt } from "jose";
import { newestBackup, newestBackupOn } from "../../control/store/backup.ts";
import { readRollback, ROLLBACK_FILE } from "../../control/store/data-folder.ts";
import { testFfi } from "../../gateway/connections/choose-sockets.ts";
import { parseRegistryAddress } from "../../gateway/registry/upstream/registry-address.ts";
import { FEW_DESCRIPTORS } from "../../lib/connection-limits.ts";
import { Fault } from "../../lib/fault.ts";
import { reasonOf } from "../../lib/http-client.ts";
import { parentSocketOf, runtimePlace } from "../../processes/runtime-folder.ts";
import { loadParentLimits } from "../install/upgrade.ts";
import { type CheckContext, type CheckProblem, type CheckResult, failure, urlAt, warning } from "./check.ts";
import { checkDatabase } from "./database.ts";
import { requestDockerToken, sendRequest } from "./send-request.ts";

/** Servers accept tokens with a difference of a minute; half of it is for their own clocks. */
const MAX_SKEW_MS = 30_000;
const SET_CLOCK = "Set the wrong clock by NTP; `timedatectl status` shows its state.";

/** Compares this machine's clock with those of servers and of their tokens. */
export async function checkClock(chain: CheckContext, signal: AbortSignal): Promise<CheckResult> {
  const { settings, server, clock, key } = chain;
  const urls = [urlAt(server, "/api/info/server"), ...(settings.datagrok.url === undefined ? [] : [`${settings.datagrok.url}/info/server`])];
  const problems: CheckProblem[] = [];
  const skews: number[] = [];
  const compare = (who: string, skewMs: number) => {
    skews.push(Math.abs(skewMs));
    if (Math.abs(skewMs) > MAX_SKEW_MS)
      problems.push(failure(`${who} is ${Math.abs(skewMs / 1_000).toFixed(0)} s ${skewMs > 0 ? "ahead of" : "behind"} this machine.`, SET_CLOCK));
  };
  for (const url of urls) {
    const before = clock.now();
    // Another check covers the certificate, which a wrong clock makes invalid.
    const { headers } = await sendRequest(url, { signal, certificate: "any" }).catch(() => ({ headers: {} as Record<string, string> }));
    signal.throwIfAborted();
    const date = Date.parse(String(headers["date"]));
    // A Date has whole seconds, rounded down.
    if (Number.isFinite(date)) compare(`The clock of ${new URL(url).host}`, date + 500 - (before + clock.now()) / 2);
  }
  const tokens = settings.datagrok.url ?? urlAt(server, "/api");
  const token =
    key && (await requestDockerToken(`${tokens}/docker/token`, { key, service: settings.registry.service, signal }).catch(() => undefined));
  signal.throwIfAborted();
  if (token !== undefined) {
    const { nbf, iat, exp } = decodeJwt(token);
    const begun = nbf ?? iat;
    if (begun !== undefined) compare("The clock of docker tokens", begun * 1_000 + 500 - clock.now());
    if (exp !== undefined && exp * 1_000 <= clock.now())
      problems.push(failure("A new docker token is already expired by this machine's clock.", SET_CLOCK));
  }
  if (skews.length === 0) return { unlooked: "no server sent a Date header" };
  return {
    says: `differs by ${(Math.max(...skews) / 1_000).toFixed(1)} s at most${token === undefined ? "; there was no docker token to compare" : ""}`,
    problems,
  };
}

/** The hosts to look up; undefined if not set. */
const HOSTS = {
  server: ({ server }: CheckContext) => server.url.hostname,
  DATAGROK_URL: ({ settings }: CheckContext) => settings.datagrok.url && new URL(settings.datagrok.url).hostname,
  REGISTRY_URL: ({ settings }: CheckContext) => settings.registry.url && parseRegistryAddress(settings.registry.url).hostname,
} as const;

/** Whether this machine resolves a name, also by /etc/hosts. */
export function checkName(whose: keyof typeof HOSTS): (chain: CheckContext) => Promise<CheckResult> {
  return async (chain) => {
    const host = HOSTS[whose](chain)?.replace(/^\[|\]$/g, "");
    if (host === undefined) return { unlooked: `${whose} is not set` };
    if (isIP(host) !== 0) return { says: `${host}, an address` };
    const addresses = await lookup(host, { all: true }).catch((cause: unknown) => {
      throw new Fault("CHAIN_BROKEN", `The name ${host} cannot be resolved: ${reasonOf(cause)}.`, { cause });
    });
    return { says: `${host} is ${addresses.map(({ address }) => address).join(", ")}` };
  };
}

/** The limit of open files of the running berth; this command has that of its shell. */
export async function checkOpenFiles({ context, settings }: CheckContext): Promise<CheckResult> {
  const data = resolve(settings.data);
  if (!existsSync(data)) return { unlooked: `there is no ${data} here` };
  // Root may check the berth of another user.
  const path = parentSocketOf(runtimePlace(context.env, data, statSync(data).uid));
  const limits = await loadParentLimits({ path, clock: context.clock });
  if (limits?.pid === undefined) return { unlooked: `no \`berth serve\` of this version runs on ${data}` };
  const { pid, openFiles } = limits;
  if (openFiles === undefined) return { says: "the limit is unknown" };
  const problems =
    openFiles >= FEW_DESCRIPTORS
      ? []
      : [
          warning(
            `berth (process ${pid}) may open ${openFiles} files. Each request takes two; at least ${FEW_DESCRIPTORS} are recommended.`,
            "Raise the limit and restart berth: LimitNOFILE in the unit, ulimits in Compose, or `ulimit -Hn` before its start.",
          ),
        ];
  return { says: `${openFiles} for process ${pid}`, problems };
}

/** How gateways on this machine read and write sockets, and whether `ffi` would work. */
export async function checkSockets({ settings, clock }: CheckContext): Promise<CheckResult> {
  const { sockets } = settings;
  const tested = await testFfi(clock);
  if (!("problem" in tested)) {
    const { ringProblem } = tested;
    if (sockets === "node") return { says: "node; BERTH_SOCKETS=ffi would work here" };
    return { says: ringProblem === undefined ? "ffi, with io_uring" : `ffi, without io_uring: ${ringProblem}` };
  }
  const { problem } = tested;
  if (sockets !== "ffi") return { says: `node; ffi would not work here: ${problem}` };
  const what = `BERTH_SOCKETS=ffi does not work here, so berth uses Node's sockets: ${problem}.`;
  return {
    says: "node",
    problems: [warning(what, "Set BERTH_SOCKETS=node, or start berth with the Node of its package and without --no-experimental-ffi.")],
  };
}

const execute = promisify(execFile);

/** Whether the store lost changes; with `--store`, whether SQLite finds damage. */
export async function checkStore({ context, settings, options, clock }: CheckContext, signal: AbortSignal): Promise<CheckResult> {
  const folder = resolve(settings.data);
  const database = await checkDatabase({ settings, clock });
  if (database) return database;
  if (!existsSync(join(folder, "berth.db"))) return { unlooked: `there is no store in ${folder}` };
  const problems: CheckProblem[] = [];
  const rollback = readRollback(folder);
  if (rollback !== undefined)
    problems.push(
      failure(
        `The store lost changes: on ${new Date(rollback.at).toISOString()} a gateway had revision ${rollback.seen}, but the store had ${rollback.found}.`,
        `Its log was cut, or an old backup was restored. Check the containers (\`berth orphans\`), then remove ${join(folder, ROLLBACK_FILE)}.`,
      ),
    );
  if (!options.store) {
    const says = "berth checks its structure at each start; --store checks everything now";
    return problems.length === 0 ? { unlooked: says } : { says, problems };
  }
  const words = [...(context.script === undefined ? [] : [context.script]), "check-store"];
  const { stdout } = await execute(process.execPath, words, { env: context.env, signal, killSignal: "SIGKILL" });
  const damage = JSON.parse(stdout) as string[];
  const backup = newestBackup(folder);
  if (damage.length > 0)
    problems.push(
      failure(
        `The store is damaged: ${damage.join("; ")}.`,
        backup === undefined
          ? "Restore a backup: docs/install.md. berth knows no backup here."
          : `Stop berth, then \`berth restore ${backup}\`, the newest backup that berth knows.`,
      ),
    );
  return { says: damage.length === 0 ? "integrity_check found nothing" : "damaged", problems };
}

const MB = 1_048_576;
/** Below LEAST_MB the next package may not fit; FEW_MB gives some days' notice. */
const LEAST_MB = 200;
const FEW_MB = 1_024;
const DAY_MS = 86_400_000;
const OLD_DAYS = 7;

/** Free disk space for the store and for published files. */
export async function checkDisk({ settings }: CheckContext): Promise<CheckResult> {
  const folder = resolve(settings.data);
  if (!existsSync(folder)) return { unlooked: `there is no ${folder} here` };
  const { bavail, bsize } = await statfs(folder);
  const freeMb = Math.floor((bavail * bsize) / MB);
  const what = `${folder} has ${freeMb} MB left.`;
  const todo = "Free space there, or move the data folder to a larger disk.";
  const problems: CheckProblem[] = freeMb < LEAST_MB ? [failure(what, todo)] : freeMb < FEW_MB ? [warning(what, todo)] : [];
  return { says: `${(freeMb / 1_024).toFixed(1)} GB free in ${folder}`, problems };
}

/** The age of the newest backup. */
export async function checkBackup({ settings, clock }: CheckContext): Promise<CheckResult> {
  const folder = resolve(settings.data);
  if (!existsSync(folder)) return { unlooked: `there is no ${folder} here` };
  const madeOn = newestBackupOn(folder);
  const todo = "Run `berth backup <file>` by a timer, and keep the file elsewhere.";
  if (madeOn === undefined) return { says: "no backup", problems: [warning("berth knows no backup of the store.", todo)] };
  const days = Math.max(0, Math.floor((clock.now() - madeOn) / DAY_MS));
  const problems = days > OLD_DAYS ? [warning(`The newest backup of the store is ${days} days old.`, todo)] : [];
  return { says: `the newest is of ${days} days ago`, problems };
}
