import { request as httpRequest } from "node:http";
import { request as httpsRequest } from "node:https";
import type { Settings } from "../conf/settings.ts";
import { Fault } from "../lib/fault.ts";
import { localApi, type CommandContext, loadSettings } from "./command-context.ts";
import { listenerUrl, registryListener } from "./serve.ts";
import { defineVerb, type Verbs } from "./command.ts";

const REQUEST_MS = 5_000;

/** Where a role says whether it is ready. */
type ReadyEndpoint = { host: string; port: number; path?: string; isPlain?: true };

type EndpointOf = (settings: Settings) => ReadyEndpoint;

const edge: EndpointOf = ({ edgeHost: host, edgePort: port }) => ({ host, port });
const registry: EndpointOf = ({ registryHost: host, registryPort: port }) => ({ host, port });
const spawner: EndpointOf = ({ spawnerHost: host, spawnerPort: port }) => ({ host, port, path: "/info", isPlain: true });

/** By role; control has no listener of its own. */
const READY_ENDPOINTS: Readonly<Record<string, (settings: Settings) => EndpointOf[]>> = {
  // Its edge is there first: who signs in to the registry right after would be cut off.
  serve: (settings) => [edge, ...(registryListener(settings) ? [registry] : []), ...(settings.spawner ? [spawner] : [])],
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
      // Where control is elsewhere, a restart of this one ends what it serves, and brings nothing back.
      if (degraded !== undefined && loadSettings(context).settings.role !== "gateway") throw degraded;
      screen.print(degraded?.message ?? "ready");
    },
  }),
};

/** Resolves where the berth of these settings takes requests, with what is missing where it serves without control. Faults: CONTROL_AWAY. */
export async function checkReady(context: CommandContext): Promise<Fault | undefined> {
  const { settings } = loadSettings(context);
  const listeners = READY_ENDPOINTS[settings.role ?? "serve"]?.(settings);
  if (listeners === undefined) {
    await localApi(context)("GET", "/info/server");
    return undefined;
  }
  const controls = await Promise.all(listeners.map((listener) => requestReady(settings, listener(settings), context)));
  const control = controls.find((state) => state !== undefined);
  if (control === undefined) return undefined;
  return new Fault("CONTROL_AWAY", `degraded: control is ${control}. Containers that run are served; nothing is started.`);
}

const MAX_BODY = 4_096;

/** What a gateway that is ready reports about a control that it does not reach. */
function controlIn(body: string): string | undefined {
  try {
    return (JSON.parse(body) as { control?: string }).control;
  } catch {
    return undefined;
  }
}

/** Resolves with what it reports about a control that it does not reach. A listener on all interfaces is called on this machine's own; whose certificate it is does not matter to itself. */
function requestReady(
  settings: Settings,
  { host, port, path = "/readyz", isPlain }: ReadyEndpoint,
  { clock }: CommandContext,
): Promise<string | undefined> {
  const edgeHost = host === "0.0.0.0" ? "127.0.0.1" : host === "::" ? "::1" : host;
  const url = `${listenerUrl({ edgeHost, tlsCert: isPlain ? undefined : settings.tlsCert }, port)}${path}`;
  const over = new AbortController();
  const signal = clock.deadline(REQUEST_MS, () => new Fault("CONTROL_AWAY", `${url} did not answer within ${REQUEST_MS / 1_000} s.`), over.signal);
  return new Promise<string | undefined>((resolve, reject) => {
    const options = { signal, rejectUnauthorized: false };
    const sent = (url.startsWith("https") ? httpsRequest : httpRequest)(url, options, (answer) => {
      let body = "";
      answer.setEncoding("utf8");
      answer.on("data", (piece: string) => void (body.length < MAX_BODY && (body += piece)));
      answer.once("end", () => resolve(controlIn(body)));
      if (answer.statusCode !== 200) reject(new Fault("CONTROL_AWAY", `${url} answers ${answer.statusCode}: it takes no requests now.`));
    });
    sent.once("error", (cause) =>
      reject(signal.aborted ? signal.reason : new Fault("CONTROL_AWAY", `${url} cannot be reached: ${cause.message}.`, { cause })),
    );
    sent.end();
  }).finally(() => over.abort());
}
