import { trimTrailing } from "../trim-trailing.ts";

/** As OpenTelemetry names them. */
export const SAMPLER_NAMES = [
  "always_on",
  "always_off",
  "traceidratio",
  "parentbased_always_on",
  "parentbased_always_off",
  "parentbased_traceidratio",
] as const;
export type SamplerName = (typeof SAMPLER_NAMES)[number];

export type TraceSettings = {
  /** Where spans are sent, with the path. */
  url: string;
  headers: Record<string, string>;
  serviceName: string;
  resource: Record<string, string>;
  sampler: SamplerName;
  /** Of the samplers that take a part of all traces: how large a one. */
  ratio: number;
};

/** What the `OTEL_*` variables say; undefined where nothing is to be sent. */
export function traceSettings(given: {
  disabled: boolean;
  exporter: string;
  endpoint: string | undefined;
  tracesEndpoint: string | undefined;
  headers: readonly string[];
  serviceName: string;
  resource: readonly string[];
  sampler: SamplerName;
  samplerArg: number;
}): TraceSettings | undefined {
  const url = given.tracesEndpoint ?? (given.endpoint === undefined ? undefined : `${trimTrailing(given.endpoint, "/")}/v1/traces`);
  if (url === undefined || given.disabled || given.exporter === "none") return undefined;
  const { serviceName, sampler } = given;
  return { url, headers: pairs(given.headers), serviceName, resource: pairs(given.resource), sampler, ratio: given.samplerArg };
}

/** `key=value`, with `%` where a character would end either. */
function pairs(texts: readonly string[]): Record<string, string> {
  return Object.fromEntries(
    texts.map((text) => {
      const at = text.indexOf("=");
      return [decoded(text.slice(0, at).trim()), decoded(text.slice(at + 1).trim())];
    }),
  );
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
