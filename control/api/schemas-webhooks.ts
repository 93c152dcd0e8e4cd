import { type Static, Type } from "typebox";
import { count, date, nullable, oneOf, text } from "./schemas.ts";

// Webhooks and their deliveries, as the API has them. This file imports nothing that needs Node, as `schemas.ts`.

const WEBHOOK_STATES = ["active", "paused", "disabled"] as const;

const DELIVERY = {
  id: text,
  eventId: Type.String({ description: "the id of the event, by which receivers recognize one that comes twice" }),
  type: text,
  subject: text,
  status: oneOf(["waiting", "delivered", "failed"]),
  queuedOn: date,
  attempts: count,
  triedOn: nullable(text, { description: "when the last attempt ended" }),
  responseStatus: nullable(count, { description: "of the last attempt; null: no response" }),
  ms: nullable(count, { description: "how long the last attempt took" }),
  failure: nullable(text, { description: "why the last attempt failed" }),
  nextAttemptOn: nullable(text),
};

export const WEBHOOK_DELIVERY = Type.Object(DELIVERY);
export type WebhookDeliveryJson = Static<typeof WEBHOOK_DELIVERY>;

export const WEBHOOK = Type.Object({
  id: text,
  url: Type.String({ description: "without its query, which may hold a secret" }),
  events: Type.Array(text, { description: "types of events, and `container.*` for all of a group; empty: all" }),
  package: nullable(text, { description: "only events of this package" }),
  createdOn: date,
  state: oneOf(WEBHOOK_STATES, { description: "`paused` after many failures in a row; `disabled` by a receiver that answered 410" }),
  reason: nullable(text, { description: "why it is not active: a sentence" }),
  failures: Type.Integer({ description: "failed attempts since the last that succeeded" }),
  waiting: Type.Integer({ description: "events that wait" }),
  oldestOn: nullable(text, { description: "since when the oldest event waits" }),
  dropped: Type.Integer({ description: "events that it did not get, because its queue was full" }),
});
export type WebhookJson = Static<typeof WEBHOOK>;

/** The secret is in no other response. */
export const NEW_WEBHOOK = Type.Object({ ...WEBHOOK.properties, secret: text });
export type NewWebhookJson = Static<typeof NEW_WEBHOOK>;

export const WEBHOOK_BODY = Type.Object(
  {
    url: Type.String({ maxLength: 2_000 }),
    events: Type.Optional(Type.Array(Type.String({ maxLength: 100 }), { maxItems: 50, description: "empty: all" })),
    package: Type.Optional(Type.String({ minLength: 1, maxLength: 200 })),
    secret: Type.Optional(Type.String({ maxLength: 200, description: "`whsec_` and 24 to 64 bytes in base64; without it, berth generates one" })),
  },
  { additionalProperties: false },
);
