import { useState } from "preact/hooks";
import { request, useRequest } from "../api-client.ts";
import type { NewWebhookJson, WebhookDeliveryJson, WebhookJson } from "../entities.ts";
import { linkTo } from "../location.ts";
import { Action } from "../parts/controls.tsx";
import { ConfirmDialog, FormDialog, SecretDialog, TextField } from "../parts/dialog.tsx";
import { Failure, Loading, Moment, spanOf, Table } from "../parts/display.tsx";
import type { AdminPageProps } from "../parts/loaded-page.tsx";
import { useNotices } from "../parts/notices.tsx";

const RELOAD_MS = 10_000;
const APPEARANCE = { active: "good", paused: "bad", disabled: "resting", delivered: "good", waiting: "moving", failed: "bad" } as const;
const pathOf = (id: string) => `/admin/webhooks/${encodeURIComponent(id)}`;

/** The addresses that receive events, or the last events of one of them. */
export function WebhooksPage({ rest: [id] }: AdminPageProps) {
  const { value: webhooks, error, reload } = useRequest<WebhookJson[]>("/admin/webhooks", { everyMs: RELOAD_MS });
  if (webhooks === undefined)
    return (
      <>
        <h1>Webhooks</h1>
        {error ? <Failure error={error} onRetry={reload} /> : <Loading />}
      </>
    );
  if (id === undefined) return <WebhookList webhooks={webhooks} error={error} reload={reload} />;
  const webhook = webhooks.find((one) => one.id === id);
  if (webhook) return <WebhookDeliveries key={id} webhook={webhook} />;
  return (
    <>
      <h1>Webhooks</h1>
      <p class="quiet">
        There is no webhook {id}. <a href={linkTo("administration", "webhooks")}>All webhooks</a>
      </p>
    </>
  );
}

function WebhookList({ webhooks, error, reload }: { webhooks: WebhookJson[]; error: Error | undefined; reload(): void }) {
  const [isAdding, setAdding] = useState(false);
  const [removed, setRemoved] = useState<WebhookJson>();
  const notices = useNotices();
  const remove = ({ id, url }: WebhookJson) => {
    setRemoved(undefined);
    request(pathOf(id), { method: "DELETE" })
      .then(() => notices.done(`${url} is removed.`), notices.failed)
      .finally(reload);
  };
  const test = async ({ id }: WebhookJson) => {
    const { failure, ms, responseStatus } = await request<WebhookDeliveryJson>(`${pathOf(id)}/test`, { method: "POST" });
    if (failure !== null) throw new Error(`The test was not delivered. ${failure}`);
    notices.done(`The test was delivered in ${ms} ms: the receiver answered ${responseStatus}.`);
  };
  const resume = async ({ id, url }: WebhookJson) => {
    await request(`${pathOf(id)}/resume`, { method: "POST" });
    notices.done(`${url} gets events again.`);
    reload();
  };
  return (
    <>
      <div class="page-head">
        <h1>Webhooks</h1>
        <div class="tools">
          <button type="button" class="primary" onClick={() => setAdding(true)}>
            Add webhook…
          </button>
        </div>
      </div>
      <p class="quiet">berth posts changes of containers, images and packages to these addresses, as signed CloudEvents.</p>
      <Failure error={error} onRetry={reload} />
      {webhooks.length === 0 ? (
        <p class="quiet">No webhooks. Add one to have events sent to an address.</p>
      ) : (
        <Table
          rows={webhooks}
          keyOf={({ id }) => id}
          columns={[
            {
              name: "URL",
              cell: ({ id, url, reason }) => (
                <>
                  <a href={linkTo("administration", "webhooks", id)}>{url}</a>
                  {reason === null ? null : <p class="bad-text">{reason}</p>}
                </>
              ),
            },
            { name: "State", cell: ({ state }) => <span class={`status ${APPEARANCE[state]}`}>{state}</span> },
            { name: "Events", cell: ({ events }) => (events.length === 0 ? "all" : events.join(", ")) },
            { name: "Package", cell: ({ package: only }) => only ?? <span class="quiet">all</span> },
            {
              name: "Waiting",
              isNumber: true,
              cell: ({ waiting, oldestOn }) => (
                <>
                  {waiting}
                  {oldestOn === null ? null : (
                    <>
                      {" "}
                      <small>
                        since <Moment at={oldestOn} />
                      </small>
                    </>
                  )}
                </>
              ),
            },
            { name: "Dropped", isNumber: true, cell: ({ dropped }) => dropped },
            {
              name: "Actions",
              isAction: true,
              cell: (webhook) => (
                <div class="tools">
                  {webhook.state === "active" ? null : (
                    <Action act={() => resume(webhook)}>
                      Resume<span class="unseen"> {webhook.url}</span>
                    </Action>
                  )}
                  <Action act={() => test(webhook)}>
                    Test<span class="unseen"> {webhook.url}</span>
                  </Action>
                  <button type="button" class="danger" onClick={() => setRemoved(webhook)}>
                    Remove…<span class="unseen"> {webhook.url}</span>
                  </button>
                </div>
              ),
            },
          ]}
        />
      )}
      {isAdding ? <AddWebhook onAdded={reload} onClose={() => setAdding(false)} /> : null}
      {removed ? (
        <ConfirmDialog title={`Remove ${removed.url}?`} verb="Remove" onConfirm={() => remove(removed)} onClose={() => setRemoved(undefined)}>
          <p>
            {removed.waiting === 0
              ? "It gets no more events."
              : `It gets no more events. ${removed.waiting === 1 ? "1 event that waits is" : `${removed.waiting} events that wait are`} not sent.`}
          </p>
        </ConfirmDialog>
      ) : null}
    </>
  );
}

function AddWebhook({ onAdded, onClose }: { onAdded(): void; onClose(): void }) {
  const [url, setUrl] = useState("");
  const [events, setEvents] = useState("");
  const [only, setOnly] = useState("");
  const [added, setAdded] = useState<NewWebhookJson>();
  if (added)
    return (
      <SecretDialog title={`Secret of ${added.url}`} label="Secret" secret={added.secret} onClose={onClose}>
        <p>Copy the secret now: the receiver verifies events with it. berth cannot show it again.</p>
      </SecretDialog>
    );
  const add = async () => {
    const body = JSON.stringify({
      url: url.trim(),
      events: events.split(/[\s,]+/).filter((event) => event !== ""),
      ...(only.trim() === "" ? {} : { package: only.trim() }),
    });
    setAdded(await request("/admin/webhooks", { method: "POST", headers: { "content-type": "application/json" }, body }));
    onAdded();
  };
  return (
    <FormDialog title="Add a webhook" verb="Add" onSubmit={add} onClose={onClose}>
      <TextField label="URL" value={url} onChange={setUrl} maxLength={2_000} isRequired hint="Its query may hold a secret, and is never shown." />
      <TextField label="Events" value={events} onChange={setEvents} hint="For example “container.failed, package.*”. Empty: all." />
      <TextField label="Package" value={only} onChange={setOnly} maxLength={200} hint="Only events of this package. Empty: all." />
    </FormDialog>
  );
}

function WebhookDeliveries({ webhook: { id, url, state, reason } }: { webhook: WebhookJson }) {
  const { value: deliveries, error, reload } = useRequest<WebhookDeliveryJson[]>(`${pathOf(id)}/deliveries`, { everyMs: RELOAD_MS });
  const notices = useNotices();
  const redeliver = async (delivery: WebhookDeliveryJson) => {
    await request(`${pathOf(id)}/deliveries/${encodeURIComponent(delivery.id)}/redeliver`, { method: "POST" });
    notices.done("The event is sent again.");
    reload();
  };
  return (
    <>
      <div class="page-head">
        <h1>Deliveries</h1>
        <button type="button" onClick={reload}>
          Reload
        </button>
      </div>
      <p>
        <a href={linkTo("administration", "webhooks")}>All webhooks</a> · <code>{url}</code>{" "}
        <span class={`status ${APPEARANCE[state]}`}>{state}</span>
      </p>
      {reason === null ? null : <p class="bad-text">{reason}</p>}
      <Failure error={error} onRetry={reload} />
      {deliveries === undefined ? error ? null : <Loading /> : null}
      {deliveries?.length === 0 ? <p class="quiet">No events yet. Send a test from the list of webhooks.</p> : null}
      {deliveries && deliveries.length > 0 ? (
        <Table
          rows={deliveries}
          keyOf={(delivery) => delivery.id}
          columns={[
            { name: "Event", cell: ({ type, eventId }) => <span title={eventId}>{type}</span> },
            { name: "Subject", cell: ({ subject }) => <code>{subject}</code> },
            { name: "Time", cell: ({ queuedOn }) => <Moment at={queuedOn} /> },
            {
              name: "Outcome",
              cell: ({ status, failure, responseStatus }) => (
                <>
                  <span class={`status ${APPEARANCE[status]}`}>{status}</span> {failure ?? responseStatus}
                </>
              ),
            },
            { name: "Attempts", isNumber: true, cell: ({ attempts }) => attempts },
            { name: "Duration", isNumber: true, cell: ({ ms }) => (ms === null ? "–" : spanOf(ms)) },
            {
              name: "Actions",
              isAction: true,
              cell: (delivery) =>
                delivery.status === "waiting" ? null : (
                  <Action act={() => redeliver(delivery)}>
                    Redeliver<span class="unseen"> {delivery.type}</span>
                  </Action>
                ),
            },
          ]}
        />
      ) : null}
    </>
  );
}
