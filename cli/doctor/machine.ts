import { decodeJwt } from "jose";
import { ask, askDockerToken } from "./send-request.ts";
import { reasonOf } from "../../lib/http-client.ts";
import { at, type Chain, type Finding, type Problem, wrong, warning } from "./check.ts";
import { lookup } from "node:dns/promises";
import { isIP } from "node:net";
import { readRegistryAddress } from "../../gateway/registry/upstream/registry-address.ts";
import { Fault } from "../../lib/fault.ts";
import { tmpdir } from "node:os";
import { existsSync, statSync } from "node:fs";
import { resolve } from "node:path";
import { FEW_DESCRIPTORS } from "../../lib/connection-limits.ts";
import { parentSocketOf } from "../../processes/runtime-folder.ts";
import { askParentLimits } from "../install/ask-parent.ts";

/** Tokens are taken by servers whose clocks differ by a minute; half of that is for theirs. */
const MOST_SKEW_MS = 30_000;
const SET_CLOCK = "Set the clock that is wrong by NTP: here `timedatectl status`, there the same.";

/** This machine's time against that of those it speaks to, and of the tokens that they make. */
export async function checkClock(chain: Chain, signal: AbortSignal): Promise<Finding> {
  const { settings, server, clock, key } = chain;
  const asked = [at(server, "/api/info/server"), ...(settings.datagrok.url === undefined ? [] : [`${settings.datagrok.url}/info/server`])];
  const problems: Problem[] = [];
  const seen: number[] = [];
  const look = (who: string, skewMs: number) => {
    seen.push(Math.abs(skewMs));
    if (Math.abs(skewMs) > MOST_SKEW_MS)
      problems.push(wrong(`${who} is ${Math.abs(skewMs / 1_000).toFixed(0)} s ${skewMs > 0 ? "ahead of" : "behind"} this machine.`, SET_CLOCK));
  };
  for (const url of asked) {
    const before = clock.now();
    // Whose certificate it is, is another link's matter, and a clock that is wrong makes each look wrong.
    const { headers } = await ask(url, { signal, certificate: "any" }).catch(() => ({ headers: {} as Record<string, string> }));
    signal.throwIfAborted();
    const told = Date.parse(String(headers["date"]));
    // A Date has whole seconds, rounded down.
    if (Number.isFinite(told)) look(`The clock behind ${new URL(url).host}`, told + 500 - (before + clock.now()) / 2);
  }
  const tokens = settings.datagrok.url ?? at(server, "/api");
  const token = key && (await askDockerToken(`${tokens}/docker/token`, { key, service: settings.registry.service, signal }).catch(() => undefined));
  signal.throwIfAborted();
  if (token !== undefined) {
    const { nbf, iat, exp } = decodeJwt(token);
    const begun = nbf ?? iat;
    if (begun !== undefined) look("The clock that docker tokens are made by", begun * 1_000 + 500 - clock.now());
    if (exp !== undefined && exp * 1_000 <= clock.now())
      problems.push(wrong("A docker token that was made just now has ended by this machine's clock.", SET_CLOCK));
  }
  if (seen.length === 0) return { unlooked: "nobody answered with a time" };
  return {
    says: `differs by ${(Math.max(...seen) / 1_000).toFixed(1)} s at most${token === undefined ? "; no docker token was to be had" : ""}`,
    problems,
  };
}

/** Whose name is looked up; undefined where it is not set. */
const HOSTS = {
  server: ({ server }: Chain) => server.url.hostname,
  DATAGROK_URL: ({ settings }: Chain) => settings.datagrok.url && new URL(settings.datagrok.url).hostname,
  REGISTRY_URL: ({ settings }: Chain) => settings.registry.url && readRegistryAddress(settings.registry.url).hostname,
} as const;

/** Whether a name leads to an address, as programs on this machine find it: /etc/hosts counts. */
export function checkName(whose: keyof typeof HOSTS): (chain: Chain) => Promise<Finding> {
  return async (chain) => {
    const host = HOSTS[whose](chain)?.replace(/^\[|\]$/g, "");
    if (host === undefined) return { unlooked: `${whose} is not set` };
    if (isIP(host) !== 0) return { says: `${host}, an address` };
    const found = await lookup(host, { all: true }).catch((cause: unknown) => {
      throw new Fault("CHAIN_BROKEN", `The name ${host} leads nowhere: ${reasonOf(cause)}.`, { cause });
    });
    return { says: `${host} is ${found.map(({ address }) => address).join(", ")}` };
  };
}

/** The limit of open files of the berth that runs on this data folder: this command's own is that of its shell. */
export async function checkOpenFiles({ here, settings }: Chain): Promise<Finding> {
  const data = resolve(settings.data);
  if (!existsSync(data)) return { unlooked: `there is no ${data} here` };
  // Root may look at the berth of another user.
  const path = parentSocketOf({ data, base: here.env["XDG_RUNTIME_DIR"] ?? tmpdir(), uid: statSync(data).uid });
  const limits = await askParentLimits(path);
  if (limits?.pid === undefined) return { unlooked: `no \`berth serve\` of this version runs on ${data}` };
  const { pid, openFiles } = limits;
  if (openFiles === undefined) return { says: "no limit is known" };
  const problems =
    openFiles >= FEW_DESCRIPTORS
      ? []
      : [
          warning(
            `berth (process ${pid}) may open ${openFiles} files: each call takes two, so ${FEW_DESCRIPTORS} are the least that is recommended.`,
            "Raise the limit and restart berth: LimitNOFILE in the unit, ulimits in Compose, or `ulimit -Hn` before its start.",
          ),
        ];
  return { says: `${openFiles} for process ${pid}`, problems };
}
