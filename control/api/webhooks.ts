import { randomUUID } from "node:crypto";
import { Type } from "typebox";
import { Fault } from "../../lib/fault.ts";
import { EVENT_FILTERS, WEBHOOK_LIMITS, type Webhook, type WebhookDelivery, type WebhookSecret } from "../model/webhooks.ts";
import { webhookContext } from "../packages/credentials/open-vault.ts";
import { isWebhookSecret, newWebhookSecret, parseWebhookUrl, webhookNotFound } from "../webhooks/open-webhook-sender.ts";
import { isoDate } from "./entities.ts";
import { route, type Route, type RouteDeps } from "./route.ts";
import { DONE, ID_PARAMS, text } from "./schemas.ts";
import { NEW_WEBHOOK, WEBHOOK, WEBHOOK_BODY, WEBHOOK_DELIVERY, type WebhookDeliveryJson, type WebhookJson } from "./schemas-webhooks.ts";

const MOST_DELIVERIES = 100;
const DELIVERY_PARAMS = Type.Object({ id: text, delivery: text });

/** Webhooks, for administrators. Neither their secrets nor the queries of their URLs ever leave the store, but for the secret of a new one. */
export function webhookRoutes({ store, vault, webhookSender, clock }: Pick<RouteDeps, "store" | "vault" | "webhookSender" | "clock">): Route[] {
  const { webhooks } = store;
  const authorize = "admin" as const;
  const tags = ["webhooks"];
  const target = ({ params }: { params: { id: string } }) => params.id;

  const toJson = async (rows: readonly Webhook[]): Promise<WebhookJson[]> => {
    const [waiting, oldest] = await Promise.all([webhooks.waiting(), webhooks.oldest()]);
    return rows.map((row) => ({
      id: row.id,
      url: row.url,
      events: row.eventTypes,
      package: row.packageName ?? null,
      createdOn: isoDate(row.createdOn),
      state: row.stopReason === undefined ? "active" : row.stopReason === "gone" ? "disabled" : "paused",
      reason: stopSentence(row),
      failures: row.failures,
      waiting: waiting.get(row.id) ?? 0,
      oldestOn: isoDateOrNull(oldest.get(row.id)),
      dropped: row.dropped,
    }));
  };
  const oneToJson = async (row: Webhook) => (await toJson([row]))[0] as WebhookJson;
  const require = async (id: string): Promise<Webhook> => {
    const row = await webhooks.find(id);
    if (!row) throw webhookNotFound(id);
    return row;
  };

  return [
    route({
      method: "GET",
      path: "/admin/webhooks",
      authorize,
      schema: { tags, summary: "Lists webhooks, without their secrets", response: Type.Array(WEBHOOK) },
      handle: async () => toJson(await webhooks.all()),
    }),
    route({
      method: "POST",
      path: "/admin/webhooks",
      authorize,
      audit: { action: "webhookAdded", target: ({ body }) => URL.parse(body.url)?.origin },
      uncompressed: true,
      schema: { tags, summary: "Adds a webhook; its secret is in this response only", body: WEBHOOK_BODY, response: NEW_WEBHOOK },
      handle: async ({ body }) => {
        const url = parseWebhookUrl(body.url);
        const { secret = newWebhookSecret(), events = [] } = body;
        if (!isWebhookSecret(secret)) throw new Fault("REQUEST_INVALID", "The secret is not valid: it must be whsec_ and 24 to 64 bytes in base64.");
        const id = randomUUID();
        const row = await store.transaction(async () => {
          if ((await webhooks.all()).length >= WEBHOOK_LIMITS.webhooks)
            throw new Fault("REQUEST_INVALID", `There are ${WEBHOOK_LIMITS.webhooks} webhooks, which is the most: remove one first.`);
          return webhooks.insert({
            ...(await vault.seal(webhookContext(id), JSON.stringify({ url: url.href, secret } satisfies WebhookSecret))),
            id,
            url: url.origin + url.pathname,
            eventTypes: parseFilters(events),
            packageName: body.package,
            createdOn: Math.trunc(clock.now()),
            failures: 0,
            dropped: 0,
            stoppedOn: undefined,
            stopReason: undefined,
          });
        });
        return { ...(await oneToJson(row)), secret };
      },
    }),
    route({
      method: "DELETE",
      path: "/admin/webhooks/:id",
      authorize,
      audit: { action: "webhookRemoved", target },
      schema: { tags, summary: "Removes a webhook and the events that wait for it", params: ID_PARAMS, response: DONE },
      handle: async ({ params: { id } }) => {
        if (!(await webhooks.remove(id))) throw webhookNotFound(id);
        return { isSuccess: true };
      },
    }),
    route({
      method: "POST",
      path: "/admin/webhooks/:id/resume",
      authorize,
      audit: { action: "webhookResumed", target },
      schema: { tags, summary: "Sends events to a paused or disabled webhook again", params: ID_PARAMS, response: WEBHOOK },
      handle: async ({ params: { id } }) => {
        const row = await webhooks.resume(id);
        if (!row) throw webhookNotFound(id);
        return oneToJson(row);
      },
    }),
    route({
      method: "POST",
      path: "/admin/webhooks/:id/test",
      authorize,
      audit: { action: "webhookTested", target },
      schema: { tags, summary: "Sends one event `webhook.test` at once, and returns its delivery", params: ID_PARAMS, response: WEBHOOK_DELIVERY },
      handle: async ({ params: { id } }) => deliveryToJson(await webhookSender.test((await require(id)).id)),
    }),
    route({
      method: "GET",
      path: "/admin/webhooks/:id/deliveries",
      authorize,
      schema: {
        tags,
        summary: "Lists the last events of a webhook, the newest first",
        params: ID_PARAMS,
        querystring: Type.Object({ limit: Type.Optional(Type.Integer({ minimum: 1, maximum: MOST_DELIVERIES, default: 50 })) }),
        response: Type.Array(WEBHOOK_DELIVERY),
      },
      handle: async ({ params: { id }, query: { limit = 50 } }) => (await webhooks.latest((await require(id)).id, limit)).map(deliveryToJson),
    }),
    route({
      method: "POST",
      path: "/admin/webhooks/:id/deliveries/:delivery/redeliver",
      authorize,
      audit: { action: "webhookRedelivered", target },
      schema: { tags, summary: "Sends an event again, with the same id", params: DELIVERY_PARAMS, response: WEBHOOK_DELIVERY },
      handle: async ({ params: { id, delivery } }) => {
        const { stopReason } = await require(id);
        if (stopReason !== undefined) throw new Fault("REQUEST_INVALID", `The webhook ${id} is stopped: resume it first.`);
        const row = await webhooks.findDelivery(delivery);
        if (row?.webhookId !== id) throw new Fault("WEBHOOK_NOT_FOUND", `The webhook ${id} has no delivery ${delivery}.`);
        const queued = await webhooks.redeliver(delivery, clock.now());
        if (!queued) throw new Fault("REQUEST_INVALID", `The delivery ${delivery} waits already.`);
        return deliveryToJson(queued);
      },
    }),
  ];
}

/** Faults: REQUEST_INVALID. */
function parseFilters(events: readonly string[]): string[] {
  const unknown = events.find((one) => !EVENT_FILTERS.includes(one));
  if (unknown !== undefined) throw new Fault("REQUEST_INVALID", `There is no event ${JSON.stringify(unknown)}. Events: ${EVENT_FILTERS.join(", ")}.`);
  return [...new Set(events)];
}

function stopSentence({ stopReason, stoppedOn, failures }: Webhook): string | null {
  if (stopReason === undefined || stoppedOn === undefined) return null;
  const since = isoDate(stoppedOn).slice(0, 16).replace("T", " ");
  if (stopReason === "gone") return `The receiver answered 410 at ${since} UTC: it wants no more events.`;
  return `Paused at ${since} UTC after ${failures} failed attempts in a row. Repair the receiver, and resume the webhook.`;
}

function deliveryToJson(row: WebhookDelivery): WebhookDeliveryJson {
  return {
    id: row.id,
    eventId: row.eventId,
    type: row.type,
    subject: row.subject,
    status: row.result ?? "waiting",
    queuedOn: isoDate(row.queuedOn),
    attempts: row.attempts,
    triedOn: isoDateOrNull(row.triedOn),
    responseStatus: row.status ?? null,
    ms: row.ms ?? null,
    failure: row.failure ?? null,
    nextAttemptOn: row.endedOn === undefined ? isoDate(Math.max(row.queuedOn, row.notBefore)) : null,
  };
}

function isoDateOrNull(at: number | undefined): string | null {
  return at === undefined ? null : isoDate(at);
}
