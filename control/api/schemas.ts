/** JSON schemas of what goes over the wire: they check what comes in, write what goes out, and are the OpenAPI description. */

const text = { type: "string" } as const;
const date = { type: "string", format: "date-time" } as const;
const orNull = <T extends string>(type: T) => ({ type: [type, "null"] }) as const;

export const IMAGE = {
  type: "object",
  properties: {
    "#type": text,
    id: text,
    name: text,
    friendlyName: text,
    description: text,
    dockerfile: text,
    status: { type: "string", enum: ["pending validation", "validating", "ready", "error", "deleted"] },
    dockerName: text,
    version: text,
    dockerfilePath: text,
    logs: text,
    imageRef: text,
    createdOn: date,
    updatedOn: date,
  },
} as const;

export const CONTAINER = {
  type: "object",
  properties: {
    "#type": text,
    id: text,
    name: text,
    friendlyName: text,
    dockerfile: IMAGE,
    dockerImage: text,
    serviceName: text,
    status: { type: "string", description: "e.g. `started`, `stopped by user`, `pending start`" },
    desiredInstances: { type: "integer" },
    address: orNull("string"),
    port: orNull("integer"),
    lastLogs: text,
    lastActive: orNull("string"),
    environmentVars: { type: "object", additionalProperties: text },
    config: { type: "object", additionalProperties: true, description: "as in container.json" },
    createdOn: date,
    updatedOn: date,
  },
} as const;

export const USER = {
  type: "object",
  properties: {
    "#type": text,
    id: text,
    login: text,
    firstName: text,
    lastName: text,
    friendlyName: text,
    admin: { type: "boolean" },
    createdOn: date,
  },
} as const;

export const API_ERROR = {
  type: "object",
  required: ["#type", "code", "message", "innerMessage"],
  properties: { "#type": { const: "ApiError" }, code: text, message: text, innerMessage: text },
} as const;

export const ID_PARAMS = { type: "object", properties: { id: { type: "string", description: "a UUID" } }, required: ["id"] } as const;

export const LIST_QUERY = {
  type: "object",
  properties: {
    text: { type: "string", description: 'a word in the name, or comparisons such as `name = "value" and status != "error"`; percent-encoded twice' },
    limit: { type: "integer", minimum: 0, maximum: 1_000_000, description: "0: all" },
    page: { type: "integer", minimum: 0, maximum: 1_000_000, description: "counts from 1; 0 is the first too" },
    order: { type: "string", description: "a field's name; with `!` in front, backwards" },
    include: { type: "string", description: "`short`: without long texts and variables; else everything is included, with long texts cut to 4 KiB" },
  },
} as const;

/** Clients send back the entity that they were given, nulls included; what is not named here is the server's own, and passed over. */
export const SAVED_CONTAINER = {
  type: "object",
  description:
    "Changes the container with this `id`. Without an `id`, or with one that is not known, it makes another container of the image " +
    "`dockerfile.id`, which follows that image when its package is published again. A changed `config` or `environmentVars` replaces what " +
    "runs. For a container that a package defines, the next publish has the last word.",
  properties: {
    id: { ...orNull("string"), description: "a UUID" },
    name: { ...orNull("string"), description: "needed for a new one; no two containers share one" },
    friendlyName: orNull("string"),
    dockerfile: { ...orNull("object"), properties: { id: text }, description: "the image; only a new container takes it" },
    config: { ...orNull("object"), additionalProperties: true, description: "as in container.json; a key that is left out stays" },
    environmentVars: { ...orNull("object"), additionalProperties: true, description: "all of them; `***` stays what it is" },
  },
} as const;

export const IMAGE_COMPATIBLE = {
  type: "object",
  properties: { image: text, hashMatch: { type: "boolean", description: "it was built from the very content that was asked for" } },
} as const;

/** A route's answers: what it says on success, and the one error body. */
export function responses(success: object): Record<string, object> {
  return { 200: success, "4xx": API_ERROR, "5xx": API_ERROR };
}
