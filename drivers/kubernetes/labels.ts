import type { Labels } from "../driver.ts";
import { parseLabels, readPort as portOf, writeLabels } from "../labels.ts";

/** On every object of berth, whichever store it belongs to. Lists and watches are filtered by it. */
export const OURS = { "app.kubernetes.io/managed-by": "berth" } as const;
/** The service. A Deployment selects its pods by it. */
export const SERVICE = "berth.service";

export const SELECT_OURS = Object.entries(OURS)
  .map(([key, value]) => `${key}=${value}`)
  .join(",");

/** A label's value: at most 63 characters, a letter or digit at both ends. https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/ */
const LABEL_VALUE = /^(?:[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?$/;

type Meta = { labels?: Record<string, string> | undefined; annotations?: Record<string, string> | undefined } | undefined;

/** Annotations take any text, and berth reads them back. Labels have the same values as far as they are valid, for users who filter by them. */
export function writeMeta(
  service: string,
  labels: Labels,
  port: number | undefined,
): { labels: Record<string, string>; annotations: Record<string, string> } {
  const annotations = writeLabels(labels, port);
  const valid = Object.fromEntries(Object.entries(annotations).filter(([, value]) => LABEL_VALUE.test(value)));
  return { labels: { ...valid, ...selector(service), ...OURS }, annotations };
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

/** Undefined for an object that berth did not create. */
export function readLabels(meta: Meta): Labels | undefined {
  const isOurs = Object.entries(OURS).every(([key, value]) => meta?.labels?.[key] === value);
  return isOurs ? parseLabels(meta?.annotations) : undefined;
}

export function readPort(meta: Meta): number | undefined {
  return portOf(meta?.annotations);
}

/** The names of a service's objects. A service's name has no dot, so the names are unique. */
export const NAMES = {
  deployment: (service: string) => service,
  service: (service: string) => service,
  variables: (service: string) => `${service}.env`,
  pull: (service: string) => `${service}.pull`,
};
