import type { Sealed } from "./records.ts";

/** What webhooks report, and when. The `type` of the CloudEvent has `EVENT_PREFIX` before it. */
const EVENT_TYPES = {
  "container.starting": "a start was requested, or began",
  "container.started": "a container accepts connections",
  "container.checking": "the address of a container is verified again",
  "container.stopping": "a stop was requested, or began",
  "container.stopped": "a container stopped, by a user or because it was idle",
  "container.failed": "a start failed, or a container was lost; with the cause",
  "container.removed": "a container was removed",
  "image.ready": "an image was validated",
  "image.failed": "an image was refused; with the cause",
  "image.pushed": "an image was pushed to the registry",
  "package.published": "a package was published",
  "package.rolledback": "an earlier version of a package was published again",
  "package.unpublished": "all containers and images of a package were removed",
} as const;

export type EventType = keyof typeof EVENT_TYPES;
const EVENT_TYPE_NAMES = Object.keys(EVENT_TYPES) as EventType[];
export const EVENT_PREFIX = "ai.datagrok.berth.";

/** Every type, and `container.*` for all of a group. */
export const EVENT_FILTERS: readonly string[] = [...new Set(EVENT_TYPE_NAMES.map((type) => `${type.split(".", 1)[0]}.*`)), ...EVENT_TYPE_NAMES];

/** `filters`: empty for all types. */
export function acceptsType(filters: readonly string[], type: EventType): boolean {
  return filters.length === 0 || filters.some((one) => one === type || (one.endsWith(".*") && type.startsWith(one.slice(0, -1))));
}

/** Why berth sends no more events to a webhook: its receiver answered 410, or too many attempts in a row failed. */
export type WebhookStop = "gone" | "failures";

/** An address that receives events. The sealed part is a `WebhookSecret`. */
export type Webhook = Sealed & {
  id: string;
  /** Without its query, which may hold a secret. */
  url: string;
  /** Of `EVENT_FILTERS`; empty: all. */
  eventTypes: string[];
  /** Only events of this package; undefined: all, also those without a package. */
  packageName: string | undefined;
  createdOn: number;
  /** Failed attempts since the last that succeeded. */
  failures: number;
  /** Events that are not sent, because the queue was full, the receiver gone, or the webhook paused for too long. */
  dropped: number;
  /** Undefined: it receives events. */
  stoppedOn: number | undefined;
  stopReason: WebhookStop | undefined;
};

/** `url`: with its query. */
export type WebhookSecret = { url: string; secret: string };

/** An event for one webhook. It is sent after all others of its webhook and subject that have a smaller `seq`. */
export type WebhookDelivery = {
  seq: number;
  id: string;
  webhookId: string;
  type: string;
  subject: string;
  eventId: string;
  /** The CloudEvent, as it is sent. */
  event: string;
  /** From when its time to be delivered counts. */
  queuedOn: number;
  attempts: number;
  /** No attempt before. */
  notBefore: number;
  /** Undefined: it waits. */
  endedOn: number | undefined;
  /** Of one that ended. */
  result: "delivered" | "failed" | undefined;
  /** Of the last attempt: when, the status of the response, how long it took, and why it failed. */
  triedOn: number | undefined;
  status: number | undefined;
  ms: number | undefined;
  failure: string | undefined;
};

/** What berth stores and sends at most. */
export const WEBHOOK_LIMITS = {
  webhooks: 50,
  /** Waiting events of one webhook. */
  waiting: 1_000,
  /** Waiting events of all webhooks, which have equal parts of it. */
  waitingInAll: 10_000,
  /** Events that ended, of one webhook. */
  ended: 50,
  /** Requests to one webhook at a time. */
  concurrency: 4,
  timeoutMs: 10_000,
  /** Of a response. */
  maxBytes: 1_024,
  attempts: 20,
  /** From the event to the last attempt. A paused webhook's events are dropped then. */
  lifetimeMs: 24 * 3_600_000,
  /** Of one event, between attempts. */
  retry: { firstMs: 5_000, longestMs: 2 * 3_600_000 },
  /** From so many failures in a row, one request at a time is sent to a webhook, with these delays. */
  failuresUntilProbes: 3,
  probe: { firstMs: 5_000, longestMs: 900_000 },
  /** So many failures in a row pause a webhook: about 10 hours. */
  failuresUntilPause: 50,
} as const;
