import type { Usage } from "../driver.ts";
import type { KubernetesApi } from "./cluster.ts";
import { CONTAINER } from "./definition.ts";
import { answered } from "./faults.ts";
import { selectService } from "./labels.ts";

/** https://github.com/kubernetes/metrics, v1beta1: the mean of a window. It has no network. */
type PodMetrics = { window?: string; containers?: { name: string; usage?: { cpu?: string } }[] };

/** Undefined if the cluster serves no metrics, or no metrics of this pod yet, or berth may not read them. */
export async function usage(cluster: KubernetesApi, service: string, signal: AbortSignal): Promise<Usage | undefined> {
  const query = { labelSelector: selectService(service) };
  let items: PodMetrics[];
  try {
    ({ items } = await cluster.call<{ items: PodMetrics[] }>({ doing: "Reading metrics", verb: "list", resource: "podmetrics", query, signal }));
  } catch (error) {
    // 503: the API is registered, and the server behind it does not run.
    if (answered(error, 403, 404, 503)) return undefined;
    throw error;
  }
  const windowMs = parseSeconds(items[0]?.window) * 1_000;
  if (!(windowMs > 0)) return undefined;
  const containers = items.flatMap((item) => item.containers ?? []).filter(({ name }) => name === CONTAINER);
  const cores = containers.reduce((sum, container) => sum + parseCores(container.usage?.cpu), 0);
  return { cpuMs: cores * windowMs, networkBytes: 0, windowMs };
}

const FRACTIONS: Readonly<Record<string, number>> = { n: 1e-9, u: 1e-6, m: 1e-3, "": 1 };

function parseCores(quantity = ""): number {
  const [, number = "0", unit = ""] = /^(\d+(?:\.\d+)?)([num]?)$/.exec(quantity) ?? [];
  return Number(number) * (FRACTIONS[unit] ?? 0);
}

/** A duration as Go writes it, such as `1m0.5s`. */
function parseSeconds(duration = ""): number {
  const [, minutes = "0", seconds = "0"] = /^(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s)?$/.exec(duration) ?? [];
  return Number(minutes) * 60 + Number(seconds);
}
