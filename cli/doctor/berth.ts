import { lookup } from "node:dns/promises";
import { readFileSync } from "node:fs";
import { isIP } from "node:net";
import { Fault } from "../../lib/fault.ts";
import { reasonOf } from "../../lib/http-client.ts";
import { consoleSettingsFault, isLoopback, tcpListenerOptions } from "../../processes/listeners.ts";
import { type CommandContext, localApi } from "../command-context.ts";
import { checkReady } from "../health.ts";
import { parseJson } from "../../lib/parse-json.ts";
import { VERSION } from "../version.ts";
import { type CheckContext, type CheckProblem, type CheckResult, failure, urlAt, warning } from "./check.ts";
import { sendRequest, withoutSecrets } from "./send-request.ts";

const CONTROL = "control";
const LOOK_AT_LOG = "Check that berth runs (`systemctl status berth`), and read its log.";
const ADVICE: Partial<Record<Fault["code"], string>> = {
  CONTROL_AWAY: "Start berth; run this as its user and with its variables (docs/install.md).",
  DEV_KEY_INVALID: "Give this command berth's own variables, BERTH_ADMIN_KEY among them.",
  CHAIN_BROKEN: "Check what is between: a load balancer, a firewall, or a wrong BERTH_WEB_ROOT.",
};

/** Faults: CONTROL_AWAY, also if the edge works without control. */
async function edgeOf(context: CommandContext): Promise<undefined> {
  const degraded = await checkReady(context);
  if (degraded !== undefined) throw degraded;
}

/** The running berth: control, the edge here, the API at the public address, and their versions. */
export async function checkBerth(chain: CheckContext, signal: AbortSignal): Promise<CheckResult> {
  const { settings, server, context } = chain;
  const problems: CheckProblem[] = [];
  const reachable: string[] = [];
  const endpoints = [
    { name: CONTROL, look: () => localApi(context)<{ Version: string }>("GET", "/info/server").then(({ Version }) => Version) },
    // An edge on any free port is reached only at the public address.
    ...(settings.edgePort === 0 ? [] : [{ name: "the edge", look: () => edgeOf(context) }]),
    // In front of a Datagrok server, that server answers there.
    ...(settings.datagrok.url === undefined ? [{ name: "the API", look: () => versionAt(urlAt(server, "/api/info/server"), signal) }] : []),
  ];
  for (const { name, look: loadVersion } of endpoints) {
    try {
      const version = await loadVersion();
      reachable.push(name);
      if (version !== undefined && version !== VERSION)
        problems.push(
          failure(
            `${name} is berth ${version}, and this program is ${VERSION}.`,
            "Restart berth, or run the program that it runs: `berth upgrade` exchanges both.",
          ),
        );
    } catch (error) {
      if (signal.aborted || !(error instanceof Fault)) throw error;
      // In front of a Datagrok server, berth may run without control.
      if (name === CONTROL && settings.datagrok.url !== undefined && error.code === "CONTROL_AWAY") continue;
      problems.push(failure(error.message, ADVICE[error.code] ?? LOOK_AT_LOG));
    }
  }
  // Last: only requests to the public address pass the proxies in front.
  if (reachable.includes(CONTROL)) problems.push(...(await untrustedProxies(context)));
  return { says: reachable.length === 0 ? "" : `${reachable.join(", ")}: version ${VERSION}`, problems };
}

/** No warning if the key does not allow the request. */
async function untrustedProxies(context: CheckContext["context"]): Promise<CheckProblem[]> {
  const installation = await localApi(context)<{ untrustedProxies?: string[] }>("GET", "/admin/stand").catch((error: unknown) => {
    if (error instanceof Fault) return undefined;
    throw error;
  });
  return (installation?.untrustedProxies ?? []).map((address) =>
    warning(
      `${address} sends X-Forwarded-For and is not trusted: if it is a proxy, all clients behind it count as one address.`,
      "Name it in BERTH_TRUSTED_PROXIES if it is a proxy of yours; a client that sends the header by itself needs nothing.",
    ),
  );
}

/** Faults: CHAIN_BROKEN. */
async function versionAt(url: string, signal: AbortSignal): Promise<string> {
  const { status, text } = await sendRequest(url, { signal });
  const { Version } = (parseJson(text) ?? {}) as { Version?: unknown };
  if (status === 200 && typeof Version === "string") return Version;
  throw new Fault("CHAIN_BROKEN", `${url} answers ${status}, and is not berth.`);
}

const PUBLISH = "Publish the port BERTH_CONSOLE_PORT as well, or set BERTH_CONSOLE_URL to the address at which browsers reach the console.";
const NAME_EDGE = "Set BERTH_WEB_ROOT to the public address of the edge.";

/** Follows the edge's redirect to the console, and checks that its button Open leads back to the edge. */
export async function checkConsole({ settings, server }: CheckContext, signal: AbortSignal): Promise<CheckResult> {
  if (settings.datagrok.url !== undefined) return { unlooked: "DATAGROK_URL is set: that server has the pages" };
  const fault = consoleSettingsFault(settings);
  if (fault !== undefined) return { says: "", problems: [failure(fault.message, NAME_EDGE)] };
  const edge = urlAt(server, "/");
  const { status, headers } = await sendRequest(edge, { signal });
  const address = headers.location;
  if (status !== 302 || typeof address !== "string" || !URL.canParse(address))
    throw new Fault("CHAIN_BROKEN", `${withoutSecrets(edge)} answers ${status}, and sends browsers to no console.`);
  const { origin } = new URL(address);
  const response = await sendRequest(`${origin}/console/rooms`, { signal }).catch((error: unknown) => {
    if (signal.aborted || !(error instanceof Fault)) throw error;
    return error;
  });
  if (response instanceof Fault) return { says: "", problems: [failure(`The edge sends browsers to ${origin}. ${response.message}`, PUBLISH)] };
  if (response.status !== 200 || !Array.isArray((parseJson(response.text) as { rooms?: unknown } | undefined)?.rooms))
    return {
      says: "",
      problems: [failure(`The edge sends browsers to ${origin}, which answers ${response.status} and is not the console.`, PUBLISH)],
    };
  return { says: `${origin} answers`, problems: await problemsOfOpen(origin, server, signal) };
}

/** The page's policy names the address to which the button Open posts. */
async function problemsOfOpen(origin: string, { url, named }: CheckContext["server"], signal: AbortSignal): Promise<CheckProblem[]> {
  const { headers } = await sendRequest(`${origin}/`, { signal });
  const [, edge] = /form-action 'self' (\S+)/.exec(String(headers["content-security-policy"] ?? "")) ?? [];
  if (edge === undefined) return [failure("The console does not know the edge's address: its button Open fails.", NAME_EDGE)];
  if (named && edge !== url.origin)
    return [warning(`The console's button Open leads to ${edge}, and the public address is ${url.origin}.`, NAME_EDGE)];
  return [];
}

type ListedContainer = { name: string; address?: string | null; port?: number | null };

/** Checks the listeners of databases without a connection, which would start them. */
export async function checkTcpListeners({ settings, context }: CheckContext): Promise<CheckResult> {
  const options = tcpListenerOptions(settings);
  if (options === undefined) return { unlooked: "BERTH_TCP_PORTS is not set" };
  const { host, ports } = options;
  const problems: CheckProblem[] = [];
  if (isLoopback(host))
    problems.push(
      warning(
        `TCP listeners are advertised at ${host}, which only programs of this machine reach.`,
        "Set BERTH_TCP_HOST to an address of the internal network, or BERTH_TCP_ADVERTISED_HOST to the host that clients use.",
      ),
    );
  else if (isIP(host) === 0)
    await lookup(host).catch((cause: unknown) => {
      problems.push(failure(`The name ${host} cannot be resolved: ${reasonOf(cause)}.`, "Correct BERTH_TCP_ADVERTISED_HOST."));
    });
  const containers = await localApi(context)<ListedContainer[]>("GET", "/docker/containers?include=short&limit=0").catch((error: unknown) => {
    if (error instanceof Fault) return undefined;
    throw error;
  });
  if (containers === undefined) return { says: `at ${host}; control did not list the containers`, problems };
  const assigned = containers.flatMap(({ name, address, port }) => {
    const isListener = address === host && typeof port === "number" && port >= ports.first && port <= ports.last;
    return isListener ? [{ name, port }] : [];
  });
  const listening = listeningPorts();
  for (const { name, port } of assigned)
    if (listening?.has(port) === false)
      problems.push(failure(`Nothing listens on port ${port} for ${name}.`, "Read the gateway's log: another program may have the port."));
  const count = ports.last - ports.first + 1;
  if (assigned.length >= count)
    problems.push(warning(`All ${count} ports of BERTH_TCP_PORTS are assigned.`, "Extend the range before more databases are published."));
  return { says: `${assigned.length} of ${count} ports assigned, at ${host}`, problems };
}

const LISTEN = "0A";

/** The TCP ports on which this machine, or container, listens; undefined: unknown. */
function listeningPorts(): Set<number> | undefined {
  try {
    const lines = ["/proc/net/tcp", "/proc/net/tcp6"].flatMap((file) => readFileSync(file, "latin1").split("\n").slice(1));
    return new Set(
      lines.flatMap((line) => {
        const [, local = "", , state] = line.trim().split(/\s+/);
        return state === LISTEN ? [Number.parseInt(local.slice(local.lastIndexOf(":") + 1), 16)] : [];
      }),
    );
  } catch {
    return undefined;
  }
}
