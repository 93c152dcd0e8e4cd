import { Fault } from "../../lib/fault.ts";
import { callHere, type Here } from "../command-context.ts";
import { lookReady } from "../health.ts";
import { VERSION } from "../version.ts";
import { ask, readJson } from "./send-request.ts";
import { at, type Chain } from "./check.ts";
import { type Finding, type Problem, warning, wrong } from "./finding.ts";

const CONTROL = "control";
const LOOK_AT_LOG = "See that berth runs (`systemctl status berth`), and what its log says.";
const ADVICE: Partial<Record<Fault["code"], string>> = {
  CONTROL_AWAY: "Start berth; run this as its user and with its variables (docs/install.md).",
  DEV_KEY_INVALID: "Give this command berth's own variables, BERTH_ADMIN_KEY among them.",
  CHAIN_BROKEN: "See what stands between: a load balancer, a firewall, or BERTH_WEB_ROOT naming another place.",
};

/** Faults: CONTROL_AWAY, also where it serves without control. */
async function edgeOf(here: Here): Promise<undefined> {
  const degraded = await lookReady(here);
  if (degraded !== undefined) throw degraded;
}

/** The berth that runs: control, the edge here, the API at the public address, and of which version they are. */
export async function checkBerth(chain: Chain, signal: AbortSignal): Promise<Finding> {
  const { settings, server, here } = chain;
  const problems: Problem[] = [];
  const seen: string[] = [];
  const parts = [
    { name: CONTROL, look: () => callHere(here)<{ Version: string }>("GET", "/info/server").then(({ Version }) => Version) },
    // Where the port is any, only the public address leads there.
    ...(settings.edgePort === 0 ? [] : [{ name: "the edge", look: () => edgeOf(here) }]),
    // With a Datagrok server behind, that is who answers there.
    ...(settings.datagrok.url === undefined ? [{ name: "the API", look: () => versionAt(at(server, "/api/info/server"), signal) }] : []),
  ];
  for (const { name, look } of parts) {
    try {
      const version = await look();
      seen.push(name);
      if (version !== undefined && version !== VERSION)
        problems.push(
          wrong(
            `${name} is berth ${version}, and this program is ${VERSION}.`,
            "Restart berth, or run the program that it runs: `berth upgrade` exchanges both.",
          ),
        );
    } catch (error) {
      if (signal.aborted || !(error instanceof Fault)) throw error;
      // In front of a Datagrok server a berth may do without control.
      if (name === CONTROL && settings.datagrok.url !== undefined && error.code === "CONTROL_AWAY") continue;
      problems.push(wrong(error.message, ADVICE[error.code] ?? LOOK_AT_LOG));
    }
  }
  // Last: only requests to the public address pass what stands in front.
  if (seen.includes(CONTROL)) problems.push(...(await untrustedProxies(here)));
  return { says: seen.length === 0 ? "" : `${seen.join(", ")}: version ${VERSION}`, problems };
}

/** What control does not tell, for want of the right key, is no warning. */
async function untrustedProxies(here: Chain["here"]): Promise<Problem[]> {
  const stand = await callHere(here)<{ untrustedProxies?: string[] }>("GET", "/admin/stand").catch((error: unknown) => {
    if (error instanceof Fault) return undefined;
    throw error;
  });
  return (stand?.untrustedProxies ?? []).map((address) =>
    warning(
      `${address} sends X-Forwarded-For and is not trusted: if it is a proxy, all clients behind it count as one address.`,
      "Name it in BERTH_TRUSTED_PROXIES if it is a proxy of yours; a client that sends the header by itself needs nothing.",
    ),
  );
}

/** Faults: CHAIN_BROKEN. */
async function versionAt(url: string, signal: AbortSignal): Promise<string> {
  const { status, text } = await ask(url, { signal });
  const { Version } = (readJson(text) ?? {}) as { Version?: unknown };
  if (status === 200 && typeof Version === "string") return Version;
  throw new Fault("CHAIN_BROKEN", `${url} answers ${status}, and not as berth does.`);
}
