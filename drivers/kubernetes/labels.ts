import type { Labels } from "../driver.ts";

/** On every object of berth's, whichever store it belongs to: what lists and watches are filtered by. */
export const OURS = { "app.kubernetes.io/managed-by": "berth" } as const;
/** The service, which is a DNS label and so a label's value too: what a Deployment selects its pods by. */
export const SERVICE = "berth.service";
/** Not a label of the contract: the port of the spec, so that the address can be told again without it. */
const PORT = "berth.port";

export const SELECT_OURS = Object.entries(OURS)
  .map(([key, value]) => `${key}=${value}`)
  .join(",");

/** A label's value: at most 63 characters, a letter or digit at both ends. https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/ */
const LABEL_VALUE = /^(?:[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?$/;

type Meta = { labels?: Record<string, string> | undefined; annotations?: Record<string, string> | undefined } | undefined;

/** Annotations take any text and are what is read back; labels say the same where they can, for people who filter by them. */
export function writeMeta(
  service: string,
  labels: Labels,
  port: number | undefined,
): { labels: Record<string, string>; annotations: Record<string, string> } {
  const annotations = {
    "berth.store": labels.store,
    "berth.environment": labels.environment,
    "berth.container": labels.container,
    "berth.generation": String(labels.generation),
    ...(port === undefined ? {} : { [PORT]: String(port) }),
  };
  const speakable = Object.fromEntries(Object.entries(annotations).filter(([, value]) => LABEL_VALUE.test(value)));
  return { labels: { ...speakable, ...selector(service), ...OURS }, annotations };
}

export function selector(service: string): Record<string, string> {
  return { [SERVICE]: service };
}

export function selectService(service: string): string {
  return `${SELECT_OURS},${SERVICE}=${service}`;
}

export function serviceOf(meta: Meta): string | undefined {
  return meta?.labels?.[SERVICE];
}

/** Undefined for an object that berth did not make. */
export function readLabels(meta: Meta): Labels | undefined {
  const { annotations, labels } = meta ?? {};
  const container = annotations?.["berth.container"];
  if (annotations === undefined || container === undefined) return undefined;
  if (Object.entries(OURS).some(([key, value]) => labels?.[key] !== value)) return undefined;
  return {
    store: annotations["berth.store"] ?? "",
    environment: annotations["berth.environment"] ?? "",
    container,
    generation: Number(annotations["berth.generation"] ?? 0),
  };
}

export function readPort(meta: Meta): number | undefined {
  const port = Number(meta?.annotations?.[PORT]);
  return Number.isInteger(port) && port > 0 ? port : undefined;
}

/** The names of a service's objects. A service's own name holds no dot, so that these are nobody else's. */
export const NAMES = {
  deployment: (service: string) => service,
  service: (service: string) => service,
  variables: (service: string) => `${service}.env`,
  pull: (service: string) => `${service}.pull`,
};
