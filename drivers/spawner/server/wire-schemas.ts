import { DRIVER_PHASES } from "../../../lib/start-phases.ts";
import { HOSTS } from "../../driver.ts";
import { LINES } from "../wire.ts";
import { SPAWNER_ERROR } from "./answer-fault.ts";

/** JSON schemas of the wire types, for the OpenAPI description. `parse-request.ts` parses requests and refuses them. */

const text = { type: "string" } as const;
const number = { type: "number" } as const;
const integer = { type: "integer" } as const;

export const INFO = { type: "object", properties: { name: text, version: text, driver: text, environment: text } } as const;

const LABELS = {
  type: "object",
  description: "those of a berth; without them the spawner names and labels the service itself",
  required: ["store", "environment", "container", "generation"],
  properties: {
    store: text,
    environment: text,
    container: text,
    generation: integer,
    epoch: { ...integer, description: "of the leader that started it; absent with a single control process" },
  },
} as const;

export const IMAGE_BODY = {
  type: "object",
  nullable: true,
  properties: {
    image: { ...text, description: "the image in full, where service and tag do not name it" },
    folder: { ...text, description: "where its published files lie, for the driver `process`" },
  },
} as const;

const READINESS = {
  type: "object",
  description:
    "what the container must show to be ready. `port`: it accepts a connection. `http`: a GET is answered 2xx or 3xx. `healthcheck`: the image's own " +
    "check succeeds. `running`: it has run for graceMs. Where left out, the image's own check, else the port, else `running`",
  required: ["kind"],
  properties: {
    kind: { type: "string", enum: ["port", "http", "healthcheck", "running"] },
    path: text,
    port: { ...integer, description: "where it is not the container's own" },
    intervalMs: number,
    timeoutMs: number,
    portStaysClosed: { type: "boolean", description: "true for a queue worker with a check of its own" },
  },
} as const;

export const SPEC_BODY = {
  type: "object",
  nullable: true,
  description: "Names as in container.json. Other names are ignored, and logged once.",
  properties: {
    ...IMAGE_BODY.properties,
    environmentVars: { type: "object", additionalProperties: text },
    cpu: { ...number, description: "cores; 0.25 where left out" },
    memory: { ...integer, description: "MB; 512 where left out" },
    gpu: integer,
    shm_size: { ...integer, description: "MB; 64 where left out" },
    storage: { ...number, description: "GB; 21 where left out" },
    port: { ...integer, description: "the image's own where left out, and there are no labels" },
    graceMs: { ...number, description: "how long a container without a port, or a queue worker, must run to be ready" },
    shutdown_grace_seconds: { ...integer, description: "how long it has between SIGTERM and SIGKILL, at most 120; 10 where left out" },
    readiness: READINESS,
    alias: { ...text, description: "the container's own name, for those of its package" },
    package: { ...text, description: "the container's package: containers of one package may reach each other" },
    labels: LABELS,
  },
} as const;

export const IMAGE = {
  type: "object",
  properties: {
    id: text,
    digest: text,
    exposed: { type: "array", items: integer },
    guessed: { type: "boolean", description: "the order of `exposed` is one" },
    portsUnknown: { type: "boolean" },
    command: { type: "array", items: text, description: "entrypoint and command" },
    healthcheck: {
      type: "object",
      description: "the image's own HEALTHCHECK",
      required: ["test"],
      properties: { test: { type: "array", items: text }, intervalMs: number, timeoutMs: number, startPeriodMs: number, retries: integer },
    },
  },
} as const;

const ADDRESSES = {
  address: { ...text, description: "the host; left out where it has no port" },
  port: integer,
  addresses: {
    type: "array",
    description: "all, if there are several; `address` and `port` are the first",
    items: { type: "object", required: ["host", "port"], properties: { host: text, port: integer } },
  },
} as const;

export const DEPLOYMENT = {
  type: "object",
  required: ["serviceName", "phases"],
  properties: {
    serviceName: text,
    instance: text,
    ...ADDRESSES,
    warning: { ...text, description: "it has started, but not as it was requested: without its GPU, or with a health check that fails, for example" },
    phases: { type: "object", properties: Object.fromEntries(DRIVER_PHASES.map((name) => [name, number])) },
  },
} as const;

export const USAGE = {
  type: "object",
  required: ["cpuMs", "networkBytes"],
  properties: {
    cpuMs: number,
    networkBytes: { ...number, description: "0 if only the processor time is known" },
    windowMs: { ...number, description: "used within this time; where left out, since the start" },
    memoryBytes: { ...number, description: "in use now; left out if it is unknown" },
  },
} as const;

export const DESTROYED = {
  type: "object",
  required: ["serviceName", "isSuccess"],
  properties: { serviceName: text, isSuccess: { type: "boolean" } },
} as const;

export const CALL = { ...text, description: "any id of this call, with which it can be cancelled, also before it arrives" } as const;

export const SERVICE = {
  type: "object",
  properties: {
    serviceName: text,
    running: { type: "boolean" },
    instance: { ...text, description: "another instance of the service has another" },
    paused: { type: "boolean", description: "frozen with its memory: it neither runs nor has ended; else absent" },
    ...ADDRESSES,
    labels: LABELS,
    exit: { type: "object", properties: { code: integer, outOfMemory: { type: "boolean" } } },
  },
} as const;

export const NAME_PARAMS = {
  type: "object",
  required: ["service"],
  properties: { service: { ...text, description: "its name at the orchestrator, as in responses, or the short name of its deploy" } },
} as const;

export const EVENT = {
  type: "object",
  properties: {
    kind: { type: "string", enum: ["connected", "disconnected", "changed"] },
    watchedAddresses: { type: "boolean", description: "with `connected`: addresses are valid only from there to `disconnected`" },
    service: text,
    container: text,
    ended: {
      type: "object",
      description: "that instance (any, if unnamed) has ended or is about to: its address may be given to another container",
      properties: { instance: text },
    },
  },
} as const;

/** A path's `/` inside a part is written `%2F`. */
export function pathParams(last: "tag" | "n") {
  const host = { type: "string", enum: HOSTS, description: "which of the installation's two hosts" } as const;
  const service = { ...text, description: "a name; `/` in it is written %2F" };
  const tag = last === "tag" ? text : { ...integer, description: "1 deploys, 0 destroys" };
  return { type: "object", required: ["host", "service", last], properties: { host, service, [last]: tag } } as const;
}

/** A route's responses: success, and the error body. */
export function answers(success: object): Record<string, object> {
  return { 200: success, "4xx": SPAWNER_ERROR, "5xx": SPAWNER_ERROR };
}

/** The same, and with `Accept: application/x-ndjson` as lines. */
export function answersInLines(success: object, name: string): Record<string, object> {
  const pull = { type: "object", properties: { done: integer, total: integer } };
  const line = { type: "object", properties: { pull, [name]: success, fault: SPAWNER_ERROR } };
  return answers({ description: "Done", content: { "application/json": { schema: success }, [LINES]: { schema: line } } });
}
