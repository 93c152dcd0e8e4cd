import type { Settings } from "../conf/settings.ts";
import { Fault } from "../lib/fault.ts";
import { openHttpClient } from "../lib/http-client.ts";
import { parseJson } from "../lib/parse-json.ts";
import { localApi, type CommandContext, loadSettings } from "./command-context.ts";
import { listenerUrl, localHost, registryListener } from "./serve.ts";
import { defineVerb, type Verbs } from "./command.ts";

const REQUEST_MS = 5_000;

/** The endpoint that reports whether a role is ready. `tlsCert` is set if it speaks TLS. */
type ReadyEndpoint = { host: string; port: number; path?: string; tlsCert: string | undefined };

type EndpointOf = (settings: Settings) => ReadyEndpoint;

const edge: EndpointOf = ({ edgeHost: host, edgePort: port, tlsCert }) => ({ host, port, tlsCert });
const registry: EndpointOf = ({ registryHost: host, registryPort: port, tlsCert }) => ({ host, port, tlsCert });
const spawner: EndpointOf = ({ spawnerHost: host, spawnerPort: port }) => ({ host, port, path: "/info", tlsCert: undefined });

/** By role; undefined: it has no listener, so its API is called by the socket in the data folder. */
const READY_ENDPOINTS: Readonly<Record<string, (settings: Settings) => EndpointOf[] | undefined>> = {
  // The edge is ready first: a login at the registry right after it would fail.
  serve: (settings) => [edge, ...(registryListener(settings) ? [registry] : []), ...(settings.spawner ? [spawner] : [])],
  // A standby is healthy, and its API refuses all calls.
  control: ({ database, gateways: { port, host, tlsCert } }) =>
    database.url === undefined || port === undefined ? undefined : [() => ({ host, port, path: "/livez", tlsCert })],
  gateway: () => [edge],
  "registry-proxy": () => [registry],
  registry: () => [registry],
  spawner: () => [spawner],
};

export const verbs: Verbs = {
  "": defineVerb({
    words: "",
    summary:
      'check whether the berth of these settings on this machine accepts requests; prints "degraded" when gateways serve without control, and then fails unless control is on another machine',
    details: "BERTH_ROLE selects the listener to check.",
    options: {},
    run: async ({ context, screen }) => {
      const degraded = await checkReady(context);
      // With control on another machine, a restart of the gateway would only end what it serves.
      if (degraded !== undefined && loadSettings(context).settings.role !== "gateway") throw degraded;
      screen.print(degraded?.message ?? "ready");
    },
  }),
};

/** Resolves if the berth of these settings accepts requests, with a fault if it works without control. Faults: CONTROL_AWAY. */
export async function checkReady(context: CommandContext): Promise<Fault | undefined> {
  const { settings } = loadSettings(context);
  const listeners = READY_ENDPOINTS[settings.role ?? "serve"]?.(settings);
  if (listeners === undefined) {
    await localApi(context)("GET", "/info/server");
    return undefined;
  }
  const controls = await Promise.all(listeners.map((listener) => requestReady(listener(settings), context)));
  const control = controls.find((state) => state !== undefined);
  if (control === undefined) return undefined;
  return new Fault("CONTROL_AWAY", `degraded: control is ${control}. Running containers are served; none is started.`);
}

const MAX_BYTES = 1_048_576;

/** The state of control, which a ready gateway reports if it cannot reach it. */
function controlIn(body: string): string | undefined {
  return (parseJson(body) as { control?: string } | null | undefined)?.control;
}

/**
 * Resolves with what it reports about a control that it does not reach. A listener on all interfaces is called on the loopback interface. Any
 * certificate is accepted: the listener is berth's own.
 */
async function requestReady({ host, port, path = "/readyz", tlsCert }: ReadyEndpoint, { clock }: CommandContext): Promise<string | undefined> {
  const url = `${listenerUrl({ edgeHost: localHost(host), tlsCert }, port)}${path}`;
  const client = openHttpClient({
    clock,
    maxBytes: MAX_BYTES,
    timeoutMs: REQUEST_MS,
    options: { rejectUnauthorized: false },
    toFault: ({ kind, why, cause }) =>
      new Fault("CONTROL_AWAY", kind === "overdue" ? `${url} did not answer within ${REQUEST_MS / 1_000} s.` : `${url} cannot be reached: ${why}.`, {
        cause,
      }),
  });
  try {
    const reply = await client.request({ url });
    if (reply.status !== 200) throw new Fault("CONTROL_AWAY", `${url} answers ${reply.status}: it accepts no requests now.`);
    return controlIn(reply.text());
  } finally {
    client.close();
  }
}
