import t from "tap";
import type { WebhookDeliveryJson, WebhookJson } from "../../../control/api/schemas-webhooks.ts";
import { WEBHOOK_LIMITS } from "../../../control/model/webhooks.ts";
import { eventually } from "../../fixtures/eventually.ts";
import { openReceiver } from "../webhooks/fixtures/open-receiver.ts";
import { type ApiFixture, openApiFixture } from "./fixtures/open-api-fixture.ts";

const JSON_TYPE = { "content-type": "application/json" };

const post = (api: ApiFixture, path: string, body?: object) =>
  api.get(path, { method: "POST", ...(body ? { headers: JSON_TYPE, body: JSON.stringify(body) } : {}) });

t.test("a webhook is added, listed, tested and removed; its secret and its query come back once at most", async (t) => {
  const api = await openApiFixture(t);
  const receiver = await openReceiver(t);
  const added = (await post(api, "/admin/webhooks", { url: `${receiver.url}?token=hush`, events: ["container.*"], package: "demo" })).json;
  t.match(added, { url: receiver.url, events: ["container.*"], package: "demo", state: "active", reason: null, waiting: 0, dropped: 0 });
  t.match(added.secret, /^whsec_/);
  const list = await api.get("/admin/webhooks");
  t.equal((list.json as WebhookJson[]).length, 1);
  t.notMatch(list.text, /hush|whsec_/);
  const tested = (await post(api, `/admin/webhooks/${added.id}/test`)).json;
  t.match(tested, { status: "delivered", type: "webhook.test", attempts: 1, responseStatus: 204, failure: null });
  receiver.verify(added.secret);
  t.strictSame(((await api.get(`/admin/webhooks/${added.id}/deliveries`)).json as WebhookDeliveryJson[]).length, 1);
  const log = await api.get("/admin/audit");
  t.match(log.text, /webhookAdded/);
  t.notMatch(log.text, /hush|whsec_/);
  t.equal((await api.get(`/admin/webhooks/${added.id}`, { method: "DELETE" })).status, 200);
  t.strictSame((await api.get("/admin/webhooks")).json, []);
});

t.test("an event is sent again on request, unless it waits or is another webhook's", async (t) => {
  const api = await openApiFixture(t);
  const receiver = await openReceiver(t);
  const { id } = (await post(api, "/admin/webhooks", { url: receiver.url })).json;
  const other = (await post(api, "/admin/webhooks", { url: receiver.url, events: ["image.ready"] })).json;
  const { id: delivery } = (await post(api, `/admin/webhooks/${id}/test`)).json;
  t.equal((await post(api, `/admin/webhooks/${other.id}/deliveries/${delivery}/redeliver`)).status, 404);
  t.equal((await post(api, `/admin/webhooks/${id}/deliveries/${delivery}/redeliver`)).status, 200);
  t.equal((await post(api, `/admin/webhooks/${id}/deliveries/${delivery}/redeliver`)).status, 400);
  api.webhookSender.start();
  await receiver.count(2);
  t.equal(receiver.received[0]?.event.id, receiver.received[1]?.event.id);
  await eventually("delivered", async () => ((await api.get("/admin/webhooks")).json as WebhookJson[]).every(({ waiting }) => waiting === 0));
});

t.test("a URL, an event or a secret that is not valid is refused with a sentence that does not repeat secrets", async (t) => {
  const api = await openApiFixture(t);
  for (const body of [
    { url: "http://169.254.169.254/?token=hush" },
    { url: "http://me:hush@example.org/" },
    { url: "file:///etc/hush" },
    { url: "http://example.org/", secret: "hush" },
    { url: "http://example.org/", secret: `whsec_${Buffer.from("hush").toString("base64")}` },
    { url: "http://example.org/", events: ["container.unknown"] },
    {},
  ]) {
    const refused = await post(api, "/admin/webhooks", body);
    t.equal(refused.status, 400, JSON.stringify(body));
    t.notMatch(refused.text, /hush|aHVzaA/);
  }
  for (let n = 0; n < WEBHOOK_LIMITS.webhooks; n++) await post(api, "/admin/webhooks", { url: "http://example.org/" });
  t.equal((await post(api, "/admin/webhooks", { url: "http://example.org/" })).status, 400, "there are enough");
});

t.test("only administrators have webhooks", async (t) => {
  const api = await openApiFixture(t);
  const { key, token } = await api.addUser("ada");
  for (const authorization of [token, `Dev ${key}`]) {
    t.equal((await api.call("/admin/webhooks", { headers: { authorization } })).status, 403);
    const body = JSON.stringify({ url: "http://example.org/" });
    t.equal((await api.call("/admin/webhooks", { method: "POST", headers: { ...JSON_TYPE, authorization }, body })).status, 403);
  }
  t.equal((await api.call("/admin/webhooks")).status, 401);
});

t.test("secrets are sealed anew with a new key of the credentials", async (t) => {
  const api = await openApiFixture(t);
  const receiver = await openReceiver(t);
  const { id, secret } = (await post(api, "/admin/webhooks", { url: receiver.url })).json;
  const before = await api.store.webhooks.find(id);
  t.equal((await post(api, "/credentials/rotate")).status, 200);
  t.not((await api.store.webhooks.find(id))?.keyId, before?.keyId);
  t.match((await post(api, `/admin/webhooks/${id}/test`)).json, { status: "delivered" });
  receiver.verify(secret);
});
