import { decodeJwt } from "jose";
import { sendRequest, requestDockerToken } from "./send-request.ts";
import { reasonOf } from "../../lib/http-client.ts";
import { urlAt, type CheckContext, type CheckResult, type CheckProblem, failure, warning } from "./check.ts";
import { lookup } from "node:dns/promises";
import { isIP } from "node:net";
import { parseRegistryAddress } from "../../gateway/registry/upstream/registry-address.ts";
import { Fault } from "../../lib/fault.ts";
import { tmpdir } from "node:os";
import { existsSync, statSync } from "node:fs";
import { resolve } from "node:path";
import { FEW_DESCRIPTORS } from "../../lib/connection-limits.ts";
import { parentSocketOf } from "../../processes/runtime-folder.ts";
import { loadParentLimits } from "../install/ask-parent.ts";

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
  const path = parentSocketOf({ data, base: context.env["XDG_RUNTIME_DIR"] ?? tmpdir(), uid: statSync(data).uid });
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
