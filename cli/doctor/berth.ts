import { Fault } from "../../lib/fault.ts";
import { callHere, type Here } from "../command-context.ts";
import { lookReady } from "../health.ts";
import { VERSION } from "../version.ts";
import { ask, readJson, shown } from "./send-request.ts";
import { at, type Chain, type Finding, type Problem, warning, wrong } from "./check.ts";
import { consoleSettingsFault } from "../../processes/console-listener.ts";

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

const PUBLISH = "Publish the port BERTH_CONSOLE_PORT as well, or set BERTH_CONSOLE_URL to the address at which browsers reach the console.";
const NAME_EDGE = "Set BERTH_WEB_ROOT to the public address of the edge.";

/** The console, where the edge sends browsers: that it answers there, and that its button Open leads back to the edge. */
export async function checkConsole({ settings, server }: Chain, signal: AbortSignal): Promise<Finding> {
  if (settings.datagrok.url !== undefined) return { unlooked: "DATAGROK_URL is set: that server has the pages" };
  const fault = consoleSettingsFault(settings);
  if (fault !== undefined) return { says: "", problems: [wrong(fault.message, NAME_EDGE)] };
  const edge = at(server, "/");
  const { status, headers } = await ask(edge, { signal });
  const address = headers.location;
  if (status !== 302 || typeof address !== "string" || !URL.canParse(address))
    throw new Fault("CHAIN_BROKEN", `${shown(edge)} answers ${status}, and sends browsers to no console.`);
  const { origin } = new URL(address);
  const rooms = await ask(`${origin}/console/rooms`, { signal }).catch((error: unknown) => {
    if (signal.aborted || !(error instanceof Fault)) throw error;
    return error;
  });
  if (rooms instanceof Fault) return { says: "", problems: [wrong(`The edge sends browsers to ${origin}. ${rooms.message}`, PUBLISH)] };
  if (rooms.status !== 200 || !Array.isArray((readJson(rooms.text) as { rooms?: unknown } | undefined)?.rooms))
    return {
      says: "",
      problems: [wrong(`The edge sends browsers to ${origin}, which answers ${rooms.status} and not as the console does.`, PUBLISH)],
    };
  return { says: `${origin} answers`, problems: await problemsOfOpen(origin, server, signal) };
}

/** The page permits its forms to be posted to the edge: that address is where the button Open leads. */
async function problemsOfOpen(origin: string, { url, named }: Chain["server"], signal: AbortSignal): Promise<Problem[]> {
  const { headers } = await ask(`${origin}/`, { signal });
  const [, edge] = /form-action 'self' (\S+)/.exec(String(headers["content-security-policy"] ?? "")) ?? [];
  if (edge === undefined) return [wrong("The console does not know the address of the edge, so that its button Open fails.", NAME_EDGE)];
  if (named && edge !== url.origin)
    return [warning(`The console's button Open leads to ${edge}, and the public address is ${url.origin}.`, NAME_EDGE)];
  return [];
}
