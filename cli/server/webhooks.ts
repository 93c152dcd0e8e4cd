import type { NewWebhookJson, WebhookDeliveryJson, WebhookJson } from "../../control/api/schemas-webhooks.ts";
import { EVENT_FILTERS } from "../../control/model/webhooks.ts";
import { Fault } from "../../lib/fault.ts";
import { loadTextFile } from "../command-context.ts";
import type { Verbs } from "../command.ts";
import { formatAge, formatTable, type Screen } from "../terminal.ts";
import type { CallApi } from "./server-client.ts";
import { requestVerb } from "./server-command.ts";

/** So many characters of an id are shown, and are enough for a verb. */
const SHORT_ID = 8;

/** `berth webhooks <verb>` */
export const WEBHOOKS: Verbs = {
  ls: requestVerb({
    aliases: ["list"],
    words: "",
    summary: "list webhooks, their state and the events that wait",
    request: (call) => call<WebhookJson[]>("GET", "/admin/webhooks"),
    format: (webhooks, _words, screen, now) => {
      if (webhooks.length === 0) return "There is no webhook: berth webhooks add <url>.";
      const rows = webhooks.map(({ id, url, state, events, package: only, waiting, oldestOn, dropped }) => [
        id.slice(0, SHORT_ID),
        state,
        `${events.length === 0 ? "all" : events.join(",")}${only === null ? "" : ` of ${only}`}`,
        waiting === 0 ? "0" : `${waiting} (${formatAge(oldestOn, now)})`,
        String(dropped),
        url,
      ]);
      const reasons = webhooks.flatMap(({ id, reason }) => (reason === null ? [] : [`${id.slice(0, SHORT_ID)}: ${reason}`]));
      return [formatTable(["WEBHOOK", "STATE", "EVENTS", "WAITING", "DROPPED", "URL"], rows, screen), ...reasons].join("\n");
    },
  }),
  add: requestVerb({
    expects: ["secret"],
    words: "<url>",
    summary: "send events to an address, and print the secret that verifies them; it is shown once",
    options: {
      event: {
        value: "<type>",
        repeatable: true,
        summary: "only events of this type; container.* for all of a group; may be repeated",
        completes: EVENT_FILTERS,
      },
      package: { value: "<package>", summary: "only events of this package" },
      "secret-file": { value: "<file>", summary: "file with the secret, whsec_ and base64, instead of a new one", completes: "files" },
    },
    request: (call, [url = ""], options) => {
      const file = options["secret-file"];
      const secret = file === undefined ? {} : { secret: loadTextFile(file).trim() };
      const only = options.package === undefined ? {} : { package: options.package };
      return call<NewWebhookJson>("POST", "/admin/webhooks", { url, events: options.event ?? [], ...only, ...secret });
    },
    format: ({ id, url, secret }) =>
      `Added ${id.slice(0, SHORT_ID)} for ${url}.\nSecret, shown once: ${secret}\nSend a test with berth webhooks test ${id.slice(0, SHORT_ID)}.`,
  }),
  rm: requestVerb({
    aliases: ["remove"],
    words: "<webhook>",
    summary: "remove a webhook and the events that wait for it",
    request: async (call, [word = ""]) => {
      const webhook = await findWebhook(call, word);
      await call("DELETE", `/admin/webhooks/${webhook.id}`);
      return webhook;
    },
    format: ({ url, waiting }) => `Removed ${url}${waiting === 0 ? "" : `, and ${waiting} waiting ${waiting === 1 ? "event" : "events"}`}.`,
  }),
  test: requestVerb({
    expects: ["failure"],
    words: "<webhook>",
    summary: "send an event of the type webhook.test now, and print the outcome",
    request: async (call, [word = ""]) => call<WebhookDeliveryJson>("POST", `/admin/webhooks/${(await findWebhook(call, word)).id}/test`),
    format: ({ responseStatus, failure, ms }) =>
      failure === null ? `Delivered in ${ms} ms: the receiver answered ${responseStatus}.` : `Not delivered: ${failure}`,
    hasFailed: ({ failure }) => failure !== null,
  }),
  deliveries: requestVerb({
    aliases: ["show"],
    words: "<webhook>",
    summary: "list the last events of a webhook, the newest first",
    request: async (call, [word = ""]) => call<WebhookDeliveryJson[]>("GET", `/admin/webhooks/${(await findWebhook(call, word)).id}/deliveries`),
    format: (deliveries, _words, screen, now) => formatDeliveries(deliveries, screen, now),
  }),
  redeliver: requestVerb({
    expects: ["subject"],
    words: "<webhook> <delivery>",
    summary: "send an event again, with the same id",
    request: async (call, [word = "", delivery = ""]) => {
      const { id } = await findWebhook(call, word);
      const deliveries = await call<WebhookDeliveryJson[]>("GET", `/admin/webhooks/${id}/deliveries?limit=100`);
      const row = onlyOne(
        deliveries.filter((one) => one.id.startsWith(delivery)),
        `delivery ${delivery}`,
        `berth webhooks deliveries ${word}`,
      );
      return call<WebhookDeliveryJson>("POST", `/admin/webhooks/${id}/deliveries/${row.id}/redeliver`);
    },
    format: ({ type, subject }) => `Queued ${type} of ${subject} again.`,
  }),
  resume: requestVerb({
    expects: ["url"],
    words: "<webhook>",
    summary: "send events to a paused or disabled webhook again",
    request: async (call, [word = ""]) => call<WebhookJson>("POST", `/admin/webhooks/${(await findWebhook(call, word)).id}/resume`),
    format: ({ url, waiting }) => `Resumed ${url}: ${waiting} waiting ${waiting === 1 ? "event" : "events"}.`,
  }),
};

/** By the beginning of its id, or its URL. */
async function findWebhook(call: CallApi, word: string): Promise<WebhookJson> {
  const webhooks = await call<WebhookJson[]>("GET", "/admin/webhooks");
  return onlyOne(
    webhooks.filter(({ id, url }) => id.startsWith(word) || url === word),
    `webhook ${word}`,
    "berth webhooks ls",
  );
}

function onlyOne<T>(matches: readonly T[], what: string, list: string): T {
  const [one] = matches;
  if (one === undefined) throw new Fault("SETTINGS_INVALID", `There is no ${what}: ${list} lists all.`);
  if (matches.length > 1) throw new Fault("SETTINGS_INVALID", `More than one is meant by ${what}: write more of the id. ${list} lists all.`);
  return one;
}

function formatDeliveries(deliveries: readonly WebhookDeliveryJson[], screen: Screen, now: number): string {
  if (deliveries.length === 0) return "There was no event yet.";
  const rows = deliveries.map(({ id, type, subject, status, queuedOn, attempts, responseStatus, ms, failure }) => [
    id.slice(0, SHORT_ID),
    status,
    type,
    subject,
    formatAge(queuedOn, now),
    String(attempts),
    responseStatus === null ? "-" : String(responseStatus),
    ms === null ? "-" : `${ms} ms`,
    failure ?? "",
  ]);
  return formatTable(["DELIVERY", "STATE", "EVENT", "SUBJECT", "AGE", "ATTEMPTS", "STATUS", "TIME", "FAILURE"], rows, screen);
}
